//! Images in Artifact Registry, over the registry protocol (OCI distribution specification 1.1) that `docker push`
//! speaks too. An endpoint in Google's place serves it below `/v2/`.

use std::time::Duration;

use futures::TryStreamExt;
use http::{HeaderValue, header};
use oci_client::Reference;
use oci_client::client::{Client, ClientConfig, ClientProtocol, linux_amd64_resolver};
use oci_client::errors::{OciDistributionError, OciEnvelope, OciError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use serde_json::{Value, json};

use super::api::{Api, Method};
use super::auth;
use super::client::{Call, Gcp, unbuildable};
use super::error::{ErrorKind, GcpError};
use super::failure::{BoxError, Failure, Stage, chain};
use super::rest::broken;

// The registry protocol is in no discovery document: these ids are for logs, and their ends are what the role for a
// refused call is found by.
const FIND: Method = Method::read(Api::ArtifactRegistry, "HEAD", "artifactregistry.docker.manifests.get");
const READ: Method = Method::read(Api::ArtifactRegistry, "GET", "artifactregistry.docker.manifests.get");
const HAS: Method = Method::read(Api::ArtifactRegistry, "HEAD", "artifactregistry.docker.blobs.get");
const SEND: Method =
    Method::write(Api::ArtifactRegistry, "PUT", "artifactregistry.docker.blobs.uploadArtifacts");
const NAME: Method =
    Method::write(Api::ArtifactRegistry, "PUT", "artifactregistry.docker.manifests.uploadArtifacts");

/// How hosts of Artifact Registry end.
const HOSTS: &str = ".pkg.dev";

/// How long a registry may be silent while it takes or sends a layer.
const SILENCE: Duration = Duration::from_mins(2);

/// A part of an image, by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Bytes, as they are stored.
    pub size: u64,
}

/// A part of an image, with what it holds.
#[derive(Debug, Clone)]
pub struct Blob {
    pub media_type: &'static str,
    /// `sha256:...` of the bytes.
    pub digest: String,
    pub bytes: Vec<u8>,
}

impl Blob {
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.to_owned(),
            digest: self.digest.clone(),
            size: u64::try_from(self.bytes.len()).unwrap_or(u64::MAX),
        }
    }
}

/// The document that makes an image of its parts. Its digest is the image's.
#[derive(Debug, Clone)]
pub struct PushedManifest {
    pub media_type: &'static str,
    pub digest: String,
    pub bytes: Vec<u8>,
}

/// An image that others are put on.
#[derive(Debug, Clone)]
pub struct BaseImage {
    pub layers: Vec<Descriptor>,
    /// Its configuration (`application/vnd.oci.image.config.v1+json`).
    pub config: Value,
}

/// A push.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// The image without tag and digest: `REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME`.
    pub image: &'a str,
    pub blobs: &'a [Blob],
    /// Layers that lie in the image `base`.
    pub base_layers: &'a [Descriptor],
    pub base: Option<&'a str>,
    pub manifest: &'a PushedManifest,
    pub tags: &'a [String],
}

/// An image in its registry, and how to reach that.
struct Registry {
    client: Client,
    auth: RegistryAuth,
    reference: Reference,
    /// As `projects/P/repositories/R` where it is Artifact Registry's: what hints are made from.
    resource: String,
}

impl Gcp {
    /// An image as other programs have to name it, such as `docker push`: an endpoint that stands in for Google is a part
    /// of the name.
    pub fn image_address(&self, image: &str) -> String {
        self.endpoint().image(image)
    }

