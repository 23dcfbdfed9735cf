//! The sidecar of Google's Managed Service for Prometheus, told as `metrics` instead of as a container.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{ServiceContainer, Spec};
use crate::config::model::Metrics;
use crate::resource::kinds::container::ContainerSpec;

/// What the service's own container is called where it has no other name.
pub const MAIN: &str = "main";

/// Where Google publishes the sidecar, and the version that is known to work.
const IMAGE: &str =
    "us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar";
const VERSION: &str = "1.2.0";

/// What the sidecar collects without a configuration of its own (`RunMonitoring` in its documentation).
const PATH: &str = "/metrics";
const PORT: u16 = 8080;
const INTERVAL: u32 = 30;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsSpec {
    pub path: String,
    pub port: u16,
    /// `30s`
    pub interval: String,
    /// Version of the sidecar.
    pub collector: String,
}

/// The declared spec.
pub fn spec(metrics: &Metrics) -> MetricsSpec {
    MetricsSpec {
        path: metrics.path.clone(),
        port: metrics.port,
        interval: format!("{}s", metrics.interval),
        collector: VERSION.to_owned(),
    }
}

/// Why these metrics cannot be collected, and the way out. Other values need a configuration that the sidecar reads
/// from a secret, which deployer does not write.
pub fn refusal(metrics: &Metrics) -> Option<(String, String)> {
    let usual = Metrics { path: PATH.to_owned(), port: PORT, interval: INTERVAL };
    let mut differing = Vec::new();
    if metrics.path != usual.path {
        differing.push(format!("`path` is {}", metrics.path));
    }
    if metrics.port != usual.port {
        differing.push(format!("`port` is {}", metrics.port));
    }
    if metrics.interval != usual.interval {
        differing.push(format!("`interval` is {}s", metrics.interval));
    }
    (!differing.is_empty()).then(|| {
        (
            format!("its metrics cannot be collected from there: {}", differing.join(", ")),
            format!(
                "the sidecar collects {PATH} on port {PORT} every {INTERVAL}s: serve the metrics there and say so in `metrics`, \
                 or take out `metrics` and declare a sidecar with a configuration of its own"
            ),
        )
    })
}

/// The sidecar of a service whose own container is called `main`. It starts once that one has, and is as throttled.
pub fn container(metrics: &MetricsSpec, main: &str, cpu_idle: bool) -> ServiceContainer {
    ServiceContainer {
        common: ContainerSpec {
            image: format!("{IMAGE}:{}", metrics.collector),
            command: Vec::new(),
            args: Vec::new(),
            cpu: Metrics::CPU.to_owned(),
            memory: Metrics::MEMORY.to_owned(),
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            volumes: BTreeMap::new(),
        },
        port: None,
        cpu_idle,
        startup_cpu_boost: false,
        startup_probe: None,
        liveness_probe: None,
        readiness_probe: None,
        depends_on: vec![main.to_owned()],
    }
}

/// Takes the sidecar out of the sidecars of a spec that was read, if it is just as it would be written: one that
/// somebody changed is a container like others, so that the plan shows all of it.
pub fn recognize(spec: &mut Spec, main: &str) {
    let Some(found) = spec.sidecars.get(Metrics::COLLECTOR) else { return };
    let version = found.common.image.strip_prefix(IMAGE).and_then(|rest| rest.strip_prefix(':'));
    let Some(version) = version else { return };
    let metrics = MetricsSpec {
        path: PATH.to_owned(),
        port: PORT,
        interval: format!("{INTERVAL}s"),
        collector: version.to_owned(),
    };
    if *found == container(&metrics, main, spec.main.cpu_idle) {
        spec.sidecars.remove(Metrics::COLLECTOR);
        spec.metrics = Some(metrics);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_the_sidecar_would_not_collect_are_refused_by_name() {
        let usual = Metrics { path: "/metrics".into(), port: 8080, interval: 30 };
        assert_eq!(refusal(&usual), None);
        let (why, way_out) = refusal(&Metrics { port: 9090, interval: 60, ..usual }).unwrap();
        assert!(why.contains("`port` is 9090, `interval` is 60s") && !why.contains("path"), "{why}");
        assert!(way_out.contains("/metrics on port 8080 every 30s"), "{way_out}");
    }
}
