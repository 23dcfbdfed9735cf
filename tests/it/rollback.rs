//! `rollback` and `status`: back to what served, in few round trips, on record, and never to what cannot serve.

use serde_json::{Value, json};

use crate::rig::Rig;
use crate::support::{Cloud, PROJECT_NUMBER, REGION, Workplace, service_path, shop};

const BASE: &str = shop!(
    r"services:
  api:
    name: api-${env}
    image: us-docker.pkg.dev/cloudrun/container/hello
    access: no_iam_check
    env: {MODE: good, HEALTH: good, VERSION: one, UPSTREAM: nowhere}
"
);

const MIGRATION: &str = "migrations:\n  shared: {service: api, name: shared, command: [migrate]}\n";

async fn rig_with(more: &str) -> Rig {
    let base = format!("{BASE}{more}");
    let place = Workplace::with(&[
        ("environments/base.yaml", &base),
        ("environments/dev.yaml", "deployer: v1\nenvironment: dev\ntarget: sandbox\n"),
    ]);
    let command = crate::bad_releases::fixture().to_str().unwrap();
    let options = Cloud::running(&["api-dev"], &[command], &std::env::temp_dir());
    Rig::of(place, Cloud::start(options).await)
}

/// Versions one and two were released, and two serves.
async fn released(more: &str) -> Rig {
    let rig = rig_with(more).await;
    rig.apply().ok().await;
    rig.edit("VERSION: one", "VERSION: two");
    rig.apply().ok().await;
    rig
}

/// What callers get.
async fn version(rig: &Rig) -> Value {
    let url = format!("{}/api-dev-{PROJECT_NUMBER}.{REGION}.run.app/version", rig.cloud.url());
    let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["version"].take()
}