    /// The digest of an image with a tag or digest; `None` when there is no such image, no repository for it,
    /// or its API is not enabled yet.
    pub async fn image_digest(&self, image: &str) -> Result<Option<String>, GcpError> {
        let doing = format!("look up the image {image}");
        let registry = self.registry(&doing, image).await?;
        let send = async || registry.client.fetch_manifest_digest(&registry.reference, &registry.auth).await;
        match self.registry_call(&FIND, &doing, &registry, send).await {
            Ok(digest) => Ok(Some(digest)),
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::ServiceDisabled { .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads an image that others are put on; of one for several platforms, the part for linux/amd64.
    pub async fn base_image(&self, image: &str) -> Result<BaseImage, GcpError> {
        let doing = format!("read the base image {image}");
        let registry = self.registry(&doing, image).await?;
        let send =
            async || registry.client.pull_manifest_and_config(&registry.reference, &registry.auth).await;
        let (manifest, _, config) = self.registry_call(&READ, &doing, &registry, send).await?;
        let layers = manifest.layers.into_iter().map(|layer| Descriptor {
            media_type: layer.media_type,
            digest: layer.digest,
            size: u64::try_from(layer.size).unwrap_or_default(),
        });
        let config = serde_json::from_str(&config).map_err(|error| {
            GcpError::new(&doing, ErrorKind::Unreadable, "its configuration is not JSON").with_source(error)
        })?;
        Ok(BaseImage { layers: layers.collect(), config })
    }

    /// Pushes an image and gives it its tags; parts that the registry has are not sent again. Gives the bytes that were sent.
    pub async fn push_image(&self, push: &Push<'_>) -> Result<u64, GcpError> {
        let doing = format!("push the image {}", push.image);
        let registry = self.registry(&doing, push.image).await?;
        let mut sent = 0;
        for layer in push.base_layers {
            sent += self.take_over(&doing, &registry, layer, push.base.unwrap_or_default()).await?;
        }
        for blob in push.blobs {
            sent += self.send_blob(&doing, &registry, blob).await?;
        }
        for tag in push.tags {
            self.name_image(&format!("{}:{tag}", push.image), push.manifest).await?;
        }
        Ok(sent)
    }

    async fn has_blob(&self, doing: &str, registry: &Registry, digest: &str) -> Result<bool, GcpError> {
        let send = async || {
            registry.client.store_auth_if_needed(registry.reference.resolve_registry(), &registry.auth).await;
            registry.client.blob_exists(&registry.reference, digest).await
        };
        self.registry_call(&HAS, doing, registry, send).await
    }

    async fn send_blob(&self, doing: &str, registry: &Registry, blob: &Blob) -> Result<u64, GcpError> {
        if self.has_blob(doing, registry, &blob.digest).await? {
            return Ok(0);
        }
        let send =
            async || registry.client.push_blob(&registry.reference, blob.bytes.clone(), &blob.digest).await;
        self.registry_call(&SEND, doing, registry, send).await?;
        Ok(blob.descriptor().size)
    }

    /// Copies a layer from the image `base`, which may lie in another registry.
    async fn take_over(
        &self,
        doing: &str,
        registry: &Registry,
        layer: &Descriptor,
        base: &str,
    ) -> Result<u64, GcpError> {
        if self.has_blob(doing, registry, &layer.digest).await? {
            return Ok(0);
        }
        let source = self.registry(doing, base).await?;
        let descriptor = OciDescriptor { digest: layer.digest.clone(), ..OciDescriptor::default() };
        let send = async || {
            source.client.store_auth_if_needed(source.reference.resolve_registry(), &source.auth).await;
            let layer_bytes = source.client.pull_blob_stream(&source.reference, &descriptor).await?;
            let bytes = layer_bytes.stream.map_err(OciDistributionError::from);
            registry
                .client
                .push_blob_stream(&registry.reference, bytes, &layer.digest, Some(layer.size))
                .await
        };
        self.registry_call(&SEND, doing, registry, send).await?;
        Ok(layer.size)
    }

    /// Lets a tag point to an image. One that does so already is left alone: it may not be movable.
    async fn name_image(&self, tagged: &str, manifest: &PushedManifest) -> Result<(), GcpError> {
        if self.image_digest(tagged).await?.as_ref() == Some(&manifest.digest) {
            return Ok(());
        }
        let doing = format!("push the image {tagged}");
        let registry = self.registry(&doing, tagged).await?;
        registry.client.store_auth_if_needed(registry.reference.resolve_registry(), &registry.auth).await;
        let kind = HeaderValue::from_static(manifest.media_type);
        let send = async || {
            let bytes = manifest.bytes.clone();
            registry.client.push_manifest_raw(&registry.reference, bytes, kind.clone()).await
        };
        self.registry_call(&NAME, &doing, &registry, send).await.map(drop)
    }

    async fn registry_call<T, F>(
        &self,
        method: &'static Method,
        doing: &str,
        registry: &Registry,
        send: F,
    ) -> Result<T, GcpError>
    where
        F: AsyncFn() -> Result<T, OciDistributionError>,
    {
        let call = Call { method, doing, resource: &registry.resource };
        self.call(&call, async || send().await.map_err(failure)).await
    }

    /// The registry of an image. Google's credentials go to Artifact Registry and to nobody else.
    async fn registry(&self, doing: &str, image: &str) -> Result<Registry, GcpError> {
        let refuse = |why: String| GcpError::new(doing, ErrorKind::InvalidArgument, why);
        let address = self.image_address(image);
        let reference: Reference =
            address.parse().map_err(|error| refuse(format!("`{image}` is no reference ({error})")))?;
        let loopback = super::endpoint::is_loopback_host(reference.resolve_registry());
        let auth = if is_artifact_registry(image) {
            let call = Call { method: &READ, doing, resource: &resource(image) };
            let headers = self.call(&call, async || auth::headers(self.credentials()).await).await?;
            let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            match token.and_then(|value| value.strip_prefix("Bearer ")) {
                Some(token) => RegistryAuth::Bearer(token.to_owned()),
                None => RegistryAuth::Anonymous,
            }
        } else {
            RegistryAuth::Anonymous
        };
        let client = client(loopback).map_err(|error| refuse(chain(&error)))?;
        Ok(Registry { client, auth, reference, resource: resource(image) })
    }
}

fn is_artifact_registry(image: &str) -> bool {
    image.split('/').next().is_some_and(|host| host.ends_with(HOSTS))
}

/// `projects/P/repositories/R`, as hints need it; the image itself where it lies elsewhere.
fn resource(image: &str) -> String {
    let mut parts = image.split('/').skip(1);
    match (is_artifact_registry(image), parts.next(), parts.next()) {
        (true, Some(project), Some(repository)) => format!("projects/{project}/repositories/{repository}"),
        _ => image.to_owned(),
    }
}

fn client(loopback: bool) -> Result<Client, OciDistributionError> {
    let protocol = if loopback { ClientProtocol::Http } else { ClientProtocol::Https };
    // No proxy leads back to this machine. The client has no other way to say so.
    let nobody = loopback.then(|| "http://127.0.0.1:9".to_owned());
    Client::try_from(ClientConfig {
        protocol,
        use_monolithic_push: true,
        platform_resolver: Some(Box::new(linux_amd64_resolver)),
        connect_timeout: Some(Duration::from_secs(10)),
        read_timeout: Some(SILENCE),
        user_agent: concat!("deployer/", env!("CARGO_PKG_VERSION")),
        no_proxy: nobody.is_some().then(|| "localhost,127.0.0.0/8,::1".to_owned()),
        http_proxy: nobody,
        ..ClientConfig::default()
    })
}

/// An error of the protocol in the words of all other calls.
fn failure(error: OciDistributionError) -> Failure {
    match error {
        OciDistributionError::RequestError(error) => match error.status() {
            Some(status) => Failure::answered(status.as_u16(), None, b""),
            None => broken(error),
        },
        OciDistributionError::ServerError { code, message, .. } => {
            // Of answers to writes the client reads the status alone.
            let said = serde_json::from_str::<OciEnvelope>(&message).ok().map(|envelope| words(&envelope));
            match said.filter(|said| !said.is_empty()) {
                Some(said) => answered(code, said),
                None => Failure::answered(code, None, message.as_bytes()),
            }
        }
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            Failure::answered(401, None, br#"{"error": {"message": "the registry refuses the credentials"}}"#)
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            let status = envelope.errors.first().map_or(500, |error| status(&error.code));
            answered(status, words(&envelope))
        }
        OciDistributionError::ImageManifestNotFoundError(why) => {
            Failure::from_status(404, None, why, Vec::new())
        }
        OciDistributionError::UrlParseError(why) => unbuildable(why),
        error => {
            let message = chain(&error);
            Failure::without_answer(Stage::Unreadable, message, Some(BoxError::from(error)))
        }
    }
}

/// The failure that the registry told in words. That its API is not enabled has no code of its own in this protocol.
fn answered(status: u16, said: String) -> Failure {
    let disabled = status == 403 && said.contains("has not been used in project");
    let detail = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"});
    Failure::from_status(status, None, said, disabled.then_some(detail).into_iter().collect())
}

fn words(envelope: &OciEnvelope) -> String {
    envelope.errors.iter().map(said).collect::<Vec<_>>().join("; ")
}

fn said(error: &OciError) -> String {
    let code = serde_json::to_value(&error.code).ok().and_then(|code| code.as_str().map(str::to_owned));
    match (error.message.is_empty(), code) {
        (true, Some(code)) => format!("the registry answered {code}"),
        (true, None) => "the registry refused".to_owned(),
        (false, _) => error.message.clone(),
    }
}

/// The HTTP status that goes with a code of the specification, which the client does not hand on.
fn status(code: &OciErrorCode) -> u16 {
    match code {
        OciErrorCode::Unauthorized => 401,
        OciErrorCode::Denied => 403,
        OciErrorCode::BlobUnknown
        | OciErrorCode::ManifestUnknown
        | OciErrorCode::NameUnknown
        | OciErrorCode::NotFound => 404,
        OciErrorCode::Toomanyrequests => 429,
        OciErrorCode::Other(code) if code == "UNAVAILABLE" => 503,
        OciErrorCode::Other(code) if code == "INTERNAL" || code == "UNKNOWN" => 500,
        _ => 400,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcp::testserver::{Answer, Seen, Server};

    const IMAGE: &str = "us-docker.pkg.dev/p/r/api";
    const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn answer(status: u16) -> Answer {
        Answer::json(status, json!({}))
    }

    fn refusal(status: u16, code: &str, message: &str) -> Answer {
        Answer::json(status, json!({"errors": [{"code": code, "message": message}]}))
    }

    fn blob() -> Blob {
        Blob { media_type: "application/octet-stream", digest: DIGEST.into(), bytes: b"hello".to_vec() }
    }

    fn manifest() -> PushedManifest {
        PushedManifest {
            media_type: "application/vnd.oci.image.manifest.v1+json",
            digest: format!("sha256:{}", "1".repeat(64)),
            bytes: b"{}".to_vec(),
        }
    }

    /// A registry that has the blob or not, and no manifest.
    async fn registry(has_blob: bool) -> Server {
        Server::serve(move |seen: &Seen| match (seen.verb.as_str(), seen.line().contains("/manifests/")) {
            ("HEAD", false) if has_blob => answer(200),
            ("HEAD", _) => answer(404),
            ("GET", _) => refusal(404, "MANIFEST_UNKNOWN", "no such manifest"),
            ("POST", _) => answer(202).header("Location: /upload/1"),
            _ => answer(201).header("Location: /done"),
        })
        .await
    }

    async fn pushed(server: &Server) -> Result<u64, GcpError> {
        let (blobs, manifest, tags) = ([blob()], manifest(), ["v1".to_owned()]);
        let push = Push {
            image: IMAGE,
            blobs: &blobs,
            base_layers: &[],
            base: None,
            manifest: &manifest,
            tags: &tags,
        };
        server.gcp().await.push_image(&push).await
    }

    fn lines(server: &Server) -> Vec<String> {
        server.requests().iter().map(Seen::line).collect()
    }

    #[tokio::test]
    async fn an_image_is_pushed_below_the_endpoint() {
        let server = registry(false).await;
        assert_eq!(pushed(&server).await.unwrap(), 5);
        let path = format!("/v2/{IMAGE}");
        let lines = lines(&server);
        let writes: Vec<_> = lines.iter().filter(|line| line.starts_with('P')).cloned().collect();
        let manifest = format!("PUT {path}/manifests/v1");
        assert_eq!(writes, [format!("POST {path}/blobs/uploads/"), "PUT /upload/1".to_owned(), manifest]);
    }

    #[tokio::test]
    async fn what_the_registry_has_is_not_sent_again() {
        let server = registry(true).await;
        assert_eq!(pushed(&server).await.unwrap(), 0);
        assert!(lines(&server).iter().all(|line| !line.starts_with("POST")), "{:?}", lines(&server));
    }

    #[tokio::test]
    async fn a_tag_that_points_to_the_image_already_is_left_alone() {
        let digest = manifest().digest;
        let server = Server::serve(move |seen: &Seen| match seen.verb.as_str() {
            "HEAD" if seen.line().contains("/manifests/") => {
                answer(200).header(&format!("Docker-Content-Digest: {digest}"))
            }
            "HEAD" => answer(200),
            _ => answer(500),
        })
        .await;
        pushed(&server).await.unwrap();
        assert!(lines(&server).iter().all(|line| !line.starts_with('P')), "{:?}", lines(&server));
    }

    #[tokio::test]
    async fn a_missing_image_is_no_error() {
        let server = registry(false).await;
        let gcp = server.gcp().await;
        assert_eq!(gcp.image_digest(&format!("{IMAGE}:v1")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn where_the_api_is_not_enabled_there_is_no_image_either() {
        let message = "Artifact Registry API has not been used in project p before or it is disabled.";
        let server = Server::serve(move |_: &Seen| refusal(403, "DENIED", message)).await;
        let gcp = server.gcp().await;
        assert_eq!(gcp.image_digest(&format!("{IMAGE}:v1")).await.unwrap(), None);
        let error = gcp.base_image(&format!("{IMAGE}:v1")).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::ServiceDisabled { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_refused_push_names_the_role_and_the_project() {
        let message = "Permission \"artifactregistry.repositories.uploadArtifacts\" denied";
        let server = Server::serve(move |seen: &Seen| match seen.verb.as_str() {
            "HEAD" => answer(404),
            _ => refusal(403, "DENIED", message),
        })
        .await;
        let error = pushed(&server).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::PermissionDenied, "{error}");
        let hints = error.hints.join("\n");
        assert!(hints.contains("roles/artifactregistry.writer") && hints.contains("binding p "), "{hints}");
        assert!(error.message.contains("denied"), "{error}");
    }

    #[tokio::test]
    async fn a_registry_that_is_busy_is_asked_again() {
        let calls = std::sync::atomic::AtomicU32::new(0);
        let server = Server::serve(move |seen: &Seen| match seen.verb.as_str() {
            "HEAD" if calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 => answer(503),
            "HEAD" => answer(200).header(&format!("Docker-Content-Digest: {DIGEST}")),
            _ => answer(500),
        })
        .await;
        let gcp = server.gcp().await;
        assert_eq!(gcp.image_digest(&format!("{IMAGE}:v1")).await.unwrap().as_deref(), Some(DIGEST));
    }

    #[test]
    fn credentials_are_for_artifact_registry_alone() {
        assert!(is_artifact_registry("us-central1-docker.pkg.dev/p/r/api"));
        for other in ["docker.io/library/debian", "gcr.io/distroless/cc", "pkg.dev.example.com/p/r/api"] {
            assert!(!is_artifact_registry(other), "{other}");
        }
        assert_eq!(resource(IMAGE), "projects/p/repositories/r");
    }
}
