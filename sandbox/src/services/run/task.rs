//! Tasks of executions. Stored is what differs between them; the rest is the execution's template.

use super::access::{int, pick, set, text, unset};
use super::condition;
use super::execution::Attempts;
use super::resource::{self, view};
use super::{EXECUTIONS, TASKS, check_location, execution, names};
use crate::call::{Call, page};
use crate::error::Answer;
use crate::services::names::last;
use crate::world::World;
use serde_json::{Value, json};

/// Stores the tasks of an execution that is being recorded: `EXECUTION-task0` and so on.
pub(super) fn make_all(world: &mut World, execution: &Value) {
    let owner = text(execution, "name").to_owned();
    let id = names::last(&owner).to_owned();
    for index in 0..int(execution, "taskCount") {
        let name = format!("{owner}/tasks/{id}-task{index}");
        let mut doc = pick(execution, &["annotations", "createTime", "job", "labels", "updateTime"]);
        let label = format!("%0Alabels.%22run.googleapis.com%2Ftask_index%22%3D%22{index}%22");
        for (key, value) in [
            ("name", json!(name)),
            ("uid", json!(world.uuid())),
            ("generation", json!("1")),
            ("execution", json!(id)),
            ("reconciling", json!(true)),
            ("conditions", execution::waiting(text(execution, "createTime"))),
            ("logUri", json!(execution::log_uri(&owner, &label))),
            ("etag", json!(world.fresh_etag())),
        ] {
            set(&mut doc, key, value);
        }
        // The first index is 0, which proto3 leaves out.
        if index > 0 {
            set(&mut doc, "index", index);
        }
        world.put(TASKS, &name, doc);
    }
}

/// Ends every task of an execution in the same way.
pub(super) fn complete_all(world: &mut World, execution: &str, conditions: &[Value], now: &str) {
    for doc in all(world, &format!("{execution}/tasks/")) {
        if doc.get("completionTime").is_none() {
            complete(world, doc, conditions, now);
        }
    }
}

fn complete(world: &mut World, mut doc: Value, conditions: &[Value], now: &str) {
    set(&mut doc, "conditions", conditions.to_vec());
    set(&mut doc, "completionTime", now);
    set(&mut doc, "updateTime", now);
    set(&mut doc, "observedGeneration", "1");
    unset(&mut doc, "reconciling");
    set(&mut doc, "etag", world.fresh_etag());
    let name = text(&doc, "name").to_owned();
    world.put(TASKS, &name, doc);
}

/// Ends the task of an execution that was run.
pub(super) fn complete_one(world: &mut World, execution: &str, index: i64, attempts: &Attempts) {
    let name = format!("{execution}/tasks/{}-task{index}", last(execution));
    let Some(mut doc) = world.doc(TASKS, &name).cloned() else { return };
    let now = world.now();
    let mut result = json!({});
    if let Some(status) = attempts.exit.filter(|status| *status != 0) {
        set(&mut result, "exitCode", status);
    }
    if let Some(signal) = attempts.signal {
        set(&mut result, "termSignal", signal);
    }
    if let Some(why) = &attempts.failure {
        // `google.rpc.Status` with the code UNKNOWN.
        set(&mut result, "status", json!({ "code": 2, "message": why }));
    }
    set(&mut doc, "lastAttemptResult", result);
    if attempts.retried > 0 {
        set(&mut doc, "retried", attempts.retried);
    }
    let done = match &attempts.failure {
        None => condition::succeeded("Completed", &now),
        Some(why) => condition::execution_failed("Completed", "NON_ZERO_EXIT_CODE", why, &now),
    };
    let steps = ["ResourcesAvailable", "Started"].map(|step| condition::succeeded(step, &now));
    let conditions: Vec<Value> = std::iter::once(done).chain(steps).collect();
    complete(world, doc, &conditions, &now);
}

/// Takes away the tasks of an execution that is gone.
pub(super) fn forget_all(world: &mut World, execution: &str) {
    for doc in all(world, &format!("{execution}/tasks/")) {
        world.remove(TASKS, text(&doc, "name"));
    }
}

fn all(world: &World, prefix: &str) -> Vec<Value> {
    world.list(TASKS, prefix).map(|(_, doc)| doc.clone()).collect()
}

/// `jobs.executions.tasks.get`.
pub(super) fn get(world: &mut World, call: &Call) -> Answer {
    let doc = world.doc(TASKS, &call.resource).ok_or_else(|| resource::not_found("task", &call.resource))?;
    Ok(shown(world, doc))
}

/// `jobs.executions.tasks.list`, by execution and index; `-` stands for all executions, and for all jobs.
pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    let parts: Vec<&str> = call.resource.split('/').collect();
    check_location(resource::location(&call.resource))?;
    let wanted = |name: &str| {
        let found = name.split('/').zip(&parts);
        found.enumerate().all(|(at, (one, asked))| one == *asked || (*asked == "-" && at > 4))
    };
    let mut found = all(world, &resource::before_wildcard(&call.resource));
    found.retain(|doc| wanted(text(doc, "name")));
    found.sort_by_key(|doc| (owner(doc).to_owned(), int(doc, "index")));
    page(found.iter().map(|doc| shown(world, doc)).collect(), "tasks", call, 100, 100)
}

fn owner(task: &Value) -> &str {
    text(task, "name").split("/tasks/").next().unwrap_or_default()
}

/// The task as a client sees it.
fn shown(world: &World, doc: &Value) -> Value {
    let execution = world.doc(EXECUTIONS, owner(doc));
    let mut whole = execution.map_or_else(|| json!({}), |execution| execution["template"].clone());
    if int(&whole, "maxRetries") == 0 {
        unset(&mut whole, "maxRetries");
    }
    if let (Some(whole), Some(own)) = (whole.as_object_mut(), doc.as_object()) {
        whole.extend(own.clone());
    }
    view(&whole)
}
