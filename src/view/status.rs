//! The answer of `status`: what serves, and what is off.

use std::fmt::Write as _;
use std::net::SocketAddr;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::{FORMAT_VERSION, set};
use super::local::here;
use super::markdown::answer_markdown;
use super::style::{Tone, counted, printable};
use super::{Format, Out};

/// How an environment is.
#[derive(Clone, Debug)]
pub struct StatusAnswer {
    pub environment: String,
    /// `google`, `sandbox` or the endpoint.
    pub target: String,
    /// What is said of a sandbox that nobody keeps running.
    pub not_running: Option<String>,
    /// Where the sandbox listens that runs in another process: services answer on this machine then.
    pub sandbox: Option<SocketAddr>,
    pub services: Vec<ServiceStatus>,
    pub drift: Drift,
}

/// Whether all is as the YAML says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// So many changes would be needed.
    Known(usize),
    /// Why it cannot be told.
    Unknown(String),
}

/// How one service is.
#[derive(Clone, Debug)]
pub struct ServiceStatus {
    /// Key in the YAML.
    pub service: String,
    /// Cloud Run's name.
    pub name: String,
    pub url: String,
    /// Revisions that get requests or have a tag, as it is in effect.
    pub serving: Vec<Serving>,
    pub troubles: Vec<Trouble>,
    /// The last release on record.
    pub released: Option<Released>,
}

/// A revision that can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    pub revision: String,
    pub percent: u64,
    pub tag: Option<String>,
    pub image: String,
    /// The commit that it was made from, where a release recorded it.
    pub sha: Option<String>,
    /// RFC 3339.
    pub created: String,
    pub ready: bool,
}

/// What is off with a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is declared and does not exist.
    Missing,
    /// One of its conditions failed.
    Condition { kind: String, reason: String, message: String },
    /// Cloud Run is still at work on it.
    Reconciling,
    /// Requests do not go where they were asked to go.
    Traffic { desired: String, effective: String },
    /// A revision gets requests and cannot serve.
    Unready { revision: String },
}

/// The last release on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    pub revision: String,
    /// `begun`, `serving`, `failed` or `rolled_back`.
    pub outcome: String,
    pub who: String,
    pub when: String,
    pub reason: Option<String>,
}

impl StatusAnswer {
    pub fn is_off(&self) -> bool {
        self.not_running.is_some()
            || self.drift != Drift::Known(0)
            || self.services.iter().any(|service| !service.troubles.is_empty())
    }

    fn drift_sentence(&self) -> String {
        match &self.drift {
            Drift::Known(0) => format!("No drift: {} is as its YAML says.", self.environment),
            Drift::Known(count) => format!(
                "Drift: {}; deployer plan {} shows what differs.",
                counted(*count, "change"),
                self.environment
            ),
            Drift::Unknown(why) => format!("Drift unknown: {why}"),
        }
    }

    fn json(&self) -> Value {
        let Self { environment, target, not_running, sandbox, services, drift } = self;
        let mut document = json!({
            "format_version": FORMAT_VERSION,
            "environment": environment,
            "target": target,
            "running": not_running.is_none(),
            "ok": !self.is_off(),
            "services": services.iter().map(|service| service.json(*sandbox)).collect::<Vec<_>>(),
        });
        document["drift"] = match drift {
            Drift::Known(changes) => json!({ "changes": changes }),
            Drift::Unknown(why) => json!({ "unknown": why }),
        };
        document
    }
}

impl ServiceStatus {
    /// Where it answers: on this machine, while a sandbox runs here.
    fn answers_at(&self, sandbox: Option<SocketAddr>) -> String {
        sandbox.map_or_else(|| self.url.clone(), |sandbox| here(&self.url, sandbox))
    }

    fn json(&self, sandbox: Option<SocketAddr>) -> Value {
        let Self { service, name, url, serving, troubles, released } = self;
        let mut document = json!({
            "service": service,
            "name": name,
            "url": url,
            "serving": serving.iter().map(Serving::json).collect::<Vec<_>>(),
            "troubles": troubles.iter().map(Trouble::json).collect::<Vec<_>>(),
        });
        let released = released.as_ref().map(|released| {
            let Released { revision, outcome, who, when, reason } = released;
            let mut document = json!({"revision": revision, "outcome": outcome, "who": who, "when": when});
            set(&mut document, "reason", reason.as_deref().map(Value::from));
            document
        });
        set(&mut document, "released", released);
        set(&mut document, "local_url", sandbox.map(|sandbox| Value::from(here(url, sandbox))));
        document
    }

