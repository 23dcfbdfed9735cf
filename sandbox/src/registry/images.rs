//! What the runtime asks of the registry: the content of an image, as files.

use std::path::PathBuf;

use serde_json::Value;

use super::blobs::Blobs;
use super::manifest::{self, Descriptor, Holds};
use crate::services::artifactregistry::pushed;
use crate::services::run::image::Reference;
use crate::world::World;

/// Indexes in indexes are followed so far.
const DEPTH: usize = 3;

/// An image for one platform that can be unpacked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Image {
    /// Of the platform's own manifest.
    pub(crate) digest: String,
    /// The configuration: `architecture`, `os`, and `config` with `Entrypoint`, `Cmd`, `Env`, `User`, `WorkingDir` (OCI
    /// image specification, "Image Configuration").
    pub(crate) config: Value,
    /// In the order in which they are laid over each other.
    pub(crate) layers: Vec<Layer>,
}

/// A layer: an archive, compressed as the media type says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// The file that holds it. It stays while the sandbox runs, also when the image is deleted; only a reset removes it.
    pub(crate) path: PathBuf,
    /// `application/vnd.oci.image.layer.v1.tar+gzip` and the like.
    pub(crate) media_type: String,
    pub(crate) digest: String,
    /// Compressed, in bytes.
    pub(crate) size: u64,
}

/// Why there is nothing to unpack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoContent {
    /// It is in no registry of the sandbox, or that has no such tag or digest.
    #[error("the sandbox's Artifact Registry does not hold it")]
    NotHere,
    /// It was seeded over the control endpoint.
    #[error("it exists in name only: nobody has pushed it to the sandbox")]
    NameOnly,
    /// The index has nothing for this machine.
    #[error("it is for {} only", found.join(", "))]
    OtherPlatform { found: Vec<String> },
    /// It is something else than an image, or a file is damaged.
    #[error("{0}")]
    Unreadable(String),
}

/// The images that were pushed.
#[derive(Debug)]
pub(crate) struct Images<'a> {
    world: &'a World,
    blobs: &'a Blobs,
}

impl<'a> Images<'a> {
    /// `blobs` is `Shared::registry.blobs`.
    pub(crate) fn new(world: &'a World, blobs: &'a Blobs) -> Self {
        Self { world, blobs }
    }

    /// The image that a reference means: by digest, else by tag, else `latest`. Of one for several platforms the one for
    /// Linux on this machine's architecture, else on amd64, which is what Cloud Run runs.
    pub(crate) fn find(&self, reference: &Reference<'_>) -> Result<Image, NoContent> {
        let (_, package) = pushed::place(reference).ok_or(NoContent::NotHere)?;
        let wanted = reference.digest.or(reference.tag).unwrap_or("latest");
        let version = pushed::version_of(self.world, &package, wanted).ok_or(NoContent::NotHere)?;
        let mut digest = version.rsplit('/').next().unwrap_or_default().to_owned();
        for _ in 0..DEPTH {
            let content = pushed::content(self.world, &format!("{package}/versions/{digest}"));
            let content = content.ok_or(NoContent::NameOnly)?;
            let bytes = self.blobs.read(&digest).map_err(|error| unreadable(&digest, &error))?;
            let manifest = manifest::read(Some(&content.media_type), &bytes)
                .map_err(|refusal| NoContent::Unreadable(refusal.message))?;
            match manifest.holds {
                Holds::Image { config, layers } => return self.image(digest, &config, layers),
                Holds::Index(manifests) => digest.clone_from(&choose(&manifests)?.digest),
            }
        }
        Err(NoContent::Unreadable("its indexes list indexes without end".to_owned()))
    }

    fn image(
        &self,
        digest: String,
        config: &Descriptor,
        layers: Vec<Descriptor>,
    ) -> Result<Image, NoContent> {
        let bytes = self.blobs.read(&config.digest).map_err(|error| unreadable(&config.digest, &error))?;
        let config = serde_json::from_slice(&bytes).map_err(|error| unreadable(&config.digest, &error))?;
        let layer = |layer: Descriptor| {
            let path = self.blobs.path(&layer.digest).filter(|path| path.is_file());
            let path = path.ok_or_else(|| unreadable(&layer.digest, &"it is not there"))?;
            Ok(Layer { path, media_type: layer.media_type, digest: layer.digest, size: layer.size })
        };
        Ok(Image { digest, config, layers: layers.into_iter().map(layer).collect::<Result<_, _>>()? })
    }
}

fn unreadable(digest: &str, why: &dyn std::fmt::Display) -> NoContent {
    NoContent::Unreadable(format!("{digest} cannot be read: {why}"))
}

