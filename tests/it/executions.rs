//! Jobs that run as real processes: `run`, `migrate` and `logs`, and migrations that run once for each release.

use serde_json::{Value, json};

use crate::rig::Rig;
use crate::support::{Cloud, Workplace, job_path, shop};

const BASE: &str = shop!(
    r#"tenants: {list: {red: {}, blue: {}}}
services:
  api: {image: us-docker.pkg.dev/cloudrun/container/hello, access: no_iam_check, env: {VERSION: one}}
jobs:
  report:
    service: api
    manual: true
    command: [report, "--for=${args.month}", --quiet]
    args_from: [month]
  sync: {service: api, command: [sync, "${tenant.slug}"], for_each: tenants}
migrations:
  shared: {service: api, command: [migrate]}
"#
);

/// What the job and the migration do: they say something, and succeed once the file `good` is there.
const SCRIPT: &str = "echo \"working on $VERSION\"; echo '{\"severity\":\"WARNING\",\"message\":\"slow\"}'; \
    test -e good || exit 7";

async fn rig() -> Rig {
    let place = Workplace::with(&[
        ("environments/base.yaml", BASE),
        ("environments/dev.yaml", "deployer: v1\nenvironment: dev\ntarget: sandbox\n"),
    ]);
    let jobs = ["report-dev", "migrate-shared-dev"];
    let options = Cloud::running(&jobs, &["/bin/sh", "-c", SCRIPT], place.root());
    Rig::of(place, Cloud::start(options).await)
}

fn mend(rig: &Rig) {
    rig.place.write("good", "");
}

/// Everything is there, and the migration has run.
async fn applied() -> Rig {
    let rig = rig().await;
    mend(&rig);
    rig.apply().ok().await;
    rig
}

