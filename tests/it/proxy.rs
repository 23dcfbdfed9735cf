//! The whole run between deployer and the sandbox, checked against Google's discovery documents by the strict proxy.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::rig::Rig;
use crate::support::{Cloud, Workplace, repository};

/// The folder of the strict proxy, where there is one.
fn conformance() -> Option<PathBuf> {
    let folder = std::env::var_os("DEPLOYER_CONFORMANCE")
        .map_or_else(|| repository().join("../shared/conformance"), PathBuf::from);
    let python = Command::new("python3").arg("--version").output().is_ok();
    (python && folder.join("conformance_proxy.py").is_file()).then_some(folder)
}

/// The proxy, ended with this value.
struct Proxy {
    child: Child,
    url: String,
    /// Held open, so that the proxy can go on talking.
    _said: BufReader<ChildStderr>,
    _files: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    fn start(folder: &Path, upstream: &str) -> Self {
        let files = TempDir::new().unwrap();
        let allowed = files.path().join("allowed.jsonl");
        std::fs::write(&allowed, ALLOWED).unwrap();
        let mut child = Command::new("python3")
            .arg("-u")
            .arg(folder.join("conformance_proxy.py"))
            .args(["--listen", "127.0.0.1:0", "--upstream", upstream, "--strict-exit"])
            .arg("--docs")
            .arg(folder.join("docs"))
            .arg("--report")
            .arg(files.path().join("report.jsonl"))
            .arg("--allow")
            .arg(&allowed)
            .arg("--fail-file")
            .arg(files.path().join("failures.jsonl"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        said.read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        Self { child, url, _said: said, _files: files }
    }

    async fn ask(&self, what: &str) -> Value {
        let url = format!("{}/__conformance/{what}", self.url);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }
}

/// Google's own client for Secret Manager sends the name that it needs for the path in the body, too.
const ALLOWED: &str = r#"{"problem": "output_only_in_request", "method_id": "secretmanager\\.projects\\.secrets\\.patch", "field": "name", "reason": "sent by the official client"}
"#;

/// A change of each kind, in the words of the repository's base.yaml.
const EDITS: [(&str, &str); 9] = [
    ("memory: 512Mi", "memory: 1Gi"),
    ("min_instances: 0", "min_instances: 1"),
    ("    allow_unauthenticated: true\n", "    session_affinity: true\n"),
    ("      JWT_ALGORITHM: HS256\n", ""),
    ("      DATABASE_URL: database-url", "      DATABASE_URL: database-url:latest"),
    ("openai-api-key: {}", "openai-api-key: {description: For the agents, labels: {team: red}}"),
    (
        "    port: 8080\n",
        "    port: 8080\n    v2: {customAudiences: [https://api.example.com], template: {nodeSelector: {accelerator: nvidia-l4}}}\n",
    ),
    (
        "    port: 8080\n",
        "    port: 8080\n    secret_files: [openai-api-key]\n    volumes: {/cache: {in_memory: 64Mi}}\n    \
         sidecars: {proxy: {image: us-docker.pkg.dev/cloudrun/container/hello, cpu: 0.5, startup_probe: {tcp: true, port: 9000}}}\n",
    ),
    (
        "    port: 8080\n",
        "    port: 8080\n    vpc: {network: default, subnet: default, tags: [web], egress: all-traffic}\n    ingress: internal\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_run_is_as_googles_documents_say_on_both_sides() {
    let Some(folder) = conformance() else {
        println!("skipped: no Python, or no conformance proxy (DEPLOYER_CONFORMANCE names its folder)");
        return;
    };
    let cloud = Cloud::fresh().await;
    let proxy = Proxy::start(&folder, &cloud.url());
    let rig = Rig::of(Workplace::agent_army(), cloud).through(&proxy.url);
    rig.apply().ok().await;
    rig.settled("first apply").await;
    for (from, to) in EDITS {
        rig.edit(from, to);
        rig.deployer("plan dev --detailed-exitcode").fails(2).await;
        rig.apply().ok().await;
        rig.settled(to).await;
    }
    rig.deployer("secrets list dev").ok().await;
    rig.deployer("secrets set dev redis-url").stdin("redis://r:1").ok().await;
    rig.apply().ok().await;
    rig.apply().args(["--image", "api=us-docker.pkg.dev/cloudrun/container/hello:v2"]).ok().await;
    rig.settled("another image").await;
    rig.edit("  redis-url: {id: \"redis-url-${env}\"}\n", "");
    rig.edit("      REDIS_URL: redis-url\n", "");
    rig.apply().arg("--prune").ok().await;
    for other in ["staging", "production"] {
        std::fs::remove_file(rig.place.path(&format!("environments/{other}.yaml"))).unwrap();
    }
    rig.place.write("environments/base.yaml", NOTHING_LEFT);
    rig.place.write("environments/dev.yaml", "deployer: v1\nenvironment: dev\ntarget: sandbox\n");
    rig.apply().arg("--prune").ok().await;
    rig.settled("everything pruned").await;

    let summary = proxy.ask("summary").await;
    println!("conformance: {} requests, findings {}", summary["requests"], summary["findings"]);
    let findings = proxy.ask("findings").await;
    assert_eq!(summary["findings"]["error"], 0, "{findings:#}");
    assert_eq!(summary["findings"]["warning"], 0, "{findings:#}");
    assert_eq!(summary["verdict"], "pass");
    assert!(summary["requests"].as_u64().unwrap() > 200, "{summary:#}");
}

const NOTHING_LEFT: &str = "deployer: v1
environment: base
system: agent-army
project: {id: agent-army-example, number: \"123456789012\"}
region: us-central1
secrets: {}
services: {}
";
