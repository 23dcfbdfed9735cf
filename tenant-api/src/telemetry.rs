//! Log lines: in Cloud Logging's JSON fields, or plain in development.
//!
//! Fields with a meaning for Cloud Logging (<https://cloud.google.com/logging/docs/structured-logging>): `severity`, `message`,
//! `time`, `httpRequest` and `logging.googleapis.com/trace`. A request's fields are those of its span `request`.

use std::fmt;
use std::io::Write as _;

use serde_json::{Map, Value};
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

/// The fields of a span, kept until its events are written.
struct Fields(Map<String, Value>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for CloudLogging {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        attributes.record(&mut Visitor(&mut fields.0));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(&mut Visitor(&mut fields.0));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Map::new();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Fields(fields)) = span.extensions().get::<Fields>() {
                line.extend(fields.clone());
            }
        }
        event.record(&mut Visitor(&mut line));
        let text = render(line, *event.metadata().level(), self.project.as_deref(), &jiff::Timestamp::now());
        // A log that cannot be written has nowhere to say so.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}

fn render(
    mut line: Map<String, Value>,
    level: Level,
    project: Option<&str>,
    time: &jiff::Timestamp,
) -> Value {
    line.insert("severity".into(), severity(level).into());
    line.insert("time".into(), time.to_string().into());
    let trace = line.remove("trace").and_then(|trace| trace.as_str().map(str::to_owned));
    if let (Some(trace), Some(project)) = (trace.filter(|trace| !trace.is_empty()), project) {
        line.insert(TRACE.into(), format!("projects/{project}/traces/{trace}").into());
    }
    let request: Map<String, Value> = [
        ("method", "requestMethod"),
        ("path", "requestUrl"),
        ("status", "status"),
        ("latency", "latency"),
        ("user_agent", "userAgent"),
    ]
    .into_iter()
    .filter_map(|(ours, theirs)| Some((theirs.to_owned(), line.remove(ours)?)))
    .collect();
    if !request.is_empty() {
        line.insert("httpRequest".into(), Value::Object(request));
    }
    Value::Object(line)
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

struct Visitor<'a>(&'a mut Map<String, Value>);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.insert(field.name().to_owned(), crate::error_chain(value).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_has_the_fields_that_cloud_logging_reads() {
        let Value::Object(fields) = json!({"message": "served", "method": "GET", "path": "/health", "status": 200,
            "latency": "0.001s", "trace": "abc", "request_id": "r"})
        else {
            unreachable!()
        };
        let time = jiff::Timestamp::UNIX_EPOCH;
        assert_eq!(
            render(fields, Level::WARN, Some("p"), &time),
            json!({"message": "served", "severity": "WARNING", "time": "1970-01-01T00:00:00Z", "request_id": "r",
                "httpRequest": {"requestMethod": "GET", "requestUrl": "/health", "status": 200, "latency": "0.001s"},
                "logging.googleapis.com/trace": "projects/p/traces/abc"})
        );
    }
}