/// The manifest of an index for this machine.
fn choose(manifests: &[Descriptor]) -> Result<&Descriptor, NoContent> {
    let of = |architecture: &str| {
        manifests.iter().find(|manifest| {
            let platform = manifest.platform.as_ref();
            platform.is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture)
        })
    };
    of(architecture()).or_else(|| of("amd64")).ok_or_else(|| {
        let platforms = manifests.iter().filter_map(|manifest| manifest.platform.as_ref());
        NoContent::OtherPlatform {
            found: platforms.map(|platform| format!("{}/{}", platform.os, platform.architecture)).collect(),
        }
    })
}

/// This machine's architecture by the name that images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::uploads;
    use crate::services::artifactregistry::pushed::{Content, Pushed};
    use crate::services::run::image::parse;
    use crate::testing;

    const PACKAGE: &str = "projects/agent-army-dev/locations/us-central1/repositories/images/packages/api";
    const IMAGE: &str = "us-central1-docker.pkg.dev/agent-army-dev/images/api";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    struct Registry {
        world: World,
        blobs: Blobs,
        _dir: tempfile::TempDir,
    }

    impl Registry {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            Self { world: testing::world(), blobs: Blobs::open(dir.path()).unwrap(), _dir: dir }
        }

        fn blob(&self, bytes: &[u8]) -> Value {
            let digest = uploads::digest(bytes);
            self.blobs.write(&digest, bytes).unwrap();
            json!({"mediaType": "application/octet-stream", "digest": digest, "size": bytes.len()})
        }

        fn push(&mut self, media_type: &str, document: &Value, tag: &str) -> Value {
            let mut descriptor = self.blob(document.to_string().as_bytes());
            descriptor["mediaType"] = json!(media_type);
            let content = Content { media_type: media_type.to_owned(), ..Content::default() };
            let digest = descriptor["digest"].as_str().unwrap();
            let pushed = Pushed { package: PACKAGE, digest, content, size: 1, built: None };
            let version = pushed::publish(&mut self.world, &pushed);
            pushed::tag(&mut self.world, PACKAGE, tag, &version).unwrap();
            descriptor
        }

        fn image(&mut self, config: &Value, tag: &str) -> Value {
            let config = self.blob(config.to_string().as_bytes());
            let layers = [self.blob(b"first"), self.blob(b"second")];
            self.push(MANIFEST, &json!({"schemaVersion": 2, "config": config, "layers": layers}), tag)
        }

        fn find(&self, image: &str) -> Result<Image, NoContent> {
            Images::new(&self.world, &self.blobs).find(&parse(image).unwrap())
        }
    }

    #[test]
    fn an_image_is_its_configuration_and_its_layers_in_order() {
        let mut registry = Registry::new();
        let pushed = registry.image(&json!({"architecture": "amd64"}), "latest");
        let image = registry.find(IMAGE).unwrap();
        assert_eq!(image.digest, pushed["digest"]);
        assert_eq!(image.config["architecture"], "amd64");
        let contents: Vec<_> = image.layers.iter().map(|layer| std::fs::read(&layer.path).unwrap()).collect();
        assert_eq!(contents, [b"first".to_vec(), b"second".to_vec()]);
        assert_eq!(registry.find(&format!("{IMAGE}:other@{}", image.digest)).unwrap(), image);
        assert_eq!(registry.find(&format!("{IMAGE}:other")), Err(NoContent::NotHere));
        assert_eq!(registry.find("nginx"), Err(NoContent::NotHere));
    }

    #[test]
    fn of_several_platforms_the_machines_own_is_taken_and_else_amd64() {
        let mut registry = Registry::new();
        let mut platform = |name: &str, tag: &str| {
            let mut manifest = registry.image(&json!({"architecture": name}), tag);
            manifest["platform"] = json!({"os": "linux", "architecture": name});
            manifest
        };
        let (own, amd64, other) =
            (platform(architecture(), "own"), platform("amd64", "amd64"), platform("s390x", "other"));
        let index = |manifests: &[&Value]| json!({"schemaVersion": 2, "manifests": manifests});
        registry.push(INDEX, &index(&[&other, &amd64, &own]), "all");
        assert_eq!(registry.find(&format!("{IMAGE}:all")).unwrap().digest, own["digest"]);
        registry.push(INDEX, &index(&[&other, &amd64]), "two");
        assert_eq!(registry.find(&format!("{IMAGE}:two")).unwrap().digest, amd64["digest"]);
        registry.push(INDEX, &index(&[&other]), "one");
        assert_eq!(
            registry.find(&format!("{IMAGE}:one")),
            Err(NoContent::OtherPlatform { found: vec!["linux/s390x".to_owned()] })
        );
    }

    #[test]
    fn a_damaged_image_says_what_is_missing() {
        let mut registry = Registry::new();
        registry.image(&json!({}), "latest");
        let layer = registry.find(IMAGE).unwrap().layers.remove(1);
        std::fs::remove_file(&layer.path).unwrap();
        let error = registry.find(IMAGE).unwrap_err();
        assert!(matches!(&error, NoContent::Unreadable(why) if why.contains(&layer.digest)), "{error}");
    }
}
