//! Executions of jobs: started, waited for by their own resource while their logs are told, and judged. And migrations,
//! of which a release runs each once.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::gcp::{ErrorKind, Gcp, GcpError, Job, LogEntry, LogSource, Run, Tail};
use crate::resource::Place;
use crate::resource::kinds::run_job::{self, RELEASE};

/// Hears each line of the logs once, in about the order in which they were written.
pub type Said = Arc<dyn Fn(&LogEntry) + Send + Sync>;

/// An execution and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The id that Cloud Run gave it: `JOB-abcde`.
    pub name: String,
    pub state: State,
    pub created: Option<Timestamp>,
    pub completed: Option<Timestamp>,
    /// Where Cloud Console shows its logs.
    pub log_uri: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits to be started, or runs.
    Running,
    Succeeded,
    Failed(Failed),
    Cancelled,
}

/// How an execution failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// Cloud Run's reason, e.g. `NON_ZERO_EXIT_CODE` or `CONTAINER_MISSING`.
    pub reason: String,
    pub message: String,
    /// Exit status of the first task that failed, where its container ended by itself.
    pub exit: Option<i32>,
    /// The signal that ended it instead.
    pub signal: Option<i32>,
}

/// What became of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// It was run now, or its execution was found running and waited for.
    Ran(Execution),
    /// It succeeded for this release before, and was not run again.
    Before(Execution),
}

/// Label of executions with the first forty hexadecimal digits of the digest of their release: a label holds 63 characters,
/// so that all of it is in the annotation [`RELEASE`].
const LABEL: &str = "deployer-release";
const LABEL_DIGITS: usize = 40;

/// Looks for log lines after an execution has ended: they can be read some seconds after they were written.
const LAST_LOOKS: u32 = 5;
/// Looks in a row that may fail for passing troubles; each was repeated by the client already.
const TROUBLES: u32 = 10;

impl Execution {
    /// Reads a v2 Execution document. Only its condition `Completed` is believed: counts lag.
    pub fn read(doc: &Value) -> Self {
        let time = |field: &str| doc[field].as_str().and_then(|time| time.parse().ok());
        Self {
            name: last(doc["name"].as_str().unwrap_or_default()).to_owned(),
            state: state(doc),
            created: time("createTime"),
            completed: time("completionTime"),
            log_uri: doc["logUri"].as_str().map(str::to_owned),
        }
    }

    /// The status that a command ends with that ran this: the job's own, 128 and the signal as shells have it, else 1.
    pub fn exit_code(&self) -> u8 {
        match &self.state {
            State::Succeeded => 0,
            State::Failed(Failed { exit: Some(status), .. }) => u8::try_from(*status).unwrap_or(1).max(1),
            State::Failed(Failed { signal: Some(signal), .. }) => u8::try_from(128 + *signal).unwrap_or(1),
            State::Failed(_) | State::Cancelled | State::Running => 1,
        }
    }

    /// What became of it, in words; nothing while it runs, or when it succeeded.
    pub fn trouble(&self) -> Option<String> {
        match &self.state {
            State::Running | State::Succeeded => None,
            State::Cancelled => Some("it was cancelled".to_owned()),
            State::Failed(failed) if failed.message.is_empty() => Some(failed.reason.clone()),
            State::Failed(failed) => Some(failed.message.trim_end_matches('.').to_owned()),
        }
    }
}

fn state(doc: &Value) -> State {
    let conditions = doc["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(completed) = conditions.iter().find(|condition| condition["type"] == "Completed") else {
        return State::Running;
    };
    let reason = ["executionReason", "reason"].iter().find_map(|key| completed[key].as_str());
    match completed["state"].as_str() {
        Some("CONDITION_SUCCEEDED") => State::Succeeded,
        Some("CONDITION_FAILED") if reason == Some("CANCELLED") => State::Cancelled,
        Some("CONDITION_FAILED") => State::Failed(Failed {
            reason: reason.unwrap_or("UNKNOWN").to_owned(),
            message: completed["message"].as_str().unwrap_or_default().to_owned(),
            ..Failed::default()
        }),
        _ => State::Running,
    }
}

