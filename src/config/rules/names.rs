//! Names that Google must accept, and names that must not meet.

use std::collections::HashMap;

use super::super::diagnostic::Diagnostic;
use super::super::interpolate::STAND_IN_NUMBER;
use super::super::model::{Environment, Service};
use super::super::tree::{Findings, join};
use super::{at_key, at_value};

/// Longest name of a Cloud Run service.
const MAX_SERVICE_NAME: usize = 49;
/// Longest label of a host name; `NAME-NUMBER` is one.
const MAX_HOST_LABEL: usize = 63;

/// Names that two entries share.
pub(super) fn check(environment: &Environment, findings: &mut Findings) {
    let mut by_id: HashMap<&str, &str> = HashMap::new();
    for (alias, secret) in &environment.secrets {
        if let Some(first) = by_id.insert(&secret.id, alias) {
            let message = format!("`{alias}` and `{first}` stand for one secret, `{}`", secret.id);
            let diagnostic = Diagnostic::error("duplicate-name", message)
                .label("the second one")
                .hint("keep one name for it, and use that in all services");
            at_key(&join("secrets", alias), diagnostic, findings);
        }
    }
    let mut by_name: HashMap<&str, &str> = HashMap::new();
    for (key, service) in &environment.services {
        if let Some(first) = by_name.insert(&service.name, key) {
            let message = format!("`{key}` and `{first}` have one name in Cloud Run, `{}`", service.name);
            let diagnostic = Diagnostic::error("duplicate-name", message)
                .label("the second one")
                .hint("give one of them another `name`, or put `${name}` into `naming.resource`");
            at_key(&join("services", key), diagnostic, findings);
        }
    }
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
    check_account(path, service, findings);
    let number = environment.project.number.unwrap_or(STAND_IN_NUMBER);
    let length = service.name.len() + 1 + number.to_string().len();
    if length > MAX_HOST_LABEL {
        let message = format!(
            "`{}-{number}` has {length} characters, so the service's address is not the one that `${{services.X.url}}` says",
            service.name
        );
        let diagnostic =
            Diagnostic::warning("long-url", message).label("too long").hint("take a shorter `name`");
        at_value(&name_path, diagnostic, findings);
    }
}

fn check_account(path: &str, service: &Service, findings: &mut Findings) {
    let account_path = join(path, "service_account");
    if findings.is_broken(&account_path) || is_account_id(&service.service_account) {
        return;
    }
    let derived = service.service_account == service.name;
    let length = service.service_account.chars().count();
    let message = if derived {
        format!(
            "the service account would be called like the service, `{}`, and its id must have 6 to 30 characters (this has {length})",
            service.name
        )
    } else {
        format!("`{}` cannot be the id of a service account", service.service_account)
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
