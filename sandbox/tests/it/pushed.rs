//! Images that an independent client pushed: what comes back, who may, and what Cloud Run makes of them.

use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use reqwest::Method;
use serde_json::{Value, json};

use crate::registry::make_repository;
use crate::support::{TestClient, options, sandbox};

const NAME: &str = "europe-west1-docker.pkg.dev/agent-army-dev/images/api";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ACCOUNTS: &str = "/v1/projects/agent-army-dev/serviceAccounts";
const PUSHER: &str = "pusher@agent-army-dev.iam.gserviceaccount.com";
const RUN: &str = "/run.googleapis.com/v2/projects/agent-army-dev/locations/europe-west1";

/// A sandbox with the repository `images`, and a client of registries.
async fn registry() -> (TestClient, Client) {
    let client = sandbox(options()).await;
    make_repository(&client, "images", json!({})).await;
    (client, oci(false))
}

fn oci(use_monolithic_push: bool) -> Client {
    Client::new(ClientConfig {
        protocol: ClientProtocol::Http,
        use_monolithic_push,
        ..ClientConfig::default()
    })
}

fn reference(client: &TestClient, tag: &str) -> Reference {
    format!("{}/{NAME}:{tag}", client.sandbox.addr()).parse().unwrap()
}

/// Pushes an image of one layer; the digest of its manifest.
async fn push(
    client: &TestClient,
    oci: &Client,
    tag: &str,
    auth: &RegistryAuth,
) -> Result<String, OciDistributionError> {
    let image = reference(client, tag);
    let layer = ImageLayer::oci_v1_gzip(vec![7_u8; 9_000_000], None);
    let config = Config::oci_v1(br#"{"architecture":"amd64","os":"linux"}"#.to_vec(), None);
    oci.push(&image, &[layer], config, auth, None).await?;
    oci.fetch_manifest_digest(&image, auth).await
}

/// HTTP status and body of a refusal.
fn refusal(error: OciDistributionError) -> (u16, String) {
    match error {
        OciDistributionError::ServerError { code, message, .. } => (code, message),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_is_pushed_is_pulled_in_pieces_and_whole() {
    let (client, _) = registry().await;
    for (tag, whole) in [("pieces", false), ("whole", true)] {
        let oci = oci(whole);
        let digest = push(&client, &oci, tag, &RegistryAuth::Anonymous).await.unwrap();
        let image = reference(&client, tag);
        let pulled = oci.pull(&image, &RegistryAuth::Anonymous, vec![GZIP]).await.unwrap();
        assert_eq!(pulled.digest.unwrap(), digest);
        assert_eq!(pulled.layers[0].data, vec![7_u8; 9_000_000]);
    }
    let tags = oci(false).list_tags(&reference(&client, "whole"), &RegistryAuth::Anonymous, None, None).await;
    assert_eq!(tags.unwrap().tags, ["pieces", "whole"]);
}

#[tokio::test]
async fn a_repository_that_is_not_there_is_name_unknown() {
    let client = sandbox(options()).await;
    let error = push(&client, &oci(false), "v1", &RegistryAuth::Anonymous).await.unwrap_err();
    let (status, body) = refusal(error);
    assert_eq!(status, 404);
    assert!(body.contains("NAME_UNKNOWN"), "{body}");
}

/// A token of an account with this role on the repository.
async fn token_with(client: &TestClient, role: &str) -> String {
    client.post(ACCOUNTS, json!({"accountId": "pusher"})).await;
    let policy =
        json!({"policy": {"bindings": [{"role": role, "members": [format!("serviceAccount:{PUSHER}")]}]}});
    let repository = "/artifactregistry.googleapis.com/v1/projects/agent-army-dev/locations/europe-west1/repositories/images";
    // The account becomes known, and the grant comes into force, after a few requests.
    let mut asked = 0;
    while client.post(&format!("{repository}:setIamPolicy"), policy.clone()).await.0 != 200 {
        asked += 1;
        assert!(asked < 10);
    }
    for _ in 0..5 {
        client.get(ACCOUNTS).await;
    }
    let scope = json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"]});
    let path = format!("/v1/projects/-/serviceAccounts/{PUSHER}:generateAccessToken");
    client.post(&path, scope).await.1["accessToken"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_account_may_do_what_its_role_says() {
    let (client, oci) = registry().await;
    let token = token_with(&client, "roles/artifactregistry.reader").await;
    push(&client, &oci, "v1", &RegistryAuth::Anonymous).await.unwrap();
    for auth in [
        RegistryAuth::Bearer(token.clone()),
        RegistryAuth::Basic("oauth2accesstoken".to_owned(), token.clone()),
    ] {
        let oci = self::oci(false);
        oci.pull(&reference(&client, "v1"), &auth, vec![GZIP]).await.unwrap();
        let error = push(&client, &self::oci(false), "v2", &auth).await.unwrap_err();
        let (status, body) = refusal(error);
        assert_eq!(status, 403);
        assert!(body.contains("DENIED") && body.contains("uploadArtifacts"), "{body}");
    }
    let delete = format!("/v2/{NAME}/manifests/v1");
    let refused = client.request(Method::DELETE, &delete).bearer_auth(&token).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let token = token_with(&client, "roles/artifactregistry.writer").await;
    push(&client, &self::oci(false), "v2", &RegistryAuth::Bearer(token)).await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_not_good_any_more_is_challenged() {
    let (client, _) = registry().await;
    let stale = "ya29.sandbox.0000";
    for path in ["/v2/", "/v2/token", &format!("/v2/{NAME}/tags/list")] {
        let answer = client.request(Method::GET, path).bearer_auth(stale).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert!(
            challenge.starts_with(&format!("Bearer realm=\"{}/v2/token\"", client.sandbox.url())),
            "{challenge}"
        );
    }
    let ping = client.request(Method::GET, "/v2/").send().await.unwrap();
    assert_eq!(ping.status(), 200);
    assert_eq!(ping.headers()["docker-distribution-api-version"], "registry/2.0");
    let exchanged = client.request(Method::GET, "/v2/token").basic_auth("oauth2accesstoken", Some("mine"));
    assert_eq!(exchanged.send().await.unwrap().json::<Value>().await.unwrap()["token"], "mine");
}

/// Polls an operation of Cloud Run: its response, or the message of its error.
async fn run(client: &TestClient, path: &str, body: Value) -> Result<Value, String> {
    let (status, mut operation) = client.post(&format!("{RUN}/{path}"), body).await;
    assert_eq!(status, 200, "{operation}");
    while operation["done"] != true {
        let name = operation["name"].as_str().unwrap().to_owned();
        operation = client.get(&format!("/run.googleapis.com/v2/{name}")).await.1;
    }
    match operation.get("error") {
        None => Ok(operation["response"].clone()),
        Some(error) => Err(error["message"].as_str().unwrap().to_owned()),
    }
}

#[tokio::test]
async fn a_revision_runs_on_what_was_pushed_and_on_nothing_else() {
    let (client, oci) = registry().await;
    let digest = push(&client, &oci, "v1", &RegistryAuth::Anonymous).await.unwrap();
    let other = format!("sha256:{}", "0".repeat(64));
    let service = |image: &str| json!({"template": {"containers": [{"image": image}]}});
    for (id, image) in [("tag", format!("{NAME}:v1")), ("digest", format!("{NAME}@{digest}"))] {
        let made = run(&client, &format!("services?serviceId={id}"), service(&image)).await.unwrap();
        assert_eq!(made["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    }
    for (id, image) in [("no-tag", format!("{NAME}:v2")), ("no-digest", format!("{NAME}@{other}"))] {
        let message = run(&client, &format!("services?serviceId={id}"), service(&image)).await.unwrap_err();
        assert!(message.contains(&format!("Image '{image}' not found.")), "{message}");
        let (_, service) = client.get(&format!("{RUN}/services/{id}")).await;
        assert_eq!(service["terminalCondition"]["reason"], "CONTAINER_MISSING");
    }
}

#[tokio::test]
async fn an_execution_fails_once_its_image_is_gone() {
    let (client, oci) = registry().await;
    push(&client, &oci, "v1", &RegistryAuth::Anonymous).await.unwrap();
    let image = format!("{NAME}:v1");
    let job = json!({"template": {"template": {"containers": [{"image": image}]}}});
    run(&client, "jobs?jobId=migrate", job).await.unwrap();
    let untag = client.request(Method::DELETE, &format!("/v2/{NAME}/manifests/v1")).send().await.unwrap();
    assert_eq!(untag.status(), 202);
    let message = run(&client, "jobs/migrate:run", json!({})).await.unwrap_err();
    assert!(message.contains(&format!("Image '{image}' not found.")), "{message}");
    let (_, listed) = client.get(&format!("{RUN}/jobs/migrate/executions")).await;
    let failed = listed["executions"].as_array().unwrap().iter().filter(|run| run["failedCount"] == 1);
    let conditions = failed.map(|run| run["conditions"].clone()).collect::<Vec<_>>();
    assert_eq!(conditions.len(), 1, "{listed}");
    assert!(conditions[0].to_string().contains("CONTAINER_MISSING"), "{listed}");
}
