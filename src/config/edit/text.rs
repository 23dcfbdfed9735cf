//! Adds and removes one entry of a map in the text of a YAML file; every other byte stays as it is.
//!
//! The places that the parser gives say where to cut. What comes out is parsed again and has to be the old tree with
//! that one entry more or less: a file that is written in a way that this does not foresee is refused, not damaged.

use std::fmt::Write as _;

use super::super::parse;
use super::super::tree::{Entry, Map, Node, Place, Tree};

/// The text is written in a way in which it cannot be edited safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsafe;

/// Adds `path`, whose last key is not there yet, with `value` (YAML on one line). Maps that are missing are made.
pub(super) fn insert(text: &str, path: &[&str], value: &str) -> Result<String, Unsafe> {
    let root = read(text)?;
    let page = Page::of(text);
    let (parents, above, map) = deepest(&root, path);
    let missing = path.get(parents..).ok_or(Unsafe)?;
    let edited = match (&map.value, above) {
        (Tree::Map(entries), above) => match page.flow_start(map, above) {
            Some(open) => page.flow_with(entries, open, &flow_entry(missing, value)?),
            None if entries.is_empty() => Err(Unsafe),
            None => page.block_with(entries, missing, value),
        },
        (Tree::Null, Some(above)) => page.nothing_with(above, map, missing, value),
        _ => Err(Unsafe),
    }?;
    let mut wanted = root.clone();
    put(&mut wanted, path, read_value(value)?).ok_or(Unsafe)?;
    checked(edited, &wanted)
}

/// Removes the entry at `path` with the comments that stand right above it, since they are about it. A map that loses its
/// last entry becomes `{}`.
pub(super) fn remove(text: &str, path: &[&str]) -> Result<String, Unsafe> {
    let root = read(text)?;
    let page = Page::of(text);
    let (last, above) = path.split_last().ok_or(Unsafe)?;
    let (found, parent, map) = deepest(&root, above);
    let entries = map.as_map().filter(|_| found == above.len()).ok_or(Unsafe)?;
    let entry = entries.get(*last).ok_or(Unsafe)?;
    let edited = match page.flow_start(map, parent) {
        Some(open) => page.flow_without(entry, open),
        None => page.block_without(entry, parent.filter(|_| entries.len() == 1)),
    }?;
    let mut wanted = root.clone();
    take(&mut wanted, path).ok_or(Unsafe)?;
    checked(edited, &wanted)
}

/// `text` as YAML of one word: as it is where every reader takes it for text, else in double quotes.
pub(super) fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.'))
        && !text.ends_with(' ');
    let word = text.to_ascii_lowercase();
    let special = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "nan"];
    if plain && !special.contains(&word.as_str()) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

fn read(text: &str) -> Result<Node, Unsafe> {
    parse::parse(text, 0).map_err(|_| Unsafe)
}

fn read_value(value: &str) -> Result<Node, Unsafe> {
    let node = read(&format!("value: {value}"))?;
    node.get("value").cloned().ok_or(Unsafe)
}

/// The edited text, when it says what it is to say.
fn checked(edited: String, wanted: &Node) -> Result<String, Unsafe> {
    if same(&read(&edited)?, wanted) { Ok(edited) } else { Err(Unsafe) }
}

/// The same values, wherever they stand.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Tree::Map(one), Tree::Map(other)) => {
            let equal = |(key, entry): (&String, &Entry)| {
                other.get(key).is_some_and(|other| same(&entry.node, &other.node))
            };
            one.len() == other.len() && one.iter().all(equal)
        }
        (Tree::List(one), Tree::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (one, other) => one == other,
    }
}

/// How many keys of `path` lead somewhere, the entry of the last of them, and the value there.
fn deepest<'a>(root: &'a Node, path: &[&str]) -> (usize, Option<&'a Entry>, &'a Node) {
    let (mut depth, mut above, mut node) = (0, None, root);
    for key in path {
        let Some(entry) = node.as_map().and_then(|map| map.get(*key)) else { break };
        (depth, above, node) = (depth + 1, Some(entry), &entry.node);
    }
    (depth, above, node)
}

