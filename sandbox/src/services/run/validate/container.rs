//! Containers: image, ports, environment, order of start.

use super::super::access::{int, list, text};
use super::super::violations::Violations;
use super::super::{image, names};
use super::{Workload, probe};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Most variables of one container (Cloud Run quotas and limits).
const MOST_VARIABLES: usize = 1000;
/// Longest name and longest value of a variable in bytes (`EnvVar`).
const LONGEST: usize = 32768;

impl Workload {
    /// Variables that Cloud Run itself sets (container runtime contract).
    fn reserved(self) -> &'static [&'static str] {
        match self {
            Self::Service => &["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"],
            Self::Job => &[
                "CLOUD_RUN_JOB",
                "CLOUD_RUN_EXECUTION",
                "CLOUD_RUN_TASK_INDEX",
                "CLOUD_RUN_TASK_ATTEMPT",
                "CLOUD_RUN_TASK_COUNT",
            ],
        }
    }
}

/// Checks every container of a template and what they have to do with each other.
pub(super) fn check(template: &Value, workload: Workload, found: &mut Violations) {
    let containers = list(template, "containers");
    found.check(!containers.is_empty(), "template.containers", "At least one container is required.");
    for (index, container) in containers.iter().enumerate() {
        check_one(container, workload, &format!("template.containers[{index}]"), found);
    }
    let serving = containers.iter().filter(|container| !list(container, "ports").is_empty()).count();
    match workload {
        Workload::Service => found.check(
            containers.is_empty() || serving == 1,
            "template.containers",
            "Exactly one container must expose a port.",
        ),
        Workload::Job => {
            found.check(serving < 2, "template.containers", "At most one container can expose a port.");
        }
    }
    check_names(containers, found);
    check_order(containers, found);
}

fn check_one(container: &Value, workload: Workload, at: &str, found: &mut Violations) {
    let reference = text(container, "image");
    if reference.is_empty() {
        found.add(format!("{at}.image"), "The image is required.");
    } else {
        found.check(
            image::parse(reference).is_some(),
            format!("{at}.image"),
            format!("'{reference}' is not a valid image reference."),
        );
    }
    check_ports(list(container, "ports"), at, found);
    check_environment(list(container, "env"), workload, &format!("{at}.env"), found);
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
        if let Some(value) = container.get(kind) {
            // A task ends by itself: a job knows only whether a sidecar has started (`Container.dependsOn`).
            let known = workload == Workload::Service || kind == "startupProbe";
            found.check(known, format!("{at}.{kind}"), format!("{kind} is not supported for jobs."));
            probe::check(value, kind, &format!("{at}.{kind}"), found);
        }
    }
}

fn check_ports(ports: &[Value], at: &str, found: &mut Violations) {
    found.check(ports.len() < 2, format!("{at}.ports"), "Only a single port can be specified.");
    for port in ports {
        found.check(
            (1..=65535).contains(&int(port, "containerPort")),
            format!("{at}.ports[0].containerPort"),
            "The port must be in the range 1 to 65535.",
        );
        found.check(
            matches!(text(port, "name"), "http1" | "h2c"),
            format!("{at}.ports[0].name"),
            "The name must be http1 or h2c.",
        );
    }
}

/// Checks the variables of one container, which stand at `at`.
pub(super) fn check_environment(variables: &[Value], workload: Workload, at: &str, found: &mut Violations) {
    found.check(variables.len() <= MOST_VARIABLES, at, "A container can have at most 1000 variables.");
    let mut seen = BTreeSet::new();
    for (index, variable) in variables.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let name = text(variable, "name");
        found.check(
            !name.is_empty() && name.len() <= LONGEST && !name.contains(['=', '\0']),
            format!("{at}.name"),
            "The name of a variable must not be empty, contain `=` or exceed 32768 characters.",
        );
        found.check(
            !workload.reserved().contains(&name) && !name.starts_with("X_GOOGLE_"),
            format!("{at}.name"),
            format!("The environment variable name {name} is reserved."),
        );
        found.check(seen.insert(name), format!("{at}.name"), format!("{name} is set more than once."));
        check_value(variable, &at, found);
    }
}

fn check_value(variable: &Value, at: &str, found: &mut Violations) {
    let Some(source) = variable.get("valueSource") else {
        found.check(
            text(variable, "value").len() <= LONGEST,
            format!("{at}.value"),
            "The value must not exceed 32768 bytes.",
        );
        return;
    };
    found.check(variable.get("value").is_none(), at, "Only one of value and valueSource can be set.");
    let reference = &source["secretKeyRef"];
    found.check(
        names::is_secret(text(reference, "secret")),
        format!("{at}.valueSource.secretKeyRef.secret"),
        "A secret is required, as its id or as projects/PROJECT/secrets/SECRET.",
    );
    let version = text(reference, "version");
    found.check(
        version.is_empty() || names::is_secret_version(version),
        format!("{at}.valueSource.secretKeyRef.version"),
        "The version must be a number, an alias or `latest`.",
    );
}

fn check_names(containers: &[Value], found: &mut Violations) {
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let at = format!("template.containers[{index}].name");
        let name = text(container, "name");
        if name.is_empty() {
            found.check(containers.len() == 1, at, "Each of several containers needs a name.");
            continue;
        }
        found.check(names::is_dns_label(name), at.clone(), "The name must be a DNS label.");
        found.check(seen.insert(name), at, "The name is not unique.");
    }
}

