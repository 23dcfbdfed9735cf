//! Builds and pushes an image with `docker buildx build`, where Docker is installed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{BuildError, Listener};
use crate::config::model::DockerBuild;

/// The one platform of Cloud Run.
const PLATFORM: &str = "linux/amd64";

/// One build by Docker.
#[derive(Debug, Clone)]
pub struct Docker<'a> {
    pub build: &'a DockerBuild,
    /// What is sent to the builder.
    pub context: &'a Path,
    /// The image with each of its tags, as Docker is to push it.
    pub references: &'a [String],
    pub labels: &'a BTreeMap<String, String>,
}

impl Docker<'_> {
    /// The command line without its first word. The builder writes what it made to `metadata`.
    pub fn words(&self, metadata: &Path) -> Vec<String> {
        let Self { build, context, references, labels } = self;
        let pair = |flag: &str, value: String| [flag.to_owned(), value];
        let mut words: Vec<String> = ["buildx", "build", "--platform", PLATFORM].map(str::to_owned).into();
        words.extend(pair("--file", context.join(&build.dockerfile).display().to_string()));
        words.extend(build.target.iter().flat_map(|target| pair("--target", target.clone())));
        words.extend(
            build.args.iter().flat_map(|(name, value)| pair("--build-arg", format!("{name}={value}"))),
        );
        words.extend(build.secrets.iter().flat_map(|name| pair("--secret", format!("id={name},env={name}"))));
        words.extend(labels.iter().flat_map(|(name, value)| pair("--label", format!("{name}={value}"))));
        words.extend(references.iter().flat_map(|reference| pair("--tag", reference.clone())));
        // Attestations have the time in them, so that the same image would have another digest.
        words.extend(["--provenance=false", "--sbom=false", "--progress=plain", "--push"].map(str::to_owned));
        words.extend(pair("--metadata-file", metadata.display().to_string()));
        words.push(context.display().to_string());
        words
    }
}

/// Runs the build, which pushes the image, and gives its digest. `listener` hears what Docker says.
pub fn buildx(docker: &Docker<'_>, listener: Listener<'_>) -> Result<String, BuildError> {
    available()?;
    let folder = Scratch::new()?;
    let metadata = folder.0.join("metadata.json");
    let mut child = Command::new("docker")
        .args(docker.words(&metadata))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| BuildError::new(format!("Docker does not run: {error}")))?;
    if let Some(said) = child.stderr.take() {
        for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
            listener(String::from_utf8_lossy(&line).trim_end());
        }
    }
    let status = child.wait().map_err(|error| BuildError::new(format!("Docker does not run: {error}")))?;
    if !status.success() {
        let error = BuildError::new("Docker could not build and push the image: see above");
        return Err(match registry(docker.references) {
            Some(host) if host.ends_with(".pkg.dev") => {
                error.hint(format!("if it may not push: gcloud auth configure-docker {host}"))
            }
            _ => error,
        });
    }
    let document = std::fs::read(&metadata)
        .map_err(|error| BuildError::new(format!("Docker did not say what it built: {error}")))?;
    digest(&document).ok_or_else(|| BuildError::new("Docker did not say which digest the image has"))
}

fn registry(references: &[String]) -> Option<&str> {
    references.first()?.split('/').next()
}

/// Whether Docker with buildx is installed; what to do when not.
fn available() -> Result<(), BuildError> {
    let asked = Command::new("docker")
        .args(["buildx", "version"])
        .stdin(Stdio::null())
        .output()
        .map(|done| done.status.success());
    let message = match asked {
        Ok(true) => return Ok(()),
        Ok(false) => "`builder: docker` needs buildx, and this Docker has none",
        Err(_) => "`builder: docker` needs Docker, and there is none on this machine",
    };
    Err(BuildError::new(message)
        .hint("install Docker with buildx: https://docs.docker.com/build/install-buildx/")
        .hint("or build a Rust package without Docker: `builder: cargo`")
        .hint("or push an image by other means and release it with --image SERVICE=REF"))
}

/// `containerimage.digest` of the metadata that buildx writes.
fn digest(document: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(document).ok()?;
    let digest = document.get("containerimage.digest")?.as_str()?;
    digest.starts_with("sha256:").then(|| digest.to_owned())
}

/// A folder of this process's own that goes with it.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Result<Self, BuildError> {
        let failed = |why: String| BuildError::new(format!("no folder for what Docker reports: {why}"));
        let name = getrandom::u64().map_err(|error| failed(error.to_string()))?;
        let folder = std::env::temp_dir().join(format!("deployer-{name:016x}"));
        std::fs::create_dir(&folder).map_err(|error| failed(error.to_string()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is one small file in the folder for such.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(build: &DockerBuild) -> String {
        let labels = BTreeMap::from([("org.opencontainers.image.source".to_owned(), "https://x".to_owned())]);
        let references = ["r/api:src-1".to_owned(), "r/api:v1".to_owned()];
        let docker =
            Docker { build, context: Path::new("apps/api"), references: &references, labels: &labels };
        docker.words(Path::new("out.json")).join(" ")
    }

    fn plain() -> DockerBuild {
        DockerBuild {
            dockerfile: "Dockerfile".into(),
            target: None,
            args: BTreeMap::new(),
            secrets: Vec::new(),
            recipe: None,
        }
    }

    #[test]
    fn secrets_are_named_and_their_values_are_not() {
        let build = DockerBuild { secrets: vec!["TOKEN".into()], ..plain() };
        assert!(words(&build).contains(" --secret id=TOKEN,env=TOKEN "), "{}", words(&build));
    }

    #[test]
    fn the_command_pushes_every_tag_and_reports_the_digest() {
        assert_eq!(
            words(&plain()),
            "buildx build --platform linux/amd64 --file apps/api/Dockerfile --label org.opencontainers.image.source=https://x \
             --tag r/api:src-1 --tag r/api:v1 --provenance=false --sbom=false --progress=plain --push \
             --metadata-file out.json apps/api"
        );
    }

    #[test]
    fn stage_and_arguments_are_given_one_by_one() {
        let args = [("A", "1"), ("B", "two words")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let build = DockerBuild {
            dockerfile: "deep/File".into(),
            target: Some("web".into()),
            args: args.into(),
            ..plain()
        };
        let words = words(&build);
        assert!(
            words.contains("--file apps/api/deep/File --target web --build-arg A=1 --build-arg B=two words"),
            "{words}"
        );
    }

    #[test]
    fn the_digest_is_read_from_what_buildx_writes() {
        assert_eq!(digest(br#"{"containerimage.digest": "sha256:1"}"#).as_deref(), Some("sha256:1"));
        for other in [&b"{}"[..], b"", br#"{"containerimage.digest": 7}"#] {
            assert_eq!(digest(other), None);
        }
    }

    #[test]
    fn the_registry_is_what_comes_before_the_first_slash() {
        assert_eq!(registry(&["us-docker.pkg.dev/p/r/a:v".to_owned()]), Some("us-docker.pkg.dev"));
    }
}
