//! Checks that look at more than one key: one file per subject, one function per rule.

mod accounts;
mod instances;
mod jobs;
mod labels;
mod names;
mod patch;
mod probes;
mod production;
mod secret_text;
mod sidecars;
mod variables;

pub(crate) use production::is_production;

use super::diagnostic::Diagnostic;
use super::model::{Container, Environment, Service};
use super::tree::{Findings, Node, Part, join};

/// Reports everything in the environment that cannot work or is probably not meant.
pub(crate) fn check(environment: &Environment, tree: &Node, findings: &mut Findings) {
    names::check(environment, findings);
    secret_text::check_vars(tree, findings);
    labels::check_secrets(environment, findings);
    for (key, service) in &environment.services {
        let path = join("services", key);
        names::check_service(&path, environment, service, findings);
        instances::check(&path, service, findings);
        labels::check(&join(&path, "labels"), &service.labels, findings);
        sidecars::check(&path, key, service, findings);
        patch::check(&path, key, service, findings);
        for (path, container) in containers(&path, service) {
            variables::check(&path, container, findings);
            secret_text::check(&path, container, findings);
            probes::check(&path, container, findings);
        }
        production::check(&path, environment, service, findings);
        accounts::check_roles(&path, service, findings);
    }
    for (key, job) in &environment.jobs {
        jobs::check(&jobs::path(key, job), environment, job, findings);
    }
    if let Some(registry) = &environment.registry {
        labels::check("registry.labels", &registry.labels, findings);
    }
    accounts::check_identity(environment, findings);
}

/// The containers of a service with their paths, its own first.
fn containers<'a>(path: &'a str, service: &'a Service) -> impl Iterator<Item = (String, &'a Container)> {
    let sidecars =
        service.sidecars.iter().map(move |(name, container)| (format!("{path}.sidecars.{name}"), container));
    std::iter::once((path.to_owned(), &service.main)).chain(sidecars)
}

/// A problem of the key at `path` as a whole.
fn at_key(path: &str, diagnostic: Diagnostic, findings: &mut Findings) {
    findings.add(Part::Key, path, diagnostic);
}

/// A problem of the value at `path`; at its parent when a default is the problem.
fn at_value(path: &str, diagnostic: Diagnostic, findings: &mut Findings) {
    findings.add(Part::Value, path, diagnostic);
}
