//! Roles in the project: what the accounts of services may do at run time, and what those of GitHub's workflows may
//! see and change.
//!
//! The project is not ours alone. Grants to our accounts are as declared; all others, to the public too, are left as
//! they are.

use std::collections::BTreeMap;

use super::grants::{Grant, Spec};
use super::service_account;
use crate::config::Environment;
use crate::gcp::PolicyOf;
use crate::resource::{Declared, Facts, Layer, Owner, UsedWith};

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

impl Grant for ProjectGrant {
    const NAME: &'static str = "project_grant";
    const API: &'static str = "cloudresourcemanager.googleapis.com";
    const LAYER: Layer = Layer::Foundation;
    const VIEWER: &'static str = "roles/iam.securityReviewer";
    const TO_IDENTITIES: bool = true;
    const ON: Option<&'static str> = None;

    fn policy(project: &str, _: &str, _: &str) -> PolicyOf {
        PolicyOf::Project(project.to_owned())
    }

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

    fn used_with(spec: &Spec) -> Option<UsedWith> {
        Some(UsedWith { object: spec.referred()?, by: None })
    }

    fn owner(spec: &Spec, facts: &Facts) -> Owner {
        if spec.public() { Owner::Foreign } else { spec.owner(facts) }
    }
}
