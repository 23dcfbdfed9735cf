//! Changes the YAML for its author: which file, what is written there, and whether everything still holds.
//!
//! Nothing is written before all environments have been checked with the edited text in the place of the old one.

#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Problems, Texts, did_you_mean};
use super::tree::{Findings, Node, Tree};
use super::{Inputs, Loaded, across, files, load_with_lints};
use crate::atomically;

/// A byte order mark, which stays where it is.
const MARK: &[u8] = &[0xEF, 0xBB, 0xBF];

/// What is to become of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantChange {
    Add {
        slug: String,
        /// Its name for people; without one, the slug.
        name: Option<String>,
    },
    Remove {
        slug: String,
    },
}

impl TenantChange {
    pub fn slug(&self) -> &str {
        match self {
            Self::Add { slug, .. } | Self::Remove { slug } => slug,
        }
    }
}

/// Why a file is not edited. Nothing has been written.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The YAML is wrong before any edit.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// What was asked for cannot be done, with what can be done instead.
    #[error("{message}")]
    Refused { message: String, hints: Vec<String> },
    #[error("{} cannot be written", file.display())]
    Unwritten { file: PathBuf, source: io::Error },
}

/// An edited file that has been checked and not yet been written.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Relative to the folder that holds `environments/`.
    pub file: PathBuf,
    /// Line, from 1, of the first difference.
    pub line: usize,
    /// The environments that change with it, sorted.
    pub environments: Vec<String>,
    before: String,
    after: String,
}

/// Works out the edit for `environment`: in the overlay where that has `tenants.list`, else in the base; in `file` where
/// that is given, relative to `root` or to the folder of the environments.
pub fn edit_tenants(
    root: &Path,
    environment: &str,
    change: &TenantChange,
    file: Option<&Path>,
) -> Result<Edit, EditError> {
    let inputs = Inputs::default();
    let (now, _) = load_with_lints(root, environment, &inputs, &Texts::default())?;
    asked_for_something(&now, change)?;
    let parts = Parts::read(root, environment)?;
    let part = match file {
        Some(file) => parts.named(root, file)?,
        None => parts.chosen(),
    };
    let before = parts.text(part)?.to_owned();
    let after = match change {
        TenantChange::Add { slug, name } => parts.add(part, &before, slug, name.as_deref()),
        TenantChange::Remove { slug } => parts.remove(part, &before, slug),
    }?;
    let file = parts.file(part)?.to_owned();
    let line = 1 + before.lines().zip(after.lines()).take_while(|(before, after)| before == after).count();
    let mut edited = Texts::default();
    edited.insert(file.clone(), after.clone());
    let environments = still_right(root, environment, change, &edited)?;
    Ok(Edit { file, line, environments, before, after })
}

impl Edit {
    /// Replaces the file as a whole, unless somebody has written it in the meantime.
    pub fn write(&self, root: &Path) -> Result<(), EditError> {
        let failed = |source| EditError::Unwritten { file: self.file.clone(), source };
        // A link stays a link.
        let path = root.join(&self.file).canonicalize().map_err(failed)?;
        let bytes = fs::read(&path).map_err(failed)?;
        let mark = if bytes.starts_with(MARK) { MARK } else { &[] };
        if bytes.strip_prefix(mark) != Some(self.before.as_bytes()) {
            let message = format!("{} was changed a moment ago: nothing was written", self.file.display());
            return Err(EditError::Refused { message, hints: vec!["run this again".to_owned()] });
        }
        atomically::write(&path, &[mark, self.after.as_bytes()].concat()).map_err(failed)
    }
}

fn refused(message: impl Into<String>, hint: impl Into<String>) -> EditError {
    EditError::Refused { message: message.into(), hints: vec![hint.into()] }
}

