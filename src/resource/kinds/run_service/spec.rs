//! The spec of a service in the words of the YAML, and how the YAML declares it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::metrics::{self, MetricsSpec};
use super::{live, release, v2};
use crate::config::Environment;
use crate::config::model::{self, Access, ProbeAction};
use crate::resource::kinds::container::{ContainerSpec, Findings, VpcSpec, sorted, vpc};
use crate::resource::kinds::{images, service_account};
use crate::resource::{Address, Declared, Facts};

/// Everything about a service that deployer manages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The container that receives requests.
    #[serde(flatten)]
    pub main: ServiceContainer,
    pub sidecars: BTreeMap<String, ServiceContainer>,
    /// What a sidecar of Google collects; that one is not among the sidecars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsSpec>,
    /// E-mail address of the run-time identity.
    pub service_account: String,
    pub min_instances: u32,
    pub max_instances: u32,
    pub concurrency: u32,
    /// `300s`
    pub timeout: String,
    pub execution_environment: String,
    pub session_affinity: bool,
    pub ingress: String,
    /// `no_iam_check` (`invokerIamDisabled`), or nothing: who may call is then a matter of grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<VpcSpec>,
    /// The `v2:` patch as its leaves, by path.
    #[serde(default)]
    pub v2: BTreeMap<String, Value>,
    /// The YAML's image that a release input replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_replaces: Option<String>,
    /// `100% newest`, or who gets traffic instead.
    pub traffic: String,
    /// `ready`, or why the newest revision is not.
    pub newest_revision: String,
    /// `complete`, or how the release of the newest revision ended instead.
    #[serde(default = "complete")]
    pub last_release: String,
    /// The same in a sentence; nothing for one that is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_trouble: Option<String>,
    /// Its releases ask more than Cloud Run's word; the YAML alone knows that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gated: bool,
    /// Jobs that its releases run first; the YAML alone knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<Address>,
}

/// A container with what only those of services have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceContainer {
    #[serde(flatten)]
    pub common: ContainerSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub cpu_idle: bool,
    pub startup_cpu_boost: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<ProbeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<ProbeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<ProbeSpec>,
    pub depends_on: Vec<String>,
}

/// One of `path`, `tcp` and `grpc` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tcp: bool,
    /// The gRPC service to ask for; empty for the server as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub initial_delay_seconds: u32,
    pub timeout_seconds: u32,
    pub period_seconds: u32,
    pub failure_threshold: u32,
}

pub const NO_IAM_CHECK: &str = "no_iam_check";
pub const NEWEST_SERVES: &str = "100% newest";
pub const READY: &str = "ready";
pub const COMPLETE: &str = "complete";

fn complete() -> String {
    COMPLETE.to_owned()
}

impl Spec {
    /// The same as if its last release had ended as the other one's.
    #[must_use]
    pub fn with_record_of(self, other: &Self) -> Self {
        let Self { last_release, last_trouble, .. } = other.clone();
        Self { last_release, last_trouble, ..self }
    }

    /// Ids of the secrets that any container uses, with repetitions.
    pub fn secret_ids(&self) -> impl Iterator<Item = &str> {
        let containers = std::iter::once(&self.main).chain(self.sidecars.values());
        containers.flat_map(|container| container.common.secret_ids())
    }

    /// Images of all containers, with repetitions.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        let containers = std::iter::once(&self.main).chain(self.sidecars.values());
        containers.map(|container| container.common.image.as_str())
    }
}

/// What the YAML asks for, with secret versions and the image filled in from the facts.
pub fn declare(env: &Environment, facts: &Facts, key: &str, service: &model::Service) -> Declared<Spec> {
    let mut findings = Findings::new(env, facts);
    let mut main = container(&mut findings, &service.main);
    let chosen = images::of_service(env, facts, key, service);
    main.common.image = chosen.image;
    findings.block(chosen.unbuilt);
    let sidecars = service.sidecars.iter();
    let sidecars =
        sidecars.map(|(name, sidecar)| (name.clone(), container(&mut findings, sidecar))).collect();
    let spec = Spec {
        main,
        sidecars,
        metrics: service.metrics.as_ref().map(metrics::spec),
        service_account: service_account::email(&service.service_account, &env.project.id),
        min_instances: service.min_instances,
        max_instances: service.max_instances,
        concurrency: service.concurrency,
        timeout: format!("{}s", service.timeout),
        execution_environment: service.execution_environment.clone(),
        session_affinity: service.session_affinity,
        ingress: service.ingress.clone(),
        access: (service.access == Access::NoIamCheck).then(|| NO_IAM_CHECK.to_owned()),
        labels: service.labels.clone(),
        vpc: service.vpc.as_ref().map(vpc),
        v2: service.v2.as_ref().map(|patch| v2::leaves(patch, key)).unwrap_or_default(),
        image_replaces: chosen.replaces,
        traffic: NEWEST_SERVES.to_owned(),
        newest_revision: READY.to_owned(),
        last_release: COMPLETE.to_owned(),
        last_trouble: None,
        gated: service.health.is_some() || env.smoke.iter().any(|smoke| smoke.service == key),
        migrations: release::migrations(env, key).into_iter().map(|migration| migration.job).collect(),
    };
    let mut declared = Declared::new(&service.name, format!("services.{key}"), spec);
    declared.refused = chosen.refused.or_else(|| service.metrics.as_ref().and_then(metrics::refusal));
    let mut declared = findings.tell(declared.protected(service.protect));
    declared.notes.extend(facts.troubled.get(&service.name).cloned());
    declared
}

fn container(findings: &mut Findings<'_>, container: &model::Container) -> ServiceContainer {
    let probe = |probe: &model::Probe| self::probe(probe, container.port);
    ServiceContainer {
        common: findings.container(container),
        port: container.port,
        cpu_idle: container.cpu_idle,
        startup_cpu_boost: container.startup_cpu_boost,
        startup_probe: container
            .startup_probe
            .as_ref()
            .map(probe)
            .filter(|probe| !live::is_default_startup_probe(probe)),
        liveness_probe: container.liveness_probe.as_ref().map(probe),
        readiness_probe: container.readiness_probe.as_ref().map(probe),
        depends_on: sorted(&container.depends_on),
    }
}

/// A probe of the container's own port has none in the spec: Cloud Run fills it in.
fn probe(probe: &model::Probe, own: Option<u16>) -> ProbeSpec {
    let mut spec = ProbeSpec {
        initial_delay_seconds: probe.initial_delay_seconds,
        timeout_seconds: probe.timeout_seconds,
        period_seconds: probe.period_seconds,
        failure_threshold: probe.failure_threshold,
        ..ProbeSpec::default()
    };
    match &probe.action {
        ProbeAction::Http { path, port } => (spec.path, spec.port) = (Some(path.clone()), *port),
        ProbeAction::Tcp { port } => (spec.tcp, spec.port) = (true, *port),
        ProbeAction::Grpc { service, port } => {
            (spec.grpc, spec.port) = (Some(service.clone().unwrap_or_default()), *port);
        }
    }
    spec.port = spec.port.filter(|port| Some(*port) != own);
    spec
}
