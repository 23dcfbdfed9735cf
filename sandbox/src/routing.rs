//! Finds the documented method that a request means: by host, by a first path segment naming a host, or by path.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use crate::error::Status;
use crate::methods::{self, Method};
use crate::services;

/// A request that means a documented method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub method: &'static Method,
    /// Decoded values of the template's variables.
    pub vars: BTreeMap<String, String>,
    /// The decoded segments between the version and a custom verb.
    pub segments: Vec<String>,
}

/// The API's host that a host name stands for: regional, locational and mTLS names are understood.
///
/// `None` for a name outside `googleapis.com`, such as the loopback address itself.
pub fn api_host(name: &str) -> Option<String> {
    let name = name
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(name, |(host, _)| host);
    let name = name.to_ascii_lowercase();
    let service = name.strip_suffix(".googleapis.com")?;
    let first = service.split('.').next().unwrap_or(service);
    let known = hosts();
    let api = if known.contains(format!("{first}.googleapis.com").as_str()) {
        first
    } else {
        // `us-central1-run` and the like.
        first
            .match_indices('-')
            .map(|(at, _)| &first[at + 1..])
            .find(|rest| known.contains(format!("{rest}.googleapis.com").as_str()))
            .unwrap_or(first)
    };
    Some(format!("{api}.googleapis.com"))
}

fn hosts() -> &'static BTreeSet<&'static str> {
    static HOSTS: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    HOSTS.get_or_init(|| methods::all().iter().map(|method| method.host).collect())
}

/// A method with its template taken apart.
struct Pattern {
    method: &'static Method,
    segments: Vec<Segment>,
}

struct Segment {
    /// `Some` for a variable, by its short name.
    variable: Option<String>,
    literal: &'static str,
    /// The custom verb behind it.
    verb: Option<&'static str>,
}

/// The methods of an HTTP verb whose templates have so many segments.
fn patterns(verb: &str, segments: usize) -> &'static [Pattern] {
    static PATTERNS: OnceLock<HashMap<(&'static str, usize), Vec<Pattern>>> = OnceLock::new();
    let patterns = PATTERNS.get_or_init(|| {
        let mut patterns: HashMap<_, Vec<Pattern>> = HashMap::new();
        for method in methods::all() {
            let segments: Vec<Segment> = method.template.split('/').map(segment).collect();
            patterns.entry((method.verb, segments.len())).or_default().push(Pattern { method, segments });
        }
        patterns
    });
    // The key's text has to live as long as the table's keys: the verbs that there are do.
    let verb =
        ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter().find(|known| *known == verb).unwrap_or("");
    patterns.get(&(verb, segments)).map_or(&[], Vec::as_slice)
}

fn segment(text: &'static str) -> Segment {
    let (literal, verb) = text.split_once(':').map_or((text, None), |(name, verb)| (name, Some(verb)));
    let variable = literal.strip_prefix('{').and_then(|name| name.strip_suffix('}')).map(variable);
    Segment { variable, literal, verb }
}

/// Finds the method. `host` is the authority of the request, `path` its path as sent, still percent-encoded.
pub fn find(host: Option<&str>, verb: &str, path: &str) -> Result<Route, Status> {
    let trimmed = path.trim_start_matches('/');
    let (first, rest) = trimmed.split_once('/').unwrap_or((trimmed, ""));
    let (api, rest) = match api_host(first) {
        Some(api) => (Some(api), rest),
        None => (host.and_then(api_host), trimmed),
    };
    let segments: Vec<&str> = rest.split('/').collect();
    let mut matches: Vec<(usize, Route)> = patterns(verb, segments.len())
        .iter()
        .filter(|pattern| api.as_deref().is_none_or(|host| pattern.method.host == host))
        .filter_map(|pattern| matched(pattern, &segments))
        .collect();
    let best = matches.iter().map(|(literals, _)| *literals).max().unwrap_or(0);
    matches.retain(|(literals, _)| *literals == best);
    choose(matches.into_iter().map(|(_, route)| route).collect(), verb, path)
}

