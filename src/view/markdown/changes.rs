//! The changes of a plan as sections of markdown: what goes first, then what changes, then what comes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::document::{Item, Section};
use super::text::{cell, clipped, code, codes, details, diff_block, html, prose};
use crate::plan::{Action, Change, FieldChange, Plan};
use crate::resource::{Address, Consequence};
use crate::view::actions::{Counts, Face, face};
use crate::view::common::{self, CommonField, MAX_VALUES, short};
use crate::view::fields::sides;
use crate::view::grouping::{Detail, Entry, entries, reasons, waiting};
use crate::view::human::note_in_words;
use crate::view::redact::redacted;
use crate::view::releases::releases;
use crate::view::rows::{Wording, path};
use crate::view::settings::{inline, settings};
use crate::view::style::counted;

/// Changes that are named behind what they wait for or lead to; each of them is told by itself too.
const MAX_NAMED: usize = 10;

/// Characters of such a name: the configuration allows fewer.
const MAX_NAME: usize = 200;

/// Kinds that get a row of the table; what has no row is counted in the last one.
const MAX_KINDS: usize = 30;

/// Characters of a kind in the table: all of ours are shorter.
const MAX_KIND: usize = 40;

/// What changes, counted by kind. Empty where nothing does.
pub fn table(plan: &Plan) -> String {
    let mut kinds: BTreeMap<&str, Counts> = BTreeMap::new();
    for change in &plan.changes {
        kinds.entry(&change.address.kind).or_default().count(change);
    }
    let mut text = String::new();
    if kinds.len() < 2 && plan.changes.len() < 2 {
        // The headline says as much.
        return text;
    }
    text.push_str("\n| Kind | Add | Change | Remove |\n|---|---:|---:|---:|\n");
    let mut row = |name: &str, counts: Counts| {
        let Counts { add, change, remove } = counts;
        let shown = [add, change, remove].map(|n| if n == 0 { String::new() } else { n.to_string() });
        let _ = writeln!(text, "| {name} | {} |", shown.join(" | "));
    };
    for (kind, counts) in kinds.iter().take(MAX_KINDS) {
        row(&cell(&clipped(kind, MAX_KIND)), *counts);
    }
    if kinds.len() > MAX_KINDS {
        let rest = kinds.values().skip(MAX_KINDS).fold(Counts::default(), |all, counts| all.plus(*counts));
        row("others", rest);
    }
    text
}

/// What follows from the plan, the gravest first, with what leads to it.
pub fn consequences_section(plan: &Plan) -> Section {
    const GRAVEST_FIRST: [Consequence; 6] = [
        Consequence::Irreversible,
        Consequence::AccessWidened,
        Consequence::TrafficMoves,
        Consequence::NewRevision,
        Consequence::AccessNarrowed,
        Consequence::NoRestart,
    ];
    let items = GRAVEST_FIRST.iter().filter_map(|consequence| {
        let changes: Vec<_> = plan
            .changes
            .iter()
            .filter(|change| change.consequences.contains(consequence))
            .map(|change| &change.address)
            .collect();
        let text = format!("**{consequence}**: {}", some_names(&changes));
        (!changes.is_empty()).then(|| Item::line("consequence", 0, &text))
    });
    Section::new("What follows from it", items.collect())
}

/// The first names, and how many there are besides.
fn some_names(addresses: &[&Address]) -> String {
    let shown = |address: &&Address| code(&clipped(&address.to_string(), MAX_NAME));
    let mut names: Vec<_> = addresses.iter().take(MAX_NAMED).map(shown).collect();
    if addresses.len() > MAX_NAMED {
        names.push(format!("and {} more", addresses.len() - MAX_NAMED));
    }
    names.join(", ")
}

/// What a person has to do first, with what waits for it.
pub fn waiting_section(plan: &Plan) -> Section {
    let items = reasons(plan).into_iter().map(|(reason, waiting)| {
        Item::line("waiting", 0, &format!("{}<br>needed by {}", prose(reason), some_names(&waiting)))
    });
    Section::new("Waiting for you", items.collect())
}

