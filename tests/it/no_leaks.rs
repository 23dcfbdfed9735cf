//! Values of secrets leave deployer in one direction only: to Secret Manager.

use std::fs;
use std::path::Path;

use crate::support::{Cloud, Done, Workplace};

const VALUES: [(&str, &str); 4] = [
    ("database-url", "postgres://leak-canary-one"),
    ("redis-url", "redis://leak-canary-two"),
    ("anthropic-api-key", "leak-canary-three"),
    ("openai-api-key", "leak-canary-four"),
];

/// Everything that a whole session shows, and the payloads that it must not show.
struct Session {
    place: Workplace,
    cloud: Cloud,
    shown: Vec<(String, Done)>,
}

impl Session {
    async fn run(&mut self, words: &str, stdin: &str) -> &Done {
        let line = format!("{words} staging -v --endpoint {}", self.cloud.url());
        let done = self.place.deployer(&line).stdin(stdin).done().await;
        self.shown.push((line, done));
        &self.shown.last().unwrap().1
    }

    /// `secrets set staging NAME`, whose words stand in another order.
    async fn set(&mut self, name: &str, value: &str) {
        let line = format!("secrets set staging {name} -v --endpoint {}", self.cloud.url());
        let done = self.place.deployer(&line).stdin(value).ok().await;
        self.shown.push((line, done));
    }
}

#[tokio::test]
async fn no_output_and_no_file_holds_a_payload() {
    let cloud = Cloud::fresh().await;
    let mut session = Session { place: Workplace::agent_army(), cloud, shown: Vec::new() };
    session.run("plan", "").await;
    session.run("apply --auto-approve", "").await;
    for (name, value) in VALUES {
        session.set(name, value).await;
    }
    session.run("plan --output json", "").await;
    assert_eq!(session.run("apply --auto-approve --output json", "").await.code, 0);
    session.run("secrets list", "").await;
    // A refused version: the answer of the API may quote what it refused.
    let refusal =
        serde_json::json!({"match": {"method": "*addVersion"}, "do": {"status": 400, "message": "no"}});
    let fault = session.cloud.fault(refusal).await;
    let line = format!("secrets set staging redis-url -v --endpoint {}", session.cloud.url());
    let done = session.place.deployer(&line).stdin(VALUES[1].1).fails(1).await;
    session.shown.push((line, done));
    session.cloud.remove_fault(&fault).await;

    let generated = String::from_utf8(session.cloud.payload("jwt-secret-key-staging", "1").await).unwrap();
    let mut payloads: Vec<_> = VALUES.iter().map(|(_, value)| (*value).to_owned()).collect();
    assert_eq!(session.cloud.payload("redis-url-staging", "1").await, payloads[1].as_bytes());
    payloads.push(generated);
    let encoded: Vec<_> = payloads.iter().map(|payload| base64(payload)).collect();
    payloads.extend(encoded);
    for payload in &payloads {
        for (line, done) in &session.shown {
            assert!(!done.stdout.contains(payload), "standard output of {line}");
            assert!(!done.stderr.contains(payload), "standard error of {line}");
        }
        assert_eq!(files_with(session.place.root(), payload), Vec::<String>::new());
    }
}

/// Placeholders on the embedded sandbox: they are in the sandbox's state, and nowhere else.
#[tokio::test]
async fn stand_ins_of_the_sandbox_stay_in_its_state() {
    let place = Workplace::agent_army();
    let shown =
        [place.deployer("apply dev -v").ok().await, place.deployer("plan dev -v --output json").ok().await];
    let cloud = place.cloud().await;
    for secret in ["database-url-dev", "redis-url-dev", "anthropic-api-key", "jwt-secret-key-dev"] {
        let payload = String::from_utf8(cloud.payload(secret, "1").await).unwrap();
        assert!(payload.len() >= 16, "{secret} has too short a stand-in");
        for done in &shown {
            assert!(!done.stdout.contains(&payload) && !done.stderr.contains(&payload), "{secret}");
        }
        let outside: Vec<_> =
            files_with(place.root(), &payload).into_iter().filter(|file| !file.contains("sandbox")).collect();
        assert_eq!(outside, Vec::<String>::new());
    }
}

#[tokio::test]
async fn verbose_shows_each_request_with_its_status_and_no_body() {
    let place = Workplace::agent_army();
    let cloud = place.cloud().await;
    let done = place.deployer("apply dev -v").ok().await;
    for call in cloud.calls().await.iter().filter(|call| call.write) {
        let (method, status) = (call.method.as_deref().unwrap(), call.status.unwrap().to_string());
        let told = done.stderr.lines().any(|line| {
            let words: Vec<_> = line.split(' ').collect();
            words.contains(&call.http.as_str())
                && words.contains(&status.as_str())
                && words.contains(&"ms")
                && words.contains(&format!("method={method}").as_str())
        });
        assert!(told, "no line for {} {method} {status}\n{}", call.http, done.stderr);
    }
    for body in ["replication", "\"payload\"", "containers", "bindings", "{\""] {
        assert!(!done.stderr.contains(body), "{body} in\n{}", done.stderr);
    }
    assert!(!place.deployer("plan dev").ok().await.stderr.contains("googleapis.com/"));
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Files below `folder` that contain `text`.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}
