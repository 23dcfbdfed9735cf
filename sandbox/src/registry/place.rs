//! What a request to the registry means: which host of Artifact Registry, which image, which part of it.
//!
//! A registry host can stand in three places, and answers name the place that the request used: in the Host header
//! (`/v2/PROJECT/..`), as the first part of an image's name (`/v2/REGION-docker.pkg.dev/PROJECT/..`, which is what a
//! client sends for `127.0.0.1:PORT/REGION-docker.pkg.dev/PROJECT/..`), and in front of the path
//! (`/REGION-docker.pkg.dev/v2/PROJECT/..`, the form of all other APIs of the sandbox).

use crate::routing::{api_host, percent_decode};
use crate::services::artifactregistry::pushed;
use crate::services::run::image;

/// What a request to the registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// `GET /v2/`
    Ping(Door),
    /// `GET /v2/token`, where the challenge of the ping leads.
    Token(Door),
    Image(Address),
    /// A name that is of no registry host; with it.
    Elsewhere(String),
}

/// Where the API itself begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Door {
    /// `/v2`, or `/REGION-docker.pkg.dev/v2`.
    root: String,
    /// The registry's host; the host of the request where nothing says more.
    service: String,
    /// The host of the request, for addresses in answers.
    host: String,
}

impl Door {
    /// The challenge in the form of Artifact Registry's: bearer tokens, to be had under `realm`.
    pub(crate) fn challenge(&self) -> String {
        let Self { root, service, host } = self;
        format!("Bearer realm=\"http://{host}{root}/token\",service=\"{service}\"")
    }
}

/// A part of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) door: Door,
    /// Name of the repository in the v1 API.
    pub(crate) repository: String,
    /// Name of the package in the v1 API.
    pub(crate) package: String,
    /// The image's name as the client wrote it.
    pub(crate) name: String,
    pub(crate) part: Part,
}

/// Which part of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Where uploads begin.
    Uploads,
    /// An upload, by its id.
    Upload(String),
    Blob(String),
    /// By tag or digest.
    Manifest(String),
    Tags,
    /// Of what has this digest.
    Referrers(String),
}

impl Address {
    /// The path of something of this image, such as `blobs/sha256:..`.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("{}/{}/{rest}", self.door.root, self.name)
    }

    /// The repository of the image that `from` names, written as the image of this address is.
    pub(crate) fn repository_of(&self, from: &str) -> Option<String> {
        let whole =
            if is_registry(first(from)) { from.to_owned() } else { format!("{}/{from}", self.door.service) };
        Some(image_at(&whole)?.0)
    }
}

/// Reads host and path of a request; `None` when it is not for a registry.
pub(crate) fn find(host: Option<&str>, path: &str) -> Option<Target> {
    let host = host.unwrap_or_default();
    let decoded = percent_decode(path)?;
    let trimmed = decoded.trim_start_matches('/');
    let (start, rest) = trimmed.split_once('/').unwrap_or((trimmed, ""));
    if is_registry(start) {
        let rest = rest.strip_prefix("v2").filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        let door = Door { root: format!("/{start}/v2"), service: start.to_owned(), host: host.to_owned() };
        return Some(target(door, rest.trim_start_matches('/')));
    }
    if start != "v2" || api_host(host).is_some() {
        return None;
    }
    let service = without_port(host).to_owned();
    let door = Door { root: "/v2".to_owned(), service, host: host.to_owned() };
    // Below `/v2/projects/` is Cloud Run, unless the host says otherwise.
    (is_registry(&door.service) || first(rest) != "projects").then(|| target(door, rest))
}

fn target(mut door: Door, rest: &str) -> Target {
    match rest {
        "" => return Target::Ping(door),
        "token" => return Target::Token(door),
        _ => {}
    }
    let found = split(rest).and_then(|(name, part)| {
        let named = is_registry(first(name));
        let whole = if named { name.to_owned() } else { format!("{}/{name}", door.service) };
        let (repository, package) = image_at(&whole)?;
        Some((first(&whole).to_owned(), repository, package, name.to_owned(), part))
    });
    match found {
        Some((service, repository, package, name, part)) => {
            door.service = service;
            Target::Image(Address { door, repository, package, name, part })
        }
        None => Target::Elsewhere(rest.to_owned()),
    }
}

/// The name and what is asked of it. A name may itself have a part `blobs`, so the last one counts.
fn split(rest: &str) -> Option<(&str, Part)> {
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Some((name, Part::Tags));
    }
    if let Some(name) = rest.strip_suffix("/blobs/uploads").or_else(|| rest.strip_suffix("/blobs/uploads/")) {
        return Some((name, Part::Uploads));
    }
    let (before, last) = rest.rsplit_once('/')?;
    if let Some(name) = before.strip_suffix("/blobs/uploads") {
        return Some((name, Part::Upload(last.to_owned())));
    }
    let (name, kind) = before.rsplit_once('/')?;
    let part = match kind {
        "blobs" => Part::Blob(last.to_owned()),
        "manifests" => Part::Manifest(last.to_owned()),
        "referrers" => Part::Referrers(last.to_owned()),
        _ => return None,
    };
    Some((name, part))
}

