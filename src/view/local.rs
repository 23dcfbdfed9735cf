//! What runs on this machine: where it answers, what it says, which revisions serve.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::logs;
use super::out::Out;
use super::report::services;
use super::style::{Tone, printable};
use crate::apply::Report;
use crate::config::{Environment, host};
use crate::gcp::LogEntry;
use crate::plan::Plan;

/// Colours of services, in turn.
const TONES: [Tone; 4] = [Tone::Hint, Tone::Added, Tone::Changed, Tone::Strong];

impl Out {
    /// Where what an `apply` on the sandbox made answers: at the sandbox of another process, or nowhere.
    pub fn served(&self, plan: &Plan, report: &Report, sandbox: Option<SocketAddr>) {
        if plan.target != "sandbox" || plan.destroy || self.format() != super::Format::Human {
            return;
        }
        let services = services(plan, report);
        if services.is_empty() {
            return;
        }
        let Some(sandbox) = sandbox else {
            let name = &plan.place.ownership.environment;
            return self.text(&format!(
                "Nothing keeps running on the sandbox after this: `deployer up {name}` serves these URLs.\n"
            ));
        };
        let urls = services.iter().filter_map(|service| service.url.as_deref());
        let urls: Vec<_> = urls.map(|url| here(url, sandbox)).collect();
        self.text(&format!("On this machine: {}\n", urls.join(" ")));
    }

    /// `up` has applied, and from now on watches.
    pub fn up(&self, env: &Environment, number: u64, sandbox: SocketAddr, applied: bool) {
        let style = self.style();
        let mut text = String::from("\n");
        if applied {
            let _ = writeln!(text, "{} is up:", printable(&format!("{}/{}", env.system, env.name)));
        } else {
            let note = format!(
                "Not everything was applied. Mend it, then run `deployer apply {}` in another terminal.",
                env.name
            );
            let _ = writeln!(text, "{}", style.paint(Tone::Warning, &printable(&note)));
        }
        let width = width(env);
        for (key, service) in &env.services {
            let url = here(&host::url(&service.name, number, &env.region), sandbox);
            let shown = format!("{:width$}", printable(key));
            let _ = writeln!(text, "  {}  {url}", style.paint(tone_of(key), &shown));
        }
        text.push_str("Ctrl-C ends it; `deployer apply` in another terminal changes it.\n\n");
        self.text(&text);
    }

    /// `up` has been asked to end.
    pub fn up_ended(&self) {
        self.status("Ending what runs. Data stay in .deployer/sandbox until `deployer sandbox reset`.");
    }

    /// One entry of the log of a service or job, `width` columns for their names.
    pub fn says(&self, service: &str, width: usize, entry: &LogEntry) {
        let style = self.style();
        let tone = match logs::tone(&entry.severity) {
            Tone::Plain if !entry.own => Tone::Faint,
            tone => tone,
        };
        let mut text = String::new();
        for line in entry.text.lines() {
            let head = style.paint(tone_of(service), &format!("{:width$} |", printable(service)));
            let _ = writeln!(text, "{head} {}", style.paint(tone, &printable(line)));
        }
        self.text(&text);
    }

    /// What became of a service.
    pub fn service_is(&self, service: &str, width: usize, state: &str) {
        let style = self.style();
        let head = style.paint(tone_of(service), &format!("{:width$} *", printable(service)));
        self.text(&format!("{head} {}\n", style.paint(Tone::Strong, &printable(state))));
    }
}

fn width(env: &Environment) -> usize {
    env.services.keys().map(|key| key.chars().count()).max().unwrap_or_default()
}

/// The same in each line, whoever else there is.
fn tone_of(service: &str) -> Tone {
    let position: usize = service.bytes().map(usize::from).sum();
    TONES.get(position % TONES.len()).copied().unwrap_or(Tone::Plain)
}

/// The URL on this machine of a service with this one at Google: browsers resolve names below `localhost` by themselves.
pub(super) fn here(url: &str, sandbox: SocketAddr) -> String {
    let host = url.strip_prefix("https://").unwrap_or(url);
    format!("http://{host}.localhost:{}", sandbox.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Format;
    use crate::view::out::captured;

    fn entry(severity: &str, text: &str) -> LogEntry {
        LogEntry {
            time: jiff::Timestamp::UNIX_EPOCH,
            id: "1".into(),
            severity: severity.into(),
            text: text.into(),
            owner: "shop-api".into(),
            part: "shop-api-1".into(),
            own: true,
        }
    }

    #[test]
    fn each_line_of_a_log_bears_the_name_of_its_service() {
        let (out, stdout, _) = captured::out(Format::Human);
        out.says("api", 6, &entry("ERROR", "one\ntwo\u{1b}[2J"));
        out.service_is("worker", 6, "w-1 serves");
        insta::assert_snapshot!(stdout.text(), @r"
        api    | one
        api    | two\u{1b}[2J
        worker * w-1 serves
        ");
    }

    #[test]
    fn url_on_this_machine_is_the_one_at_google_below_localhost() {
        let here = here("https://api-1.us-central1.run.app", "127.0.0.1:8787".parse().unwrap());
        assert_eq!(here, "http://api-1.us-central1.run.app.localhost:8787");
    }
}
