//! What became of a plan: for people and for programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::grouping::Detail;
use super::human::{no_changes, note_in_words};
use super::json::{FORMAT_VERSION, note_json, plan_json, set};
use super::outcomes::{Ended, failed, skipped, why_skipped};
use super::rows::lines_of_names;
use super::style::{Style, Tone, counted, printable};
use crate::apply::{Failure, Outcome, Report, Skipped};
use crate::plan::{Action, Plan};
use crate::resource::registry::Registry;
use crate::resource::{Address, Answers};

/// Stands in place of a URL that does not exist.
pub(super) const NO_URL: &str = "(the name is too long for a predictable URL)";

/// A service that this run made or changed.
pub(super) struct Service<'a> {
    pub name: &'a str,
    pub url: Option<String>,
    /// The revision that serves since this run.
    pub revision: Option<&'a str>,
    /// Its image, as it was planned.
    pub image: Option<&'a str>,
}

/// The report of an apply, with what to do next.
pub fn report_human(plan: &Plan, report: &Report, detail: Detail, style: &Style) -> String {
    let mut text = String::new();
    if report.outcomes.is_empty() {
        let _ = writeln!(text, "{}", printable(&no_changes(plan)));
        return text;
    }
    text.push_str(&headline(plan, report, style));
    let grouped = detail.groups(plan);
    text.extend(failed(report, grouped).iter().map(|ended| failure(ended, style)));
    text.push_str(&not_started(&skipped(report, grouped), style));
    text.push_str(&unknown(plan, report, style));
    text.push_str(&notes(report, style));
    text.push_str(&existing(plan, report));
    let next = next_steps(plan, report);
    if !next.is_empty() {
        text.push('\n');
        text.extend(next.iter().map(|step| style.labelled(Tone::Hint, "next", step)));
    }
    text
}

fn headline(plan: &Plan, report: &Report, style: &Style) -> String {
    let (word, text) = headline_in_words(plan, report);
    if report.all_applied() {
        return format!("{} {text}.\n", style.paint(Tone::Added, word));
    }
    format!("{}: {text}.\n", style.paint(Tone::Error, word))
}

/// How it went, in a word, and the counts.
pub(super) fn headline_in_words(plan: &Plan, report: &Report) -> (&'static str, String) {
    let applied = report.applied();
    match (report.all_applied(), plan.destroy) {
        (true, false) => return ("Applied", counted(applied, "change")),
        (true, true) => {
            let environment = printable(&plan.place.ownership.environment);
            return ("Destroyed", format!("{environment} in {}", counted(applied, "change")));
        }
        (false, _) => {}
    }
    let tally = Tally::of(report);
    let mut text = format!("applied {applied}, failed {}, skipped {}", tally.failed, tally.skipped);
    if tally.rolled_back > 0 {
        let _ = write!(text, ", rolled back {}", tally.rolled_back);
    }
    if tally.unknown > 0 {
        let _ = write!(text, ", unknown {}", tally.unknown);
    }
    let word = if report.interrupted {
        "Interrupted"
    } else if report.only_rolled_back() {
        "Rolled back"
    } else {
        "Not complete"
    };
    (word, text)
}

#[derive(Clone, Copy, Default)]
struct Tally {
    failed: usize,
    rolled_back: usize,
    skipped: usize,
    unknown: usize,
}

impl Tally {
    fn of(report: &Report) -> Self {
        report.outcomes.iter().fold(Self::default(), |mut tally, (_, outcome)| {
            match outcome {
                Outcome::Applied => {}
                Outcome::Failed(_) => tally.failed += 1,
                Outcome::RolledBack(_) => tally.rolled_back += 1,
                Outcome::Skipped(_) => tally.skipped += 1,
                Outcome::Unknown => tally.unknown += 1,
            }
            tally
        })
    }
}

