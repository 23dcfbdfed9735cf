//! Cloud Logging v2: what containers and the platform said, by `entries.list`. Reads only.
//!
//! Google takes sixty of these requests a minute in a project (quota "read requests"), and an entry can be read some seconds
//! after it was written.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::api::{Api, Method};
use super::client::Gcp;
use super::error::{ErrorKind, GcpError};
use super::rest::Request;

const LIST: Method = Method::read(Api::Logging, "POST", "logging.entries.list");

/// The largest page (`pageSize`, documented).
const PAGE: usize = 1000;

/// Whose entries are asked for: resources of Cloud Run in one region, by their names there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSource {
    /// All revisions of services.
    Services(Vec<String>),
    Revision {
        service: String,
        revision: String,
    },
    /// All executions of jobs.
    Jobs(Vec<String>),
    Execution {
        job: String,
        execution: String,
    },
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub time: Timestamp,
    /// `insertId`: with the time it tells entries apart.
    pub id: String,
    /// `DEFAULT`, `DEBUG`, `INFO`, `NOTICE`, `WARNING`, `ERROR`, `CRITICAL`, `ALERT` or `EMERGENCY`.
    pub severity: String,
    /// What was said, on one or more lines; a request as `GET /path 200`.
    pub text: String,
    /// Cloud Run's name of the service or job.
    pub owner: String,
    /// The revision or execution.
    pub part: String,
    /// The container itself wrote it to standard output or error; everything else is the platform's.
    pub own: bool,
}

impl LogSource {
    /// The filter in the query language of Cloud Logging; labels as Cloud Run sets them on its resources.
    fn filter(&self, region: &str) -> String {
        let (kind, named) = match self {
            Self::Services(names) => {
                ("cloud_run_revision", format!("resource.labels.service_name={}", any(names)))
            }
            Self::Revision { service, revision } => (
                "cloud_run_revision",
                format!(
                    "resource.labels.service_name={}\nresource.labels.revision_name={}",
                    quoted(service),
                    quoted(revision)
                ),
            ),
            Self::Jobs(names) => ("cloud_run_job", format!("resource.labels.job_name={}", any(names))),
            Self::Execution { job, execution } => (
                "cloud_run_job",
                format!(
                    "resource.labels.job_name={}\nlabels.\"run.googleapis.com/execution_name\"={}",
                    quoted(job),
                    quoted(execution)
                ),
            ),
        };
        format!("resource.type=\"{kind}\"\nresource.labels.location={}\n{named}", quoted(region))
    }
}

impl Gcp {
    /// The newest entries, at most `most`, the oldest of them first. `region` is Cloud Run's.
    pub async fn last_entries(
        &self,
        project: &str,
        region: &str,
        source: &LogSource,
        most: usize,
    ) -> Result<Vec<LogEntry>, GcpError> {
        let mut entries = Vec::new();
        let mut token = None;
        while entries.len() < most {
            let size = (most - entries.len()).min(PAGE);
            let request = list(project, &source.filter(region), "timestamp desc", size, token.as_deref());
            let (page, next) = self.entries_page(project, request).await?;
            entries.extend(page);
            token = next;
            if token.is_none() {
                break;
            }
        }
        entries.truncate(most);
        entries.reverse();
        Ok(entries)
    }

    /// All entries with this time or a later one, in the order of their times.
    pub async fn entries_since(
        &self,
        project: &str,
        region: &str,
        source: &LogSource,
        since: Timestamp,
    ) -> Result<Vec<LogEntry>, GcpError> {
        let filter = format!("{}\ntimestamp>=\"{since}\"", source.filter(region));
        let mut entries = Vec::new();
        let mut token = None;
        loop {
            let request = list(project, &filter, "timestamp asc", PAGE, token.as_deref());
            let (page, next) = self.entries_page(project, request).await?;
            entries.extend(page);
            if next.is_none() {
                return Ok(entries);
            }
            token = next;
        }
    }

    async fn entries_page(
        &self,
        project: &str,
        request: Request,
    ) -> Result<(Vec<LogEntry>, Option<String>), GcpError> {
        let doing = format!("read the logs of {project}");
        let answer = self.rest(&doing, request).await?;
        let entries = answer["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
        let entries = entries.iter().map(|entry| read(&doing, entry)).collect::<Result<_, _>>()?;
        let next = answer["nextPageToken"].as_str().filter(|token| !token.is_empty());
        Ok((entries, next.map(str::to_owned)))
    }
}

/// Entries of about the same time can be readable later than their neighbours.
const LATE: SignedDuration = SignedDuration::from_secs(10);

/// Logs from a time on, each entry once.
#[derive(Debug)]
pub struct Tail {
    source: LogSource,
    since: Option<Timestamp>,
    told: BTreeSet<(Timestamp, String)>,
}

impl Tail {
    /// Without a time there is nothing new until [`Tail::begin`] says one.
    pub fn new(source: LogSource, since: Option<Timestamp>) -> Self {
        Self { source, since, told: BTreeSet::new() }
    }

