//! Jobs, secrets of tenants and metrics as they come out at Cloud Run: what is borrowed, what is pinned, what settles.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::rig::Rig;
use crate::support::{Cloud, PROJECT, Workplace, job_path, project_path, service_path, shop};

const BASE: &str = shop!(
    r#"secrets:
  database-url: {}
  ddl-url: {}
tenants:
  secrets: [crm-key]
  readers: [front]
  list: {red: {}, blue-shoes: {}}
services:
  front:
    name: front
    image: us-docker.pkg.dev/cloudrun/container/hello
    startup_probe: /
    cpu: 1
    memory: 1Gi
    service_account: front-runner
    secrets: {DATABASE_URL: database-url}
    metrics: {}
jobs:
  report:
    service: front
    name: report
    command: [report, "--for=${args.month}", --quiet]
    manual: true
    args_from: [month]
  sync:
    service: front
    name: "sync-${tenant.slug}"
    for_each: tenants
    command: [sync, "${tenant.slug}"]
migrations:
  schema:
    service: front
    name: schema
    command: [migrate]
    service_account: migrator
    secrets: {DDL_URL: ddl-url}
"#
);

const DEV: &str = "deployer: v1\nenvironment: dev\ntarget: sandbox\n";

async fn rig() -> Rig {
    let files = [("environments/base.yaml", BASE), ("environments/dev.yaml", DEV)];
    Rig::of(Workplace::with(&files), Cloud::fresh().await)
}

async fn applied() -> Rig {
    let rig = rig().await;
    rig.apply().ok().await;
    rig
}

async fn container(rig: &Rig, job: &str) -> Value {
    rig.cloud.read(&job_path(job)).await["template"]["template"]["containers"][0].take()
}

/// `action address` of each change of a plan, in its order.
async fn planned(rig: &Rig, words: &str) -> Vec<String> {
    let plan = rig.deployer(&format!("plan dev --output json {words}")).ok().await.json();
    let changes = plan["changes"].as_array().unwrap().iter();
    changes.map(|c| format!("{} {}", c["verb"].as_str().unwrap(), c["address"].as_str().unwrap())).collect()
}

async fn members(rig: &Rig, secret: &str) -> Value {
    let path = format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/{secret}");
    rig.cloud.policy(&path).await["bindings"][0]["members"].take()
}

