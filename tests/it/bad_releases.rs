//! Releases of a service that is bad in some way: each ends on the revision that served before, with the reason.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::blows::{Blow, Scene};
use crate::rig::{Rig, deployed_with};
use crate::support::{
    Cloud, Done, PROJECT, PROJECT_NUMBER, REGION, Workplace, repository, secret_path, shop,
};

const BASE: &str = shop!(
    r"secrets: {key: {generate: hex32}}
services:
  api:
    name: api-${env}
    image: us-docker.pkg.dev/cloudrun/container/hello
    access: no_iam_check
    health: /health
    startup_probe: {tcp: true, period_seconds: 1, failure_threshold: 3}
    liveness_probe: {path: /health, period_seconds: 240}
    env: {MODE: good, HEALTH: good, VERSION: one, UPSTREAM: nowhere}
rollout: {health: {attempts: 2, successes: 1}}
smoke:
  version: {get: /version, json: {version: one}}
"
);

/// The fixture, compiled once.
pub fn fixture() -> &'static PathBuf {
    static FIXTURE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, program) = FIXTURE.get_or_init(|| {
        let folder = tempfile::TempDir::with_prefix("deployer-fixture-").unwrap();
        let program = folder.path().join("service");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let source = repository().join("tests/fixture/service.rs");
        let mut compile = std::process::Command::new(rustc);
        let status = compile.args(["--edition", "2024", "-o"]).arg(&program).arg(source).status().unwrap();
        assert!(status.success());
        (folder, program)
    });
    program
}

/// A sandbox in which the fixture runs in the place of the images of the service and its migration; its seconds are short.
fn options() -> gcp_sandbox::Options {
    let command = fixture().to_str().unwrap();
    let names = ["api-dev", "migrate-shared-dev"];
    let mut options = Cloud::running(&names, &[command], &std::env::temp_dir());
    options.runtime.second = Duration::from_millis(100);
    options
}

/// The service has not been released yet.
async fn rig() -> Rig {
    Rig::of(place(), Cloud::start(options()).await)
}

fn place() -> Workplace {
    Workplace::with(&[
        ("environments/base.yaml", BASE),
        ("environments/dev.yaml", "deployer: v1\nenvironment: dev\ntarget: sandbox\n"),
    ])
}

/// The service serves version one.
async fn served() -> Rig {
    let rig = rig().await;
    rig.apply().ok().await;
    rig
}

/// What callers of the service get, or the status that they get instead.
async fn answer(rig: &Rig) -> Result<Value, u16> {
    let url = format!("{}/api-dev-{PROJECT_NUMBER}.{REGION}.run.app/version", rig.cloud.url());
    let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
    match answer.status().as_u16() {
        200 => Ok(answer.json().await.unwrap()),
        status => Err(status),
    }
}

fn records(service: &Value) -> Vec<Value> {
    serde_json::from_str(service["annotations"]["deployer/releases"].as_str().unwrap()).unwrap()
}

/// The revisions that get traffic.
fn serving(service: &Value) -> Vec<&str> {
    let statuses = service["trafficStatuses"].as_array().unwrap().iter();
    statuses
        .filter(|s| s["percent"].as_u64().unwrap_or(0) > 0)
        .map(|s| s["revision"].as_str().unwrap())
        .collect()
}

