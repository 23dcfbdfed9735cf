//! Faults on demand and the control endpoint.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{SECRETS, options, sandbox};

#[tokio::test]
async fn a_fault_before_the_effect_leaves_nothing_and_one_after_it_does() {
    let client = sandbox(options()).await;
    let writes = json!({"writes": true});
    client.fault(json!({"match": writes, "nth": 1, "do": {"status": 503, "retryAfter": 2}})).await;
    client
        .fault(json!({"match": writes, "nth": 2, "when": "after", "do": {"status": 503, "html": true}}))
        .await;
    let (status, body) = client.make_secret("one").await;
    assert_eq!((status, &body["error"]["status"]), (503, &json!("UNAVAILABLE")));
    let path = format!("{SECRETS}?secretId=two");
    let request = client.request(Method::POST, &path).json(&json!({"replication": {"automatic": {}}}));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.text().await.unwrap().contains("<html>"));
    assert_eq!(client.get(&format!("{SECRETS}/one")).await.0, 404);
    assert_eq!(client.get(&format!("{SECRETS}/two")).await.0, 200);
}

#[tokio::test]
async fn a_dropped_connection_gives_no_answer() {
    let client = sandbox(options()).await;
    client
        .fault(json!({"match": {"method": "*.create"}, "nth": 1, "when": "after", "do": {"drop": true}}))
        .await;
    let request = client
        .request(Method::POST, &format!("{SECRETS}?secretId=db"))
        .json(&json!({"replication": {"automatic": {}}}));
    assert!(request.send().await.is_err());
    assert_eq!(client.get(&format!("{SECRETS}/db")).await.0, 200);
}

#[tokio::test]
async fn a_stale_etag_makes_the_write_fail_as_somebody_elses_would() {
    let client = sandbox(options()).await;
    let (_, secret) = client.make_secret("db").await;
    client.fault(json!({"match": {"method": "*.patch"}, "nth": 1, "do": {"stale_etag": true}})).await;
    let patch = format!("{SECRETS}/db?updateMask=labels");
    let body = json!({"labels": {"a": "b"}, "etag": secret["etag"]});
    let (status, answer) = client.send(Method::PATCH, &patch, Some(body)).await;
    assert_eq!((status, &answer["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
    let policy = format!("{SECRETS}/db:setIamPolicy");
    client.fault(json!({"match": {"method": "*.setIamPolicy"}, "nth": 1, "do": {"staleEtag": true}})).await;
    let (status, answer) = client.post(&policy, json!({"policy": {"etag": "ACAB"}})).await;
    assert_eq!((status, &answer["error"]["status"]), (409, &json!("ABORTED")));
}

#[tokio::test]
async fn a_stale_etag_reaches_cloud_run_too() {
    let client = sandbox(options()).await;
    let services = "/v2/projects/agent-army-dev/locations/us-central1/services";
    let mut service =
        json!({"template": {"containers": [{"image": "us-docker.pkg.dev/cloudrun/container/hello"}]}});
    client.post(&format!("{services}?serviceId=api"), service.clone()).await;
    let (status, live) = client.get(&format!("{services}/api")).await;
    assert_eq!(status, 200, "{live}");
    service["etag"] = live["etag"].clone();
    client.fault(json!({"match": {"method": "run.*.patch"}, "nth": 1, "do": {"stale_etag": true}})).await;
    let (status, answer) = client.send(Method::PATCH, &format!("{services}/api"), Some(service)).await;
    assert_eq!((status, &answer["error"]["status"]), (409, &json!("ABORTED")));
}

#[tokio::test]
async fn a_hanging_call_goes_on_when_its_fault_is_deleted() {
    let client = sandbox(options()).await;
    let id = client.fault(json!({"match": {"path": "/secrets"}, "nth": 1, "do": {"hang": true}})).await;
    let fault = format!("/__sandbox/faults/{id}");
    let freed = async {
        let (_, reached) = client.get(&format!("{fault}/reached")).await;
        assert_eq!(reached["hits"], 1);
        client.send(Method::DELETE, &fault, None).await
    };
    let (hanging, _) = tokio::join!(client.get(SECRETS), freed);
    assert_eq!(hanging.0, 200);
}

#[tokio::test]
async fn an_operation_can_be_made_slow_or_fail() {
    let client = sandbox(gcp_sandbox::Options { apis: gcp_sandbox::Apis::Default, ..options() }).await;
    let enable = "/v1/projects/agent-army-dev/services/run.googleapis.com:enable";
    let failure = json!({"operation_fails": {"code": 13, "message": "no luck"}});
    client.fault(json!({"match": {"method": "*.enable"}, "nth": 1, "do": failure})).await;
    let (_, operation) = client.post(enable, json!({})).await;
    let poll = format!("/v1/{}", operation["name"].as_str().unwrap());
    let mut done = client.get(&poll).await.1;
    for _ in 0..3 {
        done = client.get(&poll).await.1;
    }
    assert_eq!(done["error"]["code"], 13);
    client.fault(json!({"match": {"method": "*.enable"}, "nth": 1, "do": {"slow_operation": 6}})).await;
    let (_, operation) = client.post(enable, json!({})).await;
    let poll = format!("/v1/{}", operation["name"].as_str().unwrap());
    for _ in 0..5 {
        assert_ne!(client.get(&poll).await.1["done"], true);
    }
    assert_eq!(client.get(&poll).await.1["done"], true);
}

#[tokio::test]
async fn calls_are_listed_without_their_query() {
    let client = sandbox(options()).await;
    client.make_secret("db").await;
    let (_, calls) = client.get("/__sandbox/calls").await;
    let call = &calls["calls"][0];
    assert_eq!(call["method"], "secretmanager.projects.secrets.create");
    assert_eq!(call["path"], SECRETS);
    assert_eq!((call["status"].as_u64(), call["write"].as_bool()), (Some(200), Some(true)));
    client.send(Method::DELETE, "/__sandbox/calls", None).await;
    assert_eq!(client.get("/__sandbox/calls").await.1["calls"], json!([]));
}

#[tokio::test]
async fn the_state_shows_no_payload_and_reset_empties_it() {
    let client = sandbox(options()).await;
    client.make_secret("db").await;
    client.post(&format!("{SECRETS}/db:addVersion"), json!({"payload": {"data": "aHVzaC1odXNo"}})).await;
    let (_, state) = client.get("/__sandbox/state").await;
    assert!(state["secretmanager.versions"].is_object());
    assert!(!state.to_string().contains("aHVzaC1odXNo"));
    client.post("/__sandbox/reset", Value::Null).await;
    assert_eq!(client.get(&format!("{SECRETS}/db")).await.0, 404);
}

#[tokio::test]
async fn the_control_endpoint_is_for_loopback_names_only() {
    let client = sandbox(options()).await;
    let request = client.request(Method::GET, "/__sandbox/calls").header("host", "run.googleapis.com");
    assert_eq!(request.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_fault_that_cannot_be_read_is_refused() {
    let client = sandbox(options()).await;
    assert_eq!(client.post("/__sandbox/faults", json!({"do": {"explode": true}})).await.0, 400);
}
