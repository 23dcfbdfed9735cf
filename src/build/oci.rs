//! An image by the OCI image specification 1.1: one layer with the binary, above the layers of a base if there is one.
//!
//! Nothing in it says when, where or by whom it was built: the same binary and settings make the same digest.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::elf;
use super::layer::{self, Entry, sha256};
use super::{BuildError, Program, SOURCE_LABEL, Source};
use crate::gcp::{BaseImage, Blob, Descriptor, PushedManifest};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Where the binary lies: `PATH` has the folder, so that a job's `command` may name the binary alone.
const FOLDER: &str = "usr/local/bin";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// User and group of the process: nobody's, the number that distroless images use too.
const USER: &str = "65532:65532";

/// What an image says about itself.
#[derive(Debug, Clone)]
pub struct Meta<'a> {
    pub program: &'a Program,
    pub source: &'a Source,
    /// The port that the service listens on.
    pub port: u16,
    /// Where the sources are to be found, e.g. `https://github.com/OWNER/NAME`.
    pub repository: Option<&'a str>,
}

/// An image, ready to be pushed.
#[derive(Debug, Clone)]
pub struct Image {
    /// What this build adds to the registry.
    pub blobs: Vec<Blob>,
    /// Layers of the base, which lie in another place.
    pub base_layers: Vec<Descriptor>,
    pub manifest: PushedManifest,
    /// Bytes of all layers and the configuration, compressed.
    pub size: u64,
}

/// The image of a binary. Fails when the binary cannot run there; see [`elf::check`].
pub fn assemble(binary: &[u8], meta: &Meta<'_>, base: Option<&BaseImage>) -> Result<Image, BuildError> {
    elf::check(binary, base.is_some())?;
    let path = format!("{FOLDER}/{}", meta.program.bin);
    let layer = layer::pack(&entries(&path, binary, base.is_some()))
        .map_err(|error| BuildError::new(format!("the binary cannot be packed: {error}")))?;
    let config = config(&path, meta, &layer.diff_id, base.map(|base| &base.config)).to_string().into_bytes();
    let config = Blob { media_type: CONFIG, digest: sha256(&config), bytes: config };
    let layer = Blob { media_type: LAYER, digest: layer.digest, bytes: layer.bytes };
    let base_layers: Vec<Descriptor> =
        base.map(|base| base.layers.iter().map(as_oci).collect()).unwrap_or_default();
    let layers = base_layers.iter().cloned().chain([layer.descriptor()]);
    let layers: Vec<_> = layers.map(|layer| descriptor(&layer)).collect();
    let manifest = json!({
        "annotations": labels(meta),
        "config": descriptor(&config.descriptor()),
        "layers": layers,
        "mediaType": MANIFEST,
        "schemaVersion": 2,
    });
    let bytes = manifest.to_string().into_bytes();
    let manifest = PushedManifest { media_type: MANIFEST, digest: sha256(&bytes), bytes };
    let blobs = vec![layer, config];
    let own = blobs.iter().map(|blob| blob.descriptor().size).sum::<u64>();
    let size = own + base_layers.iter().map(|layer| layer.size).sum::<u64>();
    Ok(Image { blobs, base_layers, manifest, size })
}

/// Without a base there are no folders at all, and programs count on one for temporary files.
fn entries<'a>(path: &'a str, binary: &'a [u8], has_base: bool) -> Vec<Entry<'a>> {
    let file = Entry::File { path, mode: 0o555, content: binary };
    if has_base {
        return vec![file];
    }
    let folder = |path| Entry::Folder { path, mode: 0o755 };
    let temporary = Entry::Folder { path: "tmp/", mode: 0o1777 };
    vec![temporary, folder("usr/"), folder("usr/local/"), folder("usr/local/bin/"), file]
}

/// Layers of Docker's own image format are the same archives under another name.
fn as_oci(layer: &Descriptor) -> Descriptor {
    let media_type = match layer.media_type.as_str() {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => LAYER.to_owned(),
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar".to_owned(),
        other => other.to_owned(),
    };
    Descriptor { media_type, ..layer.clone() }
}

// The keys of all documents stand in the order of the alphabet, so that it makes no difference how maps are kept.
fn descriptor(of: &Descriptor) -> Value {
    json!({"digest": of.digest, "mediaType": of.media_type, "size": of.size})
}

/// What is the same for the same input. The commit is not: one that changes other files would make another image.
fn labels(meta: &Meta<'_>) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        (SOURCE_LABEL, meta.source.digest.clone()),
        ("org.opencontainers.image.title", meta.program.bin.clone()),
        ("org.opencontainers.image.version", meta.program.version.clone()),
    ]);
    if let Some(repository) = meta.repository {
        labels.insert("org.opencontainers.image.source", repository.to_owned());
    }
    labels
}

