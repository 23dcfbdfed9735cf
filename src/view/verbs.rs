//! What each verb answers, in the form that the user chose.

use std::path::Path;

use serde_json::json;

use super::errors::{error_human, error_json, error_line};
use super::json::{FORMAT_VERSION, drift_json, plan_json};
use super::markdown::{answer_markdown, drift_markdown, error_markdown, plan_markdown, report_markdown};
use super::outputs::{plan_outputs, report_outputs};
use super::progress::Progress;
use super::report::{report_human, report_json};
use super::runner::Runner;
use super::{Format, Out, drift_human, plan_human, problems};
use crate::apply::Report;
use crate::apply::server_check::Checked;
use crate::config::{Diagnostic, Loaded};
use crate::error::CliError;
use crate::plan::Plan;

impl Out {
    /// The answer of `plan`; `part` says in words what was looked at, where that is not everything.
    pub fn plan(&self, plan: &Plan) {
        self.outputs(&plan_outputs(plan));
        match self.format() {
            Format::Human => self.text(&plan_human(plan, self.detail(), self.style())),
            Format::Json => self.json(&plan_json(plan)),
            Format::Markdown => self.markdown(&plan_markdown(plan)),
        }
    }

    /// The answer of `drift`.
    pub fn drift(&self, plan: &Plan) {
        self.outputs(&plan_outputs(plan));
        match self.format() {
            Format::Human => self.text(&drift_human(plan, self.detail(), self.style())),
            Format::Json => self.json(&drift_json(plan)),
            Format::Markdown => self.markdown(&drift_markdown(plan)),
        }
    }

    /// The plan that `apply` is about to carry out. In JSON and markdown the report has it.
    pub fn plan_before_apply(&self, plan: &Plan) {
        match self.format() {
            Format::Human => {
                self.text(&format!("{}\n", plan_human(plan, self.detail(), self.style())));
            }
            Format::Json | Format::Markdown => {}
        }
    }

    /// What became of `plan --server-check`. A refusal takes the place of the answer, so that the plan stands before it.
    pub fn server_checked(&self, plan: &Plan, checked: &Checked) {
        let refused = checked.refusals.len();
        self.status(&format!("Server check: {} accepted, {refused} refused.", checked.accepted));
        if !checked.early.is_empty() {
            let early: Vec<_> = checked.early.iter().map(ToString::to_string).collect();
            let early = early.join(", ");
            self.status(&format!("Not checked, because other changes have to be applied first: {early}."));
        }
        if refused > 0 {
            self.plan_before_apply(plan);
        }
    }

    /// The answer of `apply`.
    pub fn applied(&self, plan: &Plan, report: &Report) {
        self.outputs(&report_outputs(plan, report));
        match self.format() {
            Format::Human if plan.is_empty() => {
                self.text(&plan_human(plan, self.detail(), self.style()));
            }
            Format::Human => {
                self.text(&format!("\n{}", report_human(plan, report, self.detail(), self.style())));
            }
            Format::Json => self.json(&report_json(plan, report)),
            Format::Markdown if plan.is_empty() => self.markdown(&plan_markdown(plan)),
            Format::Markdown => self.markdown(&report_markdown(plan, report)),
        }
    }

    /// Shows what apply does while it runs; ends with [`Progress::finish`].
    pub fn progress(&self, plan: &Plan) -> Progress {
        Progress::new(self.clone(), plan)
    }

    /// The user pressed Ctrl-C.
    pub fn interrupting(&self) {
        self.status("finishing what is in flight; press Ctrl-C again to stop at once");
    }

    /// The last words of a command that failed: on standard error, and in JSON and markdown also as
    /// the one document.
    pub fn failure(&self, error: &CliError) {
        self.note(&error_human(error, self.notes_style()));
        self.annotate_failure(error);
        match self.format() {
            Format::Human => {}
            Format::Json => self.json(&error_json(error)),
            Format::Markdown => self.markdown(&error_markdown(error)),
        }
    }

    /// The same for GitHub Actions, with each problem at its place.
    fn annotate_failure(&self, error: &CliError) {
        let hints = match error {
            CliError::Config(found) => return self.annotate(&found.diagnostics),
            CliError::User { hints, .. } => hints.as_slice(),
            CliError::Google(error) => error.hints.as_slice(),
            _ => &[],
        };
        if self.runner().is_some() {
            self.note(&Runner::failure(&error_line(error), hints));
        }
    }

    /// Problems as annotations, in GitHub Actions.
    pub(super) fn annotate(&self, problems: &[Diagnostic]) {
        if let Some(runner) = self.runner() {
            self.note(&runner.annotations(problems));
        }
    }

    /// The warnings of a configuration that can be used.
    pub fn warnings(&self, loaded: &Loaded) {
        if loaded.warnings.is_empty() {
            return;
        }
        let style = self.notes_style();
        self.note(&problems::render(&loaded.warnings, &loaded.sources, style.color, style.width));
        self.annotate(&loaded.warnings);
    }

    /// The answer of `sandbox`, which then runs until it is stopped.
    pub fn sandbox_started(&self, url: &str, state: &Path) {
        match self.format() {
            Format::Human | Format::Markdown => {
                self.line(&format!(
                    "The sandbox listens on {url} and keeps its state in {}.",
                    state.display()
                ));
                self.line("Commands that use this folder find it by themselves, all others with --endpoint; Ctrl-C ends it.");
            }
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "sandbox": {"url": url, "state": state},
            })),
        }
    }

    /// The answer of `sandbox reset`; there may have been nothing to empty.
    pub fn sandbox_reset(&self, state: &Path, emptied: bool) {
        let path = state.display();
        match self.format() {
            Format::Human if emptied => self.line(&format!("Emptied the sandbox in {path}.")),
            Format::Human => self.line(&format!("There is nothing in a sandbox at {path}.")),
            Format::Markdown if emptied => {
                self.markdown(&answer_markdown(&format!("Emptied the sandbox in `{path}`"), &[]));
            }
            Format::Markdown => {
                self.markdown(&answer_markdown(&format!("There is nothing in a sandbox at `{path}`"), &[]));
            }
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "sandbox": {"state": state, "emptied": emptied},
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::out::captured;

    #[test]
    fn a_failure_in_json_is_one_document_and_a_message_for_people() {
        let (out, stdout, stderr) = captured::out(Format::Json);
        out.failure(&CliError::User { message: "no such environment".into(), hints: vec!["dev".into()] });
        let document: serde_json::Value = serde_json::from_str(&stdout.text()).unwrap();
        assert_eq!(document["error"], json!({"message": "no such environment", "hints": ["dev"]}));
        assert_eq!(stderr.text(), "error: no such environment\nhint: dev\n");
    }
}
