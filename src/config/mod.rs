//! YAML in, [`Environment`] out. Reads files and nothing else: no network, no clock, no process environment.
//!
//! The way of a file: text ([`files`]) -> tree with places ([`parse`]) -> overlays, defaults and classes merged
//! ([`merge`]) -> jobs borrow and are repeated ([`repeat`]) -> names filled in ([`interpolate`]) -> checked against the schema ([`shape`]) -> typed and given
//! defaults ([`resolve`]) -> checked as a whole ([`rules`]). Every stage adds its problems to [`tree::Findings`]
//! and takes out what is wrong, so that the later ones still run.

mod across;
mod circle;
mod container;
mod cron;
pub mod diagnostic;
mod dockerfiles;
mod edit;
mod files;
mod git;
pub mod host;
mod interpolate;
mod json_schema;
mod lint;
mod local;
mod merge;
pub mod model;
mod not_yet;
pub(crate) mod parse;
pub mod pipeline;
mod reference;
mod repeat;
mod resolve;
pub mod rollout;
mod rules;
pub(crate) mod scalars;
mod schema;
mod shape;
pub(crate) mod tree;
mod work;
mod workflows;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use across::{Checked, load_all, validate};
pub use diagnostic::{Diagnostic, Problems, Severity, Texts, did_you_mean};
pub use edit::{Edit, EditError, TenantChange, edit_tenants};
pub use json_schema::json_schema;
pub use lint::Accepted;
#[cfg(test)]
pub(crate) use lint::IN_FILES;
pub use model::Environment;
pub use reference::reference;
pub(crate) use rules::is_production;
pub(crate) use workflows::reached;

use git::Git;
use interpolate::Scope;
use lint::Allowed;
use tree::{Findings, Node};

/// What the caller knows beside the files.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The project's number, when the YAML has none and Google was asked.
    pub project_number: Option<u64>,
    /// Read `image_tags.deploy`, for which git may have to be asked. Nothing but a build needs it, and a plan must not
    /// change with every commit.
    pub deploy_tag: bool,
}

/// An environment that can be used, and what its author may want to know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub environment: Environment,
    /// In the order of files and lines.
    pub warnings: Vec<Diagnostic>,
    /// The texts of the files, to show the warnings in.
    pub sources: Texts,
    /// `${project.number}` or a service's URL was used and nobody has told the number: ask Google and load again.
    pub needs_project_number: bool,
}

/// The environments of the folder `environments` in `root`, sorted.
///
/// Fails when there is no such folder, with the smallest files that work in the hint.
pub fn names(root: &Path) -> Result<Vec<String>, Problems> {
    files::names(root)
}

/// Names of the branches that the git repository around `root` knows.
///
/// The error is one line that says why git cannot tell: no git, or no repository.
pub fn branches(root: &Path) -> Result<Vec<String>, String> {
    Git::around(root).branches()
}

/// Reads, merges and checks one environment.
///
/// Fails with all problems of all stages, warnings included, in the order of files and lines.
pub fn load(root: &Path, environment: &str, inputs: &Inputs) -> Result<Loaded, Problems> {
    load_with_lints(root, environment, inputs, &Texts::default()).map(|(loaded, _)| loaded)
}

/// The same with the findings that the environment accepts. The texts in `edited` stand for those of the files.
fn load_with_lints(
    root: &Path,
    environment: &str,
    inputs: &Inputs,
    edited: &Texts,
) -> Result<(Loaded, Allowed), Problems> {
    let mut findings = Findings::with(edited.clone());
    let read = read(root, environment, inputs, &mut findings);
    diagnostic::sort_and_dedup(&mut findings.diagnostics);
    match read {
        Some((environment, allowed, needs_project_number)) if !findings.has_errors() => {
            let warnings = findings.diagnostics;
            let sources = findings.files.into_texts();
            Ok((Loaded { environment, warnings, sources, needs_project_number }, allowed))
        }
        _ => Err(Problems { diagnostics: findings.diagnostics, sources: findings.files.into_texts() }),
    }
}

/// What the environments accept of the findings of `deployer lint`; each once. Nothing where there are no environments.
///
/// Fails where an environment cannot be read.
pub fn accepted_in_files(root: &Path) -> Result<Vec<Accepted>, Problems> {
    let mut all: Vec<Accepted> = Vec::new();
    if !root.join("environments").is_dir() {
        return Ok(all);
    }
    for name in names(root)? {
        let (loaded, allowed) = load_with_lints(root, &name, &Inputs::default(), &Texts::default())?;
        for entry in allowed.in_files(&loaded.environment.sources) {
            if !all.iter().any(|known| known.rule == entry.rule && known.path == entry.path) {
                all.push(entry);
            }
        }
    }
    Ok(all)
}

fn read(
    root: &Path,
    name: &str,
    inputs: &Inputs,
    findings: &mut Findings,
) -> Option<(Environment, Allowed, bool)> {
    let mut merged = files::read_merged(root, name, findings)?;
    if !inputs.deploy_tag {
        merge::take_out(&mut merged, &["image_tags", "deploy"]);
    }
    // Nulls go last: a service takes out with one what its class or `defaults` say.
    merge::expand_services(&mut merged, findings);
    repeat::borrow_from_services(&mut merged);
    findings.removed = merge::drop_nulls(&mut merged);
    repeat::for_tenants(&mut merged);

    let git = Git::around(root);
    let (filled, needs_project_number) = fill(&merged, name, inputs, &git, findings);
    findings.index(&filled);

    let mut value = tree::to_json(&filled);
    shape::check(&mut value, findings);
    let file = typed(&value, findings)?;
    let allowed = Allowed::from(&file);
    let context = resolve::Context {
        environment: name,
        given_number: inputs.project_number,
        root: &filled,
        value: &value,
    };
    let environment = resolve::resolve(file, &context, findings);
    rules::check(&environment, &filled, findings);
    allowed.apply(findings);
    Some((environment, allowed, needs_project_number))
}

/// The tree with every name filled in, and whether the project's number was used and is not known.
fn fill(merged: &Node, name: &str, inputs: &Inputs, git: &Git, findings: &mut Findings) -> (Node, bool) {
    let scope = Scope::new(merged, name, inputs.project_number, git);
    let mut filled = merged.clone();
    interpolate::fill_tree(&mut filled, &scope, findings);
    (filled, scope.lacks_number())
}

/// The typed form of a value that the schema has passed.
fn typed(value: &serde_json::Value, findings: &mut Findings) -> Option<schema::File> {
    match serde_path_to_error::deserialize::<_, schema::File>(value) {
        Ok(file) => Some(file),
        Err(error) => {
            let path = error.path().to_string();
            let diagnostic =
                Diagnostic::error("wrong-value", format!("this cannot be read: {}", error.inner()));
            findings.add(tree::Part::Value, &path, diagnostic.label("not valid"));
            None
        }
    }
}
