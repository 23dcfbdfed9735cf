//! A sandbox whose image `app` has content: the fixture, with the libraries that it needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gcp_sandbox::runtime::{self, Image, Images, Layer};
use gcp_sandbox::world::World;
use gcp_sandbox::{Apis, Options};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{TestClient, sandbox};

pub(crate) const PARENT: &str = "projects/agent-army-dev/locations/us-central1";
pub(crate) const FIXTURE: &str = env!("CARGO_BIN_EXE_sandbox-fixture");
const NUMBER: u64 = 123_456_789_012;

/// The content of `app`; nothing else has any.
#[derive(Debug)]
struct OneImage;

impl Images for OneImage {
    fn find(&self, _: &World, reference: &str) -> Option<Image> {
        (reference == "app").then(|| Image {
            digest: format!("sha256:{}", "a".repeat(64)),
            config: json!({"config": {"Entrypoint": ["/bin/app"], "Env": ["FROM_IMAGE=yes", "OVERRIDDEN=no"]}}),
            layers: vec![Layer { path: layer().to_owned(), media_type: "application/vnd.oci.image.layer.v1.tar".into() }],
        })
    }
}

/// A layer with the fixture and with the shared libraries of this very process, which are the fixture's, too.
fn layer() -> &'static Path {
    static LAYER: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = LAYER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layer.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
        tar.append_path_with_name(FIXTURE, "bin/app").unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let mut libraries: Vec<&str> = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .filter(|path| path.contains(".so"))
            .collect();
        libraries.sort_unstable();
        libraries.dedup();
        for library in libraries {
            tar.append_path_with_name(library, library.trim_start_matches('/')).unwrap();
            if library.contains("/ld-linux") {
                tar.append_path_with_name(library, format!("lib64/{}", library.rsplit('/').next().unwrap()))
                    .unwrap();
            }
        }
        tar.finish().unwrap();
        (dir, path)
    });
    path
}

/// Another image than `app`.
pub(crate) trait InPlaceOf {
    fn in_place_of(self, image: &str) -> Self;
}

impl InPlaceOf for Value {
    fn in_place_of(self, image: &str) -> Self {
        with(self, "image", json!(image))
    }
}

/// A runtime in which a second takes so long.
pub(crate) fn runtime(second: Duration) -> runtime::Options {
    let (guard, images) = (Some(PathBuf::from(FIXTURE)), Some(Arc::new(OneImage) as Arc<dyn Images>));
    runtime::Options { guard, images, second, ..runtime::Options::default() }
}

pub(crate) fn options() -> Options {
    let seed = gcp_sandbox::ProjectSeed { id: "agent-army-dev".into(), number: Some(NUMBER) };
    Options {
        apis: Apis::All,
        seed: 1,
        projects: vec![seed],
        runtime: runtime(Duration::from_millis(50)),
        ..Options::default()
    }
}

pub(crate) struct Stage {
    pub(crate) client: TestClient,
    /// Of services that a test asks for by name.
    names: BTreeMap<&'static str, String>,
}

pub(crate) async fn stage() -> Stage {
    staged(options()).await
}

pub(crate) async fn staged(options: Options) -> Stage {
    let names = [("host", format!("{NUMBER}.us-central1.run.app"))];
    Stage { client: sandbox(options).await, names: names.into() }
}

/// A service of the image `app` in a mode of the fixture.
pub(crate) fn app(mode: &str) -> Value {
    json!({"template": {"containers": [{"image": "app", "env": [{"name": "MODE", "value": mode}]}]}})
}

/// The same with a field of the container.
pub(crate) fn with(mut service: Value, key: &str, value: Value) -> Value {
    service["template"]["containers"][0][key] = value;
    service
}

/// The same with one more variable.
pub(crate) fn var(mut service: Value, name: &str, value: &str) -> Value {
    let env = service["template"]["containers"][0]["env"].as_array_mut().unwrap();
    env.push(json!({"name": name, "value": value}));
    service
}

