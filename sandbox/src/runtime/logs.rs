//! What instances and the platform say: log entries as Cloud Logging keeps them (`LogEntry` in the logging.v2 document).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use serde_json::{Map, Value, json};

use crate::server::lock;
use crate::world::written;

/// Entries that are kept of each revision and of each job; the oldest go first.
pub(crate) const KEPT: usize = 5000;
/// Longest line, in bytes; what is longer is cut. Cloud Logging takes 256 KB an entry.
const LONGEST: usize = 256 * 1024;

/// Whose entries they are: a monitored resource and labels of the entries themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The project's ID.
    pub(crate) project: String,
    /// `cloud_run_revision` or `cloud_run_job`.
    pub(crate) kind: &'static str,
    pub(crate) resource: BTreeMap<&'static str, String>,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Source {
    /// A revision, by its full name.
    pub(crate) fn revision(name: &str) -> Self {
        let part = |at: usize| name.split('/').nth(at).unwrap_or_default().to_owned();
        let resource = BTreeMap::from([
            ("configuration_name", part(5)),
            ("location", part(3)),
            ("project_id", part(1)),
            ("revision_name", part(7)),
            ("service_name", part(5)),
        ]);
        Self { project: part(1), kind: "cloud_run_revision", resource, labels: BTreeMap::new() }
    }

    /// A task of an execution, by the execution's full name.
    pub(crate) fn task(execution: &str, index: i64, attempt: i64) -> Self {
        let part = |at: usize| execution.split('/').nth(at).unwrap_or_default().to_owned();
        let resource =
            BTreeMap::from([("job_name", part(5)), ("location", part(3)), ("project_id", part(1))]);
        let labels = [
            ("execution_name", part(7)),
            ("task_index", index.to_string()),
            ("task_attempt", attempt.to_string()),
        ];
        let labels = labels.into_iter().map(|(key, value)| (format!("run.googleapis.com/{key}"), value));
        Self { project: part(1), kind: "cloud_run_job", resource, labels: labels.collect() }
    }

    /// The same with the label that tells instances apart.
    pub(crate) fn instance(mut self, id: &str) -> Self {
        self.labels.insert("instanceId".to_owned(), id.to_owned());
        self
    }

    /// The same with the label that tells the containers of an instance apart.
    pub(crate) fn container(mut self, name: &str) -> Self {
        self.labels.insert("container_name".to_owned(), name.to_owned());
        self
    }

    fn key(&self) -> String {
        let owner = self.resource.get("revision_name").or_else(|| self.resource.get("job_name"));
        let place = self.resource.get("location").map_or("", String::as_str);
        format!("{}/{place}/{}", self.project, owner.map_or("", String::as_str))
    }
}

/// The entries.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    entries: BTreeMap<String, VecDeque<Value>>,
}

impl Logs {
    /// One line of standard output or error (`stdout`, `stderr`).
    pub(crate) fn line(&self, source: &Source, stream: &str, line: &str, now: jiff::Timestamp) {
        let mut line = line;
        if line.len() > LONGEST {
            line = line.get(..line.floor_char_boundary(LONGEST)).unwrap_or_default();
        }
        let entry = match serde_json::from_str(line) {
            Ok(Value::Object(said)) => structured(said),
            _ => plain(line),
        };
        self.put(source, stream, entry, now);
    }

    /// Something that the platform says about an instance (`varlog/system`).
    pub(crate) fn platform(&self, source: &Source, severity: &str, message: &str, now: jiff::Timestamp) {
        let entry = json!({ "severity": severity, "textPayload": message });
        self.put(source, "varlog%2Fsystem", as_map(entry), now);
    }

    /// A request that was served (`requests`).
    pub(crate) fn request(
        &self,
        source: &Source,
        request: &Value,
        trace: Option<String>,
        now: jiff::Timestamp,
    ) {
        let status = request["status"].as_u64().unwrap_or_default();
        let severity = match status {
            500.. => "ERROR",
            400.. => "WARNING",
            _ => "INFO",
        };
        let mut entry = as_map(json!({ "severity": severity, "httpRequest": request }));
        entry.extend(trace.map(|trace| ("trace".to_owned(), Value::String(trace))));
        self.put(source, "requests", entry, now);
    }

