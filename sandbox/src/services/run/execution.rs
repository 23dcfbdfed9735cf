//! Executions of jobs: how they are recorded, cancelled and deleted, and how they end.
//!
//! An execution is recorded with all its tasks and waits to be started: `Started` and `ResourcesAvailable` are
//! pending and the operation of `jobs.run` stays open, as at Google until the last task has ended. What the
//! execution lacks (image, account, secrets) is found out when its operation goes on, and ends it.

use super::access::{flag, int, pick, set, text, unset};
use super::condition::{self, Failure};
use super::resource::{self, Kind, view};
use super::{
    DELETED_EXECUTIONS, EXECUTION, EXECUTIONS, JOBS, RunEffect, check_etag, check_location, job, names,
    needs, overrides, start_operation, task, validate,
};
use crate::call::Call;
use crate::error::{Answer, Code, Status};
use crate::world::World;
use serde_json::{Value, json};

/// Executions as a kind of resource. Only Cloud Run makes and changes them.
static KIND: Kind = Kind {
    collection: EXECUTIONS,
    deleted: DELETED_EXECUTIONS,
    message: EXECUTION,
    word: "execution",
    id: "",
    longest_id: 0,
    mutable: &[],
};

/// Most completed executions that a job keeps (Cloud Run quotas and limits).
const MOST_COMPLETED: usize = 1000;
/// Letters at the end of a name that Cloud Run gives.
const LETTERS: usize = 5;
/// Longest name of an execution: it is the value of labels.
const LONGEST: usize = 63;
/// Conditions of an execution besides `Completed`, which all have to come first.
const STEPS: [&str; 2] = ["ResourcesAvailable", "Started"];

/// How an execution ended.
enum End<'a> {
    Succeeded,
    Cancelled,
    /// It could not be started.
    Failed(&'a Failure),
    /// A task of it failed for good, and this is why.
    TaskFailed(&'a str),
}

/// What is to be run of an execution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    pub(crate) tasks: i64,
    pub(crate) at_once: usize,
    pub(crate) retries: i64,
    /// Seconds that each attempt may take.
    pub(crate) timeout: f64,
}

/// What became of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    pub(crate) retried: i64,
    /// Of the last attempt.
    pub(crate) exit: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Why it failed for good.
    pub(crate) failure: Option<String>,
}

/// `jobs.run`.
pub(super) fn run(world: &mut World, call: &Call) -> Answer {
    let mut job = job::KIND.find(world, &call.resource)?.clone();
    check_etag(call.text("etag"), &job, "job")?;
    job::KIND.refuse_deleted(&job)?;
    let sent = call.body.get("overrides").unwrap_or(&Value::Null);
    validate::overrides(sent, &job["template"])?;
    let template = overrides::apply(&job["template"], sent);
    let name = generated_name(world, &call.resource);
    let doc = build(world, &name, &job, &template, &call.caller.email);
    if flag(&call.body, "validateOnly") {
        return Ok(start_operation(world, &name, EXECUTION, view(&doc), None));
    }
    store(world, &mut job, doc.clone());
    set(&mut job, "etag", world.fresh_etag());
    world.put(JOBS, &call.resource, job);
    let effect = RunEffect::Execute { execution: name.clone() };
    Ok(start_operation(world, &name, EXECUTION, view(&doc), Some(effect)))
}

/// `JOB-abcde`, the job's part cut so that the whole is a label.
fn generated_name(world: &mut World, job: &str) -> String {
    let id = names::last(job);
    let base = id[..id.len().min(LONGEST - LETTERS - 1)].trim_end_matches('-');
    loop {
        let name = format!("{job}/executions/{base}-{}", names::letters(world.random(), LETTERS));
        if world.doc(EXECUTIONS, &name).is_none() {
            return name;
        }
    }
}

/// A new execution of `job` with an execution template; nothing is stored.
pub(super) fn build(world: &mut World, name: &str, job: &Value, template: &Value, creator: &str) -> Value {
    let mut doc =
        pick(template, &["annotations", "client", "clientVersion", "labels", "taskCount", "template"]);
    let now = world.now();
    let tasks = int(template, "taskCount");
    let at_once = match int(template, "parallelism") {
        0 => tasks,
        most => most.min(tasks),
    };
    for (key, value) in [
        ("name", json!(name)),
        ("uid", json!(world.uuid())),
        ("generation", json!("1")),
        ("createTime", json!(now)),
        ("updateTime", json!(now)),
        ("creator", json!(creator)),
        ("job", json!(names::last(text(job, "name")))),
        ("launchStage", job["launchStage"].clone()),
        ("parallelism", json!(at_once)),
        ("reconciling", json!(true)),
        ("conditions", waiting(&now)),
        ("logUri", json!(log_uri(name, ""))),
        ("etag", json!(world.fresh_etag())),
    ] {
        set(&mut doc, key, value);
    }
    resource::number(world, &mut doc);
    doc
}

