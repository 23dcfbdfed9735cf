//! Requests a minute, per project and API, as Google documents them.
//!
//! Secret Manager: cloud.google.com/secret-manager/quotas (access 90,000, read 600, write 600). Cloud Run Admin API:
//! cloud.google.com/run/quotas (read 3,000, write 180, per region). IAM: cloud.google.com/iam/quotas (read 6,000,
//! write 600; workload identity pools and providers read 600, write 60; credentials 60,000; tokens 6,000). Artifact
//! Registry: cloud.google.com/artifact-registry/quotas (60,000, of which 18,000 writes, per location; a repository
//! is made or deleted every two seconds). Service Usage: 240 mutations. What no page says is 600, on the careful side.

use std::collections::HashMap;

use crate::error::Status;
use crate::faults::quota_status;
use crate::methods::Method;
use crate::routing::Route;

/// Seconds of a window.
const WINDOW: i64 = 60;

/// What the sandbox's own pages do not say.
const OTHERWISE: u64 = 600;

/// Of Artifact Registry, pushes and pulls included.
const ARTIFACT_READS: u64 = 60_000;
const ARTIFACT_WRITES: u64 = 18_000;

/// Windows in use, by project, region and bucket.
#[derive(Debug, Default)]
pub struct Quotas {
    windows: HashMap<String, Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    start: i64,
    used: u64,
}

/// What a request draws on.
struct Bucket {
    kind: &'static str,
    /// Requests in a window.
    limit: u64,
    /// Whether each location has a window of its own.
    per_location: bool,
}

impl Bucket {
    fn of(method: &Method) -> Self {
        let (kind, limit) = limit(method);
        Self { kind, limit, per_location: matches!(method.api, "run" | "artifactregistry") }
    }
}

fn limit(method: &Method) -> (&'static str, u64) {
    match (method.api, method.write) {
        ("secretmanager", _) if method.id.ends_with(".access") => ("access", 90_000),
        ("run", false) => ("read", 3000),
        ("run", true) => ("write", 180),
        ("iam", write) if method.id.contains(".workloadIdentityPools.") => {
            if write {
                ("workload identity federation write", 60)
            } else {
                ("workload identity federation read", 600)
            }
        }
        ("iam", false) => ("read", 6000),
        ("iamcredentials", _) => ("credential", 60_000),
        ("sts", _) => ("token", 6000),
        ("artifactregistry", _) if repository_made_or_deleted(method.id) => ("repository", 30),
        ("artifactregistry", false) => ("read", ARTIFACT_READS),
        ("artifactregistry", true) => ("write", ARTIFACT_WRITES),
        ("serviceusage", true) => ("write", 240),
        (_, false) => ("read", OTHERWISE),
        (_, true) => ("write", OTHERWISE),
    }
}

fn repository_made_or_deleted(id: &str) -> bool {
    matches!(id.rsplit_once(".repositories."), Some((_, "create" | "delete")))
}

impl Quotas {
    /// Takes one request out of its window, or says when to retry. `now` is in seconds of the Unix epoch.
    pub fn take(&mut self, route: &Route, now: i64) -> Result<(), Status> {
        let bucket = Bucket::of(route.method);
        let project = route.segments.get(1).map_or("", String::as_str);
        let location = route.segments.get(3).map_or("", String::as_str);
        self.draw(&bucket, route.method.host, project, location, now)
    }

    /// The same for a request to the registry itself, which draws on the windows of Artifact Registry.
    pub(crate) fn take_for_registry(
        &mut self,
        project: &str,
        location: &str,
        write: bool,
        now: i64,
    ) -> Result<(), Status> {
        let (kind, limit) = if write { ("write", ARTIFACT_WRITES) } else { ("read", ARTIFACT_READS) };
        let bucket = Bucket { kind, limit, per_location: true };
        self.draw(&bucket, "artifactregistry.googleapis.com", project, location, now)
    }

