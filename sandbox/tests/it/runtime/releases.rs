//! What becomes of a revision whose process starts, and of one whose process does not.

use serde_json::{Value, json};

use super::stage::{InPlaceOf as _, app, stage, var, with};

/// The condition that a bad revision leaves, and what its operation says.
async fn failure_of(service: Value) -> (Value, String) {
    let stage = stage().await;
    let operation = stage.create("api", service).await;
    assert_eq!(operation["error"]["code"], 9, "{operation}");
    let revision = stage.latest("api").await;
    let path = format!("/v2/{}/services/api/revisions/{revision}", super::stage::PARENT);
    let (_, doc) = stage.client.get(&path).await;
    let ready =
        doc["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready").unwrap().clone();
    assert_eq!(ready["state"], "CONDITION_FAILED");
    assert_eq!(ready["revisionReason"], "HEALTH_CHECK_CONTAINER_ERROR");
    let said = operation["error"]["message"].as_str().unwrap().to_owned();
    assert!(said.contains(&revision), "{said}");
    (ready, said)
}

fn quick_tcp() -> Value {
    json!({"tcpSocket": {"port": 8080}, "timeoutSeconds": 20, "periodSeconds": 20, "failureThreshold": 1})
}

#[tokio::test]
async fn a_revision_whose_process_listens_is_ready_and_answers() {
    let stage = stage().await;
    stage.serve("api", var(app("serve"), "OVERRIDDEN", "by the container")).await;
    let revision = stage.latest("api").await;
    assert_eq!(stage.text("api", "/").await, revision);
    assert_eq!(stage.text("api", "/env/K_SERVICE").await, "api");
    assert_eq!(stage.text("api", "/env/K_CONFIGURATION").await, "api");
    assert_eq!(stage.text("api", "/env/FROM_IMAGE").await, "yes");
    assert_eq!(stage.text("api", "/env/OVERRIDDEN").await, "by the container");
    let listening = stage
        .until_logged(&format!("resource.labels.revision_name=\"{revision}\" textPayload=\"listening\""))
        .await;
    assert_eq!(listening["resource"]["type"], "cloud_run_revision");
}

#[tokio::test]
async fn a_crash_fails_the_revision_with_the_end_of_its_log() {
    let (ready, said) = failure_of(app("crash")).await;
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains("exited with status 3 before it listened"), "{message}");
    assert!(message.contains("DATABASE_URL is not set"), "{message}");
    assert!(said.contains("DATABASE_URL is not set"), "{said}");
}

#[tokio::test]
async fn standard_output_and_standard_error_are_logs_of_their_own() {
    let stage = stage().await;
    stage.create("api", app("crash")).await;
    for (log, text) in [("stdout", "reading the settings"), ("stderr", "DATABASE_URL is not set")] {
        let entry = stage.until_logged(&format!("textPayload=\"{text}\"")).await;
        assert_eq!(entry["logName"], format!("projects/agent-army-dev/logs/run.googleapis.com%2F{log}"));
    }
}

#[tokio::test]
async fn a_process_that_listens_elsewhere_fails_the_revision() {
    let (ready, _) = failure_of(with(app("wrong-port"), "startupProbe", quick_tcp())).await;
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains("did not listen on the port") && message.contains("listening"), "{message}");
    assert!(message.contains("It listens on port ") && message.contains(" instead."), "{message}");
}

#[tokio::test]
async fn a_process_that_hangs_fails_the_revision() {
    let (ready, _) = failure_of(with(app("hang"), "startupProbe", quick_tcp())).await;
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains("waiting for a lock"), "{message}");
    assert!(message.contains("It listens on no port."), "{message}");
}

#[tokio::test]
async fn a_health_check_that_answers_500_fails_the_revision() {
    let probe = json!({"httpGet": {"path": "/health"}, "timeoutSeconds": 100, "periodSeconds": 100, "failureThreshold": 1});
    let (ready, _) = failure_of(with(var(app("serve"), "HEALTH", "bad"), "startupProbe", probe)).await;
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains("HTTP startup probe failed 1 times: GET /health answered 500"), "{message}");
}

#[tokio::test]
async fn a_slow_start_within_the_probes_time_is_no_failure() {
    let stage = stage().await;
    let operation = stage.create("api", var(app("serve"), "SLOW_MS", "300")).await;
    assert_eq!(operation.get("error"), None, "{operation}");
}

#[tokio::test]
async fn a_program_that_the_image_does_not_have_fails_the_revision() {
    let (ready, _) = failure_of(with(app("serve"), "command", json!(["/bin/nothing"]))).await;
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains("could not") && message.contains("nothing"), "{message}");
}

#[tokio::test]
async fn a_failed_revision_leaves_the_traffic_where_it_was() {
    let stage = stage().await;
    stage.serve("api", app("serve")).await;
    let good = stage.latest("api").await;
    let operation = stage.update("api", app("crash")).await;
    assert_eq!(operation["error"]["code"], 9, "{operation}");
    assert_eq!(stage.text("api", "/").await, good);
}