impl Stage {
    /// Polls an operation until it is done.
    pub(crate) async fn done(&self, operation: &Value) -> Value {
        let path = format!("/v2/{}", operation["name"].as_str().unwrap_or_else(|| panic!("{operation}")));
        loop {
            let (status, operation) = self.client.get(&path).await;
            assert_eq!(status, 200, "{operation}");
            if operation["done"] == true {
                return operation;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Creates a service and waits for the end of its operation.
    pub(crate) async fn create(&self, id: &str, service: Value) -> Value {
        let (_, operation) =
            self.client.post(&format!("/v2/{PARENT}/services?serviceId={id}"), service).await;
        self.done(&operation).await
    }

    pub(crate) async fn update(&self, id: &str, service: Value) -> Value {
        let path = format!("/v2/{PARENT}/services/{id}");
        let (_, operation) = self.client.send(Method::PATCH, &path, Some(service)).await;
        self.done(&operation).await
    }

    pub(crate) async fn service(&self, id: &str) -> Value {
        self.client.get(&format!("/v2/{PARENT}/services/{id}")).await.1
    }

    /// Lets everybody in, and waits until that has reached everywhere.
    pub(crate) async fn open(&self, id: &str) {
        let policy =
            json!({"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}});
        let (status, answer) =
            self.client.post(&format!("/v2/{PARENT}/services/{id}:setIamPolicy"), policy).await;
        assert_eq!(status, 200, "{answer}");
        for _ in 0..5 {
            self.service(id).await;
        }
    }

    /// A public service that is ready.
    pub(crate) async fn serve(&self, id: &str, service: Value) {
        let operation = self.create(id, service).await;
        assert_eq!(operation.get("error"), None, "{operation}");
        self.open(id).await;
    }

    /// The host of a service, or of a tag of it: `tag---id`.
    pub(crate) fn host(&self, id: &str) -> String {
        format!("{id}-{}", self.names["host"])
    }

    /// Asks a service.
    pub(crate) async fn ask(&self, id: &str, path: &str) -> Response {
        self.request(Method::GET, id, path).send().await.unwrap()
    }

    pub(crate) fn request(&self, method: Method, id: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, path).header("host", self.host(id))
    }

    /// The text that a service answers with 200.
    pub(crate) async fn text(&self, id: &str, path: &str) -> String {
        let response = self.ask(id, path).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    /// What runs of a revision of the service, by short name.
    pub(crate) async fn instances(&self, id: &str, revision: &str) -> Vec<Value> {
        let (_, state) = self.client.get("/__sandbox/runtime").await;
        let name = format!("{PARENT}/services/{id}/revisions/{revision}");
        state["revisions"][name]["instances"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a revision has so many instances, and answers them.
    pub(crate) async fn until_instances(&self, id: &str, revision: &str, count: usize) -> Vec<Value> {
        loop {
            let found = self.instances(id, revision).await;
            if found.len() == count {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The short name of the revision that was made last.
    pub(crate) async fn latest(&self, id: &str) -> String {
        let service = self.service(id).await;
        service["latestCreatedRevision"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }

    /// Log entries that a filter finds.
    pub(crate) async fn logs(&self, filter: &str) -> Vec<Value> {
        let body = json!({"resourceNames": ["projects/agent-army-dev"], "filter": filter, "pageSize": 1000});
        let (status, answer) = self.client.post("/logging.googleapis.com/v2/entries:list", body).await;
        assert_eq!(status, 200, "{answer}");
        answer["entries"].as_array().cloned().unwrap_or_default()
    }

    /// Waits for a log entry.
    pub(crate) async fn until_logged(&self, filter: &str) -> Value {
        loop {
            if let Some(entry) = self.logs(filter).await.pop() {
                return entry;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Pushing over the registry protocol.
impl Stage {
    /// Pushes the fixture under the tags and answers the image's name with the first.
    pub(crate) async fn push(&self, repository: &str, image: &str, tags: &[&str]) -> String {
        let layer = std::fs::read(layer()).unwrap();
        let config = json!({"os": "linux", "config": {"Entrypoint": ["/bin/app"]}});
        for tag in tags {
            self.push_as(repository, image, tag, layer.clone(), &config).await;
        }
        format!("us-central1-docker.pkg.dev/agent-army-dev/{repository}/{image}:{}", tags[0])
    }

    /// Pushes an image whose program does not exist.
    pub(crate) async fn push_broken(&self, repository: &str, image: &str, tag: &str) {
        let empty = tar::Builder::new(Vec::new()).into_inner().unwrap();
        self.push_as(
            repository,
            image,
            tag,
            empty,
            &json!({"os": "linux", "config": {"Entrypoint": ["/bin/none"]}}),
        )
        .await;
    }

    /// Pushes an image for another system.
    pub(crate) async fn push_for(&self, repository: &str, image: &str, tag: &str, os: &str) -> String {
        let empty = tar::Builder::new(Vec::new()).into_inner().unwrap();
        self.push_as(
            repository,
            image,
            tag,
            empty,
            &json!({"os": os, "config": {"Entrypoint": ["/bin/none"]}}),
        )
        .await;
        format!("us-central1-docker.pkg.dev/agent-army-dev/{repository}/{image}:{tag}")
    }

    async fn push_as(&self, repository: &str, image: &str, tag: &str, layer: Vec<u8>, config: &Value) {
        let repositories = format!("/v1/{PARENT}/repositories");
        let (_, made) = self
            .client
            .post(&format!("{repositories}?repositoryId={repository}"), json!({"format": "DOCKER"}))
            .await;
        if let Some(operation) = made["name"].as_str().filter(|name| name.contains("/operations/")) {
            while self.client.get(&format!("/v1/{operation}")).await.1["done"] != true {}
        }
        let base = format!("/v2/us-central1-docker.pkg.dev/agent-army-dev/{repository}/{image}");
        let layer = self.blob(&base, "application/vnd.oci.image.layer.v1.tar", layer).await;
        let config = self
            .blob(&base, "application/vnd.oci.image.config.v1+json", config.to_string().into_bytes())
            .await;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
        let put =
            self.client.request(Method::PUT, &format!("{base}/manifests/{tag}")).header("content-type", kind);
        let response = put.body(manifest.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
    }

    async fn blob(&self, base: &str, kind: &str, bytes: Vec<u8>) -> Value {
        use sha2::Digest as _;
        let hash = sha2::Sha256::digest(&bytes);
        let digest = hash.iter().fold("sha256:".to_owned(), |digest, byte| format!("{digest}{byte:02x}"));
        let size = bytes.len();
        let request = self.client.request(Method::POST, &format!("{base}/blobs/uploads/?digest={digest}"));
        let request = request.header("content-type", "application/octet-stream");
        let response = request.body(bytes).send().await.unwrap();
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
        json!({"mediaType": kind, "digest": digest, "size": size})
    }
}

/// Whether a process is there.
pub(crate) fn is_alive(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}
