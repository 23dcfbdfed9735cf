//! One job or migration: names, sizes, variables, and what it says itself beside what it borrows.

use super::super::diagnostic::Diagnostic;
use super::super::model::{Container, Environment, Job};
use super::super::tree::{Findings, join};
use super::{at_key, instances, labels, names, production, secret_text, variables};

/// The path of the job in the tree, where each tenant's has one of its own.
pub(super) fn path(key: &str, job: &Job) -> String {
    let map = if job.migration { "migrations" } else { "jobs" };
    join(map, key)
}

pub(super) fn check(path: &str, environment: &Environment, job: &Job, findings: &mut Findings) {
    names::check_job(path, job, findings);
    instances::check_job(path, job, findings);
    labels::check(&join(path, "labels"), &job.labels, findings);
    variables::check(path, &job.container, findings);
    check_variables(path, &job.container, findings);
    let own = own(path, job, findings);
    secret_text::check(path, &own, findings);
    production::check_container(path, production::is_production(&environment.name), &own, findings);
    check_words(path, job, findings);
}

/// What the job says itself: what it has from its service is checked, and accepted, there.
fn own(path: &str, job: &Job, findings: &Findings) -> Container {
    let mut own = job.container.clone();
    if let Some(lender) = &job.lender {
        own.env.retain(|name, _| {
            !findings.is_same_text(&format!("{path}.env.{name}"), &format!("services.{lender}.env.{name}"))
        });
    }
    // Words are checked with their places in `command`, see below.
    own.command.clear();
    own.args.clear();
    own
}

/// The words of `command`, which are the container's command and its arguments.
fn check_words(path: &str, job: &Job, findings: &mut Findings) {
    let arguments = if job.args_from.is_empty() { &job.container.args } else { &job.args_template };
    let words: Vec<String> = job.container.command.iter().chain(arguments).cloned().collect();
    secret_text::check_words(&join(path, "command"), "command", &words, findings);
}

/// Variables that Cloud Run sets in every task of a job.
const SET_BY_CLOUD_RUN: &str = "CLOUD_RUN_";

fn check_variables(path: &str, container: &Container, findings: &mut Findings) {
    let (variables, secrets) = (container.env.keys(), container.secrets.keys());
    let all = variables.map(|name| ("env", name)).chain(secrets.map(|name| ("secrets", name)));
    for (key, name) in all.filter(|(_, name)| name.starts_with(SET_BY_CLOUD_RUN)) {
        let diagnostic = Diagnostic::error("reserved-env", format!("Cloud Run sets `{name}` itself"))
            .label("reserved")
            .hint("take another name");
        at_key(&format!("{path}.{key}.{name}"), diagnostic, findings);
    }
}
