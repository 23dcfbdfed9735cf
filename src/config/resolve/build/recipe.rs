//! What a Dockerfile is rendered from: defaults, and that the keys fit the template.

use super::super::super::diagnostic::Diagnostic;
use super::super::super::model::{Bases, Language, Recipe};
use super::super::super::schema::{BaseImage, BasesKeys, BuildKeys, Template};
use super::super::super::tree::{Findings, Part, join};
use super::super::require;

const RUST: &str = "rust:1.95-slim-bookworm";
const DISTROLESS: &str = "gcr.io/distroless/cc-debian12:nonroot";
const DEBIAN: &str = "debian:12-slim";
const PYTHON: &str = "python:3.12-slim-bookworm";
const UV: &str = "ghcr.io/astral-sh/uv:0.9";

/// The recipe in the `build` at `path` of the service `key`; `None` where the Dockerfile is the user's own.
pub(super) fn resolve(path: &str, keys: &BuildKeys, key: &str, findings: &mut Findings) -> Option<Recipe> {
    let Some(template) = keys.template else {
        let idle = [
            ("app", keys.app.is_some()),
            ("bases", keys.bases.is_some()),
            ("apt_build", keys.apt_build.is_some()),
            ("apt_runtime", keys.apt_runtime.is_some()),
        ];
        if !findings.is_broken(&join(path, "template")) {
            refuse(path, &idle, "`template: rust` or `template: python-uv`", findings);
        }
        return None;
    };
    check_inside(path, keys, findings);
    let written = |base: fn(&BasesKeys) -> Option<&BaseImage>| {
        keys.bases.as_ref().and_then(base).map(|image| image.0.clone())
    };
    let bases = |build: &str, runtime: &str| Bases {
        build: written(|bases| bases.build.as_ref()).unwrap_or_else(|| build.to_owned()),
        runtime: written(|bases| bases.runtime.as_ref()).unwrap_or_else(|| runtime.to_owned()),
        ops: written(|bases| bases.ops.as_ref()).unwrap_or_else(|| DEBIAN.to_owned()),
        uv: written(|bases| bases.uv.as_ref()).unwrap_or_else(|| UV.to_owned()),
    };
    let has = |base: fn(&BasesKeys) -> Option<&BaseImage>| written(base).is_some();
    let mut apt_runtime = names(keys.apt_runtime.as_deref(), |package| &package.0);
    let (language, bases) = match template {
        Template::Rust => {
            refuse(
                path,
                &[("app", keys.app.is_some()), ("bases.uv", has(|bases| bases.uv.as_ref()))],
                "`template: python-uv`",
                findings,
            );
            apt_runtime.insert(0, "ca-certificates".to_owned());
            apt_runtime.dedup();
            let package = keys.package.clone().unwrap_or_else(|| key.to_owned());
            let language = Language::Rust {
                bin: keys.bin.clone().unwrap_or_else(|| package.clone()),
                package,
                profile: keys.profile.clone().unwrap_or_else(|| "release".to_owned()),
                features: names(keys.features.as_deref(), |feature| &feature.0),
                default_features: keys.default_features.unwrap_or(true),
            };
            (language, bases(RUST, DISTROLESS))
        }
        Template::PythonUv => {
            refuse(path, &[("bases.ops", has(|bases| bases.ops.as_ref()))], "`template: rust`", findings);
            let Some(app) = keys.app.clone() else {
                require(&join(path, "app"), "app: \"src.main:app\"", "what uvicorn serves", findings);
                return None;
            };
            (Language::PythonUv { app }, bases(PYTHON, PYTHON))
        }
    };
    check_versions(path, &bases, keys, findings);
    Some(Recipe {
        language,
        bases,
        apt_build: names(keys.apt_build.as_deref(), |package| &package.0),
        apt_runtime,
        secrets: names(keys.secrets.as_deref(), |name| &name.0),
    })
}

/// The texts of a list of names.
pub(super) fn names<T>(written: Option<&[T]>, text: impl Fn(&T) -> &String) -> Vec<String> {
    written.unwrap_or_default().iter().map(|name| text(name).clone()).collect()
}

fn refuse(path: &str, keys: &[(&str, bool)], wanted: &str, findings: &mut Findings) {
    for (key, _) in keys.iter().filter(|(_, written)| *written) {
        let diagnostic = Diagnostic::error("build", format!("`{key}` does nothing here: it is for {wanted}"))
            .label("does nothing")
            .hint(format!("take it out, or write {wanted}"));
        findings.add(Part::Key, &join(path, key), diagnostic);
    }
}

/// What is rendered stays in the folder that holds `environments`.
fn check_inside(path: &str, keys: &BuildKeys, findings: &mut Findings) {
    for (key, written) in [("context", &keys.context), ("dockerfile", &keys.dockerfile)] {
        let text = written.as_deref().unwrap_or_default();
        if text.split('/').any(|part| part == "..") || (key == "dockerfile" && text.starts_with('/')) {
            let message = format!("`{text}` leads out of the folder in which files are rendered");
            let diagnostic = Diagnostic::error("build", message)
                .label("outside")
                .hint("write a path without `..`, relative to the folder that holds `environments`");
            findings.add(Part::Value, &join(path, key), diagnostic);
        }
    }
}

/// A base without a version is another one tomorrow.
fn check_versions(path: &str, bases: &Bases, keys: &BuildKeys, findings: &mut Findings) {
    let Bases { build, runtime, ops, uv } = bases;
    for (key, image) in [("build", build), ("runtime", runtime), ("ops", ops), ("uv", uv)] {
        let last = image.rsplit('/').next().unwrap_or_default();
        if keys.bases.is_some() && (!last.contains([':', '@']) || last.ends_with(":latest")) {
            let diagnostic = Diagnostic::error("build", format!("`{image}` is whatever was pushed last: the same sources would give another image tomorrow"))
                .label("no version")
                .hint(format!("{}:VERSION, best with its digest: @sha256:...", image.trim_end_matches(":latest")));
            findings.add(Part::Value, &join(path, &format!("bases.{key}")), diagnostic);
        }
    }
}
