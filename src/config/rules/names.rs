//! Names that Google must accept, and names that must not meet.

use std::collections::HashMap;

use super::super::diagnostic::Diagnostic;
use super::super::host;
use super::super::interpolate::STAND_IN_NUMBER;
use super::super::model::{Environment, Job, Secret, Service};
use super::super::resolve::MAX_JOB_NAME;
use super::super::tree::{Findings, join};
use super::{at_key, at_value};

/// Longest name of a Cloud Run service.
const MAX_SERVICE_NAME: usize = 49;

/// Names that two entries share.
pub(super) fn check(environment: &Environment, findings: &mut Findings) {
    let ids = environment.secrets.iter().filter(|(_, secret)| {
        // What a wrong pattern of ids brings together has been reported once.
        secret.tenant.is_none() || !findings.is_broken("tenants.secret_id")
    });
    let ids: Vec<Named<'_>> = ids
        .map(|(alias, secret)| Named { key: alias, path: secret_path(alias, secret), name: &secret.id })
        .collect();
    for (first, second) in twins(&ids) {
        let message = format!("`{}` and `{}` stand for one secret, `{}`", second.key, first.key, second.name);
        let hint = "keep one name for it, and use that in all services";
        let of_tenant = second.path.starts_with("tenants") || first.path.starts_with("tenants");
        let hint =
            if of_tenant { "rename one of them, or tell them apart in `tenants.secret_id`" } else { hint };
        report_twin(message, hint, first, second, findings);
    }
    let services: Vec<Named<'_>> = environment
        .services
        .iter()
        .map(|(key, service)| Named { key, path: join("services", key), name: &service.name })
        .collect();
    for (first, second) in twins(&services) {
        let message =
            format!("`{}` and `{}` have one name in Cloud Run, `{}`", second.key, first.key, second.name);
        let hint = "give one of them another `name`, or put `${name}` into `naming.resource`";
        report_twin(message, hint, first, second, findings);
    }
    let jobs: Vec<Named<'_>> = environment
        .jobs
        .iter()
        .map(|(key, job)| Named { key, path: job.path.clone(), name: &job.name })
        .collect();
    for (first, second) in twins(&jobs) {
        let message = format!(
            "the jobs `{}` and `{}` have one name in Cloud Run, `{}`",
            second.key, first.key, second.name
        );
        let hint =
            "give one of them another `name`; that of a job for each tenant has `${tenant.slug}` in it";
        report_twin(message, hint, first, second, findings);
    }
    let schemas: Vec<Named<'_>> = environment
        .tenants
        .iter()
        .filter_map(|(slug, tenant)| {
            let path = format!("tenants.list.{slug}");
            if findings.is_broken(&join(&path, "schema")) {
                return None;
            }
            Some(Named { key: slug, path, name: tenant.schema.as_deref()? })
        })
        .collect();
    for (first, second) in twins(&schemas) {
        let message = format!(
            "the tenants `{}` and `{}` would share one schema, `{}`",
            second.key, first.key, second.name
        );
        report_twin(message, "give one of them another `schema`", first, second, findings);
    }
}

/// What has a name that must be its own.
struct Named<'a> {
    key: &'a str,
    path: String,
    name: &'a str,
}

/// A tenant's secret is shown where its own name stands in the list.
fn secret_path(alias: &str, secret: &Secret) -> String {
    if secret.tenant.is_none() { join("secrets", alias) } else { secret.path.clone() }
}

/// Each entry whose name an earlier one has already, after that one.
fn twins<'a>(entries: &'a [Named<'a>]) -> Vec<(&'a Named<'a>, &'a Named<'a>)> {
    let mut first: HashMap<&str, &Named<'_>> = HashMap::new();
    let mut found = Vec::new();
    for entry in entries {
        match first.get(entry.name) {
            Some(earlier) => found.push((*earlier, entry)),
            None => {
                first.insert(entry.name, entry);
            }
        }
    }
    found
}

fn report_twin(message: String, hint: &str, first: &Named<'_>, second: &Named<'_>, findings: &mut Findings) {
    let hint = match findings.location(&first.path) {
        Some(location) => format!("the first one is at {location}; {hint}"),
        None => hint.to_owned(),
    };
    let diagnostic = Diagnostic::error("duplicate-name", message).label("the second one").hint(hint);
    at_key(&second.path, diagnostic, findings);
}

/// The name and the account of one job.
pub(super) fn check_job(path: &str, job: &Job, findings: &mut Findings) {
    let name_path = join(path, "name");
    if findings.is_broken(&name_path) || findings.is_broken("naming.resource") {
        return;
    }
    if job.name.len() > MAX_JOB_NAME || !is_dashed_word(&job.name) {
        let diagnostic = Diagnostic::error("job-name", format!("`{}` cannot be the name of a Cloud Run job", job.name))
            .label("not a name")
            .hint(format!(
                "lower-case letters, digits and dashes, starting with a letter, not ending with a dash, at most {MAX_JOB_NAME} characters (this has {}); set `name`",
                job.name.chars().count()
            ));
        at_value(&name_path, diagnostic, findings);
        return;
    }
    check_account(path, "job", &job.service_account, job.name == job.service_account, findings);
}

/// The name and the account of one service.
pub(super) fn check_service(
    path: &str,
    environment: &Environment,
    service: &Service,
    findings: &mut Findings,
) {
    let name_path = join(path, "name");
    if findings.is_broken(&name_path) || findings.is_broken("naming.resource") {
        return;
    }
    if !is_service_name(&service.name) {
        let diagnostic = Diagnostic::error("service-name", format!("`{}` cannot be the name of a Cloud Run service", service.name))
            .label("not a name")
            .hint(format!(
                "lower-case letters, digits and dashes, starting with a letter, not ending with a dash, at most {MAX_SERVICE_NAME} characters (this has {}); set `name`",
                service.name.chars().count()
            ));
        at_value(&name_path, diagnostic, findings);
        return;
    }
    check_account(
        path,
        "service",
        &service.service_account,
        service.service_account == service.name,
        findings,
    );
    let number = environment.project.number.unwrap_or(STAND_IN_NUMBER);
    let label = host::label(&service.name, number);
    if label.len() > host::MAX_LABEL {
        let message = format!(
            "`{label}` has {} characters, so the service's address is not the one that `${{services.X.url}}` says",
            label.len()
        );
        let diagnostic =
            Diagnostic::warning("long-url", message).label("too long").hint("take a shorter `name`");
        at_value(&name_path, diagnostic, findings);
    }
}

fn check_account(path: &str, what: &str, account: &str, derived: bool, findings: &mut Findings) {
    let account_path = join(path, "service_account");
    if findings.is_broken(&account_path) || is_account_id(account) {
        return;
    }
    let length = account.chars().count();
    let message = if derived {
        format!(
            "the service account would be called like the {what}, `{account}`, and its id must have 6 to 30 characters (this has {length})"
        )
    } else {
        format!("`{account}` cannot be the id of a service account")
    };
    let diagnostic = Diagnostic::error("service-account-id", message).label("no id for an account").hint(
        "set `service_account` to 6 to 30 lower-case letters, digits and dashes, starting with a letter",
    );
    at_value(&account_path, diagnostic, findings);
}

fn is_service_name(name: &str) -> bool {
    name.len() <= MAX_SERVICE_NAME && is_dashed_word(name)
}

fn is_account_id(id: &str) -> bool {
    (6..=30).contains(&id.len()) && is_dashed_word(id)
}

/// Lower-case letters, digits and dashes; a letter first, no dash last.
pub(super) fn is_dashed_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && !word.ends_with('-')
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