/// One of the methods that fit equally well: one that is served goes before others.
fn choose(routes: Vec<Route>, verb: &str, path: &str) -> Result<Route, Status> {
    let served = |route: &&Route| services::handler(&route.method.key).is_some();
    if let Some(route) = routes.iter().find(served) {
        return Ok(route.clone());
    }
    let hosts: BTreeSet<&str> = routes.iter().map(|route| route.method.host).collect();
    match (routes.into_iter().next(), hosts.len()) {
        (None, _) => Err(Status::not_found(format!("The requested URL {path} was not found for {verb}."))),
        (Some(route), 1) => Ok(route),
        (Some(_), _) => Err(Status::not_found(format!(
            "The path {path} is one of several APIs' ({}): put the host in front of the path.",
            hosts.into_iter().collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// How many segments are literally those of the template, and the route; `None` when it does not fit.
fn matched(pattern: &Pattern, segments: &[&str]) -> Option<(usize, Route)> {
    let (mut literals, mut vars, mut names) = (0, BTreeMap::new(), Vec::new());
    let last = segments.len() - 1;
    for (index, (wanted, found)) in pattern.segments.iter().zip(segments).enumerate() {
        let found = match wanted.verb {
            Some(verb) => found.strip_suffix(verb)?.strip_suffix(':')?,
            None if index == last && found.contains(':') && !may_hold_colons(pattern, wanted) => return None,
            None => found,
        };
        literals += usize::from(wanted.verb.is_some());
        if wanted.variable.is_none() && wanted.literal != found {
            return None;
        }
        let value = percent_decode(found)?;
        match &wanted.variable {
            Some(_) if value.is_empty() => return None,
            Some(name) => {
                vars.insert(name.clone(), value.clone());
            }
            None => literals += 1,
        }
        names.push(value);
    }
    names.remove(0);
    Some((literals, Route { method: pattern.method, vars, segments: names }))
}

/// Versions of Docker images are digests, `sha256:..`; everywhere else a colon begins a custom verb.
fn may_hold_colons(pattern: &Pattern, segment: &Segment) -> bool {
    let variable = segment.variable.as_deref().unwrap_or_default();
    pattern.method.api == "artifactregistry" && matches!(variable, "versions" | "dockerImages" | "tags")
}

/// `servicesId` to `services`, `v1Id1` to `v11`.
fn variable(name: &str) -> String {
    let name = name.trim_start_matches('+');
    match name.rfind("Id") {
        Some(at) if name[at + 2..].bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{}{}", &name[..at], &name[at + 2..])
        }
        _ => name.to_owned(),
    }
}

/// Decodes `%XX`; `None` when that is no UTF-8 or a sequence is cut off.
pub fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&pair).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: &str = "/v2/projects/p/locations/r/services";

    fn key(host: Option<&str>, verb: &str, path: &str) -> String {
        find(host, verb, path).unwrap().method.key.clone()
    }

    #[test]
    fn regional_and_locational_hosts_mean_their_api() {
        for host in [
            "run.googleapis.com",
            "us-central1-run.googleapis.com:80",
            "run.us-central1.rep.googleapis.com",
            "run.mtls.googleapis.com",
        ] {
            assert_eq!(api_host(host).as_deref(), Some("run.googleapis.com"), "{host}");
        }
        assert_eq!(api_host("127.0.0.1:8080"), None);
        assert_eq!(api_host("localhost"), None);
    }

    #[test]
    fn the_host_may_be_the_first_segment() {
        let with_host = format!("/run.googleapis.com{SERVICES}");
        assert_eq!(key(Some("127.0.0.1:80"), "GET", &with_host), "run.projects.locations.services.list");
        assert_eq!(key(Some("run.googleapis.com"), "GET", SERVICES), "run.projects.locations.services.list");
        assert_eq!(key(None, "POST", SERVICES), "run.projects.locations.services.create");
    }

    #[test]
    fn variables_have_short_names_and_are_decoded() {
        let route =
            find(None, "GET", "/v1/projects/p/serviceAccounts/a%40p.iam.gserviceaccount.com").unwrap();
        assert_eq!(route.vars["serviceAccounts"], "a@p.iam.gserviceaccount.com");
        assert_eq!(route.segments[1], "p");
    }

    #[test]
    fn custom_verbs_are_told_apart() {
        let path = "/v1/projects/p/secrets/s/versions/latest:access";
        assert_eq!(key(None, "GET", path), "secretmanager.projects.secrets.versions.access");
        let batch = "/v1/projects/p/services:batchEnable";
        assert_eq!(key(None, "POST", batch), "serviceusage.services.batchEnable");
        assert!(
            find(Some("secretmanager.googleapis.com"), "GET", "/v1/projects/p/secrets/s:nothing").is_err()
        );
    }

    #[test]
    fn digests_are_no_custom_verbs() {
        let package = "/v1/projects/p/locations/r/repositories/r/packages/web%2Fapi";
        let versions = "artifactregistry.projects.locations.repositories.packages.versions";
        let route = find(None, "GET", &format!("{package}/versions/sha256:ab")).unwrap();
        assert_eq!(route.method.key, format!("{versions}.get"));
        assert_eq!(
            (route.vars["packages"].as_str(), route.vars["versions"].as_str()),
            ("web/api", "sha256:ab")
        );
        assert_eq!(
            key(None, "POST", &format!("{package}/versions:batchDelete")),
            format!("{versions}.batchDelete")
        );
    }

    #[test]
    fn a_shared_path_that_nobody_serves_names_the_candidates() {
        let error = find(None, "GET", "/v1/projects/p/locations").unwrap_err();
        assert!(error.message.contains("secretmanager.googleapis.com"), "{}", error.message);
    }

    #[test]
    fn an_unknown_path_is_not_found() {
        assert_eq!(find(None, "GET", "/v9/nothing").unwrap_err().code, crate::error::Code::NotFound);
        assert!(find(Some("run.googleapis.com"), "GET", "/v1/projects/p/secrets").is_err());
    }
}