/// Exit status and signal of the first task that failed, by its last attempt.
fn ending(tasks: &[Value]) -> (Option<i32>, Option<i32>) {
    let number = |result: &Value, field: &str| {
        result[field].as_i64().and_then(|number| i32::try_from(number).ok()).filter(|number| *number != 0)
    };
    let endings = tasks.iter().map(|task| {
        let result = &task["lastAttemptResult"];
        (number(result, "exitCode"), number(result, "termSignal"))
    });
    endings.into_iter().find(|(exit, signal)| exit.is_some() || signal.is_some()).unwrap_or_default()
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Runs a job, by its Cloud Run name, and waits until the execution has ended.
///
/// # Errors
/// Where it cannot be started or seen. That it failed is no error, but its [`State`].
pub async fn run(gcp: &Gcp, place: &Place, job: &str, run: &Run, said: &Said) -> Result<Execution, GcpError> {
    let full_name = run_job::full_name(&place.project, &place.region, job);
    let looked_for = "it may have been started all the same: look before you run it again";
    let perhaps =
        |error: GcpError| if error.may_have_happened() { error.with_hint(looked_for) } else { error };
    let execution = gcp.run_job(&full_name, run).await.map_err(perhaps)?;
    gcp.tell(&format!("started {}", last(&execution)));
    follow(gcp, place, &execution, said).await
}

/// Waits until an execution (resource name) has ended, and tells what it says meanwhile.
///
/// # Errors
/// When it cannot be seen; then it goes on unseen.
pub async fn follow(gcp: &Gcp, place: &Place, execution: &str, said: &Said) -> Result<Execution, GcpError> {
    let mut told = Told::of(execution, said);
    let mut patience = gcp.patience().endless();
    let mut troubles = 0;
    let ended = loop {
        match gcp.execution(execution).await {
            Ok(Some(doc)) => {
                troubles = 0;
                let seen = Execution::read(&doc);
                told.tail.begin(seen.created);
                if seen.state != State::Running {
                    break seen;
                }
                told.look(gcp, place).await;
                patience.pause(&progress(&doc)).await?;
            }
            Ok(None) => return Err(gone(execution)),
            Err(error) if error.is_passing() && troubles < TROUBLES => {
                troubles += 1;
                patience.pause(&format!("news of {}", last(execution))).await?;
            }
            Err(error) => return Err(error),
        }
    };
    let mut patience = gcp.patience();
    for _ in 0..LAST_LOOKS {
        told.look(gcp, place).await;
        patience.pause("its last lines").await?;
    }
    with_ending(gcp, execution, ended).await
}

/// The execution with the exit status that only its tasks tell.
async fn with_ending(gcp: &Gcp, execution: &str, mut ended: Execution) -> Result<Execution, GcpError> {
    if let State::Failed(failed) = &mut ended.state {
        (failed.exit, failed.signal) = ending(&gcp.tasks(execution).await?);
    }
    Ok(ended)
}

fn gone(execution: &str) -> GcpError {
    let message = "it was deleted while it was waited for";
    GcpError::new(format!("follow execution {}", last(execution)), ErrorKind::NotFound, message)
}

/// `execution x (1 of 3 tasks done)`
fn progress(doc: &Value) -> String {
    let count = |field: &str| doc[field].as_i64().unwrap_or(0);
    let name = last(doc["name"].as_str().unwrap_or_default());
    match count("taskCount") {
        0 | 1 => format!("execution {name}"),
        tasks => format!("execution {name} ({} of {tasks} tasks done)", count("succeededCount")),
    }
}

/// The log of an execution, as far as it has been told.
struct Told<'a> {
    tail: Tail,
    said: &'a Said,
    unreadable: bool,
}

impl<'a> Told<'a> {
    fn of(execution: &str, said: &'a Said) -> Self {
        let job = execution.split("/executions/").next().unwrap_or_default();
        let source =
            LogSource::Execution { job: last(job).to_owned(), execution: last(execution).to_owned() };
        Self { tail: Tail::new(source, None), said, unreadable: false }
    }

    /// Tells what is new. Logs that cannot be read are told once, and stop nothing.
    async fn look(&mut self, gcp: &Gcp, place: &Place) {
        if self.unreadable {
            return;
        }
        match self.tail.news(gcp, &place.project, &place.region).await {
            Ok(entries) => entries.iter().for_each(|entry| (self.said)(entry)),
            Err(error) if error.is_passing() => {}
            Err(error) => {
                self.unreadable = true;
                gcp.tell(&error.to_string());
            }
        }
    }
}

/// Runs the migration of a job (Cloud Run name) for the release with this digest (hexadecimal), unless it was run for it
/// before. The job has to be as the release needs it. One that runs already is waited for; one that succeeded is not run
/// again; one that failed is run again only when `again` says so.
///
/// # Errors
/// [`ErrorKind::ExecutionFailed`] when it fails or failed before, with what to do about it.
pub async fn migrate(
    gcp: &Gcp,
    place: &Place,
    job: &str,
    digest: &str,
    again: bool,
    said: &Said,
) -> Result<Migrated, GcpError> {
    let full_name = run_job::full_name(&place.project, &place.region, job);
    let earlier = of_release(gcp, &full_name, digest).await?;
    let execution = match earlier.first() {
        Some(newest) => match Execution::read(newest) {
            found if found.state == State::Succeeded => return Ok(Migrated::Before(found)),
            found if found.state == State::Running => {
                gcp.tell(&format!("waiting for {}, which runs already", found.name));
                format!("{full_name}/executions/{}", found.name)
            }
            _ if again => start(gcp, &full_name, digest, &earlier).await?,
            found => {
                let name = format!("{full_name}/executions/{}", found.name);
                return Err(failed_before(job, &with_ending(gcp, &name, found).await?, place));
            }
        },
        None => start(gcp, &full_name, digest, &earlier).await?,
    };
    let ended = follow(gcp, place, &execution, said).await?;
    match ended.trouble() {
        None => Ok(Migrated::Ran(ended)),
        Some(_) => Err(failed_now(job, &ended)),
    }
}

