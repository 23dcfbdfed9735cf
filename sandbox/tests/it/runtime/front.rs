//! The front door: who is let in, and where requests go.

use std::sync::Arc;
use std::time::Duration;

use gcp_sandbox::ManualClock;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::stage::{PARENT, Stage, app, options, stage, staged, var};

fn revision(mut service: Value, name: &str) -> Value {
    service["template"]["revision"] = json!(name);
    service
}

fn traffic(mut service: Value, targets: Value) -> Value {
    service["traffic"] = targets;
    service
}

fn to(revision: &str, percent: u32) -> Value {
    json!({"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": revision, "percent": percent})
}

/// `api` with the revisions `api-1` and `api-2`, split as said; `api-2` also behind the tag `next`.
async fn split(one: u32, two: u32) -> Stage {
    let stage = stage().await;
    stage.serve("api", revision(app("serve"), "api-1")).await;
    let mut tagged = to("api-2", two);
    tagged["tag"] = json!("next");
    let service = revision(var(app("serve"), "NEW", "yes"), "api-2");
    let operation = stage.update("api", traffic(service, json!([to("api-1", one), tagged]))).await;
    assert_eq!(operation.get("error"), None, "{operation}");
    stage
}

#[tokio::test]
async fn traffic_is_split_by_percentage_and_tags_reach_their_revision() {
    let stage = split(80, 20).await;
    let mut new = 0;
    for _ in 0..100 {
        new += u32::from(stage.text("api", "/").await == "api-2");
    }
    assert_eq!(new, 20);
    assert_eq!(stage.text("next---api", "/").await, "api-2");
    assert_eq!(stage.ask("other---api", "/").await.status(), 404);
}

#[tokio::test]
async fn a_service_answers_on_loopback_names_and_below_its_host() {
    let stage = split(100, 0).await;
    let address = stage.client.sandbox.addr();
    let local = format!("http://{}.localhost:{}/", stage.host("next---api"), address.port());
    let client = reqwest::Client::builder()
        .resolve(&format!("{}.localhost", stage.host("next---api")), address)
        .build()
        .unwrap();
    assert_eq!(client.get(local).send().await.unwrap().text().await.unwrap(), "api-2");
    let below = format!("{}/{}/env/K_REVISION", stage.client.sandbox.url(), stage.host("api"));
    assert_eq!(stage.client.http.get(below).send().await.unwrap().text().await.unwrap(), "api-1");
    let service = stage.service("api").await;
    let urls: Vec<_> = service["urls"].as_array().unwrap().iter().map(|url| url.as_str().unwrap()).collect();
    assert_eq!(urls.len(), 2);
    for url in urls {
        let host = url.strip_prefix("https://").unwrap();
        let answer = stage.client.request(Method::GET, "/").header("host", host).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "api-1", "{url}");
    }
    assert_eq!(stage.ask("nobody", "/").await.status(), 404);
}

#[tokio::test]
async fn a_request_in_flight_survives_a_shift() {
    let stage = Arc::new(split(100, 0).await);
    let (held, other) = (Arc::clone(&stage), Arc::clone(&stage));
    let flight = tokio::spawn(async move { held.text("api", "/hold").await });
    stage.until("api", "api-1", |pool| pool["instances"][0]["requests"] == 1).await;
    let service = revision(var(app("serve"), "NEW", "yes"), "api-2");
    other.update("api", traffic(service, json!([to("api-2", 100)]))).await;
    assert_eq!(stage.text("api", "/").await, "api-2");
    let instance = stage.instances("api", "api-1").await.remove(0);
    stage.ask_instance(&instance, "/release").await;
    assert_eq!(flight.await.unwrap(), "api-1");
}

