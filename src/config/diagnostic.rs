//! Problems of the configuration: what is wrong, where, why, and what to write instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::model::Location;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration works and is probably not what its author wants.
    Warning,
}

/// One problem of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Stable id of the rule, e.g. `unknown-key`; the lints among them may be named in `lint.allow`.
    pub rule: &'static str,
    /// Where the text stands that is wrong; `None` for what no file says.
    pub location: Option<Location>,
    /// How many characters of the line at `location` are meant; at least 1.
    pub length: u32,
    /// Dotted path of the key, e.g. `services.api.memory`; empty when a whole file is meant.
    pub path: String,
    /// What is wrong and why, as one sentence without a full stop.
    pub message: String,
    /// A few words that stand at the place itself.
    pub label: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error that belongs to no place in a file.
    pub fn error(rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            rule,
            location: None,
            length: 1,
            path: String::new(),
            message: message.into(),
            label: String::new(),
            hint: None,
        }
    }

    /// A warning that belongs to no place in a file.
    pub fn warning(rule: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(rule, message) }
    }

    /// The same problem at a place.
    #[must_use]
    pub fn at(mut self, location: Location, length: u32) -> Self {
        self.location = Some(location);
        self.length = length.max(1);
        self
    }

    /// The same problem of the key `path`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The same problem with words that stand at its place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The same problem with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The texts of the files that were read, by path relative to the folder that holds `environments/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    by_path: BTreeMap<PathBuf, String>,
}

impl Texts {
    pub fn insert(&mut self, path: PathBuf, text: String) {
        self.by_path.insert(path, text);
    }

    pub fn text(&self, path: &Path) -> Option<&str> {
        self.by_path.get(path).map(String::as_str)
    }

    /// Takes over the texts of `other`.
    pub fn extend(&mut self, other: Self) {
        self.by_path.extend(other.by_path);
    }
}

/// Everything that is wrong with a configuration, in the order of files and lines, with the texts to show it in.
#[derive(Clone, Debug, Default, thiserror::Error)]
#[error("the configuration has {} problem(s)", .diagnostics.len())]
pub struct Problems {
    pub diagnostics: Vec<Diagnostic>,
    pub sources: Texts,
}

impl From<Diagnostic> for Problems {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: vec![diagnostic], sources: Texts::default() }
    }
}

/// Sorts by file and line and leaves each problem in once.
///
/// What a class or `defaults` says is also found in every service that takes it over, and what a service says in every
/// job that borrows it: the place and the message are the same, and the path that the user wrote is the one that no job
/// has, and the shortest of those.
pub fn sort_and_dedup(diagnostics: &mut Vec<Diagnostic>) {
    fn written(path: &str) -> (bool, usize, &str) {
        let of_a_job = ["jobs.", "migrations."].iter().any(|jobs| path.starts_with(jobs));
        (of_a_job, path.matches('.').count(), path)
    }
    diagnostics.sort_by(|a, b| {
        (&a.location, a.rule, &a.message, written(&a.path)).cmp(&(
            &b.location,
            b.rule,
            &b.message,
            written(&b.path),
        ))
    });
    diagnostics.dedup_by(|later, earlier| {
        let same = later.rule == earlier.rule && later.message == earlier.message;
        let same_place = match &later.location {
            Some(location) => earlier.location.as_ref() == Some(location),
            None => earlier.location.is_none() && later.path == earlier.path,
        };
        same && same_place
    });
}

/// The entry of `known` that `written` was probably meant to be.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = snake_case(written);
    let known: Vec<&str> = known.into_iter().collect();
    let mut begun = known.iter().filter(|candidate| wanted.len() >= 3 && candidate.starts_with(&wanted));
    if let (Some(only), None) = (begun.next(), begun.next()) {
        return Some(only);
    }
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &snake_case(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.chars().count() / 3).min(4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `minInstances` and `min-instances` are the same word to a reader, so they are one word here.
fn snake_case(word: &str) -> String {
    let mut snake = String::with_capacity(word.len() + 4);
    let mut before_is_lower = false;
    for character in word.chars() {
        if character.is_uppercase() && before_is_lower {
            snake.push('_');
        }
        before_is_lower = character.is_lowercase() || character.is_ascii_digit();
        match character {
            '-' | ' ' | '.' => snake.push('_'),
            other => snake.extend(other.to_lowercase()),
        }
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_borrows_is_told_where_the_service_says_it() {
        let place = || Location { file: "environments/base.yaml".into(), line: 3, column: 5 };
        let problem = |path: &str| Diagnostic::error("vpc", "no way").at(place(), 3).path(path);
        let mut found = ["jobs.backup.vpc", "services.api.vpc", "migrations.all.vpc"].map(problem).to_vec();
        sort_and_dedup(&mut found);
        assert_eq!(found, [problem("services.api.vpc")]);
    }

    #[test]
    fn a_typo_finds_its_word() {
        assert_eq!(did_you_mean("memroy", ["cpu", "memory", "name"]), Some("memory"));
    }

    #[test]
    fn camel_case_and_dashes_find_the_snake_case_word() {
        assert_eq!(did_you_mean("minInstances", ["max_instances", "min_instances"]), Some("min_instances"));
        assert_eq!(did_you_mean("max-instances", ["max_instances", "min_instances"]), Some("max_instances"));
    }

    #[test]
    fn a_beginning_finds_its_word_when_there_is_only_one() {
        assert_eq!(did_you_mean("prod", ["dev", "production", "staging"]), Some("production"));
        assert_eq!(did_you_mean("st", ["dev", "production", "staging"]), None);
        assert_eq!(did_you_mean("prod", ["production-eu", "production-us"]), None);
    }

    #[test]
    fn an_unlike_word_finds_nothing() {
        assert_eq!(did_you_mean("kubernetes", ["cpu", "memory", "name"]), None);
    }

    #[test]
    fn one_place_is_reported_once_under_its_shortest_path() {
        let location = Location { file: "environments/base.yaml".into(), line: 3, column: 5 };
        let of = |path: &str| Diagnostic::error("unknown-key", "m").path(path).at(location.clone(), 3);
        let mut all = vec![of("services.api.memroy"), of("defaults.memroy"), of("services.b.memroy")];
        sort_and_dedup(&mut all);
        assert_eq!(all, vec![of("defaults.memroy")]);
    }

    #[test]
    fn problems_without_a_place_are_all_kept() {
        let mut all = vec![Diagnostic::error("a", "m").path("x"), Diagnostic::error("a", "m").path("y")];
        sort_and_dedup(&mut all);
        assert_eq!(all.len(), 2);
    }
}
