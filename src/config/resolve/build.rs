//! How an image is built: defaults, and that the keys fit their builder and the image its registry.

mod recipe;

use super::super::diagnostic::Diagnostic;
use super::super::model::{Build, Builder, CargoBuild, DockerBuild};
use super::super::schema::{self, BuildKeys};
use super::super::tree::{Findings, Part, join};
use super::{require, text_map};

/// The service whose image is built.
pub(super) struct Built<'a> {
    /// Its name in the files.
    pub(super) key: &'a str,
    /// Its image, also where that is the default.
    pub(super) image: Option<&'a str>,
    /// Where the system's own images live.
    pub(super) images: Option<&'a str>,
    pub(super) environment: &'a str,
}

/// How the image of the service at `service_path` is built.
pub(super) fn resolve(
    service_path: &str,
    keys: BuildKeys,
    service: &Built<'_>,
    findings: &mut Findings,
) -> Option<Build> {
    let path = &join(service_path, "build");
    check_image(service_path, service, findings);
    let context = keys.context.clone().unwrap_or_else(|| ".".to_owned());
    check_inside(&join(path, "context"), std::slice::from_ref(&context), findings);
    check_inside(&join(path, "paths"), keys.paths.as_deref().unwrap_or_default(), findings);
    let Some(builder) = keys.builder else {
        require(&join(path, "builder"), "builder: cargo", "what builds the image", findings);
        return None;
    };
    check_builder(path, &keys, builder, findings);
    let builder = match builder {
        schema::Builder::Cargo => Builder::Cargo(CargoBuild {
            package: keys.package.unwrap_or_else(|| service.key.to_owned()),
            bin: keys.bin,
            profile: keys.profile.unwrap_or_else(|| profile(service.environment).to_owned()),
            features: keys.features.unwrap_or_default().into_iter().map(|feature| feature.0).collect(),
            default_features: keys.default_features.unwrap_or(true),
            base: keys.base,
        }),
        schema::Builder::Docker => {
            let recipe = recipe::resolve(path, &keys, service.key, findings);
            Builder::Docker(Box::new(DockerBuild {
                dockerfile: keys.dockerfile.unwrap_or_else(|| "Dockerfile".to_owned()),
                target: keys.target,
                args: text_map(keys.args),
                secrets: recipe::names(keys.secrets.as_deref(), |name| &name.0),
                recipe,
            }))
        }
    };
    Some(Build { builder, context, paths: keys.paths })
}

/// What is tried out is built often; what serves people is built well.
fn profile(environment: &str) -> &'static str {
    if environment == "dev" { "dev" } else { "release" }
}

/// What is built has to have a place to be pushed to, and the build says which tag and digest it gets.
fn check_image(service_path: &str, service: &Built<'_>, findings: &mut Findings) {
    let Some(images) = service.images else {
        if findings.is_broken("registry") {
            return;
        }
        let diagnostic =
            Diagnostic::error("build", "`build` without a `registry`: the image has nowhere to go")
                .label("no registry")
                .hint("add `registry: {repository: my-system}` to the file");
        return findings.add(Part::Key, &join(service_path, "build"), diagnostic);
    };
    let Some(image) = service.image else { return };
    let name = image.strip_prefix(images).and_then(|rest| rest.strip_prefix('/'));
    if name.is_some_and(|name| !name.contains([':', '@'])) {
        return;
    }
    let message = match name {
        Some(_) => "`build` decides which tag and digest the image has",
        None => "`build` pushes to `registry`, and this image lies elsewhere",
    };
    let diagnostic = Diagnostic::error("build", message)
        .label("cannot be built")
        .hint(format!("leave `image` out: then it is {images}/{}; or take out `build`", service.key));
    findings.add(Part::Value, &join(service_path, "image"), diagnostic);
}

/// Absolute paths are those of one machine.
fn check_inside(path: &str, written: &[String], findings: &mut Findings) {
    for entry in written.iter().filter(|entry| entry.starts_with('/') || entry.trim().is_empty()) {
        let diagnostic = Diagnostic::error("wrong-value", format!("`{entry}` is not a relative path"))
            .label("not relative")
            .hint("write it relative to the folder that holds `environments`, e.g. `services/api`");
        findings.add(Part::Value, path, diagnostic);
    }
}

/// Refuses keys of the other builder: they would do nothing.
fn check_builder(path: &str, keys: &BuildKeys, builder: schema::Builder, findings: &mut Findings) {
    // Those say what is compiled, which a Dockerfile of ours for Rust does too.
    let package = [
        ("package", keys.package.is_some()),
        ("bin", keys.bin.is_some()),
        ("profile", keys.profile.is_some()),
        ("features", keys.features.is_some()),
        ("default_features", keys.default_features.is_some()),
    ];
    let cargo = [("base", keys.base.is_some())];
    let docker = [
        ("dockerfile", keys.dockerfile.is_some()),
        ("target", keys.target.is_some()),
        ("args", keys.args.is_some()),
        ("secrets", keys.secrets.is_some()),
        ("template", keys.template.is_some()),
        ("app", keys.app.is_some()),
        ("bases", keys.bases.is_some()),
        ("apt_build", keys.apt_build.is_some()),
        ("apt_runtime", keys.apt_runtime.is_some()),
    ];
    let of_cargo = if keys.template == Some(schema::Template::Rust) { &[] } else { package.as_slice() };
    let (idle, other) = match builder {
        schema::Builder::Cargo => (docker.to_vec(), "docker"),
        schema::Builder::Docker => ([of_cargo, &cargo].concat(), "cargo"),
    };
    for (key, _) in idle.iter().filter(|(_, written)| *written) {
        let diagnostic =
            Diagnostic::error("build", format!("`{key}` does nothing here: it is for `builder: {other}`"))
                .label("does nothing")
                .hint(format!("take it out, or write `builder: {other}`"));
        findings.add(Part::Key, &join(path, key), diagnostic);
    }
}
