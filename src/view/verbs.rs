//! What each verb answers, in the form that the user chose.

use std::path::Path;

use serde_json::json;

use super::errors::{error_human, error_json};
use super::json::{FORMAT_VERSION, drift_json, plan_json, set};
use super::markdown::{drift_markdown, error_markdown, plan_markdown, report_markdown, secrets_markdown};
use super::progress::Progress;
use super::report::{report_human, report_json};
use super::style::printable;
use super::{Format, Out, drift_human, plan_human, problems};
use crate::apply::Report;
use crate::config::Loaded;
use crate::error::CliError;
use crate::plan::Plan;

/// One line of `deployer secrets list`; never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// Name in the YAML.
    pub name: String,
    /// Secret Manager's id.
    pub id: String,
    /// Versions that there are, destroyed ones counted.
    pub versions: usize,
    pub newest_enabled: Option<u64>,
    /// When the newest version was made (RFC 3339).
    pub created: Option<String>,
}

impl SecretRow {
    /// Name, id, number of versions, newest version, when that was made.
    pub(super) fn cells(&self) -> [String; 5] {
        let newest = self.newest_enabled.map_or_else(|| "no value".to_owned(), |version| version.to_string());
        let created = self.created.clone().unwrap_or_default();
        [self.name.clone(), self.id.clone(), self.versions.to_string(), newest, created]
    }
}

impl Out {
    /// The answer of `plan`; `part` says in words what was looked at, where that is not everything.
    pub fn plan(&self, plan: &Plan) {
        match self.format() {
            Format::Human => self.text(&plan_human(plan, self.detail(), self.style())),
            Format::Json => self.json(&plan_json(plan)),
            Format::Markdown => self.markdown(&plan_markdown(plan)),
        }
    }

    /// The answer of `drift`.
    pub fn drift(&self, plan: &Plan) {
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

    /// The answer of `apply`.
    pub fn applied(&self, plan: &Plan, report: &Report) {
        match self.format() {
            Format::Human if plan.is_empty() => {
                self.text(&plan_human(plan, self.detail(), self.style()));
            }
            Format::Human => self.text(&format!("\n{}", report_human(plan, report, self.style()))),
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
        match self.format() {
            Format::Human => {}
            Format::Json => self.json(&error_json(error)),
            Format::Markdown => self.markdown(&error_markdown(error)),
        }
    }

    /// The warnings of a configuration that can be used.
    pub fn warnings(&self, loaded: &Loaded) {
        if loaded.warnings.is_empty() {
            return;
        }
        let style = self.notes_style();
        self.note(&problems::render(&loaded.warnings, &loaded.sources, style.color, style.width));
    }

    /// The answer of `secrets list`.
    pub fn secrets(&self, rows: &[SecretRow]) {
        match self.format() {
            Format::Human => self.text(&secrets_human(rows)),
            Format::Markdown => self.markdown(&secrets_markdown(rows)),
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "secrets": rows.iter().map(secret_json).collect::<Vec<_>>(),
            })),
        }
    }

    /// The answer of `secrets set`.
    pub fn secret_set(&self, environment: &str, name: &str, id: &str, version: u64) {
        match self.format() {
            Format::Human | Format::Markdown => {
                self.line(&format!("Added version {version} of {name} ({id})."));
                self.line(&format!("Services get it with the next `deployer apply {environment}`."));
            }
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "secret": {"name": name, "id": id, "version": version},
            })),
        }
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
}

fn secrets_human(rows: &[SecretRow]) -> String {
    if rows.is_empty() {
        return "The YAML declares no secrets.\n".to_owned();
    }
    let heads = ["NAME", "ID", "VERSIONS", "NEWEST", "MADE"].map(str::to_owned);
    let cells = rows.iter().map(|row| row.cells().map(|cell| printable(&cell)));
    let table: Vec<_> = std::iter::once(heads).chain(cells).collect();
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..5).map(width).collect();
    let lines = table.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    });
    lines.collect()
}

fn secret_json(row: &SecretRow) -> serde_json::Value {
    let SecretRow { name, id, versions, newest_enabled, created } = row;
    let mut document = json!({"name": name, "id": id, "versions": versions});
    set(&mut document, "newest_enabled", newest_enabled.map(Into::into));
    set(&mut document, "created", created.as_deref().map(Into::into));
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::out::captured;

    fn row(name: &str, newest: Option<u64>) -> SecretRow {
        let versions = usize::from(newest.is_some());
        SecretRow {
            name: name.into(),
            id: format!("{name}-dev"),
            versions,
            newest_enabled: newest,
            created: None,
        }
    }

    #[test]
    fn secrets_are_listed_in_columns_without_values() {
        let (out, stdout, _) = captured::out(Format::Human);
        out.secrets(&[row("database-url", None), row("jwt", Some(12))]);
        insta::assert_snapshot!(stdout.text(), @r"
        NAME          ID                VERSIONS  NEWEST    MADE
        database-url  database-url-dev  0         no value
        jwt           jwt-dev           1         12
        ");
    }

    #[test]
    fn a_failure_in_json_is_one_document_and_a_message_for_people() {
        let (out, stdout, stderr) = captured::out(Format::Json);
        out.failure(&CliError::User { message: "no such environment".into(), hints: vec!["dev".into()] });
        let document: serde_json::Value = serde_json::from_str(&stdout.text()).unwrap();
        assert_eq!(document["error"], json!({"message": "no such environment", "hints": ["dev"]}));
        assert_eq!(stderr.text(), "error: no such environment\nhint: dev\n");
    }
}
