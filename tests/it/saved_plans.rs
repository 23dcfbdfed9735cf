//! Saved plans: what was shown is what is done, or nothing is; and what only looks writes nothing.

use deployer::plan::file::Saved;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::support::{Cloud, Done, PROJECT, Workplace, service_path};

const API: &str = "agent-army-api-dev";

/// An applied `dev`, a change of its YAML, and the plan for it in `dev.plan`.
async fn with_saved_plan() -> Rig {
    let rig = Rig::fresh().await;
    rig.apply().ok().await;
    rig.edit("memory: 512Mi", "memory: 1Gi");
    rig.deployer("plan dev -o dev.plan").ok().await;
    rig.cloud.forget_calls().await;
    rig
}

/// `apply` of a saved plan is refused with all of `words` in its message, a hint, and without a write.
async fn refused(rig: &Rig, command: &str, words: &[&str]) {
    refusal(rig, rig.deployer(command).fails(1).await, words).await;
}

async fn refusal(rig: &Rig, done: Done, words: &[&str]) {
    for word in words.iter().chain(&["hint:"]) {
        assert!(done.stderr.contains(word), "`{word}` is missing\n{done}");
    }
    assert_eq!(done.stderr.matches("error:").count(), 1, "{done}");
    assert_eq!(rig.cloud.writes().await.len(), 0, "{done}");
}

/// Writes the plan again as it would be if it were another one, with a digest that matches.
fn resave(place: &Workplace, change: impl FnOnce(&mut Saved)) {
    let mut saved = Saved::parse(place.read("dev.plan").as_bytes()).unwrap();
    change(&mut saved);
    place.write("dev.plan", &saved.to_text().unwrap());
}

/// Patches the first container of the live service.
async fn set_memory(rig: &Rig, memory: &str) {
    let mut live = rig.cloud.service(API).await;
    live["template"].as_object_mut().unwrap().remove("revision");
    live["template"]["containers"][0]["resources"]["limits"]["memory"] = json!(memory);
    let path = format!("{}?updateMask=template", service_path(API));
    let (status, answer) = rig.cloud.console("PATCH", &path, Some(&live)).await;
    assert_eq!(status, 200, "{answer}");
}

fn secret(name: &str) -> String {
    format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/{name}")
}

#[tokio::test]
async fn what_was_shown_is_carried_out() {
    let rig = Rig::fresh().await;
    let shown = rig.deployer("plan dev -o dev.plan --output json").ok().await.json();
    assert_eq!(rig.place.deployer("show dev.plan --output json").ok().await.json(), shown);
    let human = rig.deployer("plan dev").ok().await.stdout;
    assert_eq!(rig.place.deployer("show dev.plan").ok().await.stdout, human);
    let report = rig.deployer("apply dev.plan --auto-approve --output json").ok().await.json();
    assert!(report["plan"] == shown, "{}", report["plan"]);
    assert_eq!(report["summary"]["applied"], shown["changes"].as_array().unwrap().len());
    rig.settled("after the saved plan").await;
    // What it was made from is not there any more.
    rig.cloud.forget_calls().await;
    refused(&rig, "apply dev dev.plan --auto-approve", &["has moved", "exists now"]).await;
}

/// All that exists. The answer to a check is an operation too, and nothing else.
async fn objects(rig: &Rig) -> Value {
    let mut state = rig.cloud.state().await;
    state.as_object_mut().unwrap().remove("operations").unwrap();
    state
}

#[tokio::test]
async fn a_change_of_an_environment_that_may_share_something_ends_a_plan() {
    let rig = with_saved_plan().await;
    let staging = rig.place.read("environments/staging.yaml");
    rig.place.write("environments/staging.yaml", &format!("{staging}\nvars: {{unused: x}}\n"));
    refused(&rig, "apply dev.plan --auto-approve", &["the YAML has changed"]).await;
    rig.place.write("environments/staging.yaml", &staging);
    rig.deployer("apply dev.plan --auto-approve").ok().await;
}

