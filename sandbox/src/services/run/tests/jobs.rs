//! create, patch, delete and readiness of jobs.

use super::*;
use crate::services::run::{RunEffect, abandon};

fn code(answer: Result<Value, Status>) -> Code {
    answer.unwrap_err().code
}

fn with_secret() -> Value {
    let mut body = job();
    body["template"]["template"]["containers"][0]["env"] =
        json!([{"name": "KEY", "valueSource": {"secretKeyRef": {"secret": "key", "version": "1"}}}]);
    body
}

#[test]
fn a_created_job_reads_back_complete() {
    let mut run = Run::new();
    let job = run.create_job("backup", &job()).unwrap();
    let number = run.world.project_number(PROJECT);
    assert_eq!(job["@type"], "type.googleapis.com/google.cloud.run.v2.Job");
    assert_eq!(job["name"], format!("projects/{PROJECT}/locations/europe-west1/jobs/backup"));
    assert_eq!((&job["generation"], &job["observedGeneration"]), (&json!("1"), &json!("1")));
    assert_eq!(job["terminalCondition"]["type"], "Ready");
    assert_eq!(job["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    assert_eq!(
        (&job["creator"], &job["lastModifier"]),
        (&job["lastModifier"], &json!("developer@sandbox.invalid"))
    );
    assert_eq!(
        (&job["template"]["taskCount"], &job["template"]["template"]["maxRetries"]),
        (&json!(1), &json!(3))
    );
    let account = format!("{number}-compute@developer.gserviceaccount.com");
    assert_eq!(job["template"]["template"]["serviceAccount"], account);
    for absent in ["reconciling", "executionCount", "latestCreatedExecution", "_order"] {
        assert_eq!(job.get(absent), None, "{absent}");
    }
    assert!(job["uid"].is_string() && job["etag"].is_string() && job["createTime"].is_string());
}

#[test]
fn while_it_is_checked_a_job_is_reconciling() {
    let mut run = Run::new();
    let operation = run.call("POST", "jobs?jobId=backup", &job()).unwrap();
    assert_eq!(operation["metadata"]["@type"], "type.googleapis.com/google.cloud.run.v2.Job");
    assert_eq!(operation.get("done"), None);
    let between = run.read("jobs/backup");
    assert_eq!((&between["reconciling"], between.get("observedGeneration")), (&json!(true), None));
    assert_eq!(between["terminalCondition"]["state"], "CONDITION_RECONCILING");
}

#[test]
fn ids_places_and_names_are_checked() {
    let mut run = Run::with_job();
    assert_eq!(code(run.create_job("backup", &job())), Code::AlreadyExists);
    for bad in ["", "Backup", "2nd", "a-", &"a".repeat(64)] {
        assert_eq!(code(run.create_job(bad, &job())), Code::InvalidArgument, "{bad}");
    }
    run.create_job(&"a".repeat(63), &job()).unwrap();
    let mut named = job();
    named["name"] = json!(format!("projects/{PROJECT}/locations/europe-west1/jobs/other"));
    assert_eq!(code(run.create_job("other", &named)), Code::InvalidArgument);
    assert_eq!(code(run.patch_job("", &named)), Code::InvalidArgument);
    let elsewhere = format!("run.googleapis.com/v2/projects/{PROJECT}/locations/moon-west1/jobs");
    assert_eq!(code(testing::get(&mut run.world, &elsewhere)), Code::NotFound);
}

#[test]
fn a_job_without_containers_or_with_unknown_fields_is_refused() {
    let mut run = Run::new();
    assert_eq!(code(run.create_job("a", &json!({}))), Code::InvalidArgument);
    let mut body = job();
    body["ingress"] = json!("INGRESS_TRAFFIC_ALL");
    assert_eq!(code(run.create_job("a", &body)), Code::InvalidArgument);
}

#[test]
fn validate_only_fills_in_defaults_and_stores_nothing() {
    let mut run = Run::new();
    let operation = run.call("POST", "jobs?jobId=backup&validateOnly=true", &job()).unwrap();
    assert_eq!(operation["done"], true);
    assert_eq!(operation["response"]["template"]["template"]["timeout"], "600s");
    assert_eq!(code(run.call("GET", "jobs/backup", &Value::Null)), Code::NotFound);
    let mut run = Run::with_job();
    let before = run.read("jobs/backup");
    let mut changed = job();
    changed["template"]["taskCount"] = json!(7);
    assert_eq!(run.patch_job("?validateOnly=true", &changed).unwrap()["template"]["taskCount"], 7);
    let gone = run.call("DELETE", "jobs/backup?validateOnly=true", &Value::Null).unwrap();
    run.wait(&gone).unwrap();
    let started = run.call("POST", "jobs/backup:run", &json!({"validateOnly": true})).unwrap();
    assert_eq!(started["done"], true);
    assert_eq!(run.read("jobs/backup"), before);
    assert_eq!(run.read("jobs/backup/executions"), json!({}));
}

#[test]
fn a_patch_replaces_the_whole_document() {
    let mut run = Run::with_job();
    let mut labelled = job();
    labelled["labels"] = json!({"team": "core"});
    labelled["template"]["taskCount"] = json!(3);
    assert_eq!(run.patch_job("", &labelled).unwrap()["generation"], "2");
    let after = run.patch_job("", &job()).unwrap();
    assert_eq!((after.get("labels"), &after["template"]["taskCount"]), (None, &json!(1)));
    assert_eq!((&after["generation"], &after["observedGeneration"]), (&json!("3"), &json!("3")));
}

#[test]
fn a_patch_takes_no_mask() {
    let mut run = Run::with_job();
    assert_eq!(code(run.patch_job("?updateMask=labels", &job())), Code::InvalidArgument);
}

#[test]
fn reading_and_writing_back_changes_nothing() {
    let mut run = Run::with_job();
    let mut body = job();
    body["template"]["template"]["containers"][0]["env"] =
        (0..9).map(|n| json!({"name": format!("V{n}"), "value": "x"})).collect();
    run.patch_job("", &body).unwrap();
    let mut before = run.read("jobs/backup");
    before["uid"] = json!("forged");
    before["executionCount"] = json!(99);
    let after = run.patch_job("", &before).unwrap();
    assert_eq!((&after["generation"], &after["template"]), (&before["generation"], &before["template"]));
    assert_ne!(after["uid"], "forged");
    assert_eq!(after.get("executionCount"), None);
}

#[test]
fn a_stale_etag_is_refused() {
    let mut run = Run::with_job();
    let fresh = run.read("jobs/backup");
    run.patch_job("", &fresh).unwrap();
    assert_eq!(code(run.patch_job("", &fresh)), Code::Aborted);
    assert_eq!(code(run.call("DELETE", "jobs/backup?etag=stale", &Value::Null)), Code::Aborted);
    let stale = json!({"etag": fresh["etag"]});
    assert_eq!(code(run.call("POST", "jobs/backup:run", &stale)), Code::Aborted);
}

#[test]
fn patch_creates_only_when_allowed_to() {
    let mut run = Run::new();
    assert_eq!(code(run.patch_job("", &job())), Code::NotFound);
    assert_eq!(run.patch_job("?allowMissing=true", &job()).unwrap()["generation"], "1");
}

#[test]
fn jobs_are_listed_newest_first_in_pages() {
    let mut run = Run::new();
    for id in ["b", "c", "a"] {
        run.create_job(id, &job()).unwrap();
    }
    let first = run.read("jobs?pageSize=2");
    let names: Vec<String> =
        first["jobs"].as_array().unwrap().iter().map(|one| short(&one["name"])).collect();
    assert_eq!(names, ["a", "c"]);
    let second = run.read(&format!("jobs?pageSize=2&pageToken={}", first["nextPageToken"].as_str().unwrap()));
    assert_eq!(short(&second["jobs"][0]["name"]), "b");
}

#[test]
fn a_deleted_job_takes_its_executions_and_policy_along() {
    let mut run = Run::with_job();
    run.call("POST", "jobs/backup:run", &json!({})).unwrap();
    let grant = json!({"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}});
    run.call("POST", "jobs/backup:setIamPolicy", &grant).unwrap();
    let operation = run.call("DELETE", "jobs/backup", &Value::Null).unwrap();
    let leaving = run.read("jobs/backup");
    assert!(leaving["deleteTime"].is_string() && leaving["reconciling"] == true);
    assert_eq!(code(run.patch_job("", &job())), Code::FailedPrecondition);
    assert_eq!(code(run.call("POST", "jobs/backup:run", &json!({}))), Code::FailedPrecondition);
    assert_eq!(run.wait(&operation).unwrap()["name"], leaving["name"]);
    assert_eq!(code(run.call("GET", "jobs/backup", &Value::Null)), Code::NotFound);
    assert_eq!(run.read("jobs/-/executions"), json!({}));
    assert_eq!(run.read("jobs/-/executions/-/tasks"), json!({}));
    assert!(run.read("jobs?showDeleted=true")["jobs"][0]["expireTime"].is_string());
    run.create_job("backup", &job()).unwrap();
    assert_eq!(run.read("jobs/backup:getIamPolicy").get("bindings"), None);
}

#[test]
fn policies_belong_to_jobs_that_exist() {
    let mut run = Run::with_job();
    assert_eq!(run.read("jobs/backup:getIamPolicy"), json!({"etag": "ACAB"}));
    assert_eq!(code(run.call("GET", "jobs/none:getIamPolicy", &Value::Null)), Code::NotFound);
    let asked = json!({"permissions": ["run.jobs.run"]});
    assert_eq!(run.call("POST", "jobs/backup:testIamPermissions", &asked).unwrap(), asked);
}

#[test]
fn a_job_and_a_service_may_share_a_name_and_nothing_else() {
    let mut run = Run::with_api();
    run.create_job("api", &job()).unwrap();
    let operation = run.call("DELETE", "jobs/api", &Value::Null).unwrap();
    run.wait(&operation).unwrap();
    assert_eq!(run.api()["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
}

#[test]
fn a_job_whose_secret_is_missing_exists_and_is_not_ready() {
    let mut run = Run::new();
    let status = run.create_job("backup", &with_secret()).unwrap_err();
    assert!(status.message.contains("secrets/key/versions/1 was not found"), "{status}");
    let job = run.read("jobs/backup");
    assert_eq!(job["terminalCondition"]["state"], "CONDITION_FAILED");
    assert_eq!(job["terminalCondition"]["reason"], "SECRETS_ACCESS_CHECK_FAILED");
    assert_eq!((job.get("observedGeneration"), job.get("reconciling")), (None, None));
}

#[test]
fn an_account_that_must_not_read_the_secret_fails_the_job() {
    let mut run = Run::new();
    run.add_secret(false);
    assert_eq!(code(run.create_job("backup", &with_secret())), Code::PermissionDenied);
}

#[test]
fn every_write_checks_again() {
    let mut run = Run::new();
    run.create_job("backup", &with_secret()).unwrap_err();
    run.add_secret(true);
    let job = run.patch_job("", &with_secret()).unwrap();
    assert_eq!((&job["generation"], &job["observedGeneration"]), (&json!("1"), &json!("1")));
}

#[test]
fn unknown_accounts_and_missing_images_fail_the_job() {
    let mut run = Run::new();
    let mut body = job();
    body["template"]["template"]["serviceAccount"] = json!("nobody@agent-army-dev.iam.gserviceaccount.com");
    assert!(run.create_job("a", &body).unwrap_err().message.contains("nobody@agent-army-dev"));
    let mut body = job();
    body["template"]["template"]["containers"][0]["image"] =
        json!("europe-west1-docker.pkg.dev/agent-army-dev/repo/job:v1");
    assert_eq!(code(run.create_job("b", &body)), Code::NotFound);
    assert_eq!(run.read("jobs/b")["terminalCondition"]["reason"], "CONTAINER_MISSING");
}

#[test]
fn a_later_write_decides() {
    let mut run = Run::with_job();
    let first = run.call("PATCH", "jobs/backup", &with_secret()).unwrap();
    let mut second = job();
    second["template"]["taskCount"] = json!(2);
    run.patch_job("", &second).unwrap();
    run.wait(&first).unwrap();
    assert_eq!(run.read("jobs/backup")["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
}

#[test]
fn an_injected_failure_leaves_a_job_that_says_so() {
    let mut run = Run::with_job();
    let mut changed = job();
    changed["template"]["taskCount"] = json!(2);
    run.call("PATCH", "jobs/backup", &changed).unwrap();
    let name = run.read("jobs/backup")["name"].as_str().unwrap().to_owned();
    let effect = RunEffect::ReconcileJob { job: name, generation: 2, execution: None, waits: false };
    abandon(&mut run.world, &effect, &Status::internal("The control plane is down."));
    let job = run.read("jobs/backup");
    assert_eq!(job["terminalCondition"]["message"], "The control plane is down.");
    assert_eq!(job["observedGeneration"], "1");
}

#[test]
fn a_deletion_that_failed_leaves_the_job_as_it_was() {
    let mut run = Run::with_job();
    run.call("DELETE", "jobs/backup", &Value::Null).unwrap();
    let name = run.read("jobs/backup")["name"].as_str().unwrap().to_owned();
    abandon(&mut run.world, &RunEffect::DeleteJob { job: name }, &Status::internal("No."));
    assert_eq!(run.read("jobs/backup").get("deleteTime"), None);
    run.patch_job("", &job()).unwrap();
}
