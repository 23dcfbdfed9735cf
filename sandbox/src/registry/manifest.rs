//! Manifests: what the four media types have to hold, read without looking at anything else.

use serde::Deserialize;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::uploads;
use crate::services::artifactregistry::pushed::Content;
use crate::services::run::image::is_digest;

/// The largest manifest, in bytes: the least that the specification asks a registry to take.
pub(super) const MAX_MANIFEST: usize = 4 * 1024 * 1024;

/// Manifests of one image.
const IMAGES: [&str; 2] =
    ["application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json"];
/// Lists of manifests.
const INDEXES: [&str; 2] =
    ["application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.oci.image.index.v1+json"];

/// What a manifest says about something else. Fields as in the OCI image specification, "Content Descriptors".
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    /// In bytes.
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
    /// Where else it can be had: such a layer need not be pushed.
    #[serde(default)]
    urls: Vec<String>,
}

/// What a manifest of an index is for.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default, rename = "os.version")]
    version: Option<String>,
    #[serde(default, rename = "os.features")]
    features: Vec<String>,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: Option<Value>,
}

/// A manifest that is right in itself.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) holds: Holds,
    subject: Option<String>,
    artifact_type: Option<String>,
    annotations: Option<Value>,
}

/// What a manifest is of.
#[derive(Debug, Clone)]
pub(crate) enum Holds {
    Image { config: Descriptor, layers: Vec<Descriptor> },
    Index(Vec<Descriptor>),
}

/// Reads a manifest. `media_type` is what the client says it is; without it, the document has to say so.
///
/// # Errors
/// 400 MANIFEST_INVALID that says what is wrong.
pub(crate) fn read(media_type: Option<&str>, bytes: &[u8]) -> Result<Manifest, Refusal> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("it cannot be read ({error})")))?;
    if document.schema_version != 2 {
        return Err(invalid(format!("its schemaVersion is {}, not 2", document.schema_version)));
    }
    let said = document.media_type.as_deref().filter(|said| !said.is_empty());
    let media_type = media_type.or(said).ok_or_else(|| invalid("nothing says what it is"))?;
    if said.is_some_and(|said| said != media_type) {
        return Err(invalid(format!("its mediaType is not {media_type}, as the request says")));
    }
    let holds = match (document.config, document.layers, document.manifests) {
        (Some(config), Some(layers), None) if IMAGES.contains(&media_type) => Holds::Image { config, layers },
        (None, None, Some(manifests)) if INDEXES.contains(&media_type) => Holds::Index(manifests),
        _ if IMAGES.contains(&media_type) => {
            return Err(invalid("it needs config and layers, and nothing of an index"));
        }
        _ if INDEXES.contains(&media_type) => {
            return Err(invalid("it needs manifests, and nothing of an image"));
        }
        _ => return Err(invalid(format!("the registry takes no {media_type}"))),
    };
    let manifest = Manifest {
        digest: uploads::digest(bytes),
        media_type: media_type.to_owned(),
        size: bytes.len() as u64,
        holds,
        subject: document.subject.map(|subject| subject.digest),
        artifact_type: document.artifact_type,
        annotations: document.annotations,
    };
    let bad = manifest.digests().find(|digest| !is_digest(digest)).map(str::to_owned);
    bad.map_or(Ok(manifest), |bad| Err(invalid(format!("'{bad}' is not a SHA-256 digest"))))
}

fn invalid(why: impl std::fmt::Display) -> Refusal {
    Refusal::bad("MANIFEST_INVALID", format!("The manifest is not valid: {why}."))
}

impl Manifest {
    fn digests(&self) -> impl Iterator<Item = &str> {
        let held = match &self.holds {
            Holds::Image { config, layers } => [std::slice::from_ref(config), layers],
            Holds::Index(manifests) => [manifests.as_slice(), &[]],
        };
        held.into_iter().flatten().map(|held| held.digest.as_str()).chain(self.subject.as_deref())
    }

    /// Configuration and layers, without those that others serve.
    pub(super) fn blobs(&self) -> Vec<&Descriptor> {
        match &self.holds {
            Holds::Image { config, layers } => {
                std::iter::once(config).chain(layers.iter().filter(|layer| layer.urls.is_empty())).collect()
            }
            Holds::Index(_) => Vec::new(),
        }
    }

    /// The manifests of an index.
    pub(super) fn children(&self) -> &[Descriptor] {
        match &self.holds {
            Holds::Image { .. } => &[],
            Holds::Index(manifests) => manifests,
        }
    }