#[tokio::test]
async fn an_empty_plan_is_saved_and_does_nothing() {
    let rig = Rig::fresh().await;
    rig.apply().ok().await;
    rig.deployer("plan dev -o dev.plan").ok().await;
    rig.cloud.forget_calls().await;
    let done = rig.deployer("apply dev.plan").ok().await;
    assert!(done.stdout.contains("No changes"), "{done}");
    assert_eq!(rig.cloud.writes().await.len(), 0);
}

#[tokio::test]
async fn any_changed_byte_is_refused() {
    let rig = with_saved_plan().await;
    let file = rig.place.read("dev.plan").into_bytes();
    assert!(Saved::parse(&file).is_ok());
    for position in (0..file.len()).step_by(7) {
        let mut changed = file.clone();
        changed[position] ^= 0x01;
        assert!(Saved::parse(&changed).is_err(), "byte {position}");
        let mut shorter = file.clone();
        shorter.remove(position);
        assert!(Saved::parse(&shorter).is_err(), "without byte {position}");
        let mut longer = file.clone();
        longer.insert(position, b' ');
        assert!(Saved::parse(&longer).is_err(), "a blank before byte {position}");
    }
    let text = rig.place.read("dev.plan");
    rig.place.write("dev.plan", &text.replacen("1Gi", "2Gi", 1));
    refused(&rig, "apply dev.plan --auto-approve", &["does not match its digest", "plan ENV -o"]).await;
    refusal(&rig, rig.place.deployer("show dev.plan").fails(1).await, &["does not match its digest"]).await;
}

#[tokio::test]
async fn what_is_no_saved_plan_is_refused() {
    let rig = Rig::fresh().await;
    rig.cloud.forget_calls().await;
    refused(&rig, "apply no.plan", &["no.plan", "cannot be read"]).await;
    refused(&rig, "apply ./environments", &["cannot be read"]).await;
    refused(&rig, "apply environments/dev.yaml", &["no plan that `deployer plan -o` has written"]).await;
    let shown = rig.place.deployer("show environments/dev.yaml").fails(1).await;
    refusal(&rig, shown, &["no plan that `deployer plan -o` has written"]).await;
}

#[tokio::test]
async fn a_file_without_a_dot_is_found_where_no_environment_has_its_name() {
    let rig = with_saved_plan().await;
    let text = rig.place.read("dev.plan");
    rig.place.write("release", &text);
    // The environment goes first.
    rig.place.write("staging", "no plan");
    let done = rig.deployer("apply staging").fails(1).await;
    assert!(!done.stderr.contains("no plan"), "{done}");
    rig.deployer("apply release --auto-approve").ok().await;
    rig.settled("after the file").await;
}

#[tokio::test]
async fn plans_of_other_versions_ages_and_environments_are_refused() {
    let rig = with_saved_plan().await;
    let original = rig.place.read("dev.plan");
    let apply = "apply dev.plan --auto-approve";

    refused(&rig, "apply staging dev.plan --auto-approve", &["a plan for dev, not for staging"]).await;
    resave(&rig.place, |saved| saved.deployer = "9.9.9".into());
    refused(&rig, apply, &["made by deployer 9.9.9"]).await;
    refusal(&rig, rig.place.deployer("show dev.plan").fails(1).await, &["made by deployer 9.9.9"]).await;

    rig.place.write("dev.plan", &original);
    let ago = |hours: i64| Timestamp::now() - SignedDuration::from_hours(hours);
    resave(&rig.place, |saved| saved.created = ago(25));
    refused(&rig, apply, &["made 25h", "--max-age", "deployer plan dev --endpoint http"]).await;
    resave(&rig.place, |saved| saved.created = ago(2));
    refused(&rig, "apply dev.plan --auto-approve --max-age 90m", &["good for 90m"]).await;
    resave(&rig.place, |saved| saved.created = ago(-1));
    refused(&rig, apply, &["yet to come"]).await;
    // Age is no matter of form.
    resave(&rig.place, |saved| saved.created = ago(24 * 400));
    rig.place.deployer("show dev.plan").ok().await;
    rig.deployer("apply dev.plan --auto-approve --max-age 500d").ok().await;
    rig.settled("after the old plan").await;
}

