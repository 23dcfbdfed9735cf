//! Log lines: in Cloud Logging's JSON fields, or plain in development.
//!
//! Fields with a meaning for Cloud Logging (<https://cloud.google.com/logging/docs/structured-logging>): `severity`, `message`,
//! `time`, `httpRequest` and `logging.googleapis.com/trace`. A request's fields are those of its span `request`.

use std::fmt;
use std::io::Write as _;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use crate::settings::{Environment, Settings};

/// The field of a trace's full name.
const TRACE: &str = "logging.googleapis.com/trace";

/// Installs the log for the whole process. A second call changes nothing.
pub fn install(settings: &Settings) {
    let level = &settings.log_level;
    // Libraries say what they do at `debug`; that helps their authors.
    let filter = EnvFilter::new(format!("warn,tenant_api={level}"));
    let registry = Registry::default().with(filter);
    let done = if settings.environment == Environment::Development {
        registry
            .with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr))
            .try_init()
    } else {
        registry.with(CloudLogging { project: settings.project.clone() }).try_init()
    };
    // Tests install it more than once in a process; the first one stays.
    drop(done);
}

struct CloudLogging {
    project: Option<String>,
}

/// Fields of a span or an event: names, and values as JSON. Every request makes some, so nothing is built that is not written.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Serialize) {
        // None of the values that fields can have fails.
        let Ok(json) = serde_json::to_string(&value) else { return };
        self.0.retain(|(name, _)| *name != field.name());
        self.0.push((field.name(), json));
    }

    /// Takes over what is not there yet: the innermost says most precisely what it means.
    fn inherit(&mut self, outer: &Fields) {
        for (name, json) in &outer.0 {
            if self.0.iter().all(|(known, _)| known != name) {
                self.0.push((name, json.clone()));
            }
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for CloudLogging {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.inherit(outer);
            }
        }
        let mut line =
            render(&fields, *event.metadata().level(), self.project.as_deref(), &jiff::Timestamp::now());
        line.push('\n');
        // A log that cannot be written has nowhere to say so.
        drop(std::io::stdout().lock().write_all(line.as_bytes()));
    }
}

/// One JSON object.
fn render(fields: &Fields, level: Level, project: Option<&str>, time: &jiff::Timestamp) -> String {
    let mut line = format!(r#"{{"severity":"{}","time":"{time}""#, severity(level));
    let mut request = String::new();
    for (name, json) in &fields.0 {
        let (text, name) = match *name {
            "method" => (&mut request, "requestMethod"),
            "path" => (&mut request, "requestUrl"),
            "status" => (&mut request, "status"),
            "latency" => (&mut request, "latency"),
            "trace" => {
                // An identifier of hexadecimal digits, or nothing.
                let id = json.trim_matches('"');
                if let Some(project) = project.filter(|_| !id.is_empty()) {
                    member(&mut line, TRACE, &format!(r#""projects/{project}/traces/{id}""#));
                }
                continue;
            }
            other => (&mut line, other),
        };
        member(text, name, json);
    }
    if let Some(members) = request.strip_prefix(',') {
        member(&mut line, "httpRequest", &format!("{{{members}}}"));
    }
    line.push('}');
    line
}

fn member(text: &mut String, name: &str, json: &str) {
    for part in [",\"", name, "\":", json] {
        text.push_str(part);
    }
}

/// Names of Cloud Logging's `LogSeverity`.
fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, crate::error_chain(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_line_has_the_fields_that_cloud_logging_reads() {
        let mut fields = Fields(vec![("message", "\"ser\\\"ved\"".into()), ("status", "200".into())]);
        let span = vec![
            ("message", "\"of the span\"".into()),
            ("method", "\"GET\"".into()),
            ("path", "\"/health\"".into()),
            ("latency", "\"0.001s\"".into()),
            ("trace", "\"abc\"".into()),
            ("request_id", "\"r\"".into()),
        ];
        fields.inherit(&Fields(span));
        let line = render(&fields, Level::WARN, Some("p"), &jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(
            serde_json::from_str::<Value>(&line).unwrap(),
            json!({"message": "ser\"ved", "severity": "WARNING", "time": "1970-01-01T00:00:00Z", "request_id": "r",
                "httpRequest": {"requestMethod": "GET", "requestUrl": "/health", "status": 200, "latency": "0.001s"},
                "logging.googleapis.com/trace": "projects/p/traces/abc"})
        );
    }

    #[test]
    fn a_line_without_request_and_trace_names_neither() {
        let fields = Fields(vec![("message", "\"listening\"".into()), ("trace", "\"\"".into())]);
        let line = render(&fields, Level::INFO, Some("p"), &jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(line, r#"{"severity":"INFO","time":"1970-01-01T00:00:00Z","message":"listening"}"#);
    }
}
