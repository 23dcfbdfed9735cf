//! A YAML document as a tree in which every key and value knows its place.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde_json::Value;

use super::diagnostic::{Diagnostic, Severity, Texts};
use super::model::{Location, Sources};
use super::repeat;

/// A place in one of the files that were read; line and column count characters from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Position in [`Files`].
    pub(crate) file: u32,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
}

impl Place {
    pub(crate) const fn start_of(file: u32) -> Self {
        Self { file, line: 1, column: 1, length: 1 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) value: Tree,
    pub(crate) place: Place,
    /// The text had a `${...}` in it before interpolation.
    pub(crate) interpolated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    /// As written, because `1.10` as an environment value must not become `1.1`.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

pub(crate) type Map = IndexMap<String, Entry>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Place,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn new(value: Tree, place: Place) -> Self {
        Self { value, place, interpolated: false }
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Tree::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Tree::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.get(key).map(|entry| &entry.node)
    }

    /// The items of a list; none of anything else.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Tree::List(items) => items,
            _ => &[],
        }
    }

    /// A scalar as it would be spelled in an environment variable.
    pub(crate) fn scalar(&self) -> Option<String> {
        match &self.value {
            Tree::Bool(value) => Some(value.to_string()),
            Tree::Number(text) | Tree::Text(text) => Some(text.clone()),
            Tree::Null | Tree::List(_) | Tree::Map(_) => None,
        }
    }

    /// What a user would call this kind of value.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Tree::Null => "nothing",
            Tree::Bool(_) => "true or false",
            Tree::Number(_) => "a number",
            Tree::Text(_) => "text",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a map",
        }
    }
}

/// `path` extended by one key.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The files that were read, in the order in which they were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    names: Vec<std::path::PathBuf>,
    texts: Texts,
}

impl Files {
    pub(crate) fn add(&mut self, name: std::path::PathBuf, text: String) -> u32 {
        self.texts.insert(name.clone(), text);
        self.names.push(name);
        u32::try_from(self.names.len() - 1).unwrap_or(u32::MAX)
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn name(&self, number: u32) -> Option<&std::path::Path> {
        self.names.get(number as usize).map(std::path::PathBuf::as_path)
    }

    pub(crate) fn text(&self, name: &std::path::Path) -> Option<&str> {
        self.texts.text(name)
    }

    pub(crate) fn location(&self, place: Place) -> Option<Location> {
        let file = self.names.get(place.file as usize)?.clone();
        (place.line > 0).then_some(Location { file, line: place.line, column: place.column })
    }

    pub(crate) fn into_texts(self) -> Texts {
        self.texts
    }
}

/// Which part of an entry a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Key,
    Value,
}

/// Places by dotted path, and the problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) files: Files,
    /// Texts that are read instead of those of the files of the same names.
    pub(crate) edited: Texts,
    places: BTreeMap<String, Indexed>,
    /// Paths whose value was wrong and has been taken out; what misses them afterwards must not be reported again.
    pub(crate) broken: BTreeSet<String>,
    /// Paths that a `null` has taken out, with the place of the null.
    pub(crate) removed: BTreeMap<String, Place>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, Copy, Debug)]
struct Indexed {
    key: Place,
    value: Place,
    scalar: bool,
    interpolated: bool,
}

impl Findings {
    /// Nothing found yet; the texts in `edited` are to be read instead of the files of the same names.
    pub(crate) fn with(edited: Texts) -> Self {
        Self { edited, ..Self::default() }
    }

    /// Remembers where each key of `root` stands.
    pub(crate) fn index(&mut self, root: &Node) {
        self.places.clear();
        index_into(&mut self.places, "", root, root.place);
    }

    pub(crate) fn sources(&self) -> Sources {
        let mut sources = Sources::default();
        for (path, indexed) in &self.places {
            if let Some(location) = self.files.location(indexed.key) {
                sources.insert(path.clone(), location);
            }
        }
        sources
    }

