//! Finding the API, reading requests, and the shape of answers.

use gcp_sandbox::{Options, StartError, start};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{SECRETS, options, sandbox};

#[tokio::test]
async fn the_api_is_found_by_prefix_host_and_path() {
    let client = sandbox(options()).await;
    let prefixed = format!("/secretmanager.googleapis.com{SECRETS}");
    assert_eq!(client.get(&prefixed).await.0, 200);
    assert_eq!(client.get(SECRETS).await.0, 200);
    let with_host = client.request(Method::GET, SECRETS).header("host", "secretmanager.googleapis.com");
    assert_eq!(with_host.send().await.unwrap().status(), 200);
    let wrong_host = client.request(Method::GET, SECRETS).header("host", "run.googleapis.com");
    assert_eq!(wrong_host.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn it_can_be_the_proxy_of_a_plain_http_client() {
    let client = sandbox(options()).await;
    let mut stream = TcpStream::connect(client.sandbox.addr()).await.unwrap();
    let request = format!(
        "GET http://secretmanager.googleapis.com{SECRETS} HTTP/1.1\r\nHost: secretmanager.googleapis.com\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("application/json; charset=UTF-8"), "{answer}");
}

#[tokio::test]
async fn a_documented_method_that_is_not_built_answers_501_with_its_name() {
    let client = sandbox(options()).await;
    let (status, body) =
        client.get("/run.googleapis.com/v2/projects/agent-army-dev/locations/us-central1/workerPools").await;
    assert_eq!(status, 501);
    assert_eq!(body["error"]["status"], "UNIMPLEMENTED");
    assert!(body["error"]["message"].as_str().unwrap().contains("run.projects.locations.workerPools.list"));
}

#[tokio::test]
async fn an_unknown_path_answers_404() {
    let client = sandbox(options()).await;
    assert_eq!(client.get("/v1/nothing").await.0, 404);
}

#[tokio::test]
async fn an_unknown_field_and_bad_json_answer_400() {
    let client = sandbox(options()).await;
    let (status, body) = client.post(&format!("{SECRETS}?secretId=a"), json!({"replicaton": {}})).await;
    assert_eq!(status, 400);
    assert_eq!(
        body["error"]["message"],
        "Invalid JSON payload received. Unknown name \"replicaton\" at 'secret': Cannot find field."
    );
    let broken =
        client.request(Method::POST, &format!("{SECRETS}?secretId=a")).body("{\"a\":").send().await.unwrap();
    assert_eq!(broken.status(), 400);
}

#[tokio::test]
async fn unknown_query_parameters_are_refused_and_standard_ones_are_not() {
    let client = sandbox(options()).await;
    let standard =
        format!("{SECRETS}?%24alt=json%3Benum-encoding%3Dint&prettyPrint=false&page_size=5&pageToken=");
    assert_eq!(client.get(&standard).await.0, 200);
    assert_eq!(client.get(&format!("{SECRETS}?pagesize=5")).await.0, 400);
}

#[tokio::test]
async fn a_body_over_the_limit_answers_413() {
    let client = sandbox(options()).await;
    let body = vec![b' '; 10 * 1024 * 1024 + 1];
    let response = client.request(Method::POST, SECRETS).body(body).send().await;
    // The server may also close before all of the body was sent.
    assert!(response.is_err() || response.is_ok_and(|response| response.status() == 413));
}

#[tokio::test]
async fn an_api_that_is_not_enabled_is_refused_until_it_is_and_a_little_longer() {
    let client = sandbox(Options { seed: 3, ..Options::default() }).await;
    let (status, body) = client.get(SECRETS).await;
    assert_eq!(status, 403);
    assert_eq!(body["error"]["details"][0]["reason"], "SERVICE_DISABLED");
    assert_eq!(body["error"]["details"][0]["metadata"]["service"], "secretmanager.googleapis.com");
    let enable = "/v1/projects/agent-army-dev/services/secretmanager.googleapis.com:enable";
    let (_, operation) = client.post(enable, json!({})).await;
    let name = operation["name"].as_str().unwrap();
    let mut polls = 0;
    while client.get(&format!("/v1/{name}")).await.1["done"] != true {
        polls += 1;
        assert!(polls < 5);
    }
    let mut refused = 0;
    while client.get(SECRETS).await.0 == 403 {
        refused += 1;
        assert!(refused <= 4);
    }
    assert!(refused >= 1);
}

#[tokio::test]
async fn projects_are_reachable_by_number_in_every_api() {
    let client = sandbox(options()).await;
    client.make_secret("db").await;
    let (_, project) = client.get("/v1/projects/agent-army-dev").await;
    let number = project["projectNumber"].as_str().unwrap();
    assert_eq!(client.get(&format!("/v1/projects/{number}/secrets/db")).await.0, 200);
    assert_eq!(client.get(&format!("/v1/projects/{number}/serviceAccounts")).await.0, 200);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let client = sandbox(options()).await;
    let port = client.sandbox.addr().port();
    let error = start(Options { port, ..options() }).await.unwrap_err();
    assert!(matches!(error, StartError::PortInUse { port: found } if found == port));
    assert!(error.to_string().contains("--port"));
}

#[tokio::test]
async fn quotas_answer_429_with_when_to_retry() {
    let client = sandbox(Options { quotas: true, ..options() }).await;
    for _ in 0..600 {
        assert_eq!(client.get(SECRETS).await.0, 200);
    }
    let (status, body) = client.get(SECRETS).await;
    assert_eq!(status, 429);
    assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
    assert!(body["error"]["details"][0]["retryDelay"].is_string());
}