/// The executions of a job for a release, newest first.
async fn of_release(gcp: &Gcp, job: &str, digest: &str) -> Result<Vec<Value>, GcpError> {
    let mut found = gcp.executions(job).await?;
    found.retain(|execution| is_of(execution, digest));
    Ok(found)
}

fn is_of(execution: &Value, digest: &str) -> bool {
    let whole = &execution["annotations"][RELEASE];
    execution["labels"][LABEL] == label(digest) && (whole.is_null() || whole == digest)
}

fn label(digest: &str) -> &str {
    digest.get(..LABEL_DIGITS).unwrap_or(digest)
}

/// Marks the job with the release and runs it as it then is: its executions take over the mark, which overrides of a run
/// cannot set. The etag sees to it that nobody changed the job in between; what Cloud Run itself writes is no change.
async fn start(gcp: &Gcp, job: &str, digest: &str, earlier: &[Value]) -> Result<String, GcpError> {
    let mut task = None;
    loop {
        let doc = marked(gcp, job, digest).await?;
        let again = task.is_some();
        if *task.get_or_insert_with(|| doc["template"]["template"].clone()) != doc["template"]["template"] {
            return Err(GcpError::moved(job));
        }
        let run = Run { args: None, etag: doc["etag"].as_str().map(str::to_owned) };
        match gcp.run_job(job, &run).await {
            // It may run, or somebody else's run of this release does: a second one beside it would be worse than none.
            Err(error) if error.may_have_happened() || error.kind == ErrorKind::Conflict => {
                let known = |found: &Value| earlier.iter().any(|old| old["name"] == found["name"]);
                let found = of_release(gcp, job, digest).await?;
                let running = found.iter().find(|execution| !known(execution));
                match running.and_then(|running| running["name"].as_str()) {
                    Some(running) => return Ok(running.to_owned()),
                    None if error.may_have_happened() || again => return Err(error),
                    None => {}
                }
            }
            other => return other,
        }
    }
}

/// The job with the mark of the release.
async fn marked(gcp: &Gcp, job: &str, digest: &str) -> Result<Value, GcpError> {
    let missing = || {
        GcpError::new(format!("migrate with job {}", last(job)), ErrorKind::NotFound, "there is no such job")
    };
    let mut doc = gcp.object::<Job>(job).await?.ok_or_else(missing)?;
    let template = &doc["template"];
    if template["labels"][LABEL] == label(digest) && template["annotations"][RELEASE] == digest {
        return Ok(doc);
    }
    run_job::mark_executions(&mut doc, (LABEL, label(digest)), (RELEASE, digest));
    gcp.patch_object::<Job>(job, doc, &[]).await
}

/// How the migration of a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is known by: the digest of the release that marked the job last, or of what the job runs where no release
    /// has marked it as it is.
    pub digest: String,
    /// Its newest execution for that.
    pub newest: Option<Execution>,
}

/// How the migration of a job (Cloud Run name) stands; `None` when there is no such job.
///
/// # Errors
/// Where that cannot be read.
pub async fn standing(gcp: &Gcp, place: &Place, job: &str) -> Result<Option<Standing>, GcpError> {
    let full_name = run_job::full_name(&place.project, &place.region, job);
    match futures::try_join!(gcp.object::<Job>(&full_name), gcp.executions(&full_name)) {
        Err(error) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => Ok(None),
        found => found.map(|(doc, executions)| doc.map(|doc| stands(&doc, &executions))),
    }
}

fn stands(job: &Value, executions: &[Value]) -> Standing {
    let newest = |digest: &str| executions.iter().find(|execution| is_of(execution, digest));
    let image = |task: &Value| task["containers"][0]["image"].clone();
    let task = &job["template"]["template"];
    if let Some(digest) = job["template"]["annotations"][RELEASE].as_str() {
        let newest = newest(digest);
        if newest.is_none_or(|newest| image(&newest["template"]) == image(task)) {
            return Standing { digest: digest.to_owned(), newest: newest.map(Execution::read) };
        }
    }
    let digest = hex::encode(Sha256::digest(task.to_string().as_bytes()));
    let newest = newest(&digest).map(Execution::read);
    Standing { digest, newest }
}

