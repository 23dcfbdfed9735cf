//! Which secrets there are: what the YAML declares beside what Secret Manager has. Never a value.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use futures::try_join;
use serde_json::Value;

use crate::config::Environment;
use crate::config::model::Secret as Declared;
use crate::gcp::{ErrorKind, Gcp, GcpError, Version};
use crate::resource::kinds::secret;
use crate::resource::kinds::secret_grant;
use crate::resource::kinds::service_account;
use crate::resource::{Owner, Ownership};

/// One secret of an environment; never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// Name in the YAML; `SLUG/NAME` for a tenant's.
    pub name: String,
    /// Secret Manager's id.
    pub id: String,
    /// Slug of the tenant that it belongs to.
    pub tenant: Option<String>,
    /// Versions that there are, destroyed ones counted.
    pub versions: usize,
    /// Those of them that can be read.
    pub enabled: usize,
    pub newest_enabled: Option<u64>,
    /// When the newest enabled version was made (RFC 3339).
    pub created: Option<String>,
    /// Services and jobs that read it by the YAML, as paths (`services.api`).
    pub readers: Vec<String>,
    /// Other environments whose services or jobs read it by the YAML.
    pub environments: Vec<String>,
    /// Members that may read it by its policy and are none of the YAML's accounts.
    pub other_readers: Vec<String>,
}

/// All that `deployer secrets list` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretList {
    pub environment: String,
    /// In the order of the YAML.
    pub rows: Vec<SecretRow>,
    /// Ids of secrets that are ours and that no environment declares.
    pub undeclared: Vec<String>,
}

/// Who reads one secret by the YAML.
#[derive(Default)]
struct Readers {
    users: BTreeSet<String>,
    environments: BTreeSet<String>,
    /// Members of all of them, as a policy has them.
    members: BTreeSet<String>,
}

/// All secrets of `env`, each with its versions and readers, and those that no environment of its project declares any
/// more. `others` are the other environments of the system.
pub async fn secrets(gcp: &Gcp, env: &Environment, others: &[Environment]) -> Result<SecretList, GcpError> {
    let others: Vec<_> = others.iter().filter(|other| other.project.id == env.project.id).collect();
    let mut readers = readers(env, &others);
    let rows = env.secrets.iter().map(|(alias, declared)| {
        let readers = readers.remove(&declared.id).unwrap_or_default();
        row(gcp, &env.project.id, alias, declared, readers)
    });
    let rows = try_join_all(rows.collect::<Vec<_>>());
    let (rows, undeclared) = try_join!(rows, undeclared(gcp, env, &others))?;
    Ok(SecretList { environment: env.name.clone(), rows, undeclared })
}

/// Versions of a secret; `None` when it, or its API, is not there yet.
pub async fn versions(gcp: &Gcp, project: &str, id: &str) -> Result<Option<Vec<Version>>, GcpError> {
    match gcp.list_versions(&secret::full_name(project, id)).await {
        Err(error) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => Ok(None),
        other => other,
    }
}

/// By Secret Manager's id.
fn readers(env: &Environment, others: &[&Environment]) -> BTreeMap<String, Readers> {
    let mut readers: BTreeMap<String, Readers> = BTreeMap::new();
    let project = &env.project.id;
    for reader in secret_grant::readers(env) {
        let found = readers.entry(reader.secret.to_owned()).or_default();
        found.members.insert(service_account::member(reader.account, project));
        found.users.insert(reader.user);
    }
    for other in others {
        for reader in secret_grant::readers(other) {
            let found = readers.entry(reader.secret.to_owned()).or_default();
            found.members.insert(service_account::member(reader.account, project));
            found.environments.insert(other.name.clone());
        }
    }
    readers
}

async fn row(
    gcp: &Gcp,
    project: &str,
    alias: &str,
    declared: &Declared,
    readers: Readers,
) -> Result<SecretRow, GcpError> {
    let (versions, members) =
        try_join!(versions(gcp, project, &declared.id), secret_grant::members(gcp, project, &declared.id))?;
    let versions = versions.unwrap_or_default();
    let enabled = || versions.iter().filter(|version| version.state == "ENABLED");
    let newest = enabled().max_by_key(|version| version.number);
    Ok(SecretRow {
        name: alias.to_owned(),
        id: declared.id.clone(),
        tenant: declared.tenant.clone(),
        versions: versions.len(),
        enabled: enabled().count(),
        newest_enabled: newest.map(|version| version.number),
        created: newest.and_then(|version| version.create_time.clone()),
        readers: readers.users.into_iter().collect(),
        environments: readers.environments.into_iter().collect(),
        other_readers: members.into_iter().filter(|member| !readers.members.contains(member)).collect(),
    })
}

/// Ids of the secrets of this environment that are in the project and that nobody declares any more, sorted.
async fn undeclared(gcp: &Gcp, env: &Environment, others: &[&Environment]) -> Result<Vec<String>, GcpError> {
    let all = match gcp.list_secrets(&env.project.id).await {
        Err(error) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => Vec::new(),
        other => other?,
    };
    let own = Ownership::new(&env.system, &env.name);
    let ours =
        |doc: &&Value| matches!(Ownership::owner_by_labels(doc), Owner::Marked(mark) if mark.includes(&own));
    let everybody = || std::iter::once(env).chain(others.iter().copied());
    let declared: BTreeSet<_> =
        everybody().flat_map(|env| env.secrets.values().map(|secret| secret.id.as_str())).collect();
    let ids = all.iter().filter(ours).filter_map(|doc| doc["name"].as_str()?.rsplit('/').next());
    let mut ids: Vec<_> = ids.filter(|id| !declared.contains(id)).map(str::to_owned).collect();
    ids.sort_unstable();
    Ok(ids)
}