    /// What there is to say of it, one line each, the first one without its name.
    fn lines(&self, now: Timestamp) -> Vec<(Tone, String)> {
        let mut lines = Vec::new();
        for serving in &self.serving {
            lines.push((Tone::Plain, serving.line(now)));
        }
        if let Some(Released { revision, outcome, who, when, reason }) = &self.released {
            // Who took it back and when is the reason; who released it is something else.
            let colon = if outcome == "rolled_back" { " " } else { ": " };
            let reason = reason.as_ref().map(|reason| format!("{colon}{reason}")).unwrap_or_default();
            let (when, outcome) = (ago(when, now), outcome.replace('_', " "));
            lines
                .push((Tone::Faint, format!("last release: {revision}, by {who} {when}: {outcome}{reason}")));
        }
        lines.extend(self.troubles.iter().map(|trouble| (Tone::Error, trouble.sentence())));
        lines
    }
}

impl Serving {
    fn json(&self) -> Value {
        let Self { revision, percent, tag, image, sha, created, ready } = self;
        let mut document = json!({
            "revision": revision, "percent": percent, "image": image, "created": created, "ready": ready,
        });
        set(&mut document, "tag", tag.as_deref().map(Value::from));
        set(&mut document, "sha", sha.as_deref().map(Value::from));
        document
    }

    /// `100%  api-1  3 hours old  IMAGE  commit abc1234`
    fn line(&self, now: Timestamp) -> String {
        let Self { revision, percent, tag, image, sha, created, ready } = self;
        let mut words =
            vec![format!("{percent:>3}%"), revision.clone(), format!("{} old", age(created, now))];
        words.push(image.clone());
        words.extend(sha.as_ref().map(|sha| format!("commit {}", sha.get(..7).unwrap_or(sha))));
        words.extend(tag.as_ref().map(|tag| format!("tag {tag}")));
        words.extend((!ready).then(|| "not ready".to_owned()));
        words.join("  ")
    }
}

impl Trouble {
    fn json(&self) -> Value {
        let text = self.sentence();
        match self {
            Self::Missing => json!({"kind": "missing", "text": text}),
            Self::Reconciling => json!({"kind": "reconciling", "text": text}),
            Self::Condition { kind, reason, .. } => {
                json!({"kind": "condition", "text": text, "condition": kind, "reason": reason})
            }
            Self::Traffic { desired, effective } => {
                json!({"kind": "traffic", "text": text, "desired": desired, "effective": effective})
            }
            Self::Unready { revision } => json!({"kind": "unready", "text": text, "revision": revision}),
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Missing => "does not exist".to_owned(),
            Self::Reconciling => "Cloud Run is still at work on it".to_owned(),
            Self::Condition { kind, reason, message } => {
                let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
                format!("not {kind}{reason}: {message}")
            }
            Self::Traffic { desired, effective } => {
                format!("traffic is asked to be {desired}, and is {effective}")
            }
            Self::Unready { revision } => format!("{revision} gets requests and is not ready"),
        }
    }
}

