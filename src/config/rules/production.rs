//! What works everywhere and should not be in production, and what is old.

use super::super::diagnostic::Diagnostic;
use super::super::model::{Container, Environment, ProbeAction, Service};
use super::super::tree::{Findings, join};
use super::{at_key, at_value, containers};

pub(super) fn check(path: &str, environment: &Environment, service: &Service, findings: &mut Findings) {
    let production = is_production(&environment.name);
    for (path, container) in containers(path, service) {
        check_container(&path, production, container, findings);
    }
    let http = matches!(
        &service.main.startup_probe,
        Some(probe) if !matches!(probe.action, ProbeAction::Tcp { .. })
    );
    if production && !http && !findings.is_broken(&join(path, "startup_probe")) {
        let diagnostic = Diagnostic::warning(
            "no-http-startup-probe",
            "an instance gets requests as soon as its port is open, ready or not",
        )
        .label("no startup probe that asks the service")
        .hint("add `startup_probe: /path` with a path that answers when the service can work");
        at_key(path, diagnostic, findings);
    }
}

/// The image and the variables of one container.
pub(super) fn check_container(path: &str, production: bool, container: &Container, findings: &mut Findings) {
    check_registry(path, container, findings);
    if production {
        check_image(path, container, findings);
        check_variables(path, container, findings);
    }
}

/// By name, because nothing else in the files says it.
pub(crate) fn is_production(environment: &str) -> bool {
    environment.split(['-', '_']).any(|word| matches!(word, "production" | "prod" | "live"))
}

fn check_registry(path: &str, container: &Container, findings: &mut Findings) {
    let host = container.image.split('/').next().unwrap_or_default();
    if host == "gcr.io" || host.ends_with(".gcr.io") {
        let diagnostic = Diagnostic::warning(
            "gcr-image",
            "Container Registry (gcr.io) is shut down; Artifact Registry answers in its place",
        )
        .label("an old address")
        .hint("take `REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME`");
        at_value(&join(path, "image"), diagnostic, findings);
    }
}

fn check_image(path: &str, container: &Container, findings: &mut Findings) {
    let path = join(path, "image");
    // An image that follows from the registry has its tag from the command line.
    if !findings.is_written(&path) || container.image.contains('@') {
        return;
    }
    let last = container.image.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map(|(_, tag)| tag);
    if matches!(tag, None | Some("latest")) {
        let diagnostic = Diagnostic::warning(
            "floating-image",
            "the image is whatever was pushed last, so nobody knows what production runs",
        )
        .label(if tag.is_some() { "`latest`" } else { "no tag: `latest`" })
        .hint("name a tag that stays, or a digest (`@sha256:...`)");
        at_value(&path, diagnostic, findings);
    }
}

fn check_variables(path: &str, container: &Container, findings: &mut Findings) {
    for (name, value) in &container.env {
        let at = format!("{path}.env.{name}");
        let upper = name.to_uppercase();
        if upper.contains("CORS") && value.split([',', ' ', '[', ']', '"']).any(|origin| origin == "*") {
            let diagnostic = Diagnostic::warning(
                "cors-any",
                format!("`{name}` lets every web site call the service with a user's browser"),
            )
            .label("every origin")
            .hint("list the origins of your own sites");
            at_value(&at, diagnostic, findings);
        }
        let on = matches!(value.to_lowercase().as_str(), "true" | "1" | "yes" | "on");
        if on && (upper == "DEBUG" || upper.ends_with("_DEBUG")) {
            let diagnostic = Diagnostic::warning(
                "debug-in-production",
                format!("`{name}` is on in production: error pages then show code and settings"),
            )
            .label("on")
            .hint("set it in the overlays of the other environments only");
            at_value(&at, diagnostic, findings);
        }
    }
}
