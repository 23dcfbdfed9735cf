//! Containers beside the one that gets the requests.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{Stage, app, options, stage, staged, var};

/// A port for a container beside. Each test has its own: all of them share the machine's.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The fixture in a mode, and the fixture beside it, which listens on `port`: the first one is started after it.
fn both(main: &str, port: u16) -> Value {
    let mut service = var(app(main), "BESIDE", &port.to_string());
    let containers = service["template"]["containers"].as_array_mut().unwrap();
    containers[0]["name"] = json!("main");
    containers[0]["ports"] = json!([{"containerPort": 8080}]);
    containers[0]["dependsOn"] = json!(["proxy"]);
    containers.push(json!({"name": "proxy", "image": "app",
        "env": [{"name": "MODE", "value": "beside"}, {"name": "BESIDE", "value": port.to_string()}],
        "startupProbe": {"tcpSocket": {"port": port}, "timeoutSeconds": 100, "periodSeconds": 100, "failureThreshold": 1}}));
    service
}

/// The same with a field of the container beside.
fn beside(mut service: Value, key: &str, value: Value) -> Value {
    service["template"]["containers"][1][key] = value;
    service
}

async fn failure_of(stage: &Stage, service: Value) -> String {
    let operation = stage.create("api", service).await;
    assert_eq!(operation["error"]["code"], 9, "{operation}");
    operation["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn containers_of_an_instance_meet_on_loopback() {
    let stage = stage().await;
    stage.serve("api", both("serve", free_port())).await;
    let revision = stage.latest("api").await;
    assert_eq!(stage.text("api", "/").await, revision);
    assert_eq!(stage.text("api", "/beside/env/K_REVISION").await, revision);
    assert_eq!(stage.text("api", "/beside/env/PORT").await, "", "only the one with the requests has it");
    let said = stage.until_logged("textPayload=\"listening\" labels.container_name=\"proxy\"").await;
    assert_eq!(said["resource"]["labels"]["revision_name"], json!(revision));
}

#[tokio::test]
async fn what_a_container_depends_on_starts_before_it() {
    let stage = stage().await;
    // It looks for the other one once, when it starts; that one takes its time.
    let mut service = both("needs", free_port());
    let env = service["template"]["containers"][1]["env"].as_array_mut().unwrap();
    env.push(json!({"name": "SLOW_MS", "value": "300"}));
    let operation = stage.create("api", service).await;
    assert_eq!(operation.get("error"), None, "{operation}");
}

#[tokio::test]
async fn a_container_beside_that_does_not_start_fails_the_revision() {
    let stage = stage().await;
    let said = failure_of(&stage, beside(both("serve", free_port()), "command", json!(["/bin/none"]))).await;
    assert!(said.contains("The container 'proxy' could not"), "{said}");
    let mut crash = both("serve", free_port());
    crash["template"]["containers"][1]["env"][0]["value"] = json!("crash");
    let operation = stage.update("api", crash).await;
    let said = operation["error"]["message"].as_str().unwrap();
    assert!(said.contains("The container 'proxy' exited with status 3 before it listened on port"), "{said}");
    assert!(said.contains("DATABASE_URL is not set"), "{said}");
}

#[tokio::test]
async fn a_container_that_ends_while_another_one_starts_fails_the_revision() {
    let stage = stage().await;
    let mut service = both("hang", free_port());
    // Without a probe it counts as started at once.
    let containers = service["template"]["containers"].as_array_mut().unwrap();
    containers[1].as_object_mut().unwrap().remove("startupProbe");
    containers[1]["env"][0]["value"] = json!("crash");
    let said = failure_of(&stage, service).await;
    assert!(said.contains("The container 'proxy' exited with status 3."), "{said}");
}

#[tokio::test]
async fn an_instance_ends_with_the_first_of_its_containers() {
    let stage = stage().await;
    stage.serve("api", both("serve", free_port())).await;
    let revision = stage.latest("api").await;
    assert_eq!(stage.ask("api", "/beside/exit/7").await.status(), 503);
    stage.until_logged("textPayload:\"exited with status 7\" labels.container_name=\"proxy\"").await;
    stage.until_instances("api", &revision, 0).await;
    assert_eq!(stage.text("api", "/beside/env/K_REVISION").await, revision, "the next one is whole");
}

#[tokio::test]
async fn each_container_has_its_own_variables_and_secrets() {
    let stage = stage().await;
    stage.secret("db", "sesame").await;
    let mut service = both("serve", free_port());
    let env = service["template"]["containers"][1]["env"].as_array_mut().unwrap();
    env.push(json!({"name": "DB", "valueSource": {"secretKeyRef": {"secret": "db", "version": "latest"}}}));
    stage.serve("api", service).await;
    assert_eq!(stage.text("api", "/beside/env/DB").await, "sesame");
    assert_eq!(stage.ask("api", "/env/DB").await.status(), 404);
}

#[tokio::test]
async fn each_container_has_its_own_memory() {
    let stage = stage().await;
    let limits = json!({"limits": {"memory": "128Mi", "cpu": "500m"}, "cpuIdle": true});
    stage.serve("api", beside(both("serve", free_port()), "resources", limits)).await;
    stage.ask("api", "/beside/eat/300").await;
    let filter = "severity=ERROR textPayload:\"memory limit of 128 MiB\" labels.container_name=\"proxy\"";
    stage.until_logged(filter).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let stage = stage().await;
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let said = failure_of(&stage, both("serve", port)).await;
    assert!(said.contains(&format!("The container 'proxy' cannot have port {port}")), "{said}");
}

#[tokio::test]
async fn the_next_revision_gets_the_port_of_an_idle_one() {
    let stage = stage().await;
    let port = free_port();
    stage.serve("api", both("serve", port)).await;
    let operation = stage.update("api", var(both("serve", port), "NEW", "yes")).await;
    assert_eq!(operation.get("error"), None, "{operation}");
    let revision = stage.latest("api").await;
    assert_eq!(stage.text("api", "/beside/env/K_REVISION").await, revision);
}

#[tokio::test]
async fn there_is_one_instance_at_a_time_because_ports_are_shared() {
    let mut options = options();
    options.runtime.second = Duration::from_mins(1);
    let stage = staged(options).await;
    let mut service = both("serve", free_port());
    service["template"]["maxInstanceRequestConcurrency"] = json!(1);
    stage.serve("api", service).await;
    let revision = stage.latest("api").await;
    let (held, waits) = tokio::join!(stage.ask("api", "/hold"), async {
        stage.until("api", &revision, |pool| pool["instances"][0]["requests"] == 1).await;
        let (answer, ()) = tokio::join!(stage.text("api", "/"), async {
            let pool = stage.until("api", &revision, |pool| pool["waiting"] == 1).await;
            stage.ask_instance(&pool["instances"][0], "/release").await;
        });
        answer
    });
    assert_eq!((held.status().as_u16(), waits), (200, revision));
}

#[tokio::test]
async fn a_container_without_content_is_told_and_counts_as_started() {
    let stage = stage().await;
    let service = beside(both("serve", 9), "image", json!("us-docker.pkg.dev/p/r/collector"));
    stage.serve("api", service).await;
    let entry = stage.until_logged("textPayload:\"is not started\"").await;
    assert!(entry["textPayload"].as_str().unwrap().contains("'proxy'"), "{entry}");
    assert_eq!(stage.text("api", "/").await, stage.latest("api").await);
}

#[tokio::test]
async fn a_liveness_probe_beside_ends_the_instance() {
    let stage = stage().await;
    let port = free_port();
    let probe = json!({"httpGet": {"path": "/health", "port": port}, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2});
    stage.serve("api", beside(both("serve", port), "livenessProbe", probe)).await;
    let revision = stage.latest("api").await;
    stage.text("api", "/beside/sicken").await;
    stage.until_logged("textPayload:\"LIVENESS probe failed\" labels.container_name=\"proxy\"").await;
    stage.until_instances("api", &revision, 0).await;
}
