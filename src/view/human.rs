//! The plan for people: what waits, what changes in the words of the YAML, and a count.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::lines::{self, Line};
use super::settings::{inline, settings};
use super::style::{Style, Tone, counted, printable};
use super::table::{Row, render};
use crate::plan::{Action, Change, FieldChange, Note, Plan, diff};
use crate::resource::Address;

/// Columns between the edge and the fields of a change.
const FIELD_INDENT: usize = 8;

/// An address longer than this does not push what stands behind the others to the right.
const MAX_ADDRESS: usize = 40;

/// The whole plan.
pub fn plan_human(plan: &Plan, style: &Style) -> String {
    let mut text = String::new();
    if plan.is_empty() {
        let _ = writeln!(text, "No changes. {} matches its YAML.", plan.place.ownership.environment);
        text.push_str(&notes(&plan.notes, style));
        return text;
    }
    text.push_str(&heading(plan, style));
    text.push('\n');
    text.push_str(&blocked(plan, style));
    text.push_str(&render(&rows(plan, style), style));
    text.push('\n');
    let notes = notes(&plan.notes, style);
    if !notes.is_empty() {
        text.push_str(&notes);
        text.push('\n');
    }
    text.push_str(&summary(plan));
    text
}

/// What differs from the YAML, and what would bring it in line.
pub fn drift_human(plan: &Plan, style: &Style) -> String {
    let environment = &plan.place.ownership.environment;
    if plan.is_empty() {
        return format!("No drift: {environment} is as its YAML says.\n{}", notes(&plan.notes, style));
    }
    let differences = counted(plan.changes.len(), "difference");
    format!("{environment} has drifted from its YAML: {differences}.\n\n{}", plan_human(plan, style))
}

fn heading(plan: &Plan, style: &Style) -> String {
    let place = &plan.place;
    let whose = format!("{}/{}", place.ownership.system, place.ownership.environment);
    let whose = style.paint(Tone::Strong, &printable(&whose));
    let target = target_in_words(&plan.target);
    format!("Plan for {whose}: project {}, region {}, {target}\n", place.project, place.region)
}

/// Where a plan goes, e.g. `on the sandbox`.
fn target_in_words(target: &str) -> String {
    match target {
        "sandbox" => "on the sandbox".to_owned(),
        "google" => "on Google Cloud".to_owned(),
        endpoint => format!("at {}", printable(endpoint)),
    }
}

/// What a person has to do first, each thing once, with the changes that wait for it.
fn blocked(plan: &Plan, style: &Style) -> String {
    let mut reasons: Vec<(&str, Vec<&Address>)> = Vec::new();
    for (change, why) in plan.blocked() {
        for reason in why.split("; ") {
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, waiting)) => waiting.push(&change.address),
                None => reasons.push((reason, vec![&change.address])),
            }
        }
    }
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

fn rows(plan: &Plan, style: &Style) -> Vec<Row> {
    let waiting = waiting(plan);
    let verb_width = plan.changes.iter().map(|change| change.verb.len()).max().unwrap_or(0);
    let named = plan.changes.iter().map(|change| {
        let detail = detail(change, waiting.get(&change.address).map(String::as_str));
        (change, printable(&change.address.to_string()), detail)
    });
    let named: Vec<_> = named.collect();
    let with_detail = named.iter().filter(|(_, _, detail)| !detail.is_empty());
    let lengths = with_detail.map(|(_, address, _)| address.chars().count());
    let address_width = lengths.filter(|length| *length <= MAX_ADDRESS).max().unwrap_or(0);
    let mut rows = Vec::new();
    for (change, address, detail) in named {
        let (sign, tone) = sign(change.action);
        let mut row = Row::new(2);
        row.cell(tone, &format!("{sign} {:verb_width$}  ", change.verb));
        row.cell(
            Tone::Plain,
            &if detail.is_empty() { address } else { format!("{address:address_width$}  ") },
        );
        row.cell(Tone::Plain, &detail);
        row.location = change.source.as_ref().and_then(|source| source.location.clone());
        rows.push(row);
        for field in &change.fields {
            rows.extend(field_rows(field, style));
        }
        if change.action == Action::Create
            && let Some(after) = &change.after
        {
            rows.extend(settings(&change.address.kind, after).iter().map(|setting| {
                let mut row = Row::new(FIELD_INDENT);
                row.cell(Tone::Plain, &printable(setting));
                row
            }));
        }
    }
    rows
}

pub(super) fn sign(action: Action) -> (char, Tone) {
    match action {
        Action::Create | Action::Restore => ('+', Tone::Added),
        Action::Update => ('~', Tone::Changed),
        Action::Replace => ('!', Tone::Removed),
        Action::Delete => ('-', Tone::Removed),
    }
}