#[tokio::test]
async fn the_container_learns_who_asked() {
    let stage = split(100, 0).await;
    let head = stage.text("api", "/head").await.to_lowercase();
    for line in [
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: https\r\n",
        "traceparent: 00-",
        "x-cloud-trace-context: ",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert!(head.contains(&format!("host: {}\r\n", stage.host("api"))));
    let logged = stage.until_logged("httpRequest.requestUrl:\"/head\"").await;
    assert_eq!(
        (&logged["httpRequest"]["status"], &logged["resource"]["labels"]["revision_name"]),
        (&json!(200), &json!("api-1"))
    );
}

#[tokio::test]
async fn json_lines_are_log_entries_with_their_severity() {
    let stage = split(100, 0).await;
    let line = json!({"severity": "ERROR", "message": "broken", "tenant": "acme"}).to_string();
    stage.request(Method::POST, "api", "/log").body(line).send().await.unwrap();
    let entry = stage.until_logged("severity>=ERROR jsonPayload.tenant=\"acme\"").await;
    assert_eq!(entry["jsonPayload"]["message"], "broken");
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let stage = split(100, 0).await;
    let mut wire = tokio::net::TcpStream::connect(stage.client.sandbox.addr()).await.unwrap();
    let head =
        format!("POST /stream HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n", stage.host("api"));
    wire.write_all(head.as_bytes()).await.unwrap();
    let mut got = String::new();
    for word in ["first", "second"] {
        // The second chunk is sent only after the first one has come back.
        wire.write_all(format!("{:x}\r\n{word}\r\n", word.len()).as_bytes()).await.unwrap();
        while !got.contains(word) {
            let mut bytes = [0; 1024];
            let read = wire.read(&mut bytes).await.unwrap();
            assert!(read > 0, "{got}");
            got.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }
}

#[tokio::test]
async fn a_connection_can_change_its_protocol() {
    let stage = split(100, 0).await;
    let mut wire = tokio::net::TcpStream::connect(stage.client.sandbox.addr()).await.unwrap();
    let head = format!(
        "GET /upgrade HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n",
        stage.host("api")
    );
    wire.write_all(head.as_bytes()).await.unwrap();
    let mut got = String::new();
    while !got.ends_with("\r\n\r\n") {
        got.push(char::from(wire.read_u8().await.unwrap()));
    }
    assert!(got.starts_with("HTTP/1.1 101"), "{got}");
    wire.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    wire.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"hello");
}

#[tokio::test]
async fn a_request_that_takes_too_long_gets_504() {
    let stage = stage().await;
    let mut service = app("serve");
    service["template"]["timeout"] = json!("2s");
    stage.serve("api", service).await;
    assert_eq!(stage.ask("api", "/hold").await.status(), 504);
}

#[tokio::test]
async fn an_answer_that_does_not_end_in_time_is_cut_off() {
    let stage = stage().await;
    let mut service = app("serve");
    service["template"]["timeout"] = json!("2s");
    stage.serve("api", service).await;
    let answer = stage.ask("api", "/stall").await;
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
}

#[tokio::test]
async fn an_instance_takes_as_many_requests_at_once_as_its_concurrency_and_the_next_one_waits() {
    let mut options = options();
    // The one that waits is not to be refused before it is seen.
    options.runtime.second = Duration::from_mins(1);
    let stage = Arc::new(staged(options).await);
    let mut service = app("serve");
    service["template"]["scaling"] = json!({"maxInstanceCount": 1});
    service["template"]["maxInstanceRequestConcurrency"] = json!(2);
    stage.serve("api", service).await;
    let revision = stage.latest("api").await;
    let flights: Vec<_> = (0..3)
        .map(|_| {
            let stage = Arc::clone(&stage);
            tokio::spawn(async move { stage.ask("api", "/hold").await.status().as_u16() })
        })
        .collect();
    let pool = stage.until("api", &revision, |pool| pool["waiting"] == 1).await;
    let instances = pool["instances"].as_array().unwrap();
    assert_eq!((instances.len(), &instances[0]["requests"]), (1, &json!(2)));
    stage.ask_instance(&instances[0], "/release").await;
    for flight in flights {
        assert_eq!(flight.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn more_requests_than_instances_take_wait_and_are_refused() {
    let stage = Arc::new(stage().await);
    let mut service = app("serve");
    service["template"]["scaling"] = json!({"maxInstanceCount": 2});
    service["template"]["maxInstanceRequestConcurrency"] = json!(1);
    stage.serve("api", service).await;
    let revision = stage.latest("api").await;
    let held: Vec<_> = (0..2)
        .map(|_| {
            let stage = Arc::clone(&stage);
            tokio::spawn(async move { stage.ask("api", "/hold").await.status().as_u16() })
        })
        .collect();
    let busy = |one: &Value| one["requests"] == 1;
    let all_busy = |pool: &Value| {
        pool["instances"].as_array().is_some_and(|all| all.iter().filter(|one| busy(one)).count() == 2)
    };
    stage.until("api", &revision, all_busy).await;
    assert_eq!(stage.ask("api", "/").await.status(), 429);
    for instance in stage.instances("api", &revision).await {
        stage.ask_instance(&instance, "/release").await;
    }
    for request in held {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(stage.instances("api", &revision).await.len(), 2);
}

#[tokio::test]
async fn idle_instances_are_ended_but_for_the_minimum_and_come_back_with_a_request() {
    let clock = ManualClock::new(jiff_now());
    let mut options = options();
    options.clock = Some(Arc::new(clock.clone()));
    let stage = staged(options).await;
    stage.serve("none", app("serve")).await;
    let mut kept = app("serve");
    kept["scaling"] = json!({"minInstanceCount": 1});
    stage.serve("kept", kept).await;
    let (none, kept) = (stage.latest("none").await, stage.latest("kept").await);
    stage.until_instances("none", &none, 1).await;
    clock.advance(Duration::from_mins(16));
    stage.until_instances("none", &none, 0).await;
    assert_eq!(stage.instances("kept", &kept).await.len(), 1);
    assert_eq!(stage.text("none", "/").await, none);
}

fn jiff_now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_790_000_000).unwrap()
}

#[tokio::test]
async fn minimum_instances_run_without_requests_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let kept = || gcp_sandbox::Options { state: Some(dir.path().join("state")), ..options() };
    let stage = staged(kept()).await;
    let mut service = app("serve");
    service["scaling"] = json!({"minInstanceCount": 2});
    stage.serve("api", service).await;
    let revision = stage.latest("api").await;
    stage.until_instances("api", &revision, 2).await;
    stage.client.sandbox.stop().await;
    let stage = staged(kept()).await;
    stage.until_instances("api", &revision, 2).await;
}

#[tokio::test]
async fn a_deleted_service_has_no_instances() {
    let stage = split(50, 50).await;
    stage.until_instances("api", "api-1", 1).await;
    let (_, operation) = stage.client.send(Method::DELETE, &format!("/v2/{PARENT}/services/api"), None).await;
    stage.done(&operation).await;
    stage.until_instances("api", "api-1", 0).await;
    assert_eq!(stage.ask("api", "/").await.status(), 404);
}

#[tokio::test]
async fn an_internal_service_is_not_reached_from_outside() {
    let stage = stage().await;
    let mut service = app("serve");
    service["ingress"] = json!("INGRESS_TRAFFIC_INTERNAL_ONLY");
    stage.serve("api", service).await;
    assert_eq!(stage.ask("api", "/").await.status(), 404);
}

#[tokio::test]
async fn a_private_service_wants_a_token_for_itself_of_somebody_who_may() {
    let (clock, mut options) = (ManualClock::new(jiff_now()), options());
    options.clock = Some(Arc::new(clock.clone()));
    let stage = staged(options).await;
    stage.create("api", app("serve")).await;
    assert_eq!(stage.ask("api", "/").await.status(), 403);
    let accounts = "/v1/projects/agent-army-dev/serviceAccounts";
    for id in ["caller", "stranger"] {
        stage.client.post(accounts, json!({"accountId": id})).await;
    }
    let policy = json!({"policy": {"bindings": [{"role": "roles/run.invoker",
        "members": ["serviceAccount:caller@agent-army-dev.iam.gserviceaccount.com"]}]}});
    stage.client.post(&format!("/v2/{PARENT}/services/api:setIamPolicy"), policy).await;
    for _ in 0..5 {
        stage.service("api").await;
    }
    let own = format!("https://{}", stage.host("api"));
    let mut good = String::new();
    for (who, audience, expected) in [
        ("caller", own.as_str(), 200),
        ("stranger", own.as_str(), 403),
        ("caller", "https://other.example", 401),
    ] {
        let path = format!(
            "/v1/projects/-/serviceAccounts/{who}@agent-army-dev.iam.gserviceaccount.com:generateIdToken"
        );
        let (_, token) = stage.client.post(&path, json!({"audience": audience})).await;
        let token = token["token"].as_str().unwrap();
        if expected == 200 {
            token.clone_into(&mut good);
        }
        let request = stage.request(Method::GET, "api", "/").bearer_auth(token);
        assert_eq!(request.send().await.unwrap().status(), expected, "{who} {audience}");
    }
    // The last one that was let in is not for ever.
    clock.advance(Duration::from_hours(2));
    assert_eq!(stage.request(Method::GET, "api", "/").bearer_auth(good).send().await.unwrap().status(), 401);
    let nonsense = stage.request(Method::GET, "api", "/").bearer_auth("nonsense").send().await.unwrap();
    assert_eq!(nonsense.status(), 401);
}

#[tokio::test]
async fn an_instance_is_told_who_it_is_by_the_metadata_server() {
    let stage = stage().await;
    stage.serve("api", app("serve")).await;
    let host = stage.text("api", "/env/GCE_METADATA_HOST").await;
    let ask = |path: &str| {
        stage
            .client
            .http
            .get(format!("http://{host}/computeMetadata/v1/{path}"))
            .header("metadata-flavor", "Google")
            .send()
    };
    assert_eq!(ask("project/project-id").await.unwrap().text().await.unwrap(), "agent-army-dev");
    let email = ask("instance/service-accounts/default/email").await.unwrap().text().await.unwrap();
    assert_eq!(email, "123456789012-compute@developer.gserviceaccount.com");
}
