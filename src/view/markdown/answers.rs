//! Errors, problems of the configuration, edits of it, and lists as markdown.

use std::fmt::Write as _;

use super::document::{Item, LIMIT, Section, assemble};
use super::plan_within;
use super::text::{cell, clipped, code, details, diff_block, html, prose};
use crate::config::{Checked, Diagnostic, Severity};
use crate::error::{CliError, interrupted};
use crate::lint::Linted;
use crate::plan::{Plan, PlanError, Refusal};
use crate::view::errors::hints;
use crate::view::style::counted;
use crate::view::table::{Foot, Head};
use crate::view::{RenderAnswer, TenantEdit};

/// Characters of a name in a headline.
const MAX_NAMES: usize = 2_000;

/// An error that ends the command.
pub fn error_markdown(error: &CliError) -> String {
    error_within(error, LIMIT)
}

fn error_within(error: &CliError, limit: usize) -> String {
    let failure = |message: &str, hints: &[String], more: Vec<Section>| failure(message, hints, more, limit);
    match error {
        CliError::User { message, hints } => failure(message, hints, Vec::new()),
        CliError::Google(error) => failure(&error.to_string(), &error.hints, Vec::new()),
        CliError::Plan(error) => {
            let refused = match error {
                PlanError::Refused(refusals) => refusals.iter().map(refusal).collect(),
                _ => Vec::new(),
            };
            failure(&error.to_string(), &hints(error), vec![Section::new("Refused", refused)])
        }
        CliError::Refused { message, refusals } => {
            failure(message, &[], vec![Section::new("Refused", refusals.iter().map(refusal).collect())])
        }
        CliError::Interrupted { perhaps_changed } => failure(interrupted(*perhaps_changed), &[], Vec::new()),
        CliError::Config(found) => {
            let head = format!("### Error: {}\n", prose(&clipped(&found.to_string(), MAX_NAMES)));
            assemble(&head, &problems(&found.diagnostics), limit)
        }
    }
}

/// A message is an item of its own, so that one that is too long is left out whole.
fn failure(message: &str, hints: &[String], more: Vec<Section>, limit: usize) -> String {
    let mut sections = vec![Section::new("Why", vec![Item::line("message", 0, &prose(message))])];
    sections.extend(more);
    let hints = hints.iter().map(|hint| Item::line("hint", 1, &prose(hint))).collect();
    sections.push(Section::new("What to do", hints));
    assemble("### Error: `deployer` could not do its work\n", &sections, limit)
}

fn refusal(refusal: &Refusal) -> Item {
    let Refusal { address, why, hint, location } = refusal;
    let place = location.as_ref().map(|place| format!(" ({})", code(place))).unwrap_or_default();
    let text = format!("{}{place}: {}<br>hint: {}", code(&address.to_string()), prose(why), prose(hint));
    Item::line(&address.kind, 1, &text)
}

/// The answer of `validate`: which environments can be used, and every problem once.
pub fn validation_markdown(checked: &Checked) -> String {
    let named = |wanted: bool| {
        let names = checked.verdicts().filter(|(_, good)| *good == wanted).map(|(name, _)| code(name));
        names.collect::<Vec<_>>()
    };
    let (good, bad) = (named(true), named(false));
    let headline =
        if bad.is_empty() { "The configuration is valid" } else { "The configuration is not valid" };
    let mut sections = Vec::new();
    for (word, names) in [("Not ok", bad), ("Ok", good)] {
        let items = names.iter().map(|name| Item::line("environment", 0, name)).collect();
        sections.push(Section::new(word, items));
    }
    sections.extend(problems(&checked.diagnostics()));
    assemble(&format!("### {headline}\n"), &sections, LIMIT)
}

/// The answer of `lint`.
pub fn lint_markdown(linted: &Linted) -> String {
    let files = counted(linted.files.len(), "file");
    let head = match linted.findings.len() {
        0 => format!("### Nothing is wrong with {files}\n"),
        many => format!("### {} in {files}\n", counted(many, "finding")),
    };
    assemble(&head, &problems(&linted.findings), LIMIT)
}

/// Errors, then warnings.
fn problems(found: &[Diagnostic]) -> Vec<Section> {
    let of = |severity: Severity, rank: u8, word: &str| {
        let items: Vec<_> = found
            .iter()
            .filter(|problem| problem.severity == severity)
            .map(|found| problem(found, rank))
            .collect();
        Section::new(counted(items.len(), word), items)
    };
    vec![of(Severity::Error, 1, "error"), of(Severity::Warning, 2, "warning")]
}

