//! Sidecars: their names, and the order in which containers start.

use super::super::circle::{Waits, circles};
use super::super::diagnostic::{Diagnostic, did_you_mean};
use super::super::model::{Container, Metrics, Service};
use super::super::tree::{Findings, join};
use super::names::is_dashed_word;
use super::{at_key, at_value, containers};

/// What the service's own container is called at Google when there are several.
const MAIN: &str = "main";
/// Most containers of an instance.
const MAX_CONTAINERS: usize = 10;

pub(super) fn check(path: &str, key: &str, service: &Service, findings: &mut Findings) {
    let containers_of_all = service.sidecars.len() + 1 + usize::from(service.metrics.is_some());
    if containers_of_all > MAX_CONTAINERS {
        let message =
            format!("an instance has at most {MAX_CONTAINERS} containers, and these are {containers_of_all}");
        at_key(&join(path, "sidecars"), Diagnostic::error("sidecar", message).label("too many"), findings);
    }
    if service.metrics.is_some() && service.sidecars.contains_key(Metrics::COLLECTOR) {
        let message = format!("`{}` is the container that collects `metrics`", Metrics::COLLECTOR);
        let diagnostic = Diagnostic::error("sidecar", message)
            .label("not this name")
            .hint("give it another name, or take out `metrics`");
        at_key(&format!("{path}.sidecars.{}", Metrics::COLLECTOR), diagnostic, findings);
    }
    for name in service.sidecars.keys() {
        check_name(&format!("{path}.sidecars.{name}"), name, key, findings);
    }
    for (path, container) in containers(path, service) {
        check_order(&path, container, service, findings);
    }
    let waits = service
        .sidecars
        .iter()
        .map(|(name, sidecar)| (name.as_str(), sidecar.depends_on.iter().map(String::as_str).collect()));
    for circle in circles(&waits.collect::<Waits<'_>>()) {
        let message = format!("the sidecars wait for each other: `{}`", circle.join("` -> `"));
        let diagnostic =
            Diagnostic::error("depends-on", message).label("a circle").hint("one of them must start first");
        let first = circle.first().map(String::as_str).unwrap_or_default();
        let at = format!("{path}.sidecars.{first}.depends_on");
        at_key(&at, diagnostic, findings);
    }
}

fn check_name(path: &str, name: &str, service: &str, findings: &mut Findings) {
    let message = if name == MAIN || name == service {
        format!("`{name}` is the service's own container")
    } else if name.len() > 63 || !is_dashed_word(name) {
        format!("`{name}` cannot be the name of a container")
    } else {
        return;
    };
    let diagnostic = Diagnostic::error("sidecar", message)
        .label("not this name")
        .hint("lower-case letters, digits and dashes, starting with a letter, at most 63");
    at_key(path, diagnostic, findings);
}

fn check_order(path: &str, container: &Container, service: &Service, findings: &mut Findings) {
    for (position, wanted) in container.depends_on.iter().enumerate() {
        if service.sidecars.contains_key(wanted) {
            continue;
        }
        let diagnostic = Diagnostic::error("depends-on", format!("there is no sidecar `{wanted}`"))
            .label("unknown sidecar");
        let names = service.sidecars.keys().map(String::as_str);
        let diagnostic = match did_you_mean(wanted, names.clone()) {
            Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
            None if service.sidecars.is_empty() => diagnostic.hint("the service has no `sidecars`"),
            None => diagnostic.hint(format!("the sidecars are: {}", names.collect::<Vec<_>>().join(", "))),
        };
        at_value(&format!("{path}.depends_on.{position}"), diagnostic, findings);
    }
}
