//! A sandbox inside the test, its control endpoint, and "somebody in the console", who edits behind deployer's back.

use gcp_sandbox::{Options, ProjectSeed, Sandbox};
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PROJECT, PROJECT_NUMBER, REGION};

/// A running sandbox.
#[derive(Debug)]
pub struct Cloud {
    sandbox: Sandbox,
    http: Client,
}

/// One call that the sandbox has answered.
#[derive(Clone, Debug, Deserialize)]
pub struct Recorded {
    pub seq: u64,
    /// The documented id of the method; nothing for a path that no document knows.
    #[serde(default)]
    pub method: Option<String>,
    pub http: String,
    /// Without the query.
    pub path: String,
    /// Nothing while the call, or its lost connection, has no answer.
    #[serde(default)]
    pub status: Option<u16>,
    pub write: bool,
}

impl Cloud {
    /// In memory, a free port, and the project of this repository's environments.
    pub fn options() -> Options {
        let projects = vec![ProjectSeed { id: PROJECT.to_owned(), number: Some(PROJECT_NUMBER) }];
        Options { projects, ..Options::default() }
    }

    pub async fn start(options: Options) -> Self {
        Self { sandbox: gcp_sandbox::start(options).await.unwrap(), http: Client::new() }
    }

    /// An empty project in memory.
    pub async fn fresh() -> Self {
        Self::start(Self::options()).await
    }

    /// `http://127.0.0.1:PORT`, for `--endpoint`.
    pub fn url(&self) -> String {
        self.sandbox.url()
    }

    pub async fn stop(self) {
        self.sandbox.stop().await;
    }

    /// Sends a request and gives status and JSON. The path begins with the API's host:
    /// `/run.googleapis.com/v2/...`.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url()));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn expect(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.send(method.clone(), path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    pub async fn read(&self, path: &str) -> Value {
        self.expect(Method::GET, path, None).await
    }

    /// Changes something as a person in the console does: repeats until grants and APIs that were changed a moment
    /// ago have propagated, and waits for the operation.
    pub async fn console(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut answer = self.send(method.clone(), path, body).await;
        for _ in 0..8 {
            if answer.0 != 403 {
                break;
            }
            answer = self.send(method.clone(), path, body).await;
        }
        let host = path.split('/').nth(1).unwrap_or_default().to_owned();
        let version = path.split('/').nth(2).unwrap_or_default().to_owned();
        for _ in 0..20 {
            let name = answer.1["name"].as_str().unwrap_or_default().to_owned();
            if answer.1["done"] == true || !name.contains("operations/") {
                break;
            }
            answer = self.send(Method::GET, &format!("/{host}/{version}/{name}"), None).await;
        }
        answer
    }

    /// Adds a fault (see the sandbox's `faults`) and gives its id.
    pub async fn fault(&self, spec: Value) -> String {
        let answer = self.expect(Method::POST, "/__sandbox/faults", Some(&spec)).await;
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Resolves once the fault has struck.
    pub async fn reached(&self, fault: &str) {
        self.read(&format!("/__sandbox/faults/{fault}/reached")).await;
    }

    /// How many calls the fault has struck.
    pub async fn hits(&self, fault: &str) -> u64 {
        self.read(&format!("/__sandbox/faults/{fault}")).await["hits"].as_u64().unwrap()
    }

    pub async fn remove_fault(&self, fault: &str) {
        self.expect(Method::DELETE, &format!("/__sandbox/faults/{fault}"), None).await;
    }

    pub async fn remove_faults(&self) {
        self.expect(Method::DELETE, "/__sandbox/faults", None).await;
    }

    /// The calls since the start, or since they were forgotten.
    pub async fn calls(&self) -> Vec<Recorded> {
        let mut answer = self.read("/__sandbox/calls").await;
        serde_json::from_value(answer["calls"].take()).unwrap()
    }

    /// The calls that change something, failed ones too.
    pub async fn writes(&self) -> Vec<Recorded> {
        self.calls().await.into_iter().filter(|call| call.write).collect()
    }

    pub async fn forget_calls(&self) {
        self.expect(Method::DELETE, "/__sandbox/calls", None).await;
    }

    /// Every document that exists, by collection and full name; no payloads.
    pub async fn state(&self) -> Value {
        self.read("/__sandbox/state").await
    }

    /// The live Cloud Run service of the repository's project.
    pub async fn service(&self, name: &str) -> Value {
        self.read(&service_path(name)).await
    }

    /// The payload of a version, which only a test may read: `latest`, or a number.
    pub async fn payload(&self, secret: &str, version: &str) -> Vec<u8> {
        use base64::Engine as _;
        let path = format!(
            "/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/{secret}/versions/{version}:access"
        );
        let answer = self.read(&path).await;
        base64::engine::general_purpose::STANDARD.decode(answer["payload"]["data"].as_str().unwrap()).unwrap()
    }

    /// The policy of a resource, e.g. that of `service_path`.
    pub async fn policy(&self, path: &str) -> Value {
        self.read(&format!("{path}:getIamPolicy")).await
    }

    /// Adds a grant as a person in the console does.
    pub async fn grant(&self, path: &str, role: &str, member: &str) {
        let mut policy = self.policy(path).await;
        let binding = json!({"role": role, "members": [member]});
        match policy["bindings"].as_array_mut() {
            Some(bindings) => bindings.push(binding),
            None => policy["bindings"] = json!([binding]),
        }
        let (status, answer) =
            self.console("POST", &format!("{path}:setIamPolicy"), Some(&json!({"policy": policy}))).await;
        assert_eq!(status, 200, "{answer}");
    }
}

/// The path of a Cloud Run service in the repository's project.
pub fn service_path(name: &str) -> String {
    format!("/run.googleapis.com/v2/projects/{PROJECT}/locations/{REGION}/services/{name}")
}
