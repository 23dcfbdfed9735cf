//! A field that changes, in lines: both values next to each other, or what comes and goes line by line.

use serde_json::Value;

use super::lines::{self, Line};
use super::settings::spread;
use super::style::{counted, printable};
use crate::plan::diff;

/// What is to be said about two values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides {
    /// Both in words, each on one line.
    pub old: String,
    pub new: String,
    /// Line by line, each with its sign (`-`, `+`, or a blank for context).
    pub lines: Vec<(char, String)>,
    /// One line would not do, however wide it is.
    pub several: bool,
}

/// Both values in words; as JSON where the words would be the same (`"5"` and `5`).
pub fn sides(old: Option<&Value>, new: Option<&Value>) -> Sides {
    let (mut before, mut after) = (diff::text(old), diff::text(new));
    if before == after && old != new {
        let json = |value: Option<&Value>| value.map_or_else(|| "(none)".to_owned(), Value::to_string);
        (before, after) = (json(old), json(new));
    }
    let (before, after) = (printable(&before), printable(&after));
    if let Some((old, new)) = texts(old, new) {
        return Sides { old: before, new: after, lines: compared(old, new), several: true };
    }
    let mut lines = Vec::new();
    for (sign, value, text, other) in [('-', old, &before, new), ('+', new, &after, old)] {
        match value {
            Some(Value::Object(fields)) if !fields.is_empty() => {
                lines.extend(spread(fields).iter().map(|line| (sign, printable(line))));
            }
            // What stands on one side only needs no word for the other one.
            None if other.is_some_and(|other| other.as_object().is_some_and(|fields| !fields.is_empty())) => {
            }
            _ => lines.push((sign, text.clone())),
        }
    }
    Sides { old: before, new: after, lines, several: false }
}

/// Both values when they are texts of several lines, which are compared line by line.
fn texts<'a>(old: Option<&'a Value>, new: Option<&'a Value>) -> Option<(&'a str, &'a str)> {
    let text = |value: Option<&'a Value>| value.map_or(Some(""), Value::as_str);
    let (old, new) = (text(old)?, text(new)?);
    // Line ends that differ would not be seen.
    let visible = !old.contains('\r') && !new.contains('\r') && old.ends_with('\n') == new.ends_with('\n');
    (visible && old != new && (old.contains('\n') || new.contains('\n'))).then_some((old, new))
}

fn compared(old: &str, new: &str) -> Vec<(char, String)> {
    let lines = lines::diff(old, new).into_iter().map(|line| match line {
        Line::Same(text) => (' ', printable(text)),
        Line::Added(text) => ('+', printable(text)),
        Line::Removed(text) => ('-', printable(text)),
        Line::Gap(count) => (' ', format!("({} unchanged)", counted(count, "line"))),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(old: Option<&Value>, new: Option<&Value>) -> Vec<String> {
        sides(old, new).lines.iter().map(|(sign, text)| format!("{sign}{text}")).collect()
    }

    #[test]
    fn what_comes_or_goes_as_a_whole_gets_a_line_for_each_setting() {
        let proxy = json!({"args": [], "env": {"MODE": "fast"}, "image": "p:v1", "probe": {"tcp": true}});
        assert_eq!(told(Some(&proxy), None), ["-env.MODE: fast", "-image: p:v1", "-probe.tcp: true"]);
        assert_eq!(told(None, Some(&proxy)), ["+env.MODE: fast", "+image: p:v1", "+probe.tcp: true"]);
    }

    #[test]
    fn an_object_in_place_of_a_plain_value_keeps_both_sides() {
        assert_eq!(told(Some(&json!("x")), Some(&json!({"a": 1}))), ["-x", "+a: 1"]);
        assert_eq!(told(Some(&json!({})), None), ["-{}", "+(none)"]);
    }
}
