//! A v2 Service as Google answers it, read as a [`Spec`]: server noise has no field to go to.

use serde_json::Value;

use super::releases::{self, Outcome};
use super::spec::{COMPLETE, NEWEST_SERVES, NO_IAM_CHECK, ProbeSpec, READY, ServiceContainer, Spec};
use super::{metrics, v2};
use crate::gcp::GcpError;
use crate::resource::kinds::container::live::{
    Reader, lower, number, seconds, short, sorted, strings, text, text_or, vpc,
};
use crate::resource::kinds::labels;

/// Annotation of the service.
pub const IMAGE_REPLACES: &str = "deployer/image-replaces";

/// Fails with the service's name when a field that Google always sends is not there.
pub fn spec(doc: &Value) -> Result<Spec, GcpError> {
    let reader = Reader::of(doc);
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
        Ok((name.to_owned(), container_spec(&reader, container, volumes)?))
    });
    let (last_release, last_trouble) = last_release(doc);
    let mut spec = Spec {
        main: container_spec(&reader, main, volumes)?,
        sidecars: sidecars.collect::<Result<_, GcpError>>()?,
        metrics: None,
        service_account: text(&template["serviceAccount"]),
        min_instances: number(&doc["scaling"]["minInstanceCount"]).unwrap_or(0),
        max_instances: number(&template["scaling"]["maxInstanceCount"]).unwrap_or(100),
        concurrency: number(&template["maxInstanceRequestConcurrency"]).unwrap_or(80),
        timeout: seconds(&template["timeout"]).unwrap_or_else(|| "300s".to_owned()),
        execution_environment: lower(&template["executionEnvironment"], "EXECUTION_ENVIRONMENT_", "default"),
        session_affinity: template["sessionAffinity"].as_bool().unwrap_or(false),
        ingress: ingress(&doc["ingress"]),
        access: (doc["invokerIamDisabled"] == true).then(|| NO_IAM_CHECK.to_owned()),
        labels: labels::read(doc, labels::RUN),
        vpc: vpc(&template["vpcAccess"]),
        v2: v2::read(doc),
        image_replaces: doc["annotations"][IMAGE_REPLACES].as_str().map(str::to_owned),
        traffic: traffic(doc),
        newest_revision: newest_revision(doc),
        last_release,
        last_trouble,
        gated: false,
        migrations: Vec::new(),
    };
    metrics::recognize(&mut spec, &text_or(&main["name"], metrics::MAIN));
    Ok(spec)
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

fn container_spec(reader: &Reader, doc: &Value, volumes: &[Value]) -> Result<ServiceContainer, GcpError> {
    let resources = &doc["resources"];
    Ok(ServiceContainer {
        common: reader.container(doc, volumes)?,
        port: doc["ports"][0]["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok()),
        cpu_idle: resources["cpuIdle"].as_bool().unwrap_or(!resources.is_object()),
        startup_cpu_boost: resources["startupCpuBoost"].as_bool().unwrap_or(false),
        startup_probe: probe(&doc["startupProbe"], doc).filter(|probe| !is_default_startup_probe(probe)),
        liveness_probe: probe(&doc["livenessProbe"], doc),
        readiness_probe: probe(&doc["readinessProbe"], doc),
        depends_on: sorted(strings(&doc["dependsOn"])),
    })
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

/// How the release of the newest revision ended, in a word and in a sentence.
fn last_release(doc: &Value) -> (String, Option<String>) {
    let newest = short(&doc["latestCreatedRevision"]);
    let Some(record) = releases::of(doc, &newest) else { return (COMPLETE.to_owned(), None) };
    let reason = record.reason.unwrap_or_else(|| "no reason is on record".to_owned());
    let (word, trouble) = match record.outcome {
        Outcome::Begun => ("cut off", format!("the release of {newest} was cut off; apply goes on with it")),
        Outcome::Failed => ("failed", format!("the last release failed: {reason}; apply releases it again")),
        Outcome::RolledBack => {
            ("rolled back", format!("{newest} was rolled back: {reason}; apply releases it again"))
        }
        Outcome::Serving | Outcome::Other(_) => return (COMPLETE.to_owned(), None),
    };
    (word.to_owned(), Some(trouble))
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