/// Releases what the edit makes of the service, which is bad: everything is as before, and the report says why.
async fn ends_on_the_stable_revision(edit: (&str, &str), says: &[&str]) -> (Rig, Done) {
    let rig = served().await;
    let before = rig.cloud.service("api-dev").await;
    let stable = serving(&before)[0].to_owned();
    rig.edit(edit.0, edit.1);
    let done = rig.apply().fails(3).await;
    for text in says
        .iter()
        .copied()
        .chain(["rolled back: run_service/api-dev", &format!("{stable} serves as before")])
    {
        let flat = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(text), "{text:?} is not in\n{done}");
    }
    let after = rig.cloud.service("api-dev").await;
    assert_eq!(serving(&after), [stable.as_str()], "{done}");
    let answered = answer(&rig).await.unwrap();
    assert_eq!(
        (&answered["version"], answered["revision"].as_str()),
        (&Value::from("one"), Some(stable.as_str()))
    );
    let records = records(&after);
    assert_eq!(
        (&records[0]["outcome"], &records[1]["outcome"]),
        (&Value::from("failed"), &Value::from("serving"))
    );
    let plan = rig.deployer("plan dev --detailed-exitcode").fails(2).await;
    assert!(plan.stdout.contains("the last release failed"), "{plan}");
    (rig, done)
}