/// Changes that will be skipped, and the word for it.
fn waiting(plan: &Plan) -> BTreeMap<&Address, String> {
    let mut waiting: BTreeMap<&Address, String> = BTreeMap::new();
    for change in &plan.changes {
        if change.blocked.is_some() {
            waiting.insert(&change.address, "waits".to_owned());
        } else if let Some(need) = change.needs.iter().find(|need| waiting.contains_key(need)) {
            waiting.insert(&change.address, format!("waits for {need}"));
        }
    }
    waiting
}

/// What stands behind the address: that it waits, what is special about it, what it leads to.
fn detail(change: &Change, waiting: Option<&str>) -> String {
    let spec = change.after.as_ref().filter(|_| change.action == Action::Create);
    let summary = spec.and_then(|spec| inline(&change.address.kind, spec));
    let consequences = change.consequences.iter().map(ToString::to_string);
    let parts = waiting.map(str::to_owned).into_iter().chain(summary).chain(consequences);
    printable(&parts.collect::<Vec<_>>().join(", "))
}

/// `path: old -> new`; under each other where one line is too narrow, line by line where there are several.
fn field_rows(field: &FieldChange, style: &Style) -> Vec<Row> {
    let path = printable(if field.path.is_empty() { &field.pointer } else { &field.path });
    let (old, new) = sides(field);
    let mut head = Row::new(FIELD_INDENT);
    head.location.clone_from(&field.location);
    if let Some((old, new)) = several_lines(field) {
        head.cell(Tone::Plain, &format!("{path}:"));
        return std::iter::once(head).chain(line_rows(old, new)).collect();
    }
    let line = format!("{path}: {old} -> {new}");
    if FIELD_INDENT + line.chars().count() <= style.width {
        head.cell(Tone::Plain, &line);
        return vec![head];
    }
    head.cell(Tone::Plain, &format!("{path}:"));
    vec![head, side(Tone::Removed, '-', &old), side(Tone::Added, '+', &new)]
}

/// Both values in words; as JSON where the words would be the same (`"5"` and `5`).
fn sides(field: &FieldChange) -> (String, String) {
    let (old, new) = (diff::text(field.old.as_ref()), diff::text(field.new.as_ref()));
    if old != new {
        return (printable(&old), printable(&new));
    }
    let json = |value: &Option<Value>| value.as_ref().map_or_else(|| "(none)".to_owned(), Value::to_string);
    (printable(&json(&field.old)), printable(&json(&field.new)))
}

fn several_lines(field: &FieldChange) -> Option<(&str, &str)> {
    let text = |value: &'_ Option<Value>| value.as_ref().is_some_and(Value::is_string);
    let (old, new) = (field.old.as_ref().and_then(Value::as_str), field.new.as_ref().and_then(Value::as_str));
    let comparable = (text(&field.old) || field.old.is_none()) && (text(&field.new) || field.new.is_none());
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    // Line ends that differ would not be seen.
    let visible = !old.contains('\r') && !new.contains('\r') && old.ends_with('\n') == new.ends_with('\n');
    (comparable && visible && (old.contains('\n') || new.contains('\n'))).then_some((old, new))
}

fn line_rows(old: &str, new: &str) -> Vec<Row> {
    let rows = lines::diff(old, new).into_iter().map(|line| match line {
        Line::Same(text) => side(Tone::Faint, ' ', &printable(text)),
        Line::Added(text) => side(Tone::Added, '+', &printable(text)),
        Line::Removed(text) => side(Tone::Removed, '-', &printable(text)),
        Line::Gap(count) => side(Tone::Faint, ' ', &format!("({} unchanged)", counted(count, "line"))),
    });
    rows.collect()
}

fn side(tone: Tone, sign: char, text: &str) -> Row {
    let mut row = Row::new(FIELD_INDENT + 4);
    row.cell(tone, format!("{sign} {text}").trim_end());
    row
}

fn notes(notes: &[Note], style: &Style) -> String {
    let texts = notes.iter().map(|note| {
        let joint = if note.text.starts_with("is ") { " " } else { ": " };
        style.labelled(Tone::Hint, "note", &format!("{}{joint}{}", note.address, note.text))
    });
    texts.collect()
}

fn summary(plan: &Plan) -> String {
    let count = |actions: &[Action]| plan.changes.iter().filter(|c| actions.contains(&c.action)).count();
    let add = count(&[Action::Create, Action::Restore, Action::Replace]);
    let (change, remove) = (count(&[Action::Update]), count(&[Action::Delete, Action::Replace]));
    let waiting = match waiting(plan).len() {
        0 => String::new(),
        1 => " 1 of them waits.".to_owned(),
        many => format!(" {many} of them wait."),
    };
    format!("Plan: {add} to add, {change} to change, {remove} to remove.{waiting}\n")
}
