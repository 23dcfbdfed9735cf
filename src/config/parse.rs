//! One YAML document into a tree with places; every way in which a file can be unreadable has its own message.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Spanned};

use super::diagnostic::Diagnostic;
use super::tree::{Entry, Map, Node, Place, Tree};

/// Deepest nesting of a file. The format itself needs about eight levels; `v2` may need a few more. Each level costs stack.
const MAX_DEPTH: usize = 24;
/// Most nodes of a file, aliases counted as often as they are used. A service of twenty keys has about fifty.
const MAX_NODES: usize = 400_000;
/// Most nodes that aliases may add: what makes a small file large.
const MAX_REPLAYED: usize = 100_000;

/// Reads `text`, which was given the number `file`.
pub(crate) fn parse(text: &str, file: u32) -> Result<Node, Box<(Place, Diagnostic)>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 2,
            max_documents: 2,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_recorded_anchor_events: MAX_REPLAYED,
            max_merge_keys: 5_000,
            enforce_alias_anchor_ratio: false,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
    };
    let mut options = options;
    options.alias_limits.max_total_replayed_events = MAX_REPLAYED;
    options.alias_limits.max_replay_stack_depth = 16;
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(node(raw, file, text)),
        Err(error) => Err(Box::new(explain(&error, file, text))),
    }
}

/// A value before its places are our own.
enum Raw {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Key>, Spanned<Raw>)>),
}

/// A key is always text to us: `8080:` and `true:` are the keys "8080" and "true".
struct Key(String);

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Raw::deserialize(deserializer)? {
            Raw::Text(text) | Raw::Number(text) => Ok(Self(text)),
            Raw::Bool(value) => Ok(Self(value.to_string())),
            Raw::Null => Err(de::Error::custom("a key is empty")),
            Raw::List(_) | Raw::Map(_) => Err(de::Error::custom("a key is a list or a map")),
        }
    }
}

fn node(raw: Spanned<Raw>, file: u32, text: &str) -> Node {
    let place = place(raw.defined, file);
    let value = match raw.value {
        Raw::Null => Tree::Null,
        Raw::Bool(value) => Tree::Bool(value),
        Raw::Number(parsed) => Tree::Number(as_written(raw.defined, text).unwrap_or(parsed)),
        Raw::Text(text) => Tree::Text(text),
        Raw::List(items) => Tree::List(items.into_iter().map(|item| node(item, file, text)).collect()),
        Raw::Map(entries) => {
            let mut map = Map::with_capacity(entries.len());
            for (key, value) in entries {
                let entry = Entry { key: self::place(key.defined, file), node: node(value, file, text) };
                map.insert(key.value.0, entry);
            }
            Tree::Map(map)
        }
    };
    Node::new(value, place)
}

/// The text of a number, when it is decimal and thus means the same to every reader.
fn as_written(location: serde_saphyr::Location, text: &str) -> Option<String> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let end = start.checked_add(usize::try_from(location.span().byte_len()?).ok()?)?;
    let written = text.get(start..end)?.trim();
    let decimal = written.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    (decimal && written.parse::<f64>().is_ok()).then(|| written.to_owned())
}

fn place(location: serde_saphyr::Location, file: u32) -> Place {
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Place {
        file,
        line: small(location.line()),
        column: small(location.column()),
        length: small(location.span().len()).max(1),
    }
}

/// Turns what the parser says into what a user of deployer can act on.
fn explain(error: &Error, file: u32, text: &str) -> (Place, Diagnostic) {
    let mut inner = error;
    while let Error::AliasError { error, .. } | Error::WithSnippet { error, .. } = inner {
        inner = error;
    }
    let location = inner.location().or_else(|| error.location());
    let mut place = location.map_or_else(Place::default, |location| self::place(location, file));
    place.file = file;
    if place.line == 0 {
        (place.line, place.column) = (1, 1);
    }
    place.length = place.length.max(1);
    let diagnostic = describe(inner, place, text);
    if diagnostic.message.starts_with("a quote is opened") {
        place = opened_quote(place, text);
    }
    (place, diagnostic)
}

