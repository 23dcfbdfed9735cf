//! Tokens that the sandbox issued, over HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{SECRETS, TestClient, options, sandbox};

const ACCOUNTS: &str = "/v1/projects/agent-army-dev/serviceAccounts";
const PLAN: &str = "ci-plan@agent-army-dev.iam.gserviceaccount.com";

/// A token of a new account that is a viewer of the project.
async fn token_of_a_viewer(client: &TestClient) -> String {
    client.post(ACCOUNTS, json!({"accountId": "ci-plan"})).await;
    let grant = json!({"policy": {"bindings": [
        {"role": "roles/viewer", "members": [format!("serviceAccount:{PLAN}")]}]}});
    let policy = "/cloudresourcemanager.googleapis.com/v1/projects/agent-army-dev:setIamPolicy";
    // The account becomes known, and the grant comes into force, after a few requests.
    let mut asked = 0;
    while client.post(policy, grant.clone()).await.0 != 200 {
        asked += 1;
        assert!(asked < 10);
    }
    for _ in 0..5 {
        client.get(ACCOUNTS).await;
    }
    let path = format!("/v1/projects/-/serviceAccounts/{PLAN}:generateAccessToken");
    let scope = json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"]});
    let (status, answer) = client.post(&path, scope).await;
    assert_eq!(status, 200, "{answer}");
    answer["accessToken"].as_str().unwrap().to_owned()
}

async fn send(client: &TestClient, method: Method, path: &str, bearer: &str) -> (u16, Value) {
    let answer = client.request(method, path).bearer_auth(bearer).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_bearer_of_the_sandbox_may_do_what_its_account_may() {
    let client = sandbox(options()).await;
    client.make_secret("db").await;
    let token = token_of_a_viewer(&client).await;
    let secret = format!("{SECRETS}/db");
    assert_eq!(send(&client, Method::GET, &secret, &token).await.0, 200);
    let (status, body) = send(&client, Method::DELETE, &secret, &token).await;
    assert_eq!(status, 403);
    assert_eq!(body["error"]["status"], "PERMISSION_DENIED");
    assert_eq!(body["error"]["details"][0]["metadata"]["permission"], "secretmanager.secrets.delete");
    let in_query = client.send(Method::DELETE, &format!("{secret}?access_token={token}"), None).await;
    assert_eq!(in_query.0, 403);
    // Anybody else is owner.
    assert_eq!(send(&client, Method::DELETE, &secret, "some-other-token").await.0, 200);
}

#[tokio::test]
async fn a_token_of_a_deleted_account_answers_401_and_is_shown_nowhere() {
    let client = sandbox(options()).await;
    let token = token_of_a_viewer(&client).await;
    for control in ["/__sandbox/state", "/__sandbox/calls"] {
        let shown = client.get(control).await.1.to_string();
        assert!(!shown.contains(&token), "{control}");
    }
    assert_eq!(client.send(Method::DELETE, &format!("{ACCOUNTS}/{PLAN}"), None).await.0, 200);
    let (status, body) = send(&client, Method::GET, SECRETS, &token).await;
    assert_eq!((status, &body["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
}