/// The image's configuration: the base's, as far as it says what the base is, with the binary as its process.
fn config(path: &str, meta: &Meta<'_>, diff_id: &str, base: Option<&Value>) -> Value {
    let of_base = |pointer: &str| base.and_then(|base| base.pointer(pointer));
    let list = |pointer: &str| of_base(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut process = Map::new();
    process.insert("Entrypoint".into(), json!([format!("/{path}")]));
    process.insert("Env".into(), environment(list("/config/Env"), meta.port));
    process.insert("ExposedPorts".into(), json!({format!("{}/tcp", meta.port): {}}));
    process.insert("Labels".into(), json!(labels(meta)));
    process.insert("User".into(), json!(USER));
    process.insert("WorkingDir".into(), of_base("/config/WorkingDir").cloned().unwrap_or_else(|| json!("/")));
    let mut history = list("/history");
    history.push(json!({"created": "1970-01-01T00:00:00Z", "created_by": "deployer build"}));
    let mut layers = list("/rootfs/diff_ids");
    layers.push(json!(diff_id));
    json!({
        "architecture": "amd64",
        "config": process,
        "created": "1970-01-01T00:00:00Z",
        "history": history,
        "os": "linux",
        "rootfs": {"diff_ids": layers, "type": "layers"},
    })
}

/// The base's variables with the port, which Cloud Run sets as well, and a path that finds the binary.
fn environment(of_base: Vec<Value>, port: u16) -> Value {
    let is = |variable: &Value, name: &str| variable.as_str().is_some_and(|text| text.starts_with(name));
    let mut variables = of_base;
    variables.retain(|variable| !is(variable, "PORT=") && !is(variable, "PATH="));
    variables.extend([json!(PATH), json!(format!("PORT={port}"))]);
    Value::Array(variables)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::elf::tests::binary;
    use super::*;

    fn program(bin: &str) -> Program {
        Program { package: "p".into(), bin: bin.into(), version: "1.2.3".into(), workspace: "/".into() }
    }

    fn image(bytes: &[u8], bin: &str, port: u16, base: Option<&BaseImage>) -> Image {
        let (program, source) = (program(bin), Source { digest: "ab".repeat(32) });
        let repository = Some("https://github.com/octo-org/shop");
        assemble(bytes, &Meta { program: &program, source: &source, port, repository }, base).unwrap()
    }

    fn document(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn base() -> BaseImage {
        let layer = Descriptor {
            media_type: "application/vnd.docker.image.rootfs.diff.tar.gzip".into(),
            digest: format!("sha256:{}", "1".repeat(64)),
            size: 1000,
        };
        let config = json!({
            "config": {"Cmd": ["bash"], "Env": ["PATH=/bin", "SSL_CERT_FILE=/etc/ssl/cert.pem"], "User": "root"},
            "history": [{"created_by": "somebody"}],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:base"]},
        });
        BaseImage { layers: vec![layer], config }
    }

    #[test]
    fn an_image_without_a_base_has_the_binary_and_says_how_to_run_it() {
        let image = image(&binary(None), "api", 9000, None);
        let [layer, config] = image.blobs.as_slice() else { panic!("{:?}", image.blobs.len()) };
        let manifest = document(&image.manifest.bytes);
        assert_eq!(
            manifest["layers"],
            json!([{"digest": layer.digest, "mediaType": LAYER, "size": layer.bytes.len()}])
        );
        assert_eq!(manifest["config"]["digest"], json!(config.digest));
        let config = document(&config.bytes);
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/local/bin/api"]));
        assert_eq!(config["config"]["User"], json!("65532:65532"));
        assert_eq!(config["config"]["ExposedPorts"], json!({"9000/tcp": {}}));
        assert_eq!(config["config"]["Env"], json!([PATH, "PORT=9000"]));
        assert_eq!(
            config["config"]["Labels"]["org.opencontainers.image.source"],
            json!("https://github.com/octo-org/shop")
        );
        assert_eq!((&config["os"], &config["architecture"]), (&json!("linux"), &json!("amd64")));
    }

    #[test]
    fn a_base_lends_its_layers_and_variables_and_not_its_process() {
        let image = image(&binary(Some("/lib/ld.so")), "api", 8080, Some(&base()));
        let manifest = document(&image.manifest.bytes);
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!((layers.len(), &layers[0]["digest"]), (2, &json!(base().layers[0].digest)));
        assert!(layers.iter().all(|layer| layer["mediaType"] == json!(LAYER)), "{layers:?}");
        assert_eq!(image.base_layers.len(), 1);
        let config = document(&image.blobs[1].bytes);
        let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
        assert_eq!((diff_ids.len(), &diff_ids[0]), (2, &json!("sha256:base")));
        assert_eq!(config["history"].as_array().unwrap().len(), 2);
        assert_eq!(config["config"]["Env"], json!(["SSL_CERT_FILE=/etc/ssl/cert.pem", PATH, "PORT=8080"]));
        assert_eq!((&config["config"]["Cmd"], &config["config"]["User"]), (&Value::Null, &json!(USER)));
    }

    #[test]
    fn what_cannot_run_in_it_makes_no_image() {
        let (program, source) = (program("api"), Source { digest: String::new() });
        let meta = Meta { program: &program, source: &source, port: 1, repository: None };
        assert!(assemble(&binary(Some("/lib/ld.so")), &meta, None).is_err());
    }

    proptest! {
        #[test]
        fn the_same_input_makes_the_same_digest_and_another_one_another(more: Vec<u8>, port in 1..=u16::MAX) {
            let bytes = [binary(None), more].concat();
            let first = image(&bytes, "api", port, None);
            prop_assert_eq!(&first.manifest.digest, &image(&bytes, "api", port, None).manifest.digest);
            let others = [
                image(&[bytes.clone(), vec![1]].concat(), "api", port, None),
                image(&bytes, "web", port, None),
                image(&bytes, "api", port.wrapping_add(1), None),
            ];
            for other in others {
                prop_assert_ne!(&first.manifest.digest, &other.manifest.digest);
            }
        }
    }
}
