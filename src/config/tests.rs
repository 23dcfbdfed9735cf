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

/// The base of the system that the integration tests use.
fn agent_army() -> String {
    std::fs::read_to_string(root().join("tests/fixture/agent-army/environments/base.yaml")).unwrap()
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
    for folder in [root().to_owned(), root().join("tests/fixture/agent-army")] {
        assert_eq!(names(&folder).unwrap(), ["dev", "production", "staging"]);
        for name in names(&folder).unwrap() {
            let loaded =
                load(&folder, &name, &Inputs::default()).map_err(|problems| problems.diagnostics).unwrap();
            let rules: Vec<_> = loaded.warnings.iter().map(|warning| warning.rule).collect();
            assert_eq!(rules, ["placeholder-project"], "{:?}", loaded.warnings);
            assert!(!loaded.needs_project_number);
        }
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
    assert_eq!(api.main.image, "us-central1-docker.pkg.dev/agent-army-example/agent-army/api");
    let Some(model::Build { builder: model::Builder::Cargo(build), .. }) = &api.build else { panic!() };
    assert_eq!((build.package.as_str(), build.profile.as_str()), ("tenant-api", "release"));
    assert!(!build.default_features);
    assert_eq!(environment.secrets["jwt-secret-key"].id, "jwt-secret-key-production");
    assert_eq!(environment.secrets["jwt-secret-key"].generate, Some(model::Generate::Hex32));
    let order: Vec<_> = environment.secrets.keys().map(String::as_str).collect();
    let all = ["database-url", "database-owner-url", "redis-url", "jwt-secret-key", "platform-admin-token"];
    assert_eq!(order, all);
    let place = environment.sources.find("services.api.min_instances").unwrap();
    assert_eq!((place.file.to_str().unwrap(), place.line), ("environments/production.yaml", 8));
    let probe = api.main.startup_probe.as_ref().unwrap();
    assert_eq!((probe.period_seconds, probe.timeout_seconds, probe.failure_threshold), (1, 1, 120));
    assert_eq!(api.main.liveness_probe.as_ref().unwrap().period_seconds, 10);
    let dev = load(root(), "dev", &Inputs::default()).unwrap().environment;
    assert_eq!(dev.target, model::Target::Sandbox);
    assert_eq!(dev.services["api"].main.env["ENVIRONMENT"], "development");
    assert!(dev.project.placeholder);
    assert_eq!(environment.local, model::Local::default());
    let local: Vec<_> = dev.local.secrets().collect();
    assert_eq!(local, ["database-url", "database-owner-url"]);
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

/// A base that is complete but for its services, and an overlay.
fn with_services(services: &str) -> Vec<(&'static str, String)> {
    let base = "deployer: v1\nsystem: shop\nproject: {id: shop-project}\nregion: us-central1\n";
    vec![("base.yaml", format!("{base}{services}")), ("dev.yaml", "environment: dev\n".to_owned())]
}

fn read_services(services: &str) -> Loaded {
    let files = with_services(services);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    loaded(&files, "dev")
}

const IMAGE: &str = "image: us-docker.pkg.dev/p/r/api:v1";

#[test]
fn a_service_that_says_nothing_gets_the_documented_defaults() {
    let loaded = read_services(&format!("services: {{front: {{{IMAGE}}}}}\n"));
    let service = &loaded.environment.services["front"];
    assert_eq!((service.name.as_str(), service.service_account.as_str()), ("front-dev", "front-dev"));
    assert_eq!(
        (service.min_instances, service.max_instances, service.concurrency, service.timeout),
        (0, 10, 80, 300)
    );
    assert_eq!((service.execution_environment.as_str(), service.ingress.as_str()), ("gen2", "all"));
    assert_eq!(service.access, model::Access::Private);
    let main = &service.main;
    assert_eq!(
        (main.port, main.cpu.as_str(), main.memory.as_str(), main.cpu_idle),
        (Some(8080), "1", "512Mi", true)
    );
    assert!(!main.startup_cpu_boost && !service.session_affinity && main.startup_probe.is_none());
    assert_eq!(loaded.environment.target, model::Target::Google);
}

#[test]
fn spellings_of_gcloud_become_the_canonical_ones() {
    let loaded = read_services(&format!(
        "services:\n  front: {{{IMAGE}, cpu: 2000m, memory: 1024Mi, timeout: 5m, vpc: {{network: n, egress: ALL_TRAFFIC}}, ingress: internal-and-cloud-load-balancing}}\n"
    ));
    let service = &loaded.environment.services["front"];
    assert_eq!((service.main.cpu.as_str(), service.main.memory.as_str(), service.timeout), ("2", "1Gi", 300));
    assert_eq!(service.vpc.as_ref().unwrap().egress, "all-traffic");
    assert_eq!(service.ingress, "internal-and-cloud-load-balancing");
}

#[test]
fn secrets_become_variables_and_files() {
    let loaded = read_services(&format!(
        "secrets: {{a: {{}}, b: {{id: b-1}}}}\nservices:\n  front: {{{IMAGE}, secrets: {{A: a, B: \"b:7\", /etc/app/b.json: \"b:latest\"}}, secret_files: [a]}}\n"
    ));
    let main = &loaded.environment.services["front"].main;
    assert_eq!((main.secrets["A"].alias.as_str(), main.secrets["A"].version.as_deref()), ("a", None));
    assert_eq!(main.secrets["B"].version.as_deref(), Some("7"));
    assert_eq!(main.files["/etc/app/b.json"].version.as_deref(), Some("latest"));
    assert_eq!(main.files["/secrets/a/a"].alias, "a");
}

#[test]
fn sidecars_volumes_and_patches_are_read() {
    let loaded = read_services(&format!(
        "services:\n  front:\n    {IMAGE}\n    depends_on: [proxy]\n    volumes: {{/tmp/cache: {{in_memory: 1024Ki}}}}\n    sidecars: {{proxy: {{image: x/y:z, cpu: 1}}}}\n    v2: {{customAudiences: [\"https://${{env}}.example.com\"], template: {{encryptionKey: null}}}}\n"
    ));
    let service = &loaded.environment.services["front"];
    assert_eq!(service.main.depends_on, ["proxy"]);
    assert_eq!(service.main.in_memory["/tmp/cache"], "1Mi");
    assert_eq!(service.sidecars["proxy"].port, None);
    let patch = serde_json::json!({"customAudiences": ["https://dev.example.com"], "template": {"encryptionKey": null}});
    assert_eq!(service.v2, Some(patch));
}

#[test]
fn less_than_one_cpu_brings_what_cloud_run_asks_for() {
    let loaded = read_services(&format!("services: {{front: {{{IMAGE}, cpu: 0.5}}}}\n"));
    let service = &loaded.environment.services["front"];
    assert_eq!(
        (service.main.cpu.as_str(), service.concurrency, service.execution_environment.as_str()),
        ("500m", 1, "gen1")
    );
}

#[test]
fn a_variable_that_is_a_number_stays_one() {
    let loaded = read_services(&format!(
        "vars: {{port: 9000, version: 1.10}}\nservices: {{front: {{{IMAGE}, port: \"${{vars.port}}\", env: {{PORT_: \"${{vars.port}}\", V: \"${{vars.version}}\"}}}}}}\n"
    ));
    let main = &loaded.environment.services["front"].main;
    assert_eq!(main.port, Some(9000));
    assert_eq!((main.env["PORT_"].as_str(), main.env["V"].as_str()), ("9000", "1.10"));
}

#[test]
fn an_unknown_number_is_told_and_can_be_given() {
    let files = with_services(&format!(
        "services: {{front: {{{IMAGE}, env: {{U: \"${{services.front.url}}\"}}}}}}\n"
    ));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let folder = folder(&files);
    let without = load(folder.path(), "dev", &Inputs::default()).unwrap();
    assert!(without.needs_project_number && without.environment.project.number.is_none());
    let with = load(folder.path(), "dev", &Inputs { project_number: Some(42), ..Inputs::default() }).unwrap();
    assert!(!with.needs_project_number);
    assert_eq!(with.environment.services["front"].main.env["U"], "https://front-dev-42.us-central1.run.app");
    assert_ne!(with.environment.digest, without.environment.digest);
}

#[test]
fn included_files_keep_their_places() {
    let api = format!("services: {{front: {{{IMAGE}, memory: 1Gi}}}}\n");
    let base = "deployer: v1\nsystem: shop\nproject: {id: shop-project}\nregion: us-central1\ninclude: [\"services/**/*.yaml\"]\n";
    let loaded = loaded(
        &[
            ("base.yaml", base),
            ("services/team/front.yaml", &api),
            ("dev.yaml", "services: {front: {cpu: 2}}\n"),
        ],
        "dev",
    );
    let sources = &loaded.environment.sources;
    assert_eq!(
        sources.find("services.front.memory").unwrap().to_string(),
        "environments/services/team/front.yaml:1:57"
    );
    assert_eq!(sources.find("services.front.cpu").unwrap().to_string(), "environments/dev.yaml:1:20");
    assert_eq!(loaded.environment.services["front"].main.cpu, "2");
}

#[test]
fn a_service_takes_out_what_its_class_says() {
    let loaded = read_services(&format!(
        "classes: {{c: {{env: {{A: a, B: b}}, cpu: 2}}}}\nservices: {{front: {{{IMAGE}, class: c, cpu: null, env: {{A: null}}}}}}\n"
    ));
    let main = &loaded.environment.services["front"].main;
    assert_eq!(main.cpu, "1");
    assert_eq!(main.env.keys().collect::<Vec<_>>(), ["B"]);
}

#[test]
fn the_digest_follows_meaning_and_not_spelling() {
    let one = read_services(&format!("services: {{front: {{{IMAGE}, cpu: 2, port: 80}}}}\n"));
    let other =
        read_services(&format!("# a comment\nservices:\n  front:\n    port: 80\n    cpu: 2\n    {IMAGE}\n"));
    assert_eq!(one.environment.digest, other.environment.digest);
    let third = read_services(&format!("services: {{front: {{{IMAGE}, cpu: 2, port: 81}}}}\n"));
    assert_ne!(one.environment.digest, third.environment.digest);
}

#[test]
fn an_unknown_environment_is_answered_with_those_that_there_are() {
    let problems = load(root(), "stagin", &Inputs::default()).unwrap_err();
    assert_eq!(problems.diagnostics[0].rule, "unknown-environment");
    let hint = problems.diagnostics[0].hint.as_deref().unwrap();
    assert_eq!(hint, "did you mean `staging`? There are: dev, production, staging");
    let problems = load(root(), "base", &Inputs::default()).unwrap_err();
    assert!(problems.diagnostics[0].message.contains("not an environment"));
    let problems = load(root(), "../dev", &Inputs::default()).unwrap_err();
    assert_eq!(problems.diagnostics[0].rule, "unknown-environment");
}

#[test]
fn files_that_are_no_text_are_refused_with_a_reason() {
    let folder = folder(&[("base.yaml", "deployer: v1\n"), ("dev.yaml", "")]);
    let dev = folder.path().join("environments/dev.yaml");
    let said = |bytes: &[u8]| {
        std::fs::write(&dev, bytes).unwrap();
        load(folder.path(), "dev", &Inputs::default()).unwrap_err().diagnostics.remove(0)
    };
    assert_eq!(said(&[0xFF, 0xFE, b'a', 0]).rule, "encoding");
    assert_eq!(said(b"a: \xE9\n").rule, "encoding");
    assert_eq!(said(&vec![b'#'; 1024 * 1024 + 1]).rule, "file-too-large");
    std::fs::remove_file(&dev).unwrap();
    std::fs::create_dir(&dev).unwrap();
    assert_eq!(
        load(folder.path(), "dev", &Inputs::default()).unwrap_err().diagnostics[0].rule,
        "unreadable-file"
    );
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
    let base = format!("\u{feff}{}", files::SMALLEST_BASE.replace('\n', "\r\n"));
    let loaded = loaded(&[("base.yaml", &base), ("dev.yaml", files::SMALLEST_OVERLAY)], "dev");
    assert_eq!(loaded.environment.sources.find("system").unwrap().line, 2);
}

#[test]
fn a_thousand_services_are_read_in_order() {
    let secret = |number: usize| format!("  secret-{number}: {{}}\n");
    let service = |number: usize| {
        let next = (number + 1) % 1000;
        let used: Vec<_> =
            (0..5).map(|secret| format!("S{secret}: secret-{}", (number + secret) % 50)).collect();
        let secrets = used.join(", ");
        let head = format!("  service-{number}:\n    {IMAGE}\n    startup_probe: /ready\n");
        format!(
            "{head}    env: {{A: b, URL: \"${{services.service-{next}.url}}\"}}\n    secrets: {{{secrets}}}\n"
        )
    };
    let secrets: Vec<_> = (0..50).map(secret).collect();
    let services: Vec<_> = (0..1000).map(service).collect();
    let text = format!("secrets:\n{}services:\n{}", secrets.concat(), services.concat());
    let loaded = read_services(&text);
    let services = &loaded.environment.services;
    assert_eq!(services.len(), 1000);
    assert!(services.keys().enumerate().all(|(number, key)| *key == format!("service-{number}")));
    assert_eq!(loaded.environment.secrets.len(), 50);
}

#[test]
fn validate_shows_shared_problems_once_and_names_who_fails() {
    let base = "deployer: v1\nsystem: shop\nproject: {id: shop-project}\nregion: us-central1\nmemroy: 1\n";
    let folder =
        folder(&[("base.yaml", base), ("a.yaml", "environment: a\n"), ("b.yaml", "environment: b\n")]);
    let checked = validate(folder.path(), &[], &Inputs::default()).unwrap();
    assert_eq!(checked.diagnostics().len(), 1);
    assert_eq!(checked.verdicts().collect::<Vec<_>>(), [("a", false), ("b", false)]);
    let one = validate(folder.path(), &["b".to_owned()], &Inputs::default()).unwrap();
    assert_eq!(one.verdicts().collect::<Vec<_>>(), [("b", false)]);
    let none = validate(folder.path(), &["c".to_owned()], &Inputs::default()).unwrap();
    assert_eq!(none.diagnostics()[0].rule, "unknown-environment");
}

#[test]
fn environments_that_share_a_secret_alike_are_fine() {
    let checked = validate(root(), &[], &Inputs::default()).unwrap();
    assert!(!checked.has_errors());
    assert_eq!(
        checked.diagnostics().iter().map(|found| found.rule).collect::<Vec<_>>(),
        ["placeholder-project"]
    );
}

mod system;

mod robustness {
    use proptest::prelude::*;

    use super::*;

    /// The base of an example and more of the format, with some lines cut, doubled, or shortened.
    fn damaged(damage: &[(usize, u8)]) -> String {
        let text = format!("{}{}", agent_army(), system::BESIDE_SERVICES);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (at, how) in damage {
            let at = at % lines.len();
            let middle =
                lines[at].char_indices().nth(lines[at].chars().count() / 2).map_or(0, |(byte, _)| byte);
            match how % 4 {
                0 => lines[at].clear(),
                1 => lines[at].truncate(middle),
                2 => lines[at].insert_str(middle, "${"),
                _ => lines.insert(at, lines[at].clone()),
            }
        }
        lines.join("\n")
    }

    /// Every problem stands at a place that there is.
    fn places_exist(problems: &Problems) -> bool {
        problems.diagnostics.iter().filter_map(|problem| problem.location.as_ref()).all(|place| {
            let lines = problems.sources.text(&place.file).map_or(0, |text| text.split('\n').count());
            place.line >= 1 && (place.line as usize) <= lines.max(1) + 1 && place.column >= 1
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_damaged_file_is_read_or_refused_at_places_that_exist(
            damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)
        ) {
            let folder = folder(&[("base.yaml", &damaged(&damage)), ("dev.yaml", "environment: dev\n")]);
            if let Err(problems) = load(folder.path(), "dev", &Inputs::default()) {
                prop_assert!(problems.diagnostics.iter().any(Diagnostic::is_error));
                prop_assert!(places_exist(&problems), "{:?}", problems.diagnostics);
                let shown = crate::view::problems::render(&problems.diagnostics, &problems.sources, true, 80);
                prop_assert!(shown.contains("error"));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\\n\u{e4}{}:&*<$-]{0,200}") {
            let folder = folder(&[("base.yaml", &text), ("dev.yaml", "environment: dev\n")]);
            let problems = load(folder.path(), "dev", &Inputs::default()).unwrap_err();
            prop_assert!(problems.diagnostics.iter().any(Diagnostic::is_error));
        }
    }
}
