//! The changes of a plan as lines for people: verb, address, what is special about it, and its fields.

use std::iter;

use super::actions::{drift_word, face};
use super::fields::sides;
use super::grouping::{Detail, Entry, entries, waiting};
use super::settings::{inline, settings};
use super::style::{Style, Tone, printable};
use super::table::Row;
use crate::plan::{Action, FieldChange, Plan};

/// Columns between the edge and the fields of a change.
const FIELD_INDENT: usize = 8;

/// An address longer than this does not push what stands behind the others to the right.
const MAX_ADDRESS: usize = 40;

/// Names of new objects that a group tells before it counts the rest.
const NAMED: usize = 3;

/// Whose words are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// What will be done.
    Plan,
    /// How what exists differs.
    Drift,
}

/// All changes, in the order of the plan.
pub fn rows(plan: &Plan, wording: Wording, detail: Detail, style: &Style) -> Vec<Row> {
    let waiting = waiting(plan);
    let grouped = detail.groups(plan);
    let entries = entries(plan, &waiting, grouped);
    let heads: Vec<_> = entries.iter().map(|entry| Head::of(entry, wording)).collect();
    let widest = |of: fn(&Head) -> usize, limit: usize| {
        heads.iter().map(of).filter(|width| *width <= limit).max().unwrap_or(0)
    };
    let columns = Columns {
        sign: widest(|head| head.sign.len(), usize::MAX),
        verb: widest(|head| head.verb.chars().count(), usize::MAX),
        address: widest(
            |head| if head.detail.is_empty() { 0 } else { head.address.chars().count() },
            MAX_ADDRESS,
        ),
    };
    let entries = entries.iter().zip(&heads);
    entries
        .flat_map(|(entry, head)| iter::once(head.row(columns)).chain(below(entry, grouped, style)))
        .collect()
}

#[derive(Clone, Copy)]
struct Columns {
    sign: usize,
    verb: usize,
    address: usize,
}

/// The line of an entry, before its columns are known.
struct Head {
    sign: &'static str,
    tone: Tone,
    verb: String,
    address: String,
    detail: String,
    location: Option<String>,
}

impl Head {
    fn of(entry: &Entry<'_>, wording: Wording) -> Self {
        let change = entry.first;
        let face = face(change.action);
        let verb = match wording {
            Wording::Plan => change.verb.clone(),
            Wording::Drift => drift_word(change).to_owned(),
        };
        let address = if entry.alone() { change.address.to_string() } else { change.address.kind.clone() };
        let source = change.source.as_ref().filter(|_| entry.alone());
        Self {
            sign: face.sign,
            tone: face.tone,
            verb: printable(&verb),
            address: printable(&address),
            detail: printable(&specials(entry, wording).join(", ")),
            location: source.and_then(|source| source.location.clone()),
        }
    }

    fn row(&self, columns: Columns) -> Row {
        let Columns { sign, verb, address } = columns;
        let mut row = Row::new(2);
        row.cell(self.tone, &format!("{:sign$} {:verb$}  ", self.sign, self.verb));
        let name = &self.address;
        let name = if self.detail.is_empty() { name.clone() } else { format!("{name:address$}  ") };
        row.cell(Tone::Plain, &name);
        row.cell(Tone::Plain, &self.detail);
        row.location.clone_from(&self.location);
        row
    }
}

/// What stands behind the address: how many, that it waits, its few settings, what it leads to.
fn specials(entry: &Entry<'_>, wording: Wording) -> Vec<String> {
    let change = entry.first;
    let mut found = Vec::new();
    if !entry.alone() {
        found.push(entry.count().to_string());
    }
    found.extend(entry.waiting.filter(|_| wording == Wording::Plan).map(str::to_owned));
    let spec = change.after.as_ref().filter(|_| change.action == Action::Create && entry.alone());
    found.extend(spec.and_then(|spec| inline(&change.address, spec)));
    if wording == Wording::Plan {
        found.extend(change.consequences.iter().map(ToString::to_string));
    }
    found
}

/// The lines under an entry: fields that change, settings of what is new, names of a group.
fn below(entry: &Entry<'_>, grouped: bool, style: &Style) -> Vec<Row> {
    let change = entry.first;
    let mut rows: Vec<_> = if entry.alone() {
        change.fields.iter().flat_map(|field| field_rows(field, style)).collect()
    } else {
        shared_fields(entry).iter().flat_map(|field| field_rows(field, style)).collect()
    };
    if let (false, Action::Create, Some(after)) = (grouped, change.action, &change.after) {
        rows.extend(settings(&change.address, after).iter().map(|setting| plain(&printable(setting))));
    }
    if !entry.alone() {
        rows.extend(names(entry, style));
    }
    rows
}

/// The fields of a group, told by what they have in common: their places differ, and so may their paths.
pub(super) fn shared_fields(entry: &Entry<'_>) -> Vec<FieldChange> {
    let shared = entry.first.fields.iter().enumerate().map(|(at, field)| {
        let same = |of: fn(&FieldChange) -> &str| {
            entry.others.iter().all(|other| other.fields.get(at).is_some_and(|f| of(f) == of(field)))
        };
        let place = |field: &FieldChange| field.location.clone();
        let one_place =
            entry.others.iter().all(|other| other.fields.get(at).is_some_and(|f| place(f) == place(field)));
        let path = if same(|field| &field.path) { field.path.clone() } else { dotted(&field.pointer) };
        FieldChange { path, location: place(field).filter(|_| one_place), ..field.clone() }
    });
    shared.collect()
}

fn dotted(pointer: &str) -> String {
    let steps = pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
    steps.collect::<Vec<_>>().join(".")
}

/// The names of a group: all of what changes, the first few of what is new.
fn names(entry: &Entry<'_>, style: &Style) -> Vec<Row> {
    let shown = if entry.first.action == Action::Create { NAMED } else { usize::MAX };
    let mut words: Vec<_> = entry.names().take(shown).map(|name| format!("{},", printable(name))).collect();
    match entry.count().saturating_sub(words.len()) {
        0 => {}
        more => words.push(format!("... and {more} more")),
    }
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if FIELD_INDENT + line.chars().count() + 1 + word.chars().count() <= style.width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    if let Some(last) = lines.last_mut() {
        last.truncate(last.trim_end_matches(',').len());
    }
    lines.iter().map(|line| plain(line)).collect()
}

fn plain(text: &str) -> Row {
    let mut row = Row::new(FIELD_INDENT);
    row.cell(Tone::Plain, text);
    row
}

/// `path: old -> new`; under each other where one line is too narrow, line by line where there are several.
fn field_rows(field: &FieldChange, style: &Style) -> Vec<Row> {
    let path = printable(if field.path.is_empty() { &field.pointer } else { &field.path });
    let sides = sides(field.old.as_ref(), field.new.as_ref());
    let line = format!("{path}: {} -> {}", sides.old, sides.new);
    let fits = !sides.several && FIELD_INDENT + line.chars().count() <= style.width;
    let mut head = plain(&if fits { line } else { format!("{path}:") });
    head.location.clone_from(&field.location);
    let lines = sides.lines.iter().filter(|_| !fits);
    iter::once(head).chain(lines.map(|(sign, text)| side(*sign, text))).collect()
}

fn side(sign: char, text: &str) -> Row {
    let tone = match sign {
        '-' => Tone::Removed,
        '+' => Tone::Added,
        _ => Tone::Faint,
    };
    let mut row = Row::new(FIELD_INDENT + 4);
    row.cell(tone, format!("{sign} {text}").trim_end());
    row
}
