//! The answer of `validate`: the problems of each environment, then one line that sums up.

use serde_json::{Value, json};

use super::errors::problem_json;
use super::json::FORMAT_VERSION;
use super::{Format, Out, problems};
use crate::config::{Diagnostic, Loaded, Problems, Texts};

/// An environment by name, and what loading it gave.
pub type Validated = (String, Result<Loaded, Problems>);

impl Out {
    /// The answer of `validate`.
    pub fn validated(&self, results: &[Validated]) {
        match self.format() {
            Format::Human => self.validated_human(results),
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "environments": results.iter().map(environment_json).collect::<Vec<_>>(),
            })),
        }
    }

    fn validated_human(&self, results: &[Validated]) {
        let style = self.notes_style();
        let mut said: Vec<&Diagnostic> = Vec::new();
        for (_, result) in results {
            let (diagnostics, sources) = findings(result);
            // What base.yaml says is found again in every environment.
            let new: Vec<_> = diagnostics.iter().filter(|found| !said.contains(found)).cloned().collect();
            said.extend(diagnostics);
            if !new.is_empty() {
                self.note(&problems::render(&new, sources, style.color, style.width));
            }
        }
        for (word, good) in [("ok", true), ("not ok", false)] {
            let names: Vec<_> = results
                .iter()
                .filter(|(_, result)| result.is_ok() == good)
                .map(|(name, _)| name.as_str())
                .collect();
            if !names.is_empty() {
                self.line(&format!("{word}: {}", names.join(", ")));
            }
        }
    }
}

fn findings(result: &Result<Loaded, Problems>) -> (&[Diagnostic], &Texts) {
    match result {
        Ok(loaded) => (&loaded.warnings, &loaded.sources),
        Err(problems) => (&problems.diagnostics, &problems.sources),
    }
}

fn environment_json((name, result): &Validated) -> Value {
    json!({
        "environment": name,
        "valid": result.is_ok(),
        "problems": findings(result).0.iter().map(problem_json).collect::<Vec<_>>(),
    })
}
