//! Google's own types as judge: every Cloud Run and Secret Manager body, in both directions, is read into the model
//! types of the official crates. They keep what they do not know, and their debug form shows it.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use google_cloud_run_v2::model as run;
use google_cloud_secretmanager_v1::model as secrets;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::rig::Rig;
use crate::support::{Cloud, Workplace};

/// One request and its answer.
#[derive(Clone, Debug)]
struct Exchange {
    verb: String,
    /// Without the query.
    path: String,
    ok: bool,
    sent: Value,
    answered: Value,
}

/// Forwards everything and keeps a copy.
struct Recorder {
    upstream: String,
    http: reqwest::Client,
    exchanges: Mutex<Vec<Exchange>>,
}

async fn forward(State(recorder): State<Arc<Recorder>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let sent = to_bytes(body, usize::MAX).await.unwrap();
    let url = format!("{}{}", recorder.upstream, head.uri);
    let method = reqwest::Method::from_bytes(head.method.as_str().as_bytes()).unwrap();
    let mut onward = recorder.http.request(method, url).body(sent.to_vec());
    if let Some(kind) = head.headers.get("content-type") {
        onward = onward.header("content-type", kind.to_str().unwrap());
    }
    let answer = onward.send().await.unwrap();
    let status = answer.status().as_u16();
    let answered = answer.bytes().await.unwrap();
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(Value::Null);
    recorder.exchanges.lock().unwrap().push(Exchange {
        verb: head.method.to_string(),
        path: head.uri.path().to_owned(),
        ok: status == 200,
        sent: json(&sent),
        answered: json(&answered),
    });
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(answered)).unwrap()
}

async fn record(upstream: String) -> (String, Arc<Recorder>) {
    let recorder = Arc::new(Recorder { upstream, http: reqwest::Client::new(), exchanges: Mutex::default() });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(forward).with_state(Arc::clone(&recorder));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, recorder)
}

/// Reads `body` as `T`, which must know every field and every enum value.
fn known<T: DeserializeOwned + Debug>(what: &str, body: &Value) -> usize {
    let mut body = body.clone();
    if let Value::Object(fields) = &mut body {
        fields.remove("@type");
    }
    let typed: T =
        serde_json::from_value(body.clone()).unwrap_or_else(|error| panic!("{what}: {error}\n{body:#}"));
    let shown = format!("{typed:?}");
    assert!(!shown.contains("_unknown_fields"), "{what} has unknown fields: {shown}\n{body:#}");
    assert!(!shown.contains("UnknownValue"), "{what} has an unknown enum value: {shown}\n{body:#}");
    1
}

/// What an operation on a service or a job carries.
fn operation(what: &str, body: &Value) -> usize {
    let parts = ["metadata", "response"].iter().map(|part| &body[*part]).filter(|part| part.is_object());
    let judged = parts.map(|part| {
        if part["@type"].as_str().unwrap().ends_with(".Job") {
            known::<run::Job>(what, part)
        } else {
            known::<run::Service>(what, part)
        }
    });
    judged.sum()
}

/// Checks one exchange and tells how many bodies it had; 0 for policies and other APIs, which have no such type here.
fn judge(exchange: &Exchange) -> usize {
    let Exchange { verb, path, ok: true, sent, answered } = exchange else { return 0 };
    let what = format!("{verb} {path}");
    let last = path.rsplit('/').next().unwrap();
    let parent = path.rsplit('/').nth(1).unwrap();
    if path.contains("IamPolicy") {
        return 0;
    }
    if path.starts_with("/run.") {
        return match (verb.as_str(), parent, last) {
            ("POST", _, "services") | ("PATCH", "services", _) => {
                known::<run::Service>(&what, sent) + operation(&what, answered)
            }
            ("GET", _, "services") => known::<run::ListServicesResponse>(&what, answered),
            ("GET", "services", _) => known::<run::Service>(&what, answered),
            ("GET", "revisions", _) => known::<run::Revision>(&what, answered),
            ("POST", _, "jobs") | ("PATCH", "jobs", _) => {
                known::<run::Job>(&what, sent) + operation(&what, answered)
            }
            ("GET", _, "jobs") => known::<run::ListJobsResponse>(&what, answered),
            ("GET", "jobs", _) => known::<run::Job>(&what, answered),
            ("DELETE", "services" | "jobs", _) | (_, "operations", _) => operation(&what, answered),
            _ => panic!("nobody judges {what}"),
        };
    }
    if path.starts_with("/secretmanager.") {
        return match (verb.as_str(), parent, last) {
            ("POST", _, "secrets") | ("PATCH", "secrets", _) => {
                known::<secrets::Secret>(&what, sent) + known::<secrets::Secret>(&what, answered)
            }
            ("GET", _, "secrets") => known::<secrets::ListSecretsResponse>(&what, answered),
            ("GET", "secrets", _) => known::<secrets::Secret>(&what, answered),
            ("GET", _, "versions") => known::<secrets::ListSecretVersionsResponse>(&what, answered),
            ("POST", "secrets", _) if last.ends_with(":addVersion") => {
                known::<secrets::AddSecretVersionRequest>(&what, sent)
                    + known::<secrets::SecretVersion>(&what, answered)
            }
            ("DELETE", "secrets", _) => 0,
            _ => panic!("nobody judges {what}"),
        };
    }
    0
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_own_types_know_every_field_that_is_sent_and_answered() {
    let cloud = Cloud::fresh().await;
    let (url, recorder) = record(cloud.url()).await;
    let rig = Rig::of(Workplace::agent_army(), cloud).through(&url);
    let job = "jobs: {backup: {service: api, command: [backup, --all]}}\n";
    rig.edit("services:\n", &format!("{job}services:\n"));
    rig.apply().ok().await;
    rig.edit(
        "[backup, --all]",
        "[backup], volumes: {/scratch: {in_memory: 32Mi}}, vpc: {network: default, subnet: default}",
    );
    let rich = "    port: 8080\n    metrics: {}\n    secret_files: [openai-api-key]\n    volumes: {/cache: {in_memory: 64Mi}}\n    \
        vpc: {network: default, subnet: default, tags: [web]}\n    sidecars: {proxy: {image: \
        us-docker.pkg.dev/cloudrun/container/hello, cpu: 0.5, startup_probe: {tcp: true, port: 9000}}}\n    \
        v2: {customAudiences: [https://api.example.com]}\n";
    rig.edit("    port: 8080\n", rich);
    rig.edit("openai-api-key: {}", "openai-api-key: {description: For agents, labels: {team: red}}");
    rig.apply().ok().await;
    rig.settled("the recorder changes nothing").await;
    let exchanges = recorder.exchanges.lock().unwrap().clone();
    let judged: usize = exchanges.iter().map(judge).sum();
    println!("{} exchanges, {judged} bodies judged", exchanges.len());
    assert!(judged > 50, "{judged} bodies");
}