    /// What this is about, by digest.
    pub(super) fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Bytes that a pull fetches: configuration and layers, or the index alone.
    pub(super) fn image_size(&self) -> u64 {
        match &self.holds {
            Holds::Image { config, layers } => {
                layers.iter().fold(config.size, |sum, layer| sum.saturating_add(layer.size))
            }
            Holds::Index(_) => self.size,
        }
    }

    /// What is kept of it beside its bytes. The type of an artifact without one is its configuration's, as the
    /// specification says of referrers.
    pub(super) fn content(&self) -> Content {
        let config_type = match &self.holds {
            Holds::Image { config, .. } if self.subject.is_some() => Some(config.media_type.clone()),
            _ => None,
        };
        Content {
            media_type: self.media_type.clone(),
            size: self.size,
            blobs: self.blobs().into_iter().map(|blob| blob.digest.clone()).collect(),
            children: self.children().iter().map(child).collect(),
            subject: self.subject.clone(),
            artifact_type: self.artifact_type.clone().or(config_type),
            annotations: self.annotations.clone(),
        }
    }
}

/// `ImageManifest` of the v1 API.
fn child(descriptor: &Descriptor) -> Value {
    let mut child = json!({ "digest": descriptor.digest, "mediaType": descriptor.media_type });
    let Some(platform) = &descriptor.platform else { return child };
    for (field, text) in [
        ("architecture", Some(&platform.architecture)),
        ("os", Some(&platform.os)),
        ("osVersion", platform.version.as_ref()),
        ("variant", platform.variant.as_ref()),
    ] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            child[field] = json!(text);
        }
    }
    if !platform.features.is_empty() {
        child["osFeatures"] = json!(platform.features);
    }
    child
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(letter: char, size: u64) -> Value {
        json!({"mediaType": "application/octet-stream", "digest": format!("sha256:{}", letter.to_string().repeat(64)), "size": size})
    }

    fn image() -> Value {
        json!({"schemaVersion": 2, "mediaType": IMAGES[1], "config": descriptor('a', 2), "layers": [descriptor('b', 30)]})
    }

    fn refused(media_type: Option<&str>, document: &Value) -> String {
        read(media_type, document.to_string().as_bytes()).unwrap_err().message
    }

    #[test]
    fn every_media_type_has_its_own_fields() {
        let index = json!({"schemaVersion": 2, "manifests": [descriptor('a', 1)]});
        for media_type in IMAGES {
            let mut image = image();
            image["mediaType"] = json!(media_type);
            let manifest = read(Some(media_type), image.to_string().as_bytes()).unwrap();
            assert_eq!((manifest.image_size(), manifest.blobs().len()), (32, 2));
            assert!(refused(Some(media_type), &index).contains("config and layers"));
        }
        for media_type in INDEXES {
            let manifest = read(Some(media_type), index.to_string().as_bytes()).unwrap();
            assert_eq!((manifest.children().len(), manifest.blobs().len()), (1, 0));
        }
        assert!(refused(None, &index).contains("nothing says"));
        assert!(refused(Some("text/plain"), &json!({"schemaVersion": 2})).contains("takes no text/plain"));
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        assert!(refused(Some(IMAGES[0]), &image()).contains("mediaType"));
        let mut old = image();
        old["schemaVersion"] = json!(1);
        assert!(refused(None, &old).contains("schemaVersion is 1"));
        let mut bad = image();
        bad["layers"][0]["digest"] = json!("sha512:00");
        assert!(refused(None, &bad).contains("sha512:00"));
        let mut both = image();
        both["manifests"] = json!([]);
        assert!(refused(None, &both).contains("nothing of an index"));
        assert!(read(None, b"{").unwrap_err().message.contains("cannot be read"));
    }

    #[test]
    fn a_layer_that_others_serve_need_not_be_pushed() {
        let mut foreign = image();
        foreign["layers"][0]["urls"] = json!(["https://example.com/layer"]);
        let manifest = read(None, foreign.to_string().as_bytes()).unwrap();
        assert_eq!(manifest.blobs().len(), 1);
    }

    #[test]
    fn an_artifact_has_the_type_of_its_configuration() {
        let mut about = image();
        about["subject"] = descriptor('c', 1);
        let content = read(None, about.to_string().as_bytes()).unwrap().content();
        assert_eq!(content.artifact_type.as_deref(), Some("application/octet-stream"));
        assert!(content.subject.unwrap().ends_with('c'));
        assert_eq!(read(None, image().to_string().as_bytes()).unwrap().content().artifact_type, None);
    }
}
