//! The registry protocol over HTTP, as the OCI distribution specification 1.1 describes it.

use gcp_sandbox::Options;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{TestClient, options, sandbox};

const REPOSITORIES: &str =
    "/artifactregistry.googleapis.com/v1/projects/agent-army-dev/locations/europe-west1/repositories";
const HOST: &str = "europe-west1-docker.pkg.dev";
const NAME: &str = "europe-west1-docker.pkg.dev/agent-army-dev/images/api";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Waits for an operation of Artifact Registry.
pub(crate) async fn wait(client: &TestClient, mut operation: Value) -> Value {
    while operation["done"] != true {
        let name = operation["name"].as_str().unwrap_or_else(|| panic!("{operation}"));
        operation = client.get(&format!("/artifactregistry.googleapis.com/v1/{name}")).await.1;
    }
    operation
}

/// Makes a Docker repository.
pub(crate) async fn make_repository(client: &TestClient, id: &str, docker: Value) {
    let body = json!({"format": "DOCKER", "dockerConfig": docker});
    let (_, operation) = client.post(&format!("{REPOSITORIES}?repositoryId={id}"), body).await;
    let done = wait(client, operation).await;
    assert!(done["response"].is_object(), "{done}");
}

/// A sandbox with the repository `images`.
async fn registry(options: Options) -> TestClient {
    let client = sandbox(options).await;
    make_repository(&client, "images", json!({})).await;
    client
}

/// Status, code of the first error, and its message.
async fn refused(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    let text = |key: &str| body["errors"][0][key].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("message"))
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

impl TestClient {
    fn v2(&self, method: Method, rest: &str) -> RequestBuilder {
        self.request(method, &format!("/v2/{NAME}/{rest}"))
    }

    async fn upload(&self, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        let upload = self.v2(Method::POST, &format!("blobs/uploads/?digest={digest}"));
        let response = upload.body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(response.status(), 201);
        json!({"mediaType": "application/octet-stream", "digest": digest, "size": bytes.len()})
    }

    async fn put(&self, reference: &str, media_type: &str, document: &Value) -> Response {
        let put = self.v2(Method::PUT, &format!("manifests/{reference}"));
        put.header("content-type", media_type).body(document.to_string()).send().await.unwrap()
    }

    /// Pushes an image with this layer under a tag, and answers the descriptor of its manifest.
    async fn push(&self, tag: &str, layer: &[u8]) -> Value {
        let config =
            self.upload(br#"{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05Z"}"#).await;
        let document = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
            "layers": [self.upload(layer).await]});
        let response = self.put(tag, MANIFEST, &document).await;
        assert_eq!(response.status(), 201);
        let bytes = document.to_string();
        assert_eq!(header(&response, "docker-content-digest"), digest(bytes.as_bytes()));
        json!({"mediaType": MANIFEST, "digest": digest(bytes.as_bytes()), "size": bytes.len()})
    }

    async fn pull(&self, reference: &str) -> Response {
        self.v2(Method::GET, &format!("manifests/{reference}")).send().await.unwrap()
    }
}

