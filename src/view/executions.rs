//! What jobs write while they are followed, and the answers of `run` and `migrate`.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::json::{FORMAT_VERSION, set};
use super::logs::entry_json;
use super::markdown::{answer_markdown, table_markdown};
use super::style::{Tone, printable};
use super::table::{Head, columns};
use super::{Format, Out};
use crate::apply::execution::{Execution, Said, State};
use crate::gcp::LogEntry;

/// What `deployer run` has done.
#[derive(Clone, Debug)]
pub struct RunAnswer {
    pub environment: String,
    /// Key of the job in the YAML.
    pub job: String,
    pub execution: Execution,
    pub entries: Vec<LogEntry>,
}

/// How one migration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationRow {
    /// Its key in the YAML.
    pub migration: String,
    /// Cloud Run's name of the job.
    pub job: String,
    /// Digest of the release that it is run for, in hexadecimal.
    pub release: Option<String>,
    pub state: MigrationState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationState {
    /// There is no such job yet.
    NotDeployed,
    NeverRun,
    Ran(Execution),
}

/// How the migrations of an environment stand, perhaps after some were run.
#[derive(Clone, Debug)]
pub struct MigrationsAnswer {
    pub environment: String,
    /// In the order in which they are run.
    pub rows: Vec<MigrationRow>,
}

impl MigrationState {
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Ran(Execution { state: State::Succeeded, .. }))
    }

    fn word(&self) -> &'static str {
        match self {
            Self::NotDeployed => "not deployed",
            Self::NeverRun => "not run",
            Self::Ran(execution) => word(&execution.state),
        }
    }

    fn execution(&self) -> Option<&Execution> {
        match self {
            Self::Ran(execution) => Some(execution),
            Self::NotDeployed | Self::NeverRun => None,
        }
    }
}

fn word(state: &State) -> &'static str {
    match state {
        State::Running => "running",
        State::Succeeded => "succeeded",
        State::Failed(_) => "failed",
        State::Cancelled => "cancelled",
    }
}

fn execution_json(execution: &Execution) -> Value {
    let Execution { name, state, created, completed, log_uri } = execution;
    let mut document = json!({"name": name, "state": word(state)});
    if let State::Failed(failed) = state {
        document["reason"] = json!(failed.reason);
        document["message"] = json!(failed.message);
        set(&mut document, "exit_code", failed.exit.map(Value::from));
        set(&mut document, "signal", failed.signal.map(Value::from));
    }
    set(&mut document, "created", created.map(|time| json!(time.to_string())));
    set(&mut document, "completed", completed.map(|time| json!(time.to_string())));
    set(&mut document, "log_uri", log_uri.as_deref().map(Value::from));
    document
}

/// `migrate-x succeeded`, `migrate-x failed: why`
fn sentence(execution: &Execution) -> String {
    let head = format!("{} {}", execution.name, word(&execution.state));
    match execution.trouble().filter(|_| execution.state != State::Cancelled) {
        Some(why) => format!("{head}: {why}"),
        None => head,
    }
}

/// Characters of a release's digest that are shown.
const DIGEST: usize = 12;

impl MigrationRow {
    fn cells(&self) -> Vec<String> {
        let execution = self.state.execution();
        let when = execution.and_then(|execution| execution.completed.or(execution.created));
        let release = self.release.as_deref().unwrap_or_default();
        vec![
            self.migration.clone(),
            self.state.word().to_owned(),
            release.get(..DIGEST).unwrap_or(release).to_owned(),
            when.map(super::logs::time).unwrap_or_default(),
            execution.map(|execution| execution.name.clone()).unwrap_or_default(),
            execution.and_then(Execution::trouble).unwrap_or_default(),
        ]
    }

    fn json(&self) -> Value {
        let Self { migration, job, release, state } = self;
        let mut document =
            json!({"migration": migration, "job": job, "state": state.word().replace(' ', "_")});
        set(&mut document, "release", release.as_deref().map(Value::from));
        set(&mut document, "execution", state.execution().map(execution_json));
        document
    }
}

/// Shows what jobs write as they write it.
#[derive(Clone, Debug)]
pub struct JobLines {
    out: Out,
    entries: Arc<Mutex<Vec<LogEntry>>>,
}

impl JobLines {
    /// What is to be called with each line.
    pub fn said(&self) -> Said {
        let lines = self.clone();
        Arc::new(move |entry: &LogEntry| lines.show(entry))
    }

    /// All lines so far.
    pub fn taken(&self) -> Vec<LogEntry> {
        std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self, entry: &LogEntry) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry.clone());
        let text = printable(&entry.text);
        if entry.own && self.out.format() == Format::Human {
            self.out.line(&text);
        } else {
            self.out.status(&text);
        }
    }
}

impl Out {
    /// Shows the logs of jobs: their own lines on standard output, everything else on standard error.
    pub fn job_lines(&self) -> JobLines {
        JobLines { out: self.clone(), entries: Arc::default() }
    }

    /// The answer of `run`; for people the lines of the job were most of it.
    pub fn ran(&self, answer: &RunAnswer) {
        let RunAnswer { environment, job, execution, entries } = answer;
        match self.format() {
            Format::Human if execution.state == State::Succeeded => self.status(&sentence(execution)),
            Format::Human => {
                let hints: Vec<_> = execution.log_uri.iter().map(|uri| format!("its logs: {uri}")).collect();
                self.error(&sentence(execution), &hints);
            }
            Format::Markdown => {
                let lines: Vec<_> = entries.iter().map(|entry| entry.text.clone()).collect();
                self.markdown(&answer_markdown(&sentence(execution), &lines));
            }
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "environment": environment,
                "job": job,
                "execution": execution_json(execution),
                "entries": entries.iter().map(entry_json).collect::<Vec<_>>(),
            })),
        }
    }

    /// The answer of `migrate`.
    pub fn migrations(&self, answer: &MigrationsAnswer) {
        const HEADS: [Head; 6] = [
            Head::Words("Migration"),
            Head::Words("State"),
            Head::Words("Release"),
            Head::Words("When"),
            Head::Words("Execution"),
            Head::Words("Trouble"),
        ];
        let MigrationsAnswer { environment, rows } = answer;
        let cells: Vec<_> = rows.iter().map(MigrationRow::cells).collect();
        match self.format() {
            Format::Human if rows.is_empty() => self.line(&format!("{environment} declares no migrations.")),
            Format::Human => {
                self.text(&columns(&HEADS, &cells, None, self.style()));
                let open = rows.iter().filter(|row| !row.state.is_done()).count();
                if open > 0 {
                    let hint = format!("deployer migrate {environment} runs what has not succeeded");
                    self.text(&self.style().labelled(Tone::Hint, "note", &hint));
                }
            }
            Format::Markdown => self.markdown(&table_markdown("Migrations", &HEADS, &cells, None)),
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "environment": environment,
                "migrations": rows.iter().map(MigrationRow::json).collect::<Vec<_>>(),
            })),
        }
    }
}
