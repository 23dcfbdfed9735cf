//! What Cargo says about a workspace: packages, their binaries, and where their sources lie.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::cargo::program as cargo;
use super::{BuildError, Program, inputs};
use crate::config::model::CargoBuild;

/// Files of the workspace's root that every build reads, where they exist.
const ALWAYS: [&str; 6] = [
    "Cargo.lock",
    "Cargo.toml",
    ".cargo/config.toml",
    ".cargo/config",
    "rust-toolchain.toml",
    "rust-toolchain",
];

/// The answer of `cargo metadata --no-deps`, as far as it is read.
#[derive(Debug, Deserialize)]
pub(super) struct Workspace {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
    default_run: Option<String>,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    /// The folder of a package beside this one.
    path: Option<PathBuf>,
}

/// The workspace of the folder `context`. Runs Cargo, which neither compiles nor fetches anything for it.
pub(super) fn read(context: &Path) -> Result<Workspace, BuildError> {
    let manifest = context.join("Cargo.toml");
    if !manifest.is_file() {
        let message = format!("there is no Cargo.toml in {}", context.display());
        return Err(BuildError::new(message)
            .hint("set `build.context` to the folder of the package or workspace, relative to the one that holds `environments`"));
    }
    let output = Command::new(cargo())
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .current_dir(context)
        .output()
        .map_err(|error| super::cargo::absent(&error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("error: ").replace('\n', " ");
        return Err(BuildError::new(format!("Cargo cannot read {}: {said}", manifest.display())));
    }
    parse(&output.stdout)
}

fn parse(answer: &[u8]) -> Result<Workspace, BuildError> {
    serde_json::from_slice(answer)
        .map_err(|error| BuildError::new(format!("the answer of `cargo metadata` cannot be read: {error}")))
}

impl Workspace {
    /// The binary that is to be built.
    pub(super) fn program(&self, build: &CargoBuild) -> Result<Program, BuildError> {
        let package = self.package(&build.package)?;
        let bins: Vec<&str> = package
            .targets
            .iter()
            .filter(|target| target.kind.iter().any(|kind| kind == "bin"))
            .map(|target| target.name.as_str())
            .collect();
        let name = &package.name;
        let several = || {
            BuildError::new(format!(
                "the package `{name}` has {} binaries, and one goes into the image",
                bins.len()
            ))
            .hint(format!("choose it with `build.bin`: {}", bins.join(", ")))
        };
        let bin = match (&build.bin, bins.as_slice()) {
            (_, []) => {
                return Err(BuildError::new(format!("the package `{name}` has no binary"))
                    .hint("set `build.package` to one with a `src/main.rs`"));
            }
            (Some(asked), bins) if bins.contains(&asked.as_str()) => asked.clone(),
            (Some(asked), bins) => {
                return Err(BuildError::new(format!("the package `{name}` has no binary `{asked}`"))
                    .hint(format!("its binaries: {}", bins.join(", "))));
            }
            (None, [only]) => (*only).to_owned(),
            (None, _) => package.default_run.clone().ok_or_else(several)?,
        };
        Ok(Program {
            package: name.clone(),
            bin,
            version: package.version.clone(),
            workspace: self.workspace_root.clone(),
        })
    }

    fn package(&self, name: &str) -> Result<&Package, BuildError> {
        self.packages.iter().find(|package| package.name == name).ok_or_else(|| {
            let known: Vec<_> = self.packages.iter().map(|package| package.name.as_str()).collect();
            BuildError::new(format!("there is no package `{name}` in the workspace"))
                .hint(format!("set `build.package` to one of: {}", known.join(", ")))
        })
    }

    /// What every package of the workspace is built with.
    pub(super) fn always(&self) -> Vec<inputs::Path> {
        let places = ALWAYS.iter().map(|name| (name, self.workspace_root.join(name)));
        let there = places.filter(|(_, place)| place.is_file());
        there.map(|(name, place)| inputs::Path::new(&format!("workspace/{name}"), &place)).collect()
    }

    /// The folders of a package and of those beside it that it depends on, however far.
    pub(super) fn paths_of(&self, name: &str) -> Vec<inputs::Path> {
        let folder = |package: &Package| package.manifest_path.parent().map(Path::to_owned);
        let (mut waiting, mut seen) = (Vec::new(), BTreeSet::new());
        waiting.extend(self.packages.iter().filter(|package| package.name == name).filter_map(folder));
        while let Some(place) = waiting.pop() {
            if !seen.insert(place.clone()) {
                continue;
            }
            let package = self.packages.iter().find(|package| folder(package).as_ref() == Some(&place));
            let beside = package.into_iter().flat_map(|package| &package.dependencies);
            waiting.extend(beside.filter_map(|dependency| dependency.path.clone()));
        }
        let name = |place: &PathBuf| {
            let package = self.packages.iter().find(|package| folder(package).as_ref() == Some(place));
            // A package outside of the workspace is known by its folder alone.
            let folder = || place.file_name().map(|name| name.to_string_lossy().into_owned());
            package.map(|package| package.name.clone()).or_else(folder).unwrap_or_default()
        };
        seen.iter().map(|place| inputs::Path::new(&format!("packages/{}", name(place)), place)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn package(name: &str, bins: &[&str], beside: &[&str]) -> Value {
        let bins: Vec<_> = bins.iter().map(|bin| json!({"name": bin, "kind": ["bin"]})).collect();
        let beside: Vec<_> = beside.iter().map(|name| json!({"path": format!("/w/{name}")})).collect();
        let beside: Vec<_> = beside.into_iter().chain([json!({"path": null})]).collect();
        json!({"name": name, "version": "0.1.0", "manifest_path": format!("/w/{name}/Cargo.toml"), "default_run": null,
            "targets": bins, "dependencies": beside})
    }

    fn workspace(packages: &[Value]) -> Workspace {
        parse(json!({"packages": packages, "workspace_root": "/w"}).to_string().as_bytes()).unwrap()
    }

    fn build(package: &str, bin: Option<&str>) -> CargoBuild {
        CargoBuild {
            package: package.into(),
            bin: bin.map(str::to_owned),
            profile: "dev".into(),
            features: Vec::new(),
            default_features: true,
            base: None,
        }
    }

    #[test]
    fn the_only_binary_needs_no_name() {
        let workspace = workspace(&[package("api", &["server"], &[])]);
        assert_eq!(workspace.program(&build("api", None)).unwrap().bin, "server");
    }

    #[test]
    fn of_several_binaries_one_is_chosen_and_all_are_named() {
        let workspace = workspace(&[package("api", &["server", "tool"], &[])]);
        let error = workspace.program(&build("api", None)).unwrap_err();
        assert!(error.message.contains("2 binaries") && error.hints[0].contains("server, tool"), "{error:?}");
        assert_eq!(workspace.program(&build("api", Some("tool"))).unwrap().bin, "tool");
        let error = workspace.program(&build("api", Some("toll"))).unwrap_err();
        assert!(error.message.contains("`toll`"), "{error:?}");
    }

    #[test]
    fn an_unknown_package_is_told_the_known_ones() {
        let workspace = workspace(&[package("api", &["api"], &[]), package("web", &[], &[])]);
        let error = workspace.program(&build("apo", None)).unwrap_err();
        assert!(error.message.contains("`apo`") && error.hints[0].contains("api, web"), "{error:?}");
        assert!(workspace.program(&build("web", None)).unwrap_err().message.contains("no binary"));
    }

    #[test]
    fn sources_are_those_of_the_package_and_of_what_it_depends_on() {
        let packages = [
            package("api", &["api"], &["core"]),
            package("core", &[], &["deep"]),
            package("deep", &[], &["core"]),
            package("web", &["web"], &[]),
        ];
        let paths = workspace(&packages).paths_of("api");
        let expected = ["api", "core", "deep"]
            .map(|name| inputs::Path::new(&format!("packages/{name}"), Path::new(&format!("/w/{name}"))));
        assert_eq!(paths, expected);
    }
}
