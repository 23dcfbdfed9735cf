//! The answer of `validate`: the problems of each environment, then one line that sums up.

use serde_json::{Value, json};

use super::errors::problem_json;
use super::json::FORMAT_VERSION;
use super::markdown::validation_markdown;
use super::{Format, Out, problems};
use crate::config::Checked;

impl Out {
    /// The answer of `validate`.
    pub fn validated(&self, checked: &Checked) {
        self.annotate(&checked.diagnostics());
        match self.format() {
            Format::Human => self.validated_human(checked),
            Format::Markdown => self.markdown(&validation_markdown(checked)),
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "environments": checked.verdicts().map(|(name, good)| environment_json(checked, name, good)).collect::<Vec<_>>(),
            })),
        }
    }

    fn validated_human(&self, checked: &Checked) {
        let style = self.notes_style();
        let found = checked.diagnostics();
        if !found.is_empty() {
            self.note(&problems::render(&found, &checked.sources, style.color, style.width));
        }
        for (word, wanted) in [("ok", true), ("not ok", false)] {
            let names: Vec<_> =
                checked.verdicts().filter(|(_, good)| *good == wanted).map(|(name, _)| name).collect();
            if !names.is_empty() {
                self.line(&format!("{word}: {}", names.join(", ")));
            }
        }
    }
}

fn environment_json(checked: &Checked, name: &str, good: bool) -> Value {
    let found = checked.environments.get(name).map(Vec::as_slice).unwrap_or_default();
    json!({
        "environment": name,
        "valid": good,
        "problems": found.iter().map(problem_json).collect::<Vec<_>>(),
    })
}
