//! Jobs: their methods, and how one becomes ready.
//!
//! A job has no revisions. Cloud Run checks image, account and secrets when a job is written, and keeps a job that
//! fails the check; here every write checks again, also one that changes nothing, as nothing else would look at the
//! job once what it lacked is there. Each execution is checked for itself, whatever became of the job.

use super::access::{int, pick, set, text, unset};
use super::condition::{self, Failure};
use super::resource::{self, Kind, view};
use super::{
    DELETED_JOBS, EXECUTIONS, JOB, JOBS, RunEffect, check_location, defaults, execution, names, needs,
    start_operation, validate,
};
use crate::call::Call;
use crate::error::{Answer, Status};
use crate::world::World;
use serde_json::Value;

/// Jobs as a kind of resource. There is no documented length of a job's id; a name is a host label elsewhere.
pub(super) static KIND: Kind = Kind {
    collection: JOBS,
    deleted: DELETED_JOBS,
    message: JOB,
    word: "job",
    id: "jobId",
    longest_id: 63,
    mutable: &[
        "annotations",
        "binaryAuthorization",
        "client",
        "clientVersion",
        "functionalType",
        "labels",
        "launchStage",
        "runExecutionToken",
        "startExecutionToken",
        "template",
    ],
};

/// `jobs.create`.
pub(super) fn create(world: &mut World, call: &Call) -> Answer {
    let name = KIND.new_name(world, call)?;
    write(world, call, &name, None)
}

/// `jobs.patch`. It has no mask: the document that is sent replaces the one that is stored.
pub(super) fn patch(world: &mut World, call: &Call) -> Answer {
    let current = KIND.to_change(world, call)?;
    write(world, call, &call.resource, current.as_ref())
}

/// `jobs.get`.
pub(super) fn get(world: &mut World, call: &Call) -> Answer {
    KIND.find(world, &call.resource).map(view)
}

/// `jobs.list`: "sorted by creation time, descending".
pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    check_location(resource::location(&call.resource))?;
    let mut found = KIND.shown(world, call, &format!("{}/", call.resource))?;
    resource::newest_first(&mut found);
    resource::page_of(&found, "jobs", call)
}

/// `jobs.delete`.
pub(super) fn delete(world: &mut World, call: &Call) -> Answer {
    KIND.delete(world, call, RunEffect::DeleteJob { job: call.resource.clone() })
}

/// The end of a deletion: the executions go, too.
pub(super) fn remove(world: &mut World, name: &str) -> Answer {
    let doc = KIND.remove(world, name)?;
    execution::forget_all(world, name);
    Ok(doc)
}

/// Stores what was sent and starts reconciling; `current` is absent for a new job.
fn write(world: &mut World, call: &Call, name: &str, current: Option<&Value>) -> Answer {
    let mut wanted = pick(&call.body, KIND.mutable);
    defaults::fill_job(&mut wanted, world.project_number(&call.project));
    validate::job(&wanted, names::last(name))?;
    let to_start = execution_of_token(world, name, current, &wanted)?;
    let waits = !text(&wanted, "runExecutionToken").is_empty();
    let before = current.map_or(0, |current| int(current, "generation"));
    let changed = current.is_none_or(|current| KIND.differs(current, &wanted));
    let mut doc = KIND.assemble(world, call, name, current, wanted);
    set(&mut doc, "generation", (before + i64::from(changed)).to_string());
    if call.query.flag("validateOnly")? {
        return Ok(start_operation(world, name, JOB, view(&doc), None));
    }
    resource::modified(world, call, &mut doc);
    begin(world, &mut doc);
    if let Some(execution) = &to_start {
        let new = execution::build(world, execution, &doc, &doc["template"], &call.caller.email);
        execution::store(world, &mut doc, new);
    }
    world.put(JOBS, name, doc.clone());
    let effect = RunEffect::ReconcileJob {
        job: name.to_owned(),
        generation: int(&doc, "generation"),
        execution: to_start,
        waits,
    };
    Ok(start_operation(world, name, JOB, view(&doc), Some(effect)))
}

/// The execution that a new token asks for; a token that was there before has had its execution.
fn execution_of_token(
    world: &World,
    job: &str,
    current: Option<&Value>,
    wanted: &Value,
) -> Result<Option<String>, Status> {
    for field in ["startExecutionToken", "runExecutionToken"] {
        let token = text(wanted, field);
        if token.is_empty() || current.is_some_and(|current| text(current, field) == token) {
            continue;
        }
        let id = format!("{}-{token}", names::last(job));
        let name = format!("{job}/executions/{id}");
        if world.doc(EXECUTIONS, &name).is_some() {
            return Err(Status::already_exists(format!("Execution '{id}' already exists.")));
        }
        return Ok(Some(name));
    }
    Ok(None)
}

/// Marks a job that was just written.
fn begin(world: &World, doc: &mut Value) {
    let now = world.now();
    set(doc, "reconciling", true);
    set(doc, "terminalCondition", condition::reconciling("Ready", &now));
    set(doc, "conditions", vec![condition::reconciling("ResourcesAvailable", &now)]);
}

/// Ends the reconciliation that was started for `generation`, and that of the `execution` which the write asked for.
///
/// # Errors
/// Why the job is not ready, which is also in its conditions; 404 when the job is gone.
pub(super) fn finish(
    world: &mut World,
    name: &str,
    generation: i64,
    execution: Option<&str>,
    waits: bool,
) -> Answer {
    if let Some(execution) = execution {
        execution::check(world, execution);
    }
    let project = name.split('/').nth(1).unwrap_or_default();
    let mut outcome = needs::check(world, project, &KIND.find(world, name)?["template"]["template"]);
    if let (Ok(()), true, Some(execution)) = (&outcome, waits, execution) {
        outcome = execution::outcome(world, execution);
    }
    conclude(world, name, generation, outcome)
}

/// Ends it with a failure that has nothing to do with what was asked for.
pub(super) fn abandon(
    world: &mut World,
    name: &str,
    generation: i64,
    execution: Option<&str>,
    failure: &Failure,
) {
    if let Some(execution) = execution {
        execution::fail(world, execution, failure);
    }
    // The caller answers with the status that was injected; what is concluded here is for later reads.
    let _ = conclude(world, name, generation, Err(failure.clone()));
}

/// Brings the job's status up to date and answers the job, or why it is not ready. A later write, or a deletion,
/// has an operation of its own.
fn conclude(world: &mut World, name: &str, generation: i64, outcome: Result<(), Failure>) -> Answer {
    let mut doc = KIND.find(world, name)?.clone();
    if int(&doc, "generation") > generation || doc.get("deleteTime").is_some() {
        return Ok(view(&doc));
    }
    let now = world.now();
    let state = |kind: &str| match &outcome {
        Ok(()) => condition::succeeded(kind, &now),
        Err(failure) => condition::failed(kind, &failure.reason, &failure.message, &now),
    };
    set(&mut doc, "terminalCondition", state("Ready"));
    set(&mut doc, "conditions", vec![state("ResourcesAvailable")]);
    if outcome.is_ok() {
        let observed = doc["generation"].clone();
        set(&mut doc, "observedGeneration", observed);
    }
    unset(&mut doc, "reconciling");
    set(&mut doc, "etag", world.fresh_etag());
    world.put(JOBS, name, doc.clone());
    outcome.map_or_else(|failure| Err(failure.status()), |()| Ok(view(&doc)))
}
