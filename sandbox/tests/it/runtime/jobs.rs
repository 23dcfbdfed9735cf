//! Executions of jobs as processes.

use serde_json::{Value, json};

use super::stage::{PARENT, Stage, is_alive, options, stage, staged};
use crate::support::eventually;

fn job(mode: &str, further: &Value) -> Value {
    let mut template =
        json!({"maxRetries": 0, "containers": [{"image": "app", "env": [{"name": "MODE", "value": mode}]}]});
    template.as_object_mut().unwrap().extend(further.as_object().cloned().unwrap_or_default());
    json!({"template": {"template": template}})
}

impl Stage {
    async fn make_job(&self, job: Value) {
        let (_, operation) = self.client.post(&format!("/v2/{PARENT}/jobs?jobId=migrate"), job).await;
        let done = self.done(&operation).await;
        assert_eq!(done.get("error"), None, "{done}");
    }

    async fn start(&self, body: Value) -> Value {
        self.client.post(&format!("/v2/{PARENT}/jobs/migrate:run"), body).await.1
    }

    /// Runs the job to its end and answers the execution.
    async fn run(&self, body: Value) -> Value {
        let operation = self.start(body).await;
        self.done(&operation).await;
        self.execution(&operation).await
    }

    async fn execution(&self, operation: &Value) -> Value {
        self.client.get(&format!("/v2/{}", operation["metadata"]["name"].as_str().unwrap())).await.1
    }
}

fn completed(execution: &Value) -> &Value {
    execution["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Completed").unwrap()
}

#[tokio::test]
async fn every_task_runs_once_and_knows_its_index() {
    let stage = stage().await;
    let mut job = job("task", &json!({}));
    job["template"]["taskCount"] = json!(3);
    job["template"]["parallelism"] = json!(2);
    stage.make_job(job).await;
    let execution = stage.run(json!({})).await;
    assert_eq!(
        (&execution["succeededCount"], &completed(&execution)["state"]),
        (&json!(3), &json!("CONDITION_SUCCEEDED"))
    );
    let name = execution["name"].as_str().unwrap().rsplit('/').next().unwrap();
    let filter =
        format!("resource.type=\"cloud_run_job\" labels.\"run.googleapis.com/execution_name\"=\"{name}\"");
    for index in 0..3 {
        let said = stage.logs(&format!("{filter} textPayload=\"task {index} of 3 attempt 0\"")).await;
        assert_eq!(said.len(), 1);
        assert_eq!(said[0]["labels"]["run.googleapis.com/task_index"], json!(index.to_string()));
    }
    assert_eq!(stage.logs(&format!("{filter} textPayload:\"migrate {name}\"")).await.len(), 3);
}

#[tokio::test]
async fn a_task_that_fails_is_tried_again_as_often_as_the_job_says() {
    let stage = stage().await;
    let mut job = job("task", &json!({"maxRetries": 1}));
    job["template"]["template"]["containers"][0]["env"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "FAIL_UNTIL", "value": "1"}));
    stage.make_job(job).await;
    let good = stage.run(json!({})).await;
    assert_eq!((&good["succeededCount"], &good["retriedCount"]), (&json!(1), &json!(1)));
    let more =
        json!({"overrides": {"containerOverrides": [{"env": [{"name": "FAIL_UNTIL", "value": "2"}]}]}});
    let bad = stage.run(more).await;
    assert_eq!(
        (&bad["failedCount"], &completed(&bad)["executionReason"]),
        (&json!(1), &json!("NON_ZERO_EXIT_CODE"))
    );
    assert!(
        completed(&bad)["message"]
            .as_str()
            .unwrap()
            .contains("after 2 attempts: the container exited with status 4")
    );
    let (_, task) = stage.client.get(&format!("/v2/{}/tasks", bad["name"].as_str().unwrap())).await;
    assert_eq!(task["tasks"][0]["lastAttemptResult"]["exitCode"], 4);
}

#[tokio::test]
async fn arguments_of_one_run_reach_the_container() {
    let stage = stage().await;
    stage.make_job(job("task", &json!({}))).await;
    stage.run(json!({"overrides": {"containerOverrides": [{"args": ["--tenant", "acme"]}]}})).await;
    assert_eq!(stage.logs("textPayload:\"[\\\"--tenant\\\", \\\"acme\\\"]\"").await.len(), 1);
}

#[tokio::test]
async fn a_task_that_takes_too_long_is_ended_and_has_failed() {
    let stage = stage().await;
    stage.make_job(job("hang", &json!({"timeout": "20s"}))).await;
    let execution = stage.run(json!({})).await;
    assert!(completed(&execution)["message"].as_str().unwrap().contains("timeout of 20 s"), "{execution}");
}

#[tokio::test]
async fn a_cancelled_execution_has_no_process() {
    let stage = stage().await;
    stage.make_job(job("say-pid", &json!({}))).await;
    let operation = stage.start(json!({})).await;
    let said = stage.until_logged("textPayload:\"pid \"").await;
    let process = said["textPayload"].as_str().unwrap().trim_start_matches("pid ").to_owned();
    assert!(is_alive(&process));
    let execution = stage.execution(&operation).await;
    let (_, cancelling) =
        stage.client.post(&format!("/v2/{}:cancel", execution["name"].as_str().unwrap()), json!({})).await;
    stage.done(&cancelling).await;
    assert_eq!(completed(&stage.execution(&operation).await)["executionReason"], "CANCELLED");
    eventually("the end of the process", async || (!is_alive(&process)).then_some(())).await;
}

/// A sandbox in which the job is this script of the machine's shell.
async fn scripted(script: &str) -> Stage {
    let mut options = options();
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let command = gcp_sandbox::runtime::Command { command, folder: std::env::temp_dir() };
    options.runtime.commands.insert("migrate".into(), command);
    options.runtime.second = std::time::Duration::from_secs(1);
    staged(options).await
}

#[tokio::test]
async fn no_more_tasks_run_at_once_than_the_job_says() {
    let dir = tempfile::tempdir().unwrap();
    // Who meets another one fails.
    let lock = dir.path().join("alone").display().to_string();
    let stage = scripted(&format!("mkdir {lock} || exit 9; sleep 0.2; rmdir {lock}")).await;
    let mut job = job("", &json!({}));
    job["template"]["taskCount"] = json!(4);
    job["template"]["parallelism"] = json!(1);
    stage.make_job(job).await;
    assert_eq!(stage.run(json!({})).await["succeededCount"], 4);
}

#[tokio::test]
async fn who_is_ended_gets_sigterm_and_time_to_finish() {
    let stage =
        scripted("trap 'sleep 0.3; echo finished; exit 0' TERM; echo begun; while :; do sleep 0.05; done")
            .await;
    stage.make_job(job("", &json!({}))).await;
    let operation = stage.start(json!({})).await;
    stage.until_logged("textPayload=begun").await;
    let name = operation["metadata"]["name"].as_str().unwrap().to_owned();
    let (_, cancelling) = stage.client.post(&format!("/v2/{name}:cancel"), json!({})).await;
    stage.done(&cancelling).await;
    stage.until_logged("textPayload=finished").await;
}

#[tokio::test]
async fn a_job_whose_image_has_no_content_succeeds_and_says_so() {
    let stage = stage().await;
    stage.make_job(json!({"template": {"template": {"containers": [{"image": "busybox"}]}}})).await;
    assert_eq!(stage.run(json!({})).await["succeededCount"], 1);
    stage.until_logged("resource.labels.job_name=\"migrate\" textPayload:\"stand-in\"").await;
}
