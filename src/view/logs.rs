//! Log entries: lines for people, a document for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::FORMAT_VERSION;
use super::markdown::table_markdown;
use super::style::{Tone, printable};
use super::table::Head;
use super::{Format, Out};
use crate::gcp::LogEntry;

/// What `deployer logs` has found.
#[derive(Clone, Debug)]
pub struct LogsAnswer {
    pub environment: String,
    /// Oldest first.
    pub entries: Vec<LogEntry>,
    /// Keys in the YAML by Cloud Run's names.
    pub keys: BTreeMap<String, String>,
}

/// `2026-11-21 10:00:00`, UTC
pub(super) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

pub(super) fn entry_json(entry: &LogEntry) -> Value {
    let LogEntry { time, id: _, severity, text, owner, part, own } = entry;
    json!({
        "time": time.to_string(),
        "severity": severity,
        "text": text,
        "owner": owner,
        "part": part,
        "own": own,
    })
}

fn tone(severity: &str) -> Tone {
    match severity {
        "WARNING" => Tone::Warning,
        "ERROR" | "CRITICAL" | "ALERT" | "EMERGENCY" => Tone::Error,
        _ => Tone::Plain,
    }
}

impl LogsAnswer {
    fn key<'a>(&'a self, entry: &'a LogEntry) -> &'a str {
        self.keys.get(&entry.owner).unwrap_or(&entry.owner)
    }
}

impl Out {
    /// The answer of `logs`, or a part of what `logs --follow` shows.
    pub fn logs(&self, answer: &LogsAnswer) {
        const HEADS: [Head; 4] =
            [Head::Words("Time"), Head::Words("Of"), Head::Words("Severity"), Head::Words("Text")];
        match self.format() {
            Format::Human => {
                let style = self.style();
                let mut text = String::new();
                for entry in &answer.entries {
                    let head = format!("{} {}", time(entry.time), answer.key(entry));
                    let severity = match entry.severity.as_str() {
                        "DEFAULT" | "INFO" => String::new(),
                        severity => format!(" {}", style.paint(tone(severity), severity)),
                    };
                    let said = printable(&entry.text);
                    let said = if entry.own { said } else { style.paint(Tone::Faint, &said) };
                    let _ =
                        writeln!(text, "{}{severity}  {said}", style.paint(Tone::Faint, &printable(&head)));
                }
                self.text(&text);
            }
            Format::Markdown => {
                let cells = answer.entries.iter().map(|entry| {
                    let (key, severity) = (answer.key(entry).to_owned(), entry.severity.clone());
                    vec![time(entry.time), key, severity, entry.text.clone()]
                });
                self.markdown(&table_markdown("Logs", &HEADS, &cells.collect::<Vec<_>>(), None));
            }
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "environment": answer.environment,
                "entries": answer.entries.iter().map(entry_json).collect::<Vec<_>>(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::out::captured;

    fn entry(severity: &str, text: &str, own: bool) -> LogEntry {
        LogEntry {
            time: "2026-11-21T10:00:00.5Z".parse().unwrap(),
            id: "1".into(),
            severity: severity.into(),
            text: text.into(),
            owner: "shop-web-dev".into(),
            part: "shop-web-dev-1".into(),
            own,
        }
    }

    #[test]
    fn people_read_the_key_of_the_yaml_and_only_severities_that_say_something() {
        let keys = BTreeMap::from([("shop-web-dev".to_owned(), "web".to_owned())]);
        let entries = vec![entry("DEFAULT", "listening", true), entry("ERROR", "GET /x 500", false)];
        let (out, stdout, _) = captured::out(Format::Human);
        out.logs(&LogsAnswer { environment: "dev".into(), entries, keys });
        insta::assert_snapshot!(stdout.text(), @r"
        2026-11-21 10:00:00 web  listening
        2026-11-21 10:00:00 web ERROR  GET /x 500
        ");
    }

    #[test]
    fn what_a_container_writes_cannot_steer_the_terminal() {
        let entries = vec![entry("INFO", "a\u{1b}[2Jb", true)];
        let (out, stdout, _) = captured::out(Format::Human);
        out.logs(&LogsAnswer { environment: "dev".into(), entries, keys: BTreeMap::new() });
        assert!(!stdout.text().contains('\u{1b}'), "{:?}", stdout.text());
    }
}
