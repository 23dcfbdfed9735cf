//! Runs of jobs: what is recorded, cancelled, deleted and failed.

use super::*;
use crate::services::run::{RunEffect, abandon, execution};

impl Run {
    /// Starts the job and answers the operation and the name of the execution, from `executions` on.
    fn start(&mut self, body: &Value) -> (Value, String) {
        let operation = self.call("POST", "jobs/backup:run", body).unwrap();
        let name = operation["metadata"]["name"].as_str().unwrap();
        let path = name.split_once("europe-west1/").unwrap().1.to_owned();
        (operation, path)
    }

    fn operation(&mut self, started: &Value) -> Value {
        self.read(&format!("operations/{}", short(&started["name"])))
    }

    fn cancel(&mut self, path: &str) -> Result<Value, Status> {
        let operation = self.call("POST", &format!("{path}:cancel"), &json!({}))?;
        self.wait(&operation)
    }

    fn reference(&mut self) -> Value {
        self.read("jobs/backup")["latestCreatedExecution"].clone()
    }
}

fn tokened(field: &str, token: &str) -> Value {
    let mut body = job();
    body[field] = json!(token);
    body
}

/// A job whose image nobody has pushed.
fn broken() -> Value {
    let mut body = job();
    body["template"]["template"]["containers"][0]["image"] =
        json!("europe-west1-docker.pkg.dev/agent-army-dev/repo/job:v1");
    body
}

#[test]
fn a_run_is_recorded_and_waits_to_be_started() {
    let mut run = Run::with_job();
    let (operation, path) = run.start(&json!({}));
    assert_eq!(operation["metadata"]["@type"], "type.googleapis.com/google.cloud.run.v2.Execution");
    let execution = run.read(&path);
    let id = short(&execution["name"]);
    assert!(id.starts_with("backup-") && id.len() == "backup-".len() + 5, "{id}");
    assert_eq!((&execution["job"], &execution["taskCount"]), (&json!("backup"), &json!(1)));
    assert_eq!((&execution["parallelism"], &execution["reconciling"]), (&json!(1), &json!(true)));
    assert_eq!(condition(&execution, "Completed")["state"], "CONDITION_RECONCILING");
    for step in ["Started", "ResourcesAvailable"] {
        assert_eq!(condition(&execution, step)["state"], "CONDITION_PENDING", "{step}");
    }
    for absent in ["startTime", "completionTime", "runningCount", "observedGeneration", "_order"] {
        assert_eq!(execution.get(absent), None, "{absent}");
    }
    assert_eq!(execution["template"]["timeout"], "600s");
    let job = run.read("jobs/backup");
    assert_eq!(job["executionCount"], 1);
    let reference = &job["latestCreatedExecution"];
    assert_eq!(
        (&reference["name"], &reference["completionStatus"]),
        (&json!(id), &json!("EXECUTION_PENDING"))
    );
}

#[test]
fn the_operation_of_a_run_ends_with_its_execution() {
    let mut run = Run::with_job();
    let (operation, path) = run.start(&json!({}));
    for _ in 0..30 {
        assert_eq!(run.operation(&operation).get("done"), None);
    }
    let cancelled = run.cancel(&path).unwrap();
    assert_eq!(cancelled["@type"], "type.googleapis.com/google.cloud.run.v2.Execution");
    let status = run.wait(&operation).unwrap_err();
    assert_eq!(status.code, Code::Cancelled);
}

#[test]
fn a_forgotten_operation_does_not_stop_the_execution() {
    let mut run = Run::with_job();
    let (operation, path) = run.start(&json!({}));
    let name = format!("operations/{}", short(&operation["name"]));
    run.call("DELETE", &name, &Value::Null).unwrap();
    assert_eq!(run.call("GET", &name, &Value::Null).unwrap_err().code, Code::NotFound);
    assert!(!run.read("operations").to_string().contains(&name));
    assert_eq!(run.read(&path)["reconciling"], true);
    run.cancel(&path).unwrap();
    testing::let_propagate(&mut run.world);
    for _ in 0..20 {
        run.read(&path);
    }
    assert!(run.world.open_operations.is_empty());
}