    /// Where it begins, unless it has begun.
    pub fn begin(&mut self, since: Option<Timestamp>) {
        self.since = self.since.or(since);
    }

    /// Entries that were shown otherwise.
    pub fn know(&mut self, entries: &[LogEntry]) {
        self.told.extend(entries.iter().map(|entry| (entry.time, entry.id.clone())));
    }

    /// What has become readable since the last call, in the order of their times.
    pub async fn news(&mut self, gcp: &Gcp, project: &str, region: &str) -> Result<Vec<LogEntry>, GcpError> {
        let Some(since) = self.since else { return Ok(Vec::new()) };
        let mut entries = gcp.entries_since(project, region, &self.source, since).await?;
        let newest = entries.iter().map(|entry| entry.time).max();
        entries.retain(|entry| self.told.insert((entry.time, entry.id.clone())));
        if let Some(late) = newest.and_then(|newest| newest.checked_sub(LATE).ok()) {
            let since = since.max(late);
            self.told.retain(|(time, _)| *time >= since);
            self.since = Some(since);
        }
        Ok(entries)
    }
}

fn list(project: &str, filter: &str, order: &str, size: usize, token: Option<&str>) -> Request {
    let mut body = json!({
        "resourceNames": [format!("projects/{project}")],
        "filter": filter,
        "orderBy": order,
        "pageSize": size,
    });
    if let Some(token) = token {
        body["pageToken"] = token.into();
    }
    Request::new(&LIST, "v2/entries:list").body(body)
}

/// `("a" OR "b")`
fn any(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    format!("({})", names.join(" OR "))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// An entry without a time cannot be put in order, and is an error.
fn read(doing: &str, entry: &Value) -> Result<LogEntry, GcpError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let time = text(&entry["timestamp"]);
    let time = time.parse().map_err(|error| {
        GcpError::new(doing, ErrorKind::Unreadable, format!("the time of an entry, `{time}`, is none"))
            .with_source(error)
    })?;
    let labels = &entry["resource"]["labels"];
    let execution = &entry["labels"]["run.googleapis.com/execution_name"];
    let first = |one: &Value, other: &Value| text(if one.is_string() { one } else { other });
    let log = text(&entry["logName"]);
    Ok(LogEntry {
        time,
        id: text(&entry["insertId"]),
        severity: entry["severity"].as_str().unwrap_or("DEFAULT").to_owned(),
        text: said(entry),
        owner: first(&labels["service_name"], &labels["job_name"]),
        part: first(&labels["revision_name"], execution),
        own: log.ends_with("%2Fstdout") || log.ends_with("%2Fstderr"),
    })
}

/// The payload as text: Cloud Logging has four forms of it.
fn said(entry: &Value) -> String {
    let request = &entry["httpRequest"];
    match (&entry["textPayload"], &entry["jsonPayload"], &entry["protoPayload"]) {
        (Value::String(text), ..) => text.clone(),
        (_, Value::Object(fields), _) => structured(fields),
        (.., Value::Object(audit)) => {
            let method = audit.get("methodName").and_then(Value::as_str).unwrap_or("audit entry");
            let message = audit.get("status").and_then(|status| status["message"].as_str());
            message.map_or_else(|| method.to_owned(), |message| format!("{method}: {message}"))
        }
        _ if request.is_object() => {
            let part = |key: &str| match &request[key] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            let words = ["requestMethod", "requestUrl", "status", "latency"].map(part);
            words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

/// The message, and the other fields as `name=value`.
fn structured(fields: &serde_json::Map<String, Value>) -> String {
    const MESSAGE: [&str; 2] = ["message", "msg"];
    const SAID_ALREADY: [&str; 3] = ["time", "timestamp", "level"];
    let mut words = Vec::new();
    let message = MESSAGE.iter().find_map(|key| Some((*key, fields.get(*key)?.as_str()?)));
    words.extend(message.map(|(_, text)| text.to_owned()));
    for (name, value) in fields {
        if message.is_some_and(|(key, _)| key == name) || SAID_ALREADY.contains(&name.as_str()) {
            continue;
        }
        words.push(format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcp::testserver::{Answer, Server};

    fn entry(second: u32, text: &str) -> Value {
        json!({"timestamp": format!("2026-11-21T10:00:{second:02}Z"), "insertId": format!("i{second}"),
            "severity": "INFO", "textPayload": text, "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
            "resource": {"type": "cloud_run_revision", "labels": {"service_name": "api", "revision_name": "api-1"}}})
    }

    fn api() -> LogSource {
        LogSource::Services(vec!["api".into(), "web".into()])
    }

    #[tokio::test]
    async fn the_newest_entries_come_oldest_first_and_no_more_than_asked_for() {
        let server = Server::start(vec![
            Answer::json(200, json!({"entries": [entry(3, "c")], "nextPageToken": "t"})),
            Answer::json(200, json!({"entries": [entry(2, "b"), entry(1, "a")], "nextPageToken": "u"})),
        ])
        .await;
        let entries = server.gcp().await.last_entries("p", "l", &api(), 2).await.unwrap();
        let texts: Vec<_> = entries.iter().map(|entry| entry.text.as_str()).collect();
        assert_eq!(texts, ["b", "c"]);
        let requests = server.requests();
        assert_eq!(requests[0].line(), "POST /logging.googleapis.com/v2/entries:list");
        let (first, second) = (requests[0].json(), requests[1].json());
        assert_eq!((&first["orderBy"], &first["pageSize"]), (&json!("timestamp desc"), &json!(2)));
        assert_eq!((&second["pageToken"], &second["pageSize"]), (&json!("t"), &json!(1)));
        let filter = first["filter"].as_str().unwrap();
        assert!(filter.contains("resource.labels.service_name=(\"api\" OR \"web\")"), "{filter}");
        assert!(filter.contains("resource.labels.location=\"l\""), "{filter}");
    }

    #[tokio::test]
    async fn entries_since_a_time_come_over_all_pages() {
        let server = Server::start(vec![
            Answer::json(200, json!({"entries": [entry(1, "a")], "nextPageToken": "t"})),
            Answer::json(200, json!({"entries": [entry(2, "b")]})),
        ])
        .await;
        let source = LogSource::Execution { job: "m".into(), execution: "m-x".into() };
        let since = "2026-11-21T10:00:00.5Z".parse().unwrap();
        let entries = server.gcp().await.entries_since("p", "l", &source, since).await.unwrap();
        assert_eq!(entries.len(), 2);
        let filter = server.requests()[0].json()["filter"].as_str().unwrap().to_owned();
        assert!(filter.ends_with("timestamp>=\"2026-11-21T10:00:00.5Z\""), "{filter}");
        assert!(filter.contains("labels.\"run.googleapis.com/execution_name\"=\"m-x\""), "{filter}");
    }

    #[tokio::test]
    async fn a_tail_tells_each_entry_once_and_late_ones_too() {
        let page = |entries: Vec<Value>| Answer::json(200, json!({ "entries": entries }));
        let server = Server::start(vec![
            page(vec![entry(20, "a"), entry(40, "c")]),
            page(vec![entry(35, "b"), entry(40, "c")]),
        ])
        .await;
        let gcp = server.gcp().await;
        let mut tail = Tail::new(api(), None);
        assert!(tail.news(&gcp, "p", "l").await.unwrap().is_empty(), "it has not begun");
        tail.begin("2026-11-21T10:00:00Z".parse().ok());
        assert_eq!(tail.news(&gcp, "p", "l").await.unwrap().len(), 2);
        let late = tail.news(&gcp, "p", "l").await.unwrap();
        assert_eq!((late.len(), late[0].text.as_str()), (1, "b"));
        let filter = server.requests()[1].json()["filter"].as_str().unwrap().to_owned();
        assert!(filter.ends_with("timestamp>=\"2026-11-21T10:00:30Z\""), "{filter}");
    }

    #[test]
    fn every_form_of_a_payload_has_a_text() {
        assert_eq!(said(&json!({"textPayload": "plain"})), "plain");
        let fields = json!({"jsonPayload": {"message": "paid", "amount": 3, "level": "info"}});
        assert_eq!(said(&fields), "paid amount=3");
        let request =
            json!({"httpRequest": {"requestMethod": "GET", "requestUrl": "http://x/y", "status": 200}});
        assert_eq!(said(&request), "GET http://x/y 200");
        let audit = json!({"protoPayload": {"methodName": "Create", "status": {"message": "no"}}});
        assert_eq!(said(&audit), "Create: no");
        assert_eq!(said(&json!({})), "");
    }

    #[test]
    fn a_name_cannot_end_its_quotation() {
        assert_eq!(quoted("a\" OR \\"), "\"a\\\" OR \\\\\"");
    }

    #[test]
    fn an_entry_without_a_time_is_an_error() {
        assert!(read("read", &json!({"textPayload": "x"})).is_err());
    }
}
