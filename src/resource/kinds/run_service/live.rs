//! A v2 Service as Google answers it, read as a [`Spec`]: server noise has no field to go to.

use std::collections::BTreeMap;

use serde_json::Value;

use super::spec::{ContainerSpec, NEWEST_SERVES, NO_IAM_CHECK, ProbeSpec, READY, Spec, VolumeSpec, VpcSpec};
use super::v2;
use crate::config::scalars;
use crate::gcp::GcpError;
use crate::resource::kinds::labels;

/// Annotations of the service.
pub const LABELS: &str = "deployer/labels";
pub const IMAGE_REPLACES: &str = "deployer/image-replaces";

/// Fails with the service's name when a field that Google always sends is not there.
pub fn spec(doc: &Value) -> Result<Spec, GcpError> {
    let reader = Reader { name: text(&doc["name"]) };
    let template = &doc["template"];
    let containers =
        template["containers"].as_array().ok_or_else(|| reader.missing("template.containers"))?;
    let single = containers.len() == 1;
    let is_main = |container: &&Value| single || container["ports"].is_array();
    let main = containers.iter().find(is_main).ok_or_else(|| reader.missing("a container with ports"))?;
    let volumes = template["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let others = containers.iter().filter(|container| !std::ptr::eq(*container, main));
    let sidecars = others.map(|container| {
        let name = container["name"].as_str().ok_or_else(|| reader.missing("name of a container"))?;
        Ok((name.to_owned(), reader.container(container, volumes)?))
    });
    Ok(Spec {
        main: reader.container(main, volumes)?,
        sidecars: sidecars.collect::<Result<_, GcpError>>()?,
        service_account: text(&template["serviceAccount"]),
        min_instances: number(&doc["scaling"]["minInstanceCount"]).unwrap_or(0),
        max_instances: number(&template["scaling"]["maxInstanceCount"]).unwrap_or(100),
        concurrency: number(&template["maxInstanceRequestConcurrency"]).unwrap_or(80),
        timeout: seconds(&template["timeout"]).unwrap_or_else(|| "300s".to_owned()),
        execution_environment: lower(&template["executionEnvironment"], "EXECUTION_ENVIRONMENT_", "default"),
        session_affinity: template["sessionAffinity"].as_bool().unwrap_or(false),
        ingress: ingress(&doc["ingress"]),
        access: (doc["invokerIamDisabled"] == true).then(|| NO_IAM_CHECK.to_owned()),
        labels: labels::read(doc, LABELS),
        vpc: vpc(&template["vpcAccess"]),
        v2: v2::read(doc),
        image_replaces: doc["annotations"][IMAGE_REPLACES].as_str().map(str::to_owned),
        traffic: traffic(doc),
        newest_revision: newest_revision(doc),
    })
}

/// Whether the service is asked to send everything to `revision`, and does.
pub fn serves_only(doc: &Value, revision: &str) -> bool {
    let only = |targets: &Value| {
        let targets = targets.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut serving = targets.iter().filter(|target| target["percent"].as_i64().unwrap_or(0) > 0);
        serving.next().is_some_and(|t| short(&t["revision"]) == revision && t["percent"] == 100)
            && serving.next().is_none()
    };
    only(&doc["traffic"]) && only(&doc["trafficStatuses"])
}

type Texts = BTreeMap<String, String>;

struct Reader {
    name: String,
}

impl Reader {
    fn missing(&self, what: &str) -> GcpError {
        GcpError::unreadable(self.name.clone(), format!("it has no {what}"))
    }

    fn container(&self, doc: &Value, volumes: &[Value]) -> Result<ContainerSpec, GcpError> {
        let resources = &doc["resources"];
        let limit = |name: &str, default: &str| text_or(&resources["limits"][name], default);
        let (mut secrets, env) = self.environment(doc)?;
        let mut in_memory = BTreeMap::new();
        for mount in doc["volumeMounts"].as_array().into_iter().flatten() {
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
            let Some(volume) = volume else { return Err(self.missing("volume for a mount")) };
            let path = text(&mount["mountPath"]);
            secrets.extend(self.files(&path, &volume["secret"]));
            if volume["emptyDir"].is_object() {
                let size = memory(text(&volume["emptyDir"]["sizeLimit"]));
                in_memory.insert(path, VolumeSpec { in_memory: size });
            }
        }
        let cpu = limit("cpu", "1");
        let memory = limit("memory", "512Mi");
        Ok(ContainerSpec {
            image: doc["image"].as_str().ok_or_else(|| self.missing("image"))?.to_owned(),
            command: strings(&doc["command"]),
            args: strings(&doc["args"]),
            port: doc["ports"][0]["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok()),
            cpu: scalars::millicpus(&cpu).map_or(cpu, scalars::cpu),
            memory: self::memory(memory),
            cpu_idle: resources["cpuIdle"].as_bool().unwrap_or(!resources.is_object()),
            startup_cpu_boost: resources["startupCpuBoost"].as_bool().unwrap_or(false),
            env,
            secrets,
            volumes: in_memory,
            startup_probe: probe(&doc["startupProbe"], doc).filter(|probe| !is_default_startup_probe(probe)),
            liveness_probe: probe(&doc["livenessProbe"], doc),
            readiness_probe: probe(&doc["readinessProbe"], doc),
            depends_on: sorted(strings(&doc["dependsOn"])),
        })
    }

    /// Variables from secrets, and plain ones.
    fn environment(&self, doc: &Value) -> Result<(Texts, Texts), GcpError> {
        let (mut secrets, mut env) = (Texts::new(), Texts::new());
        for variable in doc["env"].as_array().into_iter().flatten() {
            let name =
                variable["name"].as_str().ok_or_else(|| self.missing("name of a variable"))?.to_owned();
            let source = &variable["valueSource"]["secretKeyRef"];
            if source.is_object() {
                secrets.insert(name, self.reference(source));
            } else {
                env.insert(name, text(&variable["value"]));
            }
        }
        Ok((secrets, env))
    }

    /// The files of one secret volume; a volume without items is one file named like the secret.
    fn files(&self, path: &str, volume: &Value) -> Vec<(String, String)> {
        let Some(id) = volume["secret"].as_str().map(|id| self.secret_id(id)) else { return Vec::new() };
        match volume["items"].as_array().filter(|items| !items.is_empty()) {
            Some(items) => {
                let file = |item: &Value| {
                    let version = text_or(&item["version"], "latest");
                    (format!("{path}/{}", text(&item["path"])), format!("{id}:{version}"))
                };
                items.iter().map(file).collect()
            }
            None => vec![(format!("{path}/{id}"), format!("{id}:latest"))],
        }
    }

    fn reference(&self, source: &Value) -> String {
        format!("{}:{}", self.secret_id(&text(&source["secret"])), text_or(&source["version"], "latest"))
    }

    /// A secret of the service's own project is called by its id.
    fn secret_id(&self, name: &str) -> String {
        let project = self.name.split('/').nth(1).unwrap_or_default();
        let prefix = format!("projects/{project}/secrets/");
        name.strip_prefix(&prefix).unwrap_or(name).to_owned()
    }
}

fn probe(doc: &Value, container: &Value) -> Option<ProbeSpec> {
    if !doc.is_object() {
        return None;
    }
    let own_port = &container["ports"][0]["containerPort"];
    let port = |action: &Value| {
        let port = action["port"].as_u64().filter(|port| own_port.as_u64() != Some(*port));
        port.and_then(|port| u16::try_from(port).ok())
    };
    let mut spec = ProbeSpec {
        initial_delay_seconds: number(&doc["initialDelaySeconds"]).unwrap_or(0),
        timeout_seconds: number(&doc["timeoutSeconds"]).unwrap_or(1),
        period_seconds: number(&doc["periodSeconds"]).unwrap_or(10),
        failure_threshold: number(&doc["failureThreshold"]).unwrap_or(3),
        ..ProbeSpec::default()
    };
    if doc["httpGet"].is_object() {
        spec.path = Some(text_or(&doc["httpGet"]["path"], "/"));
        spec.port = port(&doc["httpGet"]);
    } else if doc["grpc"].is_object() {
        spec.grpc = Some(text(&doc["grpc"]["service"]));
        spec.port = port(&doc["grpc"]);
    } else {
        spec.tcp = true;
        spec.port = port(&doc["tcpSocket"]);
    }
    Some(spec)
}

/// What Cloud Run fills in where nobody asked for a startup probe: asking for it is asking for none.
pub fn is_default_startup_probe(probe: &ProbeSpec) -> bool {
    let default = ProbeSpec {
        tcp: true,
        timeout_seconds: 240,
        period_seconds: 240,
        failure_threshold: 1,
        ..ProbeSpec::default()
    };
    *probe == default
}

fn ingress(value: &Value) -> String {
    match value.as_str().unwrap_or_default() {
        "INGRESS_TRAFFIC_INTERNAL_ONLY" => "internal",
        "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" => "internal-and-cloud-load-balancing",
        "INGRESS_TRAFFIC_NONE" => "none",
        _ => "all",
    }
    .to_owned()
}

fn vpc(doc: &Value) -> Option<VpcSpec> {
    if !doc.is_object() {
        return None;
    }
    let interface = &doc["networkInterfaces"][0];
    let optional = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(VpcSpec {
        connector: optional(&doc["connector"]),
        network: optional(&interface["network"]),
        subnet: optional(&interface["subnetwork"]),
        tags: sorted(strings(&interface["tags"])),
        egress: match doc["egress"].as_str() {
            Some("ALL_TRAFFIC") => "all-traffic".to_owned(),
            _ => "private-ranges-only".to_owned(),
        },
    })
}

/// Who is asked to serve, when that is not the newest revision alone. What is asked counts, not only what
/// is: a stale target makes the next good deployment fail.
fn traffic(doc: &Value) -> String {
    let newest = short(&doc["latestCreatedRevision"]);
    if !newest.is_empty() && serves_only(doc, &newest) {
        return NEWEST_SERVES.to_owned();
    }
    let targets = doc["traffic"].as_array().map(Vec::as_slice).unwrap_or_default();
    let serving = targets.iter().filter(|target| target["percent"].as_i64().unwrap_or(0) > 0);
    let serving = serving.map(|target| {
        let revision = short(&target["revision"]);
        let revision = if revision.is_empty() { "whatever is latest" } else { &revision };
        format!("{}% {revision}", target["percent"])
    });
    let mut serving: Vec<_> = serving.collect();
    serving.sort_unstable();
    if serving.is_empty() { "nothing".to_owned() } else { serving.join(", ") }
}

fn newest_revision(doc: &Value) -> String {
    let newest = short(&doc["latestCreatedRevision"]);
    let condition = &doc["terminalCondition"];
    let failed = condition["state"] == "CONDITION_FAILED";
    if !newest.is_empty() && newest == short(&doc["latestReadyRevision"]) && !failed {
        return READY.to_owned();
    }
    let reason =
        ["revisionReason", "reason", "executionReason"].iter().find_map(|key| condition[key].as_str());
    format!("{newest} failed ({})", reason.unwrap_or("no reason given"))
}

fn short(name: &Value) -> String {
    name.as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default().to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn text_or(value: &Value, default: &str) -> String {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

/// A protobuf duration without a fraction: Google may answer `300s` as `300.000s`.
fn seconds(value: &Value) -> Option<String> {
    let whole = value.as_str()?.strip_suffix('s')?.split('.').next()?;
    Some(format!("{whole}s"))
}

fn lower(value: &Value, prefix: &str, default: &str) -> String {
    let name =
        value.as_str().and_then(|name| name.strip_prefix(prefix)).filter(|name| *name != "UNSPECIFIED");
    name.map_or_else(|| default.to_owned(), str::to_lowercase)
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn sorted(mut items: Vec<String>) -> Vec<String> {
    items.sort_unstable();
    items
}

/// In the format's spelling; what is no such amount stays as Google has it.
fn memory(amount: String) -> String {
    scalars::kibibytes(&amount).map_or(amount, scalars::memory)
}
