//! Limits of Cloud Run's probes (`Probe` of its API v2).

use super::super::diagnostic::Diagnostic;
use super::super::model::{Container, Probe, ProbeAction};
use super::super::tree::{Findings, join};
use super::{at_key, at_value};

/// Longest time in seconds from the start of a container until its startup probe has failed.
const STARTUP_WINDOW: u32 = 240;

pub(super) fn check(path: &str, container: &Container, findings: &mut Findings) {
    for (key, probe) in [
        ("startup_probe", &container.startup_probe),
        ("liveness_probe", &container.liveness_probe),
        ("readiness_probe", &container.readiness_probe),
    ] {
        let Some(probe) = probe else { continue };
        let path = join(path, key);
        check_times(&path, probe, findings);
        if key == "startup_probe" {
            check_startup(&path, probe, findings);
        } else if matches!(probe.action, ProbeAction::Tcp { .. }) {
            let diagnostic = Diagnostic::error("probe", format!("a `{key}` cannot ask for a TCP connection"))
                .label("HTTP or gRPC")
                .hint("give it a `path`, or `grpc: true`; only the startup probe can be TCP");
            at_key(&path, diagnostic, findings);
        }
        if key == "readiness_probe" && probe.initial_delay_seconds > 0 {
            let diagnostic = Diagnostic::error("probe", "a `readiness_probe` has no `initial_delay_seconds`")
                .label("not here")
                .hint("the startup probe tells when it may begin");
            at_value(&join(&path, "initial_delay_seconds"), diagnostic, findings);
        }
    }
}

fn check_times(path: &str, probe: &Probe, findings: &mut Findings) {
    if probe.timeout_seconds <= probe.period_seconds {
        return;
    }
    let message = format!(
        "the probe may take {} seconds and starts again every {}",
        probe.timeout_seconds, probe.period_seconds
    );
    let diagnostic = Diagnostic::error("probe", message)
        .label("longer than the period")
        .hint("`timeout_seconds` is at most `period_seconds` (10 when it is not set)");
    at_value(&join(path, "timeout_seconds"), diagnostic, findings);
}

fn check_startup(path: &str, probe: &Probe, findings: &mut Findings) {
    let limited = [
        ("initial_delay_seconds", probe.initial_delay_seconds),
        ("period_seconds", probe.period_seconds),
        ("timeout_seconds", probe.timeout_seconds),
    ];
    for (key, seconds) in limited {
        if seconds > STARTUP_WINDOW {
            let message =
                format!("`{key}` of a startup probe is at most {STARTUP_WINDOW}, and this is {seconds}");
            at_value(&join(path, key), Diagnostic::error("probe", message).label("too large"), findings);
            return;
        }
    }
    let window = probe.failure_threshold.saturating_mul(probe.period_seconds);
    if window > STARTUP_WINDOW {
        let message = format!(
            "the container would have {window} seconds to start ({} times {}), and Cloud Run gives at most {STARTUP_WINDOW}",
            probe.failure_threshold, probe.period_seconds
        );
        let diagnostic = Diagnostic::error("probe", message)
            .label("too long")
            .hint("lower `failure_threshold` or `period_seconds`");
        at_key(path, diagnostic, findings);
    }
}