#[tokio::test]
async fn an_upload_in_pieces_can_be_asked_about_and_goes_on_where_it_stopped() {
    let client = registry(options()).await;
    let begun = client.v2(Method::POST, "blobs/uploads/").send().await.unwrap();
    assert_eq!(begun.status(), 202);
    let location = header(&begun, "location").to_owned();
    let patch = |range: &str, body: &'static str| {
        client.request(Method::PATCH, &location).header("content-range", range).body(body).send()
    };
    let first = patch("0-4", "hello").await.unwrap();
    assert_eq!((first.status().as_u16(), header(&first, "range")), (202, "0-4"));
    let gap = patch("7-9", "xyz").await.unwrap();
    assert_eq!((gap.status().as_u16(), header(&gap, "range")), (416, "0-4"));
    assert_eq!(refused(gap).await.1, "BLOB_UPLOAD_INVALID");
    let status = client.request(Method::GET, &location).send().await.unwrap();
    assert_eq!((status.status().as_u16(), header(&status, "range")), (204, "0-4"));
    patch("5-10", " world").await.unwrap();
    let digest = digest(b"hello world!");
    let finish = client.request(Method::PUT, &format!("{location}?digest={digest}")).body("!");
    let made = finish.send().await.unwrap();
    assert_eq!((made.status().as_u16(), header(&made, "docker-content-digest")), (201, &*digest));
    let pulled = client.request(Method::GET, header(&made, "location")).send().await.unwrap();
    assert_eq!(pulled.text().await.unwrap(), "hello world!");
    let over = client.request(Method::GET, &location).send().await.unwrap();
    assert_eq!(refused(over).await.1, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_wrong_digest_is_refused_and_its_upload_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let client = registry(Options { state: Some(state.clone()), ..options() }).await;
    let begun = client.v2(Method::POST, "blobs/uploads/").send().await.unwrap();
    let location = header(&begun, "location").to_owned();
    let put = client.request(Method::PUT, &format!("{location}?digest={}", digest(b"other"))).body("this");
    let answer = refused(put.send().await.unwrap()).await;
    assert_eq!((answer.0, answer.1.as_str()), (400, "DIGEST_INVALID"));
    let weak = client.v2(Method::POST, "blobs/uploads/?digest=md5:1").body("x").send().await.unwrap();
    assert_eq!(refused(weak).await.1, "DIGEST_INVALID");
    let begun = client.v2(Method::POST, "blobs/uploads/").send().await.unwrap();
    let location = header(&begun, "location").to_owned();
    assert_eq!(client.request(Method::DELETE, &location).send().await.unwrap().status(), 204);
    for folder in ["uploads", "sha256"] {
        let left = std::fs::read_dir(state.join("blobs").join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
}

#[tokio::test]
async fn a_blob_is_pulled_whole_in_part_and_by_its_head() {
    let client = registry(options()).await;
    let blob = client.upload(b"0123456789").await;
    let path = format!("blobs/{}", blob["digest"].as_str().unwrap());
    let head = client.v2(Method::HEAD, &path).send().await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, "10"));
    assert_eq!(header(&head, "docker-distribution-api-version"), "registry/2.0");
    let part = client.v2(Method::GET, &path).header("range", "bytes=2-4").send().await.unwrap();
    assert_eq!((part.status().as_u16(), header(&part, "content-range")), (206, "bytes 2-4/10"));
    assert_eq!(part.text().await.unwrap(), "234");
    let outside = client.v2(Method::GET, &path).header("range", "bytes=10-").send().await.unwrap();
    assert_eq!(refused(outside).await.0, 416);
    let unknown = client.v2(Method::GET, &format!("blobs/{}", digest(b"nothing"))).send().await.unwrap();
    assert_eq!(refused(unknown).await.1, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_large_blob_comes_back_as_it_was() {
    let client = registry(options()).await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let blob = client.upload(&bytes).await;
    let pulled = client.v2(Method::GET, &format!("blobs/{}", blob["digest"].as_str().unwrap()));
    assert_eq!(pulled.send().await.unwrap().bytes().await.unwrap(), bytes);
}

#[tokio::test]
async fn a_blob_of_another_repository_has_to_be_mounted() {
    let client = registry(options()).await;
    make_repository(&client, "others", json!({})).await;
    let blob = client.upload(b"shared").await;
    let digest = blob["digest"].as_str().unwrap();
    let other = format!("/v2/{HOST}/agent-army-dev/others/web");
    let head = || client.request(Method::HEAD, &format!("{other}/blobs/{digest}")).send();
    assert_eq!(head().await.unwrap().status(), 404);
    let nowhere = format!("{other}/blobs/uploads/?mount={digest}&from={HOST}/agent-army-dev/none/api");
    assert_eq!(client.request(Method::POST, &nowhere).send().await.unwrap().status(), 202);
    let mount = format!("{other}/blobs/uploads/?mount={digest}&from={NAME}");
    let mounted = client.request(Method::POST, &mount).send().await.unwrap();
    assert_eq!(
        (mounted.status().as_u16(), header(&mounted, "location")),
        (201, &*format!("{other}/blobs/{digest}"))
    );
    assert_eq!(head().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_manifest_needs_what_it_names() {
    let client = registry(options()).await;
    let config = client.upload(b"{}").await;
    let absent = json!({"mediaType": "x/y", "digest": digest(b"absent"), "size": 6});
    let document = json!({"schemaVersion": 2, "config": config, "layers": [absent]});
    let answer = refused(client.put("v1", MANIFEST, &document).await).await;
    assert_eq!((answer.0, answer.1.as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    let index = json!({"schemaVersion": 2, "manifests": [absent]});
    assert_eq!(refused(client.put("v1", INDEX, &index).await).await.1, "MANIFEST_BLOB_UNKNOWN");
    let mut larger = client.upload(b"layer").await;
    larger["size"] = json!(6);
    let document = json!({"schemaVersion": 2, "config": config, "layers": [larger]});
    assert_eq!(refused(client.put("v1", MANIFEST, &document).await).await.1, "MANIFEST_INVALID");
    assert_eq!(refused(client.pull("v1").await).await.1, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_manifest_is_found_by_tag_and_digest_and_by_nothing_else() {
    let client = registry(options()).await;
    let pushed = client.push("v1", b"layer").await;
    let digest = pushed["digest"].as_str().unwrap();
    for reference in ["v1", digest] {
        let pulled = client.pull(reference).await;
        assert_eq!((pulled.status().as_u16(), header(&pulled, "content-type")), (200, MANIFEST));
        assert_eq!(header(&pulled, "docker-content-digest"), digest);
        let body = pulled.bytes().await.unwrap();
        assert_eq!(self::digest(&body), digest);
        let head = client.v2(Method::HEAD, &format!("manifests/{reference}")).send().await.unwrap();
        assert_eq!(header(&head, "content-length"), body.len().to_string());
    }
    assert_eq!(refused(client.pull("v2").await).await.1, "MANIFEST_UNKNOWN");
    assert_eq!(refused(client.pull("sha256:1").await).await.1, "DIGEST_INVALID");
    let other = json!({"schemaVersion": 2, "manifests": []});
    assert_eq!(refused(client.put(digest, INDEX, &other).await).await.1, "DIGEST_INVALID");
    let narrow = client.v2(Method::GET, "manifests/v1").header("accept", INDEX).send().await.unwrap();
    assert_eq!(refused(narrow).await.1, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_push_shows_in_the_v1_api_and_what_goes_there_goes_here() {
    let client = registry(options()).await;
    let pushed = client.push("v1", b"layer").await;
    let digest = pushed["digest"].as_str().unwrap();
    let (_, image) = client.get(&format!("{REPOSITORIES}/images/dockerImages/api@{digest}")).await;
    assert_eq!(image["uri"], format!("{NAME}@{digest}"));
    assert_eq!((&image["tags"], &image["mediaType"]), (&json!(["v1"]), &json!(MANIFEST)));
    assert_eq!(image["buildTime"], "2026-01-02T03:04:05.000000Z");
    assert_eq!(image["imageSizeBytes"], (70 + 5).to_string());
    let package = format!("{REPOSITORIES}/images/packages/api");
    assert_eq!(client.get(&format!("{package}/tags/v1")).await.0, 200);
    let (_, version) = client.get(&format!("{package}/versions/{digest}")).await;
    assert!(version["metadata"].is_object() && version.get("_content").is_none(), "{version}");
    let delete = format!("{package}/versions/{digest}?force=true");
    let (_, operation) = client.send(Method::DELETE, &delete, None).await;
    wait(&client, operation).await;
    assert_eq!(refused(client.pull("v1").await).await.1, "MANIFEST_UNKNOWN");
    assert_eq!(refused(client.pull(digest).await).await.1, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn cleanup_takes_a_pushed_image_and_leaves_what_an_index_lists() {
    let client = registry(options()).await;
    let child = client.push("child", b"one").await;
    let index = json!({"schemaVersion": 2, "manifests": [child]});
    assert_eq!(client.put("kept", INDEX, &index).await.status(), 201);
    client.v2(Method::DELETE, "manifests/child").send().await.unwrap();
    client.push("gone", b"two").await;
    client.v2(Method::DELETE, "manifests/gone").send().await.unwrap();
    let policies =
        json!({"cleanupPolicies": {"all": {"action": "DELETE", "condition": {"tagState": "UNTAGGED"}}}});
    let patch = format!("{REPOSITORIES}/images?updateMask=cleanupPolicies");
    assert_eq!(client.send(Method::PATCH, &patch, Some(policies)).await.0, 200);
    let (_, report) = client.post("/__sandbox/artifacts/cleanup", json!({})).await;
    assert_eq!(report["deleted"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(client.pull(child["digest"].as_str().unwrap()).await.status(), 200);
    let version =
        format!("{REPOSITORIES}/images/packages/api/versions/{}", child["digest"].as_str().unwrap());
    assert_eq!(client.send(Method::DELETE, &version, None).await.0, 400);
}

#[tokio::test]
async fn what_is_referred_to_is_not_deleted() {
    let client = registry(options()).await;
    let child = client.push("v1", b"layer").await;
    let digest = child["digest"].as_str().unwrap();
    let delete = |reference: String| client.v2(Method::DELETE, &reference).send();
    let answer = refused(delete(format!("manifests/{digest}")).await.unwrap()).await;
    assert_eq!((answer.0, answer.1.as_str()), (400, "GOOGLE_MANIFEST_DANGLING_TAG"));
    let layer = delete(format!("blobs/{}", self::digest(b"layer"))).await.unwrap();
    assert_eq!(refused(layer).await.0, 405);
    let index = json!({"schemaVersion": 2, "manifests": [child]});
    client.put("all", INDEX, &index).await;
    assert_eq!(delete("manifests/v1".to_owned()).await.unwrap().status(), 202);
    let answer = refused(delete(format!("manifests/{digest}")).await.unwrap()).await;
    assert_eq!(answer.1, "GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE");
    delete("manifests/all".to_owned()).await.unwrap();
    let index = self::digest(index.to_string().as_bytes());
    for gone in [
        format!("manifests/{index}"),
        format!("manifests/{digest}"),
        format!("blobs/{}", self::digest(b"layer")),
    ] {
        assert_eq!(delete(gone.clone()).await.unwrap().status(), 202, "{gone}");
    }
    assert_eq!(client.pull(digest).await.status(), 404);
}

#[tokio::test]
async fn tags_come_in_pages() {
    let client = registry(options()).await;
    for tag in ["v2", "V1", "a"] {
        client.push(tag, b"layer").await;
    }
    let page = client.v2(Method::GET, "tags/list?n=2").send().await.unwrap();
    let next = header(&page, "link").split_once('>').unwrap().0.trim_start_matches('<').to_owned();
    assert_eq!(page.json::<Value>().await.unwrap(), json!({"name": NAME, "tags": ["a", "V1"]}));
    let page = client.request(Method::GET, &next).send().await.unwrap();
    assert_eq!(header(&page, "link"), "");
    assert_eq!(page.json::<Value>().await.unwrap()["tags"], json!(["v2"]));
    let unknown = client.request(Method::GET, &format!("/v2/{NAME}x/tags/list")).send().await.unwrap();
    assert_eq!(refused(unknown).await.1, "NAME_UNKNOWN");
}

#[tokio::test]
async fn what_refers_to_an_image_is_listed() {
    let client = registry(options()).await;
    let image = client.push("v1", b"layer").await;
    let document = json!({"schemaVersion": 2, "artifactType": "text/signature", "config": client.upload(b"{}").await,
        "layers": [], "subject": image, "annotations": {"by": "me"}});
    let pushed = client.put(&digest(document.to_string().as_bytes()), MANIFEST, &document).await;
    assert_eq!(header(&pushed, "oci-subject"), image["digest"]);
    let list = async |query: &str| {
        let path = format!("referrers/{}{query}", image["digest"].as_str().unwrap());
        client.v2(Method::GET, &path).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let found = list("").await;
    assert_eq!(found["manifests"][0]["artifactType"], "text/signature");
    assert_eq!(found["manifests"][0]["annotations"]["by"], "me");
    assert_eq!(list("?artifactType=text/other").await["manifests"], json!([]));
}

#[tokio::test]
async fn an_immutable_tag_stays_where_it_is() {
    let client = sandbox(options()).await;
    make_repository(&client, "images", json!({"immutableTags": true})).await;
    let first = client.push("v1", b"one").await;
    client.push("v1", b"one").await;
    let mut document: Value = client.pull("v1").await.json().await.unwrap();
    document["layers"] = json!([client.upload(b"two").await]);
    let answer = refused(client.put("v1", MANIFEST, &document).await).await;
    assert_eq!((answer.0, answer.1.as_str()), (400, "MANIFEST_INVALID"));
    let delete = client.v2(Method::DELETE, "manifests/v1").send().await.unwrap();
    assert_eq!(delete.status(), 400);
    assert_eq!(header(&client.pull("v1").await, "docker-content-digest"), first["digest"]);
    let (_, images) = client.get(&format!("{REPOSITORIES}/images/dockerImages")).await;
    assert_eq!(images["dockerImages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_seeded_image_says_that_it_has_no_content() {
    let client = registry(options()).await;
    client.post("/__sandbox/artifacts", json!({"image": format!("{NAME}:v1")})).await;
    let (status, code, message) = refused(client.pull("v1").await).await;
    assert_eq!((status, code.as_str()), (404, "MANIFEST_UNKNOWN"));
    assert!(message.contains("no content"), "{message}");
}

#[tokio::test]
async fn a_repository_has_to_exist_and_to_hold_docker_images() {
    let client = sandbox(options()).await;
    let (status, code, message) = refused(client.pull("v1").await).await;
    assert_eq!((status, code.as_str()), (404, "NAME_UNKNOWN"));
    assert!(message.contains("repositories/images"), "{message}");
    let (_, operation) =
        client.post(&format!("{REPOSITORIES}?repositoryId=images"), json!({"format": "PYTHON"})).await;
    wait(&client, operation).await;
    assert_eq!(refused(client.pull("v1").await).await.1, "UNSUPPORTED");
    let elsewhere = client.request(Method::GET, "/v2/library/nginx/manifests/v1").send().await.unwrap();
    assert_eq!(refused(elsewhere).await.1, "NAME_UNKNOWN");
}

#[tokio::test]
async fn the_api_has_to_be_enabled() {
    let client = sandbox(Options { apis: gcp_sandbox::Apis::Default, ..options() }).await;
    let (status, code, message) = refused(client.pull("v1").await).await;
    assert_eq!((status, code.as_str()), (403, "DENIED"));
    assert!(message.contains("artifactregistry.googleapis.com"), "{message}");
}

#[tokio::test]
async fn one_image_is_reached_by_all_three_forms() {
    let client = registry(options()).await;
    let pushed = client.push("v1", b"layer").await;
    let rest = "agent-army-dev/images/api/manifests/v1";
    let by_host = client.request(Method::GET, &format!("/v2/{rest}")).header("host", HOST);
    let by_prefix = client.request(Method::GET, &format!("/{HOST}/v2/{rest}"));
    for request in [by_host, by_prefix] {
        let response = request.send().await.unwrap();
        assert_eq!(header(&response, "docker-content-digest"), pushed["digest"]);
    }
    let begin = format!("/{HOST}/v2/agent-army-dev/images/api/blobs/uploads/");
    let answer = client.request(Method::POST, &begin).send().await.unwrap();
    assert!(header(&answer, "location").starts_with(&begin), "{answer:?}");
    let (status, _) = client.get("/v2/projects/agent-army-dev/locations/europe-west1/services").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn what_was_pushed_survives_a_restart_and_what_nobody_needs_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let kept = || Options { state: Some(state.clone()), ..options() };
    let client = registry(kept()).await;
    client.push("v1", b"layer").await;
    client.v2(Method::POST, "blobs/uploads/").send().await.unwrap();
    client.upload(b"not yet named").await;
    client.sandbox.stop().await;
    std::fs::write(state.join("blobs/sha256").join("0".repeat(64)), "an orphan").unwrap();

    let client = registry_again(kept()).await;
    assert_eq!(client.pull("v1").await.status(), 200);
    let count = |folder: &str| std::fs::read_dir(state.join("blobs").join(folder)).unwrap().count();
    assert_eq!((count("uploads"), count("sha256")), (0, 4));
    let reset = client.request(Method::POST, "/__sandbox/reset").send().await.unwrap();
    assert_eq!((reset.status().as_u16(), count("sha256")), (200, 0));
    make_repository(&client, "images", json!({})).await;
    client.push("v1", b"layer").await;
    client.sandbox.stop().await;
    assert!(gcp_sandbox::reset(&state).unwrap());
    assert!(!state.join("blobs").exists());
}

async fn registry_again(options: Options) -> TestClient {
    sandbox(options).await
}

#[tokio::test]
async fn a_blob_that_no_manifest_names_goes_after_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let clock = gcp_sandbox::ManualClock::new("2027-06-01T12:00:00Z".parse().unwrap());
    let kept = || Options {
        state: Some(state.clone()),
        clock: Some(std::sync::Arc::new(clock.clone())),
        ..options()
    };
    let client = registry(kept()).await;
    client.push("v1", b"layer").await;
    client.upload(b"not yet named").await;
    client.sandbox.stop().await;
    clock.advance(std::time::Duration::from_hours(25));
    let client = sandbox(kept()).await;
    let status = async |blob: &[u8]| {
        client.v2(Method::HEAD, &format!("blobs/{}", digest(blob))).send().await.unwrap().status().as_u16()
    };
    assert_eq!((status(b"layer").await, status(b"not yet named").await), (200, 404));
}

#[tokio::test]
async fn the_registry_meets_faults_and_is_on_the_record() {
    let client = registry(options()).await;
    client.fault(json!({"match": {"path": "/blobs/uploads/"}, "nth": 1, "do": {"status": 503}})).await;
    let begin = || client.v2(Method::POST, "blobs/uploads/").send();
    assert_eq!(begin().await.unwrap().status(), 503);
    assert_eq!(begin().await.unwrap().status(), 202);
    let (_, calls) = client.get("/__sandbox/calls").await;
    let last = calls["calls"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["http"], &last["status"], &last["write"]), (&json!("POST"), &json!(202), &json!(true)));
}
