//! The changes of a plan as lines for people: verb, address, what is special about it, and its fields.

use std::iter;

use super::actions::{drift_word, face};
use super::common::{self, CommonField, MAX_VALUES, Names, short};
use super::fields::sides;
use super::grouping::{Detail, Entry, entries, waiting};
use super::settings::{inline, settings};
use super::style::{Style, Tone, printable};
use super::table::Row;
use crate::plan::{Action, Change, FieldChange, Plan};

/// Columns between the edge and the fields of a change.
const FIELD_INDENT: usize = 8;

/// An address longer than this does not push what stands behind the others to the right.
const MAX_ADDRESS: usize = 40;

/// Whose words are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// What will be done.
    Plan,
    /// How what exists differs.
    Drift,
}

impl Wording {
    /// What a change is called.
    pub fn word(self, change: &Change) -> &str {
        match self {
            Self::Plan => &change.verb,
            Self::Drift => drift_word(change),
        }
    }
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
        let address = if entry.alone() { change.address.to_string() } else { change.address.kind.clone() };
        Self {
            sign: face.sign,
            tone: face.tone,
            verb: printable(wording.word(change)),
            address: printable(&address),
            detail: printable(&specials(entry, wording).join(", ")),
            location: common::place(entry),
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
    let fields = common::fields(entry, FieldChange::clone);
    let mut rows: Vec<_> = fields.iter().flat_map(|field| common_rows(field, style)).collect();
    if let (false, Action::Create, Some(after)) = (grouped, change.action, &change.after) {
        rows.extend(settings(&change.address, after).iter().map(|setting| plain(&printable(setting))));
    }
    if !entry.alone() {
        rows.extend(lines_of_names(&entry.names(), FIELD_INDENT, style.width).iter().map(|line| plain(line)));
    }
    rows
}

/// A field of a group: once where all have the same values, else a line for each pair of values.
fn common_rows(common: &CommonField<'_>, style: &Style) -> Vec<Row> {
    if common.values.is_empty() {
        return field_rows(&common.field, style);
    }
    let mut head = plain(&format!("{}:", printable(path(&common.field))));
    head.location.clone_from(&common.field.location);
    let mut rows = vec![head];
    for values in common.values.iter().take(MAX_VALUES) {
        let sides = sides(values.field.old.as_ref(), values.field.new.as_ref());
        let mut row = Row::new(FIELD_INDENT + 4);
        let (whose, old, new) = (printable(&values.whose()), short(&sides.old), short(&sides.new));
        row.cell(Tone::Plain, &format!("{whose}: {old} -> {new}"));
        row.location = values.field.location.clone().filter(|_| values.count == 1);
        rows.push(row);
    }
    if let Some(more) = common.more() {
        let mut row = Row::new(FIELD_INDENT + 4);
        row.cell(Tone::Faint, &more);
        rows.push(row);
    }
    rows
}

/// Names in lines up to `width`, of which `indent` columns are taken.
pub(super) fn lines_of_names(names: &Names<'_>, indent: usize, width: usize) -> Vec<String> {
    let words = names.named.iter().map(|name| format!("{},", printable(name))).chain(names.rest());
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if indent + line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    if let Some(last) = lines.last_mut() {
        last.truncate(last.trim_end_matches(',').len());
    }
    lines
}

fn plain(text: &str) -> Row {
    let mut row = Row::new(FIELD_INDENT);
    row.cell(Tone::Plain, text);
    row
}

/// What a field is called.
pub(super) fn path(field: &FieldChange) -> &str {
    if field.path.is_empty() { &field.pointer } else { &field.path }
}

/// `path: old -> new`; under each other where one line is too narrow, line by line where there are several.
fn field_rows(field: &FieldChange, style: &Style) -> Vec<Row> {
    let path = printable(path(field));
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
