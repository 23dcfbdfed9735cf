//! Who may read a secret: `roles/secretmanager.secretAccessor` on each secret, for the accounts that use it.

use std::collections::{BTreeMap, BTreeSet};

use super::grants::{Grant, Spec};
use super::{run_service, secret, service_account};
use crate::config::Environment;
use crate::gcp::{ErrorKind, Gcp, GcpError, PolicyOf};
use crate::resource::{Declared, Facts, Kind, Layer, UsedWith};

pub struct SecretGrant;

/// Roles whose holders can read the value of a secret that they are granted on.
const READING: [&str; 2] = [ACCESSOR, "roles/secretmanager.admin"];

const ACCESSOR: &str = "roles/secretmanager.secretAccessor";

/// The grant that lets an account of the project read a secret.
pub fn accessor(secret: &str, account: &str, project: &str) -> Spec {
    Spec::new(secret, ACCESSOR, &service_account::member(account, project))
}

/// Who has to read a secret, and where the YAML says so.
pub struct Reader<'a> {
    /// Secret Manager's id.
    pub secret: &'a str,
    /// Id of the run-time account.
    pub account: &'a str,
    /// Path of the service or job in the YAML, e.g. `services.api`.
    pub user: String,
    /// Path of what asks for it, e.g. `services.api.secrets.DATABASE_URL`.
    source: String,
}

/// The accounts of all containers that refer to secrets, and those that the YAML names as readers.
pub fn readers(env: &Environment) -> Vec<Reader<'_>> {
    let services = env.services.iter().flat_map(|(key, service)| {
        let main = std::iter::once((String::new(), &service.main));
        let sidecars = service.sidecars.iter();
        let sidecars = sidecars.map(move |(name, c)| (format!(".sidecars.{name}"), c));
        let all = main.chain(sidecars);
        all.map(move |(inner, c)| (format!("services.{key}"), inner, c, &service.service_account))
    });
    let jobs = env.jobs.values();
    let jobs = jobs.map(|job| (job.path.clone(), String::new(), &job.container, &job.service_account));
    let referring = services.chain(jobs).flat_map(|(user, inner, container, account)| {
        let references = container.secrets.iter().chain(&container.files);
        references.filter_map(move |(target, reference)| {
            let secret = &env.secrets.get(&reference.alias)?.id;
            let source = format!("{user}{inner}.secrets.{target}");
            Some(Reader { secret, account, user: user.clone(), source })
        })
    });
    let named = env.secrets.values().flat_map(|secret| {
        let services = secret.readers.iter().filter_map(|key| Some((key, env.services.get(key)?)));
        services.map(|(key, service)| Reader {
            secret: &secret.id,
            account: &service.service_account,
            user: format!("services.{key}"),
            source: "tenants.readers".to_owned(),
        })
    });
    referring.chain(named).collect()
}

/// The members who may read a secret by the policy on it, sorted. What roles in the project allow is not looked at.
/// Nobody where the secret, or its API, is not there yet.
pub async fn members(gcp: &Gcp, project: &str, secret: &str) -> Result<Vec<String>, GcpError> {
    let policy = match gcp.policy(&PolicyOf::Secret(secret::full_name(project, secret))).await {
        Err(error) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => None,
        other => other?,
    };
    let bindings = policy.into_iter().flat_map(|policy| policy.bindings);
    let reading = bindings.filter(|binding| READING.contains(&binding.role.as_str()));
    Ok(reading.flat_map(|binding| binding.members).collect::<BTreeSet<_>>().into_iter().collect())
}

impl Grant for SecretGrant {
    const NAME: &'static str = "secret_grant";
    const API: &'static str = "secretmanager.googleapis.com";
    const LAYER: Layer = Layer::Foundation;
    const VIEWER: &'static str = "roles/secretmanager.viewer";
    const TO_IDENTITIES: bool = true;
    const ON: Option<&'static str> = Some(secret::Secret::NAME);

    fn policy(project: &str, _: &str, secret: &str) -> PolicyOf {
        PolicyOf::Secret(secret::full_name(project, secret))
    }

    fn declare(env: &Environment, _: &Facts) -> Vec<Declared<Spec>> {
        let project = &env.project.id;
        let mut declared = BTreeMap::new();
        for Reader { secret, account, source, .. } in readers(env) {
            let spec = accessor(secret, account, project);
            declared.entry(spec.name(project)).or_insert_with_key(|name| Declared::new(name, source, spec));
        }
        declared.into_values().collect()
    }

    /// A service that the YAML names as a reader says nothing of it itself; jobs read what they refer to.
    fn used_with(spec: &Spec) -> Option<UsedWith> {
        Some(UsedWith { object: spec.referred()?, by: Some(run_service::RunService::NAME) })
    }
}
