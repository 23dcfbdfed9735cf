//! A temporary folder that holds `environments/`, as a checkout would.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Cloud, Run, shop};

/// The environments of [`Workplace::shop`], in the order in which people apply them.
pub const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "production"];

const SHOP: &str = shop!(
    r#"registry: {repository: shop}
secrets:
  database-url: {id: "database-url-${env}"}
  signing-key: {generate: hex32}
tenants:
  secrets: [token]
  readers: [web]
  list:
    acme: {name: Acme}
services:
  web:
    name: shop-web-${env}
    image: us-docker.pkg.dev/cloudrun/container/hello
    port: 8080
    cpu: 1
    memory: 512Mi
    min_instances: 0
    max_instances: 2
    access: public
    roles: [roles/cloudtrace.agent]
    secrets: {DATABASE_URL: database-url, SIGNING_KEY: signing-key}
jobs:
  tidy: {service: web, command: [tidy]}
github:
  repository: octo-org/shop
  repository_id: 900000001
  owner_id: 900000002
  identity: {pool: github, provider: actions, plan: ci-plan, deploy: ci-deploy}
"#
);

/// The root of this repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that `deployer` works in. It is deleted when this is dropped.
#[derive(Debug)]
pub struct Workplace {
    folder: TempDir,
}

impl Workplace {
    /// A folder without anything in it.
    pub fn empty() -> Self {
        Self { folder: TempDir::with_prefix("deployer-it-").unwrap() }
    }

    /// A folder with agent-army as `tests/fixture/agent-army` has it: with an image that nobody has to build.
    pub fn agent_army() -> Self {
        let place = Self::empty();
        let from = repository().join("tests/fixture/agent-army/environments");
        for entry in fs::read_dir(&from).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            place.write(&format!("environments/{name}"), &fs::read_to_string(&path).unwrap());
        }
        place
    }

    /// A small system with something of every kind and the environments dev, staging and production.
    pub fn shop() -> Self {
        let place = Self::with(&[("environments/base.yaml", SHOP)]);
        for environment in ENVIRONMENTS {
            let text = format!("deployer: v1\nenvironment: {environment}\ntarget: sandbox\n");
            place.write(&format!("environments/{environment}.yaml"), &text);
        }
        place
    }

    /// A folder with these files.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let place = Self::empty();
        for (path, text) in files {
            place.write(path, text);
        }
        place
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root().join(relative)
    }

    /// The folder in which this place's sandbox keeps its state.
    pub fn sandbox_state(&self) -> PathBuf {
        self.path(".deployer/sandbox")
    }

    pub fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces the one place where `from` stands; more or fewer than one is a mistake of the test.
    pub fn edit(&self, relative: &str, from: &str, to: &str) {
        let text = self.read(relative);
        assert_eq!(text.matches(from).count(), 1, "{relative} must contain {from:?} once");
        self.write(relative, &text.replacen(from, to, 1));
    }

    /// A run of the binary in this folder; the words are separated by spaces.
    pub fn deployer(&self, words: &str) -> Run {
        Run::new(self.root()).args(words.split_whitespace())
    }

    /// Starts a sandbox that keeps its state where `deployer` looks for it, so that environments with
    /// `target: sandbox` use it.
    pub async fn cloud(&self) -> Cloud {
        Cloud::start(gcp_sandbox::Options { state: Some(self.sandbox_state()), ..Cloud::options() }).await
    }
}
