//! What Cloud Run fills in when a field is absent, so that a client reads back more than it wrote.
//!
//! Sources: the field descriptions of the run.v2 discovery document, and `RevisionTemplate`,
//! `ResourceRequirements` and `Probe` in particular. `executionEnvironment` is deliberately left absent
//! when it was not sent: Cloud Run then chooses by itself and does not say what it chose.

use super::access::{list, objects_mut, set, set_default, text, unset};
use super::quantity;
use serde_json::{Value, json};

/// Port that Cloud Run passes in `PORT` when the container names none.
const DEFAULT_PORT: i64 = 8080;

/// String maps: their keys belong to the user, so an empty value inside is a value.
const MAPS: [&str; 4] = ["labels", "annotations", "limits", "environmentVariables"];

/// Scalars with explicit presence (proto3 `optional` and `oneof` members): their zero means something.
const EXPLICIT: [&str; 6] =
    ["value", "useDefault", "manualInstanceCount", "maxRetries", "cpuUtilization", "concurrencyUtilization"];

/// Fields that hold an enum, whose `..._UNSPECIFIED` value is the same as absent.
const ENUMS: [&str; 8] = [
    "ingress",
    "launchStage",
    "executionEnvironment",
    "egress",
    "type",
    "scalingMode",
    "medium",
    "encryptionKeyRevocationAction",
];

/// Fills in a whole service. `project_number` names the default runtime service account.
pub(super) fn fill_service(service: &mut Value, project_number: u64) {
    drop_zero_values(service);
    set_default(service, "ingress", "INGRESS_TRAFFIC_ALL");
    fill_launch_stage(service);
    set_default(service, "template", json!({}));
    fill_traffic(service);
    if let Some(template) = service.get_mut("template") {
        fill_template(template, project_number);
    }
}

/// Fills in a whole job (`Job`, `ExecutionTemplate` and `TaskTemplate` in the run.v2 document). The number of
/// tasks at a time stays absent: "the maximum possible value will be used" by each execution.
pub(super) fn fill_job(job: &mut Value, project_number: u64) {
    drop_zero_values(job);
    set(job, "launchStage", "GA");
    set_default(job, "template", json!({}));
    let Some(template) = job.get_mut("template") else { return };
    set_default(template, "taskCount", 1);
    set_default(template, "template", json!({}));
    if let Some(task) = template.get_mut("template") {
        fill_task(task, project_number);
    }
}

/// Jobs run in the second generation execution environment, and say so.
fn fill_task(task: &mut Value, project_number: u64) {
    fill_account(task, project_number);
    fill_timeout(task, "600s");
    set_default(task, "maxRetries", 3);
    set_default(task, "executionEnvironment", "EXECUTION_ENVIRONMENT_GEN2");
    fill_vpc_access(task);
    objects_mut(task, "volumes").for_each(fill_volume);
    for container in objects_mut(task, "containers") {
        fill_limits(container);
        fill_references(container);
        fill_ports_and_probes(container);
    }
}

/// Drops what proto3 does not put on the wire: false, 0, "", empty lists and maps, unspecified enums.
pub(super) fn drop_zero_values(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, member| EXPLICIT.contains(&key.as_str()) || !is_zero(key, member));
            for (key, member) in map {
                if !MAPS.contains(&key.as_str()) {
                    drop_zero_values(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_zero_values),
        _ => {}
    }
}

fn is_zero(key: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || (ENUMS.contains(&key) && text.ends_with("_UNSPECIFIED")),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty() && MAPS.contains(&key),
        Value::Bool(true) => false,
    }
}

/// "On read, describes whether the resource uses preview features" (`Service.launchStage`): who asks for a
/// preview stage and uses nothing of it reads GA.
fn fill_launch_stage(service: &mut Value) {
    let previews = list(&service["template"], "containers")
        .iter()
        .any(|container| container.get("readinessProbe").is_some());
    if !previews || service.get("launchStage").is_none() {
        set(service, "launchStage", "GA");
    }
}