#[tokio::test]
async fn a_plan_for_other_yaml_is_refused() {
    let rig = with_saved_plan().await;
    let original = rig.place.read("dev.plan");
    let apply = "apply dev.plan --auto-approve";
    let again = "deployer plan dev --endpoint http";
    rig.edit("memory: 1Gi", "memory: 2Gi");
    refused(&rig, apply, &["the YAML has changed", again]).await;
    rig.edit("memory: 2Gi", "memory: 1Gi");

    resave(&rig.place, |saved| saved.planned.plan.place.project = "somebody-elses".into());
    refused(&rig, apply, &["another project", "somebody-elses", "agent-army-example", again]).await;
    rig.place.write("dev.plan", &original);
    resave(&rig.place, |saved| saved.planned.plan.place.ownership.system = "cafe".into());
    refused(&rig, apply, &["another system", "cafe", "agent-army", again]).await;
    rig.place.write("dev.plan", &original);
    resave(&rig.place, |saved| saved.planned.plan.place.ownership.environment = "preview".into());
    refused(&rig, apply, &["preview", "no environment here", "dev, production, staging"]).await;
}

#[tokio::test]
async fn a_plan_for_another_target_is_refused() {
    let rig = with_saved_plan().await;
    let place = &rig.place;
    let plain = |words: &str| place.deployer(words).fails(1);
    let apply = "apply dev.plan --auto-approve";
    refusal(&rig, plain(apply).await, &["which no flag names", "--endpoint http://127.0.0.1"]).await;
    refusal(&rig, plain(&format!("{apply} --sandbox")).await, &["not for sandbox"]).await;
    let elsewhere = format!("{apply} --endpoint http://127.0.0.1:9");
    refusal(&rig, plain(&elsewhere).await, &["not for http://127.0.0.1:9"]).await;
    // A file cannot turn a rehearsal into the real thing either.
    resave(place, |saved| saved.planned.plan.target = "google".into());
    refused(&rig, apply, &["for the target google"]).await;
}

#[tokio::test]
async fn flags_that_shape_a_plan_do_not_go_with_a_saved_one() {
    let rig = with_saved_plan().await;
    let address = format!("run_service/{API}");
    for flags in [
        "--image api=a/b:c".to_owned(),
        format!("--target {address}"),
        format!("--exclude {address}"),
        format!("--adopt {address}"),
        format!("--allow-replace {address}"),
        "--prune".to_owned(),
        "--layer release".to_owned(),
    ] {
        let flag = flags.split(' ').next().unwrap();
        refused(&rig, &format!("apply dev.plan {flags}"), &[flag, "cannot change a plan", "-o"]).await;
    }
    let done = rig.deployer("apply dev --max-age 1h").fails(1).await;
    assert!(done.stderr.contains("about saved plans"), "{done}");
}

#[tokio::test]
async fn what_moved_since_is_named_and_nothing_is_done() {
    let rig = with_saved_plan().await;
    set_memory(&rig, "2Gi").await;
    let marks = json!({"labels": {"managed-by": "deployer", "deployer-system": "agent-army", "deployer-env": "shared"}});
    let path = format!("{}?updateMask=labels", secret("redis-url-dev"));
    rig.cloud.console("PATCH", &path, Some(&marks)).await;
    rig.cloud.console("DELETE", &secret("openai-api-key"), None).await;
    rig.cloud.forget_calls().await;
    let moved = [
        "`run_service/agent-army-api-dev` changed",
        "`secret/openai-api-key` is gone",
        "`secret/redis-url-dev` changed",
        "deployer plan dev --endpoint http",
    ];
    refused(&rig, "apply dev.plan --auto-approve", &moved).await;
}