/// The conditions of what waits to be started.
pub(super) fn waiting(now: &str) -> Value {
    let mut conditions = vec![condition::reconciling("Completed", now)];
    conditions.extend(STEPS.iter().map(|step| condition::pending(step, now)));
    json!(conditions)
}

/// Where Cloud Console shows the logs of an execution, or of one of its tasks when `more` says so.
pub(super) fn log_uri(execution: &str, more: &str) -> String {
    let parts: Vec<&str> = execution.split('/').collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let filter = format!(
        "resource.type%3D%22cloud_run_job%22%0Aresource.labels.job_name%3D%22{}%22%0Alabels.%22run.googleapis.com%2F\
         execution_name%22%3D%22{}%22%0Aresource.labels.location%3D%22{}%22{more}",
        part(5),
        part(7),
        part(3)
    );
    format!("https://console.cloud.google.com/logs/viewer?project={}&advancedFilter={filter}", part(1))
}

/// Stores an execution with its tasks and mentions it in its job, which the caller stores.
pub(super) fn store(world: &mut World, job: &mut Value, execution: Value) {
    let count = int(job, "executionCount") + 1;
    set(job, "executionCount", count);
    let reference = json!({"name": names::last(text(&execution, "name")), "createTime": execution["createTime"],
                           "completionStatus": "EXECUTION_PENDING"});
    set(job, "latestCreatedExecution", reference);
    task::make_all(world, &execution);
    let name = text(&execution, "name").to_owned();
    world.put(EXECUTIONS, &name, execution);
    world.runtime.look();
}

/// `jobs.executions.get`.
pub(super) fn get(world: &mut World, call: &Call) -> Answer {
    KIND.find(world, &call.resource).map(view)
}

/// `jobs.executions.list`: "sorted by creation time, descending"; `-` stands for all jobs of the location.
pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    check_location(resource::location(&call.resource))?;
    let mut found = KIND.shown(world, call, &resource::before_wildcard(&call.resource))?;
    resource::newest_first(&mut found);
    resource::page_of(&found, "executions", call)
}

/// `jobs.executions.cancel`. The execution is being cancelled until the operation is done.
pub(super) fn cancel(world: &mut World, call: &Call) -> Answer {
    let name = call.resource.clone();
    let mut doc = KIND.find(world, &name)?.clone();
    check_etag(call.text("etag"), &doc, KIND.word)?;
    KIND.refuse_deleted(&doc)?;
    if is_complete(&doc) {
        let id = names::last(&name);
        return Err(Status::failed_precondition(format!("Execution '{id}' has already completed.")));
    }
    completing(world, &mut doc, Some("CANCELLING"));
    let validate_only = flag(&call.body, "validateOnly");
    if !validate_only {
        world.put(EXECUTIONS, &name, doc.clone());
    }
    let effect = (!validate_only).then_some(RunEffect::CancelExecution { execution: name.clone() });
    Ok(start_operation(world, &name, EXECUTION, view(&doc), effect))
}

/// Says why the execution is on its way to completion, or no longer.
fn completing(world: &mut World, doc: &mut Value, reason: Option<&str>) {
    let mut completed = condition::reconciling("Completed", &world.now());
    if let Some(reason) = reason {
        set(&mut completed, "executionReason", reason);
    }
    if let Some(conditions) = doc.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| condition["type"] != "Completed");
        conditions.push(completed);
    }
    set(doc, "etag", world.fresh_etag());
}

/// The end of a cancellation.
pub(super) fn finish_cancel(world: &mut World, name: &str) -> Answer {
    complete(world, name, &End::Cancelled);
    KIND.find(world, name).map(view)
}

/// The end of a cancellation that a fault on demand made fail: the execution goes on.
pub(super) fn keep_running(world: &mut World, name: &str) {
    let Some(mut doc) = world.doc(EXECUTIONS, name).filter(|doc| !is_complete(doc)).cloned() else { return };
    completing(world, &mut doc, None);
    world.put(EXECUTIONS, name, doc);
}

