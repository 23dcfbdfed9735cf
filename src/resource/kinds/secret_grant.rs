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
        for (key, service) in &env.services {
            let containers = std::iter::once((format!("services.{key}"), &service.main)).chain(
                service.sidecars.iter().map(|(name, c)| (format!("services.{key}.sidecars.{name}"), c)),
            );
            for (path, container) in containers {
                for (target, reference) in container.secrets.iter().chain(&container.files) {
                    let Some(secret) = env.secrets.get(&reference.alias) else { continue };
                    let spec = accessor(&secret.id, &service.service_account, project);
                    let source = format!("{path}.secrets.{target}");
                    declared
                        .entry(spec.name(project))
                        .or_insert_with_key(|name| Declared::new(name, source, spec));
                }
            }
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