fn check_order(containers: &[Value], found: &mut Violations) {
    let waits: BTreeMap<&str, Vec<&str>> = containers
        .iter()
        .map(|container| {
            let before = list(container, "dependsOn").iter().filter_map(Value::as_str).collect();
            (text(container, "name"), before)
        })
        .collect();
    for (index, container) in containers.iter().enumerate() {
        for before in list(container, "dependsOn").iter().filter_map(Value::as_str) {
            found.check(
                waits.contains_key(before),
                format!("template.containers[{index}].dependsOn"),
                format!("No container is called {before}."),
            );
        }
    }
    found.check(!has_cycle(&waits), "template.containers", "The containers' dependsOn form a cycle.");
}

/// Whether the graph has a cycle: takes away what waits for nothing until nothing can be taken away.
fn has_cycle(waits: &BTreeMap<&str, Vec<&str>>) -> bool {
    let mut left: BTreeMap<&str, Vec<&str>> = waits.clone();
    loop {
        let before = left.len();
        let names: BTreeSet<&str> = left.keys().copied().collect();
        left.retain(|_, needs| needs.iter().any(|need| names.contains(need)));
        if left.len() == before {
            return before > 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(containers: &Value) -> Vec<String> {
        let mut found = Violations::default();
        check(&json!({"containers": containers}), Workload::Service, &mut found);
        found.fields().into_iter().map(|field| field.replace("template.", "")).collect()
    }

    fn of_env(env: &Value) -> Vec<String> {
        problems(&json!([{"image": "a", "ports": [{"name": "http1", "containerPort": 80}], "env": env}]))
    }

    #[test]
    fn a_service_needs_a_container_with_an_image() {
        assert_eq!(problems(&json!([])), ["containers"]);
        let port = json!([{"name": "http1", "containerPort": 80}]);
        assert_eq!(problems(&json!([{"ports": port}])), ["containers[0].image"]);
        assert_eq!(problems(&json!([{"image": "UPPER", "ports": port}])), ["containers[0].image"]);
    }

    #[test]
    fn exactly_one_container_has_a_port() {
        let port = json!([{"name": "http1", "containerPort": 80}]);
        let pair = |first: &Value, second: &Value| {
            problems(
                &json!([{"name": "a", "image": "a", "ports": first}, {"name": "b", "image": "b", "ports": second}]),
            )
        };
        assert!(pair(&port, &json!([])).is_empty());
        assert_eq!(pair(&port, &port), ["containers"]);
        assert_eq!(pair(&json!([]), &json!([])), ["containers"]);
    }

    #[test]
    fn several_containers_need_distinct_names() {
        let port = json!([{"name": "http1", "containerPort": 80}]);
        assert_eq!(
            problems(&json!([{"image": "a", "ports": port}, {"name": "b", "image": "b"}])),
            ["containers[0].name"]
        );
        assert_eq!(
            problems(&json!([{"name": "b", "image": "a", "ports": port}, {"name": "b", "image": "b"}])),
            ["containers[1].name"]
        );
    }

    #[test]
    fn a_port_is_named_http1_or_h2c() {
        let with = |port: Value| problems(&json!([{"image": "a", "ports": [port]}]));
        assert!(with(json!({"name": "h2c", "containerPort": 80})).is_empty());
        assert_eq!(with(json!({"name": "http", "containerPort": 80})), ["containers[0].ports[0].name"]);
        assert_eq!(
            with(json!({"name": "h2c", "containerPort": 65536})),
            ["containers[0].ports[0].containerPort"]
        );
    }

    #[test]
    fn reserved_variables_are_refused() {
        for name in ["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "X_GOOGLE_X", "", "A=B"] {
            assert_eq!(
                of_env(&json!([{"name": name, "value": "1"}])),
                ["containers[0].env[0].name"],
                "{name}"
            );
        }
        assert!(of_env(&json!([{"name": "K_OTHER", "value": "1"}])).is_empty());
    }

    #[test]
    fn a_variable_is_set_once() {
        assert_eq!(of_env(&json!([{"name": "A"}, {"name": "A"}])), ["containers[0].env[1].name"]);
    }

    #[test]
    fn a_variable_has_a_value_or_a_source() {
        let both = json!([{"name": "A", "value": "", "valueSource": {"secretKeyRef": {"secret": "s"}}}]);
        assert_eq!(of_env(&both), ["containers[0].env[0]"]);
        assert_eq!(
            of_env(&json!([{"name": "A", "valueSource": {}}])),
            ["containers[0].env[0].valueSource.secretKeyRef.secret"]
        );
    }

    #[test]
    fn environments_are_limited() {
        assert_eq!(
            of_env(&json!([{"name": "A", "value": "x".repeat(32769)}])),
            ["containers[0].env[0].value"]
        );
        let many: Vec<Value> = (0..1001).map(|number| json!({"name": format!("A{number}")})).collect();
        assert_eq!(of_env(&many.into()), ["containers[0].env"]);
    }

    #[test]
    fn depends_on_names_containers_without_a_cycle() {
        let port = json!([{"name": "http1", "containerPort": 80}]);
        let with = |first: Value, second: Value| {
            problems(&json!([{"name": "a", "image": "a", "ports": port, "dependsOn": first},
                            {"name": "b", "image": "b", "dependsOn": second}]))
        };
        assert!(with(json!(["b"]), json!([])).is_empty());
        assert_eq!(with(json!(["c"]), json!([])), ["containers[0].dependsOn"]);
        assert_eq!(with(json!(["b"]), json!(["a"])), ["containers"]);
        assert_eq!(with(json!(["a"]), json!([])), ["containers"]);
    }
}