/// `jobs.executions.delete`.
pub(super) fn delete(world: &mut World, call: &Call) -> Answer {
    KIND.delete(world, call, RunEffect::DeleteExecution { execution: call.resource.clone() })
}

/// The end of a deletion.
pub(super) fn remove(world: &mut World, name: &str) -> Answer {
    let doc = KIND.remove(world, name)?;
    task::forget_all(world, name);
    let deleted = text(&doc, "deleteTime").to_owned();
    change_reference(world, name, |reference| set(reference, "deleteTime", deleted));
    Ok(doc)
}

/// Takes away the executions of a job that is gone.
pub(super) fn forget_all(world: &mut World, job: &str) {
    for doc in all(world, job) {
        forget(world, text(&doc, "name"));
    }
}

fn forget(world: &mut World, name: &str) {
    world.remove(EXECUTIONS, name);
    task::forget_all(world, name);
}

/// The executions of a job, newest first.
fn all(world: &World, job: &str) -> Vec<Value> {
    let prefix = format!("{job}/executions/");
    let mut found: Vec<Value> = world.list(EXECUTIONS, &prefix).map(|(_, doc)| doc.clone()).collect();
    resource::newest_first(&mut found);
    found
}

/// Takes away the oldest completed executions beyond `most`, as Cloud Run does without asking.
pub(super) fn forget_surplus(world: &mut World, job: &str, most: usize) {
    for doc in all(world, job).iter().filter(|doc| is_complete(doc)).skip(most) {
        forget(world, text(doc, "name"));
    }
}

/// Fails an execution that cannot start because of what it lacks.
pub(super) fn check(world: &mut World, name: &str) {
    let project = name.split('/').nth(1).unwrap_or_default();
    let Some(doc) = world.doc(EXECUTIONS, name).filter(|doc| !is_complete(doc)) else { return };
    if let Err(failure) = needs::check(world, project, &doc["template"]) {
        fail(world, name, &failure);
    }
}

/// Marks an execution as started, and answers what to run. `None` when it has ended, also because of what it lacks.
pub(crate) fn begin(world: &mut World, name: &str) -> Option<Plan> {
    check(world, name);
    let mut doc = world.doc(EXECUTIONS, name).filter(|doc| !is_complete(doc))?.clone();
    let now = world.now();
    let at_once = int(&doc, "parallelism").max(1);
    let mut conditions = vec![condition::reconciling("Completed", &now)];
    conditions.extend(STEPS.iter().map(|step| condition::succeeded(step, &now)));
    // One that is on its way to be cancelled stays so.
    if condition::of(super::access::list(&doc, "conditions"), "Completed")
        .is_none_or(|completed| completed.get("executionReason").is_none())
    {
        set(&mut doc, "conditions", conditions);
    }
    set(&mut doc, "startTime", now.as_str());
    let running = at_once.min(int(&doc, "taskCount"));
    set(&mut doc, "runningCount", running);
    set(&mut doc, "etag", world.fresh_etag());
    let task = &doc["template"];
    let plan = Plan {
        tasks: int(&doc, "taskCount"),
        at_once: usize::try_from(at_once).unwrap_or(1),
        retries: int(task, "maxRetries"),
        timeout: super::launch::seconds(task, "timeout", 600.0),
    };
    world.put(EXECUTIONS, name, doc);
    change_reference(world, name, |reference| set(reference, "completionStatus", "EXECUTION_RUNNING"));
    Some(plan)
}

/// Records how a task ended.
pub(crate) fn task_ended(world: &mut World, name: &str, index: i64, attempts: &Attempts) {
    let Some(mut doc) = world.doc(EXECUTIONS, name).filter(|doc| !is_complete(doc)).cloned() else { return };
    let count = if attempts.failure.is_some() { "failedCount" } else { "succeededCount" };
    let ended = int(&doc, count) + 1;
    set(&mut doc, count, ended);
    let retried = int(&doc, "retriedCount") + attempts.retried;
    if retried > 0 {
        set(&mut doc, "retriedCount", retried);
    }
    let left = int(&doc, "taskCount") - int(&doc, "failedCount") - int(&doc, "succeededCount");
    let running = left.min(int(&doc, "parallelism"));
    set(&mut doc, "runningCount", running);
    set(&mut doc, "etag", world.fresh_etag());
    world.put(EXECUTIONS, name, doc);
    task::complete_one(world, name, index, attempts);
}

/// Ends an execution that was run: all its tasks succeeded, or one failed for good.
pub(crate) fn ended(world: &mut World, name: &str, failure: Option<&str>) {
    complete(world, name, &failure.map_or(End::Succeeded, End::TaskFailed));
}