/// Does to the tree what is to be done to the text.
fn put(root: &mut Node, path: &[&str], value: Node) -> Option<()> {
    let Some((first, rest)) = path.split_first() else {
        *root = value;
        return Some(());
    };
    if root.value == Tree::Null {
        root.value = Tree::Map(Map::new());
    }
    let nothing = || Entry { key: Place::default(), node: Node::new(Tree::Null, Place::default()) };
    let entry = root.as_map_mut()?.entry((*first).to_owned()).or_insert_with(nothing);
    put(&mut entry.node, rest, value)
}

fn take(root: &mut Node, path: &[&str]) -> Option<()> {
    let (last, above) = path.split_last()?;
    let mut node = root;
    for key in above {
        node = &mut node.as_map_mut()?.get_mut(*key)?.node;
    }
    node.as_map_mut()?.shift_remove(*last).map(|_| ())
}

/// `a: {b: {c: value}}`.
fn flow_entry(keys: &[&str], value: &str) -> Result<String, Unsafe> {
    let (last, above) = keys.split_last().ok_or(Unsafe)?;
    let innermost = format!("{}: {value}", scalar(last));
    Ok(above.iter().rev().fold(innermost, |inner, key| format!("{}: {{{inner}}}", scalar(key))))
}

/// A text in lines.
struct Page<'a> {
    text: &'a str,
    /// Offsets of the lines' first bytes.
    starts: Vec<usize>,
    /// How its lines end.
    end: &'static str,
}

