//! A [`Spec`] laid over a v2 Service document: managed fields are set, all others stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::live::{IMAGE_REPLACES, LABELS};
use super::spec::{ContainerSpec, ProbeSpec, Spec, VpcSpec};
use super::v2;
use crate::resource::Place;
use crate::resource::kinds::labels;

/// Sets the managed fields of the service and, when `template` says so, of its template. Without that the
/// template keeps every byte, since any difference in it would make a revision.
pub fn manage(doc: &mut Value, spec: &Spec, place: &Place, template: bool) {
    labels::write(doc, LABELS, &spec.labels, &place.ownership);
    labels::annotate(doc, IMAGE_REPLACES, spec.image_replaces.clone());
    if number(&doc["scaling"]["minInstanceCount"]) != u64::from(spec.min_instances) {
        labels::object(doc, "scaling").insert("minInstanceCount".into(), spec.min_instances.into());
    }
    set(doc, "ingress", ingress(&spec.ingress).into());
    if spec.access.is_some() || doc["invokerIamDisabled"] == true {
        set(doc, "invokerIamDisabled", spec.access.is_some().into());
    }
    if template {
        set(doc, "client", "deployer".into());
        set(doc, "clientVersion", env!("CARGO_PKG_VERSION").into());
        manage_template(&mut doc["template"], spec);
    }
    v2::write(doc, &spec.v2, template);
}

fn manage_template(template: &mut Value, spec: &Spec) {
    let old = std::mem::take(&mut template["containers"]);
    let old: Vec<Value> = old.as_array().cloned().unwrap_or_default();
    let old_volumes = std::mem::take(&mut template["volumes"]).as_array().cloned().unwrap_or_default();
    let foreign = |volume: &&Value| !volume["secret"].is_object() && !volume["emptyDir"].is_object();
    let mut volumes: Vec<Value> = old_volumes.iter().filter(foreign).cloned().collect();
    let kept: Vec<String> = volumes.iter().filter_map(|v| v["name"].as_str().map(str::to_owned)).collect();

    let main =
        old.iter().find(|c| old.len() == 1 || c["ports"].is_array()).cloned().unwrap_or_else(|| json!({}));
    let mut containers = vec![container(main, &spec.main, &kept, &mut volumes)];
    if !spec.sidecars.is_empty() && containers[0]["name"].as_str().is_none_or(str::is_empty) {
        containers[0]["name"] = "main".into();
    }
    for (name, sidecar) in &spec.sidecars {
        let before = old.iter().find(|c| c["name"] == name.as_str()).cloned();
        let mut doc = container(before.unwrap_or_else(|| json!({})), sidecar, &kept, &mut volumes);
        doc["name"] = name.as_str().into();
        containers.push(doc);
    }
    set(template, "containers", containers.into());
    set_or_remove(template, "volumes", (!volumes.is_empty()).then(|| volumes.into()));
    set(template, "serviceAccount", spec.service_account.as_str().into());
    labels::object(template, "scaling").insert("maxInstanceCount".into(), spec.max_instances.into());
    set(template, "maxInstanceRequestConcurrency", spec.concurrency.into());
    set(template, "timeout", spec.timeout.as_str().into());
    let generation = format!("EXECUTION_ENVIRONMENT_{}", spec.execution_environment.to_uppercase());
    set(template, "executionEnvironment", generation.into());
    set(template, "sessionAffinity", spec.session_affinity.into());
    set_or_remove(template, "vpcAccess", spec.vpc.as_ref().map(vpc));
}