/// What was not done, and why.
pub fn notes_section(plan: &Plan) -> Section {
    let items = plan.notes.iter().map(|note| {
        let (address, text) = note_in_words(note);
        let kind = &note.address.kind;
        Item::line(&format!("about {kind}"), 5, &format!("{}{}", code(&address), after(&text)))
    });
    Section::new("Notes", items.collect())
}

/// What services go through before they get traffic.
pub fn releases_section(plan: &Plan) -> Section {
    let items = releases(plan).map(|(address, text)| {
        Item::line("release", 4, &format!("{}: {}", code(&address.to_string()), prose(&text)))
    });
    Section::new("Releases", items.collect())
}

/// Text that follows a name and begins with what joins the two.
fn after(text: &str) -> String {
    let (joint, text) = text.split_once(' ').unwrap_or(("", text));
    format!("{joint} {}", prose(text))
}

/// A section for each sort of change, in the order of what a reviewer wants to see.
pub fn sections(plan: &Plan, wording: Wording) -> Vec<Section> {
    let waiting = waiting(plan);
    let grouped = Detail::Grouped.groups(plan);
    let mut sorted: Vec<(Face, Vec<Item>, usize)> = Vec::new();
    for entry in entries(plan, &waiting, grouped) {
        let face = face(entry.first.action);
        let item = item(&entry, wording, grouped, &plan.show_env);
        if let Some((_, items, count)) = sorted.iter_mut().find(|(known, _, _)| known.heading == face.heading)
        {
            *count += item.count;
            items.push(item);
        } else {
            let count = item.count;
            sorted.push((face, vec![item], count));
        }
    }
    sorted.sort_by_key(|(face, _, _)| face.rank);
    let sections = sorted.into_iter().map(|(face, items, count)| {
        let heading = match wording {
            Wording::Plan => face.heading.to_owned(),
            Wording::Drift => format!("What is {}", drift_heading(face)),
        };
        Section::new(format!("{heading} ({count})"), items)
    });
    sections.collect()
}

fn drift_heading(face: Face) -> &'static str {
    if face.drift == "differs" { "not as declared" } else { face.drift }
}

/// `1 to add, 0 to change, 2 to remove`, and how many of them wait.
pub fn counts(plan: &Plan) -> String {
    let counts = Counts::of(plan).in_words();
    match waiting(plan).len() {
        0 => counts,
        many => format!(
            "{counts}; {} for a person",
            if many == 1 { "1 waits".into() } else { format!("{many} wait") }
        ),
    }
}

fn item(entry: &Entry<'_>, wording: Wording, grouped: bool, shown: &[String]) -> Item {
    let change = entry.first;
    let face = face(change.action);
    let verb = wording.word(change);
    let address = if entry.alone() { change.address.to_string() } else { change.address.kind.clone() };
    let specials = specials(entry, wording, shown);
    let tail = if specials.is_empty() { String::new() } else { format!(": {}", specials.join(", ")) };
    let mut line =
        format!("{} {}{}", code(&format!("{} {verb}", face.sign)), code(&address), prose_after(&tail));
    let place = common::place(entry);
    if let Some(place) = &place {
        let _ = write!(line, " ({})", code(place));
    }
    if !entry.alone() {
        let _ = write!(line, "<br>{}", codes(&entry.names()));
    }
    let body = body(entry, grouped, shown);
    let full = (!body.is_empty()).then(|| {
        let what = html(&format!("{} {verb}", face.sign));
        let summary = format!("<code>{what}</code> <code>{}</code>{}", html(&address), html_after(&tail));
        let place = place.map(|place| format!("Asked for at {}\n\n", code(&place))).unwrap_or_default();
        let names = if entry.alone() { String::new() } else { format!("\nIn {}\n", codes(&entry.names())) };
        details(&summary, &format!("{place}{}{names}", diff_block(&body)))
    });
    Item {
        what: format!("{verb} {}", change.address.kind),
        count: entry.count(),
        rank: if urgent(change) { 0 } else { face.rank },
        short: format!("* {line}\n"),
        full,
    }
}

