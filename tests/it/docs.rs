//! What the documents say is there is there.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Workplace, repository};

const DOCUMENTS: [&str; 5] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/configuration.md", "docs/plan-json.md"];

fn read(document: &str) -> String {
    fs::read_to_string(repository().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// Texts between single backticks, outside code blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// Targets of links in Markdown, without those to other hosts and within the page.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.map(|target| target.split('#').next().unwrap_or_default().to_owned()).collect()
}

/// Top-level entries of the repository: what a path in a document can begin with.
const ROOTS: [&str; 10] = [
    "src/",
    "tests/",
    "templates/",
    "examples/",
    "sandbox/",
    "xtask/",
    "environments/",
    "docs/",
    ".github/",
    ".ci/",
];

/// A path of this repository: no command, no pattern, no stand-in in capitals.
fn is_path(text: &str) -> bool {
    let stand_in = |part: &str| {
        let name = part.split('.').next().unwrap_or_default();
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    let rooted = ROOTS.iter().any(|root| text.starts_with(root));
    rooted && !text.contains([' ', '*', '{', '<', '$']) && !text.split('/').any(stand_in)
}

#[test]
fn every_path_in_the_documents_exists() {
    let mut missing = Vec::new();
    let mut seen = 0;
    for document in DOCUMENTS {
        let text = read(document);
        let folder = repository().join(document);
        let folder = folder.parent().unwrap();
        for path in quoted(&text).into_iter().filter(|text| is_path(text)) {
            seen += 1;
            let file = path.split(':').next().unwrap_or_default();
            if !repository().join(file).exists() {
                missing.push(format!("{document}: {path}"));
            }
        }
        for link in links(&text) {
            seen += 1;
            if !folder.join(&link).exists() {
                missing.push(format!("{document}: link to {link}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(seen > 20, "only {seen} paths were found: is the search broken?");
}

/// Commands and flags of the README, from code blocks, tables and prose.
fn commands(text: &str) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    let lines = text.lines().map(str::to_owned).chain(quoted(text));
    for line in lines {
        let line = line.trim_start_matches("$ ").replace("cargo run -- ", "deployer ");
        let Some(words) = line.strip_prefix("deployer ") else { continue };
        let words = words.split(" #").next().unwrap_or_default();
        let is_verb = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase());
        let verbs: Vec<_> = words.split_whitespace().take_while(is_verb).map(str::to_owned).collect();
        if !verbs.is_empty() && !line.starts_with("deployer: ") {
            found.insert(verbs);
        }
    }
    found
}

/// The longest beginning of `words` that is a command, with its help.
async fn help(words: &[String]) -> Option<(usize, String)> {
    for length in (1..=words.len()).rev() {
        let done = Workplace::empty().deployer(&format!("{} --help", words[..length].join(" "))).done().await;
        if done.code == 0 {
            return Some((length, done.stdout));
        }
    }
    None
}

#[tokio::test]
async fn every_command_of_the_readme_exists() {
    let readme = read("README.md");
    // What looks like prose about the tool, not like a command line.
    let commands: Vec<_> = commands(&readme)
        .into_iter()
        .filter(|words| !["brings", "is", "does"].contains(&words[0].as_str()))
        .collect();
    assert!(commands.len() >= 8, "{commands:?}");
    for words in &commands {
        assert!(help(words).await.is_some(), "deployer {}", words.join(" "));
    }
}

#[tokio::test]
async fn every_command_is_in_the_readme() {
    let readme = read("README.md");
    let help = Workplace::empty().deployer("--help").ok().await.stdout;
    let listed = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let verbs =
        listed.take_while(|line| line.starts_with("  ")).filter_map(|line| line.split_whitespace().next());
    let verbs: Vec<_> = verbs.filter(|verb| *verb != "help").collect();
    assert!(verbs.len() >= 7, "{help}");
    for verb in verbs {
        assert!(readme.contains(&format!("deployer {verb}")), "README.md does not name `deployer {verb}`");
    }
}

#[tokio::test]
async fn every_flag_of_the_readme_exists() {
    let mut known = String::new();
    for verb in [
        "up",
        "plan",
        "apply",
        "show",
        "drift",
        "build",
        "status",
        "logs",
        "rollback",
        "run",
        "migrate",
        "validate",
        "lint",
        "comment",
        "schema",
        "render",
        "sandbox",
        "secrets list",
        "secrets set",
        "tenants list",
        "tenants add",
        "tenants remove",
        "destroy",
        "sandbox reset",
        "completions",
    ] {
        known.push_str(&Workplace::empty().deployer(&format!("{verb} --help")).ok().await.stdout);
    }
    let options: BTreeSet<_> = known
        .split(|c: char| c.is_whitespace() || [',', '[', ']', '`'].contains(&c))
        .map(str::to_owned)
        .collect();
    let readme = read("README.md");
    let quoted =
        quoted(&readme).into_iter().filter(|text| !text.starts_with("cargo") && !text.starts_with("gcloud"));
    let words: Vec<_> =
        quoted.flat_map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    let flags: BTreeSet<_> =
        words.into_iter().filter(|word| word.starts_with('-') && word.len() > 1).collect();
    assert!(flags.len() >= 8, "{flags:?}");
    for flag in flags.iter().map(|flag| flag.split('=').next().unwrap_or_default()) {
        assert!(options.contains(flag), "no command has {flag}");
    }
}

#[test]
fn the_changelog_has_a_place_for_what_is_not_released() {
    let changelog = read("CHANGELOG.md");
    assert!(
        changelog.lines().any(|line| line.starts_with("## ") && line.contains("Unreleased")),
        "{changelog}"
    );
}