/// Where the quote stands that is missing its partner: the parser tells only where it gave up.
fn opened_quote(place: Place, text: &str) -> Place {
    let lines: Vec<&str> = text.lines().take(place.line as usize).collect();
    let odd = |line: &str, quote| line.matches(quote).count() % 2 == 1;
    for (number, line) in lines.iter().enumerate().rev() {
        let Some(quote) = ['"', '\''].into_iter().find(|quote| odd(line, *quote)) else { continue };
        let column = line.chars().take_while(|character| *character != quote).count() + 1;
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        return Place { line: small(number + 1), column: small(column), length: 1, ..place };
    }
    place
}

fn describe(error: &Error, place: Place, text: &str) -> Diagnostic {
    match error {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map_or_else(|| "a key".to_owned(), |key| format!("`{key}`"));
            Diagnostic::error("duplicate-key", format!("{key} stands twice in one map"))
                .label("the second one")
                .hint("keep one of them: YAML does not say which of two equal keys counts")
        }
        Error::MultipleDocuments { .. } => {
            Diagnostic::error("yaml-syntax", "the file holds more than one YAML document")
                .label("a second document starts here")
                .hint("remove the `---`, or split the file: one environment is one file")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => Diagnostic::error(
            "yaml-too-large",
            "the file grows beyond every sensible size when its aliases and nesting are expanded",
        )
        .label("the limit is reached here")
        .hint(format!(
            "at most {MAX_NODES} values, {MAX_DEPTH} levels and {MAX_REPLAYED} values from aliases"
        )),
        Error::UnknownAnchor { .. } => {
            Diagnostic::error("yaml-syntax", "the alias names an anchor that does not exist")
                .label("unknown anchor")
                .hint(
                    "text that starts with `*` needs quotes; an alias needs `&name` earlier in the same file",
                )
        }
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            Diagnostic::error("yaml-syntax", "`<<` merges maps, and this is none")
                .label("not a map")
                .hint("write `<<: *anchor`, where the anchor stands at a map")
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            Diagnostic::error("yaml-syntax", "the alias contains itself").label("recursive alias")
        }
        other => syntax(other, place, text),
    }
}

