//! Cloud Run v2: services and their revisions, jobs and their executions.
//!
//! A write goes through `mask` (what is sent over what is stored), `defaults`, `validate` and `revision::next`
//! (does it need a new revision?), is stored as reconciling, and answers an operation. When the operation ends,
//! `reconcile` decides with `needs` whether the revision can serve, and moves the traffic. A job goes the same way
//! without mask and revisions: see `job` for when it is ready and `execution` for what a run leaves behind.

mod access;
pub(crate) mod condition;
mod defaults;
pub(crate) mod execution;
pub(crate) mod image;
mod job;
pub(crate) mod launch;
mod mask;
pub(crate) mod names;
mod needs;
mod noise;
mod overrides;
mod quantity;
mod reconcile;
mod resource;
mod revision;
mod service;
mod task;
#[cfg(test)]
mod tests;
mod traffic;
mod validate;
mod violations;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::{Call, Handler};
use crate::error::{Answer, Status};
use crate::iam;
use crate::operations::{Effect, OperationSpec};
use crate::world::World;
use condition::Failure;

/// Collections of documents, by full resource name.
pub(crate) const SERVICES: &str = "run.services";
pub(crate) const REVISIONS: &str = "run.revisions";
/// Deleted services, by full resource name and uid, for `showDeleted`.
const DELETED: &str = "run.deletedServices";

const JOBS: &str = "run.jobs";
const EXECUTIONS: &str = "run.executions";
const TASKS: &str = "run.tasks";
/// As [`DELETED`], for jobs and for executions.
const DELETED_JOBS: &str = "run.deletedJobs";
const DELETED_EXECUTIONS: &str = "run.deletedExecutions";

/// Message names of what operations carry.
const SERVICE: &str = "google.cloud.run.v2.Service";
const REVISION: &str = "google.cloud.run.v2.Revision";
const JOB: &str = "google.cloud.run.v2.Job";
const EXECUTION: &str = "google.cloud.run.v2.Execution";

/// What an operation of Cloud Run does when it finishes. Data, because it is journalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunEffect {
    /// Brings a service (full name) to the state that was asked for with this generation.
    Reconcile { service: String, generation: i64 },
    /// Takes a service and its revisions away.
    DeleteService { service: String },
    /// Takes one revision away.
    DeleteRevision { revision: String },
    /// Says whether a job is ready as asked for with this generation. `execution` was recorded with the write, for
    /// the sake of a token; with `waits`, the job is ready only once that execution has succeeded.
    ReconcileJob { job: String, generation: i64, execution: Option<String>, waits: bool },
    /// Takes a job and its executions away.
    DeleteJob { job: String },
    /// Ends with the execution (full name).
    Execute { execution: String },
    /// Cancels an execution.
    CancelExecution { execution: String },
    /// Takes an execution and its tasks away.
    DeleteExecution { execution: String },
}

/// The methods served, by id.
pub fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("run.projects.locations.services.create", service::create),
        ("run.projects.locations.services.get", service::get),
        ("run.projects.locations.services.list", service::list),
        ("run.projects.locations.services.patch", service::patch),
        ("run.projects.locations.services.delete", service::delete),
        ("run.projects.locations.services.getIamPolicy", policy),
        ("run.projects.locations.services.setIamPolicy", set_policy),
        ("run.projects.locations.services.testIamPermissions", test_permissions),
        ("run.projects.locations.services.revisions.get", revision::get),
        ("run.projects.locations.services.revisions.list", revision::list),
        ("run.projects.locations.services.revisions.delete", revision::delete),
        ("run.projects.locations.jobs.create", job::create),
        ("run.projects.locations.jobs.get", job::get),
        ("run.projects.locations.jobs.list", job::list),
        ("run.projects.locations.jobs.patch", job::patch),
        ("run.projects.locations.jobs.delete", job::delete),
        ("run.projects.locations.jobs.run", execution::run),
        ("run.projects.locations.jobs.getIamPolicy", policy),
        ("run.projects.locations.jobs.setIamPolicy", set_policy),
        ("run.projects.locations.jobs.testIamPermissions", test_permissions),
        ("run.projects.locations.jobs.executions.get", execution::get),
        ("run.projects.locations.jobs.executions.list", execution::list),
        ("run.projects.locations.jobs.executions.cancel", execution::cancel),
        ("run.projects.locations.jobs.executions.delete", execution::delete),
        ("run.projects.locations.jobs.executions.tasks.get", task::get),
        ("run.projects.locations.jobs.executions.tasks.list", task::list),
    ]
}