fn failed_now(job: &str, ended: &Execution) -> GcpError {
    let message =
        format!("execution {} did not succeed: {}", ended.name, ended.trouble().unwrap_or_default());
    let error = GcpError::new(format!("migrate with job {job}"), ErrorKind::ExecutionFailed, message);
    with_logs(error, ended)
}

fn failed_before(job: &str, ended: &Execution, place: &Place) -> GcpError {
    let trouble = ended.trouble().unwrap_or_default();
    let message = format!(
        "execution {} for this release did not succeed: {trouble}; it is not run again by itself",
        ended.name
    );
    let error = GcpError::new(format!("migrate with job {job}"), ErrorKind::ExecutionFailed, message);
    let environment = &place.ownership.environment;
    with_logs(error, ended)
        .with_hint(format!("once its cause is gone, run it again: deployer migrate {environment}"))
        .with_hint("or release something else")
}

fn with_logs(error: GcpError, ended: &Execution) -> GcpError {
    match &ended.log_uri {
        Some(uri) => error.with_hint(format!("its logs: {uri}")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn execution(completed: &Value) -> Execution {
        Execution::read(&json!({"name": "projects/p/locations/l/jobs/m/executions/m-x",
            "conditions": [{"type": "Started", "state": "CONDITION_SUCCEEDED"}, completed]}))
    }

    fn failed(status: Option<i32>, signal: Option<i32>) -> Execution {
        let condition = json!({"type": "Completed", "state": "CONDITION_FAILED", "message": "Task 0 failed.",
            "executionReason": "NON_ZERO_EXIT_CODE"});
        let mut execution = execution(&condition);
        if let State::Failed(failed) = &mut execution.state {
            (failed.exit, failed.signal) = (status, signal);
        }
        execution
    }

    #[test]
    fn only_the_condition_completed_ends_an_execution() {
        assert_eq!(Execution::read(&json!({"succeededCount": 1})).state, State::Running);
        let running =
            json!({"type": "Completed", "state": "CONDITION_RECONCILING", "executionReason": "CANCELLING"});
        assert_eq!(execution(&running).state, State::Running);
        let done = json!({"type": "Completed", "state": "CONDITION_SUCCEEDED"});
        assert_eq!(execution(&done).state, State::Succeeded);
        let cancelled =
            json!({"type": "Completed", "state": "CONDITION_FAILED", "executionReason": "CANCELLED"});
        assert_eq!(execution(&cancelled).state, State::Cancelled);
    }

    #[test]
    fn a_command_ends_with_the_status_of_its_job() {
        let done = json!({"type": "Completed", "state": "CONDITION_SUCCEEDED"});
        assert_eq!(execution(&done).exit_code(), 0);
        assert_eq!(failed(Some(7), None).exit_code(), 7);
        assert_eq!(failed(None, Some(9)).exit_code(), 137);
        assert_eq!(
            failed(Some(300), None).exit_code(),
            1,
            "what is no exit status is a failure all the same"
        );
        assert_eq!(failed(None, None).exit_code(), 1);
    }

    #[test]
    fn the_first_task_that_failed_says_how() {
        let tasks = [
            json!({"lastAttemptResult": {}}),
            json!({"lastAttemptResult": {"exitCode": 4}}),
            json!({"lastAttemptResult": {"termSignal": 9}}),
        ];
        assert_eq!(ending(&tasks), (Some(4), None));
        assert_eq!(ending(&tasks[2..]), (None, Some(9)));
        assert_eq!(ending(&[json!({})]), (None, None));
    }

    #[test]
    fn a_label_holds_forty_digits_of_a_digest() {
        assert_eq!(label(&"a".repeat(64)).len(), 40);
        assert_eq!(label("short"), "short");
    }

    #[test]
    fn a_migration_is_known_by_its_release_or_else_by_what_it_runs() {
        let job = |image: &str, mark: Option<&str>| {
            let mut job = json!({"template": {"template": {"containers": [{"image": image}]}}});
            if let Some(mark) = mark {
                job["template"]["annotations"][RELEASE] = json!(mark);
            }
            job
        };
        let own = |image: &str| stands(&job(image, None), &[]).digest;
        assert_ne!(own("a"), own("b"));
        let done = json!({"name": "x", "labels": {LABEL: "f00"}, "annotations": {RELEASE: "f00"},
            "template": {"containers": [{"image": "a"}]}});
        let found = stands(&job("a", Some("f00")), std::slice::from_ref(&done));
        assert_eq!((found.digest.as_str(), found.newest.is_some()), ("f00", true));
        // Another image came without a release: what was run is not what is there.
        let found = stands(&job("b", Some("f00")), &[done]);
        assert_eq!((found.digest, found.newest), (own("b"), None));
        assert_eq!(stands(&job("b", Some("f00")), &[]).digest, "f00", "a release that has not run it yet");
    }
}
