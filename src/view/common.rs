//! What the members of a group have in common, where they differ, and how many of them are named.

use std::collections::BTreeMap;

use serde_json::Value;

use super::grouping::Entry;
use crate::plan::FieldChange;

/// Lines for values that differ within a group; what has none is counted.
pub const MAX_VALUES: usize = 10;

/// Characters of one side of such a line.
const MAX_SIDE: usize = 44;

/// Characters of the names of a group that are told, about two lines. One is always named.
const NAMES: usize = 150;

/// The same where all names matter: what widens access, cannot be undone or moves traffic.
const NAMES_THAT_MATTER: usize = 900;

/// A field that all members of a group change.
#[derive(Clone, Debug)]
pub struct CommonField<'a> {
    /// Path and place are those that all share. Its values are, too, unless there are `values`.
    pub field: FieldChange,
    /// Each pair of values with its members, what most have first; empty when all have the same.
    pub values: Vec<Values<'a>>,
}

impl CommonField<'_> {
    /// `... and 3 more`: objects whose values have no line.
    pub fn more(&self) -> Option<String> {
        let more: usize = self.values.iter().skip(MAX_VALUES).map(|values| values.count).sum();
        (more > 0).then(|| format!("... and {more} more"))
    }
}

/// The members of a group that change a field in the same way.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    /// With the place of the first member.
    pub field: FieldChange,
    pub first: &'a str,
    pub count: usize,
}

impl Values<'_> {
    /// Whose values these are: the name of an object, or how many have them.
    pub fn whose(&self) -> String {
        if self.count == 1 { self.first.to_owned() } else { format!("{} objects", self.count) }
    }
}

/// The fields of an entry as `seen`, which may hide values.
pub fn fields<'a>(entry: &Entry<'a>, seen: impl Fn(&FieldChange) -> FieldChange) -> Vec<CommonField<'a>> {
    let each = entry.first.fields.iter().map(|first| {
        let members = entry.members().filter_map(|change| {
            let field = change.fields.iter().find(|field| field.pointer == first.pointer)?;
            Some((change.address.name.as_str(), field))
        });
        common(&members.collect::<Vec<_>>(), first, &seen)
    });
    each.collect()
}

fn common<'a>(
    members: &[(&'a str, &FieldChange)],
    first: &FieldChange,
    seen: impl Fn(&FieldChange) -> FieldChange,
) -> CommonField<'a> {
    let mut values: Vec<Values<'a>> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for (name, field) in members {
        let field = seen(field);
        let at = *known.entry(json(&field)).or_insert(values.len());
        match values.get_mut(at) {
            Some(same) => same.count += 1,
            None => values.push(Values { field, first: name, count: 1 }),
        }
    }
    values.sort_by_key(|same| std::cmp::Reverse(same.count));
    let one_path = members.iter().all(|(_, field)| field.path == first.path);
    let path = if one_path { first.path.clone() } else { dotted(&first.pointer) };
    let location = one_place(members.iter().map(|(_, field)| field.location.as_deref()));
    let field = FieldChange { path, location, ..seen(first) };
    CommonField { field, values: if values.len() > 1 { values } else { Vec::new() } }
}

fn json(field: &FieldChange) -> String {
    let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    format!("{:?}", (text(&field.old), text(&field.new)))
}

fn dotted(pointer: &str) -> String {
    let steps = pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
    steps.collect::<Vec<_>>().join(".")
}

/// The place in the YAML that asked for all members: `file:line:column`, or their file where the lines differ.
pub fn place(entry: &Entry<'_>) -> Option<String> {
    one_place(entry.members().map(|change| change.source.as_ref()?.location.as_deref()))
}

fn one_place<'a>(mut places: impl Iterator<Item = Option<&'a str>>) -> Option<String> {
    let first = places.next()??;
    let file = |place: &'a str| place.rsplitn(3, ':').nth(2);
    let (mut same, mut one_file) = (true, file(first).is_some());
    for place in places {
        let place = place?;
        same &= place == first;
        one_file &= file(place) == file(first);
    }
    if same { Some(first.to_owned()) } else { file(first).filter(|_| one_file).map(str::to_owned) }
}

/// The first names, and how many more there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    pub named: Vec<&'a str>,
    pub more: usize,
}

impl<'a> Names<'a> {
    /// More of them where they `matter`.
    pub fn of(names: impl Iterator<Item = &'a str>, matter: bool) -> Self {
        let room = if matter { NAMES_THAT_MATTER } else { NAMES };
        let (mut told, mut used, mut more) = (Vec::new(), 0, 0);
        for name in names {
            used += name.chars().count() + 2;
            if told.is_empty() || used <= room {
                told.push(name);
            } else {
                more += 1;
            }
        }
        Self { named: told, more }
    }

    /// `... and 3 more`; nothing when all are named.
    pub fn rest(&self) -> Option<String> {
        (self.more > 0).then(|| format!("... and {} more", self.more))
    }
}

/// A value on one line that is not too long: its middle is left out, for what tells images apart stands at the end.
pub fn short(text: &str) -> String {
    let text = text.replace('\n', " ");
    let length = text.chars().count();
    if length <= MAX_SIDE {
        return text;
    }
    let half = (MAX_SIDE - 3) / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(length - half).collect();
    format!("{head}...{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_all_is_their_line_or_their_file() {
        let place = |places: [Option<&'static str>; 2]| one_place(places.into_iter());
        assert_eq!(place([Some("a.yaml:1:2"), Some("a.yaml:1:2")]).as_deref(), Some("a.yaml:1:2"));
        assert_eq!(place([Some("a.yaml:1:2"), Some("a.yaml:7:2")]).as_deref(), Some("a.yaml"));
        assert_eq!(place([Some("a.yaml:1:2"), Some("b.yaml:1:2")]), None);
        assert_eq!(place([Some("a.yaml:1:2"), None]), None);
        assert_eq!(place([None, None]), None);
    }

    #[test]
    fn names_that_have_no_room_are_counted() {
        let long: Vec<_> = (0..100).map(|at| format!("service-{at:02}")).collect();
        let names = |matter| Names::of(long.iter().map(String::as_str), matter);
        assert_eq!((names(false).named.len(), names(false).rest().as_deref()), (12, Some("... and 88 more")));
        assert_eq!(names(true).named.len(), 75);
        let endless = "n".repeat(500);
        assert_eq!(
            Names::of([endless.as_str()].into_iter(), false),
            Names { named: vec![&endless], more: 0 }
        );
    }

    #[test]
    fn a_long_value_keeps_both_of_its_ends() {
        let image = format!("us-docker.pkg.dev/p/r/api@sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(short(&image), "us-docker.pkg.dev/p/...cdef0123456789abcdef");
        assert_eq!(short("app:v1"), "app:v1");
    }
}
