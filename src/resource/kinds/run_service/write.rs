//! A [`Spec`] laid over a v2 Service document: managed fields are set, all others stay as they are.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::live::IMAGE_REPLACES;
use super::spec::{ProbeSpec, ServiceContainer, Spec};
use super::{SERVICE_AND_TAG, TAG, metrics, v2};
use crate::config::model::Metrics;
use crate::resource::Place;
use crate::resource::kinds::container::write::{self, Volumes, list, set, set_or_remove, short_digest};
use crate::resource::kinds::labels;

/// Sets the managed fields of the service and, when `template` says so, of its template. Without that the
/// template keeps every byte, since any difference in it would make a revision.
pub fn manage(doc: &mut Value, spec: &Spec, place: &Place, template: bool) {
    labels::write(doc, labels::RUN, &spec.labels, &place.ownership);
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
    let mut volumes = Volumes::take(template);
    let main =
        old.iter().find(|c| old.len() == 1 || c["ports"].is_array()).cloned().unwrap_or_else(|| json!({}));
    let mut containers = vec![container(main, &spec.main, &mut volumes)];
    let alone = spec.sidecars.is_empty() && spec.metrics.is_none();
    if !alone && containers[0]["name"].as_str().is_none_or(str::is_empty) {
        containers[0]["name"] = metrics::MAIN.into();
    }
    let main = containers[0]["name"].as_str().unwrap_or_default();
    let collector =
        spec.metrics.as_ref().map(|spec_of| metrics::container(spec_of, main, spec.main.cpu_idle));
    let collector = collector.as_ref().map(|collector| (Metrics::COLLECTOR, collector));
    for (name, sidecar) in
        spec.sidecars.iter().map(|(name, sidecar)| (name.as_str(), sidecar)).chain(collector)
    {
        let before = old.iter().find(|c| c["name"] == name).cloned();
        let mut doc = container(before.unwrap_or_else(|| json!({})), sidecar, &mut volumes);
        doc["name"] = name.into();
        containers.push(doc);
    }
    set(template, "containers", containers.into());
    volumes.put(template);
    set(template, "serviceAccount", spec.service_account.as_str().into());
    labels::object(template, "scaling").insert("maxInstanceCount".into(), spec.max_instances.into());
    set(template, "maxInstanceRequestConcurrency", spec.concurrency.into());
    set(template, "timeout", spec.timeout.as_str().into());
    set(template, "executionEnvironment", write::execution_environment(&spec.execution_environment));
    set(template, "sessionAffinity", spec.session_affinity.into());
    write::network(template, spec.vpc.as_ref());
}

fn container(before: Value, spec: &ServiceContainer, volumes: &mut Volumes) -> Value {
    let mut doc = write::container(before, &spec.common, volumes);
    set_or_remove(&mut doc, "dependsOn", list(&spec.depends_on));
    match spec.port {
        Some(port) if doc["ports"].is_array() => doc["ports"][0]["containerPort"] = port.into(),
        Some(port) => doc["ports"] = json!([{"name": "http1", "containerPort": port}]),
        None => set_or_remove(&mut doc, "ports", None),
    }
    let resources = labels::object(&mut doc, "resources");
    resources.insert("cpuIdle".into(), spec.cpu_idle.into());
    resources.insert("startupCpuBoost".into(), spec.startup_cpu_boost.into());
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

/// Traffic that stays where it is, by revision name, while `candidate` starts behind a tag. Where nothing serves yet
/// there is nothing to hold, and the candidate is the target.
pub fn hold_traffic(live: &Value, service: &str, candidate: &str) -> Value {
    let held = serving(live);
    if held.is_empty() { all_traffic_to(candidate) } else { with_candidate(held, service, candidate) }
}

/// Targets with the candidate behind its tag, without traffic; without a tag where the service's name leaves no room.
pub fn with_candidate(mut targets: Vec<Value>, service: &str, candidate: &str) -> Value {
    if service.len() + TAG.len() <= SERVICE_AND_TAG {
        let kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";
        targets.push(json!({"type": kind, "revision": candidate, "tag": TAG}));
    }
    targets.into()
}

/// The targets that get traffic now, by revision name.
pub fn serving(live: &Value) -> Vec<Value> {
    let statuses = live["trafficStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let held = statuses.iter().filter(|status| number(&status["percent"]) > 0).filter_map(|status| {
        let revision = status["revision"].as_str()?.rsplit('/').next()?;
        let kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";
        Some(json!({"type": kind, "revision": revision, "percent": status["percent"]}))
    });
    held.collect()
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

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
