//! Dockerfiles of services with `build.template`, and what their contexts leave out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Rendered, TemplateError, Templates, rendered};
use crate::config::model::{Bases, Builder, Environment, Language, Recipe, Service};

/// What templates in `templates/docker` may name.
#[derive(Debug, Serialize)]
struct Frame<'a> {
    /// Key of the service in the YAML.
    service: &'a str,
    /// `rust` or `python-uv`.
    language: &'static str,
    bases: &'a Bases,
    apt_build: &'a [String],
    apt_runtime: &'a [String],
    /// Secrets of the build, by the names of their variables.
    secrets: &'a [String],
    port: u16,
    /// URL of the repository on GitHub; empty where none is named.
    source: String,
    /// Rust: the arguments of `cargo build`, the folder of its profile, and the binary.
    cargo: String,
    folder: &'a str,
    program: &'a str,
    /// Python: module and object that uvicorn serves.
    app: &'a str,
}

/// The Dockerfiles of all services, each with the file that says what is not sent to the builder. Several environments have them
/// in common, which the configuration has checked.
pub(super) fn render(
    environments: &[Environment],
    templates: &Templates,
) -> Result<Vec<Rendered>, TemplateError> {
    let mut all = BTreeMap::new();
    for environment in environments {
        let github = environment.github.as_ref().map(|github| github.repository.as_str());
        for (key, service) in &environment.services {
            let Some((path, recipe)) = recipe(service) else { continue };
            let frame = frame(key, service, recipe, github);
            let template = format!("docker/{}.Dockerfile", frame.language);
            let left_out = ignore_path(&path);
            all.insert(left_out.clone(), rendered(left_out, "docker/dockerignore", &frame, templates)?);
            all.insert(path.clone(), rendered(path, &template, &frame, templates)?);
        }
    }
    Ok(all.into_values().collect())
}

/// Where the Dockerfile of a service is rendered to, and from what.
fn recipe(service: &Service) -> Option<(String, &Recipe)> {
    let build = service.build.as_ref()?;
    let Builder::Docker(docker) = &build.builder else { return None };
    Some((docker.path_in(&build.context), docker.recipe.as_ref()?))
}

/// Docker takes the one beside the Dockerfile before the one of the context, so that services can share a context.
fn ignore_path(dockerfile: &str) -> String {
    match dockerfile.strip_suffix("Dockerfile") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => format!("{folder}.dockerignore"),
        _ => format!("{dockerfile}.dockerignore"),
    }
}

fn frame<'a>(key: &'a str, service: &'a Service, recipe: &'a Recipe, github: Option<&str>) -> Frame<'a> {
    let Recipe { language, bases, apt_build, apt_runtime, secrets } = recipe;
    let mut frame = Frame {
        service: key,
        language: "python-uv",
        bases,
        apt_build,
        apt_runtime,
        secrets,
        // Every service has one: 8080 where the YAML says none.
        port: service.main.port.unwrap_or(8080),
        source: github.map(|repository| format!("https://github.com/{repository}")).unwrap_or_default(),
        cargo: String::new(),
        folder: "",
        program: "",
        app: "",
    };
    match language {
        Language::PythonUv { app } => frame.app = app,
        Language::Rust { package, bin, profile, features, default_features } => {
            let mut words =
                vec![format!("--package {package}"), format!("--bin {bin}"), format!("--profile {profile}")];
            if !default_features {
                words.push("--no-default-features".to_owned());
            }
            if !features.is_empty() {
                words.push(format!("--features {}", features.join(",")));
            }
            frame.language = "rust";
            frame.cargo = words.join(" ");
            // Cargo's own name of the folder of the profile `dev`.
            frame.folder = if profile == "dev" { "debug" } else { profile };
            frame.program = bin;
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "deployer: v1\nsystem: s\nproject: {id: my-project, number: \"1\"}\nregion: us-central1\nregistry: {repository: s}\ngithub: {repository: o/r}\n";

    fn files(services: &str) -> Vec<Rendered> {
        let folder = tempfile::tempdir().unwrap();
        let environments = folder.path().join("environments");
        std::fs::create_dir(&environments).unwrap();
        std::fs::write(environments.join("base.yaml"), format!("{HEAD}services:\n{services}")).unwrap();
        std::fs::write(environments.join("dev.yaml"), "deployer: v1\nenvironment: dev\n").unwrap();
        let loaded = crate::config::load(folder.path(), "dev", &crate::config::Inputs::default()).unwrap();
        render(&[loaded.environment], &Templates::of(folder.path()).unwrap()).unwrap()
    }

    fn text(services: &str, path: &str) -> String {
        files(services).into_iter().find(|file| file.path == path).unwrap().text
    }

    /// The Dockerfile without the line that has a hash of all of it.
    fn body(services: &str) -> String {
        let text = text(services, "Dockerfile");
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("# Rendered")).collect();
        lines.join("\n")
    }

    #[test]
    fn a_rust_service_gets_a_dockerfile_with_caches_and_two_targets() {
        insta::assert_snapshot!(body(
            "  api: {port: 9000, build: {builder: docker, template: rust, package: tenant-api, features: [a, b], default_features: false, apt_build: [cmake], apt_runtime: [postgresql-client], secrets: [TOKEN]}}\n"
        ));
    }

    #[test]
    fn a_python_service_gets_a_dockerfile_that_serves_its_app() {
        insta::assert_snapshot!(body(
            "  api: {build: {builder: docker, template: python-uv, app: \"src.app.main:app\", apt_runtime: [postgresql-client]}}\n"
        ));
    }

    #[test]
    fn bases_can_be_named_by_digest() {
        let digest = format!("debian:12-slim@sha256:{}", "0a".repeat(32));
        let text = text(
            &format!("  api: {{build: {{builder: docker, template: rust, bases: {{ops: \"{digest}\"}}}}}}\n"),
            "Dockerfile",
        );
        assert!(text.contains(&format!("FROM {digest} AS ops\n")), "{text}");
    }

    #[test]
    fn keys_stay_out_of_every_image() {
        for service in ["template: rust", "template: python-uv, app: \"a:b\""] {
            let text = text(&format!("  api: {{build: {{builder: docker, {service}}}}}\n"), ".dockerignore");
            for line in ["**/gha-creds-*.json", "**/.env", ".git"] {
                assert!(text.lines().any(|found| found == line), "{line} in {text}");
            }
        }
    }

    #[test]
    fn services_that_share_a_folder_have_files_of_their_own() {
        let services = "  api: {build: {builder: docker, template: rust, context: apps, dockerfile: docker/api.Dockerfile}}\n  web: {build: {builder: docker, template: rust, context: ./apps/}}\n";
        let paths: Vec<_> = files(services).into_iter().map(|file| file.path).collect();
        assert_eq!(
            paths,
            [
                "apps/.dockerignore",
                "apps/Dockerfile",
                "apps/docker/api.Dockerfile",
                "apps/docker/api.Dockerfile.dockerignore"
            ]
        );
    }

    #[test]
    fn what_is_rendered_has_no_findings() {
        for service in ["template: rust", "template: python-uv, app: \"a:b\""] {
            let text = text(&format!("  api: {{build: {{builder: docker, {service}}}}}\n"), "Dockerfile");
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("Dockerfile"), text).unwrap();
            assert_eq!(crate::lint::lint(folder.path(), &[], &[]).findings, Vec::new());
        }
    }
}
