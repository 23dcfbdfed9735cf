//! What new revisions have to show: health from three places, and smoke checks.

use indexmap::IndexMap;
use serde_json::Value;

use super::super::diagnostic::Diagnostic;
use super::super::model::Service;
use super::super::rollout::{Health, Smoke};
use super::super::schema::{
    ContainerKeys, Expect, HealthKeys, Named, ProbeFields, ProbeKeys, RolloutKeys, SmokeKeys, Status,
};
use super::super::tree::{Findings, Node, Part, join};
use super::{Limits, in_file_order, require, seconds, text_map, unknown_service};

const ATTEMPTS: u32 = 10;
const SUCCESSES: u32 = 3;
const INTERVAL: Limits = Limits { least: 1, most: 60, default: 1 };
const MAX_TIME: Limits = Limits { least: 1, most: 60, default: 10 };
const EXPECT: u16 = 200;

/// A start may take as long as with Cloud Run's own probe of the port, and is seen within a second.
const STARTUP_PERIOD: u32 = 1;
const STARTUP_FAILURES: u32 = 240;

/// The probes that the service's `health` stands for, where the container has none of its own.
pub(super) fn probes(health: Option<&String>, container: &mut ContainerKeys) {
    let Some(path) = health else { return };
    container.startup_probe.get_or_insert_with(|| {
        ProbeKeys::Full(Box::new(ProbeFields {
            path: Some(path.clone()),
            period_seconds: Some(STARTUP_PERIOD),
            failure_threshold: Some(STARTUP_FAILURES),
            ..ProbeFields::default()
        }))
    });
    container.liveness_probe.get_or_insert_with(|| ProbeKeys::Path(path.clone()));
}

/// The health of a service: what it says itself, then what the file says for all, then its `health`.
pub(super) fn health(
    path: &str,
    own: Option<RolloutKeys>,
    all: Option<&RolloutKeys>,
    health: Option<String>,
    findings: &mut Findings,
) -> Option<Health> {
    let own = own.and_then(|keys| keys.health).unwrap_or_default();
    let all = all.and_then(|keys| keys.health.clone()).unwrap_or_default();
    let place =
        |written: bool| if written { join(path, "rollout.health") } else { "rollout.health".to_owned() };
    let HealthKeys { path: own_path, attempts, interval, successes } = own;
    let at = place(attempts.is_some() || successes.is_some());
    let interval_at = join(&place(interval.is_some()), "interval");
    let found = Health {
        path: own_path.or(all.path).or(health)?,
        attempts: attempts.or(all.attempts).unwrap_or(ATTEMPTS),
        interval: seconds(&interval_at, interval.or(all.interval).map(|time| time.0), INTERVAL, findings),
        successes: successes.or(all.successes).unwrap_or(SUCCESSES),
    };
    if found.successes > found.attempts {
        let (successes, attempts) = (found.successes, found.attempts);
        let message = format!("{attempts} requests cannot have {successes} good answers");
        let diagnostic = Diagnostic::error("rollout", message)
            .label("never healthy")
            .hint("raise `attempts`, or lower `successes`");
        findings.add(Part::Key, &at, diagnostic);
    }
    Some(found)
}

pub(super) fn smoke(
    written: Option<Named<SmokeKeys>>,
    services: &IndexMap<String, Service>,
    root: &Node,
    findings: &mut Findings,
) -> Vec<Smoke> {
    let each = in_file_order(written, root, "smoke").into_iter();
    each.filter_map(|(name, keys)| check(name, keys, services, findings)).collect()
}

fn check(
    name: String,
    mut keys: SmokeKeys,
    services: &IndexMap<String, Service>,
    findings: &mut Findings,
) -> Option<Smoke> {
    let path = join("smoke", &name);
    let service = service(&path, keys.service.take(), services, findings)?;
    let health = services.get(&service).and_then(|service| service.health.as_ref());
    let (method, target) = request(&path, &mut keys, health, findings)?;
    if matches!(method, "GET" | "HEAD") && keys.body.is_some() {
        let diagnostic = Diagnostic::error("smoke", format!("a {method} request has no body"))
            .label("a body")
            .hint("remove it, or ask with `post` or `put`");
        findings.add(Part::Key, &join(&path, "body"), diagnostic);
    }
    let mut headers = text_map(keys.headers);
    let body = keys.body.map(|body| match body {
        Value::String(text) => text,
        json => {
            let told = headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
            if !told {
                headers.insert("content-type".to_owned(), "application/json".to_owned());
            }
            json.to_string()
        }
    });
    let max_time = seconds(&join(&path, "max_time"), keys.max_time.map(|time| time.0), MAX_TIME, findings);
    Some(Smoke {
        name,
        service,
        method: method.to_owned(),
        url: keys.url,
        path: target,
        headers,
        body,
        expect: match keys.expect {
            None => vec![EXPECT],
            Some(Expect::One(Status(status))) => vec![status],
            Some(Expect::Any(statuses)) => statuses.into_iter().map(|status| status.0).collect(),
        },
        json: keys.json,
        text: keys.text,
        version: keys.version,
        max_time,
    })
}

fn service(
    path: &str,
    wanted: Option<String>,
    services: &IndexMap<String, Service>,
    findings: &mut Findings,
) -> Option<String> {
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    let Some(wanted) = wanted else {
        if let [only] = names.as_slice() {
            return Some((*only).to_owned());
        }
        let example = format!("service: {}", names.first().unwrap_or(&"NAME"));
        require(&join(path, "service"), &example, "there are several services to ask", findings);
        return None;
    };
    if services.contains_key(&wanted) {
        return Some(wanted);
    }
    if !findings.is_broken(&join("services", &wanted)) {
        findings.add(Part::Value, &join(path, "service"), unknown_service(&wanted, &names));
    }
    None
}

/// Method and path of the one request.
fn request(
    path: &str,
    keys: &mut SmokeKeys,
    health: Option<&Health>,
    findings: &mut Findings,
) -> Option<(&'static str, String)> {
    let all = [
        ("get", "GET", keys.get.take()),
        ("head", "HEAD", keys.head.take()),
        ("post", "POST", keys.post.take()),
        ("put", "PUT", keys.put.take()),
        ("delete", "DELETE", keys.delete.take()),
    ];
    let broken = all.iter().any(|(key, _, _)| findings.is_broken(&join(path, key)));
    let mut asked = all.into_iter().filter_map(|(_, method, target)| Some((method, target?)));
    match (asked.next(), asked.next()) {
        (Some(request), None) => return Some(request),
        (None, _) if broken => return None,
        (None, _) => {
            if let Some(health) = health {
                return Some(("GET", health.path.clone()));
            }
            let diagnostic = Diagnostic::error("smoke", "the check does not say what it asks for")
                .label("no request")
                .hint("add e.g. `get: /version`, or give the service its `health`");
            findings.add(Part::Key, path, diagnostic);
        }
        (Some(_), Some(_)) => {
            let diagnostic = Diagnostic::error("smoke", "the check asks for more than one thing")
                .label("asks twice")
                .hint("keep one of `get`, `head`, `post`, `put` and `delete`; make a check of each");
            findings.add(Part::Key, path, diagnostic);
        }
    }
    None
}