impl<'a> Page<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        Self { text, starts: starts.collect(), end }
    }

    /// Offset of a line's first byte; lines count from 0, and what follows the last one is the end.
    fn start(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or(self.text.len())
    }

    fn line(&self, line: usize) -> &'a str {
        self.text.get(self.start(line)..self.start(line + 1)).unwrap_or_default()
    }

    fn line_at(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    fn offset(&self, place: Place) -> Option<usize> {
        let line = (place.line as usize).checked_sub(1)?;
        let before = self.line(line).chars().take((place.column as usize).checked_sub(1)?);
        Some(self.start(line) + before.map(char::len_utf8).sum::<usize>())
    }

    fn with(&self, at: usize, added: &str) -> Result<String, Unsafe> {
        self.without(at..at, added)
    }

    fn without(&self, range: std::ops::Range<usize>, instead: &str) -> Result<String, Unsafe> {
        let before = self.text.get(..range.start).ok_or(Unsafe)?;
        let after = self.text.get(range.end..).ok_or(Unsafe)?;
        Ok(format!("{before}{instead}{after}"))
    }

    /// Where the `{` of a map stands that is written in braces.
    fn flow_start(&self, map: &Node, above: Option<&Entry>) -> Option<usize> {
        let brace = |at: usize| self.text.get(at..)?.starts_with('{').then_some(at);
        let named = self.offset(map.place).and_then(brace);
        // An anchor may stand before the brace.
        named.or_else(|| {
            let after = self.after_colon(above?)?;
            let rest = self.text.get(after..)?.lines().next()?;
            let value = rest.trim_start();
            let value = value.strip_prefix('&').and_then(|v| v.split_once(' ')).map_or(value, |(_, v)| v);
            let value = value.trim_start();
            value.starts_with('{').then(|| after + rest.len() - value.len())
        })
    }

    /// The offset behind the colon of an entry.
    fn after_colon(&self, entry: &Entry) -> Option<usize> {
        let key = self.offset(entry.key)?;
        let rest = self.text.get(key..)?;
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let skip = quote.and_then(|quote| rest.get(1..)?.find(quote).map(|at| at + 2)).unwrap_or(0);
        Some(key + skip + rest.get(skip..)?.find(':')? + 1)
    }

    /// The first of the comment lines right above the line `key`, indented as it is; else `key`. What follows an empty
    /// line or a comment of another indentation is about something else.
    fn first_line(&self, key: usize) -> usize {
        let indent = |line: usize| self.line(line).len() - self.line(line).trim_start_matches(' ').len();
        let comment = |line: usize| self.line(line).trim_start_matches(' ').starts_with('#');
        let about_it = |line: &usize| comment(*line) && indent(*line) == indent(key);
        (0..key).rev().take_while(about_it).last().unwrap_or(key)
    }

    /// The last line (from 0) of an entry of a block map: what follows is indented deeper than its key.
    fn last_line(&self, entry: &Entry) -> usize {
        let first = (entry.key.line as usize).saturating_sub(1);
        let column = (entry.key.column as usize).saturating_sub(1);
        let mut last = first;
        for number in first + 1..self.starts.len() {
            let line = self.line(number);
            let content = line.trim_start_matches(' ');
            let indent = line.len() - content.len();
            if content.trim().is_empty() {
                continue;
            }
            let closes = indent == column && (content.starts_with(['}', ']']) || content.starts_with("- "));
            if indent <= column && !closes {
                break;
            }
            last = number;
        }
        last
    }

    fn block_with(&self, entries: &Map, keys: &[&str], value: &str) -> Result<String, Unsafe> {
        let last = entries.values().max_by_key(|entry| entry.key.line).ok_or(Unsafe)?;
        let indent = (last.key.column as usize).saturating_sub(1);
        self.lines_after(self.last_line(last), indent, keys, value)
    }

    fn lines_after(&self, line: usize, indent: usize, keys: &[&str], value: &str) -> Result<String, Unsafe> {
        let (last, above) = keys.split_last().ok_or(Unsafe)?;
        let at = self.start(line + 1);
        let mut added = String::new();
        if !self.line(line).ends_with('\n') {
            added.push_str(self.end);
        }
        let mut indent = indent;
        for key in above {
            let _ = write!(added, "{:indent$}{}:{}", "", scalar(key), self.end);
            indent += 2;
        }
        let _ = write!(added, "{:indent$}{}: {value}{}", "", scalar(last), self.end);
        self.with(at, &added)
    }

    /// Below a key without a value, or instead of a `null`.
    fn nothing_with(
        &self,
        above: &Entry,
        nothing: &Node,
        keys: &[&str],
        value: &str,
    ) -> Result<String, Unsafe> {
        let after = self.after_colon(above).ok_or(Unsafe)?;
        let line = self.line_at(after);
        let rest = self.text.get(after..self.start(line + 1)).ok_or(Unsafe)?.trim();
        if rest.is_empty() || rest.starts_with('#') {
            let indent = above.key.column as usize + 1;
            return self.lines_after(line, indent, keys, value);
        }
        let at = self.offset(nothing.place).ok_or(Unsafe)?;
        let written = self.text.get(at..).ok_or(Unsafe)?;
        let word = ["null", "Null", "NULL", "~"].into_iter().find(|word| written.starts_with(word));
        let word = word.ok_or(Unsafe)?;
        self.without(at..at + word.len(), &format!("{{{}}}", flow_entry(keys, value)?))
    }

    fn flow_with(&self, entries: &Map, open: usize, entry: &str) -> Result<String, Unsafe> {
        let flow = Flow::scan(self.text, open).ok_or(Unsafe)?;
        let Some(last) = flow.last else { return self.with(open + 1, entry) };
        let comma = self.text.get(last..).is_some_and(|rest| rest.starts_with(','));
        let behind = last + self.text.get(last..).and_then(|r| r.chars().next()).map_or(1, char::len_utf8);
        let line = self.line_at(last);
        if line == self.line_at(flow.close) {
            let added = if comma { format!(" {entry},") } else { format!(", {entry}") };
            return self.with(behind, &added);
        }
        let key = entries.values().max_by_key(|entry| entry.key.line).ok_or(Unsafe)?.key;
        let sample = self.line((key.line as usize).saturating_sub(1));
        let indent = sample.len() - sample.trim_start_matches(' ').len();
        let written = self.line(line);
        let end = self.start(line) + written.trim_end_matches(['\r', '\n']).len();
        let rest = self.text.get(behind..end).ok_or(Unsafe)?;
        let (first, second) = if comma { ("", ",") } else { (",", "") };
        self.without(behind..end, &format!("{first}{rest}{}{:indent$}{entry}{second}", self.end, ""))
    }

    /// Without the lines of an entry; `emptied` is the key of a map that has no other.
    fn block_without(&self, entry: &Entry, emptied: Option<&Entry>) -> Result<String, Unsafe> {
        let first = (entry.key.line as usize).checked_sub(1).ok_or(Unsafe)?;
        let key = self.offset(entry.key).ok_or(Unsafe)?;
        if !self.text.get(self.start(first)..key).ok_or(Unsafe)?.trim().is_empty() {
            return Err(Unsafe);
        }
        let lines = self.start(self.first_line(first))..self.start(self.last_line(entry) + 1);
        let rest = self.without(lines.clone(), "")?;
        let Some(emptied) = emptied else { return Ok(rest) };
        let colon = self.after_colon(emptied).filter(|colon| *colon < lines.start).ok_or(Unsafe)?;
        Page::of(&rest).with(colon, " {}")
    }

    fn flow_without(&self, entry: &Entry, open: usize) -> Result<String, Unsafe> {
        let flow = Flow::scan(self.text, open).ok_or(Unsafe)?;
        let key = self.offset(entry.key).filter(|key| *key > open).ok_or(Unsafe)?;
        let next = flow.commas.iter().copied().find(|comma| *comma > key);
        let before = flow.commas.iter().copied().rfind(|comma| *comma < key);
        let end = next.map_or(flow.last.ok_or(Unsafe)? + 1, |comma| comma + 1);
        let (from, to) = self.alone(key, end);
        let rest = self.without(from..to, "")?;
        match (next, before) {
            // The comma before it would now stand before the brace.
            (None, Some(comma)) => Page::of(&rest).without(comma..comma + 1, ""),
            _ => Ok(rest),
        }
    }

    /// The whole lines of a range that has them for itself; else the range with the spaces behind or before it.
    fn alone(&self, from: usize, to: usize) -> (usize, usize) {
        let (first, last) = (self.line_at(from), self.line_at(to.saturating_sub(1)));
        let before = self.text.get(self.start(first)..from).unwrap_or_default();
        let after = self.text.get(to..self.start(last + 1)).unwrap_or_default();
        let free = after.trim().is_empty() || after.trim_start().starts_with('#');
        if before.trim().is_empty() && free && after.ends_with('\n') {
            return (self.start(self.first_line(first)), self.start(last + 1));
        }
        let spaces = after.len() - after.trim_start_matches(' ').len();
        if spaces > 0 {
            return (from, to + spaces);
        }
        (from - (before.len() - before.trim_end_matches(' ').len()), to)
    }
}

