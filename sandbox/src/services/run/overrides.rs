//! What `jobs.run` changes of a job's template for one execution (`RunJobRequest.Overrides`).

use super::access::{flag, int, list, objects_mut, set, text, unset};
use super::defaults;
use serde_json::Value;

/// The execution template with the overrides applied. They were checked before.
pub(super) fn apply(template: &Value, overrides: &Value) -> Value {
    let mut template = template.clone();
    if int(overrides, "taskCount") != 0 {
        set(&mut template, "taskCount", int(overrides, "taskCount"));
    }
    let Some(task) = template.get_mut("template") else { return template };
    if let Some(timeout) = overrides.get("timeout") {
        set(task, "timeout", timeout.clone());
    }
    let changes = list(overrides, "containerOverrides");
    for container in objects_mut(task, "containers") {
        let name = text(container, "name").to_owned();
        // Without a name it is the only container: anything else was refused.
        let ours = changes
            .iter()
            .filter(|change| matches!(text(change, "name"), sent if sent.is_empty() || sent == name));
        for change in ours {
            change_container(container, change);
        }
    }
    template
}

/// Arguments are replaced, variables merged by name.
fn change_container(container: &mut Value, change: &Value) {
    if flag(change, "clearArgs") {
        unset(container, "args");
    }
    if !list(change, "args").is_empty() {
        set(container, "args", list(change, "args").to_vec());
    }
    let new = list(change, "env");
    let kept = list(container, "env")
        .iter()
        .filter(|variable| new.iter().all(|change| text(change, "name") != text(variable, "name")));
    let env: Vec<Value> = kept.chain(new).cloned().collect();
    if !env.is_empty() {
        set(container, "env", env);
        defaults::fill_references(container);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template() -> Value {
        json!({"taskCount": 2, "parallelism": 1, "template": {"timeout": "600s", "containers": [
            {"name": "a", "args": ["x"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "b", "args": ["y"]}]}})
    }

    fn containers(overrides: &Value) -> Value {
        apply(&template(), overrides)["template"]["containers"].clone()
    }

    #[test]
    fn nothing_sent_changes_nothing() {
        assert_eq!(apply(&template(), &Value::Null), template());
    }

    #[test]
    fn tasks_and_time_are_replaced() {
        let changed = apply(&template(), &json!({"taskCount": 5, "timeout": "60s"}));
        assert_eq!((&changed["taskCount"], &changed["template"]["timeout"]), (&json!(5), &json!("60s")));
        assert_eq!(changed["parallelism"], 1);
    }

    #[test]
    fn arguments_are_replaced_in_the_named_container_only() {
        let changed = containers(&json!({"containerOverrides": [{"name": "a", "args": ["z"]}]}));
        assert_eq!((&changed[0]["args"], &changed[1]["args"]), (&json!(["z"]), &json!(["y"])));
        let cleared = containers(&json!({"containerOverrides": [{"name": "a", "clearArgs": true}]}));
        assert_eq!(cleared[0].get("args"), None);
    }

    #[test]
    fn variables_are_merged_by_name() {
        let secret = json!({"name": "C", "valueSource": {"secretKeyRef": {"secret": "s"}}});
        let sent = json!([{"name": "B", "value": "3"}, secret]);
        let changed = containers(&json!({"containerOverrides": [{"name": "a", "env": sent}]}));
        let names: Vec<&str> = list(&changed[0], "env").iter().map(|one| text(one, "name")).collect();
        assert_eq!(names, ["A", "B", "C"]);
        assert_eq!(changed[0]["env"][1]["value"], "3");
        assert_eq!(changed[0]["env"][2]["valueSource"]["secretKeyRef"]["version"], "latest");
        assert_eq!(changed[1].get("env"), None);
    }

    #[test]
    fn the_only_container_needs_no_name() {
        let one = json!({"template": {"containers": [{"image": "a"}]}});
        let changed = apply(&one, &json!({"containerOverrides": [{"args": ["z"]}]}));
        assert_eq!(changed["template"]["containers"][0]["args"], json!(["z"]));
    }
}
