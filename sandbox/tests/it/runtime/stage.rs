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

use crate::support::{SECRETS, TestClient, eventually, sandbox};

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
            layers: vec![Layer { path: layer().to_owned(), media_type: TAR.into() }],
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
        eventually(&path, async || {
            let (status, operation) = self.client.get(&path).await;
            assert_eq!(status, 200, "{operation}");
            (operation["done"] == true).then_some(operation)
        })
        .await
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

    /// What there is of a revision of the service, by short name.
    pub(crate) async fn pool(&self, id: &str, revision: &str) -> Value {
        let (_, mut state) = self.client.get("/__sandbox/runtime").await;
        state["revisions"][format!("{PARENT}/services/{id}/revisions/{revision}")].take()
    }

    /// Its instances.
    pub(crate) async fn instances(&self, id: &str, revision: &str) -> Vec<Value> {
        self.pool(id, revision).await["instances"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a revision has so many instances, and answers them.
    pub(crate) async fn until_instances(&self, id: &str, revision: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} instances of {revision}"), async || {
            Some(self.instances(id, revision).await).filter(|found| found.len() == count)
        })
        .await
    }

    /// Waits until what there is of a revision fits, and answers it.
    pub(crate) async fn until(&self, id: &str, revision: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let what = format!("the instances of {revision}");
        eventually(&what, async || Some(self.pool(id, revision).await).filter(|pool| fits(pool))).await
    }

    /// Asks one instance past the front door.
    pub(crate) async fn ask_instance(&self, instance: &Value, path: &str) -> Response {
        let url = format!("http://127.0.0.1:{}{path}", instance["port"]);
        self.client.http.get(url).send().await.unwrap()
    }

    /// The short name of the revision that was made last.
    pub(crate) async fn latest(&self, id: &str) -> String {
        let service = self.service(id).await;
        service["latestCreatedRevision"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }

    /// A secret with a first value, which instances may read.
    pub(crate) async fn secret(&self, id: &str, value: &str) {
        self.client.make_secret(id).await;
        self.add_version(id, value).await;
        let grant = json!({"policy": {"bindings": [{"role": "roles/secretmanager.secretAccessor",
            "members": ["serviceAccount:123456789012-compute@developer.gserviceaccount.com"]}]}});
        self.client.post(&format!("{SECRETS}/{id}:setIamPolicy"), grant).await;
        for _ in 0..5 {
            self.service("none").await;
        }
    }

    pub(crate) async fn add_version(&self, id: &str, value: &str) {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.encode(value);
        let (status, answer) =
            self.client.post(&format!("{SECRETS}/{id}:addVersion"), json!({"payload": {"data": data}})).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Whether instances have a root of their own here.
    pub(crate) async fn is_isolated(&self) -> bool {
        self.client.get("/__sandbox/runtime").await.1["isolated"] == true
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
        eventually(filter, async || self.logs(filter).await.pop()).await
    }
}

/// The media type of the layers that are pushed.
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// A file of a layer: its path, what is in it, and the number of the user whose it is. What ends in `/` is a folder.
pub(crate) type File<'a> = (&'a str, &'a str, u64);

/// A layer with these files.
fn layer_of(files: &[File<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text, owner) in files {
        let mut header = tar::Header::new_gnu();
        let folder = path.ends_with('/');
        header.set_entry_type(if folder { tar::EntryType::Directory } else { tar::EntryType::Regular });
        header.set_mode(if folder { 0o755 } else { 0o644 });
        header.set_uid(*owner);
        header.set_gid(*owner);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Pushing over the registry protocol.
impl Stage {
    /// Pushes the fixture under the tags and answers the image's name with the first.
    pub(crate) async fn push(&self, repository: &str, image: &str, tags: &[&str]) -> String {
        let config = json!({"os": "linux", "config": {"Entrypoint": ["/bin/app"]}});
        for tag in tags {
            self.push_as(repository, image, tag, &[std::fs::read(layer()).unwrap()], &config).await;
        }
        reference(repository, image, tags[0])
    }

    /// Pushes the fixture with these files over it, to be run as `user`.
    pub(crate) async fn push_for_user(&self, user: &str, files: &[File<'_>]) -> String {
        let config = json!({"os": "linux", "config": {"Entrypoint": ["/bin/app"], "User": user}});
        let layers = [std::fs::read(layer()).unwrap(), layer_of(files)];
        let image = format!("for{}", user.replace(':', "-"));
        self.push_as("images", &image, "1", &layers, &config).await;
        reference("images", &image, "1")
    }

    /// Pushes an image for an operating system, with these labels, whose program does not exist.
    pub(crate) async fn push_for(&self, repository: &str, image: &str, os: &str, labels: Value) -> String {
        let config = json!({"os": os, "config": {"Entrypoint": ["/bin/none"], "Labels": labels}});
        self.push_as(repository, image, "1", &[layer_of(&[])], &config).await;
        reference(repository, image, "1")
    }

    async fn push_as(&self, repository: &str, image: &str, tag: &str, layers: &[Vec<u8>], config: &Value) {
        let repositories = format!("/v1/{PARENT}/repositories");
        let (_, made) = self
            .client
            .post(&format!("{repositories}?repositoryId={repository}"), json!({"format": "DOCKER"}))
            .await;
        if let Some(operation) = made["name"].as_str().filter(|name| name.contains("/operations/")) {
            while self.client.get(&format!("/v1/{operation}")).await.1["done"] != true {}
        }
        let base = format!("/v2/{}/{image}", folder_of(repository));
        let mut pushed = Vec::new();
        for layer in layers {
            pushed.push(self.blob(&base, TAR, layer.clone()).await);
        }
        let config = self
            .blob(&base, "application/vnd.oci.image.config.v1+json", config.to_string().into_bytes())
            .await;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": pushed});
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

fn folder_of(repository: &str) -> String {
    format!("us-central1-docker.pkg.dev/agent-army-dev/{repository}")
}

fn reference(repository: &str, image: &str, tag: &str) -> String {
    format!("{}/{image}:{tag}", folder_of(repository))
}

/// Whether a process is there.
pub(crate) fn is_alive(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}