#[tokio::test]
async fn an_image_without_content_has_a_stand_in_that_says_so() {
    let stage = stage().await;
    stage
        .serve(
            "hello",
            json!({"template": {"containers": [{"image": "us-docker.pkg.dev/cloudrun/container/hello"}]}}),
        )
        .await;
    let response = stage.ask("hello", "/").await;
    assert_eq!(
        (response.status().as_u16(), response.headers()["x-sandbox-stand-in"].to_str().unwrap()),
        (200, "true")
    );
    let (_, runs) = stage.client.get("/__sandbox/runtime").await;
    assert_eq!((runs["standIns"].as_array().unwrap().len(), &runs["revisions"]), (1, &json!({})));
}

#[tokio::test]
async fn a_command_of_the_machine_runs_in_place_of_an_image() {
    let mut options = super::stage::options();
    let command =
        gcp_sandbox::runtime::Command { command: vec![super::stage::FIXTURE.into()], folder: "/".into() };
    options.runtime.commands.insert("web".into(), command);
    let stage = super::stage::staged(options).await;
    stage.serve("web", json!({"template": {"containers": [{"image": "nginx"}]}})).await;
    assert_eq!(stage.text("web", "/").await, stage.latest("web").await);
}

/// The fixture with the newest value of the secret `db` as a variable and as a file.
fn with_secret() -> Value {
    let mut service = with(app("serve"), "volumeMounts", json!([{"name": "keys", "mountPath": "/run/keys"}]));
    service["template"]["volumes"] = json!([{"name": "keys", "secret": {"secret": "db",
        "items": [{"version": "latest", "path": "db.txt", "mode": 0o400}]}}]);
    let env = service["template"]["containers"][0]["env"].as_array_mut().unwrap();
    env.push(json!({"name": "DB", "valueSource": {"secretKeyRef": {"secret": "db", "version": "latest"}}}));
    service
}

#[tokio::test]
async fn secrets_are_resolved_when_an_instance_starts() {
    let stage = stage().await;
    stage.secret("db", "sesame").await;
    stage.serve("api", with_secret()).await;
    let isolated = stage.is_isolated().await;
    for value in ["sesame", "mellon"] {
        stage.add_version("db", value).await;
        stage.ask("api", "/exit/0").await;
        assert_eq!(stage.text("api", "/env/DB").await, value, "of the instance that comes next");
        if isolated {
            assert_eq!(stage.text("api", "/file/run/keys/db.txt").await, value);
        }
    }
}

#[tokio::test]
async fn without_a_namespace_of_mounts_secret_files_are_in_the_instances_folder_and_it_says_so() {
    let mut options = super::stage::options();
    options.runtime.isolate = false;
    let stage = super::stage::staged(options).await;
    stage.secret("db", "sesame").await;
    stage.serve("api", with_secret()).await;
    let said = stage.until_logged("textPayload:\"no namespace of mounts\"").await;
    let said = said["textPayload"].as_str().unwrap();
    let (file, root) = said.split_once("is in the instance's folder: ").unwrap();
    assert!(file.contains("'/run/keys/db.txt'"), "{said}");
    assert_eq!(stage.text("api", &format!("/file{root}/run/keys/db.txt")).await, "sesame");
}

#[tokio::test]
async fn an_image_that_was_pushed_is_unpacked_and_run() {
    let stage = stage().await;
    let image = stage.push("images", "api", &["1"]).await;
    stage.serve("api", app("serve").in_place_of(&image)).await;
    assert_eq!(stage.text("api", "/").await, stage.latest("api").await);
}

#[tokio::test]
async fn a_revision_keeps_the_image_that_its_tag_meant() {
    let stage = stage().await;
    let image = stage.push("images", "api", &["1"]).await;
    stage.serve("api", app("serve").in_place_of(&image)).await;
    let revision = stage.latest("api").await;
    stage.push_for("images", "api", "linux", json!({})).await;
    assert_eq!(stage.ask("api", "/exit/0").await.status(), 503);
    assert_eq!(stage.text("api", "/").await, revision);
    let operation = stage.update("api", app("crash").in_place_of(&image)).await;
    assert!(operation["error"]["message"].as_str().unwrap().contains("could not execute"), "{operation}");
}

#[tokio::test]
async fn an_image_for_another_system_has_a_stand_in() {
    let stage = stage().await;
    let image = stage.push_for("images", "api", "plan9", json!({})).await;
    stage.serve("api", app("crash").in_place_of(&image)).await;
    assert_eq!(stage.ask("api", "/").await.headers()["x-sandbox-stand-in"], "true");
}

#[tokio::test]
async fn an_image_that_was_built_for_another_system_has_none() {
    let stage = stage().await;
    let labels = json!({"dev.deployer.source-digest": "sha256:1"});
    let image = stage.push_for("images", "api", "plan9", labels).await;
    let operation = stage.create("api", app("crash").in_place_of(&image)).await;
    let said = operation["error"]["message"].as_str().unwrap();
    assert!(said.contains("was built for plan9") && said.contains("`local.run`"), "{said}");
}
