//! The invariants of ARCHITECTURE.md that the compiler does not hold, as searches through the sources.

use std::fs;
use std::path::Path;

use crate::support::repository;

/// A source file: its path from the root of the repository, and its code without comments and unit tests.
struct Source {
    path: String,
    first: String,
    code: String,
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&repository().join(folder), &mut found);
    assert!(!found.is_empty(), "no sources in {folder}");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned();
            let first = text.lines().next().unwrap_or_default().to_owned();
            found.push(Source { path, first, code: code(&text) });
        }
    }
}

/// Without comments, and without the unit tests, which stand at the end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Files that hold unit tests only.
fn is_test(path: &str) -> bool {
    path.contains("/tests/")
        || path.ends_with("tests.rs")
        || path.ends_with("testing.rs")
        || path.ends_with("testserver.rs")
}

/// The lines of production code in `sources` that contain one of `words`.
fn lines_with(sources: &[Source], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !is_test(&source.path)) {
        for line in source.code.lines() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

#[track_caller]
fn none(found: &[String]) {
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// `plan` itself. Through `resource::erased` it knows the trait whose effects take a `Gcp`, and calls none of them.
#[test]
fn planning_is_pure() {
    let plan = sources("src/plan");
    let impure = [
        "gcp",
        "tokio",
        "futures",
        "async ",
        ".await",
        "std::fs",
        "std::env",
        "std::net",
        "Instant::now",
        "SystemTime",
    ];
    none(&lines_with(&plan, &impure));
    none(&lines_with(&plan, &[".observe(", ".create(", ".update(", ".delete("]));
}

#[test]
fn configuration_reads_files_and_nothing_else() {
    let config = sources("src/config");
    none(&lines_with(
        &config,
        &["crate::gcp", "reqwest", "tokio", ".await", "Instant::now", "SystemTime", "std::net"],
    ));
    none(&lines_with(
        &sources("src/lint"),
        &["crate::gcp", "tokio", ".await", "std::env", "std::net", "Command"],
    ));
}

#[test]
fn only_view_prints() {
    let everything = sources("src").into_iter().filter(|source| !source.path.starts_with("src/view/"));
    let printing = ["println!", "eprintln!", "print!(", "eprint!(", "io::stdout", "io::stderr", "dbg!("];
    none(&lines_with(&everything.collect::<Vec<_>>(), &printing));
}

#[test]
fn only_gcp_talks_to_google() {
    let outside = |folders: &[&str]| {
        let all = sources("src").into_iter();
        all.filter(|source| !folders.iter().any(|folder| source.path.starts_with(folder))).collect::<Vec<_>>()
    };
    let google = ["oci_client", "google_cloud_", "TcpStream", "hyper::"];
    none(&lines_with(&outside(&["src/gcp/"]), &google));
    none(&lines_with(&outside(&["src/gcp/", "src/github/"]), &["reqwest"]));
}

#[test]
fn only_github_talks_to_github_and_to_nobody_else() {
    none(&lines_with(&sources("src/github"), &["crate::gcp", "googleapis"]));
    let others = sources("src").into_iter().filter(|source| !source.path.starts_with("src/github/"));
    none(&lines_with(&others.collect::<Vec<_>>(), &["api.github.com"]));
}

#[test]
fn apply_obeys_the_plan_and_never_reads_the_configuration() {
    let apply = sources("src/apply");
    none(&lines_with(&apply, &["config", "declare(", "plan::plan", "diff::", "std::fs", "std::env"]));
}

#[test]
fn views_decide_nothing() {
    none(&lines_with(
        &sources("src/view"),
        &["crate::gcp::Gcp", ".await", "plan::plan(", "apply::apply(", "config::load"],
    ));
}

#[test]
fn the_sandbox_does_not_know_deployer() {
    let manifest = fs::read_to_string(repository().join("sandbox/Cargo.toml")).unwrap();
    let dependencies = manifest.split("dependencies]").skip(1).collect::<String>();
    for word in ["deployer", "google-cloud"] {
        assert!(!dependencies.contains(word), "sandbox/Cargo.toml depends on {word}");
    }
    none(&lines_with(&sources("sandbox/src"), &["use deployer", "deployer::", "google_cloud_"]));
}

/// In the row of its folder by its name, or anywhere by its path.
#[test]
fn every_source_of_deployer_stands_in_the_architecture() {
    let document = fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let rows: Vec<_> = rows.collect();
    let stands = |path: &str| {
        let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let in_row = |(folder, text): &(&str, &str)| {
            let named = |name: &str| text.contains(&format!("`{name}`"));
            let inner = module.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
            module == *folder || inner.is_some_and(|inner| named(inner) || inner.split('/').all(named))
        };
        document.contains(&format!("`{path}`")) || rows.iter().any(in_row)
    };
    let all = sources("src").into_iter().map(|source| source.path).filter(|path| !is_test(path));
    none(&all.filter(|path| !stands(path)).collect::<Vec<_>>());
}

#[test]
fn every_source_says_first_what_it_is_for() {
    let all = ["src", "sandbox/src", "private-servers", "xtask/src", "tests"].into_iter().flat_map(sources);
    let silent: Vec<_> =
        all.filter(|source| !source.first.starts_with("//! ")).map(|source| source.path).collect();
    none(&silent);
}

#[test]
fn payloads_cannot_be_printed() {
    let payload = sources("src/gcp").into_iter().find(|source| source.path.ends_with("/payload.rs")).unwrap();
    let derives = payload.code.lines().filter(|line| line.contains("derive("));
    let open: Vec<_> = derives
        .filter(|line| line.contains("Debug") || line.contains("Serialize"))
        .map(str::to_owned)
        .collect();
    none(&open);
    assert!(!payload.code.contains("Display for"));
}

#[test]
fn no_source_names_the_machine_that_it_was_written_on() {
    let all = ["src", "sandbox", "private-servers", "xtask", "tests"].into_iter().flat_map(sources);
    let written = ["/work", "/tmp", "/root"].map(|folder| format!("\"{folder}/"));
    let words: Vec<_> = written.iter().map(String::as_str).collect();
    none(&lines_with(&all.collect::<Vec<_>>(), &words));
}