/// Runs the effect; returns the type URL and the value of the operation's response. What it wrote is kept on `Err` too.
pub fn finish(world: &mut World, effect: &RunEffect) -> Result<(String, Value), Status> {
    match effect {
        RunEffect::Reconcile { service, generation } => {
            reconcile::finish(world, service, *generation).map(|doc| (type_url(SERVICE), doc))
        }
        RunEffect::DeleteService { service } => {
            service::remove(world, service).map(|doc| (type_url(SERVICE), doc))
        }
        RunEffect::DeleteRevision { revision } => world
            .remove(REVISIONS, revision)
            .map(|doc| (type_url(REVISION), resource::view(&doc)))
            .ok_or_else(|| Status::not_found(format!("Revision '{revision}' is gone."))),
        RunEffect::ReconcileJob { job, generation, execution, waits } => {
            let answer = job::finish(world, job, *generation, execution.as_deref(), *waits);
            answer.map(|doc| (type_url(JOB), doc))
        }
        RunEffect::DeleteJob { job } => job::remove(world, job).map(|doc| (type_url(JOB), doc)),
        RunEffect::Execute { execution } => {
            execution::finish(world, execution).map(|doc| (type_url(EXECUTION), doc))
        }
        RunEffect::CancelExecution { execution } => {
            execution::finish_cancel(world, execution).map(|doc| (type_url(EXECUTION), doc))
        }
        RunEffect::DeleteExecution { execution } => {
            execution::remove(world, execution).map(|doc| (type_url(EXECUTION), doc))
        }
    }
}

/// Whether the effect has to wait for an execution to end, or for a revision to show that it starts. Ends an execution
/// that cannot start.
pub fn waits(world: &mut World, effect: &RunEffect) -> bool {
    if let RunEffect::Reconcile { service, generation } = effect {
        return reconcile::waits(world, service, *generation);
    }
    let (RunEffect::Execute { execution }
    | RunEffect::ReconcileJob { execution: Some(execution), waits: true, .. }) = effect
    else {
        return false;
    };
    execution::check(world, execution);
    execution::is_under_way(world, execution)
}

/// An injected fault ended the operation with `status`: leave the resource as Cloud Run would.
pub fn abandon(world: &mut World, effect: &RunEffect, status: &Status) {
    match effect {
        RunEffect::Reconcile { service, generation } => {
            reconcile::abandon(world, service, *generation, status);
        }
        RunEffect::DeleteService { service: name } => resource::keep_after_all(world, SERVICES, name),
        RunEffect::DeleteRevision { revision } => resource::keep_after_all(world, REVISIONS, revision),
        RunEffect::ReconcileJob { job, generation, execution, .. } => {
            job::abandon(world, job, *generation, execution.as_deref(), &Failure::injected(status));
        }
        RunEffect::DeleteJob { job } => resource::keep_after_all(world, JOBS, job),
        RunEffect::Execute { execution } => execution::fail(world, execution, &Failure::injected(status)),
        RunEffect::CancelExecution { execution } => execution::keep_running(world, execution),
        RunEffect::DeleteExecution { execution } => resource::keep_after_all(world, EXECUTIONS, execution),
    }
}

fn type_url(message: &str) -> String {
    format!("type.googleapis.com/{message}")
}

/// The operation that a write answers with. Without an effect, as for `validateOnly`, it is done at once.
fn start_operation(
    world: &mut World,
    resource: &str,
    message: &'static str,
    doc: Value,
    effect: Option<RunEffect>,
) -> Value {
    let location: Vec<&str> = resource.split('/').take(4).collect();
    let name = format!("{}/operations/{}", location.join("/"), world.uuid());
    let spec = match effect {
        Some(effect) => OperationSpec::new(world, message, doc, Effect::Run(effect)),
        None => OperationSpec::done(message, doc.clone(), &type_url(message), doc),
    };
    world.start_operation(name, spec)
}

/// 400 for the wildcard and 404 for a location that Cloud Run is not in.
fn check_location(location: &str) -> Result<(), Status> {
    if location == "-" {
        return Err(Status::invalid("parent", "The location must be a region, not a wildcard."));
    }
    if names::is_region(location) {
        return Ok(());
    }
    Err(Status::not_found(format!("Location {location} is not found or access is unauthorized.")))
}

/// 409 ABORTED when `sent` is an etag and not the one of `doc`.
fn check_etag(sent: Option<&str>, doc: &Value, kind: &str) -> Result<(), Status> {
    let current = access::text(doc, "etag");
    match sent {
        Some(sent) if !sent.is_empty() && sent != current => {
            let id = names::last(access::text(doc, "name"));
            Err(Status::aborted(format!(
                "Conflict for {kind} '{id}': version '{sent}' was specified but current version is '{current}'."
            )))
        }
        _ => Ok(()),
    }
}

/// 404 unless the service or job whose policy is meant exists.
fn check_owner(world: &World, call: &Call) -> Result<(), Status> {
    let kind = if call.path.contains_key("jobs") { &job::KIND } else { &service::KIND };
    kind.find(world, &call.resource).map(|_| ())
}

fn policy(world: &mut World, call: &Call) -> Answer {
    check_owner(world, call)?;
    iam::get_policy(world, call, &call.resource)
}

fn set_policy(world: &mut World, call: &Call) -> Answer {
    check_owner(world, call)?;
    iam::set_policy(world, call, &call.resource)
}

fn test_permissions(world: &mut World, call: &Call) -> Answer {
    check_owner(world, call)?;
    iam::test_permissions(call)
}
