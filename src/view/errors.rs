//! The last words of a command that failed: for people `error: ...` and `hint: ...`, for programs one object.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::json::{FORMAT_VERSION, set};
use super::problems;
use super::style::{Style, Tone, printable};
use crate::config::{Diagnostic, Severity};
use crate::error::{CliError, interrupted};
use crate::plan::{PlanError, Refusal};

/// Known addresses that are listed when none resembles the one that was asked for.
const MAX_LISTED: usize = 10;

/// An error that ends the command.
pub fn error_human(error: &CliError, style: &Style) -> String {
    match error {
        CliError::User { message, hints } => message_human(message, hints, style),
        CliError::Google(error) => message_human(&error.to_string(), &error.hints, style),
        CliError::Plan(error) => refusals(error, style),
        CliError::Refused { message, refusals } => refused(message, refusals, style),
        CliError::Interrupted { perhaps_changed } => message_human(interrupted(*perhaps_changed), &[], style),
        CliError::Config(found) => {
            problems::render(&found.diagnostics, &found.sources, style.color, style.width)
        }
    }
}

/// The same in one line, without what to do about it.
pub fn error_line(error: &CliError) -> String {
    match error {
        CliError::User { message, .. } | CliError::Refused { message, .. } => message.clone(),
        CliError::Google(error) => error.to_string(),
        CliError::Plan(error) => error.to_string(),
        CliError::Interrupted { perhaps_changed } => interrupted(*perhaps_changed).to_owned(),
        CliError::Config(found) => found.to_string(),
    }
}

/// The same as `{"format_version", "error": {"message", "hints", ...}}`.
pub fn error_json(error: &CliError) -> Value {
    match error {
        CliError::User { message, hints } => document(message, hints, None),
        CliError::Google(error) => document(&error.to_string(), &error.hints, None),
        CliError::Plan(error) => {
            let refusals = match error {
                PlanError::Refused(refusals) => Some(refusals.iter().map(refusal_json).collect()),
                _ => None,
            };
            document(&error.to_string(), &hints(error), refusals.map(|list| ("refusals", list)))
        }
        CliError::Refused { message, refusals } => {
            document(message, &[], Some(("refusals", refusals.iter().map(refusal_json).collect())))
        }
        CliError::Interrupted { perhaps_changed } => document(interrupted(*perhaps_changed), &[], None),
        CliError::Config(found) => {
            let problems = found.diagnostics.iter().map(problem_json).collect();
            document(&found.to_string(), &[], Some(("problems", problems)))
        }
    }
}

/// An error in words: `error: MESSAGE` and a line for each hint.
pub fn message_human(message: &str, hints: &[String], style: &Style) -> String {
    let mut text = style.labelled(Tone::Error, "error", message);
    text.extend(hints.iter().map(|hint| style.labelled(Tone::Hint, "hint", hint)));
    text
}

/// Why no plan can be made: every refusal with its place, its reason and the way out.
pub fn refusals(error: &PlanError, style: &Style) -> String {
    let refusals = if let PlanError::Refused(refusals) = error { refusals.as_slice() } else { &[] };
    let mut text = refused(&error.to_string(), refusals, style);
    text.extend(hints(error).iter().map(|hint| style.labelled(Tone::Hint, "hint", hint)));
    text
}

/// Refusals one after the other that have the same way out get it once, after the last.
fn refused(message: &str, refusals: &[Refusal], style: &Style) -> String {
    let mut text = style.labelled(Tone::Error, "error", message);
    for alike in refusals.chunk_by(|one, next| one.hint == next.hint) {
        text.extend(alike.iter().map(|refusal| format!("\n{}", refusal_human(refusal, style))));
        if let Some(Refusal { hint, .. }) = alike.first() {
            let label = style.paint(Tone::Hint, "hint");
            let _ = writeln!(text, "    {label}: {}", style.fill(&printable(hint), 10, 6));
        }
    }
    text
}

fn refusal_human(refusal: &Refusal, style: &Style) -> String {
    let Refusal { address, why, location, .. } = refusal;
    let mut text = format!("  {}", style.paint(Tone::Strong, &printable(&address.to_string())));
    if let Some(location) = location {
        let _ = write!(text, "  {}", style.paint(Tone::Faint, &printable(location)));
    }
    let _ = writeln!(text, "\n    {}", style.fill(&printable(why), 4, 4));
    text
}

/// What to do about an error that concerns the whole plan.
pub(super) fn hints(error: &PlanError) -> Vec<String> {
    match error {
        PlanError::UnknownAddress(unknown, known) => {
            unknown.iter().filter_map(|address| resembling(address, known)).collect()
        }
        PlanError::Circle(_) => vec!["take one of the references out of the YAML".to_owned()],
        PlanError::Refused(_) | PlanError::Spec(_) => Vec::new(),
    }
}

/// The known address that was probably meant, or what there is to choose from.
fn resembling(address: &str, known: &[String]) -> Option<String> {
    let alike =
        |candidate: &&String| strsim::damerau_levenshtein(address, candidate) <= 1 + address.len() / 8;
    let nearest = known.iter().filter(alike).min_by_key(|known| strsim::damerau_levenshtein(address, known));
    if let Some(nearest) = nearest {
        return Some(format!("did you mean `{nearest}`?"));
    }
    let kind = address.split_once('/').map_or(address, |(kind, _)| kind);
    let of_kind = |candidate: &&String| candidate.split_once('/').is_some_and(|(other, _)| other == kind);
    let same_kind: Vec<_> = known.iter().filter(of_kind).collect();
    let choice: Vec<_> = if same_kind.is_empty() { known.iter().collect() } else { same_kind };
    let listed: Vec<_> = choice.iter().take(MAX_LISTED).map(|address| format!("`{address}`")).collect();
    let more = if choice.len() > MAX_LISTED { ", ..." } else { "" };
    (!listed.is_empty()).then(|| format!("there are {}{more}", listed.join(", ")))
}

fn document(message: &str, hints: &[String], details: Option<(&str, Value)>) -> Value {
    let mut error = json!({"message": message, "hints": hints});
    if let Some((key, list)) = details {
        error[key] = list;
    }
    json!({"format_version": FORMAT_VERSION, "error": error})
}

fn refusal_json(refusal: &Refusal) -> Value {
    let Refusal { address, why, hint, location } = refusal;
    let mut document = json!({"address": address, "why": why, "hint": hint});
    set(&mut document, "location", location.as_deref().map(Value::from));
    document
}

pub(super) fn problem_json(problem: &Diagnostic) -> Value {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut document = json!({
        "severity": severity,
        "rule": problem.rule,
        "path": problem.path,
        "message": problem.message,
    });
    set(&mut document, "location", problem.location.as_ref().map(|location| location.to_string().into()));
    set(&mut document, "hint", problem.hint.as_deref().map(Value::from));
    document
}