fn failure(ended: &Ended<'_>, style: &Style) -> String {
    let subject = printable(&format!("{}{}", ended.first, ended.and_others()));
    let word = if ended.rolled_back { "rolled back" } else { "failed" };
    let mut text = format!("\n{}: {subject}\n", style.paint(Tone::Error, word));
    for message in &ended.reasons {
        let _ = writeln!(text, "  {}", style.fill(&printable(message), 2, 2));
    }
    for hint in ended.hints {
        let hint = style.fill(&printable(hint), 8, 4);
        let _ = writeln!(text, "  {}: {hint}", style.paint(Tone::Hint, "hint"));
    }
    text + &last_lines(ended, style) + &others(ended, 2, style)
}

fn last_lines(ended: &Ended<'_>, style: &Style) -> String {
    if ended.log.is_empty() {
        return String::new();
    }
    let lines = ended.log.iter().map(|line| format!("    {}\n", style.paint(Tone::Faint, &printable(line))));
    format!("  its last lines:\n{}", lines.collect::<String>())
}

/// What nobody judged, and the like.
fn notes(report: &Report, style: &Style) -> String {
    let told = report.notes.iter().map(|note| {
        let (address, text) = note_in_words(note);
        style.labelled(Tone::Hint, "note", &format!("{address}{text}"))
    });
    let told: String = told.collect();
    if told.is_empty() { told } else { format!("\n{told}") }
}

fn not_started(skipped: &[Ended<'_>], style: &Style) -> String {
    let mut text = String::new();
    for ended in skipped {
        if text.is_empty() {
            text.push_str("\nskipped:\n");
        }
        let subject = format!("{}{}", ended.first, ended.and_others());
        match ended.reasons.as_slice() {
            [reason] => {
                let line = format!("{subject}: {reason}");
                let _ = writeln!(text, "  {}", style.fill(&printable(&line), 2, 4));
            }
            several => {
                let _ = writeln!(text, "  {}:", printable(&subject));
                for reason in several {
                    let _ = writeln!(text, "    {}", style.fill(&printable(reason), 4, 6));
                }
            }
        }
        text.push_str(&others(ended, 4, style));
    }
    text
}

/// The names of those that ended like the first.
fn others(ended: &Ended<'_>, indent: usize, style: &Style) -> String {
    let Some(names) = &ended.others else { return String::new() };
    let lines = lines_of_names(names, indent + "alike: ".len(), style.width);
    let heads = std::iter::once("alike:").chain(std::iter::repeat("      "));
    let mut text = String::new();
    for (line, head) in lines.iter().zip(heads) {
        let _ = writeln!(text, "{:indent$}{head} {line}", "");
    }
    text
}

fn unknown(plan: &Plan, report: &Report, style: &Style) -> String {
    let half: Vec<_> = addresses(report, |outcome| matches!(outcome, Outcome::Unknown));
    if half.is_empty() {
        return String::new();
    }
    let line = format!("may be half done: {}; {}", half.join(", "), run_again(plan));
    format!("\n{}\n", style.paint(Tone::Warning, &style.fill(&printable(&line), 0, 2)))
}

fn addresses(report: &Report, wanted: fn(&Outcome) -> bool) -> Vec<String> {
    let wanted = report.outcomes.iter().filter(|(_, outcome)| wanted(outcome));
    wanted.map(|(address, _)| address.to_string()).collect()
}

/// The services that this run made or changed, and where they answer.
fn existing(plan: &Plan, report: &Report) -> String {
    let services = services(plan, report);
    if services.is_empty() {
        return String::new();
    }
    let width = services.iter().map(|service| service.name.chars().count()).max().unwrap_or(0);
    let mut text = String::from("\nWhat exists now:\n");
    for service in &services {
        let url = service.url.as_deref().unwrap_or(NO_URL);
        let _ = writeln!(text, "  service {:width$}  {url}", printable(service.name));
    }
    text
}

pub(super) fn services<'a>(plan: &'a Plan, report: &'a Report) -> Vec<Service<'a>> {
    let applied: BTreeSet<_> = report
        .outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Applied))
        .map(|(address, _)| address)
        .collect();
    let mut services = planned_services(plan, |address| applied.contains(address));
    for (service, address) in &mut services {
        service.revision = report.revisions.get(*address).map(String::as_str);
    }
    services.into_iter().map(|(service, _)| service).collect()
}

