//! What an image is made from, as one digest: the contents of its files and the settings of its builder. The same
//! wherever the checkout lies, so that a registry that has its tag needs no new image.

use std::fs;
use std::path::{Path as FilePath, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{BuildError, Program, SOURCE_TAG};
use crate::config::model::{Builder, CargoBuild, DockerBuild};

/// Grows when the same inputs make another image than before.
const VERSION: u32 = 1;

/// Digits of the digest in the tag: 64 bits, so that two sources meet by chance in no lifetime.
const DIGITS: usize = 16;

/// Folders that hold nothing that anything is made from.
const SKIPPED: [&str; 3] = [".git", ".deployer", "node_modules"];

/// Marks folders of build results, such as Cargo's `target`: see the Cache Directory Tagging Specification.
const CACHE: &str = "CACHEDIR.TAG";

/// What an image is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Hex SHA-256.
    pub digest: String,
}

impl Source {
    /// The tag of images that are made from it.
    pub fn tag(&self) -> String {
        format!("{SOURCE_TAG}{}", self.digest.get(..DIGITS).unwrap_or(&self.digest))
    }
}

/// A file or folder, under a name that does not depend on where the checkout lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    name: String,
    place: PathBuf,
}

impl Path {
    pub(super) fn new(name: &str, place: &FilePath) -> Self {
        let name = name.trim_start_matches("./").trim_end_matches('/').to_owned();
        Self { name, place: place.to_owned() }
    }
}

/// The digest over the files at `paths` and everything else that decides what the image is.
pub(super) fn digest(
    builder: &Builder,
    program: Option<&Program>,
    port: u16,
    paths: &[Path],
) -> Result<Source, BuildError> {
    let mut files = Vec::new();
    for path in paths {
        let kind = fs::symlink_metadata(&path.place).map_err(|_| missing(&path.name))?;
        collect(&path.name, &path.place, &kind, &mut files)?;
    }
    files.sort();
    files.dedup();
    let mut all = Sha256::new();
    all.update(settings(builder, program, port));
    for (name, place) in &files {
        let (mode, content) = read(place)?;
        // Lengths keep one file's end from being read as another's beginning.
        all.update(format!("\n{} {name}\n{mode} {}\n", name.len(), content.len()));
        all.update(content);
    }
    Ok(Source { digest: hex::encode(all.finalize()) })
}

fn missing(name: &str) -> BuildError {
    BuildError::new(format!("there is no `{name}`, which `build.paths` names"))
        .hint("correct `build.paths`, relative to `build.context`")
}

fn unreadable(place: &FilePath, error: &std::io::Error) -> BuildError {
    BuildError::new(format!("{} cannot be read: {error}", place.display()))
}

fn settings(builder: &Builder, program: Option<&Program>, port: u16) -> String {
    let builder = match builder {
        Builder::Cargo(CargoBuild { package, bin: _, profile, features, default_features, base }) => json!({
            "base": base, "bin": program.map(|program| &program.bin), "builder": "cargo",
            "default_features": default_features, "features": features,
            "package": package, "profile": profile,
        }),
        // A rendered Dockerfile is one of the files, and secrets leave nothing in the image.
        Builder::Docker(docker) => {
            let DockerBuild { dockerfile, target, args, secrets: _, recipe: _ } = docker.as_ref();
            json!({"args": args, "builder": "docker", "dockerfile": dockerfile, "target": target})
        }
    };
    json!({"build": builder, "port": port, "version": VERSION}).to_string()
}

