//! A sandbox inside the test, its control endpoint, and "somebody in the console", who edits behind deployer's back.

use std::collections::BTreeSet;
use std::path::Path;

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
        let guard = Some(env!("CARGO_BIN_EXE_deployer").into());
        let runtime = gcp_sandbox::runtime::Options { guard, ..gcp_sandbox::runtime::Options::default() };
        Options { projects, runtime, ..Options::default() }
    }

    /// The same, and a command runs in `folder` in place of the images of these services and jobs.
    pub fn running(names: &[&str], command: &[&str], folder: &Path) -> Options {
        let command = command.iter().copied().map(str::to_owned).collect();
        let local = gcp_sandbox::runtime::Command { command, folder: folder.to_owned() };
        let mut options = Self::options();
        options.runtime.commands = names.iter().map(|name| ((*name).to_owned(), local.clone())).collect();
        options
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

    /// Answers the first call of a method with 503; gives the fault's id.
    pub async fn down_once(&self, method: &str) -> String {
        let act = json!({"status": 503, "message": "We are down."});
        self.fault(json!({"match": {"method": method}, "nth": 1, "when": "before", "do": act})).await
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

    /// The name of everything that exists, and every grant: equal where nothing was made twice and nothing is lost.
    pub async fn inventory(&self) -> BTreeSet<String> {
        let state = self.state().await;
        let mut all: BTreeSet<String> = BTreeSet::new();
        for (collection, docs) in state.as_object().unwrap() {
            for (name, doc) in docs.as_object().unwrap() {
                match collection.as_str() {
                    // What was done, and not what there is.
                    "operations" | "run.revisions" => {}
                    // Cloud Run makes their names up: they are counted.
                    "run.executions" | "run.tasks" => {
                        let job = name.split("/executions/").next().unwrap_or_default();
                        let count = all
                            .iter()
                            .filter(|known| known.starts_with(&format!("{collection} {job} #")))
                            .count();
                        all.insert(format!("{collection} {job} #{count}"));
                    }
                    "iam.policies" => all.extend(members(doc).map(|member| format!("{name}: {member}"))),
                    _ => assert!(all.insert(format!("{collection} {name}"))),
                }
            }
        }
        all
    }

    /// Puts an image into a repository that exists, as if it had been pushed there. Answers its digest.
    pub async fn push(&self, image: &str) -> String {
        let answer =
            self.expect(Method::POST, "/__sandbox/artifacts", Some(&json!({ "image": image }))).await;
        answer["digest"].as_str().unwrap().to_owned()
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

    /// The policy of a resource, e.g. that of `service_path`, with its conditions.
    pub async fn policy(&self, path: &str) -> Value {
        let asked = "options.requestedPolicyVersion=3";
        if path.starts_with("/iam.") {
            let path = format!("{path}:getIamPolicy?{asked}");
            return self.expect(Method::POST, &path, Some(&json!({}))).await;
        }
        if path.starts_with("/cloudresourcemanager.") {
            let body = json!({"options": {"requestedPolicyVersion": 3}});
            return self.expect(Method::POST, &format!("{path}:getIamPolicy"), Some(&body)).await;
        }
        self.read(&format!("{path}:getIamPolicy?{asked}")).await
    }

    /// Adds a grant as a person in the console does.
    pub async fn grant(&self, path: &str, role: &str, member: &str) {
        self.bind(path, json!({"role": role, "members": [member]})).await;
    }

    /// The same for a whole binding, which may have a condition.
    pub async fn bind(&self, path: &str, binding: Value) {
        let mut policy = self.policy(path).await;
        match policy["bindings"].as_array_mut() {
            Some(bindings) => bindings.push(binding),
            None => policy["bindings"] = json!([binding]),
        }
        self.write_policy(path, policy).await;
    }

    /// Takes a grant away.
    pub async fn revoke(&self, path: &str, role: &str, member: &str) {
        let mut policy = self.policy(path).await;
        let mut found = 0;
        for binding in policy["bindings"].as_array_mut().into_iter().flatten() {
            let fits = binding["role"] == role;
            let members = binding["members"].as_array_mut().unwrap();
            let before = members.len();
            members.retain(|holder| !fits || holder != member);
            found += before - members.len();
        }
        assert_eq!(found, 1, "{role} of {member} on {path}: {policy}");
        self.write_policy(path, policy).await;
    }

    async fn write_policy(&self, path: &str, mut policy: Value) {
        policy["version"] = json!(3);
        let body = json!({ "policy": policy });
        let (status, answer) = self.console("POST", &format!("{path}:setIamPolicy"), Some(&body)).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// `ROLE MEMBER` of all grants on a resource, sorted.
    pub async fn grants(&self, path: &str) -> Vec<String> {
        let policy = self.policy(path).await;
        let mut grants: Vec<_> = members(&policy).collect();
        grants.sort_unstable();
        grants
    }

    /// An access token of a service account, as its owner gets one.
    pub async fn token_of(&self, account: &str) -> String {
        let path = format!(
            "/iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}@{PROJECT}.iam.gserviceaccount.com:generateAccessToken"
        );
        let body = json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"]});
        let (status, answer) = self.console("POST", &path, Some(&body)).await;
        assert_eq!(status, 200, "{answer}");
        answer["accessToken"].as_str().unwrap().to_owned()
    }
}

/// `ROLE MEMBER` of all grants of a policy.
fn members(policy: &Value) -> impl Iterator<Item = String> {
    let bindings = policy["bindings"].as_array().map(Vec::as_slice).unwrap_or_default();
    bindings.iter().flat_map(|binding| {
        let role = binding["role"].as_str().unwrap();
        let members = binding["members"].as_array().unwrap().iter();
        members.map(move |member| format!("{role} {}", member.as_str().unwrap()))
    })
}

/// The path of the repository's project, for its policy.
pub fn project_path() -> String {
    format!("/cloudresourcemanager.googleapis.com/v3/projects/{PROJECT}")
}

/// The path of a service account in the repository's project.
pub fn account_path(id: &str) -> String {
    format!(
        "/iam.googleapis.com/v1/projects/{PROJECT}/serviceAccounts/{id}@{PROJECT}.iam.gserviceaccount.com"
    )
}

/// The path of a Cloud Run service in the repository's project.
pub fn service_path(name: &str) -> String {
    format!("/run.googleapis.com/v2/projects/{PROJECT}/locations/{REGION}/services/{name}")
}

/// The path of a Cloud Run job in the repository's project.
pub fn job_path(name: &str) -> String {
    format!("/run.googleapis.com/v2/projects/{PROJECT}/locations/{REGION}/jobs/{name}")
}

/// The path of a secret in the repository's project.
pub fn secret_path(id: &str) -> String {
    format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/{id}")
}

/// The path of a repository of Artifact Registry in the repository's project.
pub fn repository_path(id: &str) -> String {
    format!("/artifactregistry.googleapis.com/v1/projects/{PROJECT}/locations/{REGION}/repositories/{id}")
}