async fn serving(rig: &Rig) -> Vec<String> {
    let service = rig.cloud.service("api-dev").await;
    let targets = service["trafficStatuses"].as_array().unwrap().clone();
    let serving = targets.iter().filter(|target| target["percent"].as_u64().unwrap_or(0) > 0);
    serving
        .map(|target| target["revision"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_leads_to_what_served_before_and_the_next_plan_says_so() {
    let rig = rig_with("").await;
    rig.apply().ok().await;
    let first = serving(&rig).await;
    rig.edit("VERSION: one", "VERSION: two");
    rig.apply().ok().await;
    let second = serving(&rig).await;
    assert_eq!(version(&rig).await, "two");
    let done = rig.deployer("rollback dev api").env("USER", "ada").ok().await;
    assert!(done.stdout.contains(&format!("api: {} serves instead of {}", first[0], second[0])), "{done}");
    assert_eq!((serving(&rig).await, version(&rig).await), (first.clone(), json!("one")));

    let plan = rig.deployer("plan dev --detailed-exitcode").fails(2).await;
    let flat = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(&format!("{} was rolled back: by ada at ", second[0])), "{plan}");
    let status = rig.deployer("status dev --check").fails(2).await;
    assert!(status.stdout.contains("rolled back by ada at "), "{status}");
    rig.apply().ok().await;
    assert_eq!(version(&rig).await, "two", "apply releases it again");
    rig.settled("released again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_traffic_is_shifted_at_most_three_round_trips_after_the_start() {
    let rig = released("").await;
    rig.cloud.forget_calls().await;
    rig.deployer("rollback dev").ok().await;
    let calls = rig.cloud.calls().await;
    let short =
        |id: &Option<String>| id.as_ref().map(|id| id.rsplit("locations.").next().unwrap().to_owned());
    let methods: Vec<_> = calls.iter().filter_map(|call| short(&call.method)).collect();
    let shift = methods.iter().position(|method| method == "services.patch").unwrap();
    let mut before = methods[..shift].to_vec();
    before.sort_unstable();
    // The two reads go together. An image of the project's own registry would be looked for between them and the write.
    assert_eq!(before, ["services.get", "services.revisions.list"], "{methods:?}");
    assert_eq!(rig.cloud.writes().await.len(), 1, "{methods:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_trouble_of_a_rollback_is_waited_out() {
    let rig = released("").await;
    let mut faults = Vec::new();
    for method in ["services.get", "services.revisions.list"] {
        faults.push(rig.cloud.down_once(&format!("run.projects.locations.{method}")).await);
    }
    rig.deployer("rollback dev").ok().await;
    assert_eq!(version(&rig).await, "one");
    for fault in &faults {
        assert!(rig.cloud.hits(fault).await > 0, "it did not strike");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_cannot_be_changes_nothing_and_lists_what_could() {
    let rig = released("").await;
    let before = serving(&rig).await;
    let missing = rig.deployer("rollback dev api --to api-dev-nothing").fails(1).await;
    assert!(
        missing.stderr.contains("there is no revision api-dev-nothing: nothing was changed"),
        "{missing}"
    );
    assert!(missing.stderr.contains("these could serve: api-dev-"), "{missing}");
    let serves = rig.deployer(&format!("rollback dev api --to {}", before[0])).fails(1).await;
    assert!(serves.stderr.contains("serves already"), "{serves}");

    // A release that never became ready.
    rig.edit("MODE: good", "MODE: crash");
    rig.apply().fails(3).await;
    let newest = rig.cloud.service("api-dev").await["latestCreatedRevision"].as_str().unwrap().to_owned();
    let newest = newest.rsplit('/').next().unwrap();
    let unhealthy = rig.deployer(&format!("rollback dev api --to {newest}")).fails(1).await;
    assert!(unhealthy.stderr.contains(&format!("{newest} cannot serve: ")), "{unhealthy}");
    let again = rig.deployer("rollback dev api").fails(1).await;
    assert!(again.stderr.contains(&format!("{newest} was taken back already")), "{again}");
    assert_eq!(serving(&rig).await, before);

    let list = rig.deployer("rollback dev api --list --output json").ok().await.json();
    let healthy: Vec<_> = list["candidates"].as_array().unwrap().iter().map(|c| &c["healthy"]).collect();
    assert_eq!(healthy, [&json!(false), &json!(true), &json!(true)], "{list}");
    assert_eq!(list.get("rolled_back"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_was_deleted_is_refused() {
    let rig = released("").await;
    let list = rig.deployer("rollback dev api --list --output json").ok().await.json();
    let first = list["candidates"][1]["revision"].as_str().unwrap().to_owned();
    let path = format!("{}/revisions/{first}", service_path("api-dev"));
    assert_eq!(rig.cloud.console("DELETE", &path, None).await.0, 200);
    let gone = rig.deployer(&format!("rollback dev api --to {first}")).fails(1).await;
    assert!(gone.stderr.contains(&format!("there is no revision {first}")), "{gone}");
    let none = rig.deployer("rollback dev api").fails(1).await;
    assert!(none.stderr.contains("no revision served before that could serve again"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_in_between_is_asked_about_and_one_that_is_not_compatible_refuses() {
    let rig = released(MIGRATION).await;
    let before = serving(&rig).await;
    let asked = rig.deployer("rollback dev api").fails(1).await;
    assert!(asked.stderr.contains("warning: shared ran since"), "{asked}");
    assert!(asked.stderr.contains("nobody can be asked here"), "{asked}");
    rig.edit("command: [migrate]", "command: [migrate], backward_compatible: false");
    let refused = rig.deployer("rollback dev api --auto-approve").fails(1).await;
    assert!(refused.stderr.contains("the migration `shared` ran since"), "{refused}");
    assert_eq!(serving(&rig).await, before);
    rig.edit(", backward_compatible: false", "");
    let done = rig.deployer("rollback dev api --auto-approve --output json").ok().await.json();
    assert_eq!(done["rolled_back"]["migrations"], json!(["shared"]));
    assert_ne!(serving(&rig).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_migration_broke_when_it_ran_stays_broken_whatever_the_yaml_says_now() {
    let rig =
        rig_with(&MIGRATION.replace("command: [migrate]", "command: [migrate], backward_compatible: false"))
            .await;
    rig.apply().ok().await;
    rig.edit("VERSION: one", "VERSION: two");
    rig.apply().ok().await;
    let before = serving(&rig).await;
    rig.edit(", backward_compatible: false", "");
    let refused = rig.deployer("rollback dev api --auto-approve").fails(1).await;
    assert!(refused.stderr.contains("the migration `shared` ran since"), "{refused}");
    assert!(refused.stderr.contains("backward_compatible: false, when it ran"), "{refused}");
    // Nor when it is gone from the YAML.
    rig.edit("migrations:\n  shared: {service: api, name: shared, command: [migrate]}\n", "");
    rig.deployer("rollback dev api --auto-approve").fails(1).await;
    assert_eq!(serving(&rig).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_who_serves_and_checks_what_is_off() {
    let rig = released("").await;
    let well = rig.deployer("status dev --check --output json").ok().await.json();
    assert_eq!((&well["ok"], &well["drift"]["changes"]), (&json!(true), &json!(0)));
    let api = &well["services"][0];
    assert_eq!(api["url"], format!("https://api-dev-{PROJECT_NUMBER}.{REGION}.run.app"));
    let shares: Vec<_> = api["serving"].as_array().unwrap().iter().map(|s| &s["percent"]).collect();
    assert!(shares.contains(&&json!(100)), "{well}");
    assert_eq!(api["released"]["outcome"], "serving");

    rig.edit("VERSION: two", "VERSION: three");
    let off = rig.deployer("status dev --check").fails(2).await;
    assert!(off.stdout.contains("Drift: 1 change;"), "{off}");
    rig.deployer("status dev").ok().await;

    rig.edit("  api:\n", "  web: {image: us-docker.pkg.dev/cloudrun/container/hello}\n  api:\n");
    let missing = rig.deployer("status dev").ok().await;
    assert!(missing.stdout.contains("does not exist"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_nobody_keeps_running_is_told_so() {
    let place = Workplace::with(&[
        ("environments/base.yaml", &format!("{BASE}jobs:\n  tidy: {{service: api, command: [tidy]}}\n")),
        ("environments/dev.yaml", "deployer: v1\nenvironment: dev\ntarget: sandbox\n"),
    ]);
    place.deployer("apply dev").ok().await;
    let status = place.deployer("status dev --check").fails(2).await;
    assert!(status.stdout.starts_with("not running: deployer up dev\n"), "{status}");
    assert!(status.stdout.contains("100%  api-dev-"), "{status}");
    let ran = place.deployer("run dev tidy").ok().await;
    assert!(ran.stderr.contains("stand-in did nothing"), "{ran}");
    let follows = place.deployer("logs dev --follow").fails(1).await;
    assert!(follows.stderr.contains("error: not running: deployer up dev"), "{follows}");
}
