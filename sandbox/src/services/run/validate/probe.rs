//! Probes: exactly one kind, and times that fit each other (`Probe` in the run.v2 document).

use super::super::access::{int, text};
use super::super::violations::Violations;
use serde_json::Value;

/// Longest delay and longest start-up window in seconds.
const STARTUP_LIMIT: i64 = 240;
/// Longest delay and period of the other probes in seconds.
const LIMIT: i64 = 3600;

/// Checks one probe of a container. `kind` is its field.
pub(super) fn check(probe: &Value, kind: &str, at: &str, found: &mut Violations) {
    let kinds =
        ["httpGet", "tcpSocket", "grpc"].iter().filter(|action| probe.get(**action).is_some()).count();
    found.check(kinds == 1, at, "Exactly one of httpGet, tcpSocket and grpc must be specified.");
    found.check(
        kind != "livenessProbe" || probe.get("tcpSocket").is_none(),
        format!("{at}.tcpSocket"),
        "A liveness probe must be of type httpGet or grpc.",
    );
    check_times(probe, kind, at, found);
    for action in ["httpGet", "tcpSocket", "grpc"] {
        if let Some(action_value) = probe.get(action) {
            found.check(
                (1..=65535).contains(&int(action_value, "port")),
                format!("{at}.{action}.port"),
                "The port must be in the range 1 to 65535.",
            );
        }
    }
    if let Some(http) = probe.get("httpGet") {
        found.check(
            text(http, "path").starts_with('/'),
            format!("{at}.httpGet.path"),
            "The path must start with a slash.",
        );
    }
}

fn check_times(probe: &Value, kind: &str, at: &str, found: &mut Violations) {
    let most = if kind == "startupProbe" { STARTUP_LIMIT } else { LIMIT };
    let (timeout, period) = (int(probe, "timeoutSeconds"), int(probe, "periodSeconds"));
    let (threshold, delay) = (int(probe, "failureThreshold"), int(probe, "initialDelaySeconds"));
    for (field, value, least, most) in [
        ("timeoutSeconds", timeout, 1, LIMIT),
        ("periodSeconds", period, 1, most),
        ("failureThreshold", threshold, 1, i64::from(i32::MAX)),
        ("initialDelaySeconds", delay, 0, most),
    ] {
        let fits = (least..=most).contains(&value);
        found.check(fits, format!("{at}.{field}"), format!("The value must be between {least} and {most}."));
    }
    found.check(
        timeout <= period,
        format!("{at}.timeoutSeconds"),
        "The timeout must not be longer than the period.",
    );
    found.check(
        kind != "startupProbe" || threshold.saturating_mul(period) <= STARTUP_LIMIT,
        format!("{at}.failureThreshold"),
        "failureThreshold times periodSeconds of a startup probe must not exceed 240 seconds.",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(kind: &str, changes: &[(&str, Value)]) -> Vec<String> {
        let mut probe = json!({"httpGet": {"path": "/", "port": 8080}, "timeoutSeconds": 1,
                               "periodSeconds": 10, "failureThreshold": 3});
        for (key, value) in changes {
            probe[*key] = value.clone();
        }
        let mut found = Violations::default();
        check(&probe, kind, "p", &mut found);
        found.fields().into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_plain_probe_is_taken() {
        for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert!(problems(kind, &[]).is_empty());
        }
    }

    #[test]
    fn two_kinds_at_once_are_refused() {
        assert_eq!(problems("startupProbe", &[("tcpSocket", json!({"port": 1}))]), ["p"]);
    }

    #[test]
    fn a_timeout_longer_than_the_period_is_refused() {
        assert_eq!(problems("livenessProbe", &[("timeoutSeconds", json!(11))]), ["p.timeoutSeconds"]);
    }

    #[test]
    fn a_start_up_window_is_at_most_240_seconds() {
        assert!(problems("startupProbe", &[("failureThreshold", json!(24))]).is_empty());
        assert_eq!(problems("startupProbe", &[("failureThreshold", json!(25))]), ["p.failureThreshold"]);
        assert!(problems("livenessProbe", &[("failureThreshold", json!(25))]).is_empty());
    }

    #[test]
    fn a_start_up_delay_is_at_most_240_seconds() {
        assert_eq!(
            problems("startupProbe", &[("initialDelaySeconds", json!(241))]),
            ["p.initialDelaySeconds"]
        );
        assert!(problems("livenessProbe", &[("initialDelaySeconds", json!(241))]).is_empty());
    }

    #[test]
    fn a_port_out_of_range_is_refused() {
        assert_eq!(
            problems("livenessProbe", &[("httpGet", json!({"path": "/", "port": 65536}))]),
            ["p.httpGet.port"]
        );
    }
}
