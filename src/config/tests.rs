//! Whole files through `load`: good ones become the model, bad ones give all their problems.

use super::*;

/// A folder with the given files in `environments/`.
pub(crate) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join("environments").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn loaded(files: &[(&str, &str)], environment: &str) -> Loaded {
    let folder = folder(files);
    match load(folder.path(), environment, &Inputs::default()) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{:#?}", problems.diagnostics),
    }
}

#[test]
fn the_environments_of_this_repository_load() {
    assert_eq!(names(root()).unwrap(), ["dev", "production", "staging"]);
    for name in names(root()).unwrap() {
        let loaded =
            load(root(), &name, &Inputs::default()).map_err(|problems| problems.diagnostics).unwrap();
        let rules: Vec<_> = loaded.warnings.iter().map(|warning| warning.rule).collect();
        assert_eq!(rules, ["placeholder-project"], "{:?}", loaded.warnings);
        assert!(!loaded.needs_project_number);
    }
}

#[test]
fn agent_army_is_read_as_written() {
    let environment = load(root(), "production", &Inputs::default()).unwrap().environment;
    let api = &environment.services["api"];
    assert_eq!(api.name, "agent-army-api-production");
    assert_eq!(api.service_account, "agent-army-api-production");
    assert_eq!((api.min_instances, api.max_instances, api.concurrency, api.timeout), (1, 10, 80, 300));
    assert_eq!(api.access, model::Access::Public);
    assert_eq!((api.main.cpu.as_str(), api.main.memory.as_str(), api.main.cpu_idle), ("1", "512Mi", false));
    assert_eq!(api.main.env["JWT_ACCESS_TOKEN_EXPIRE_MINUTES"], "30");
    assert_eq!(
        api.main.env["PUBLIC_URL"],
        "https://agent-army-api-production-123456789012.us-central1.run.app"
    );
    assert_eq!(environment.secrets["jwt-secret-key"].id, "jwt-secret-key-production");
    assert_eq!(environment.secrets["jwt-secret-key"].generate, Some(model::Generate::Hex32));
    let order: Vec<_> = environment.secrets.keys().map(String::as_str).collect();
    assert_eq!(order, ["database-url", "redis-url", "anthropic-api-key", "openai-api-key", "jwt-secret-key"]);
    let place = environment.sources.find("services.api.min_instances").unwrap();
    assert_eq!((place.file.to_str().unwrap(), place.line), ("environments/production.yaml", 8));
    let probe = api.main.startup_probe.as_ref().unwrap();
    assert_eq!((probe.period_seconds, probe.timeout_seconds, probe.failure_threshold), (10, 5, 12));
    assert_eq!(api.main.liveness_probe.as_ref().unwrap().period_seconds, 10);
    let dev = load(root(), "dev", &Inputs::default()).unwrap().environment;
    assert_eq!(dev.target, model::Target::Sandbox);
    assert_eq!(dev.services["api"].main.env["ENVIRONMENT"], "development");
    assert!(dev.project.placeholder);
}

#[test]
fn the_smallest_files_that_the_hint_shows_work() {
    let loaded = loaded(&[("base.yaml", files::SMALLEST_BASE), ("dev.yaml", files::SMALLEST_OVERLAY)], "dev");
    assert_eq!(loaded.environment.services["web"].name, "web-dev");
    let problems = load(Path::new("src/config/none"), "dev", &Inputs::default()).unwrap_err();
    let hint = problems.diagnostics[0].hint.clone().unwrap();
    for line in files::SMALLEST_BASE.lines().chain(files::SMALLEST_OVERLAY.lines()) {
        assert!(hint.contains(&format!("    {line}\n")), "{line}");
    }
}