/// `before` with the managed fields of `spec`; volumes that it needs are added to `volumes`.
fn container(before: Value, spec: &ContainerSpec, kept: &[String], volumes: &mut Vec<Value>) -> Value {
    let mut doc = before;
    if let Value::Object(fields) = &mut doc {
        fields.remove("buildInfo"); // output only
    }
    set(&mut doc, "image", spec.image.as_str().into());
    set_or_remove(&mut doc, "command", list(&spec.command));
    set_or_remove(&mut doc, "args", list(&spec.args));
    set_or_remove(&mut doc, "dependsOn", list(&spec.depends_on));
    match spec.port {
        Some(port) if doc["ports"].is_array() => doc["ports"][0]["containerPort"] = port.into(),
        Some(port) => doc["ports"] = json!([{"name": "http1", "containerPort": port}]),
        None => set_or_remove(&mut doc, "ports", None),
    }
    let resources = labels::object(&mut doc, "resources");
    resources.insert("cpuIdle".into(), spec.cpu_idle.into());
    resources.insert("startupCpuBoost".into(), spec.startup_cpu_boost.into());
    let limits = labels::object(&mut doc["resources"], "limits");
    limits.insert("cpu".into(), spec.cpu.as_str().into());
    limits.insert("memory".into(), spec.memory.as_str().into());

    let plain = spec.env.iter().map(|(name, value)| json!({"name": name, "value": value}));
    let secret =
        spec.secrets.iter().filter(|(target, _)| !target.starts_with('/')).map(|(name, reference)| {
            let (id, version) = split(reference);
            json!({"name": name, "valueSource": {"secretKeyRef": {"secret": id, "version": version}}})
        });
    let env: Vec<_> = plain.chain(secret).collect();
    set_or_remove(&mut doc, "env", (!env.is_empty()).then(|| env.into()));

    let mut mounts: Vec<Value> = doc["volumeMounts"].as_array().cloned().unwrap_or_default();
    mounts.retain(|mount| mount["name"].as_str().is_some_and(|name| kept.iter().any(|kept| kept == name)));
    mounts.extend(mount(spec, volumes));
    set_or_remove(&mut doc, "volumeMounts", (!mounts.is_empty()).then(|| mounts.into()));

    let probes = [
        ("startupProbe", &spec.startup_probe),
        ("livenessProbe", &spec.liveness_probe),
        ("readinessProbe", &spec.readiness_probe),
    ];
    for (field, probe_spec) in probes {
        set_or_remove(&mut doc, field, probe_spec.as_ref().map(probe));
    }
    doc
}

/// Mounts for the secret files (one volume for each directory) and in-memory directories.
fn mount(spec: &ContainerSpec, volumes: &mut Vec<Value>) -> Vec<Value> {
    let mut mounts = Vec::new();
    let mut add = |path: &str, mut volume: Value| {
        let name = volume_name(path, &volume);
        volume["name"] = name.as_str().into();
        if !volumes.iter().any(|other| other["name"] == name.as_str()) {
            volumes.push(volume);
        }
        mounts.push(json!({"name": name, "mountPath": path}));
    };
    let mut directories: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (path, reference) in spec.secrets.iter().filter(|(target, _)| target.starts_with('/')) {
        if let Some((directory, file)) = path.rsplit_once('/') {
            directories.entry(directory).or_default().push((file, reference));
        }
    }
    for (directory, files) in directories {
        let id = split(files[0].1).0;
        let items: Vec<_> = files
            .iter()
            .map(|(file, reference)| json!({"path": file, "version": split(reference).1}))
            .collect();
        add(directory, json!({"secret": {"secret": id, "items": items}}));
    }
    for (path, volume) in &spec.volumes {
        add(path, json!({"emptyDir": {"medium": "MEMORY", "sizeLimit": volume.in_memory}}));
    }
    mounts
}

/// A name that depends on what is mounted where, so that the same spec writes the same template. Containers
/// that mount the same in-memory directory share it.
fn volume_name(path: &str, volume: &Value) -> String {
    let kind = if volume["secret"].is_object() { "secret" } else { "memory" };
    format!("{kind}-{}", short_digest(&json!([path, volume])))
}

fn probe(spec: &ProbeSpec) -> Value {
    let mut doc = json!({
        "initialDelaySeconds": spec.initial_delay_seconds,
        "timeoutSeconds": spec.timeout_seconds,
        "periodSeconds": spec.period_seconds,
        "failureThreshold": spec.failure_threshold,
    });
    let (action, mut fields) = if let Some(path) = &spec.path {
        ("httpGet", json!({"path": path}))
    } else if let Some(service) = &spec.grpc {
        ("grpc", json!({"service": service}))
    } else {
        ("tcpSocket", json!({}))
    };
    if let Some(port) = spec.port {
        fields["port"] = port.into();
    }
    doc[action] = fields;
    doc
}

