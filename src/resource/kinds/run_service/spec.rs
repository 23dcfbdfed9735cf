//! The spec of a service in the words of the YAML, and how the YAML declares it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{live, v2};
use crate::config::Environment;
use crate::config::model::{self, Access, ProbeAction, SecretRef};
use crate::resource::kinds::service_account;
use crate::resource::{Declared, Facts};

/// Everything about a service that deployer manages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The container that receives requests.
    #[serde(flatten)]
    pub main: ContainerSpec,
    pub sidecars: BTreeMap<String, ContainerSpec>,
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
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub image: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub cpu: String,
    pub memory: String,
    pub cpu_idle: bool,
    pub startup_cpu_boost: bool,
    pub env: BTreeMap<String, String>,
    /// `SECRET:VERSION` by variable name or, with a leading `/`, by file path.
    pub secrets: BTreeMap<String, String>,
    pub volumes: BTreeMap<String, VolumeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<ProbeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<ProbeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<ProbeSpec>,
    pub depends_on: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Size limit.
    pub in_memory: String,
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    pub tags: Vec<String>,
    pub egress: String,
}

pub const NO_IAM_CHECK: &str = "no_iam_check";
pub const NEWEST_SERVES: &str = "100% newest";
pub const READY: &str = "ready";

impl Spec {
    /// Ids of the secrets that any container uses, with repetitions.
    pub fn secret_ids(&self) -> impl Iterator<Item = &str> {
        let containers = std::iter::once(&self.main).chain(self.sidecars.values());
        let references = containers.flat_map(|container| container.secrets.values());
        references.filter_map(|reference| reference.rsplit_once(':').map(|(id, _)| id))
    }
}

/// What the YAML asks for, with secret versions and the image filled in from the facts.
pub fn declare(env: &Environment, facts: &Facts, key: &str, service: &model::Service) -> Declared<Spec> {
    let mut findings = Findings { env, facts, blocked: Vec::new(), notes: Vec::new() };
    let mut main = findings.container(&service.main);
    let image_replaces = choose_image(facts, key, service, &mut main.image);
    let sidecars = service.sidecars.iter().map(|(name, c)| (name.clone(), findings.container(c))).collect();
    let spec = Spec {
        main,
        sidecars,
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
        image_replaces,
        traffic: NEWEST_SERVES.to_owned(),
        newest_revision: READY.to_owned(),
    };
    let mut declared = Declared::new(&service.name, format!("services.{key}"), spec);
    findings.blocked.sort_unstable();
    findings.blocked.dedup();
    declared.blocked = (!findings.blocked.is_empty()).then(|| findings.blocked.join("; "));
    declared.notes = findings.notes;
    declared
}

/// A release input wins; after that the running image stays for as long as the YAML's image is the one
/// that it replaced. Answers what the chosen image stands in for.
fn choose_image(facts: &Facts, key: &str, service: &model::Service, image: &mut String) -> Option<String> {
    let yaml = image.clone();
    let running = facts.images.get(&service.name);
    let chosen = match (facts.release_images.get(key), running) {
        (Some(release), _) => release.clone(),
        (None, Some(running)) if running.instead_of.as_ref() == Some(&yaml) => running.image.clone(),
        _ => return None,
    };
    *image = chosen;
    (*image != yaml).then_some(yaml)
}

/// What turning containers into specs finds out on the way.
struct Findings<'a> {
    env: &'a Environment,
    facts: &'a Facts,
    blocked: Vec<String>,
    notes: Vec<String>,
}

impl Findings<'_> {
    fn container(&mut self, container: &model::Container) -> ContainerSpec {
        let references = container.secrets.iter().chain(&container.files);
        let secrets = references.filter_map(|(target, reference)| {
            let pinned = self.pinned(target, reference)?;
            Some((target.clone(), pinned))
        });
        let secrets = secrets.collect();
        let volumes = container.in_memory.iter();
        ContainerSpec {
            image: container.image.clone(),
            command: container.command.clone(),
            args: container.args.clone(),
            port: container.port,
            cpu: container.cpu.clone(),
            memory: container.memory.clone(),
            cpu_idle: container.cpu_idle,
            startup_cpu_boost: container.startup_cpu_boost,
            env: container.env.clone(),
            secrets,
            volumes: volumes
                .map(|(path, size)| (path.clone(), VolumeSpec { in_memory: size.clone() }))
                .collect(),
            startup_probe: container
                .startup_probe
                .as_ref()
                .map(|p| probe(p, container.port))
                .filter(|probe| !live::is_default_startup_probe(probe)),
            liveness_probe: container.liveness_probe.as_ref().map(|p| probe(p, container.port)),
            readiness_probe: container.readiness_probe.as_ref().map(|p| probe(p, container.port)),
            depends_on: sorted(&container.depends_on),
        }
    }

    /// `SECRET:VERSION`, the version being the newest enabled one unless the YAML says which; `None`
    /// leaves an optional secret out.
    fn pinned(&mut self, target: &str, reference: &SecretRef) -> Option<String> {
        let secret = self.env.secrets.get(&reference.alias)?;
        let id = &secret.id;
        let by_number = reference.version.as_deref().is_some_and(|version| version.parse::<u64>().is_ok());
        if by_number {
            return Some(format!("{id}:{}", reference.version.as_deref().unwrap_or_default()));
        }
        let versions = self.facts.secrets.get(id).copied().unwrap_or_default();
        let made_now = secret.generate.is_some() || (self.facts.placeholders && !secret.optional);
        let number = match versions.newest_enabled {
            Some(number) => Some(number),
            None if made_now && !versions.any_left => Some(versions.highest + 1),
            None => None,
        };
        if number.is_none() {
            if secret.optional {
                self.notes.push(format!("{target} is left out: the optional secret {id} has no value"));
                return None;
            }
            self.blocked.push(self.no_value(&reference.alias, versions.any_left));
        }
        let version = reference.version.clone().or_else(|| number.map(|number| number.to_string()));
        Some(format!("{id}:{}", version.unwrap_or_else(|| "(no value)".to_owned())))
    }

    fn no_value(&self, alias: &str, disabled: bool) -> String {
        let what = if disabled { "has no enabled version" } else { "has no value" };
        format!("secret {alias} {what}: deployer secrets set {} {alias}", self.env.name)
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

fn vpc(vpc: &model::Vpc) -> VpcSpec {
    VpcSpec {
        connector: vpc.connector.clone(),
        network: vpc.network.clone(),
        subnet: vpc.subnet.clone(),
        tags: sorted(&vpc.tags),
        egress: vpc.egress.clone(),
    }
}

/// Lists whose order means nothing are compared sorted: Cloud Run may answer them in another order.
fn sorted(items: &[String]) -> Vec<String> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items
}
