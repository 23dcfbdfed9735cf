//! Clients of Google that know nothing of deployer work on the same project, and the plan shows exactly what they did.
//! Where such a client is not installed, one line says so.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::rig::Rig;
use crate::support::{Done, PROJECT};

/// `gcloud` against the sandbox, with a configuration of its own.
struct Gcloud<'a> {
    rig: &'a Rig,
}

const APIS: [(&str, &str); 4] = [
    ("SECRETMANAGER", "secretmanager"),
    ("IAM", "iam"),
    ("SERVICEUSAGE", "serviceusage"),
    ("CLOUDRESOURCEMANAGER", "cloudresourcemanager"),
];

impl Gcloud<'_> {
    async fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new("gcloud");
        command.args(args).stdin(Stdio::null());
        for name in ["CORE_DISABLE_PROMPTS", "AUTH_DISABLE_CREDENTIALS", "CORE_DISABLE_USAGE_REPORTING"] {
            command.env(format!("CLOUDSDK_{name}"), "1");
        }
        command.env("CLOUDSDK_CORE_DISABLE_FILE_LOGGING", "1").env("CLOUDSDK_SURVEY_DISABLE_PROMPTS", "1");
        command.env("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1");
        command.env("CLOUDSDK_CONFIG", self.rig.place.path(".gcloud")).env("CLOUDSDK_CORE_PROJECT", PROJECT);
        for (name, api) in APIS {
            let url = format!("{}/{api}.googleapis.com/", self.rig.cloud.url());
            command.env(format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}"), url);
        }
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let done = Done::from(output);
        assert_eq!(done.code, 0, "gcloud {args:?}\n{done}");
        done.stdout
    }
}

