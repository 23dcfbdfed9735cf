//! What a job, and a run of it, must not ask for. Limits: cloud.google.com/run/quotas and
//! cloud.google.com/run/docs/configuring/task-timeout.

use super::super::access::{int, list, seconds, text};
use super::super::violations::Violations;
use super::{Workload, check_workload, container, metadata};
use crate::error::Status;
use serde_json::Value;
use std::collections::BTreeSet;

/// Most tasks of an execution.
const TASKS: i64 = 10_000;
/// Most retries of a task.
const RETRIES: i64 = 10;
/// Longest attempt of a task in seconds: 168 hours.
const TIMEOUT: f64 = 604_800.0;
/// "The sum of job name and token length must be fewer than 63 characters" (`Job.startExecutionToken`).
const NAME_AND_TOKEN: usize = 62;

/// Checks a job whose defaults are filled in.
pub(in super::super) fn job(job: &Value, id: &str) -> Result<(), Status> {
    let mut found = Violations::default();
    let template = &job["template"];
    metadata(job, template, &mut found);
    tokens(job, id, &mut found);
    task_count(int(template, "taskCount"), "template.taskCount", &mut found);
    found.check(int(template, "parallelism") >= 0, "template.parallelism", "The value must not be negative.");
    let mut inner = Violations::default();
    let task = &template["template"];
    inner.check(
        (0..=RETRIES).contains(&int(task, "maxRetries")),
        "template.maxRetries",
        "The number of retries must be between 0 and 10.",
    );
    timeout(text(task, "timeout"), "template.timeout", &mut inner);
    inner.check(
        text(task, "executionEnvironment") == "EXECUTION_ENVIRONMENT_GEN2",
        "template.executionEnvironment",
        "Jobs run in the second generation execution environment only.",
    );
    check_workload(task, Workload::Job, &mut inner);
    found.nest("template", inner);
    found.into_result()
}

/// Checks the overrides of one run against the template that they are for.
pub(in super::super) fn overrides(overrides: &Value, template: &Value) -> Result<(), Status> {
    let mut found = Violations::default();
    if int(overrides, "taskCount") != 0 {
        task_count(int(overrides, "taskCount"), "overrides.taskCount", &mut found);
    }
    if overrides.get("timeout").is_some() {
        timeout(text(overrides, "timeout"), "overrides.timeout", &mut found);
    }
    let containers = list(&template["template"], "containers");
    let mut seen = BTreeSet::new();
    for (index, change) in list(overrides, "containerOverrides").iter().enumerate() {
        let at = format!("overrides.containerOverrides[{index}]");
        let name = text(change, "name");
        let known = containers.iter().any(|container| text(container, "name") == name)
            || (name.is_empty() && containers.len() == 1);
        found.check(known, format!("{at}.name"), format!("The job has no container called '{name}'."));
        found.check(seen.insert(name), format!("{at}.name"), "The container is overridden more than once.");
        container::check_environment(list(change, "env"), Workload::Job, &format!("{at}.env"), &mut found);
    }
    found.into_result()
}

fn tokens(job: &Value, id: &str, found: &mut Violations) {
    let tokens = ["startExecutionToken", "runExecutionToken"].map(|field| (field, text(job, field)));
    for (field, token) in tokens.into_iter().filter(|(_, token)| !token.is_empty()) {
        found.check(
            id.len() + token.len() <= NAME_AND_TOKEN,
            field,
            "The job's name and the token must have fewer than 63 characters together.",
        );
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        found.check(
            token.bytes().all(plain) && !token.ends_with('-'),
            field,
            "The token has lower-case letters, digits and `-`, no `-` last.",
        );
    }
    found.check(
        tokens.iter().any(|(_, token)| token.is_empty()),
        "runExecutionToken",
        "Only one of startExecutionToken and runExecutionToken can be set.",
    );
}

fn task_count(count: i64, at: &str, found: &mut Violations) {
    found.check((1..=TASKS).contains(&count), at, "The number of tasks must be between 1 and 10000.");
}

fn timeout(timeout: &str, at: &str, found: &mut Violations) {
    found.check(
        seconds(timeout).is_some_and(|timeout| timeout > 0.0 && timeout <= TIMEOUT),
        at,
        "The timeout must be more than 0 and at most 604800 seconds.",
    );
}

#[cfg(test)]
mod tests {
    use super::super::super::defaults;
    use super::*;
    use serde_json::json;

    fn fields(outcome: Result<(), Status>) -> Vec<String> {
        let Err(status) = outcome else { return Vec::new() };
        let violations = status.details[0]["fieldViolations"].as_array().unwrap().clone();
        violations.iter().map(|violation| violation["field"].as_str().unwrap().to_owned()).collect()
    }

    fn problems(mut doc: Value) -> Vec<String> {
        if doc["template"]["template"].get("containers").is_none() {
            doc["template"]["template"]["containers"] = json!([{"image": "nginx"}]);
        }
        defaults::fill_job(&mut doc, 1);
        fields(job(&doc, "backup"))
    }

    fn of_task(task: &Value) -> Vec<String> {
        problems(json!({"template": {"template": task}}))
    }

    fn of_container(mut container: Value) -> Vec<String> {
        container["image"] = json!("nginx");
        let found = of_task(&json!({"containers": [container]}));
        found.into_iter().map(|field| field.replace("template.template.containers[0].", "")).collect()
    }

    #[test]
    fn a_bare_job_is_taken() {
        assert!(problems(json!({})).is_empty());
    }