/// Ends an execution that could not be started.
pub(super) fn fail(world: &mut World, name: &str, failure: &Failure) {
    complete(world, name, &End::Failed(failure));
}

/// Whether the execution is still to end.
pub(super) fn is_under_way(world: &World, name: &str) -> bool {
    world.doc(EXECUTIONS, name).is_some_and(|doc| !is_complete(doc))
}

fn is_complete(doc: &Value) -> bool {
    doc.get("completionTime").is_some()
}

/// What the operation of `jobs.run` answers.
///
/// # Errors
/// Why the execution failed; 499 CANCELLED when it was cancelled; 404 when it is gone.
pub(super) fn finish(world: &World, name: &str) -> Answer {
    let doc = KIND.find(world, name)?;
    match condition::of(super::access::list(doc, "conditions"), "Completed") {
        Some(completed) if text(completed, "executionReason") == "CANCELLED" => {
            Err(Status::new(Code::Cancelled, text(completed, "message")))
        }
        Some(completed) if text(completed, "state") == condition::FAILED => {
            Err(Failure::new(text(completed, "reason"), text(completed, "message")).status())
        }
        _ => Ok(view(doc)),
    }
}

/// Whether an execution that a job waits for has succeeded.
pub(super) fn outcome(world: &World, name: &str) -> Result<(), Failure> {
    finish(world, name).map(|_| ()).map_err(|status| {
        let id = names::last(name);
        Failure::new("UNKNOWN", format!("Execution '{id}' did not succeed. {}", status.message))
    })
}

/// Ends an execution and its tasks for good.
fn complete(world: &mut World, name: &str, end: &End<'_>) {
    let Some(mut doc) = world.doc(EXECUTIONS, name).filter(|doc| !is_complete(doc)).cloned() else { return };
    let now = world.now();
    let id = names::last(name);
    let state = |kind: &str| match end {
        End::Cancelled => {
            condition::execution_failed(kind, "CANCELLED", &format!("Execution '{id}' was cancelled."), &now)
        }
        End::Failed(failure) => condition::failed(kind, &failure.reason, &failure.message, &now),
        End::TaskFailed(why) if kind == "Completed" => {
            condition::execution_failed(kind, "NON_ZERO_EXIT_CODE", why, &now)
        }
        End::Succeeded | End::TaskFailed(_) => condition::succeeded(kind, &now),
    };
    let conditions: Vec<Value> = std::iter::once("Completed").chain(STEPS).map(state).collect();
    let (count, status) = match end {
        End::Succeeded => ("succeededCount", "EXECUTION_SUCCEEDED"),
        End::Cancelled => ("cancelledCount", "EXECUTION_CANCELLED"),
        // Tasks that were not needed any more are cancelled.
        End::TaskFailed(_) => ("cancelledCount", "EXECUTION_FAILED"),
        End::Failed(_) => ("failedCount", "EXECUTION_FAILED"),
    };
    let known = int(&doc, "succeededCount") + int(&doc, "failedCount");
    let rest = int(&doc, "taskCount") - known;
    if rest > 0 {
        let all = int(&doc, count) + rest;
        set(&mut doc, count, all);
    }
    unset(&mut doc, "runningCount");
    set(&mut doc, "conditions", conditions.clone());
    set(&mut doc, "completionTime", now.as_str());
    set(&mut doc, "updateTime", now.as_str());
    set(&mut doc, "observedGeneration", "1");
    unset(&mut doc, "reconciling");
    set(&mut doc, "etag", world.fresh_etag());
    world.put(EXECUTIONS, name, doc);
    task::complete_all(world, name, &conditions, &now);
    change_reference(world, name, |reference| {
        set(reference, "completionStatus", status);
        set(reference, "completionTime", now.as_str());
    });
    forget_surplus(world, job_of(name), MOST_COMPLETED);
}

fn job_of(execution: &str) -> &str {
    execution.split("/executions/").next().unwrap_or_default()
}

/// Changes what a job says about its latest execution, when it is this one.
fn change_reference(world: &mut World, name: &str, change: impl FnOnce(&mut Value)) {
    let Some(mut job) = world.doc(JOBS, job_of(name)).cloned() else { return };
    let Some(reference) = job.get_mut("latestCreatedExecution") else { return };
    if text(reference, "name") != names::last(name) {
        return;
    }
    change(reference);
    set(&mut job, "etag", world.fresh_etag());
    world.put(JOBS, job_of(name), job);
}