fn ingress(words: &str) -> &'static str {
    match words {
        "internal" => "INGRESS_TRAFFIC_INTERNAL_ONLY",
        "internal-and-cloud-load-balancing" => "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
        _ => "INGRESS_TRAFFIC_ALL",
    }
}

fn vpc(spec: &VpcSpec) -> Value {
    let egress = spec.egress.to_uppercase().replace('-', "_");
    if let Some(connector) = &spec.connector {
        return json!({"connector": connector, "egress": egress});
    }
    let mut interface = Map::new();
    for (field, value) in [("network", &spec.network), ("subnetwork", &spec.subnet)] {
        if let Some(value) = value {
            interface.insert(field.into(), value.as_str().into());
        }
    }
    if !spec.tags.is_empty() {
        interface.insert("tags".into(), spec.tags.clone().into());
    }
    json!({"networkInterfaces": [interface], "egress": egress})
}

/// Gives the template a revision name of its own: the service, and a digest of the template and of the
/// service's generation. The generation makes a name new even when an earlier template comes back, or when
/// the same template is tried again after a failure: Cloud Run never retries a failed revision.
pub fn name_revision(doc: &mut Value, service: &str, generation: &str) {
    if let Value::Object(template) = &mut doc["template"] {
        template.remove("revision");
    }
    let name = format!("{service}-{}", short_digest(&json!([generation, doc["template"]])));
    set(&mut doc["template"], "revision", name.into());
}

/// The same revision name for another try.
pub fn renamed(revision: &str, attempt: u32) -> String {
    format!("{revision}-{attempt}")
}

pub fn all_traffic_to(revision: &str) -> Value {
    json!([{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": revision, "percent": 100}])
}

/// Traffic that stays where it is, by revision name, while `candidate` starts. Where nothing serves yet
/// there is nothing to hold, and the candidate is the target.
pub fn hold_traffic(live: &Value, candidate: &str) -> Value {
    let statuses = live["trafficStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let held: Vec<_> = statuses
        .iter()
        .filter(|status| number(&status["percent"]) > 0)
        .filter_map(|status| {
            let revision = status["revision"].as_str()?.rsplit('/').next()?;
            let kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";
            Some(json!({"type": kind, "revision": revision, "percent": status["percent"]}))
        })
        .collect();
    if held.is_empty() { all_traffic_to(candidate) } else { held.into() }
}

/// The body and the mask that turn `live` into `doc`: whole top-level fields, because a mask cannot reach
/// into a list, and the etag that guards them.
pub fn patch<'a>(live: &'a Value, doc: &'a Value) -> (Value, Vec<&'a str>) {
    let fields = [live, doc].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
    let all: BTreeSet<&str> = fields.map(String::as_str).collect();
    let mut body = json!({"name": live["name"], "etag": live["etag"]});
    let mut mask = Vec::new();
    for field in all.into_iter().filter(|field| live.get(field) != doc.get(field)) {
        if let Some(value) = doc.get(field) {
            body[field] = value.clone();
        }
        mask.push(field);
    }
    // Cloud Run requires a template in every Service, also where the mask leaves it alone.
    body["template"] = doc["template"].clone();
    (body, mask)
}

fn short_digest(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    hex::encode(&digest[..4])
}

fn split(reference: &str) -> (&str, &str) {
    reference.rsplit_once(':').unwrap_or((reference, "latest"))
}

fn list(items: &[String]) -> Option<Value> {
    (!items.is_empty()).then(|| items.to_vec().into())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn set(doc: &mut Value, field: &str, value: Value) {
    set_or_remove(doc, field, Some(value));
}

fn set_or_remove(doc: &mut Value, field: &str, value: Option<Value>) {
    let Some(value) = value else {
        if let Value::Object(fields) = doc {
            fields.remove(field);
        }
        return;
    };
    if !doc.is_object() {
        *doc = Value::Object(Map::new());
    }
    doc[field] = value;
}