fn problem(problem: &Diagnostic, rank: u8) -> Item {
    let mut text = code(problem.rule);
    if let Some(place) = &problem.location {
        text = format!("{text} at {}", code(&place.to_string()));
    }
    text = format!("{text}: {}", prose(&problem.message));
    if !problem.path.is_empty() {
        text = format!("{text}<br>key: {}", code(&problem.path));
    }
    if let Some(hint) = &problem.hint {
        text = format!("{text}<br>hint: {}", prose(hint));
    }
    Item::line(problem.rule, rank, &text)
}

/// What an edit of the YAML has changed, and the plan that follows from it or why there is none.
pub fn tenant_edit_markdown(edit: &TenantEdit, plan: Option<&Result<Plan, CliError>>) -> String {
    let remarks = edit.remarks();
    let remarks = remarks.iter().map(|remark| Item::line("note", 1, &prose(remark))).collect();
    let head = format!("### {}\n", prose(&clipped(edit.headline().trim_end_matches('.'), MAX_NAMES)));
    let Some(plan) = plan else {
        return assemble(&head, &[Section::new("Notes", remarks)], LIMIT);
    };
    let edited = assemble(&head, &[Section::new("Notes", remarks)], LIMIT / 4);
    let room = LIMIT - edited.len() - 1;
    match plan {
        Ok(plan) => format!("{edited}\n{}", plan_within(plan, room)),
        Err(error) => format!("{edited}\n{}", error_within(error, room)),
    }
}

/// Sentences that follow an answer.
pub fn notes_markdown(notes: &[String]) -> String {
    let items = notes.iter().map(|note| Item::line("note", 0, &prose(note))).collect();
    // The line between it and the answer is the caller's.
    assemble("", &[Section::new("Notes", items)], LIMIT / 4).trim_start().to_owned()
}

/// What was done, in a sentence without its full stop, and what follows from it.
pub fn answer_markdown(headline: &str, notes: &[String]) -> String {
    let head = format!("### {}\n", prose(&clipped(headline, MAX_NAMES)));
    let items = notes.iter().map(|note| Item::line("note", 0, &prose(note))).collect();
    assemble(&head, &[Section::new("Notes", items)], LIMIT)
}

/// What became of rendered files, with the diffs of those that are not as they would be.
pub fn rendering_markdown(answer: &RenderAnswer) -> String {
    let head = format!("### {}\n", prose(answer.summary().trim_end_matches('.')));
    let items = answer.files.iter().map(|row| {
        let word = row.outcome.word();
        let line = format!("{} {word}", code(&row.path));
        let diff = row.diff().map(|diff| diff.lines().map(str::to_owned).collect::<Vec<_>>());
        let full = diff.map(|lines| details(&html(&format!("{} {word}", row.path)), &diff_block(&lines)));
        Item { full, ..Item::line(word, u8::from(row.diff().is_none()), &line) }
    });
    let notes = answer.remarks.iter().map(String::as_str).chain(answer.hint());
    let notes = notes.map(|note| Item::line("note", 0, &prose(note))).collect();
    assemble(&head, &[Section::new("Files", items.collect()), Section::new("Notes", notes)], LIMIT)
}

/// A list as a table; rows that do not fit are counted.
pub fn table_markdown(title: &str, heads: &[Head], rows: &[Vec<String>], foot: Option<&Foot>) -> String {
    let names = heads.iter().map(|head| match head {
        Head::Words(words) => (*words).to_owned(),
        Head::Name(name) => cell(name),
    });
    let names = names.collect::<Vec<_>>().join(" | ");
    let mut text = format!("### {title}\n\n| {names} |\n|{}\n", "---|".repeat(heads.len()));
    let mut left_out = 0;
    for (at, row) in rows.iter().enumerate() {
        let cells: Vec<_> =
            row.iter().map(|text| if text.is_empty() { String::new() } else { cell(text) }).collect();
        let line = format!("| {} |\n", cells.join(" | "));
        if text.len() + line.len() + 100 > LIMIT / 3 {
            left_out = rows.len() - at;
            break;
        }
        text.push_str(&line);
    }
    if let Some(Foot { head, cells }) = foot {
        let cells: Vec<_> = cells.iter().map(|text| cell(text)).collect();
        let _ = writeln!(text, "| **{head}** | {} |", cells.join(" | "));
    }
    if left_out > 0 {
        let _ = writeln!(text, "\nAnd {left_out} more.");
    }
    text
}
