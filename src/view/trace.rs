//! `-v`: a line for each request, with its status and time. Bodies are in no event, so they cannot appear.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::Out;
use super::style::{Tone, printable};

/// Shows deployer's own events on standard error when `verbose`; nothing of other crates, which may log more
/// than belongs there.
pub fn start_tracing(verbose: bool, out: &Out) {
    if !verbose {
        return;
    }
    let ours = Targets::new().with_target("deployer", LevelFilter::INFO);
    let registry = tracing_subscriber::registry().with(Lines { out: out.clone() }.with_filter(ours));
    // A second subscriber in one process is a test's; the first one stays.
    let _ = registry.try_init();
}

struct Lines {
    out: Out,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let tone = if *event.metadata().level() <= Level::WARN { Tone::Warning } else { Tone::Faint };
        self.out.status(&self.out.notes_style().paint(tone, &printable(&fields.line())));
    }
}

/// The fields of an event in words.
#[derive(Default)]
struct Fields {
    message: String,
    verb: String,
    path: String,
    status: String,
    took: String,
    rest: String,
}

impl Fields {
    fn put(&mut self, name: &str, value: String) {
        match name {
            "message" => self.message = value,
            "verb" => self.verb = value,
            "path" => self.path = value,
            "status" => self.status = value,
            "ms" => self.took = value,
            // The first attempt is not worth a word.
            "attempt" if value == "0" || value == "1" => {}
            _ => {
                let _ = write!(self.rest, " {name}={value}");
            }
        }
    }

    /// `GET projects/p/secrets 200 12 ms method=secretmanager.projects.secrets.list`
    fn line(&self) -> String {
        let request = [&self.verb, &self.path, &self.status].map(String::as_str);
        let mut words: Vec<_> = std::iter::once(self.message.as_str()).chain(request).collect();
        words.retain(|word| !word.is_empty());
        let took = if self.took.is_empty() { String::new() } else { format!(" {} ms", self.took) };
        format!("{}{took}{}", words.join(" "), self.rest)
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line() {
        let mut fields = Fields::default();
        let event = [
            ("method", "m.list"),
            ("verb", "GET"),
            ("path", "p/x"),
            ("status", "200"),
            ("ms", "7"),
            ("attempt", "1"),
        ];
        for (name, value) in event {
            fields.put(name, value.to_owned());
        }
        assert_eq!(fields.line(), "GET p/x 200 7 ms method=m.list");
        fields.put("attempt", "2".to_owned());
        assert_eq!(fields.line(), "GET p/x 200 7 ms method=m.list attempt=2");
    }
}