    fn draw(
        &mut self,
        bucket: &Bucket,
        host: &str,
        project: &str,
        location: &str,
        now: i64,
    ) -> Result<(), Status> {
        let Bucket { kind, limit, per_location } = *bucket;
        let location = if per_location { location } else { "" };
        let window = self.windows.entry(format!("{host}/{kind}/{project}/{location}"));
        let window = window.or_insert(Window { start: now, used: 0 });
        if now - window.start >= WINDOW {
            *window = Window { start: now, used: 0 };
        }
        if window.used < limit {
            window.used += 1;
            return Ok(());
        }
        let seconds = u64::try_from(WINDOW - (now - window.start)).unwrap_or(1).max(1);
        let message = format!(
            "Quota exceeded for quota metric '{kind} requests' and limit '{kind} requests per minute' of service '{host}' \
             for consumer 'project:{project}': {limit}."
        );
        Err(quota_status(&message, &format!("project:{project}"), seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::routing;

    #[test]
    fn a_window_that_is_used_up_refuses_until_it_is_over() {
        let route = routing::find(None, "GET", "/v1/projects/agent-army-dev/secrets").unwrap();
        let mut quotas = Quotas::default();
        for _ in 0..600 {
            quotas.take(&route, 1000).unwrap();
        }
        let refused = quotas.take(&route, 1010).unwrap_err();
        assert_eq!(refused.code, Code::ResourceExhausted);
        assert_eq!(refused.details[0]["retryDelay"], "50s");
        quotas.take(&route, 1060).unwrap();
    }

    #[test]
    fn regions_of_cloud_run_have_windows_of_their_own() {
        let path = |region: &str| format!("/v2/projects/agent-army-dev/locations/{region}/services");
        let one = routing::find(None, "POST", &path("europe-west1")).unwrap();
        let two = routing::find(None, "POST", &path("us-central1")).unwrap();
        let mut quotas = Quotas::default();
        for _ in 0..180 {
            quotas.take(&one, 0).unwrap();
        }
        assert!(quotas.take(&one, 0).is_err());
        assert!(quotas.take(&two, 0).is_ok());
    }

    #[test]
    fn pushes_draw_on_the_writes_of_artifact_registry() {
        let mut quotas = Quotas::default();
        let mut draw = |write| quotas.take_for_registry("agent-army-dev", "europe-west1", write, 0);
        for _ in 0..ARTIFACT_WRITES {
            draw(true).unwrap();
        }
        assert!(draw(true).is_err());
        draw(false).unwrap();
        let path = "/v1/projects/agent-army-dev/locations/europe-west1/repositories/a";
        assert!(quotas.take(&routing::find(None, "PATCH", path).unwrap(), 0).is_err());
        quotas.take(&routing::find(None, "GET", path).unwrap(), 0).unwrap();
    }

    fn documented(verb: &str, path: &str) -> u64 {
        Bucket::of(routing::find(None, verb, path).unwrap().method).limit
    }

    #[test]
    fn every_api_has_its_documented_limits() {
        const P: &str = "projects/agent-army-dev";
        for (verb, path, limit) in [
            ("GET", format!("/v1/{P}/secrets/a/versions/1:access"), 90_000),
            ("GET", format!("/v1/{P}/secrets/a"), 600),
            ("POST", format!("/v1/{P}/secrets/a:addVersion"), 600),
            ("POST", format!("/v1/{P}/secrets/a:setIamPolicy"), 600),
            ("GET", format!("/v2/{P}/locations/europe-west1/jobs"), 3000),
            ("POST", format!("/v2/{P}/locations/europe-west1/jobs/a:run"), 180),
            ("GET", format!("/v1/{P}/serviceAccounts"), 6000),
            ("POST", format!("/v1/{P}/serviceAccounts"), 600),
            ("GET", format!("/v1/{P}/locations/global/workloadIdentityPools"), 600),
            ("POST", format!("/v1/{P}/locations/global/workloadIdentityPools"), 60),
            ("POST", format!("/v1/{P}/locations/global/workloadIdentityPools/a/providers"), 60),
            ("POST", format!("/v1/{P}/services/run.googleapis.com:enable"), 240),
            ("GET", format!("/v1/{P}/services/run.googleapis.com"), 600),
            ("POST", format!("/v1/{P}/locations/europe-west1/repositories"), 30),
            ("PATCH", format!("/v1/{P}/locations/europe-west1/repositories/a"), 18_000),
            ("GET", format!("/v1/{P}/locations/europe-west1/repositories/a"), 60_000),
            ("POST", format!("/v3/{P}:setIamPolicy"), 600),
        ] {
            assert_eq!(documented(verb, &path), limit, "{verb} {path}");
        }
    }
}
