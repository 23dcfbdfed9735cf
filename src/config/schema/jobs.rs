//! Keys of jobs and migrations.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Cpu, Memory, Named, VolumeKeys, VpcKeys};

/// A Cloud Run job.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct JobKeys {
    /// Nothing but `deployer run` starts the job. Default: `false`.
    pub(crate) manual: Option<bool>,
    /// Names of arguments that each run is given, for `${args.NAME}` in `command` after its first word. Default: none.
    pub(crate) args_from: Option<Vec<ArgName>>,
    /// Tasks of an execution. Default: `1`.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) tasks: Option<u32>,
    /// Tasks that run at the same time. Default: `1`.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) parallelism: Option<u32>,
    #[serde(flatten)]
    pub(crate) common: JobCommon,
}

/// A job that runs before new revisions get traffic.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct MigrationKeys {
    /// Migrations that must have succeeded first. One for each tenant waits for the same tenant's, any other one for those of all.
    pub(crate) needs: Option<Vec<String>>,
    /// Services whose new revisions wait for it. Default: the `service`.
    pub(crate) before: Option<Vec<String>>,
    /// What served before it ran can still serve after it; with `false`, `deployer rollback` refuses to go back past it. Default: `true`.
    pub(crate) backward_compatible: Option<bool>,
    #[serde(flatten)]
    pub(crate) common: JobCommon,
}

/// What jobs and migrations have in common.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct JobCommon {
    /// Service whose image, account, variables, secrets, network, CPUs and memory the job borrows; what the job says itself wins,
    /// in `env` and `secrets` name by name.
    pub(crate) service: Option<String>,
    /// `tenants`: one job for each tenant, in which `${tenant.slug}` and its like have values. Default: one job.
    pub(crate) for_each: Option<ForEach>,
    /// Cloud Run's name of the job, at most 63 characters. Default: `naming.resource`, with `migrate-` before the name of a migration
    /// and the slug after that of a tenant's job. A tenant's longer name is shortened.
    pub(crate) name: Option<String>,
    /// Container image. Default: the service's; required without a `service`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"))]
    #[schemars(extend("errorMessage" = "an image reference such as REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG"))]
    pub(crate) image: Option<String>,
    /// What runs: the first word is the container's entrypoint, the others are its arguments. Default: the image's own.
    pub(crate) command: Option<Vec<String>>,
    /// CPUs: `1`, `2`, `4`, `6` or `8`. Default: the service's, at least `1`.
    pub(crate) cpu: Option<Cpu>,
    /// Memory, e.g. `512Mi` or `2Gi`. Default: the service's, at least `512Mi`.
    pub(crate) memory: Option<Memory>,
    /// Environment variables. Numbers and booleans become text.
    pub(crate) env: Option<Named<String>>,
    /// Secrets as `NAME: alias[:version]` for an environment variable or `/path/to/file: alias[:version]` for a file.
    pub(crate) secrets: Option<Named<String>>,
    /// Secrets as files: `x` or `x:version` is the file `/secrets/x/x`. Default: the service's.
    pub(crate) secret_files: Option<Vec<String>>,
    /// Directories by absolute path.
    pub(crate) volumes: Option<Named<VolumeKeys>>,
    /// Run-time service account: its id, the part before the `@`. Default: the service's, else the job's Cloud Run name without a slug.
    pub(crate) service_account: Option<String>,
    /// Way into a VPC network. Default: the service's.
    pub(crate) vpc: Option<VpcKeys>,
    /// Longest time that one attempt of a task may take, up to `168h`. Default: `600s`.
    pub(crate) timeout: Option<JobSeconds>,
    /// Further attempts of a task that failed. Default: `3`, and `0` for a migration.
    #[schemars(range(min = 0, max = 10))]
    pub(crate) max_retries: Option<u32>,
    /// Labels of the job, beside those that deployer sets.
    pub(crate) labels: Option<Named<String>>,
    /// Deleting the job is refused. Default: `false`.
    pub(crate) protect: Option<bool>,
}

/// What a job is repeated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ForEach {
    Tenants,
}

/// Name of an argument of a run.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct ArgName(
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_-]{0,62}$"))]
    #[schemars(extend("errorMessage" = "lower-case letters, digits, dashes and underscores, starting with a letter"))]
    pub(crate) String,
);

number_or_text!(
    /// A time of whole seconds, up to a week.
    JobSeconds,
    {
        "type": ["integer", "string"],
        "minimum": 1,
        "maximum": 604_800,
        "pattern": r"^[1-9][0-9]{0,5}(s|m|h)?$",
        "errorMessage": "a time such as 600, 600s, 30m or 24h"
    }
);
