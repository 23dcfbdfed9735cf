//! A sandbox with a client.

use std::time::Duration;

use gcp_sandbox::{Apis, Options, Sandbox, start};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

pub(crate) const SECRETS: &str = "/v1/projects/agent-army-dev/secrets";

pub(crate) fn options() -> Options {
    Options { apis: Apis::All, seed: 1, ..Options::default() }
}

pub(crate) struct TestClient {
    pub(crate) sandbox: Sandbox,
    pub(crate) http: Client,
}

/// What comes comes much sooner. A test that waits for what never comes is to fail.
pub(crate) const EVENTUALLY: Duration = Duration::from_mins(2);

/// Looks again and again until there is something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENTUALLY, looking).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

pub(crate) async fn sandbox(options: Options) -> TestClient {
    let http = Client::builder().timeout(EVENTUALLY).build().unwrap();
    TestClient { sandbox: start(options).await.unwrap(), http }
}

impl TestClient {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.sandbox.url()))
    }

    /// Sends and returns status and JSON.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Makes the secret `id` with automatic replication.
    pub(crate) async fn make_secret(&self, id: &str) -> (u16, Value) {
        self.post(&format!("{SECRETS}?secretId={id}"), json!({"replication": {"automatic": {}}})).await
    }

    /// Adds a fault and returns its id.
    pub(crate) async fn fault(&self, spec: Value) -> String {
        let (status, answer) = self.post("/__sandbox/faults", spec).await;
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }
}