fn account(id: &str) -> String {
    format!("serviceAccount:{id}@{PROJECT}.iam.gserviceaccount.com")
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_tenants_and_metrics_settle_in_one_apply() {
    let rig = applied().await;
    rig.settled("after the first apply").await;
    let state = rig.cloud.state().await;
    let jobs = state["run.jobs"].as_object().unwrap();
    let names: Vec<_> = jobs.keys().map(|name| name.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["report", "schema", "sync-blue-shoes", "sync-red"]);
    assert!(jobs.values().all(|job| job["terminalCondition"]["state"] == "CONDITION_SUCCEEDED"), "{jobs:?}");
    // Applying runs the migrations of what it releases, and no other job.
    let executions: Vec<_> = state["run.executions"].as_object().unwrap().keys().collect();
    assert!(matches!(executions.as_slice(), [one] if one.contains("/jobs/schema/")), "{executions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_job_stores_its_arguments_without_placeholders() {
    let rig = applied().await;
    let report = container(&rig, "report").await;
    assert_eq!((&report["command"], &report["args"]), (&json!(["report"]), &json!(["--quiet"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_an_account_of_its_own_may_read_what_it_refers_to_and_the_service_may_not() {
    let rig = applied().await;
    assert_eq!(members(&rig, "ddl-url").await, json!([account("migrator")]));
    let schema = rig.cloud.read(&job_path("schema")).await;
    let task = &schema["template"]["template"];
    assert_eq!(task["serviceAccount"], format!("migrator@{PROJECT}.iam.gserviceaccount.com"));
    assert_eq!(task["maxRetries"], 0, "a migration is not tried again");
    let variables = task["containers"][0]["env"].as_array().unwrap();
    let ddl = variables.iter().find(|variable| variable["name"] == "DDL_URL").unwrap();
    assert_eq!(ddl["valueSource"]["secretKeyRef"]["version"], "1", "versions are pinned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gets_the_image_that_its_service_gets_and_keeps_it() {
    let rig = applied().await;
    let image = format!("us-docker.pkg.dev/cloudrun/container/hello@sha256:{}", "a".repeat(64));
    rig.apply().args(["--image", &format!("front={image}")]).ok().await;
    rig.settled("the release stays").await;
    assert_eq!(rig.cloud.service("front").await["template"]["containers"][0]["image"], *image);
    for job in ["report", "schema", "sync-red"] {
        assert_eq!(container(&rig, job).await["image"], *image, "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_executions_leave_behind_is_no_difference() {
    let rig = applied().await;
    let (status, answer) =
        rig.cloud.console("POST", &format!("{}:run", job_path("report")), Some(&json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(rig.cloud.read(&job_path("report")).await["executionCount"], 1);
    rig.settled("an execution is no drift").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_hand_is_mended_and_what_others_added_stays() {
    let rig = applied().await;
    let mut job = rig.cloud.read(&job_path("report")).await;
    job["template"]["template"]["timeout"] = json!("60s");
    job["labels"]["cost"] = json!("42");
    let (status, answer) = rig.cloud.console("PATCH", &job_path("report"), Some(&job)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(planned(&rig, "").await, ["update run_job/report"]);
    rig.apply().ok().await;
    rig.settled("the timeout is back").await;
    let job = rig.cloud.read(&job_path("report")).await;
    assert_eq!(
        (&job["template"]["template"]["timeout"], &job["labels"]["cost"]),
        (&json!("600s"), &json!("42"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cloud_run_would_not_run_is_seen_and_mended() {
    let rig = applied().await;
    let mut job = rig.cloud.read(&job_path("report")).await;
    let missing =
        json!({"name": "GHOST", "valueSource": {"secretKeyRef": {"secret": "ddl-url", "version": "99"}}});
    job["template"]["template"]["containers"][0]["env"].as_array_mut().unwrap().push(missing);
    rig.cloud.console("PATCH", &job_path("report"), Some(&job)).await;
    let plan = rig.deployer("plan dev --output json").ok().await.json();
    let fields: Vec<_> =
        plan["changes"][0]["fields"].as_array().unwrap().iter().map(|f| &f["pointer"]).collect();
    assert_eq!(fields, ["/readiness", "/secrets/GHOST"]);
    rig.apply().ok().await;
    rig.settled("it is ready again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_tenant_have_its_label_and_its_readers() {
    let rig = applied().await;
    let path = format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/red-crm-key");
    assert_eq!(rig.cloud.read(&path).await["labels"]["tenant"], "red");
    assert_eq!(members(&rig, "red-crm-key").await, json!([account("front-runner")]));
    assert!(rig.cloud.payload("red-crm-key", "1").await.starts_with(b"placeholder-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_a_tenants_secret_is_added_by_slug_and_name() {
    let rig = rig().await;
    rig.deployer("secrets set dev red/crm-key").stdin("crm-for-red").ok().await;
    rig.apply().ok().await;
    assert_eq!(rig.cloud.payload("red-crm-key", "latest").await, b"crm-for-red");
    rig.settled("nothing makes a second value").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_gone_is_noted_and_goes_with_prune() {
    let rig = applied().await;
    rig.edit("list: {red: {}, blue-shoes: {}}", "list: {blue-shoes: {}}");
    assert_eq!(planned(&rig, "").await, ["revoke secret_grant/red-crm-key:secretAccessor:front-runner"]);
    let done = rig.deployer("plan dev").ok().await;
    for address in ["secret/red-crm-key", "run_job/sync-red"] {
        assert!(done.stdout.contains(address), "{address}: {done}");
    }
    rig.apply().arg("--prune").ok().await;
    let state = rig.cloud.state().await;
    let left = format!("{} {}", state["run.jobs"], state["secretmanager.secrets"]);
    assert!(!left.contains("red"), "{left}");
    rig.settled("after pruning").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_yaml_protects_is_neither_pruned_nor_destroyed() {
    let rig = rig().await;
    let protected = [
        ("secret/ddl-url", "  ddl-url: {}\n", "  ddl-url: {protect: true}\n"),
        ("secret/red-crm-key", "  readers: [front]\n", "  readers: [front]\n  protect: true\n"),
        ("run_service/front", "    metrics: {}\n", "    metrics: {}\n    protect: true\n"),
        ("run_job/sync-red", "    for_each: tenants\n", "    for_each: tenants\n    protect: true\n"),
        ("run_job/schema", "    command: [migrate]\n", "    command: [migrate]\n    protect: true\n"),
    ];
    for (_, from, to) in protected {
        rig.edit(from, to);
    }
    rig.apply().ok().await;
    rig.settled("the marks are read back").await;

    let destroyed = rig.deployer("destroy dev --plan-only").fails(1).await;
    let at = BASE.find("secrets:").unwrap();
    rig.place.write("environments/base.yaml", &BASE[..at]);
    // What they use stays with them.
    assert_eq!(planned(&rig, "--prune").await, ["delete run_job/report"]);
    let pruned = rig.apply().arg("--prune").ok().await;
    for (address, ..) in protected {
        assert!(destroyed.stderr.contains(address), "{address}: {destroyed}");
        let note = format!("{address} is ours and no longer declared: it stays, since it is protected");
        assert!(pruned.stdout.contains(&note), "{note}: {pruned}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protection_that_the_yaml_takes_away_goes_before_its_job() {
    let rig = rig().await;
    rig.edit("    command: [migrate]\n", "    command: [migrate]\n    protect: true\n");
    rig.apply().ok().await;
    rig.edit("    protect: true\n", "");
    assert_eq!(planned(&rig, "").await, ["update run_job/schema"]);
    rig.apply().ok().await;
    let at = BASE.find("migrations:").unwrap();
    rig.place.write("environments/base.yaml", &BASE[..at]);
    assert!(planned(&rig, "--prune").await.contains(&"delete run_job/schema".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_run_checks_jobs_that_it_would_be_sent_and_changes_none() {
    let rig = applied().await;
    rig.edit("command: [migrate]", "command: [migrate, up]");
    rig.edit("jobs:\n", "jobs:\n  tidy: {service: front, name: tidy, command: [tidy]}\n");
    let before = rig.cloud.state().await["run.jobs"].take();
    rig.cloud.forget_calls().await;
    let done = rig.deployer("plan dev --server-check").ok().await;
    assert!(done.stderr.contains("2 accepted, 0 refused"), "{done}");
    let sent = rig.cloud.writes().await;
    let methods: BTreeSet<_> = sent.iter().filter_map(|call| call.method.as_deref()).collect();
    let both = ["run.projects.locations.jobs.create", "run.projects.locations.jobs.patch"];
    assert_eq!((sent.len(), methods), (2, BTreeSet::from(both)));
    assert!(rig.cloud.state().await["run.jobs"] == before);

    let refusal = json!({"status": 400, "message": "no such thing"});
    rig.cloud.fault(json!({"match": {"method": both[1]}, "do": refusal})).await;
    let done = rig.deployer("plan dev --server-check --output json").fails(1).await;
    let refusals = done.json()["error"]["refusals"].take();
    assert_eq!((&refusals[0]["address"], refusals.as_array().unwrap().len()), (&json!("run_job/schema"), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_a_collector_that_starts_after_the_service() {
    let rig = applied().await;
    let containers = rig.cloud.read(&service_path("front")).await["template"]["containers"].take();
    let collector = &containers[1];
    assert_eq!((&collector["name"], &collector["dependsOn"]), (&json!("collector"), &json!(["main"])));
    assert!(collector["image"].as_str().unwrap().contains("/cloud-run-gmp-sidecar:"), "{collector}");
    let writer = format!("roles/monitoring.metricWriter {}", account("front-runner"));
    assert_eq!(rig.cloud.grants(&project_path()).await, [writer]);
    rig.edit("    metrics: {}\n", "");
    let revoked = format!("revoke project_grant/{PROJECT}:monitoring.metricWriter:front-runner");
    assert_eq!(planned(&rig, "").await, ["update run_service/front", &revoked]);
    rig.apply().ok().await;
    let containers = rig.cloud.read(&service_path("front")).await["template"]["containers"].take();
    assert_eq!(containers.as_array().unwrap().len(), 1, "{containers}");
    rig.settled("the collector is gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_elsewhere_are_refused_before_anything_is_written() {
    let rig = rig().await;
    rig.edit("metrics: {}", "metrics: {port: 9090}");
    let done = rig.apply().fails(1).await;
    assert!(done.stderr.contains("`port` is 9090"), "{done}");
    assert_eq!(rig.cloud.writes().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_cannot_take_the_collectors_name() {
    let rig = rig().await;
    let sidecar = "    sidecars: {collector: {image: x/y:z}}\n";
    rig.edit("    metrics: {}\n", &format!("    metrics: {{}}\n{sidecar}"));
    let done = rig.apply().fails(1).await;
    assert!(done.stderr.contains("`collector` is the container that collects `metrics`"), "{done}");
}