fn fill_traffic(service: &mut Value) {
    let latest = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";
    set_default(service, "traffic", json!([{"type": latest, "percent": 100}]));
    for target in objects_mut(service, "traffic") {
        let by_name = !text(target, "revision").is_empty();
        let kind = if by_name { "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION" } else { latest };
        set_default(target, "type", kind);
    }
}

/// Fills in a revision template.
fn fill_template(template: &mut Value, project_number: u64) {
    fill_account(template, project_number);
    fill_timeout(template, "300s");
    set_default(template, "scaling", json!({}));
    if let Some(scaling) = template.get_mut("scaling") {
        set_default(scaling, "maxInstanceCount", 100);
    }
    fill_vpc_access(template);
    objects_mut(template, "volumes").for_each(fill_volume);
    let only_one = list(template, "containers").len() == 1;
    for container in objects_mut(template, "containers") {
        fill_container(container, only_one);
    }
    let concurrency = if total_millis(template) < 1000 { 1 } else { 80 };
    set_default(template, "maxInstanceRequestConcurrency", concurrency);
}

fn fill_account(template: &mut Value, project_number: u64) {
    let account = format!("{project_number}-compute@developer.gserviceaccount.com");
    set_default(template, "serviceAccount", account);
}

fn fill_timeout(template: &mut Value, default: &str) {
    if matches!(text(template, "timeout"), "" | "0s") {
        set(template, "timeout", default);
    }
}

/// CPU of all containers in thousandths of a CPU; a CPU that cannot be read counts as one.
fn total_millis(template: &Value) -> i64 {
    list(template, "containers")
        .iter()
        .map(|container| quantity::millis(text(&container["resources"]["limits"], "cpu")).unwrap_or(1000))
        .sum()
}

fn fill_vpc_access(template: &mut Value) {
    if template.get("vpcAccess").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
        unset(template, "vpcAccess");
    }
    if let Some(access) = template.get_mut("vpcAccess") {
        set_default(access, "egress", "PRIVATE_RANGES_ONLY");
    }
}

fn fill_volume(volume: &mut Value) {
    if let Some(secret) = volume.get_mut("secret") {
        // 0444 in decimal, as the field is an int32.
        set_default(secret, "defaultMode", 292);
        for item in objects_mut(secret, "items") {
            set_default(item, "version", "latest");
        }
    }
}

/// `serves` says that the container is the only one and therefore gets the requests even without a port.
fn fill_container(container: &mut Value, serves: bool) {
    fill_resources(container);
    fill_references(container);
    if serves {
        set_default(container, "ports", json!([{}]));
    }
    fill_ports_and_probes(container);
    if let Some(port) = port_of(container)
        && container.get("startupProbe").is_none()
    {
        let probe = json!({"timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1,
                           "tcpSocket": {"port": port}});
        set(container, "startupProbe", probe);
    }
}

/// A reference to a secret without a version means the newest one.
pub(super) fn fill_references(container: &mut Value) {
    for variable in objects_mut(container, "env") {
        if let Some(reference) = variable.pointer_mut("/valueSource/secretKeyRef") {
            set_default(reference, "version", "latest");
        }
    }
}

fn port_of(container: &Value) -> Option<Value> {
    list(container, "ports").first().map(|port| port["containerPort"].clone())
}

fn fill_ports_and_probes(container: &mut Value) {
    for port in objects_mut(container, "ports") {
        set_default(port, "name", "http1");
        set_default(port, "containerPort", DEFAULT_PORT);
    }
    let port = port_of(container);
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
        if let Some(probe) = container.get_mut(kind) {
            fill_probe(probe, port.as_ref());
        }
    }
}

/// A client that sends `resources` without `cpuIdle` gets CPU that is always allocated, and reads no field
/// back because false is not on the wire.
fn fill_resources(container: &mut Value) {
    if container.get("resources").is_none() {
        set(container, "resources", json!({"cpuIdle": true}));
    }
    fill_limits(container);
}

fn fill_limits(container: &mut Value) {
    set_default(container, "resources", json!({}));
    if let Some(resources) = container.get_mut("resources") {
        set_default(resources, "limits", json!({}));
        if let Some(limits) = resources.get_mut("limits") {
            set_default(limits, "cpu", "1000m");
            set_default(limits, "memory", "512Mi");
        }
    }
}

