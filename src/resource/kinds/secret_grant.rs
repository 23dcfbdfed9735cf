//! Who may read a secret: `roles/secretmanager.secretAccessor` on each secret, for the accounts that use it.

use std::collections::BTreeMap;

use super::grants::{self, Spec};
use super::{secret, service_account};
use crate::config::Environment;
use crate::gcp::{Gcp, GcpError, PolicyOf};
use crate::resource::{
    Address, Consequence, Declared, Facts, Kind, Layer, Observed, Owner, Place, Scope, Settle, Undeclared,
    Verbs,
};

pub struct SecretGrant;

const ACCESSOR: &str = "roles/secretmanager.secretAccessor";

/// The grant that lets an account of the project read a secret.
pub fn accessor(secret: &str, account: &str, project: &str) -> Spec {
    Spec::new(secret, ACCESSOR, &service_account::member(account, project))
}

/// Who has to read a secret, and where the YAML says so.
struct Reader<'a> {
    secret: &'a str,
    account: &'a str,
    source: String,
}

/// The accounts of all containers that refer to secrets, and those that the YAML names as readers.
fn readers(env: &Environment) -> Vec<Reader<'_>> {
    let services = env.services.iter().flat_map(|(key, service)| {
        let main = std::iter::once((format!("services.{key}"), &service.main));
        let sidecars = service.sidecars.iter();
        let sidecars = sidecars.map(move |(name, c)| (format!("services.{key}.sidecars.{name}"), c));
        main.chain(sidecars).map(|(path, container)| (path, container, &service.service_account))
    });
    let jobs = env.jobs.values().map(|job| (job.path.clone(), &job.container, &job.service_account));
    let referring = services.chain(jobs).flat_map(|(path, container, account)| {
        let references = container.secrets.iter().chain(&container.files);
        references.filter_map(move |(target, reference)| {
            let secret = &env.secrets.get(&reference.alias)?.id;
            Some(Reader { secret, account, source: format!("{path}.secrets.{target}") })
        })
    });
    let named = env.secrets.values().flat_map(|secret| {
        let services = secret.readers.iter().filter_map(|key| env.services.get(key));
        services.map(|service| Reader {
            secret: &secret.id,
            account: &service.service_account,
            source: "tenants.readers".to_owned(),
        })
    });
    referring.chain(named).collect()
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
    type Spec = Spec;

    fn declare(env: &Environment, _: &Facts) -> Vec<Declared<Spec>> {
        let project = &env.project.id;
        let mut declared = BTreeMap::new();
        for Reader { secret, account, source } in readers(env) {
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

    fn stands_for(observed: &Observed<Spec>, facts: &Facts) -> Option<(String, String)> {
        observed.spec.stands_for(facts)
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
