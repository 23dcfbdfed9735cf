//! The plan for people: what waits, what changes in the words of the YAML, and a count.

use std::fmt::Write as _;

use super::actions::{Counts, drift_word, places};
use super::grouping::{Detail, reasons, tally, waiting};
use super::releases::releases;
use super::rows::{Wording, rows};
use super::style::{Style, Tone, counted, printable};
use super::table::render;
use crate::plan::{Note, Plan};

/// The whole plan; `part` says in words what was looked at, where that is not everything.
pub fn plan_human(plan: &Plan, detail: Detail, style: &Style) -> String {
    let mut text = String::new();
    if plan.is_empty() {
        let _ = writeln!(text, "{}", printable(&no_changes(plan)));
        text.push_str(&notes(&plan.notes, style));
        return text;
    }
    text.push_str(&heading(plan, style));
    text.push('\n');
    text.push_str(&blocked(plan, style));
    text.push_str(&render(&rows(plan, Wording::Plan, detail, style), style));
    text.push('\n');
    text.push_str(&paragraph(&released(plan, style)));
    text.push_str(&paragraph(&notes(&plan.notes, style)));
    text.push_str(&summary(plan));
    text.push_str(&by_kind(plan, Wording::Plan, detail, style));
    text
}

/// That there is nothing to do, and for what that holds.
pub(super) fn no_changes(plan: &Plan) -> String {
    match plan.part.as_deref() {
        _ if plan.destroy => format!("Nothing to destroy: {} has nothing of its own.", whose(plan)),
        None => format!("No changes. {} matches its YAML.", plan.place.ownership.environment),
        Some(part) => format!("No changes in what was looked at: {part}."),
    }
}

/// Where what exists is not as the YAML says.
pub fn drift_human(plan: &Plan, detail: Detail, style: &Style) -> String {
    let notes = notes(&plan.notes, style);
    let headline = drift_headline(plan);
    if plan.is_empty() {
        return format!("{}\n{notes}", printable(&headline));
    }
    let headline = style.paint(Tone::Strong, &printable(&headline));
    let mut text = format!("{headline} ({})\n\n", where_to(plan));
    text.push_str(&render(&rows(plan, Wording::Drift, detail, style), style));
    text.push('\n');
    text.push_str(&paragraph(&notes));
    let _ = writeln!(text, "Drift: {}. Values: live -> YAML.", drift_counts(plan));
    text.push_str(&by_kind(plan, Wording::Drift, detail, style));
    text
}

/// `production has drifted from its YAML: 2 objects differ in 3 places`
pub(super) fn drift_headline(plan: &Plan) -> String {
    let environment = &plan.place.ownership.environment;
    match (places(plan), plan.part.as_deref()) {
        (0, None) => format!("No drift: {environment} is as its YAML says."),
        (0, Some(part)) => format!("No drift in what was looked at: {part}."),
        (places, _) => {
            let differ = match plan.changes.len() {
                1 => "1 object differs".to_owned(),
                many => format!("{many} objects differ"),
            };
            format!("{environment} has drifted from its YAML: {differ} in {}", counted(places, "place"))
        }
    }
}

/// `1 missing, 2 differ`
pub(super) fn drift_counts(plan: &Plan) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for word in plan.changes.iter().map(drift_word) {
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let words = counts.iter().map(|(word, count)| match (*word, count) {
        ("differs", 2..) => format!("{count} differ"),
        (word, count) => format!("{count} {word}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn heading(plan: &Plan, style: &Style) -> String {
    let whose = style.paint(Tone::Strong, &printable(&whose(plan)));
    format!("{} {whose}: {}\n", plan_to(plan), where_to(plan))
}

/// What comes before the name of the environment in the headline of a plan.
pub(super) fn plan_to(plan: &Plan) -> &'static str {
    if plan.destroy { "Plan to destroy" } else { "Plan for" }
}

/// `SYSTEM/ENVIRONMENT`
pub(super) fn whose(plan: &Plan) -> String {
    format!("{}/{}", plan.place.ownership.system, plan.place.ownership.environment)
}

fn where_to(plan: &Plan) -> String {
    let (project, region) = (printable(&plan.place.project), printable(&plan.place.region));
    format!("project {project}, region {region}, {}", target_in_words(&plan.target))
}

/// Where a plan goes, e.g. `on the sandbox`.
pub(super) fn target_in_words(target: &str) -> String {
    match target {
        "sandbox" => "on the sandbox".to_owned(),
        "google" => "on Google Cloud".to_owned(),
        endpoint => format!("at {}", printable(endpoint)),
    }
}

/// What a person has to do first, each thing once, with the changes that wait for it.
fn blocked(plan: &Plan, style: &Style) -> String {
    let reasons = reasons(plan);
    if reasons.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n", style.paint(Tone::Warning, "Waiting for you:"));
    for (reason, waiting) in reasons {
        let waiting: Vec<_> = waiting.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "  {}", style.fill(&printable(reason), 2, 4));
        let waiting = format!("needed by {}", printable(&waiting.join(", ")));
        let _ = writeln!(text, "    {}", style.paint(Tone::Faint, &style.fill(&waiting, 4, 4)));
    }
    text.push('\n');
    text
}

fn paragraph(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

/// What services go through before they get traffic.
fn released(plan: &Plan, style: &Style) -> String {
    let texts = releases(plan)
        .map(|(address, text)| style.labelled(Tone::Hint, "release", &format!("{address}: {text}")));
    texts.collect()
}

fn notes(notes: &[Note], style: &Style) -> String {
    let texts = notes.iter().map(|note| {
        let (address, text) = note_in_words(note);
        style.labelled(Tone::Hint, "note", &format!("{address}{text}"))
    });
    texts.collect()
}

/// What a note is about, and the note with what joins the two.
pub(super) fn note_in_words(note: &Note) -> (String, String) {
    let joint = if note.text.starts_with("is ") { " " } else { ": " };
    (note.address.to_string(), format!("{joint}{}", note.text))
}

fn summary(plan: &Plan) -> String {
    let waiting = match waiting(plan).len() {
        0 => String::new(),
        1 => " 1 of them waits.".to_owned(),
        many => format!(" {many} of them wait."),
    };
    format!("Plan: {}.{waiting}\n", Counts::of(plan).in_words())
}

/// What a large plan consists of, and how to see all of it.
fn by_kind(plan: &Plan, wording: Wording, detail: Detail, style: &Style) -> String {
    if !detail.groups(plan) {
        return String::new();
    }
    let tally = tally(plan, |change| wording.word(change));
    let width = tally.iter().map(|(count, _, _)| count.to_string().len()).max().unwrap_or(0);
    let lines = tally.iter().map(|(count, word, kind)| format!("  {count:>width$} {word} {kind}\n"));
    let mut text: String = lines.map(|line| printable(&line)).collect();
    let hint = "alike changes are told as one and new objects without their settings; `-v` or `--output json` shows all";
    text.push_str(&style.labelled(Tone::Hint, "hint", hint));
    text
}
