//! Who may read a secret: `roles/secretmanager.secretAccessor` on each secret, for the accounts that use it.

use std::collections::{BTreeMap, BTreeSet};

use super::grants::{self, Spec};
use super::{run_service, secret, service_account};
use crate::config::Environment;
use crate::gcp::{ErrorKind, Gcp, GcpError, PolicyOf};
use crate::resource::{
    Address, Consequence, Declared, Facts, Kind, Layer, Observed, Owner, Place, Scope, Settle, Undeclared,
    UsedWith, Verbs,
};

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
    let policy = match gcp.policy(&policy(project, secret)).await {
        Err(error) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => None,
        other => other?,
    };
    let bindings = policy.into_iter().flat_map(|policy| policy.bindings);
    let reading = bindings.filter(|binding| READING.contains(&binding.role.as_str()));
    Ok(reading.flat_map(|binding| binding.members).collect::<BTreeSet<_>>().into_iter().collect())
}

fn policy(place_project: &str, secret: &str) -> PolicyOf {
    PolicyOf::Secret(secret::full_name(place_project, secret))
}

impl Kind for SecretGrant {
    const NAME: &'static str = "secret_grant";
    const API: &'static str = "secretmanager.googleapis.com";
    const LAYER: Layer = Layer::Foundation;
    const VIEWER: &'static str = "roles/secretmanager.viewer";
    const VERBS: Verbs = Verbs { create: "grant", update: "update", delete: "revoke" };
    const UNDECLARED: Undeclared = Undeclared::Delete;
    const GRANTED_ON: Option<&'static str> = Some(secret::Secret::NAME);
    type Spec = Spec;

    fn declare(env: &Environment, _: &Facts) -> Vec<Declared<Spec>> {
        let project = &env.project.id;
        let mut declared = BTreeMap::new();
        for Reader { secret, account, source, .. } in readers(env) {
            let spec = accessor(secret, account, project);
            declared.entry(spec.name(project)).or_insert_with_key(|name| Declared::new(name, source, spec));
        }
        declared.into_values().collect()
    }

    fn references(_: &str, spec: &Spec) -> Vec<Address> {
        std::iter::once(Address::of::<secret::Secret>(&spec.on)).chain(spec.referred()).collect()
    }

    fn part_of(_: &str, spec: &Spec) -> Option<Address> {
        Some(Address::of::<secret::Secret>(&spec.on))
    }

    /// A service that the YAML names as a reader says nothing of it itself; jobs read what they refer to.
    fn used_with(_: &str, spec: &Spec) -> Option<UsedWith> {
        Some(UsedWith { object: spec.referred()?, by: Some(run_service::RunService::NAME) })
    }

    fn stands_for(observed: &Observed<Spec>, facts: &Facts) -> Option<(String, String)> {
        observed.spec.stands_for(facts)
    }

    fn serves_another(observed: &Observed<Spec>, facts: &Facts) -> bool {
        observed.spec.serves_another(facts)
    }

    fn consequences(before: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        Spec::consequences(before, after)
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let project = &scope.project;
        let objects = scope.names::<secret::Secret>().map(|id| (id.to_owned(), policy(project, id)));
        grants::observe(gcp, project, objects).await
    }

    fn owner(observed: &Observed<Spec>, facts: &Facts) -> Owner {
        observed.spec.owner(facts)
    }

    async fn create(gcp: &Gcp, place: &Place, _: &str, spec: &Spec) -> Result<Settle, GcpError> {
        gcp.edit_policy(&policy(&place.project, &spec.on), &[spec.triple()], &[]).await?;
        Ok(Settle::Done)
    }

    async fn delete(gcp: &Gcp, place: &Place, _: &str, spec: &Spec) -> Result<Settle, GcpError> {
        gcp.edit_policy(&policy(&place.project, &spec.on), &[], &[spec.triple()]).await?;
        Ok(Settle::Done)
    }
}