/// What was bad is mended in the YAML, and released.
async fn is_mended(rig: &Rig, edit: (&str, &str)) {
    rig.edit(edit.1, edit.0);
    rig.apply().ok().await;
    rig.settled("mended").await;
    assert_eq!(answer(rig).await.unwrap()["version"], "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_release_gets_the_traffic_and_is_recorded() {
    let rig = served().await;
    rig.settled("the first release").await;
    rig.edit("VERSION: one", "VERSION: two");
    rig.edit("version: one}}", "version: two}}");
    let plan = rig.deployer("plan dev").ok().await;
    let asked =
        "release: run_service/api-dev: rollout.health /health (1 good answer), smoke.version, then traffic";
    assert!(plan.stdout.contains(asked), "{plan}");
    rig.apply().ok().await;
    rig.settled("the second release").await;
    assert_eq!(answer(&rig).await.unwrap()["version"], "two");
    let service = rig.cloud.service("api-dev").await;
    let records = records(&service);
    assert_eq!(serving(&service), [records[0]["revision"].as_str().unwrap()]);
    assert!(records.iter().all(|record| record["outcome"] == "serving"), "{records:?}");
    assert!(service["traffic"].as_array().unwrap().iter().all(|target| target.get("tag").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_start_leaves_what_served() {
    let edit = ("MODE: good", "MODE: crash");
    let (rig, _) =
        ends_on_the_stable_revision(edit, &["HEALTH_CHECK_CONTAINER_ERROR", "DATABASE_URL is not set"]).await;
    is_mended(&rig, edit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_port_leaves_what_served() {
    let edit = ("MODE: good", "MODE: wrong-port");
    let says = ["HEALTH_CHECK_CONTAINER_ERROR", "listen on the port in PORT", "listening"];
    let (rig, _) = ends_on_the_stable_revision(edit, &says).await;
    is_mended(&rig, edit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_hangs_leaves_what_served() {
    let says = ["HEALTH_CHECK_CONTAINER_ERROR", "waiting for a lock that nobody frees"];
    ends_on_the_stable_revision(("MODE: good", "MODE: hang"), &says).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_health_leaves_what_served_and_the_candidate_to_be_looked_at() {
    let says = [
        "health: GET /health answered 500: no connection to the database",
        "it can be looked at without traffic: http://127.0.0.1:",
    ];
    let (rig, _) = ends_on_the_stable_revision(("HEALTH: good", "HEALTH: bad"), &says).await;
    let service = rig.cloud.service("api-dev").await;
    let tagged =
        service["trafficStatuses"].as_array().unwrap().iter().find(|status| status["tag"] == "candidate");
    assert_eq!(tagged.unwrap()["revision"], records(&service)[0]["revision"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_revision_that_somebody_sent_the_traffic_to_gives_it_back() {
    let (rig, _) = ends_on_the_stable_revision(("HEALTH: good", "HEALTH: bad"), &[]).await;
    let service = rig.cloud.service("api-dev").await;
    let (stable, bad) = (serving(&service)[0].to_owned(), &records(&service)[0]["revision"]);
    let kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";
    let traffic = serde_json::json!([{"type": kind, "revision": bad, "percent": 100}]);
    let body = serde_json::json!({"traffic": traffic, "template": service["template"]});
    let path = format!("{}?updateMask=traffic", crate::support::service_path("api-dev"));
    let (status, sent) = rig.cloud.console("PATCH", &path, Some(&body)).await;
    assert_eq!(status, 200, "{sent}");
    let done = rig.apply().fails(3).await;
    let flat = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(&format!("{stable} serves again")), "{done}");
    assert_eq!(serving(&rig.cloud.service("api-dev").await), [stable.as_str()], "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smoke_check_that_fails_leaves_what_served() {
    let says = ["smoke.version: GET /version: `version` of the answer is \"two\" instead of \"one\""];
    ends_on_the_stable_revision(("VERSION: one", "VERSION: two"), &says).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_tells_another_version_than_its_own_leaves_what_served() {
    let rig = rig().await;
    rig.edit("container/hello", "container/hello:one");
    rig.edit("json: {version: one}}", "version: version}");
    rig.apply().ok().await;
    rig.edit("hello:one", "hello:two");
    let done = rig.apply().fails(3).await;
    let flat = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let why = "smoke.version: GET /version: `version` tells the version `one`, and two is released";
    assert!(flat.contains(why), "{done}");
    assert_eq!(answer(&rig).await.unwrap()["version"], "one");
    rig.edit("VERSION: one", "VERSION: two");
    rig.apply().ok().await;
    assert_eq!(answer(&rig).await.unwrap()["version"], "two");
    // The revision's own name will do, and an image without a tag has nothing else to compare.
    rig.edit("version: version}", "version: revision}");
    rig.edit("hello:two", "hello");
    let done = rig.apply().ok().await;
    let flat = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("the version that smoke.version asks for was not compared"), "{done}");
    rig.settled("versions").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_reach_elsewhere_takes_the_traffic_back() {
    let rig = served().await;
    let stable = serving(&rig.cloud.service("api-dev").await)[0].to_owned();
    let upstream = rig.place.path("upstream");
    rig.edit("UPSTREAM: nowhere", &format!("UPSTREAM: {}", upstream.display()));
    let host = format!("https://api-dev-{PROJECT_NUMBER}.{REGION}.run.app");
    let site = format!("json: {{version: one}}}}\n  site: {{url: \"{host}\", get: /upstream, text: here}}");
    rig.edit("json: {version: one}}", &site);
    let plan = rig.deployer("plan dev").ok().await;
    assert!(plan.stdout.contains("smoke.version, then traffic, then smoke.site"), "{plan}");
    let done = rig.apply().fails(3).await;
    let flat = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains(&format!("smoke.site: GET {host}/upstream: the answer has no `here` in it: away")),
        "{done}"
    );
    let service = rig.cloud.service("api-dev").await;
    assert_eq!(serving(&service), [stable.as_str()], "{done}");
    assert_eq!(records(&service)[0]["outcome"], "failed");
    rig.place.write("upstream", "here");
    rig.apply().ok().await;
    assert_ne!(serving(&rig.cloud.service("api-dev").await), [stable.as_str()]);
    rig.settled("reached elsewhere").await;
    // The sandbox has no domains.
    rig.edit(&host, "https://shop.example.com");
    rig.edit("VERSION: one", "VERSION: \"1\"");
    rig.edit("json: {version: one}}", "json: {version: \"1\"}}");
    let done = rig.apply().ok().await;
    let flat = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("smoke.site was not judged: the sandbox does not know https://shop.example.com"),
        "{done}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_leaves_what_served() {
    let missing = "us-central1-docker.pkg.dev/agent-army-example/gone/api:v1";
    let edit = ("us-docker.pkg.dev/cloudrun/container/hello", missing);
    ends_on_the_stable_revision(edit, &["CONTAINER_MISSING", "push the image, or name one that is there"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_a_secret_that_is_missing_leaves_what_served() {
    let edit = ("    health: /health\n", "    health: /health\n    secrets: {KEY: \"key:7\"}\n");
    ends_on_the_stable_revision(edit, &["SECRETS_ACCESS_CHECK_FAILED"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_leaves_what_served() {
    let rig = rig().await;
    rig.edit("    health: /health\n", "    health: /health\n    secrets: {KEY: key}\n");
    rig.apply().ok().await;
    let before = rig.cloud.service("api-dev").await;
    let stable = serving(&before)[0].to_owned();
    let member = format!("serviceAccount:api-dev@{PROJECT}.iam.gserviceaccount.com");
    rig.cloud.revoke(&secret_path("key"), "roles/secretmanager.secretAccessor", &member).await;
    rig.edit("HEALTH: good", "HEALTH: fine");
    // The layer that CI applies mends no grants.
    let done = rig.deployer("apply dev --auto-approve --layer release").fails(3).await;
    let flat = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("SECRETS_ACCESS_CHECK_FAILED"), "{done}");
    assert!(flat.contains(&format!("{stable} serves as before")), "{done}");
    assert_eq!(serving(&rig.cloud.service("api-dev").await), [stable.as_str()]);
    rig.apply().ok().await;
    assert_ne!(serving(&rig.cloud.service("api-dev").await), [stable.as_str()]);
    rig.settled("granted and released again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_for_no_fault_of_the_yaml_is_released_by_the_next_apply() {
    let rig = served().await;
    let upstream = rig.place.path("upstream");
    rig.edit("UPSTREAM: nowhere", &format!("UPSTREAM: {}", upstream.display()));
    rig.edit("json: {version: one}}", "json: {version: one}}\n  upstream: {get: /upstream, text: here}");
    let done = rig.apply().fails(3).await;
    assert!(done.stdout.contains("smoke.upstream"), "{done}");
    let candidate = records(&rig.cloud.service("api-dev").await)[0]["revision"].clone();
    rig.place.write("upstream", "here");
    rig.apply().ok().await;
    let service = rig.cloud.service("api-dev").await;
    // The same revision: it was ready, and is asked again.
    assert_eq!(serving(&service), [candidate.as_str().unwrap()]);
    assert_eq!(records(&service)[0]["outcome"], "serving");
    rig.settled("released again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_release_has_nothing_to_go_back_to() {
    let rig = rig().await;
    rig.edit("HEALTH: good", "HEALTH: bad");
    let done = rig.apply().fails(1).await;
    let flat = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("there is nothing to go back to"), "{done}");
    assert!(flat.contains("failed: run_service/api-dev"), "{done}");
    rig.deployer("plan dev --detailed-exitcode").fails(2).await;
    rig.edit("HEALTH: bad", "HEALTH: good");
    rig.apply().ok().await;
    rig.settled("mended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_is_let_in_only_after_the_first_release_passed() {
    let rig = rig().await;
    rig.edit("access: no_iam_check", "access: public");
    rig.edit("MODE: good", "MODE: crash");
    rig.apply().fails(1).await;
    assert_eq!(rig.cloud.grants(&crate::support::service_path("api-dev")).await, Vec::<String>::new());
    rig.edit("MODE: crash", "MODE: good");
    let done = rig.apply().ok().await;
    assert!(!done.stdout.contains("not judged"), "{done}");
    // A grant takes some requests to be known.
    let mut answered = answer(&rig).await;
    for _ in 0..20 {
        if answered.is_ok() {
            break;
        }
        answered = answer(&rig).await;
    }
    assert_eq!(answered.unwrap()["version"], "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_release_that_nobody_may_call_is_asked_once_everybody_may() {
    let rig = rig().await;
    rig.edit("access: no_iam_check", "access: public");
    rig.edit("HEALTH: good", "HEALTH: bad");
    let plan = rig.deployer("plan dev").ok().await;
    let asked = "release: run_service/api-dev: traffic; once everybody may call it: rollout.health /health (1 good \
                 answer), smoke.version";
    assert!(plan.stdout.contains(asked), "{plan}");
    let done = rig.apply().fails(1).await;
    let flat = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [
        "everybody may call api-dev, and api-dev-",
        "is not well: health: GET /health answered 500: no connection to the database",
        "there is nothing to go back to",
        "that revision is asked before it gets traffic",
    ] {
        assert!(flat.contains(text), "{text:?} is not in\n{done}");
    }
    assert_eq!(records(&rig.cloud.service("api-dev").await)[0]["outcome"], "failed");
    let plan = rig.deployer("plan dev --detailed-exitcode").fails(2).await;
    assert!(plan.stdout.contains("the last release failed"), "{plan}");
    assert!(plan.stdout.contains("smoke.version, then traffic\n"), "{plan}");
    rig.edit("HEALTH: bad", "HEALTH: good");
    let done = rig.apply().ok().await;
    assert!(!done.stdout.contains("not judged"), "{done}");
    rig.settled("mended").await;
    assert_eq!(answer(&rig).await.unwrap()["version"], "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_releases_come_and_fail() {
    let rig = served().await;
    let url = format!("{}/api-dev-{PROJECT_NUMBER}.{REGION}.run.app/version", rig.cloud.url());
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (url, over, sent) = (url.clone(), Arc::clone(&over), Arc::clone(&sent));
            tokio::spawn(async move {
                let client = reqwest::Client::builder().no_proxy().build().unwrap();
                let mut failed = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    match client.get(&url).send().await {
                        Ok(answer) if answer.status() == 200 => {}
                        Ok(answer) => failed.push(answer.status().to_string()),
                        Err(error) => failed.push(error.to_string()),
                    }
                    sent.fetch_add(1, Ordering::SeqCst);
                }
                failed
            })
        })
        .collect();
    rig.edit("VERSION: one", "VERSION: two");
    rig.edit("version: one}}", "version: two}}");
    rig.apply().ok().await;
    rig.edit("HEALTH: good", "HEALTH: bad");
    rig.apply().fails(3).await;
    rig.edit("HEALTH: bad", "HEALTH: good");
    rig.edit("MODE: good", "MODE: crash");
    rig.apply().fails(3).await;
    over.store(true, Ordering::SeqCst);
    for client in clients {
        assert_eq!(client.await.unwrap(), Vec::<String>::new());
    }
    assert!(sent.load(Ordering::SeqCst) > 100);
    assert_eq!(answer(&rig).await.unwrap()["version"], "two");
}

const MIGRATION: &str =
    "migrations:\n  shared: {service: api, command: [migrate], env: {MODE: migrate}}\nrollout:";

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_stops_before_anything_of_the_service_changes() {
    let rig = served().await;
    let before = rig.cloud.service("api-dev").await;
    let upstream = rig.place.path("upstream");
    rig.edit("UPSTREAM: nowhere", &format!("UPSTREAM: {}", upstream.display()));
    rig.edit("rollout:", MIGRATION);
    let done = rig.apply().fails(1).await;
    assert!(done.stdout.contains("migrate-shared-dev"), "{done}");
    assert!(done.stdout.contains("looking for the upstream"), "{done}");
    let after = rig.cloud.service("api-dev").await;
    assert_eq!((&after["template"], &after["traffic"]), (&before["template"], &before["traffic"]));
    let plan = rig.deployer("plan dev --detailed-exitcode").fails(2).await;
    assert!(plan.stdout.contains("migrations.shared, rollout.health /health"), "{plan}");
    let flat = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let failed = "migrations.shared failed for this release, and apply does not run it again by itself";
    assert!(flat.contains(failed) && flat.contains("deployer migrate dev"), "{plan}");
    // It is not run again by itself, since nobody knows how far it came.
    let again = rig.apply().fails(1).await;
    assert!(again.stdout.contains("deployer migrate dev"), "{again}");
    rig.place.write("upstream", "here");
    rig.deployer("migrate dev --auto-approve").ok().await;
    let plan = rig.deployer("plan dev").ok().await;
    assert!(!plan.stdout.contains("failed for this release"), "{plan}");
    rig.apply().ok().await;
    let service = rig.cloud.service("api-dev").await;
    assert_eq!(records(&service)[0]["migrations"][0], "migrate-shared-dev");
    rig.settled("migrated").await;
}

const IDENTITY: &str = "github:
  repository: octo-org/shop
  repository_id: 900000001
  owner_id: 900000002
  identity: {pool: github, provider: actions, plan: ci-plan, deploy: ci-deploy}
rollout:";

#[tokio::test(flavor = "multi_thread")]
async fn a_private_service_is_asked_as_the_account_that_deploys() {
    let rig = rig().await;
    rig.edit("    access: no_iam_check\n", "");
    rig.edit("rollout:", IDENTITY);
    rig.edit("HEALTH: good", "HEALTH: bad");
    let done = rig.apply().fails(1).await;
    let flat = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("GET /health answered 500: no connection to the database"), "{done}");
    rig.edit("HEALTH: bad", "HEALTH: good");
    let done = rig.apply().ok().await;
    assert!(!done.stdout.contains("not judged"), "{done}");
    rig.settled("a private service").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_reached_from_inside_alone_is_not_judged() {
    let rig = served().await;
    rig.edit("    access: no_iam_check\n", "    access: no_iam_check\n    ingress: internal\n");
    rig.edit("HEALTH: good", "HEALTH: bad");
    let done = rig.apply().ok().await;
    let flat = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("were not judged: its ingress is `internal`"), "{done}");
}

/// Another version, which passes.
const RELEASE: [(&str, &str); 2] = [("VERSION: one", "VERSION: two"), ("version: one}}", "version: two}}")];

#[tokio::test(flavor = "multi_thread")]
async fn a_release_survives_a_blow_at_every_write() {
    let scene = Scene {
        state: deployed_with(options(), place, &["dev"]).await,
        place,
        options,
        command: "apply dev --auto-approve".to_owned(),
        settled: vec!["dev"],
        edits: &RELEASE,
        blows: &[Blow::Fails, Blow::Breaks, Blow::Kills],
    };
    let blows = scene
        .survives_every_blow(async |rig, context| {
            assert_eq!(answer(rig).await.unwrap()["version"], "two", "{context}");
            let service = rig.cloud.service("api-dev").await;
            assert_eq!(records(&service)[0]["outcome"], "serving", "{context}");
            assert_eq!(serving(&service), [records(&service)[0]["revision"].as_str().unwrap()], "{context}");
        })
        .await;
    assert!(blows.ways >= 12 && blows.sure > 0, "only {blows:?}");
}

/// A first release of the place is killed at each of its writes, of which there are so many, and goes on.
async fn first_release_survives(place: fn() -> Workplace, ways: usize) {
    let scene = Scene {
        state: tempfile::TempDir::new().unwrap(),
        place,
        options,
        command: "apply dev --auto-approve".to_owned(),
        settled: vec!["dev"],
        edits: &[],
        blows: &[Blow::Kills],
    };
    let blows = scene
        .survives_every_blow(async |rig, context| {
            let service = rig.cloud.service("api-dev").await;
            assert_eq!(records(&service)[0]["outcome"], "serving", "{context}");
        })
        .await;
    assert!(blows.ways >= ways && blows.sure > 0, "only {blows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_release_survives_a_blow_at_every_write() {
    first_release_survives(place, 12).await;
}

/// Everybody may call the service, and nobody before everybody may.
fn public_place() -> Workplace {
    let place = place();
    place.edit("environments/base.yaml", "access: no_iam_check", "access: public");
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_release_that_is_asked_late_survives_a_blow_at_every_write() {
    first_release_survives(public_place, 13).await;
}
