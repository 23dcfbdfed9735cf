//! Images over the control endpoint.

use gcp_sandbox::Options;
use serde_json::{Value, json};

use crate::support::{TestClient, options, sandbox};

const REPOSITORIES: &str =
    "/artifactregistry.googleapis.com/v1/projects/agent-army-dev/locations/europe-west1/repositories";
const IMAGE: &str = "europe-west1-docker.pkg.dev/agent-army-dev/images/api:v1";

/// Makes the repository `images` and waits for it.
async fn make_repository(client: &TestClient, body: Value) {
    let (_, mut operation) = client.post(&format!("{REPOSITORIES}?repositoryId=images"), body).await;
    while operation["done"] != true {
        let path = format!("/artifactregistry.googleapis.com/v1/{}", operation["name"].as_str().unwrap());
        operation = client.get(&path).await.1;
    }
    assert!(operation["response"].is_object(), "{operation}");
}

#[tokio::test]
async fn a_seeded_image_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let kept = || Options { state: Some(dir.path().join("state")), ..options() };
    let client = sandbox(kept()).await;
    make_repository(&client, json!({"format": "DOCKER"})).await;
    let (status, pushed) = client.post("/__sandbox/artifacts", json!({"image": IMAGE})).await;
    assert_eq!(status, 200, "{pushed}");
    client.sandbox.stop().await;

    let client = sandbox(kept()).await;
    let (_, images) = client.get(&format!("{REPOSITORIES}/images/dockerImages")).await;
    assert_eq!(images["dockerImages"][0]["uri"], pushed["uri"]);
    let digest = pushed["digest"].as_str().unwrap();
    let (status, image) = client.get(&format!("{REPOSITORIES}/images/dockerImages/api@{digest}")).await;
    assert_eq!((status, &image["tags"]), (200, &json!(["v1"])));
}

#[tokio::test]
async fn what_cannot_be_seeded_is_refused_and_leaves_nothing() {
    let client = sandbox(options()).await;
    let (status, error) = client.post("/__sandbox/artifacts", json!({"image": IMAGE})).await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!(404)));
    make_repository(&client, json!({"format": "DOCKER", "dockerConfig": {"immutableTags": true}})).await;
    assert_eq!(client.post("/__sandbox/artifacts", json!({"image": IMAGE})).await.0, 200);
    assert_eq!(client.post("/__sandbox/artifacts", json!({"image": IMAGE})).await.0, 400);
    assert_eq!(client.post("/__sandbox/artifacts", json!({"picture": IMAGE})).await.0, 400);
    let (_, images) = client.get(&format!("{REPOSITORIES}/images/dockerImages")).await;
    assert_eq!(images["dockerImages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn policies_are_carried_out_when_asked() {
    let client = sandbox(options()).await;
    let all = json!({"all": {"action": "DELETE", "condition": {"tagState": "ANY"}}});
    make_repository(&client, json!({"format": "DOCKER", "cleanupPolicies": all})).await;
    let (_, pushed) = client.post("/__sandbox/artifacts", json!({"image": IMAGE})).await;
    let (status, report) =
        client.post("/__sandbox/artifacts/cleanup", json!({"project": "agent-army-dev"})).await;
    assert_eq!(status, 200, "{report}");
    assert_eq!(report["deleted"][0]["uri"], pushed["uri"]);
    assert_eq!(client.get(&format!("{REPOSITORIES}/images/dockerImages")).await.1, json!({}));
}