fn prose_after(tail: &str) -> String {
    tail.strip_prefix(": ").map_or_else(String::new, |text| format!(": {}", prose(text)))
}

/// Inside of `summary` GitHub finds mentions outside of code.
fn html_after(tail: &str) -> String {
    tail.strip_prefix(": ").map_or_else(String::new, |text| format!(": <code>{}</code>", html(text)))
}

/// What must not be left out before anything else is.
fn urgent(change: &Change) -> bool {
    change.blocked.is_some()
        || change
            .consequences
            .iter()
            .any(|found| matches!(found, Consequence::AccessWidened | Consequence::Irreversible))
}

/// What stands behind the address.
fn specials(entry: &Entry<'_>, wording: Wording, shown: &[String]) -> Vec<String> {
    let change = entry.first;
    let mut found = Vec::new();
    if !entry.alone() {
        found.push(counted(entry.count(), "object"));
    }
    let spec = change.after.as_ref().filter(|_| change.action == Action::Create && entry.alone());
    found.extend(spec.and_then(|spec| inline(&change.address, &redacted(spec, "", shown))));
    if wording == Wording::Plan {
        found.extend(entry.waiting.map(str::to_owned));
        found.extend(change.consequences.iter().map(ToString::to_string));
    }
    found
}

/// The lines of the block of code: fields that change, or the settings of what is new.
fn body(entry: &Entry<'_>, grouped: bool, shown: &[String]) -> Vec<String> {
    let change = entry.first;
    let fields = common::fields(entry, |field| hidden(field, shown));
    let mut lines: Vec<_> = fields.iter().flat_map(common_lines).collect();
    if let (false, Action::Create, Some(after)) = (grouped, change.action, &change.after) {
        lines.extend(
            settings(&change.address, &redacted(after, "", shown))
                .iter()
                .map(|setting| format!("+ {setting}")),
        );
    }
    lines
}

/// A field without the values that may not be seen.
fn hidden(field: &FieldChange, shown: &[String]) -> FieldChange {
    let hidden = |value: &Option<Value>| value.as_ref().map(|value| redacted(value, &field.pointer, shown));
    FieldChange { old: hidden(&field.old), new: hidden(&field.new), ..field.clone() }
}

/// A field of a group: once where all have the same values, else both sides of each pair of values.
fn common_lines(common: &CommonField<'_>) -> Vec<String> {
    if common.values.is_empty() {
        return field_lines(&common.field);
    }
    let mut lines = vec![format!("  {}:", path(&common.field))];
    for values in common.values.iter().take(MAX_VALUES) {
        let sides = sides(values.field.old.as_ref(), values.field.new.as_ref());
        let whose = values.whose();
        lines.extend([
            format!("-   {whose}: {}", short(&sides.old)),
            format!("+   {whose}: {}", short(&sides.new)),
        ]);
    }
    lines.extend(common.more().map(|more| format!("    {more}")));
    lines
}

fn field_lines(field: &FieldChange) -> Vec<String> {
    let path = path(field);
    let sides = sides(field.old.as_ref(), field.new.as_ref());
    let plain = |sign: char, text: &str| format!("{sign} {path}: {text}");
    if sides.several || sides.lines.len() > 2 {
        let lines = sides.lines.iter().map(|(sign, text)| format!("{sign}   {text}"));
        return std::iter::once(format!("  {path}:")).chain(lines).collect();
    }
    let old = field.old.as_ref().map(|_| plain('-', &sides.old));
    let new = field.new.as_ref().map(|_| plain('+', &sides.new));
    old.into_iter().chain(new).collect()
}
