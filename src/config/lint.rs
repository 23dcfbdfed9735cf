//! `lint.allow`: findings that the user has seen and accepts, each with a reason.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, did_you_mean};
use super::model::{Location, Sources};
use super::schema::File;
use super::tree::{Findings, Part};

/// Rules whose findings may be accepted: what they find works, and is probably not wanted.
pub(crate) const LINTS: [&str; 10] = [
    "secret-looking-env",
    "cors-any",
    "debug-in-production",
    "gcr-image",
    "floating-image",
    "no-http-startup-probe",
    "long-url",
    "shared-signing-key",
    "null-removes-nothing",
    "broad-role",
];

/// Those among them that only all environments together show, so that one alone cannot tell whether they are idle.
const ACROSS: [&str; 1] = ["shared-signing-key"];

/// Rules of `deployer lint`, whose findings are in workflows and Dockerfiles.
pub(crate) const IN_FILES: [&str; 13] = [
    "secret-in-if",
    "impossible-condition",
    "unprotected-production",
    "long-lived-key",
    "unpinned-action",
    "latest-tag",
    "checkout-keeps-token",
    "untrusted-checkout",
    "expression-in-run",
    "broad-permissions",
    "root-user",
    "secret-in-image",
    "shell-form-command",
];

/// A finding of `deployer lint` that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub rule: String,
    /// `FILE`, or `FILE:KEY` for what stands at or under a key; the file relative to the repository.
    pub path: String,
    /// Where that is written.
    pub location: Option<Location>,
}

/// Reasons by rule and path.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    reasons: BTreeMap<String, BTreeMap<String, String>>,
}

impl Allowed {
    pub(crate) fn from(file: &File) -> Self {
        let written = file.lint.as_ref().and_then(|lint| lint.allow.as_ref());
        let reasons = written.into_iter().flatten().map(|(rule, paths)| {
            let paths = paths.iter().flatten();
            let paths = paths.filter_map(|(path, reason)| Some((path.clone(), reason.clone()?)));
            (rule.clone(), paths.collect())
        });
        Self { reasons: reasons.collect() }
    }

    pub(crate) fn allows(&self, rule: &str, path: &str) -> bool {
        self.reasons.get(rule).is_some_and(|paths| paths.contains_key(path))
    }

    /// What is accepted of the findings in workflows and Dockerfiles.
    pub(crate) fn in_files(&self, sources: &Sources) -> Vec<Accepted> {
        let rules = self.reasons.iter().filter(|(rule, _)| IN_FILES.contains(&rule.as_str()));
        let entries = rules.flat_map(|(rule, paths)| paths.keys().map(move |path| (rule, path)));
        let accepted = entries.map(|(rule, path)| Accepted {
            rule: rule.clone(),
            path: path.clone(),
            location: sources.find(&format!("lint.allow.{rule}.{path}")).cloned(),
        });
        accepted.collect()
    }

    /// Takes out the findings that are accepted, and reports what accepts nothing.
    pub(crate) fn apply(&self, findings: &mut Findings) {
        for (rule, paths) in &self.reasons {
            let at = format!("lint.allow.{rule}");
            if !known().any(|known| known == rule) {
                findings.add(Part::Key, &at, not_a_lint(rule));
                continue;
            }
            for (path, reason) in paths {
                accept(&at, rule, path, reason, findings);
            }
        }
    }
}

fn accept(at: &str, rule: &str, path: &str, reason: &str, findings: &mut Findings) {
    let at = format!("{at}.{path}");
    if reason.trim().is_empty() {
        let diagnostic =
            Diagnostic::error("lint-allow", "a finding is accepted with a reason, and this one is empty")
                .label("no reason")
                .hint("say why, for whom reads it next year");
        findings.add(Part::Value, &at, diagnostic);
        return;
    }
    // Whether those accept something, only `deployer lint` can tell.
    if IN_FILES.contains(&rule) {
        return;
    }
    let before = findings.diagnostics.len();
    findings.diagnostics.retain(|diagnostic| !(diagnostic.rule == rule && diagnostic.path == path));
    if findings.diagnostics.len() == before && !ACROSS.contains(&rule) {
        let diagnostic =
            Diagnostic::warning("lint-allow", format!("nothing at `{path}` is found by `{rule}`"))
                .label("accepts nothing")
                .hint("remove it");
        findings.add(Part::Key, &at, diagnostic);
    }
}

fn not_a_lint(rule: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error("lint-allow", format!("`{rule}` is no finding that can be accepted"))
        .label("not a lint");
    if let Some(meant) = did_you_mean(rule, known()) {
        return diagnostic.hint(format!("did you mean `{meant}`?"));
    }
    diagnostic.hint(format!("those that can are: {}", known().collect::<Vec<_>>().join(", ")))
}

/// All findings that can be accepted.
pub(crate) fn known() -> impl Iterator<Item = &'static str> {
    LINTS.into_iter().chain(IN_FILES)
}