#[tokio::test]
async fn what_was_missing_and_came_into_being_is_named() {
    let rig = Rig::fresh().await;
    rig.apply().ok().await;
    rig.place.edit("environments/dev.yaml", "services:", "secrets: {late: {}}\nservices:");
    rig.deployer("plan dev -o dev.plan").ok().await;
    let collection = secret("").trim_end_matches('/').to_owned();
    let body = json!({"replication": {"automatic": {}}});
    rig.cloud.console("POST", &format!("{collection}?secretId=late"), Some(&body)).await;
    rig.cloud.forget_calls().await;
    refused(&rig, "apply dev.plan --auto-approve", &["`secret/late` exists now"]).await;
}

#[tokio::test]
async fn what_the_plan_is_not_about_may_move() {
    let rig = Rig::fresh().await;
    rig.apply().ok().await;
    rig.edit("memory: 512Mi", "memory: 1Gi");
    rig.edit("redis-url: {id", "redis-url: {labels: {a: b}, id");
    rig.deployer("plan dev --target secret/redis-url-dev -o dev.plan").ok().await;
    set_memory(&rig, "2Gi").await;
    rig.cloud.grant(&secret("database-url-dev"), "roles/secretmanager.viewer", "user:a@example.com").await;
    let report = rig.deployer("apply dev.plan --auto-approve --output json").ok().await.json();
    assert_eq!(report["outcomes"][0]["address"], "secret/redis-url-dev");
    assert_eq!(report["summary"]["applied"], 1);
}

#[tokio::test]
async fn a_part_is_planned_again_as_that_part() {
    let rig = Rig::fresh().await;
    rig.apply().ok().await;
    rig.edit("memory: 512Mi", "memory: 1Gi");
    rig.deployer("plan dev --layer release -o dev.plan").ok().await;
    set_memory(&rig, "2Gi").await;
    rig.cloud.forget_calls().await;
    let words = ["has moved", "deployer plan dev --layer release --endpoint http"];
    refused(&rig, "apply dev.plan --auto-approve", &words).await;
    rig.deployer("plan dev --layer release -o dev.plan").ok().await;
    rig.deployer("apply dev.plan --auto-approve").ok().await;
    rig.settled("after the part").await;
}

#[tokio::test]
async fn without_the_yaml_a_plan_is_applied_with_a_warning() {
    let rig = with_saved_plan().await;
    let text = rig.place.read("dev.plan");
    let elsewhere = Workplace::with(&[("dev.plan", text.as_str())]);
    let run = elsewhere.deployer("apply dev.plan --auto-approve").args(["--endpoint", &rig.cloud.url()]);
    let done = run.env("GCE_METADATA_HOST", "").ok().await;
    assert!(done.stderr.contains("the YAML is not here"), "{done}");
    rig.settled("after the plan from elsewhere").await;
}

#[tokio::test]
async fn no_payload_is_in_the_file() {
    let rig = with_saved_plan().await;
    let file = rig.place.read("dev.plan");
    let state = rig.cloud.read(secret("").trim_end_matches('/')).await;
    let secrets = state["secrets"].as_array().unwrap();
    assert!(secrets.len() >= 5, "{state}");
    for doc in secrets {
        let name = doc["name"].as_str().unwrap().rsplit('/').next().unwrap();
        let payload = String::from_utf8(rig.cloud.payload(name, "1").await).unwrap();
        assert!(!payload.is_empty() && !file.contains(&payload), "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_for_its_owner_and_nothing_is_left_beside_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let rig = with_saved_plan().await;
    rig.deployer("plan dev -o dev.plan").ok().await;
    let mode = rig.place.path("dev.plan").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let entries = std::fs::read_dir(rig.place.root()).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("tmp")), "{names:?}");
    let done = rig.deployer("plan dev -o no-such-folder/dev.plan").fails(1).await;
    assert!(done.stderr.contains("cannot be saved"), "{done}");
    let yaml = rig.place.read("environments/dev.yaml");
    let done = rig.deployer("plan dev -o environments/dev.yaml").fails(1).await;
    assert!(done.stderr.contains("is no saved plan: it stays"), "{done}");
    assert_eq!(rig.place.read("environments/dev.yaml"), yaml);
}