/// The inside of a pair of braces.
struct Flow {
    /// Offset of the closing brace.
    close: usize,
    /// Commas between its entries.
    commas: Vec<usize>,
    /// Offset of the last character before the closing brace that is no space and no comment.
    last: Option<usize>,
}

impl Flow {
    fn scan(text: &str, open: usize) -> Option<Self> {
        let mut flow = Self { close: open, commas: Vec::new(), last: None };
        let (mut depth, mut before) = (0_usize, ' ');
        let mut characters = text.get(open..)?.char_indices().map(|(at, c)| (open + at, c)).peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                '#' if before.is_whitespace() => {
                    while characters.next_if(|(_, c)| *c != '\n').is_some() {}
                    before = ' ';
                    continue;
                }
                '"' | '\''
                    if before.is_whitespace()
                        || matches!(before, '{' | '[' | ',' | ':')
                        || (before, character) == ('\'', '\'') =>
                {
                    flow.last = Some(Self::quoted(&mut characters, character)?);
                    before = character;
                    continue;
                }
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.checked_sub(1)?,
                ',' if depth == 1 => flow.commas.push(at),
                _ => {}
            }
            if depth == 0 {
                flow.close = at;
                return Some(flow);
            }
            if !character.is_whitespace() && at != open {
                flow.last = Some(at);
            }
            before = character;
        }
        None
    }

    /// Goes behind the closing quote and answers where that stands. `''` in single quotes is two quoted texts to this.
    fn quoted(characters: &mut impl Iterator<Item = (usize, char)>, quote: char) -> Option<usize> {
        while let Some((at, character)) = characters.next() {
            if character == '\\' && quote == '"' {
                characters.next()?;
            } else if character == quote {
                return Some(at);
            }
        }
        None
    }
}
