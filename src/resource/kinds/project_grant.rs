//! Roles in the project: what the accounts of services may do at run time, and what those of GitHub's workflows may
//! see and change.
//!
//! The project is not ours alone. Grants to our accounts are as declared; all others, to the public too, are left as
//! they are.

use std::collections::BTreeMap;

use super::grants::{self, Spec};
use super::service_account;
use crate::config::Environment;
use crate::gcp::{Gcp, GcpError, PolicyOf};
use crate::resource::{
    Address, Consequence, Declared, Facts, Kind, Layer, Observed, Owner, Place, Scope, Settle, Undeclared,
    UsedWith, Verbs,
};

pub struct ProjectGrant;

/// What it takes to plan everything: all that exists, and all policies.
const PLAN: [&str; 2] = ["roles/viewer", "roles/iam.securityReviewer"];

/// What it takes to apply releases.
const DEPLOY: [&str; 4] = [
    "roles/run.admin",
    "roles/artifactregistry.writer",
    "roles/secretmanager.viewer",
    "roles/logging.viewer",
];

/// What the sidecar that collects metrics takes.
const METRIC_WRITER: &str = "roles/monitoring.metricWriter";

/// `(account, role, YAML path)` of everything that the environment asks for.
fn asked(env: &Environment) -> Vec<(&str, &str, String)> {
    let mut found = Vec::new();
    for (key, service) in &env.services {
        let account = service.service_account.as_str();
        for (position, role) in service.roles.iter().enumerate() {
            found.push((account, role.as_str(), format!("services.{key}.roles.{position}")));
        }
        if service.metrics.is_some() {
            found.push((account, METRIC_WRITER, format!("services.{key}.metrics")));
        }
    }
    if let Some(identity) = env.github.as_ref().and_then(|github| github.identity.as_ref()) {
        let accounts = [("plan", &identity.plan, &PLAN[..]), ("deploy", &identity.deploy, &DEPLOY[..])];
        for (key, account, roles) in accounts {
            let each =
                account.iter().flat_map(|account| roles.iter().map(move |role| (account.as_str(), *role)));
            found.extend(each.map(|(account, role)| (account, role, format!("github.identity.{key}"))));
        }
    }
    found
}

impl Kind for ProjectGrant {
    const NAME: &'static str = "project_grant";
    const API: &'static str = "cloudresourcemanager.googleapis.com";
    const LAYER: Layer = Layer::Foundation;
    const VIEWER: &'static str = "roles/iam.securityReviewer";
    const VERBS: Verbs = Verbs { create: "grant", update: "update", delete: "revoke" };
    const UNDECLARED: Undeclared = Undeclared::Delete;
    type Spec = Spec;

    fn declare(env: &Environment, _: &Facts) -> Vec<Declared<Spec>> {
        let project = &env.project.id;
        let mut declared = BTreeMap::new();
        for (account, role, source) in asked(env) {
            let spec = Spec::new(project, role, &service_account::member(account, project));
            let entry = declared.entry(spec.name(project));
            entry.or_insert_with_key(|name| Declared::new(name, source, spec));
        }
        declared.into_values().collect()
    }

    fn references(_: &str, spec: &Spec) -> Vec<Address> {
        spec.referred().into_iter().collect()
    }

    fn used_with(_: &str, spec: &Spec) -> Option<UsedWith> {
        Some(UsedWith { object: spec.referred()?, by: None })
    }

    fn stands_for(observed: &Observed<Spec>, facts: &Facts) -> Option<(String, String)> {
        observed.spec.stands_for(facts)
    }

    fn consequences(before: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        Spec::consequences(before, after)
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let project = &scope.project;
        let objects = [(project.clone(), PolicyOf::Project(project.clone()))];
        grants::observe(gcp, project, objects.into_iter()).await
    }

    fn owner(observed: &Observed<Spec>, facts: &Facts) -> Owner {
        if observed.spec.public() { Owner::Foreign } else { observed.spec.owner(facts) }
    }

    async fn create(gcp: &Gcp, place: &Place, _: &str, spec: &Spec) -> Result<Settle, GcpError> {
        gcp.edit_policy(&PolicyOf::Project(place.project.clone()), &[spec.triple()], &[]).await?;
        Ok(Settle::Done)
    }

    async fn delete(gcp: &Gcp, place: &Place, _: &str, spec: &Spec) -> Result<Settle, GcpError> {
        gcp.edit_policy(&PolicyOf::Project(place.project.clone()), &[], &[spec.triple()]).await?;
        Ok(Settle::Done)
    }
}