    #[test]
    fn tasks_retries_and_time_are_limited() {
        assert!(problems(json!({"template": {"taskCount": 10_000, "parallelism": 100}})).is_empty());
        assert_eq!(problems(json!({"template": {"taskCount": 10_001}})), ["template.taskCount"]);
        assert_eq!(problems(json!({"template": {"parallelism": -1}})), ["template.parallelism"]);
        assert!(of_task(&json!({"maxRetries": 0, "timeout": "604800s"})).is_empty());
        assert_eq!(of_task(&json!({"maxRetries": 11})), ["template.template.maxRetries"]);
        assert_eq!(of_task(&json!({"timeout": "604801s"})), ["template.template.timeout"]);
        assert_eq!(of_task(&json!({"timeout": "-1s"})), ["template.template.timeout"]);
    }

    #[test]
    fn jobs_run_in_the_second_generation_only() {
        let first = json!({"executionEnvironment": "EXECUTION_ENVIRONMENT_GEN1"});
        assert_eq!(of_task(&first), ["template.template.executionEnvironment"]);
    }

    #[test]
    fn a_job_needs_a_whole_cpu_and_half_a_gibibyte() {
        let limits = |cpu: &str, memory: &str| {
            of_container(json!({"resources": {"limits": {"cpu": cpu, "memory": memory}}}))
        };
        assert!(limits("1", "512Mi").is_empty());
        assert_eq!(limits("500m", "512Mi"), ["resources.limits.cpu"]);
        assert!(limits("1", "256Mi").contains(&"resources.limits.memory".to_owned()));
    }

    #[test]
    fn a_task_is_neither_probed_for_life_nor_for_requests() {
        assert!(
            of_container(json!({"ports": [{"containerPort": 80}], "startupProbe": {"tcpSocket": {}}}))
                .is_empty()
        );
        for kind in ["livenessProbe", "readinessProbe"] {
            assert_eq!(of_container(json!({kind: {"httpGet": {"port": 80}}})), [kind]);
        }
    }

    #[test]
    fn variables_of_jobs_are_reserved_and_those_of_services_are_not() {
        let named = |name: &str| of_container(json!({"env": [{"name": name, "value": "1"}]}));
        assert!(named("PORT").is_empty() && named("K_SERVICE").is_empty());
        for name in ["CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION", "CLOUD_RUN_TASK_INDEX", "X_GOOGLE_A"] {
            assert_eq!(named(name), ["env[0].name"], "{name}");
        }
    }

    #[test]
    fn several_containers_need_names_and_need_no_port() {
        let two =
            |first: &str| json!({"containers": [{"name": first, "image": "a"}, {"name": "b", "image": "b"}]});
        assert!(of_task(&two("a")).is_empty());
        assert_eq!(of_task(&two("")), ["template.template.containers[0].name"]);
    }

    #[test]
    fn volumes_and_networks_are_checked_as_for_services() {
        let mounted = json!({"volumeMounts": [{"name": "v", "mountPath": "/s"}]});
        assert_eq!(of_container(mounted), ["volumeMounts[0].name"]);
        let found = of_task(&json!({"vpcAccess": {"egress": "ALL_TRAFFIC"}, "serviceAccount": "nobody"}));
        assert_eq!(found, ["template.template.serviceAccount", "template.template.vpcAccess"]);
    }

    #[test]
    fn labels_and_annotations_are_checked_on_both_levels() {
        let found = problems(json!({"labels": {"A": "b"},
            "template": {"annotations": {"run.googleapis.com/x": "1"}}}));
        assert_eq!(found, ["labels.A", "template.annotations.run.googleapis.com/x"]);
    }

    #[test]
    fn name_and_token_have_fewer_than_63_characters_together() {
        // `backup` has six.
        assert!(problems(json!({"startExecutionToken": "a".repeat(56)})).is_empty());
        assert_eq!(problems(json!({"startExecutionToken": "a".repeat(57)})), ["startExecutionToken"]);
        assert_eq!(problems(json!({"runExecutionToken": "A"})), ["runExecutionToken"]);
        let both = json!({"startExecutionToken": "a", "runExecutionToken": "b"});
        assert_eq!(problems(both), ["runExecutionToken"]);
    }

    #[test]
    fn overrides_name_containers_that_exist_and_stay_inside_the_limits() {
        let template = json!({"template": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let found = |sent: Value| fields(overrides(&sent, &template));
        assert!(
            found(json!({"taskCount": 5, "timeout": "60s", "containerOverrides": [{"name": "a"}]}))
                .is_empty()
        );
        assert_eq!(found(json!({"taskCount": -1})), ["overrides.taskCount"]);
        assert_eq!(found(json!({"timeout": "0s"})), ["overrides.timeout"]);
        let at = "overrides.containerOverrides";
        assert_eq!(found(json!({"containerOverrides": [{"name": "c"}]})), [format!("{at}[0].name")]);
        assert_eq!(found(json!({"containerOverrides": [{"args": ["x"]}]})), [format!("{at}[0].name")]);
        let twice = json!({"containerOverrides": [{"name": "a"}, {"name": "a"}]});
        assert_eq!(found(twice), [format!("{at}[1].name")]);
        let reserved = json!({"containerOverrides": [{"name": "a", "env": [{"name": "CLOUD_RUN_JOB"}]}]});
        assert_eq!(found(reserved), [format!("{at}[0].env[0].name")]);
    }
}
