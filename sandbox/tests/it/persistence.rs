//! What survives a restart, and who may use a state folder.

use std::io::Write as _;

use gcp_sandbox::{Options, StartError, holder, start};
use serde_json::json;

use crate::support::{SECRETS, options, sandbox};

fn kept(dir: &tempfile::TempDir) -> Options {
    Options { state: Some(dir.path().join("state")), ..options() }
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let client = sandbox(kept(&dir)).await;
    let (_, secret) = client.make_secret("db").await;
    client.post(&format!("{SECRETS}/db:addVersion"), json!({"payload": {"data": "YQ=="}})).await;
    client.sandbox.stop().await;

    let client = sandbox(kept(&dir)).await;
    assert_eq!(client.get(&format!("{SECRETS}/db")).await.1, secret);
    let (_, payload) = client.get(&format!("{SECRETS}/db/versions/1:access")).await;
    assert_eq!(payload["payload"]["data"], "YQ==");
}

#[tokio::test]
async fn a_line_torn_by_a_kill_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let client = sandbox(kept(&dir)).await;
    client.make_secret("db").await;
    client.sandbox.stop().await;
    let journal = dir.path().join("state/journal");
    let mut file = std::fs::OpenOptions::new().append(true).open(&journal).unwrap();
    file.write_all(
        b"{\"counters\":{\"tick\":5,\"ids\":9,\"rng\":1},\"changes\":[[\"secretmanager.secrets\",\"proj",
    )
    .unwrap();
    drop(file);

    let client = sandbox(kept(&dir)).await;
    assert_eq!(client.get(&format!("{SECRETS}/db")).await.0, 200);
    client.make_secret("other").await;
    client.sandbox.stop().await;
    let client = sandbox(kept(&dir)).await;
    assert_eq!(client.get(&format!("{SECRETS}/other")).await.0, 200);
}

#[tokio::test]
async fn the_holder_of_a_folder_is_found_and_a_second_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let client = sandbox(kept(&dir)).await;
    assert_eq!(holder(&folder).map(|holder| holder.address), Some(client.sandbox.addr()));
    let error = start(kept(&dir)).await.unwrap_err();
    assert!(
        matches!(error, StartError::Locked { address: Some(found), .. } if found == client.sandbox.addr())
    );
    client.sandbox.stop().await;
    assert_eq!(holder(&folder), None);
}

#[tokio::test]
async fn a_newer_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("state")).unwrap();
    std::fs::write(dir.path().join("state/journal"), "{\"format\":99}\n").unwrap();
    assert!(matches!(start(kept(&dir)).await.unwrap_err(), StartError::StateNewer { found: 99, .. }));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state"), "a file").unwrap();
    let error = start(kept(&dir)).await.unwrap_err();
    assert!(matches!(error, StartError::FolderUnwritable { .. }));
    assert!(error.to_string().contains("--state"));
}

#[tokio::test]
async fn an_operation_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { apis: gcp_sandbox::Apis::Default, ..kept(&dir) };
    let client = sandbox(options()).await;
    let enable = "/v1/projects/agent-army-dev/services/run.googleapis.com:enable";
    let (_, operation) = client.post(enable, json!({})).await;
    client.sandbox.stop().await;
    let client = sandbox(options()).await;
    let poll = format!("/v1/{}", operation["name"].as_str().unwrap());
    let mut last = json!(null);
    for _ in 0..3 {
        last = client.get(&poll).await.1;
    }
    assert_eq!(last["done"], true);
    let (_, service) = client.get("/v1/projects/agent-army-dev/services/run.googleapis.com").await;
    assert_eq!(service["state"], "ENABLED");
}