fn fill_probe(probe: &mut Value, port: Option<&Value>) {
    set_default(probe, "timeoutSeconds", 1);
    set_default(probe, "periodSeconds", 10);
    set_default(probe, "failureThreshold", 3);
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        if let Some(action) = probe.get_mut(kind) {
            if kind == "httpGet" {
                set_default(action, "path", "/");
            }
            if let Some(port) = port {
                set_default(action, "port", port.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut service: Value) -> Value {
        fill_service(&mut service, 123_456_789_012);
        service
    }

    fn with_container(container: &Value) -> Value {
        filled(json!({"template": {"containers": [container]}}))["template"]["containers"][0].clone()
    }

    #[test]
    fn a_bare_service_reads_back_complete() {
        let service = filled(json!({"template": {"containers": [{"image": "nginx"}]}}));
        assert_eq!(
            service,
            json!({
                "ingress": "INGRESS_TRAFFIC_ALL", "launchStage": "GA",
                "traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}],
                "template": {
                    "serviceAccount": "123456789012-compute@developer.gserviceaccount.com",
                    "timeout": "300s", "maxInstanceRequestConcurrency": 80, "scaling": {"maxInstanceCount": 100},
                    "containers": [{
                        "image": "nginx", "ports": [{"name": "http1", "containerPort": 8080}],
                        "resources": {"limits": {"cpu": "1000m", "memory": "512Mi"}, "cpuIdle": true},
                        "startupProbe": {"timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1,
                                         "tcpSocket": {"port": 8080}},
                    }],
                },
            })
        );
    }

    #[test]
    fn filling_twice_changes_nothing() {
        let once = filled(
            json!({"template": {"containers": [{"image": "nginx", "livenessProbe": {"httpGet": {}}}]}}),
        );
        assert_eq!(filled(once.clone()), once);
    }

    #[test]
    fn resources_without_cpu_idle_mean_cpu_always_on() {
        let container = with_container(&json!({"image": "a", "resources": {"limits": {"memory": "1Gi"}}}));
        assert_eq!(container["resources"], json!({"limits": {"memory": "1Gi", "cpu": "1000m"}}));
    }

    #[test]
    fn cpu_idle_false_is_not_on_the_wire() {
        let container = with_container(&json!({"image": "a", "resources": {"cpuIdle": false}}));
        assert_eq!(container["resources"].get("cpuIdle"), None);
    }

    #[test]
    fn a_quantity_is_kept_as_written() {
        let container = with_container(&json!({"image": "a", "resources": {"limits": {"cpu": "1"}}}));
        assert_eq!(container["resources"]["limits"]["cpu"], "1");
    }

    #[test]
    fn less_than_one_cpu_defaults_to_one_request_at_a_time() {
        let service = filled(json!({"template": {"containers": [
            {"image": "a", "resources": {"limits": {"cpu": "500m"}, "cpuIdle": true}}]}}));
        assert_eq!(service["template"]["maxInstanceRequestConcurrency"], 1);
    }

    #[test]
    fn a_probe_gets_path_port_and_times() {
        let container = with_container(&json!({"image": "a", "ports": [{"containerPort": 9000}],
                                              "livenessProbe": {"httpGet": {}}}));
        let expected = json!({"httpGet": {"path": "/", "port": 9000}, "timeoutSeconds": 1,
                              "periodSeconds": 10, "failureThreshold": 3});
        assert_eq!(container["livenessProbe"], expected);
    }

    #[test]
    fn secret_references_default_to_latest() {
        let container = with_container(&json!({"image": "a", "env": [
            {"name": "A", "valueSource": {"secretKeyRef": {"secret": "s"}}}]}));
        assert_eq!(container["env"][0]["valueSource"]["secretKeyRef"]["version"], "latest");
        let service = filled(json!({"template": {"volumes": [
            {"name": "v", "secret": {"secret": "s", "items": [{"path": "p"}]}}]}}));
        let secret = &service["template"]["volumes"][0]["secret"];
        assert_eq!((&secret["defaultMode"], &secret["items"][0]["version"]), (&json!(292), &json!("latest")));
    }

    #[test]
    fn only_the_only_container_gets_a_port_unasked() {
        let service = filled(json!({"template": {"containers": [
            {"name": "a", "image": "a", "ports": [{"containerPort": 80}]}, {"name": "b", "image": "b"}]}}));
        let sidecar = &service["template"]["containers"][1];
        assert_eq!((sidecar.get("ports"), sidecar.get("startupProbe")), (None, None));
    }

    #[test]
    fn empty_values_of_labels_survive_and_other_zeroes_do_not() {
        let service = filled(json!({"labels": {"team": ""}, "annotations": {}, "description": "",
            "invokerIamDisabled": false, "ingress": "INGRESS_TRAFFIC_UNSPECIFIED",
            "scaling": {"manualInstanceCount": 0, "minInstanceCount": 0}}));
        assert_eq!(service["labels"], json!({"team": ""}));
        assert_eq!(service["scaling"], json!({"manualInstanceCount": 0}));
        assert_eq!(service["ingress"], "INGRESS_TRAFFIC_ALL");
        for absent in ["annotations", "description", "invokerIamDisabled"] {
            assert_eq!(service.get(absent), None, "{absent}");
        }
    }

    #[test]
    fn the_launch_stage_is_the_one_of_what_is_used() {
        let with = |container: Value| {
            filled(json!({"launchStage": "BETA", "template": {"containers": [container]}}))["launchStage"]
                .clone()
        };
        assert_eq!(with(json!({"image": "a"})), "GA");
        assert_eq!(with(json!({"image": "a", "readinessProbe": {"httpGet": {}}})), "BETA");
    }

    #[test]
    fn egress_defaults_to_private_ranges() {
        let service = filled(json!({"template": {"vpcAccess": {"connector": "c"}}}));
        assert_eq!(service["template"]["vpcAccess"]["egress"], "PRIVATE_RANGES_ONLY");
    }

    #[test]
    fn a_named_traffic_target_is_of_type_revision() {
        let service = filled(json!({"traffic": [{"revision": "api-1", "percent": 100}]}));
        assert_eq!(service["traffic"][0]["type"], "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION");
    }

    fn filled_job(mut job: Value) -> Value {
        fill_job(&mut job, 123_456_789_012);
        job
    }

    #[test]
    fn a_bare_job_reads_back_complete() {
        let job = filled_job(json!({"template": {"template": {"containers": [{"image": "nginx"}]}}}));
        let task = json!({
            "serviceAccount": "123456789012-compute@developer.gserviceaccount.com",
            "timeout": "600s", "maxRetries": 3, "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
            "containers": [{"image": "nginx", "resources": {"limits": {"cpu": "1000m", "memory": "512Mi"}}}],
        });
        assert_eq!(job, json!({"launchStage": "GA", "template": {"taskCount": 1, "template": task}}));
        assert_eq!(filled_job(job.clone()), job);
    }

    #[test]
    fn no_retries_are_a_value_and_no_tasks_are_none() {
        let job = filled_job(
            json!({"template": {"taskCount": 0, "parallelism": 0, "template": {"maxRetries": 0}}}),
        );
        assert_eq!(job["template"]["template"]["maxRetries"], 0);
        assert_eq!((&job["template"]["taskCount"], job["template"].get("parallelism")), (&json!(1), None));
    }

    #[test]
    fn a_job_gets_no_port_and_no_probe_unasked() {
        let container = |sent: Value| {
            filled_job(json!({"template": {"template": {"containers": [sent]}}}))["template"]["template"]
                ["containers"][0]
                .clone()
        };
        let bare = container(
            json!({"image": "a", "env": [{"name": "A", "valueSource": {"secretKeyRef": {"secret": "s"}}}]}),
        );
        assert_eq!((bare.get("ports"), bare.get("startupProbe")), (None, None));
        assert_eq!(bare["env"][0]["valueSource"]["secretKeyRef"]["version"], "latest");
        let probed = container(json!({"image": "a", "ports": [{}], "startupProbe": {"tcpSocket": {}}}));
        assert_eq!(probed["startupProbe"]["tcpSocket"]["port"], 8080);
    }
}