fn syntax(error: &Error, place: Place, text: &str) -> Diagnostic {
    let line = text.lines().nth(place.line.saturating_sub(1) as usize).unwrap_or_default();
    let said = error.render_with_options(serde_saphyr::render_options! {
        formatter: &serde_saphyr::DefaultMessageFormatter,
        snippets: serde_saphyr::SnippetMode::Off,
    });
    let said = said.split(" at line ").next().unwrap_or(&said).trim().to_owned();
    if line.chars().take_while(|character| character.is_whitespace()).any(|character| character == '\t') {
        return Diagnostic::error("yaml-syntax", "a tab indents this line, and YAML allows only spaces")
            .label("tab")
            .hint("replace the tab by spaces (two a level is usual)");
    }
    if said.contains("a key is ") {
        return Diagnostic::error("yaml-syntax", format!("{said}, and every key of this format is a word"))
            .label("not a key")
            .hint("quote the key if it is text");
    }
    if said.contains("unclosed quote") || said.contains("quoted scalar") {
        return Diagnostic::error("yaml-syntax", "a quote is opened and never closed")
            .label("opened here")
            .hint("add the closing quote; inside '...' a quote is written twice");
    }
    let diagnostic =
        Diagnostic::error("yaml-syntax", format!("this is not valid YAML: {said}")).label("here");
    match hint_for_line(line) {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

/// The usual slip on a line that does not parse.
fn hint_for_line(line: &str) -> Option<&'static str> {
    let value = line.split_once(": ").map(|(_, value)| value.trim_start())?;
    match value.chars().next()? {
        '@' | '`' | '%' => Some("text that starts with this character needs quotes"),
        '{' if value.starts_with("{{") => Some("text that starts with `{` needs quotes"),
        _ if value.contains(": ") && !value.starts_with(['{', '[', '"', '\'']) => {
            Some("text that holds `: ` needs quotes")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Node {
        parse(text, 0).unwrap()
    }

    fn refused(text: &str) -> (u32, u32, String) {
        let (place, diagnostic) = *parse(text, 0).unwrap_err();
        (place.line, place.column, diagnostic.message)
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let root = parsed("services:\n  api:\n    memory: 512Mi\n");
        let api = root.get("services").unwrap().get("api").unwrap();
        let entry = &api.as_map().unwrap()["memory"];
        assert_eq!((entry.key.line, entry.key.column, entry.key.length), (3, 5, 6));
        assert_eq!((entry.node.place.line, entry.node.place.column, entry.node.place.length), (3, 13, 5));
    }

    #[test]
    fn numbers_keep_their_spelling() {
        let root = parsed("a: 1.10\nb: 007\nc: 30\nd: -1\n");
        let of = |key: &str| root.get(key).unwrap().scalar().unwrap();
        assert_eq!((of("a"), of("c"), of("d")), ("1.10".into(), "30".into(), "-1".into()));
        assert_eq!(of("b"), "007");
    }

    #[test]
    fn only_true_and_false_are_booleans() {
        let root = parsed("a: no\nb: on\nc: true\non: x\n");
        assert_eq!(root.get("a").unwrap().as_text(), Some("no"));
        assert_eq!(root.get("b").unwrap().as_text(), Some("on"));
        assert_eq!(root.get("c").unwrap().value, Tree::Bool(true));
        assert_eq!(root.get("on").unwrap().as_text(), Some("x"));
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let root = parsed("base: &b {cpu: 1, memory: 1Gi}\napi:\n  <<: *b\n  cpu: 2\n");
        let api = root.get("api").unwrap();
        assert_eq!(api.get("cpu").unwrap().scalar().unwrap(), "2");
        assert_eq!(api.get("memory").unwrap().as_text(), Some("1Gi"));
        assert_eq!(api.get("memory").unwrap().place.line, 1);
    }

    #[test]
    fn a_duplicate_key_is_shown_where_it_stands_again() {
        let (line, column, message) = refused("services:\n  api: {}\n  web: {}\n  api: {}\n");
        assert_eq!((line, column), (4, 3));
        assert_eq!(message, "`api` stands twice in one map");
    }

    #[test]
    fn a_bomb_is_refused() {
        let level = |level: usize| {
            let below = format!("*a{}", level - 1);
            format!("a{level}: &a{level} [{}]\n", [below.as_str(); 10].join(", "))
        };
        let levels: Vec<_> = (1..12).map(level).collect();
        let text = format!("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{}", levels.concat());
        // Unfolded it would have more nodes than any memory holds.
        assert!(refused(&text).2.contains("grows beyond"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(refused(&format!("a: {}{}\n", "[".repeat(200), "]".repeat(200))).2.contains("grows beyond"));
    }

    #[test]
    fn tabs_quotes_and_documents_have_their_own_words() {
        assert!(refused("a:\n\tb: 1\n").2.starts_with("a tab indents"));
        assert!(refused("a: \"x\nb: 1\n").2.starts_with("a quote is opened"));
        assert!(refused("a: 1\n---\nb: 2\n").2.contains("more than one YAML document"));
        assert!(refused("a: *nope\n").2.contains("anchor that does not exist"));
        assert!(refused("? [a]\n: b\n").2.starts_with("a key is a list"));
    }

    #[test]
    fn windows_line_ends_change_nothing() {
        let root = parsed("a: 1\r\nb: x\r\n");
        assert_eq!(root.get("b").unwrap().as_text(), Some("x"));
        assert_eq!(root.get("b").unwrap().place.line, 2);
    }
}
