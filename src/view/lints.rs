//! The answer of `lint`: each finding at its place, then one line that counts.

use serde_json::json;

use super::errors::problem_json;
use super::json::FORMAT_VERSION;
use super::markdown::lint_markdown;
use super::style::counted;
use super::{Format, Out, problems};
use crate::lint::Linted;

impl Out {
    /// The answer of `lint`.
    pub fn linted(&self, linted: &Linted) {
        self.annotate(&linted.findings);
        match self.format() {
            Format::Human => self.linted_human(linted),
            Format::Markdown => self.markdown(&lint_markdown(linted)),
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "files": linted.files,
                "findings": linted.findings.iter().map(problem_json).collect::<Vec<_>>(),
            })),
        }
    }

    fn linted_human(&self, linted: &Linted) {
        if linted.findings.is_empty() {
            let files = counted(linted.files.len(), "file");
            return self.line(&format!("ok: {files}"));
        }
        let style = self.notes_style();
        self.note(&problems::render(&linted.findings, &linted.sources, style.color, style.width));
    }
}