    fn put(&self, source: &Source, stream: &str, mut entry: Map<String, Value>, now: jiff::Timestamp) {
        let mut kept = lock(&self.0);
        kept.last += 1;
        let number = kept.last;
        let labels = entry.remove("labels");
        let mut all: Map<String, Value> = as_map(json!(source.labels));
        all.extend(labels.map(as_map).unwrap_or_default());
        let now = written(now);
        entry.entry("timestamp").or_insert_with(|| json!(now));
        entry.entry("insertId").or_insert_with(|| json!(format!("{number:016x}")));
        entry.insert(
            "logName".into(),
            json!(format!("projects/{}/logs/run.googleapis.com%2F{stream}", source.project)),
        );
        entry.insert("receiveTimestamp".into(), json!(now));
        entry.insert("resource".into(), json!({ "type": source.kind, "labels": source.resource }));
        if !all.is_empty() {
            entry.insert("labels".into(), Value::Object(all));
        }
        if let Some(trace) =
            entry.get_mut("trace").filter(|trace| trace.as_str().is_some_and(|id| !id.contains('/')))
        {
            *trace =
                json!(format!("projects/{}/traces/{}", source.project, trace.as_str().unwrap_or_default()));
        }
        let entries = kept.entries.entry(source.key()).or_default();
        while entries.len() >= KEPT {
            entries.pop_front();
        }
        entries.push_back(Value::Object(entry));
    }

    /// Every entry of a project, in the order in which they came.
    pub(crate) fn of_project(&self, project: &str) -> Vec<Value> {
        let kept = lock(&self.0);
        let prefix = format!("{project}/");
        let mut found: Vec<Value> = kept
            .entries
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .flat_map(|(_, entries)| entries.iter().cloned())
            .collect();
        found.sort_by(|one, other| one["receiveTimestamp"].as_str().cmp(&other["receiveTimestamp"].as_str()));
        found
    }

    /// The last lines that the container itself wrote, oldest first.
    pub(crate) fn tail(&self, source: &Source, lines: usize) -> Vec<String> {
        let kept = lock(&self.0);
        let entries = kept.entries.get(&source.key()).into_iter().flatten();
        let own = |entry: &&Value| {
            entry["logName"].as_str().is_some_and(|name| name.ends_with("stdout") || name.ends_with("stderr"))
        };
        let mut found: Vec<String> = entries.rev().filter(own).take(lines).map(shown).collect();
        found.reverse();
        found
    }

    pub(crate) fn forget(&self) {
        lock(&self.0).entries.clear();
    }
}

/// An entry as one line of text.
fn shown(entry: &Value) -> String {
    match (&entry["textPayload"], &entry["jsonPayload"]["message"]) {
        (Value::String(text), _) | (_, Value::String(text)) => text.clone(),
        _ => entry["jsonPayload"].to_string(),
    }
}

fn as_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn plain(line: &str) -> Map<String, Value> {
    as_map(json!({ "severity": "DEFAULT", "textPayload": line }))
}

