//! Keys of what lies under the services: the registry, tenants, and the identity of GitHub.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Named, WorkflowKeys};

/// A Docker repository of Artifact Registry. Images are `REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct RegistryKeys {
    /// Id of the repository. Required.
    #[schemars(regex(pattern = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    #[schemars(extend("errorMessage" = "lower-case letters, digits and dashes, starting with a letter, at most 63 characters"))]
    pub(crate) repository: Option<String>,
    /// What the repository is for.
    pub(crate) description: Option<String>,
    /// Labels of the repository, beside those that deployer sets. One that is taken out here stays on the repository.
    pub(crate) labels: Option<Named<String>>,
    /// Which images are deleted; never one that serves. Default: none.
    pub(crate) retention: Option<RetentionKeys>,
    /// A tag that exists cannot be moved to another image; then none says what serves. Default: `false`.
    pub(crate) immutable_tags: Option<bool>,
    /// Deleting the repository is refused. Default: `false`.
    pub(crate) protect: Option<bool>,
}

/// Which images Artifact Registry deletes by itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct RetentionKeys {
    /// Newest versions of each image that stay whatever else is said here. Default: no such rule.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) keep_last: Option<u32>,
    /// Age at which an image without a tag is deleted, e.g. `30d` or `12h`. Default: none is.
    pub(crate) delete_untagged_after: Option<Age>,
    /// Log what would be deleted and delete nothing. Default: `false`.
    pub(crate) dry_run: Option<bool>,
}

/// Customers that share the services and have secrets, a schema and runs of jobs of their own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct TenantsKeys {
    /// Regular expression that every slug matches from its beginning to its end. Default: `^[a-z0-9][a-z0-9-]{1,48}[a-z0-9]$`.
    pub(crate) slug: Option<String>,
    /// Id of a tenant's secret in Secret Manager. Default: `${tenant.slug}-${secret}`.
    pub(crate) secret_id: Option<String>,
    /// Names of the secrets that every tenant has. Default: none.
    pub(crate) secrets: Option<Vec<String>>,
    /// Services whose accounts read the secrets of all tenants at run time. Default: none.
    pub(crate) readers: Option<Vec<String>>,
    /// A tenant's schema in the database, e.g. `tenant_${tenant.slug_underscored}`. Default: none.
    #[expect(dead_code, reason = "spread over the tenants before names are filled in; here for its schema")]
    pub(crate) schema: Option<String>,
    /// Deleting secrets of tenants is refused. Default: `true` in production, else `false`.
    pub(crate) protect: Option<bool>,
    /// The tenants by slug: a short name that other names are made from.
    pub(crate) list: Option<Named<TenantKeys>>,
}

/// One tenant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct TenantKeys {
    /// The tenant's name for people. Default: its slug.
    pub(crate) name: Option<String>,
    /// The tenant's schema in the database. Default: `tenants.schema`.
    pub(crate) schema: Option<String>,
}

/// The GitHub repository of the system.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct GithubKeys {
    /// The repository as `OWNER/NAME`. Required.
    #[schemars(regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}$"))]
    #[schemars(extend("errorMessage" = "the repository as OWNER/NAME, e.g. octo-org/shop"))]
    pub(crate) repository: Option<String>,
    /// Number of the repository, which stays when it is renamed. Required with `identity`.
    pub(crate) repository_id: Option<GithubNumber>,
    /// Number of the repository's owner. Required with `identity`.
    pub(crate) owner_id: Option<GithubNumber>,
    /// How workflows sign in to Google without a key. Default: they cannot.
    pub(crate) identity: Option<IdentityKeys>,
    /// Workflows by name, each rendered to `.github/workflows/NAME.yml` by `deployer render`. They belong to the system: all
    /// environments have to say the same.
    pub(crate) workflows: Option<Named<WorkflowKeys>>,
}

/// A workload identity pool with a provider that trusts the repository, and the accounts that its workflows become.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct IdentityKeys {
    /// Id of the workload identity pool. Required.
    pub(crate) pool: Option<PoolId>,
    /// Id of the provider in the pool. Required.
    pub(crate) provider: Option<PoolId>,
    /// Id of the service account that plans and writes nothing. Default: none.
    pub(crate) plan: Option<AccountId>,
    /// Id of the service account that applies the release layer. Default: none.
    pub(crate) deploy: Option<AccountId>,
}

/// Id of a workload identity pool or provider (IAM's rule).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct PoolId(
    #[schemars(regex(pattern = r"^(?!gcp-)[a-z0-9-]{4,32}$"))]
    #[schemars(extend("errorMessage" = "4 to 32 lower-case letters, digits and dashes, not starting with `gcp-`"))]
    pub(crate) String,
);

/// Id of a service account, the part before the `@`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct AccountId(
    #[schemars(regex(pattern = r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$"))]
    #[schemars(extend("errorMessage" = "6 to 30 lower-case letters, digits and dashes, starting with a letter (the part before the `@`)"))]
    pub(crate) String,
);

number_or_text!(
    /// A number that GitHub gave.
    GithubNumber,
    {
        "type": ["integer", "string"],
        "minimum": 1,
        "pattern": r"^[1-9][0-9]{0,18}$",
        "errorMessage": "a number, digits only"
    }
);
number_or_text!(
    /// An age.
    Age,
    {
        "type": "string",
        "pattern": r"^[1-9][0-9]{0,4}(s|m|h|d)$",
        "errorMessage": "a time such as 30d or 12h"
    }
);