#[test]
fn tasks_are_recorded_with_what_they_will_run() {
    let mut run = Run::new();
    let mut body = job();
    body["template"]["taskCount"] = json!(12);
    body["template"]["parallelism"] = json!(5);
    body["template"]["labels"] = json!({"team": "core"});
    body["template"]["template"]["maxRetries"] = json!(0);
    run.create_job("backup", &body).unwrap();
    let (_, path) = run.start(&json!({}));
    let execution = run.read(&path);
    assert_eq!((&execution["taskCount"], &execution["parallelism"]), (&json!(12), &json!(5)));
    let tasks = run.read(&format!("{path}/tasks"))["tasks"].as_array().unwrap().clone();
    let id = short(&execution["name"]);
    let names: Vec<String> = tasks.iter().map(|task| short(&task["name"])).collect();
    let expected: Vec<String> = (0..12).map(|index| format!("{id}-task{index}")).collect();
    assert_eq!(names, expected);
    assert_eq!((tasks[0].get("index"), &tasks[11]["index"]), (None, &json!(11)));
    let task = run.read(&format!("{path}/tasks/{id}-task11"));
    assert_eq!(task, tasks[11]);
    assert_eq!((&task["execution"], &task["job"]), (&json!(id), &json!("backup")));
    assert_eq!((&task["timeout"], task.get("maxRetries")), (&json!("600s"), None));
    assert_eq!((&task["labels"], &task["reconciling"]), (&json!({"team": "core"}), &json!(true)));
    assert_eq!(task["containers"][0]["resources"]["limits"]["cpu"], "1000m");
    let none = run.call("GET", &format!("{path}/tasks/{id}-task12"), &Value::Null).unwrap_err();
    assert_eq!(none.code, Code::NotFound);
}

