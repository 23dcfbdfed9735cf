//! The answer of `rollback`: which revisions there are, and which one serves now.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::{FORMAT_VERSION, set};
use super::markdown::{answer_markdown, table_markdown};
use super::status::ago;
use super::style::Tone;
use super::table::{Head, columns};
use super::{Format, Out};

/// A revision that may serve, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateRow {
    pub revision: String,
    pub image: String,
    /// The commit that it was made from, where its release recorded it.
    pub sha: Option<String>,
    /// When it was released, else made; RFC 3339.
    pub when: String,
    /// Who released it, where that is on record.
    pub who: Option<String>,
    /// What became of its release, where that is on record.
    pub outcome: Option<String>,
    /// Its share of the requests.
    pub percent: u64,
    /// Why it cannot serve.
    pub trouble: Option<String>,
    /// A rollback that names none leads to it.
    pub usual: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// What served.
    pub from: Vec<String>,
    pub to: String,
    /// Migrations that ran in between.
    pub migrations: Vec<String>,
    pub milliseconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackAnswer {
    pub environment: String,
    /// Key in the YAML.
    pub service: String,
    /// As they were before.
    pub candidates: Vec<CandidateRow>,
    /// Nothing when they were only to be listed.
    pub done: Option<RolledBack>,
}

const HEADS: [Head; 6] = [
    Head::Words("Revision"),
    Head::Words("State"),
    Head::Words("Released"),
    Head::Words("By"),
    Head::Words("Commit"),
    Head::Words("Image"),
];

impl CandidateRow {
    fn state(&self) -> String {
        match (self.percent, &self.trouble) {
            (percent @ 1.., _) => format!("serves {percent}%"),
            // A failed revision's message may go on with lines of its log.
            (0, Some(why)) => format!("cannot serve: {}", why.lines().next().unwrap_or_default()),
            (0, None) if self.usual => "good, served before".to_owned(),
            (0, None) => "good".to_owned(),
        }
    }

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let sha = self.sha.as_deref().unwrap_or_default();
        vec![
            self.revision.clone(),
            self.state(),
            ago(&self.when, now),
            self.who.clone().unwrap_or_default(),
            sha.get(..7).unwrap_or(sha).to_owned(),
            self.image.clone(),
        ]
    }

    fn json(&self) -> Value {
        let Self { revision, image, sha, when, who, outcome, percent, trouble, usual } = self;
        let mut document = json!({
            "revision": revision, "image": image, "when": when, "percent": percent,
            "healthy": trouble.is_none(), "default": usual,
        });
        set(&mut document, "sha", sha.as_deref().map(Value::from));
        set(&mut document, "who", who.as_deref().map(Value::from));
        set(&mut document, "outcome", outcome.as_deref().map(Value::from));
        set(&mut document, "trouble", trouble.as_deref().map(Value::from));
        document
    }
}

impl RollbackAnswer {
    fn sentence(&self, done: &RolledBack) -> String {
        let RolledBack { from, to, migrations: _, milliseconds } = done;
        let tenths = milliseconds.div_ceil(100);
        let from = if from.is_empty() { String::new() } else { format!(" instead of {}", from.join(", ")) };
        format!("{}: {to} serves{from}, after {}.{} s.", self.service, tenths / 10, tenths % 10)
    }

    fn notes(&self, done: &RolledBack) -> Vec<String> {
        let mut notes = Vec::new();
        if !done.migrations.is_empty() {
            notes.push(format!("not undone: migration {}", done.migrations.join(", ")));
        }
        notes.push(format!("deployer apply {} releases the newest again", self.environment));
        notes
    }
}

impl Out {
    /// The answer of `rollback`; `now` is what ages are counted from.
    pub fn rolled_back(&self, answer: &RollbackAnswer, now: Timestamp) {
        let cells = || answer.candidates.iter().map(|row| row.cells(now)).collect::<Vec<_>>();
        match (self.format(), &answer.done) {
            (Format::Human, None) => self.text(&columns(&HEADS, &cells(), None, self.style())),
            (Format::Human, Some(done)) => {
                self.line(&answer.sentence(done));
                for note in answer.notes(done) {
                    self.text(&self.style().labelled(Tone::Hint, "note", &note));
                }
            }
            (Format::Markdown, None) => self.markdown(&table_markdown("Revisions", &HEADS, &cells(), None)),
            (Format::Markdown, Some(done)) => {
                let sentence = answer.sentence(done);
                self.markdown(&answer_markdown(sentence.trim_end_matches('.'), &answer.notes(done)));
            }
            (Format::Json, done) => {
                let mut document = json!({
                    "format_version": FORMAT_VERSION,
                    "environment": answer.environment,
                    "service": answer.service,
                    "candidates": answer.candidates.iter().map(CandidateRow::json).collect::<Vec<_>>(),
                });
                let done = done.as_ref().map(|done| {
                    let RolledBack { from, to, migrations, milliseconds } = done;
                    json!({"from": from, "to": to, "migrations": migrations, "milliseconds": milliseconds})
                });
                set(&mut document, "rolled_back", done);
                self.json(&document);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::out::captured;

    fn row(revision: &str, percent: u64, trouble: Option<&str>, usual: bool) -> CandidateRow {
        CandidateRow {
            revision: revision.into(),
            image: "us-docker.pkg.dev/p/r/api@sha256:0123".into(),
            sha: None,
            when: "2026-11-21T10:00:00Z".into(),
            who: Some("ada".into()),
            outcome: Some("serving".into()),
            percent,
            trouble: trouble.map(str::to_owned),
            usual,
        }
    }

    fn answer(done: Option<RolledBack>) -> RollbackAnswer {
        let candidates = vec![
            row("api-3", 100, None, false),
            row("api-2", 0, None, true),
            row("api-1", 0, Some("no"), false),
        ];
        RollbackAnswer { environment: "dev".into(), service: "api".into(), candidates, done }
    }

    fn shown(answer: &RollbackAnswer) -> String {
        let (out, stdout, _) = captured::out(Format::Human);
        out.rolled_back(answer, "2026-11-21T12:30:00Z".parse().unwrap());
        stdout.text()
    }

    #[test]
    fn people_see_what_they_can_go_back_to() {
        insta::assert_snapshot!(shown(&answer(None)), @r"
        REVISION  STATE                RELEASED     BY   COMMIT  IMAGE
        api-3     serves 100%          2 hours ago  ada          us-docker.pkg.dev/p/r/api@sha256:0123
        api-2     good, served before  2 hours ago  ada          us-docker.pkg.dev/p/r/api@sha256:0123
        api-1     cannot serve: no     2 hours ago  ada          us-docker.pkg.dev/p/r/api@sha256:0123
        ");
    }

    #[test]
    fn people_see_what_serves_now_and_what_was_not_undone() {
        let done = RolledBack {
            from: vec!["api-3".into()],
            to: "api-2".into(),
            migrations: vec!["shared".into()],
            milliseconds: 1201,
        };
        insta::assert_snapshot!(shown(&answer(Some(done))), @r"
        api: api-2 serves instead of api-3, after 1.3 s.
        note: not undone: migration shared
        note: deployer apply dev releases the newest again
        ");
    }
}