/// Adds what is not there, or removes what is.
fn asked_for_something(now: &Loaded, change: &TenantChange) -> Result<(), EditError> {
    let environment = &now.environment;
    let slug = change.slug();
    match (change, environment.tenants.contains_key(slug)) {
        (TenantChange::Add { .. }, true) => {
            let place = environment.sources.find(&format!("tenants.list.{slug}"));
            let place = place.map_or_else(String::new, |place| format!(" at {place}"));
            Err(refused(
                format!("{} has the tenant `{slug}` already{place}: nothing was written", environment.name),
                "to change it, edit the file",
            ))
        }
        (TenantChange::Remove { .. }, false) => Err(unknown_tenant(now, slug)),
        _ => Ok(()),
    }
}

fn unknown_tenant(now: &Loaded, slug: &str) -> EditError {
    let environment = &now.environment;
    let known: Vec<&str> = environment.tenants.keys().map(String::as_str).collect();
    let hint = match did_you_mean(slug, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`? There are: {}", known.join(", ")),
        None if known.is_empty() => "it has no tenants".to_owned(),
        None => format!("there are: {}", known.join(", ")),
    };
    refused(format!("{} has no tenant `{slug}`: nothing was written", environment.name), hint)
}

/// Checks all environments with the edit, and answers those that it changes.
fn still_right(
    root: &Path,
    environment: &str,
    change: &TenantChange,
    edited: &Texts,
) -> Result<Vec<String>, EditError> {
    let inputs = Inputs::default();
    let before = across::validate(root, &[], &inputs)?.diagnostics();
    let known: BTreeSet<_> = before.iter().map(|found| (found.rule, found.message.as_str())).collect();
    let after = across::validate_edited(root, &[], &inputs, edited)?.diagnostics();
    let new = after.iter().filter(|found| found.is_error() && !known.contains(&(found.rule, &found.message)));
    let new: Vec<&Diagnostic> = new.collect();
    // Everything of a tenant is named after its slug: what else is wrong follows from a wrong one.
    let slug = new.iter().position(|found| found.rule == "tenant-slug");
    let new = slug.map_or(new.as_slice(), |slug| new.get(slug..=slug).unwrap_or_default());
    if !new.is_empty() {
        return Err(would_be_wrong(new));
    }
    let has = |name: &str, edited: &Texts| {
        let loaded = load_with_lints(root, name, &inputs, edited);
        loaded.is_ok_and(|(loaded, _)| loaded.environment.tenants.contains_key(change.slug()))
    };
    let names = files::names(root)?.into_iter();
    let changed: Vec<_> = names.filter(|name| has(name, &Texts::default()) != has(name, edited)).collect();
    if !changed.iter().any(|name| name == environment) {
        let message = format!("the edit would change nothing of {environment}: nothing was written");
        return Err(refused(message, "name the file that counts with --in FILE"));
    }
    Ok(changed)
}

/// All that the edit would make wrong, each once, with the ways out.
fn would_be_wrong(new: &[&Diagnostic]) -> EditError {
    let mut messages: Vec<&str> = Vec::new();
    let mut hints: Vec<String> = Vec::new();
    for found in new {
        if !messages.contains(&found.message.as_str()) {
            messages.push(&found.message);
        }
        hints.extend(found.hint.iter().filter(|hint| !hints.contains(hint)).cloned().collect::<Vec<_>>());
    }
    EditError::Refused { message: format!("{}: nothing was written", messages.join("; ")), hints }
}

/// The files of an environment in the order in which they are laid over each other.
struct Parts {
    nodes: Vec<Node>,
    /// How many of them belong to the base.
    base: usize,
    findings: Findings,
}

/// Position in [`Parts::nodes`].
type Part = usize;

impl Parts {
    fn read(root: &Path, environment: &str) -> Result<Self, EditError> {
        let mut findings = Findings::default();
        let Some((mut nodes, overlay)) = files::parts(root, environment, &mut findings) else {
            let sources = findings.files.into_texts();
            return Err(Problems { diagnostics: findings.diagnostics, sources }.into());
        };
        let base = nodes.len();
        nodes.extend(overlay);
        Ok(Self { nodes, base, findings })
    }

    fn node(&self, part: Part) -> Option<&Node> {
        self.nodes.get(part)
    }

    fn file(&self, part: Part) -> Result<&Path, EditError> {
        let file = self.node(part).and_then(|node| self.findings.files.name(node.place.file));
        file.ok_or_else(|| {
            refused("there is no such file: nothing was written", "name another with --in FILE")
        })
    }

    fn text(&self, part: Part) -> Result<&str, EditError> {
        let file = self.file(part)?;
        Ok(self.findings.files.text(file).unwrap_or_default())
    }

    fn list(&self, part: Part) -> Option<&Node> {
        self.node(part)?.get("tenants")?.get("list")
    }

    /// What a part says of a tenant; `Tree::Null` takes it out.
    fn tenant(&self, part: Part, slug: &str) -> Option<&Node> {
        self.list(part)?.get(slug)
    }

    fn declares(&self, part: Part, slug: &str) -> bool {
        self.tenant(part, slug).is_some_and(|node| node.value != Tree::Null)
    }

    /// The last one that has the map, else the last one that has something about tenants, else the base itself.
    fn chosen(&self) -> Part {
        let last = |wanted: &dyn Fn(Part) -> bool| (0..self.nodes.len()).rev().find(|part| wanted(*part));
        let some = |part: Part| self.node(part).is_some_and(|node| node.get("tenants").is_some());
        last(&|part| self.list(part).is_some())
            .or_else(|| last(&some))
            .unwrap_or_else(|| self.base.saturating_sub(1))
    }

    fn named(&self, root: &Path, file: &Path) -> Result<Part, EditError> {
        let wanted = [root.join(file), root.join("environments").join(file), file.to_owned()];
        let wanted: Vec<PathBuf> = wanted.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let is = |part: &Part| {
            let path = self.file(*part).ok().and_then(|file| root.join(file).canonicalize().ok());
            path.is_some_and(|path| wanted.contains(&path))
        };
        (0..self.nodes.len()).find(is).ok_or_else(|| {
            let files = (0..self.nodes.len()).filter_map(|part| self.file(part).ok());
            let files: Vec<_> = files.map(|file| file.display().to_string()).collect();
            let message = format!("--in {} is no file of this environment", file.display());
            refused(format!("{message}: nothing was written"), format!("its files: {}", files.join(", ")))
        })
    }

    fn add(&self, part: Part, text: &str, slug: &str, name: Option<&str>) -> Result<String, EditError> {
        // A dollar sign would begin an interpolation.
        let name = name.map(|name| text::scalar(&name.replace('$', "$$")));
        let value = name.map_or_else(|| "{}".to_owned(), |name| format!("{{name: {name}}}"));
        let path = ["tenants", "list", slug];
        let text = match self.tenant(part, slug) {
            Some(_) => text::remove(text, &path),
            None => Ok(text.to_owned()),
        };
        let edited = text.and_then(|text| text::insert(&text, &path, &value));
        edited.map_err(|text::Unsafe| self.by_hand(part, &format!("write `{slug}: {value}`")))
    }

    fn remove(&self, part: Part, text: &str, slug: &str) -> Result<String, EditError> {
        let others: Vec<Part> =
            (0..self.nodes.len()).filter(|other| *other != part && self.declares(*other, slug)).collect();
        if let Some(above) = others.iter().find(|other| **other > part) {
            let above = self.file(*above)?.display();
            let message = format!("`{slug}` is declared in {above} too, which counts: nothing was written");
            return Err(refused(message, format!("remove it there: --in {above}")));
        }
        let path = ["tenants", "list", slug];
        let written = self.tenant(part, slug).is_some();
        let rest = if written { text::remove(text, &path) } else { Ok(text.to_owned()) };
        let edited =
            if others.is_empty() { rest } else { rest.and_then(|rest| text::insert(&rest, &path, "null")) };
        let by_hand =
            if others.is_empty() { format!("remove `{slug}`") } else { format!("write `{slug}: null`") };
        edited.map_err(|text::Unsafe| self.by_hand(part, &by_hand))
    }

    fn by_hand(&self, part: Part, what: &str) -> EditError {
        let file = self.file(part).map(|file| file.display().to_string()).unwrap_or_default();
        let message = format!("{file} is written in a way that cannot be edited safely: nothing was written");
        refused(message, format!("edit it by hand, under `tenants.list`: {what}"))
    }
}
