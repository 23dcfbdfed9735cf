//! What accounts may do: roles that are too broad, and accounts that are used for two things.

use super::super::diagnostic::Diagnostic;
use super::super::model::{Environment, Service};
use super::super::tree::{Findings, join};
use super::at_value;

/// Roles that mean nearly everything in a project (IAM's basic roles).
const BROAD: [&str; 3] = ["roles/owner", "roles/editor", "roles/viewer"];

pub(super) fn check_roles(path: &str, service: &Service, findings: &mut Findings) {
    for (position, role) in service.roles.iter().enumerate() {
        let at = format!("{path}.roles.{position}");
        if service.roles.iter().take(position).any(|earlier| earlier == role) {
            let diagnostic = Diagnostic::error("duplicate-name", format!("`{role}` is there twice"))
                .label("the second one")
                .hint("remove it");
            at_value(&at, diagnostic, findings);
        } else if BROAD.contains(&role.as_str()) {
            let message = format!(
                "`{role}` reaches everything in the project, and whoever breaks into the service has it too"
            );
            let diagnostic = Diagnostic::warning("broad-role", message)
                .label("too much")
                .hint("take the roles of what the service uses, e.g. `roles/cloudtrace.agent`");
            at_value(&at, diagnostic, findings);
        }
    }
}

/// The accounts of CI are nobody else's: what runs must not be able to deploy, and what plans must not be able to write.
pub(super) fn check_identity(environment: &Environment, findings: &mut Findings) {
    let Some(identity) = environment.github.as_ref().and_then(|github| github.identity.as_ref()) else {
        return;
    };
    if identity.plan.is_some() && identity.plan == identity.deploy {
        let diagnostic =
            Diagnostic::error("identity", "`plan` and `deploy` are one account, so planning could write")
                .label("the same account")
                .hint("give each an account of its own; one of the two may be left out");
        at_value("github.identity.deploy", diagnostic, findings);
    }
    let services =
        environment.services.iter().map(|(key, service)| (join("services", key), &service.service_account));
    let jobs = environment
        .jobs
        .values()
        .filter(|job| job.lender.is_none() || findings.is_written(&join(&job.path, "service_account")));
    let jobs = jobs.map(|job| (job.path.clone(), &job.service_account));
    let used: Vec<(String, &String)> = services.chain(jobs).collect();
    for (path, account) in used {
        let Some(role) = [("plan", &identity.plan), ("deploy", &identity.deploy)]
            .into_iter()
            .find_map(|(role, id)| (id.as_ref() == Some(account)).then_some(role))
        else {
            continue;
        };
        let message = format!("`{account}` is the account that CI has for `{role}`, and would run here too");
        let hint = match findings.location(&join("github.identity", role)) {
            Some(location) => format!("take another `service_account`; CI's stands at {location}"),
            None => "take another `service_account`".to_owned(),
        };
        let diagnostic = Diagnostic::error("identity", message).label("CI's own account").hint(hint);
        at_value(&join(&path, "service_account"), diagnostic, findings);
    }
}
