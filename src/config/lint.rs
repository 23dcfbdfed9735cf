//! `lint.allow`: findings that the user has seen and accepts, each with a reason.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, did_you_mean};
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

    /// Takes out the findings that are accepted, and reports what accepts nothing.
    pub(crate) fn apply(&self, findings: &mut Findings) {
        for (rule, paths) in &self.reasons {
            let at = format!("lint.allow.{rule}");
            if !LINTS.contains(&rule.as_str()) {
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
    match did_you_mean(rule, LINTS) {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
        None => diagnostic.hint(format!("those that can are: {}", LINTS.join(", "))),
    }
}