fn installed(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// What the plan would do, as `verb address`.
async fn planned(rig: &Rig) -> BTreeSet<String> {
    let plan = rig.deployer("plan dev --output json").ok().await.json();
    let changes = plan["changes"].as_array().unwrap().iter();
    let words = changes.map(|change| {
        format!("{} {}", change["verb"].as_str().unwrap(), change["address"].as_str().unwrap())
    });
    words.collect()
}

fn set(changes: &[&str]) -> BTreeSet<String> {
    changes.iter().map(ToString::to_string).collect()
}

/// The repository's system with one more API, applied.
async fn deployed() -> Rig {
    let rig = Rig::fresh().await;
    rig.edit("region: us-central1\n", "region: us-central1\napis: [vision.googleapis.com]\n");
    rig.apply().ok().await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_exactly_what_gcloud_did() {
    if !installed("gcloud", &["--version"]) {
        println!("skipped: gcloud is not installed");
        return;
    }
    let rig = deployed().await;
    let gcloud = Gcloud { rig: &rig };

    // Objects of somebody else are nobody's business.
    gcloud.run(&["secrets", "create", "theirs", "--replication-policy=automatic"]).await;
    assert!(gcloud.run(&["secrets", "list", "--format=value(name)"]).await.contains("theirs"));
    gcloud.run(&["iam", "service-accounts", "create", "theirs-too", "--display-name=Theirs"]).await;
    let member = "--member=user:ann@example.com";
    gcloud.run(&["projects", "add-iam-policy-binding", PROJECT, member, "--role=roles/viewer"]).await;
    let number = gcloud.run(&["projects", "describe", PROJECT, "--format=value(projectNumber)"]).await;
    assert_eq!(number.trim(), "123456789012");
    assert_eq!(planned(&rig).await, set(&[]));
    gcloud.run(&["secrets", "delete", "theirs"]).await;

    // A changed name of an account.
    let email = format!("agent-army-api-dev@{PROJECT}.iam.gserviceaccount.com");
    gcloud.run(&["iam", "service-accounts", "update", &email, "--display-name=By hand"]).await;
    assert_eq!(planned(&rig).await, set(&["update service_account/agent-army-api-dev"]));
    rig.apply().ok().await;

    // A rotated value.
    let value = rig.place.path("value");
    std::fs::write(&value, "postgres://db").unwrap();
    let file = format!("--data-file={}", value.display());
    gcloud.run(&["secrets", "versions", "add", "database-url-dev", &file]).await;
    assert_eq!(planned(&rig).await, set(&["update run_service/agent-army-api-dev"]));
    rig.apply().ok().await;

    // A disabled API, and a deleted secret with all that was on it.
    assert!(
        gcloud
            .run(&["services", "list", "--enabled", "--format=value(config.name)"])
            .await
            .contains("vision")
    );
    gcloud.run(&["services", "disable", "vision.googleapis.com"]).await;
    assert_eq!(planned(&rig).await, set(&["enable api/vision.googleapis.com"]));
    gcloud.run(&["services", "enable", "vision.googleapis.com"]).await;
    rig.settled("gcloud enabled it again").await;
    gcloud.run(&["secrets", "delete", "redis-url-dev"]).await;
    let missing = [
        "create secret/redis-url-dev",
        "generate secret_value/redis-url-dev",
        "grant secret_grant/redis-url-dev:secretAccessor:agent-army-api-dev",
    ];
    assert_eq!(planned(&rig).await, set(&missing));
    rig.apply().ok().await;
    rig.settled("after gcloud").await;
}

/// One thing each: create, read, change, delete.
const PYTHON: &str = r#"
import sys
from google.auth.credentials import AnonymousCredentials
from google.cloud import secretmanager
url, project, step = sys.argv[1:]
client = secretmanager.SecretManagerServiceClient(
    credentials=AnonymousCredentials(), transport="rest", client_options={"api_endpoint": url})
name = lambda secret: f"projects/{project}/secrets/{secret}"
if step == "foreign":
    client.create_secret(parent=f"projects/{project}", secret_id="theirs", secret={"replication": {"automatic": {}}})
    client.add_secret_version(parent=name("theirs"), payload={"data": b"hush"})
    assert client.access_secret_version(name=name("theirs") + "/versions/latest").payload.data == b"hush"
    assert name("theirs").split("/")[-1] in [s.name.split("/")[-1] for s in client.list_secrets(parent=f"projects/{project}")]
    client.delete_secret(name=name("theirs"))
elif step == "rotate":
    client.add_secret_version(parent=name("database-url-dev"), payload={"data": b"postgres://db"})
elif step == "describe":
    secret = client.get_secret(name=name("openai-api-key"))
    secret.annotations["description"] = "by hand"
    client.update_secret(secret=secret, update_mask={"paths": ["annotations"]})
elif step == "delete":
    client.delete_secret(name=name("redis-url-dev"))
"#;

async fn python(script: &Path, rig: &Rig, step: &str) {
    let mut command = Command::new("python3");
    command.arg(script).args([&rig.cloud.url(), PROJECT, step]).stdin(Stdio::null());
    let done = Done::from(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap());
    assert_eq!(done.code, 0, "{step}: {done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_exactly_what_googles_python_client_did() {
    if !installed("python3", &["-c", "import google.cloud.secretmanager"]) {
        println!("skipped: google-cloud-secret-manager is not installed for python3");
        return;
    }
    let rig = deployed().await;
    let script = rig.place.path("client.py");
    std::fs::write(&script, PYTHON).unwrap();
    let steps: [(&str, &[&str]); 4] = [
        ("foreign", &[]),
        ("rotate", &["update run_service/agent-army-api-dev"]),
        ("describe", &["update secret/openai-api-key"]),
        (
            "delete",
            &[
                "create secret/redis-url-dev",
                "generate secret_value/redis-url-dev",
                "grant secret_grant/redis-url-dev:secretAccessor:agent-army-api-dev",
            ],
        ),
    ];
    for (step, expected) in steps {
        python(&script, &rig, step).await;
        assert_eq!(planned(&rig).await, set(expected), "{step}");
        rig.apply().ok().await;
        rig.settled(step).await;
    }
}