/// The executions of a job, the newest first.
async fn executions(rig: &Rig, job: &str) -> Vec<Value> {
    let list = rig.cloud.read(&format!("{}/executions", job_path(job))).await;
    list["executions"].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn run_shows_what_the_job_writes_and_ends_with_its_status() {
    let rig = applied().await;
    let done = rig.deployer("run dev report").args(["--", "month=may"]).ok().await;
    assert!(done.stdout.contains("working on one\nslow\n"), "{done}");
    assert!(done.stderr.contains("succeeded"), "{done}");
    std::fs::remove_file(rig.place.path("good")).unwrap();
    let done = rig.deployer("run dev report").args(["--", "month=may"]).fails(7).await;
    assert!(done.stdout.starts_with("working on one\n"), "{done}");
    assert!(done.stderr.contains("error: ") && done.stderr.contains("status 7"), "{done}");
    let ran = rig.deployer("run dev report --output json").args(["--", "month=may"]).fails(7).await.json();
    assert_eq!((&ran["execution"]["state"], &ran["execution"]["exit_code"]), (&json!("failed"), &json!(7)));
    let texts: Vec<_> = ran["entries"].as_array().unwrap().iter().map(|entry| &entry["text"]).collect();
    assert!(texts.contains(&&json!("working on one")), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_trouble_of_an_execution_is_waited_out() {
    let rig = applied().await;
    std::fs::remove_file(rig.place.path("good")).unwrap();
    let mut faults = Vec::new();
    for method in ["get", "list", "tasks.list"] {
        let method = format!("run.projects.locations.jobs.executions.{method}");
        faults.push(rig.cloud.down_once(&method).await);
    }
    rig.deployer("migrate dev --status").ok().await;
    rig.deployer("run dev report").args(["--", "month=may"]).fails(7).await;
    for fault in &faults {
        assert!(rig.cloud.hits(fault).await > 0, "it did not strike");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_of_a_run_are_for_this_run_alone() {
    let rig = applied().await;
    rig.deployer("run dev report").args(["--", "month=may"]).ok().await;
    let ran = executions(&rig, "report-dev").await[0]["template"]["containers"][0]["args"].take();
    assert_eq!(ran, json!(["--for=may", "--quiet"]));
    rig.deployer("run dev sync --tenant red").args(["--", "--all"]).ok().await;
    let ran = executions(&rig, "sync-red-dev").await[0]["template"]["containers"][0]["args"].take();
    assert_eq!(ran, json!(["--all"]));
    rig.settled("what a run was given is no difference").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_be_is_told_what_could() {
    let rig = applied().await;
    rig.cloud.forget_calls().await;
    for (words, message, hint) in [
        ("run dev repport", "dev has no job `repport`", "the jobs are: report, sync/red, sync/blue, shared"),
        ("run dev sync", "`sync` is a job of each tenant", "add --tenant SLUG; the tenants are: red, blue"),
        ("run dev sync --tenant green", "dev has no tenant `green`", "the tenants are: red, blue"),
        ("run dev report", "its argument `month` is missing", "give it: -- month=VALUE"),
    ] {
        let done = rig.deployer(words).fails(1).await;
        assert!(done.stderr.contains(message) && done.stderr.contains(hint), "{words}: {done}");
    }
    let done = rig.deployer("run dev report").args(["--", "year=1"]).fails(1).await;
    assert!(done.stderr.contains("`year=1` is none of its arguments"), "{done}");
    assert_eq!(rig.cloud.writes().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_not_deployed_yet_is_told() {
    let rig = applied().await;
    rig.edit("  shared: {", "  next: {service: api, command: [migrate]}\n  shared: {");
    rig.edit("  report:\n", "  later: {service: api, command: [later]}\n  report:\n");
    let done = rig.deployer("run dev later").fails(1).await;
    assert!(done.stderr.contains("`deployer apply dev` makes what is missing"), "{done}");
    let done = rig.deployer("migrate dev --auto-approve").fails(1).await;
    assert!(done.stderr.contains("there is no job migrate-next-dev yet"), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_runs_once_for_each_release() {
    let rig = applied().await;
    let ran = executions(&rig, "migrate-shared-dev").await;
    assert_eq!(ran.len(), 1, "{ran:?}");
    let (label, whole) =
        (ran[0]["labels"]["deployer-release"].as_str(), ran[0]["annotations"]["deployer/release"].as_str());
    assert_eq!(label.map(str::len), Some(40));
    assert!(whole.unwrap().starts_with(label.unwrap()) && whole.map(str::len) == Some(64), "{whole:?}");
    rig.settled("the mark of a release is no difference").await;
    rig.edit("VERSION: one", "VERSION: two");
    rig.apply().ok().await;
    assert_eq!(executions(&rig, "migrate-shared-dev").await.len(), 2, "another release");
    rig.settled("after the second release").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_failed_stops_the_release_and_is_run_again_only_when_asked() {
    let rig = applied().await;
    std::fs::remove_file(rig.place.path("good")).unwrap();
    let before = rig.cloud.service("api-dev").await["latestCreatedRevision"].clone();
    rig.edit("VERSION: one", "VERSION: two");
    let done = rig.apply().done().await;
    assert!(matches!(done.code, 1 | 3), "{done}");
    assert!(done.stdout.contains("did not succeed"), "{done}");
    assert_eq!(rig.cloud.service("api-dev").await["latestCreatedRevision"], before, "no revision was made");
    let done = rig.apply().done().await;
    assert!(done.stdout.contains("it is not run again by itself"), "{done}");
    assert!(done.stdout.contains("deployer migrate dev"), "{done}");
    assert_eq!(executions(&rig, "migrate-shared-dev").await.len(), 2);

    let status = rig.deployer("migrate dev --status").ok().await;
    assert!(status.stdout.contains("failed") && status.stdout.contains("status 7"), "{status}");
    let asked = rig.deployer("migrate dev").fails(1).await;
    assert!(asked.stderr.contains("nobody can be asked here"), "{asked}");
    let done = rig.deployer("migrate dev --auto-approve").fails(1).await;
    assert!(done.stdout.contains("working on two"), "it runs the job as it is deployed: {done}");
    assert_eq!(executions(&rig, "migrate-shared-dev").await.len(), 3);

    mend(&rig);
    let done = rig.deployer("migrate dev --auto-approve --output json").ok().await.json();
    assert_eq!(done["migrations"][0]["state"], "succeeded");
    rig.apply().ok().await;
    assert_eq!(executions(&rig, "migrate-shared-dev").await.len(), 4, "what succeeded is not run again");
    rig.deployer("migrate dev").ok().await;
    assert_eq!(executions(&rig, "migrate-shared-dev").await.len(), 4);
    rig.settled("released").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_starts_no_second_execution() {
    let rig = applied().await;
    rig.edit("VERSION: one", "VERSION: two");
    let lost = json!({"match": {"method": "run.projects.locations.jobs.run"}, "when": "after", "times": 1, "do": {"drop": true}});
    rig.cloud.fault(lost).await;
    rig.apply().ok().await;
    assert_eq!(executions(&rig, "migrate-shared-dev").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_somebody_else_started_meanwhile_is_waited_for() {
    let rig = applied().await;
    rig.edit("VERSION: one", "VERSION: two");
    // Ours is refused because of its etag, after another run of the same release has started it.
    let method = "run.projects.locations.jobs.run";
    let late = json!({"match": {"method": method}, "when": "after", "times": 1,
        "do": {"status": 409, "message": "it changed"}});
    rig.cloud.fault(late).await;
    rig.apply().ok().await;
    assert_eq!(executions(&rig, "migrate-shared-dev").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_show_the_newest_lines_by_the_key_of_the_yaml() {
    let rig = applied().await;
    let done = rig.deployer("logs dev shared").ok().await;
    assert!(done.stdout.contains(" shared  working on one\n"), "{done}");
    assert!(done.stdout.contains(" shared WARNING  slow\n"), "{done}");
    let newest = rig.deployer("logs dev shared --lines 1 --output json").ok().await.json();
    assert_eq!(newest["entries"].as_array().unwrap().len(), 1);
    let done = rig.deployer("logs dev shard").fails(1).await;
    assert!(done.stderr.contains("did you mean `shared`?"), "{done}");
    let done = rig.deployer("logs dev --follow --output json").fails(1).await;
    assert!(done.stderr.contains("--follow has no end"), "{done}");
}