/// Repository and package of `REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME`.
fn image_at(whole: &str) -> Option<(String, String)> {
    let reference =
        image::parse(whole).filter(|reference| reference.tag.is_none() && reference.digest.is_none())?;
    pushed::place(&reference)
}

fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn without_port(host: &str) -> &str {
    host.split(':').next().unwrap_or(host)
}

/// `REGION-docker.pkg.dev`
fn is_registry(host: &str) -> bool {
    without_port(host).strip_suffix("-docker.pkg.dev").is_some_and(|location| {
        location.starts_with(|first: char| first.is_ascii_lowercase())
            && location.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: &str = "projects/agent-army-dev/locations/us-central1/repositories/images";
    const HOST: &str = "us-central1-docker.pkg.dev";

    fn address(host: &str, path: &str) -> Address {
        match find(Some(host), path) {
            Some(Target::Image(address)) => address,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn the_registry_host_may_stand_in_three_places() {
        for (host, path, at) in [
            (
                HOST,
                "/v2/agent-army-dev/images/web/api/tags/list",
                "/v2/agent-army-dev/images/web/api/blobs/x",
            ),
            (
                "127.0.0.1:80",
                "/v2/us-central1-docker.pkg.dev/agent-army-dev/images/web/api/tags/list",
                "/v2/us-central1-docker.pkg.dev/agent-army-dev/images/web/api/blobs/x",
            ),
            (
                "127.0.0.1:80",
                "/us-central1-docker.pkg.dev/v2/agent-army-dev/images/web/api/tags/list",
                "/us-central1-docker.pkg.dev/v2/agent-army-dev/images/web/api/blobs/x",
            ),
        ] {
            let found = address(host, path);
            assert_eq!(found.repository, REPOSITORY, "{path}");
            assert_eq!(found.package, format!("{REPOSITORY}/packages/web%2Fapi"), "{path}");
            assert_eq!((found.part.clone(), found.door.service.as_str()), (Part::Tags, HOST), "{path}");
            assert_eq!(found.path("blobs/x"), at);
            assert_eq!(found.repository_of("agent-army-dev/images/b").as_deref(), Some(REPOSITORY));
            assert_eq!(
                found.repository_of(&format!("{HOST}/agent-army-dev/images/b")).as_deref(),
                Some(REPOSITORY)
            );
        }
    }

    #[test]
    fn every_part_of_an_image_is_told() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (rest, part) in [
            ("blobs/uploads/", Part::Uploads),
            ("blobs/uploads", Part::Uploads),
            ("blobs/uploads/17", Part::Upload("17".into())),
            (&*format!("blobs/{digest}"), Part::Blob(digest.clone())),
            ("manifests/v1", Part::Manifest("v1".into())),
            (&*format!("manifests/{}", digest.replace(':', "%3A")), Part::Manifest(digest.clone())),
            (&*format!("referrers/{digest}"), Part::Referrers(digest.clone())),
        ] {
            assert_eq!(
                address(HOST, &format!("/v2/agent-army-dev/images/blobs/{rest}")).part,
                part,
                "{rest}"
            );
        }
    }

    #[test]
    fn cloud_run_keeps_its_paths() {
        let services = "/v2/projects/p/locations/r/services";
        assert_eq!(find(Some("127.0.0.1:80"), services), None);
        assert_eq!(find(Some("run.googleapis.com"), "/v2/"), None);
        assert_eq!(find(Some("127.0.0.1:80"), &format!("/run.googleapis.com{services}")), None);
        assert_eq!(find(None, "/v1/projects/p/secrets"), None);
        assert_eq!(find(None, "/us-docker.pkg.dev/v1/projects/p"), None);
    }

    #[test]
    fn what_names_no_registry_is_elsewhere() {
        for path in ["/v2/library/nginx/manifests/v1", "/v2/us-docker.pkg.dev/p/tags/list", "/v2/_catalog"] {
            assert!(matches!(find(Some("127.0.0.1:80"), path), Some(Target::Elsewhere(_))), "{path}");
        }
    }

    #[test]
    fn the_challenge_leads_back_to_where_the_request_went() {
        let Some(Target::Ping(door)) = find(Some("127.0.0.1:80"), "/us-docker.pkg.dev/v2/") else { panic!() };
        assert_eq!(
            door.challenge(),
            "Bearer realm=\"http://127.0.0.1:80/us-docker.pkg.dev/v2/token\",service=\"us-docker.pkg.dev\""
        );
        assert!(matches!(find(None, "/us-docker.pkg.dev/v2/token"), Some(Target::Token(_))));
        assert!(matches!(find(Some("127.0.0.1:80"), "/v2"), Some(Target::Ping(_))));
    }
}
