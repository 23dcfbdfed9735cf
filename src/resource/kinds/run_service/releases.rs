//! What was released when: the annotation `deployer/releases` of a service, because Cloud Run keeps no history of traffic.
//!
//! It is a list, newest first. What another version, or somebody else, wrote into it is kept and understood as far as
//! possible: it never makes a service unreadable.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::resource::kinds::labels;

/// Annotation of the service. Annotations of a service make no revision.
pub const ANNOTATION: &str = "deployer/releases";

/// Records that are kept.
pub const MOST: usize = 10;

/// Bytes of the whole list; annotations of an object share 256 KiB.
const MOST_BYTES: usize = 16 * 1024;

/// Characters of a reason.
const LONGEST_REASON: usize = 300;

/// One release of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Short name of the revision.
    pub revision: String,
    /// `sha256:...` of its image; the whole reference where that names no digest.
    pub digest: String,
    /// The commit that it was made from, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
    /// Who released it.
    pub who: String,
    /// When, as RFC 3339 in UTC.
    pub when: String,
    pub outcome: Outcome,
    /// Why it failed, or who took it back and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Names of the jobs that ran as its migrations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<String>,
    /// Those of them that what served before cannot serve after (`backward_compatible: false`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breaking: Vec<String>,
    /// What this version does not know.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What became of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was begun. A release that stays so was cut off.
    Begun,
    /// It got the traffic.
    Serving,
    /// It was judged, and found wanting.
    Failed,
    /// It served, and the traffic was taken back from it.
    RolledBack,
    /// The word of another version.
    #[serde(untagged)]
    Other(String),
}

impl Outcome {
    /// The word that stands in the record.
    pub fn word(&self) -> &str {
        match self {
            Self::Begun => "begun",
            Self::Serving => "serving",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Other(word) => word,
        }
    }
}

/// The records of a service's document, newest first, without those that cannot be read.
pub fn read(doc: &Value) -> Vec<Record> {
    entries(doc).into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect()
}

/// The record of a revision, by its short name.
pub fn of(doc: &Value, revision: &str) -> Option<Record> {
    read(doc).into_iter().find(|record| record.revision == revision)
}

/// Puts a record in front of all others, in the place of an older one of its revision.
pub fn put(doc: &mut Value, record: Record) {
    let mut entries = entries(doc);
    entries.retain(|entry| entry["revision"] != record.revision.as_str());
    if let Ok(entry) = serde_json::to_value(bounded(record)) {
        entries.insert(0, entry);
    }
    write(doc, entries);
}

/// Says what became of the release of a revision; of one without a record nothing is said.
pub fn conclude(doc: &mut Value, revision: &str, outcome: &Outcome, reason: Option<&str>) {
    amend(doc, revision, |record| {
        record.outcome = outcome.clone();
        // What follows the first line is of the log, which has it still.
        record.reason = reason.and_then(|reason| reason.lines().next()).map(str::to_owned);
    });
}

/// The release goes on with a revision of another name.
pub fn rename(doc: &mut Value, from: &str, to: &str) {
    amend(doc, from, |record| to.clone_into(&mut record.revision));
}

/// Changes the record of a revision, if there is one.
pub fn amend(doc: &mut Value, revision: &str, change: impl Fn(&mut Record)) {
    let amended = |entry: Value| match serde_json::from_value::<Record>(entry.clone()) {
        Ok(mut record) if record.revision == revision => {
            change(&mut record);
            serde_json::to_value(bounded(record)).unwrap_or(entry)
        }
        _ => entry,
    };
    let entries: Vec<_> = entries(doc).into_iter().map(amended).collect();
    if !entries.is_empty() {
        write(doc, entries);
    }
}