/// `5 minutes`, `3 hours`, `12 days`; what is no time is shown as it is.
pub(super) fn age(made: &str, now: Timestamp) -> String {
    let Ok(made) = made.parse::<Timestamp>() else { return made.to_owned() };
    let seconds = now.duration_since(made).as_secs().max(0);
    let (count, unit) = match seconds {
        ..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    counted(usize::try_from(count).unwrap_or(usize::MAX), unit)
}

/// `5 minutes ago`
pub(super) fn ago(when: &str, now: Timestamp) -> String {
    let age = age(when, now);
    if age == when { format!("at {when}") } else { format!("{age} ago") }
}

impl Out {
    /// The answer of `status`; `now` is what ages are counted from.
    pub fn status_of(&self, answer: &StatusAnswer, now: Timestamp) {
        match self.format() {
            Format::Human => self.text(&self.status_text(answer, now)),
            Format::Markdown => {
                let head = if answer.is_off() { "needs a look" } else { "is well" };
                let mut notes: Vec<String> = answer.not_running.iter().cloned().collect();
                for service in &answer.services {
                    let lines = service.lines(now).into_iter().map(|(_, line)| line);
                    notes.push(format!("{}: {}", service.service, service.answers_at(answer.sandbox)));
                    notes.extend(lines.map(|line| format!("{}: {}", service.service, line.trim())));
                }
                notes.push(answer.drift_sentence());
                self.markdown(&answer_markdown(&format!("{} {head}", answer.environment), &notes));
            }
            Format::Json => self.json(&answer.json()),
        }
    }

    fn status_text(&self, answer: &StatusAnswer, now: Timestamp) -> String {
        let style = self.style();
        let mut text = String::new();
        if let Some(not_running) = &answer.not_running {
            let _ = writeln!(text, "{}\n", style.paint(Tone::Warning, not_running));
        }
        for service in &answer.services {
            let name = style.paint(Tone::Strong, &printable(&service.service));
            let _ = writeln!(text, "{name}  {}", printable(&service.answers_at(answer.sandbox)));
            for (tone, line) in service.lines(now) {
                let _ = writeln!(text, "  {}", style.paint(tone, &printable(&line)));
            }
        }
        if !answer.services.is_empty() {
            text.push('\n');
        }
        let tone = if answer.drift == Drift::Known(0) { Tone::Plain } else { Tone::Warning };
        let _ = writeln!(text, "{}", style.paint(tone, &printable(&answer.drift_sentence())));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::out::captured;

    fn answer() -> StatusAnswer {
        let serving = Serving {
            revision: "api-1".into(),
            percent: 100,
            tag: None,
            image: "us-docker.pkg.dev/p/r/api@sha256:0123".into(),
            sha: Some("abcdef0123".into()),
            created: "2026-11-21T10:00:00Z".into(),
            ready: true,
        };
        let candidate = Serving {
            revision: "api-2".into(),
            percent: 0,
            tag: Some("candidate".into()),
            sha: None,
            ready: false,
            ..serving.clone()
        };
        let api = ServiceStatus {
            service: "api".into(),
            name: "api-dev".into(),
            url: "https://api-dev-1.r.run.app".into(),
            serving: vec![serving, candidate],
            troubles: vec![Trouble::Traffic { desired: "100% api-2".into(), effective: "100% api-1".into() }],
            released: Some(Released {
                revision: "api-2".into(),
                outcome: "rolled_back".into(),
                who: "ada".into(),
                when: "2026-11-21T11:00:00Z".into(),
                reason: Some("by ada".into()),
            }),
        };
        StatusAnswer {
            environment: "dev".into(),
            target: "google".into(),
            not_running: Some("not running: deployer up dev".into()),
            sandbox: None,
            services: vec![api],
            drift: Drift::Known(2),
        }
    }

    #[test]
    fn people_see_who_serves_and_what_is_off() {
        let (out, stdout, _) = captured::out(Format::Human);
        out.status_of(&answer(), "2026-11-21T12:30:00Z".parse().unwrap());
        insta::assert_snapshot!(stdout.text(), @r"
        not running: deployer up dev

        api  https://api-dev-1.r.run.app
          100%  api-1  2 hours old  us-docker.pkg.dev/p/r/api@sha256:0123  commit abcdef0
            0%  api-2  2 hours old  us-docker.pkg.dev/p/r/api@sha256:0123  tag candidate  not ready
          last release: api-2, by ada 1 hour ago: rolled back by ada
          traffic is asked to be 100% api-2, and is 100% api-1

        Drift: 2 changes; deployer plan dev shows what differs.
        ");
    }

    #[test]
    fn a_service_of_a_sandbox_that_runs_is_found_on_this_machine() {
        let answer = StatusAnswer { sandbox: "127.0.0.1:8787".parse().ok(), not_running: None, ..answer() };
        let (out, stdout, _) = captured::out(Format::Human);
        out.status_of(&answer, Timestamp::UNIX_EPOCH);
        assert!(
            stdout.text().contains("api  http://api-dev-1.r.run.app.localhost:8787\n"),
            "{}",
            stdout.text()
        );
        let json = answer.json();
        assert_eq!(json["services"][0]["local_url"], "http://api-dev-1.r.run.app.localhost:8787");
        assert_eq!(json["services"][0]["url"], "https://api-dev-1.r.run.app");
    }

    #[test]
    fn each_trouble_alone_is_off() {
        let well =
            || StatusAnswer { not_running: None, services: Vec::new(), drift: Drift::Known(0), ..answer() };
        assert!(!well().is_off());
        assert!(StatusAnswer { drift: Drift::Known(1), ..well() }.is_off());
        assert!(StatusAnswer { drift: Drift::Unknown("no".into()), ..well() }.is_off());
        assert!(StatusAnswer { not_running: answer().not_running, ..well() }.is_off());
        assert!(StatusAnswer { services: answer().services, ..well() }.is_off());
    }
}