    pub(crate) fn is_interpolated(&self, path: &str) -> bool {
        self.places.get(path).is_some_and(|indexed| indexed.interpolated)
    }

    pub(crate) fn is_written(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// Whether `path`, something above it or something below it was wrong already.
    pub(crate) fn is_broken(&self, path: &str) -> bool {
        let mut above = path;
        loop {
            if self.broken.contains(above) {
                return true;
            }
            match above.rsplit_once('.') {
                Some((parent, _)) => above = parent,
                None => return self.broken.contains(""),
            }
        }
    }

    fn place(&self, path: &str, part: Part) -> Option<Place> {
        let mut wanted = path;
        loop {
            if let Some(indexed) = self.places.get(wanted) {
                // A nested value spans lines: its key says better where it is. The same when only a parent was written.
                let value = part == Part::Value && indexed.scalar && wanted == path;
                return Some(if value { indexed.value } else { indexed.key });
            }
            wanted = wanted.rsplit_once('.')?.0;
        }
    }

    /// Adds a problem of `path`.
    pub(crate) fn add(&mut self, part: Part, path: &str, diagnostic: Diagnostic) {
        // What no file says is missing in the base, which was read first.
        let place = self.place(path, part).or_else(|| (!self.files.is_empty()).then(|| Place::start_of(0)));
        self.add_at(place, diagnostic.path(path));
    }

    /// Adds a problem at a place that is known otherwise.
    pub(crate) fn add_at(&mut self, place: Option<Place>, mut diagnostic: Diagnostic) {
        if let Some(place) = place
            && let Some(location) = self.files.location(place)
        {
            diagnostic = diagnostic.at(location, place.length);
        }
        diagnostic.path = as_written(&diagnostic.path);
        self.diagnostics.push(diagnostic);
    }

    /// Where the key at `path` is written, or what it stands in.
    pub(crate) fn location(&self, path: &str) -> Option<Location> {
        self.files.location(self.place(path, Part::Key)?)
    }

    /// Whether both paths have their value from one place of a file: one has taken it over from the other.
    pub(crate) fn is_same_text(&self, path: &str, other: &str) -> bool {
        matches!(
            (self.places.get(path), self.places.get(other)),
            (Some(one), Some(other)) if one.value == other.value
        )
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// The path that a user knows: `jobs.KEY.image` for `jobs.KEY/SLUG.image`.
pub(crate) fn as_written(path: &str) -> String {
    let mut parts = path.splitn(3, '.');
    let (Some(map), Some(key)) = (parts.next(), parts.next()) else { return path.to_owned() };
    if !repeat::MAPS.contains(&map) {
        return path.to_owned();
    }
    let written = join(map, repeat::split(key).0);
    parts.next().map_or_else(|| written.clone(), |rest| join(&written, rest))
}

fn index_into(places: &mut BTreeMap<String, Indexed>, path: &str, node: &Node, key: Place) {
    let scalar = !matches!(node.value, Tree::List(_) | Tree::Map(_));
    if !path.is_empty() {
        let indexed = Indexed { key, value: node.place, scalar, interpolated: node.interpolated };
        places.insert(path.to_owned(), indexed);
    }
    match &node.value {
        Tree::Map(map) => {
            for (name, entry) in map {
                index_into(places, &join(path, name), &entry.node, entry.key);
                // What stands for several tenants is also found under the name that it was written with.
                if repeat::MAPS.contains(&path)
                    && let (key, Some(_)) = repeat::split(name)
                {
                    index_into(places, &join(path, key), &entry.node, entry.key);
                }
            }
        }
        Tree::List(items) => {
            for (position, item) in items.iter().enumerate() {
                index_into(places, &join(path, &position.to_string()), item, item.place);
            }
        }
        _ => {}
    }
}

/// The tree as plain JSON. Environment values and `vars` become text here, because Cloud Run knows nothing else.
pub(crate) fn to_json(node: &Node) -> Value {
    json_at(node, &mut Vec::new())
}

fn json_at<'a>(node: &'a Node, path: &mut Vec<&'a str>) -> Value {
    let text_wanted = takes_any_scalar(path);
    match &node.value {
        Tree::Null => Value::Null,
        Tree::Bool(value) if text_wanted => Value::String(value.to_string()),
        Tree::Bool(value) => Value::Bool(*value),
        Tree::Number(text) if text_wanted => Value::String(text.clone()),
        Tree::Number(text) => number(text),
        Tree::Text(text) => Value::String(text.clone()),
        Tree::List(items) => items
            .iter()
            .map(|item| {
                path.push("[]");
                let value = json_at(item, path);
                path.pop();
                value
            })
            .collect(),
        Tree::Map(map) => map
            .iter()
            .map(|(key, entry)| {
                path.push(key);
                let value = json_at(&entry.node, path);
                path.pop();
                (key.clone(), value)
            })
            .collect(),
    }
}

/// `vars.X` and `env.X` of services, classes, defaults, sidecars, jobs and migrations, and of what runs tests.
fn takes_any_scalar(path: &[&str]) -> bool {
    match path {
        ["vars", _] => true,
        [rest @ .., "env", _] => matches!(
            rest,
            ["defaults" | "ci"]
                | ["services" | "classes" | "jobs" | "migrations", _]
                | ["defaults", "sidecars", _]
                | ["services" | "classes", _, "sidecars", _]
                | ["ci", "suites" | "services", _]
                | ["ci", "suites", _, "services", _]
        ),
        _ => false,
    }
}

fn number(text: &str) -> Value {
    if let Ok(value) = text.parse::<u64>() {
        return value.into();
    }
    if let Ok(value) = text.parse::<i64>() {
        return value.into();
    }
    // Hexadecimal, octal and underscores are YAML numbers too; they were checked when the file was read.
    match text.trim_start_matches('+').parse::<f64>() {
        Ok(value) => {
            serde_json::Number::from_f64(value).map_or_else(|| Value::String(text.to_owned()), Value::Number)
        }
        Err(_) => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Node {
        Node::new(Tree::Text(value.into()), Place::default())
    }

    fn map(entries: Vec<(&str, Node)>) -> Node {
        let entries =
            entries.into_iter().map(|(key, node)| (key.to_owned(), Entry { key: Place::default(), node }));
        Node::new(Tree::Map(entries.collect()), Place::default())
    }

    #[test]
    fn environment_values_keep_the_spelling_of_a_number() {
        let number = |text: &str| Node::new(Tree::Number(text.into()), Place::default());
        let tree = map(vec![(
            "services",
            map(vec![("api", map(vec![("env", map(vec![("V", number("1.10"))])), ("port", number("80"))]))]),
        )]);
        let json = to_json(&tree);
        assert_eq!(json["services"]["api"]["env"]["V"], "1.10");
        assert_eq!(json["services"]["api"]["port"], 80);
    }

    #[test]
    fn a_broken_parent_breaks_its_children() {
        let mut findings = Findings::default();
        findings.broken.insert("services.api".into());
        assert!(findings.is_broken("services.api.image"));
        assert!(!findings.is_broken("services.web.image"));
    }

    #[test]
    fn an_unwritten_key_is_shown_at_its_parent() {
        let mut findings = Findings::default();
        let file = findings.files.add("environments/base.yaml".into(), "project: {}\n".into());
        let place = |column| Place { file, line: 1, column, length: 7 };
        let mut root = map(vec![]);
        let entry = Entry { key: place(1), node: Node::new(Tree::Map(Map::new()), place(10)) };
        root.as_map_mut().unwrap().insert("project".into(), entry);
        findings.index(&root);
        findings.add(Part::Value, "project.id", Diagnostic::error("required-key", "m"));
        assert_eq!(findings.diagnostics[0].location.as_ref().unwrap().column, 1);
        assert_eq!(findings.diagnostics[0].path, "project.id");
        assert!(text("x").as_text().is_some());
    }
}