fn entries(doc: &Value) -> Vec<Value> {
    let text = doc["annotations"][ANNOTATION].as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

/// Writes the newest entries, as many as there is room for.
fn write(doc: &mut Value, mut entries: Vec<Value>) {
    entries.truncate(MOST);
    let mut text = Value::from(entries.clone()).to_string();
    while text.len() > MOST_BYTES && entries.pop().is_some() {
        text = Value::from(entries.clone()).to_string();
    }
    labels::annotate(doc, ANNOTATION, (!entries.is_empty()).then_some(text));
}

fn bounded(record: Record) -> Record {
    let reason = record.reason.map(|reason| match reason.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}...", reason.get(..end).unwrap_or_default()),
        None => reason,
    });
    Record { reason, ..record }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(revision: &str) -> Record {
        Record {
            revision: revision.to_owned(),
            digest: format!("sha256:{}", "a".repeat(64)),
            sha: Some("b".repeat(40)),
            who: "ada".to_owned(),
            when: "2026-11-21T12:00:00Z".to_owned(),
            outcome: Outcome::Begun,
            reason: None,
            migrations: vec!["migrate-shared".to_owned()],
            breaking: Vec::new(),
            more: Map::new(),
        }
    }

    #[test]
    fn the_newest_ten_are_kept_and_each_revision_once() {
        let mut doc = json!({});
        for at in 0..13 {
            put(&mut doc, record(&format!("api-{at}")));
        }
        put(&mut doc, record("api-5"));
        let revisions: Vec<_> = read(&doc).into_iter().map(|record| record.revision).collect();
        assert_eq!(revisions.len(), MOST);
        assert_eq!(revisions[..3], ["api-5", "api-12", "api-11"]);
        assert_eq!(revisions.iter().filter(|name| *name == "api-5").count(), 1);
    }

    #[test]
    fn an_outcome_is_said_of_its_revision_alone() {
        let mut doc = json!({});
        put(&mut doc, record("api-1"));
        put(&mut doc, record("api-2"));
        conclude(&mut doc, "api-2", &Outcome::Failed, Some(&"x".repeat(1000)));
        conclude(&mut doc, "api-9", &Outcome::Serving, None);
        let failed = of(&doc, "api-2").unwrap();
        assert_eq!(failed.outcome, Outcome::Failed);
        assert_eq!(failed.reason.unwrap().len(), LONGEST_REASON + 3);
        assert_eq!(of(&doc, "api-1").unwrap().outcome, Outcome::Begun);
        assert_eq!(read(&doc).len(), 2);
    }

    #[test]
    fn what_others_wrote_stays_and_breaks_nothing() {
        let theirs = json!([{"revision": "api-1", "digest": "d", "who": "w", "when": "t", "outcome": "paused", "tier": 2}, 7]);
        let mut doc = json!({"annotations": {ANNOTATION: theirs.to_string(), "x": "y"}});
        assert_eq!(of(&doc, "api-1").unwrap().outcome, Outcome::Other("paused".to_owned()));
        put(&mut doc, record("api-2"));
        conclude(&mut doc, "api-1", &Outcome::RolledBack, None);
        let kept: Value = serde_json::from_str(doc["annotations"][ANNOTATION].as_str().unwrap()).unwrap();
        assert_eq!(
            (&kept[1]["outcome"], &kept[1]["tier"], &kept[2]),
            (&json!("rolled_back"), &json!(2), &json!(7))
        );
        assert_eq!(doc["annotations"]["x"], "y");
        for broken in ["", "{", "{}", "\"\u{0}\"", "[[]]"] {
            assert_eq!(read(&json!({"annotations": {ANNOTATION: broken}})), []);
        }
    }

    #[test]
    fn the_list_stays_small_whatever_is_in_it() {
        let mut doc = json!({});
        for at in 0..10 {
            let migrations = vec!["m".repeat(4000)];
            put(&mut doc, Record { migrations, ..record(&format!("api-{at}")) });
        }
        assert!(doc["annotations"][ANNOTATION].as_str().unwrap().len() <= MOST_BYTES);
        assert_eq!(read(&doc)[0].revision, "api-9");
    }
}