#[cfg(unix)]
#[tokio::test]
async fn pipes_and_devices_are_refused_before_anything_is_asked() {
    let rig = Rig::fresh().await;
    let made = std::process::Command::new("mkfifo").arg(rig.place.path("pipe")).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("pipe", rig.place.path("link")).unwrap();
    rig.cloud.forget_calls().await;
    for (file, words) in [
        ("pipe", "is there and is no file"),
        ("link", "is there and is no file"),
        ("environments", "is there and is no file"),
        ("/dev/null", "is there and is no file"),
        ("/dev/fd/1", "is there and is no file"),
        ("/dev/stdout", "it takes a file"),
        ("-", "it takes a file"),
        ("no-such-folder/dev.plan", "cannot be saved"),
    ] {
        let done = rig.deployer("plan dev").arg(format!("--out={file}")).fails(1).await;
        assert!(done.stderr.contains(words), "{file}: {done}");
        assert!(done.stdout.is_empty(), "{file}: {done}");
    }
    assert!(rig.cloud.calls().await.is_empty(), "a plan was made for nothing");
    for verb in ["show", "apply"] {
        let done = rig.place.deployer(verb).arg("./pipe").fails(1).await;
        assert!(done.stderr.contains("it is no file"), "{verb}: {done}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn an_empty_file_is_filled_and_a_link_stays_a_link() {
    let rig = Rig::fresh().await;
    rig.place.write("empty.plan", "");
    rig.deployer("plan dev -o empty.plan").ok().await;
    rig.place.deployer("show empty.plan").ok().await;
    std::fs::create_dir(rig.place.path("plans")).unwrap();
    std::os::unix::fs::symlink("plans/real.plan", rig.place.path("link.plan")).unwrap();
    for way in ["a link to nothing", "a link to a plan"] {
        rig.deployer("plan dev -o link.plan").ok().await;
        assert!(std::fs::symlink_metadata(rig.place.path("link.plan")).unwrap().is_symlink(), "{way}");
        rig.place.deployer("show plans/real.plan").ok().await;
    }
}

#[tokio::test]
async fn apply_says_when_its_arguments_are_no_environment_and_no_file() {
    let rig = with_saved_plan().await;
    let done = rig.deployer("apply nosuch").fails(1).await;
    for words in ["no environment `nosuch`", "a saved plan of this name is not here"] {
        assert!(done.stderr.contains(words), "{done}");
    }
    refused(
        &rig,
        "apply dev.plan staging",
        &["the environment comes before the file", "apply staging dev.plan"],
    )
    .await;
}

#[tokio::test]
async fn planning_writes_nothing_and_a_server_check_changes_nothing() {
    let rig = with_saved_plan().await;
    let before = objects(&rig).await;
    for words in ["plan dev", "plan dev -o again.plan", "drift dev"] {
        rig.deployer(words).done().await;
        assert_eq!(rig.cloud.writes().await.len(), 0, "{words}");
    }
    let done = rig.deployer("plan dev --server-check").ok().await;
    assert!(done.stderr.contains("1 accepted, 0 refused"), "{done}");
    let sent = rig.cloud.writes().await;
    let methods: Vec<_> = sent.iter().filter_map(|call| call.method.as_deref()).collect();
    assert_eq!(methods, ["run.projects.locations.services.patch"]);
    assert!(objects(&rig).await == before);
}

#[tokio::test]
async fn a_server_check_names_what_google_refuses() {
    let rig = with_saved_plan().await;
    let before = objects(&rig).await;
    // What the sandbox itself would refuse, the checks of the YAML have refused before.
    let refusal = json!({"status": 400, "message": "memory is out of bounds"});
    rig.cloud
        .fault(json!({"match": {"method": "run.projects.locations.services.patch"}, "do": refusal}))
        .await;
    let done = rig.deployer("plan dev --server-check -o checked.plan --output json").fails(1).await;
    let refusals = done.json()["error"]["refusals"].clone();
    assert_eq!(refusals.as_array().unwrap().len(), 1, "{done}");
    assert_eq!(refusals[0]["address"], format!("run_service/{API}"));
    assert_eq!(refusals[0]["location"], "environments/dev.yaml:7:3");
    assert!(refusals[0]["why"].as_str().unwrap().contains("memory is out of bounds"), "{done}");
    assert!(!rig.place.path("checked.plan").exists(), "a refused plan is not saved");
    assert!(objects(&rig).await == before);
}

#[tokio::test]
async fn a_server_check_leaves_out_what_needs_other_changes_first() {
    let rig = Rig::fresh().await;
    let done = rig.deployer("plan dev --server-check").ok().await;
    assert!(done.stderr.contains("0 accepted, 0 refused"), "{done}");
    assert!(done.stderr.contains(&format!("applied first: run_service/{API}")), "{done}");
    assert_eq!(rig.cloud.writes().await.len(), 0);
}

#[tokio::test]
async fn drift_is_what_differs_from_the_yaml() {
    let rig = Rig::fresh().await;
    rig.apply().ok().await;
    let done = rig.deployer("drift dev").ok().await;
    assert!(done.stdout.contains("No drift"), "{done}");
    assert_eq!(rig.deployer("drift dev --output json").ok().await.json()["drift"], false);
    set_memory(&rig, "2Gi").await;
    rig.cloud.forget_calls().await;
    let done = rig.deployer("drift dev").fails(2).await;
    assert!(done.stdout.contains("drifted") && done.stdout.contains("2Gi"), "{done}");
    let document = rig.deployer("drift dev --output json").fails(2).await.json();
    assert_eq!(document["drift"], true);
    assert_eq!(document["changes"][0]["address"], format!("run_service/{API}"));
    rig.deployer("drift dev --layer foundation").ok().await;
    rig.deployer("drift dev --layer release").fails(2).await;
    assert_eq!(rig.cloud.writes().await.len(), 0);
}

#[tokio::test]
async fn drift_shows_what_apply_would_refuse_or_leave() {
    let own = "registry: {repository: shop}\nservices:\n  web: {name: web-front, startup_probe: /s}\n";
    let head = "deployer: v1\nenvironment: base\nsystem: shop\nregion: us-central1\n\
        project: {id: agent-army-example, number: \"123456789012\"}\n";
    let place = Workplace::with(&[
        ("environments/base.yaml", &format!("{head}{own}secrets: {{old: {{}}}}\n")),
        ("environments/dev.yaml", "deployer: v1\nenvironment: dev\ntarget: sandbox\n"),
    ]);
    let rig = Rig::of(place, Cloud::fresh().await);
    // An apply would want to know which image.
    rig.deployer("plan dev").fails(1).await;
    let done = rig.deployer("drift dev").fails(2).await;
    assert!(done.stdout.contains("missing  run_service/web-front"), "{done}");
    rig.deployer("apply dev --layer foundation --auto-approve").ok().await;
    // An apply would leave it where it is.
    rig.edit("secrets: {old: {}}\n", "");
    let done = rig.deployer("drift dev --layer foundation").fails(2).await;
    assert!(done.stdout.contains("not declared  secret/old"), "{done}");
}

#[tokio::test]
async fn a_released_image_is_no_drift() {
    let rig = Rig::fresh().await;
    let image = "api=us-docker.pkg.dev/cloudrun/container/hello:v2";
    rig.deployer(&format!("plan dev --image {image} -o dev.plan")).ok().await;
    rig.deployer("apply dev.plan --auto-approve").ok().await;
    rig.deployer("drift dev").ok().await;
}