/// The services that a plan makes or changes, as far as they are wanted.
pub(super) fn planned_services(
    plan: &Plan,
    wanted: impl Fn(&Address) -> bool,
) -> Vec<(Service<'_>, &Address)> {
    let registry = Registry::standard();
    let alive = plan.changes.iter().filter(|change| change.action != Action::Delete);
    let answering = alive.filter(|change| wanted(&change.address)).filter_map(|change| {
        let Address { kind, name } = &change.address;
        let url = match registry.kind(kind)?.answers(&plan.place, name) {
            Answers::Nowhere => return None,
            Answers::Unpredictable => None,
            Answers::At(url) => Some(url),
        };
        let image = change.after.as_ref().and_then(|after| after["image"].as_str());
        Some((Service { name, url, revision: None, image }, &change.address))
    });
    answering.collect()
}

fn run_again(plan: &Plan) -> String {
    let verb = if plan.destroy { "destroy" } else { "apply" };
    format!("run `{}` again", plan.command(verb))
}

/// What to do next, one step each.
pub(super) fn next_steps(plan: &Plan, report: &Report) -> Vec<String> {
    let again = run_again(plan);
    let done = if plan.destroy { "what is gone stays so" } else { "what is applied stays" };
    let has = |wanted: fn(&Outcome) -> bool| report.outcomes.iter().any(|(_, outcome)| wanted(outcome));
    let mut steps = Vec::new();
    if has(|outcome| matches!(outcome, Outcome::Failed(_) | Outcome::RolledBack(_))) {
        steps.push(format!("mend what failed, then {again}: {done}, the rest follows"));
    } else if report.interrupted
        && !report.all_applied()
        && !has(|outcome| matches!(outcome, Outcome::Unknown))
    {
        steps.push(format!("{again}: {done}, the rest follows"));
    }
    if has(|outcome| matches!(outcome, Outcome::Skipped(Skipped::Blocked(_)))) {
        steps.push(format!("do what the skipped changes wait for, then {again}"));
    }
    steps
}

/// The report and its plan as one document.
pub fn report_json(plan: &Plan, report: &Report) -> Value {
    let Report { outcomes, interrupted, notes, revisions: _ } = report;
    let tally = Tally::of(report);
    json!({
        "format_version": FORMAT_VERSION,
        "plan": plan_json(plan),
        "outcomes": outcomes.iter().map(|(address, outcome)| outcome_json(address, outcome)).collect::<Vec<_>>(),
        "services": services(plan, report).into_iter().map(service_json).collect::<Vec<_>>(),
        "summary": {
            "applied": report.applied(),
            "failed": tally.failed,
            "rolled_back": tally.rolled_back,
            "skipped": tally.skipped,
            "unknown": tally.unknown,
        },
        "notes": notes.iter().map(note_json).collect::<Vec<_>>(),
        "interrupted": interrupted,
    })
}

fn outcome_json(address: &Address, outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Applied => json!({"address": address, "outcome": "applied"}),
        Outcome::Failed(failure) => failure_json(address, "failed", failure),
        Outcome::RolledBack(failure) => failure_json(address, "rolled_back", failure),
        Outcome::Skipped(why) => {
            let mut document =
                json!({"address": address, "outcome": "skipped", "message": why_skipped(why).join("; ")});
            let (because, need) = match why {
                Skipped::Needs(need) => ("needs", Some(need)),
                Skipped::Blocked(_) => ("blocked", None),
                Skipped::Stopped => ("stopped", None),
                Skipped::Interrupted => ("interrupted", None),
            };
            set(&mut document, "because", Some(because.into()));
            set(&mut document, "needs", need.map(|need| need.to_string().into()));
            document
        }
        Outcome::Unknown => json!({"address": address, "outcome": "unknown"}),
    }
}

fn failure_json(address: &Address, outcome: &str, failure: &Failure) -> Value {
    let Failure { message, hints, log } = failure;
    json!({"address": address, "outcome": outcome, "message": message, "hints": hints, "log": log})
}

fn service_json(service: Service<'_>) -> Value {
    let mut document = json!({"name": service.name});
    set(&mut document, "url", service.url.map(Value::from));
    set(&mut document, "revision", service.revision.map(Value::from));
    set(&mut document, "image", service.image.map(Value::from));
    document
}