#[test]
fn overrides_count_for_one_execution() {
    let mut run = Run::with_job();
    let changes = json!({"taskCount": 2, "timeout": "60s",
        "containerOverrides": [{"args": ["--once"], "env": [{"name": "A", "value": "1"}]}]});
    let (_, path) = run.start(&json!({"overrides": changes}));
    let execution = run.read(&path);
    assert_eq!((&execution["taskCount"], &execution["template"]["timeout"]), (&json!(2), &json!("60s")));
    let container = &execution["template"]["containers"][0];
    assert_eq!((&container["args"], &container["env"][0]["value"]), (&json!(["--once"]), &json!("1")));
    let job = run.read("jobs/backup");
    assert_eq!((&job["template"]["taskCount"], &job["generation"]), (&json!(1), &json!("1")));
    let unknown = json!({"overrides": {"containerOverrides": [{"name": "none"}]}});
    assert_eq!(run.call("POST", "jobs/backup:run", &unknown).unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn fewer_tasks_than_the_job_runs_at_once_run_all_at_once() {
    let mut run = Run::new();
    let mut body = job();
    body["template"]["taskCount"] = json!(8);
    body["template"]["parallelism"] = json!(4);
    run.create_job("backup", &body).unwrap();
    let (_, path) = run.start(&json!({"overrides": {"taskCount": 2}}));
    assert_eq!(run.read(&path)["parallelism"], 2);
}

#[test]
fn executions_and_tasks_are_listed_across_jobs() {
    let mut run = Run::with_job();
    run.create_job("other", &job()).unwrap();
    let (_, first) = run.start(&json!({}));
    run.call("POST", "jobs/other:run", &json!({})).unwrap();
    let (_, last) = run.start(&json!({"overrides": {"taskCount": 2}}));
    let listed = |run: &mut Run, path: &str| -> Vec<String> {
        let answer = run.read(path);
        let items =
            answer.as_object().unwrap().values().find_map(Value::as_array).cloned().unwrap_or_default();
        items
            .iter()
            .map(|one| one["name"].as_str().unwrap().split_once("europe-west1/").unwrap().1.to_owned())
            .collect()
    };
    assert_eq!(listed(&mut run, "jobs/backup/executions"), [last.clone(), first.clone()]);
    let all = listed(&mut run, "jobs/-/executions");
    assert_eq!((all.len(), &all[0], &all[2]), (3, &last, &first));
    assert_eq!(listed(&mut run, "jobs/-/executions/-/tasks").len(), 4);
    assert_eq!(listed(&mut run, "jobs/backup/executions/-/tasks").len(), 3);
    assert_eq!(listed(&mut run, &format!("{last}/tasks")).len(), 2);
}

#[test]
fn a_cancelled_execution_and_its_tasks_say_so() {
    let mut run = Run::with_job();
    let (_, path) = run.start(&json!({"overrides": {"taskCount": 3}}));
    let operation = run.call("POST", &format!("{path}:cancel"), &json!({})).unwrap();
    let between = run.read(&path);
    assert_eq!(condition(&between, "Completed")["executionReason"], "CANCELLING");
    assert_eq!(between.get("completionTime"), None);
    run.wait(&operation).unwrap();
    let execution = run.read(&path);
    let completed = condition(&execution, "Completed");
    assert_eq!(
        (&completed["state"], &completed["executionReason"]),
        (&json!("CONDITION_FAILED"), &json!("CANCELLED"))
    );
    assert_eq!((&execution["cancelledCount"], execution.get("reconciling")), (&json!(3), None));
    assert!(execution["completionTime"].is_string());
    let tasks = run.read(&format!("{path}/tasks"))["tasks"].as_array().unwrap().clone();
    assert!(tasks.iter().all(|task| condition(task, "Completed")["executionReason"] == "CANCELLED"));
    let reference = run.reference();
    assert_eq!(reference["completionStatus"], "EXECUTION_CANCELLED");
    assert_eq!(reference["completionTime"], execution["completionTime"]);
}

#[test]
fn what_has_ended_cannot_be_cancelled() {
    let mut run = Run::with_job();
    let (_, path) = run.start(&json!({}));
    run.cancel(&path).unwrap();
    assert_eq!(run.cancel(&path).unwrap_err().code, Code::FailedPrecondition);
}

#[test]
fn cancelling_minds_etag_and_validate_only() {
    let mut run = Run::with_job();
    let (_, path) = run.start(&json!({}));
    let cancel = format!("{path}:cancel");
    let stale = run.call("POST", &cancel, &json!({"etag": "\"stale\""})).unwrap_err();
    assert_eq!(stale.code, Code::Aborted);
    let before = run.read(&path);
    let operation =
        run.call("POST", &cancel, &json!({"validateOnly": true, "etag": before["etag"]})).unwrap();
    assert_eq!(operation["done"], true);
    assert_eq!(run.read(&path), before);
}

#[test]
fn a_cancellation_that_failed_leaves_the_execution_under_way() {
    let mut run = Run::with_job();
    let (_, path) = run.start(&json!({}));
    run.call("POST", &format!("{path}:cancel"), &json!({})).unwrap();
    let execution = run.read(&path)["name"].as_str().unwrap().to_owned();
    abandon(&mut run.world, &RunEffect::CancelExecution { execution }, &Status::internal("No."));
    let execution = run.read(&path);
    assert_eq!(condition(&execution, "Completed").get("executionReason"), None);
    assert_eq!(execution["reconciling"], true);
}

#[test]
fn a_run_that_cannot_start_fails_with_the_reason() {
    let mut run = Run::new();
    run.create_job("backup", &broken()).unwrap_err();
    let (operation, path) = run.start(&json!({"overrides": {"taskCount": 2}}));
    assert_eq!(run.wait(&operation).unwrap_err().code, Code::NotFound);
    let execution = run.read(&path);
    assert_eq!(condition(&execution, "Completed")["reason"], "CONTAINER_MISSING");
    assert_eq!(execution["failedCount"], 2);
    assert_eq!(run.reference()["completionStatus"], "EXECUTION_FAILED");
}

#[test]
fn a_run_that_a_fault_strikes_has_failed() {
    let mut run = Run::with_job();
    let (_, path) = run.start(&json!({}));
    let execution = run.read(&path)["name"].as_str().unwrap().to_owned();
    abandon(
        &mut run.world,
        &RunEffect::Execute { execution },
        &Status::internal("The control plane is down."),
    );
    assert_eq!(condition(&run.read(&path), "Completed")["message"], "The control plane is down.");
}

#[test]
fn a_deleted_execution_is_gone_with_its_tasks() {
    let mut run = Run::with_job();
    let (operation, path) = run.start(&json!({}));
    assert_eq!(
        run.call("DELETE", &format!("{path}?etag=stale"), &Value::Null).unwrap_err().code,
        Code::Aborted
    );
    let checked = run.call("DELETE", &format!("{path}?validateOnly=true"), &Value::Null).unwrap();
    assert_eq!(checked["done"], true);
    let deleted = run.call("DELETE", &path, &Value::Null).unwrap();
    assert!(run.read(&path)["deleteTime"].is_string());
    let gone = run.wait(&deleted).unwrap();
    assert_eq!(gone["@type"], "type.googleapis.com/google.cloud.run.v2.Execution");
    assert_eq!(run.call("GET", &path, &Value::Null).unwrap_err().code, Code::NotFound);
    assert_eq!(run.read("jobs/-/executions/-/tasks"), json!({}));
    assert_eq!(run.read("jobs/backup/executions?showDeleted=true")["executions"][0]["name"], gone["name"]);
    assert!(run.reference()["deleteTime"].is_string());
    assert_eq!(run.read("jobs/backup")["executionCount"], 1);
    assert_eq!(run.wait(&operation).unwrap_err().code, Code::NotFound);
}

#[test]
fn the_oldest_completed_executions_vanish_beyond_the_limit() {
    let mut run = Run::with_job();
    let (_, waiting) = run.start(&json!({}));
    let ended: Vec<String> = (0..3)
        .map(|_| {
            let (_, path) = run.start(&json!({}));
            run.cancel(&path).unwrap();
            path
        })
        .collect();
    let job = run.read("jobs/backup")["name"].as_str().unwrap().to_owned();
    execution::forget_surplus(&mut run.world, &job, 2);
    assert!(run.call("GET", &ended[0], &Value::Null).is_err());
    for kept in [&waiting, &ended[1], &ended[2]] {
        run.read(kept);
    }
    assert_eq!(run.read("jobs/-/executions/-/tasks")["tasks"].as_array().unwrap().len(), 3);
}

#[test]
fn a_start_token_records_an_execution_and_the_job_is_ready() {
    let mut run = Run::with_job();
    let job = run.patch_job("", &tokened("startExecutionToken", "v1")).unwrap();
    assert_eq!(job["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    assert_eq!((&job["executionCount"], &job["startExecutionToken"]), (&json!(1), &json!("v1")));
    assert_eq!(run.read("jobs/backup/executions/backup-v1")["reconciling"], true);
}

#[test]
fn a_run_token_keeps_the_job_from_being_ready_until_its_execution_has_ended() {
    let mut run = Run::with_job();
    let operation = run.call("PATCH", "jobs/backup", &tokened("runExecutionToken", "v1")).unwrap();
    for _ in 0..30 {
        assert_eq!(run.operation(&operation).get("done"), None);
    }
    assert_eq!(run.read("jobs/backup")["reconciling"], true);
    run.cancel("jobs/backup/executions/backup-v1").unwrap();
    let status = run.wait(&operation).unwrap_err();
    assert!(status.message.contains("Execution 'backup-v1' did not succeed."), "{status}");
    assert_eq!(run.read("jobs/backup")["terminalCondition"]["state"], "CONDITION_FAILED");
}

#[test]
fn the_execution_of_a_token_fails_with_its_job() {
    let mut run = Run::with_job();
    let mut body = broken();
    body["startExecutionToken"] = json!("v1");
    assert_eq!(run.patch_job("", &body).unwrap_err().code, Code::NotFound);
    let execution = run.read("jobs/backup/executions/backup-v1");
    assert_eq!(condition(&execution, "Completed")["reason"], "CONTAINER_MISSING");
}

#[test]
fn a_token_that_is_written_back_starts_nothing() {
    let mut run = Run::with_job();
    run.patch_job("", &tokened("startExecutionToken", "v1")).unwrap();
    let mut back = run.read("jobs/backup");
    back["labels"] = json!({"team": "core"});
    assert_eq!(run.patch_job("", &back).unwrap()["executionCount"], 1);
    let next = run.patch_job("", &tokened("startExecutionToken", "v2")).unwrap();
    assert_eq!(
        (&next["executionCount"], &next["latestCreatedExecution"]["name"]),
        (&json!(2), &json!("backup-v2"))
    );
    let again = run.patch_job("", &tokened("startExecutionToken", "v1")).unwrap_err();
    assert_eq!(again.code, Code::AlreadyExists);
}

#[test]
fn a_long_name_leaves_room_for_the_letters_of_its_executions() {
    let mut run = Run::new();
    let id = "a".repeat(63);
    run.create_job(&id, &job()).unwrap();
    let operation = run.call("POST", &format!("jobs/{id}:run"), &json!({})).unwrap();
    let name = short(&operation["metadata"]["name"]);
    assert_eq!((name.len(), name.starts_with(&"a".repeat(57))), (63, true));
}

#[test]
fn a_job_that_does_not_exist_cannot_run() {
    let status = Run::new().call("POST", "jobs/none:run", &json!({})).unwrap_err();
    assert_eq!(status.code, Code::NotFound);
}
