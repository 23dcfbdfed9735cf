//! Requests a minute, per project and API, as Google documents them.
//!
//! Secret Manager: cloud.google.com/secret-manager/quotas (access 90,000, read 600, write 600). Cloud Run Admin API:
//! cloud.google.com/run/quotas (read 3,000, write 180, per region). IAM: cloud.google.com/iam/quotas (read 6,000,
//! write 600). Service Usage: 240 mutations. What no page says is 600, on the careful side.

use std::collections::HashMap;

use crate::error::Status;
use crate::faults::quota_status;
use crate::methods::Method;
use crate::routing::Route;

/// Seconds of a window.
const WINDOW: i64 = 60;

/// What the sandbox's own pages do not say.
const OTHERWISE: u64 = 600;

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

fn limit(method: &Method) -> (&'static str, u64) {
    match (method.api, method.write) {
        ("secretmanager", _) if method.id.ends_with(".access") => ("access", 90_000),
        ("run", false) => ("read", 3000),
        ("run", true) => ("write", 180),
        ("iam", false) => ("read", 6000),
        ("serviceusage", true) => ("write", 240),
        (_, false) => ("read", OTHERWISE),
        (_, true) => ("write", OTHERWISE),
    }
}

impl Quotas {
    /// Takes one request out of its window, or says when to retry. `now` is in seconds of the Unix epoch.
    pub fn take(&mut self, route: &Route, now: i64) -> Result<(), Status> {
        let (kind, limit) = limit(route.method);
        let project = route.segments.get(1).map_or("", String::as_str);
        let region =
            if route.method.api == "run" { route.segments.get(3).map_or("", String::as_str) } else { "" };
        let bucket = format!("{}/{kind}/{project}/{region}", route.method.host);
        let window = self.windows.entry(bucket).or_insert(Window { start: now, used: 0 });
        if now - window.start >= WINDOW {
            *window = Window { start: now, used: 0 };
        }
        if window.used < limit {
            window.used += 1;
            return Ok(());
        }
        let seconds = u64::try_from(WINDOW - (now - window.start)).unwrap_or(1).max(1);
        let message = format!(
            "Quota exceeded for quota metric '{kind} requests' and limit '{kind} requests per minute' of service '{}' \
             for consumer 'project:{project}': {limit}.",
            route.method.host
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
}