fn collect(
    name: &str,
    place: &FilePath,
    kind: &fs::Metadata,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<(), BuildError> {
    if !kind.is_dir() {
        files.push((name.to_owned(), place.to_owned()));
        return Ok(());
    }
    if place.join(CACHE).is_file() {
        return Ok(());
    }
    for entry in fs::read_dir(place).map_err(|error| unreadable(place, &error))? {
        let entry = entry.map_err(|error| unreadable(place, &error))?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if SKIPPED.contains(&file.as_str()) || is_credentials(&file) {
            continue;
        }
        let kind = entry.metadata().map_err(|error| unreadable(&entry.path(), &error))?;
        let name = if name.is_empty() { file } else { format!("{name}/{file}") };
        collect(&name, &entry.path(), &kind, files)?;
    }
    Ok(())
}

/// What Google's action of GitHub leaves in a checkout to sign in with, under another name each time.
fn is_credentials(file: &str) -> bool {
    file.starts_with("gha-creds-") && FilePath::new(file).extension().is_some_and(|end| end == "json")
}

/// What a file is and holds. A link is where it points to: following it could lead anywhere.
fn read(place: &FilePath) -> Result<(&'static str, Vec<u8>), BuildError> {
    let unreadable = |error| unreadable(place, &error);
    let kind = fs::symlink_metadata(place).map_err(unreadable)?;
    if kind.is_symlink() {
        let target = fs::read_link(place).map_err(unreadable)?;
        return Ok(("link", target.to_string_lossy().into_owned().into_bytes()));
    }
    if !kind.is_file() {
        // Sockets and pipes hold nothing that can be built.
        return Ok(("other", Vec::new()));
    }
    let mode = if executable(&kind) { "program" } else { "file" };
    Ok((mode, fs::read(place).map_err(unreadable)?))
}

#[cfg(unix)]
fn executable(kind: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&kind.permissions()) & 0o111 != 0
}

#[cfg(not(unix))]
fn executable(_: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn docker(arg: &str) -> Builder {
        let args = BTreeMap::from([("A".to_owned(), arg.to_owned())]);
        let (secrets, recipe) = (Vec::new(), None);
        let dockerfile = "Dockerfile".into();
        Builder::Docker(Box::new(DockerBuild { dockerfile, target: None, args, secrets, recipe }))
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn of(folder: &tempfile::TempDir) -> String {
        digest(&docker("1"), None, 8080, &[Path::new("", folder.path())]).unwrap().digest
    }

    const FILES: [(&str, &str); 2] = [("src/a", "one"), ("b", "two")];

    #[test]
    fn the_same_files_elsewhere_have_the_same_digest() {
        assert_eq!(of(&folder(&FILES)), of(&folder(&FILES)));
    }

    #[test]
    fn every_change_of_a_file_changes_the_digest() {
        let before = of(&folder(&FILES));
        let changed = [
            folder(&[("src/a", "one!"), ("b", "two")]),
            folder(&[("src/c", "one"), ("b", "two")]),
            folder(&[("src/a", "one")]),
            folder(&[("src/a", "onetw"), ("b", "o")]),
            folder(&[("src/a", "one"), ("b", "two"), ("c", "")]),
        ];
        for folder in &changed {
            assert_ne!(of(folder), before);
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_can_be_run_differs_from_what_cannot() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder(&FILES);
        let before = of(&folder);
        fs::set_permissions(folder.path().join("b"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(of(&folder), before);
    }

    #[test]
    fn settings_of_the_builder_and_the_port_count() {
        let folder = folder(&FILES);
        let of = |builder: &Builder, port| {
            digest(builder, None, port, &[Path::new("", folder.path())]).unwrap().digest
        };
        let before = of(&docker("1"), 8080);
        assert_ne!(of(&docker("2"), 8080), before);
        assert_ne!(of(&docker("1"), 8081), before);
    }

    #[test]
    fn results_of_builds_the_history_and_credentials_of_a_run_do_not_count() {
        let others = [
            (".git/HEAD", "x"),
            ("target/CACHEDIR.TAG", "x"),
            ("target/out", "x"),
            ("gha-creds-1f.json", "x"),
        ];
        let more = [&FILES[..], &others].concat();
        assert_eq!(of(&folder(&more)), of(&folder(&FILES)));
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let folder = folder(&FILES);
        let paths = [Path::new("srcs", &folder.path().join("srcs"))];
        let error = digest(&docker("1"), None, 8080, &paths).unwrap_err();
        assert!(error.message.contains("`srcs`"), "{error}");
    }

    #[test]
    fn the_tag_is_short_and_says_what_it_is() {
        let source = Source { digest: "0123456789abcdef".repeat(4) };
        assert_eq!(source.tag(), "src-0123456789abcdef");
    }
}