/// A line of JSON: its special fields become fields of the entry, the rest its payload. When nothing but `message` is
/// left, the payload is that text (Cloud Logging, "Structured logging").
fn structured(mut said: Map<String, Value>) -> Map<String, Value> {
    let mut entry = Map::new();
    let severity = said
        .remove("severity")
        .or_else(|| said.remove("level"))
        .and_then(|level| level.as_str().map(severity));
    entry.insert("severity".into(), json!(severity.unwrap_or("DEFAULT")));
    for (special, field) in [
        ("httpRequest", "httpRequest"),
        ("logging.googleapis.com/trace", "trace"),
        ("logging.googleapis.com/spanId", "spanId"),
        ("logging.googleapis.com/trace_sampled", "traceSampled"),
        ("logging.googleapis.com/labels", "labels"),
        ("logging.googleapis.com/insertId", "insertId"),
        ("logging.googleapis.com/operation", "operation"),
        ("logging.googleapis.com/sourceLocation", "sourceLocation"),
    ] {
        entry.extend(said.remove(special).map(|value| (field.to_owned(), value)));
    }
    let time = said.get("time").or_else(|| said.get("timestamp")).and_then(Value::as_str);
    if let Some(time) = time.and_then(|time| time.parse().ok()) {
        entry.insert("timestamp".into(), json!(written(time)));
        said.remove("time");
        said.remove("timestamp");
    }
    match said.remove("message") {
        Some(Value::String(text)) if said.is_empty() => {
            entry.insert("textPayload".into(), Value::String(text))
        }
        message => {
            said.extend(message.map(|message| ("message".to_owned(), message)));
            entry.insert("jsonPayload".into(), Value::Object(said))
        }
    };
    entry
}

/// A value of `LogSeverity` for what loggers call their levels.
fn severity(level: &str) -> &'static str {
    match level.to_ascii_uppercase().as_str() {
        "TRACE" | "DEBUG" => "DEBUG",
        "INFO" | "INFORMATION" => "INFO",
        "NOTICE" => "NOTICE",
        "WARN" | "WARNING" => "WARNING",
        "ERROR" | "ERR" => "ERROR",
        "CRITICAL" | "FATAL" => "CRITICAL",
        "ALERT" => "ALERT",
        "EMERGENCY" => "EMERGENCY",
        _ => "DEFAULT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVISION: &str = "projects/p/locations/r/services/api/revisions/api-1";

    fn logged(line: &str) -> Value {
        let logs = Logs::default();
        logs.line(&Source::revision(REVISION), "stdout", line, jiff::Timestamp::UNIX_EPOCH);
        logs.of_project("p").remove(0)
    }

    #[test]
    fn a_line_of_text_is_a_text_payload_of_its_revision() {
        let entry = logged("hello");
        assert_eq!((&entry["textPayload"], &entry["severity"]), (&json!("hello"), &json!("DEFAULT")));
        assert_eq!(entry["resource"]["labels"]["revision_name"], "api-1");
        assert_eq!(entry["logName"], "projects/p/logs/run.googleapis.com%2Fstdout");
    }

    #[test]
    fn special_fields_of_json_lines_leave_the_payload() {
        let line = json!({"severity": "warn", "message": "slow", "ms": 7, "httpRequest": {"status": 200},
                          "logging.googleapis.com/trace": "abc", "logging.googleapis.com/spanId": "1"});
        let entry = logged(&line.to_string());
        assert_eq!(entry["jsonPayload"], json!({"ms": 7, "message": "slow"}));
        assert_eq!((&entry["severity"], &entry["spanId"]), (&json!("WARNING"), &json!("1")));
        assert_eq!(entry["trace"], "projects/p/traces/abc");
        assert_eq!(entry["httpRequest"]["status"], 200);
    }

    #[test]
    fn a_message_alone_becomes_text() {
        let entry = logged(r#"{"severity":"ERROR","message":"no"}"#);
        assert_eq!((&entry["textPayload"], entry.get("jsonPayload")), (&json!("no"), None));
    }

    #[test]
    fn each_revision_keeps_its_newest_entries() {
        let logs = Logs::default();
        let source = Source::revision(REVISION);
        for number in 0..KEPT + 3 {
            logs.line(&source, "stdout", &format!("line {number}"), jiff::Timestamp::UNIX_EPOCH);
        }
        let all = logs.of_project("p");
        assert_eq!((all.len(), &all[0]["textPayload"]), (KEPT, &json!("line 3")));
        assert_eq!(logs.tail(&source, 2), [format!("line {}", KEPT + 1), format!("line {}", KEPT + 2)]);
    }
}
