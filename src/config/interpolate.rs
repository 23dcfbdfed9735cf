//! Fills in `${...}` from a closed set of names: no functions, no conditions, no process environment.

use std::cell::RefCell;
use std::collections::HashMap;

use super::diagnostic::{Diagnostic, did_you_mean};
use super::git::Git;
use super::host;
use super::local::{Local, Value};
use super::not_yet::Level;
use super::tree::{Findings, Node, Place, Tree, join};

/// Project number that stands in for one that nobody has told yet; as long as a real one, so that limits on lengths hold.
pub(crate) const STAND_IN_NUMBER: u64 = 100_000_000_000;

/// Names that the format has reserved, by their first word, and that nothing fills in yet.
const RESERVED: [&str; 6] = ["image", "buckets", "topics", "databases", "external", "actor"];

/// What `${...}` may name, as shown to users.
const KNOWN: [&str; 12] = [
    "env",
    "region",
    "system",
    "project.id",
    "project.number",
    "version",
    "git.sha",
    "git.short_sha",
    "git.branch",
    "git.tag",
    "vars.NAME",
    "services.NAME.url",
];

/// One piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Literal(&'a str),
    /// `$$`
    Dollar,
    /// The name inside of `${...}`.
    Name(&'a str),
}

/// Splits `text`; fails for a `${` that is never closed.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (literal, after) = rest.split_at(at);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        if let Some(after) = after.strip_prefix("$$") {
            pieces.push(Piece::Dollar);
            rest = after;
        } else if let Some(inside) = after.strip_prefix("${") {
            let (name, after) = inside.split_once('}').ok_or("a `${` without its `}`")?;
            pieces.push(Piece::Name(name.trim()));
            rest = after;
        } else {
            pieces.push(Piece::Literal("$"));
            rest = &after[1..];
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    Ok(pieces)
}

/// Why a name has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfilled {
    rule: &'static str,
    message: String,
    label: &'static str,
    hint: Option<String>,
}

impl Unfilled {
    pub(super) fn new(message: impl Into<String>, label: &'static str) -> Self {
        Self { rule: "interpolation", message: message.into(), label, hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn into_diagnostic(self, path: &str) -> Diagnostic {
        let diagnostic = Diagnostic::error(self.rule, self.message).path(path).label(self.label);
        match self.hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    }
}

/// Everything that names are looked up in.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    root: &'a Node,
    environment: &'a str,
    given_number: Option<u64>,
    git: &'a Git,
    known: RefCell<HashMap<String, Result<String, Unfilled>>>,
    /// Names that are being looked up just now, to find circles.
    open: RefCell<Vec<String>>,
    used_number: RefCell<bool>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(root: &'a Node, environment: &'a str, given_number: Option<u64>, git: &'a Git) -> Self {
        Self {
            root,
            environment,
            given_number,
            git,
            known: RefCell::default(),
            open: RefCell::default(),
            used_number: RefCell::new(false),
        }
    }

    /// The project's number was used and neither the YAML nor the caller has told it.
    pub(crate) fn lacks_number(&self) -> bool {
        *self.used_number.borrow() && self.number().is_none()
    }

    pub(crate) fn number(&self) -> Option<u64> {
        let written =
            self.root.get("project").and_then(|project| project.get("number")).and_then(Node::scalar);
        written.and_then(|number| number.parse().ok()).or(self.given_number)
    }

    /// The merged tree before anything is filled in.
    pub(super) fn root(&self) -> &'a Node {
        self.root
    }

    /// Fills in every name of `text` that has a value everywhere.
    pub(crate) fn fill(&self, text: &str) -> Result<String, Unfilled> {
        self.fill_at(text, &Local::Everywhere)
    }

    /// Fills in every name of `text`, those included that have a value at this place only.
    pub(super) fn fill_at(&self, text: &str, local: &Local<'_>) -> Result<String, Unfilled> {
        let pieces = pieces(text).map_err(|message| {
            Unfilled::new(message, "not closed").hint("write `$$` for a dollar sign that means itself")
        })?;
        let mut filled = String::with_capacity(text.len());
        for piece in pieces {
            let value = match piece {
                Piece::Literal(literal) => literal.to_owned(),
                Piece::Dollar => "$".to_owned(),
                Piece::Name(name) => match local.value(name, self) {
                    Some(Value::Kept) => {
                        filled.push_str("${");
                        filled.push_str(name);
                        filled.push('}');
                        continue;
                    }
                    Some(Value::Text(value)) => value?,
                    None => self.lookup(name)?,
                },
            };
            // Where names are kept for later, a dollar sign of the text itself stays doubled.
            if local.is_template() {
                filled.push_str(&value.replace('$', "$$"));
            } else {
                filled.push_str(&value);
            }
        }
        Ok(filled)
    }

    fn lookup(&self, name: &str) -> Result<String, Unfilled> {
        if let Some(known) = self.known.borrow().get(name) {
            return known.clone();
        }
        if self.open.borrow().iter().any(|open| open == name) {
            let circle = self.open.borrow().join("` -> `");
            return Err(Unfilled::new(
                format!("`${{{name}}}` is made from itself: `{circle}` -> `{name}`"),
                "a circle",
            ));
        }
        self.open.borrow_mut().push(name.to_owned());
        let value = self.evaluate(name);
        self.open.borrow_mut().pop();
        self.known.borrow_mut().insert(name.to_owned(), value.clone());
        value
    }

    fn evaluate(&self, name: &str) -> Result<String, Unfilled> {
        let parts: Vec<&str> = name.split('.').collect();
        match parts.as_slice() {
            ["env"] => Ok(self.environment.to_owned()),
            ["region"] => self.text_at(&["region"], name),
            ["system"] => self.text_at(&["system"], name),
            ["project", "id"] => self.text_at(&["project", "id"], name),
            ["project", "number"] => Ok(self.project_number().to_string()),
            ["vars", var] => self.variable(var),
            ["services", service, "url"] => self.service_url(service),
            ["git", what] => self.git(what),
            ["version"] => self.git("version"),
            ["name"] => Err(Unfilled::new("`${name}` has a value in `naming` only", "not known here")
                .hint("in `naming.resource` it is the name of each service")),
            ["secret"] => Err(Unfilled::new("`${secret}` has a value in `tenants.secret_id` only", "not known here")
                .hint("there it is each name of `tenants.secrets`")),
            ["tenant", ..] => Err(Unfilled::new(format!("`${{{name}}}` has no value here"), "no tenant here").hint(
                "it has one in jobs and migrations with `for_each: tenants`, in `tenants.secret_id` and in `tenants.schema`",
            )),
            ["args", ..] => Err(Unfilled::new(format!("`${{{name}}}` has no value here"), "no arguments here").hint(
                "it has one in a job with `args_from: [NAME]`, in the words of `command` after the first",
            )),
            [first, ..] if RESERVED.contains(first) => Err(Unfilled {
                rule: "not-supported-yet",
                ..Unfilled::new(format!("`${{{name}}}` is not supported yet"), "not supported yet")
            }),
            _ => Err(unknown(name)),
        }
    }

    /// The text at `path`, with its own names filled in.
    fn text_at(&self, path: &[&str], name: &str) -> Result<String, Unfilled> {
        let node = path.iter().try_fold(self.root, |node, key| node.get(key));
        match node.and_then(Node::scalar) {
            Some(text) => self.fill(&text),
            None => Err(Unfilled::new(
                format!("`${{{name}}}` has no value: `{}` is not set", path.join(".")),
                "no value",
            )),
        }
    }

    fn project_number(&self) -> u64 {
        *self.used_number.borrow_mut() = true;
        self.number().unwrap_or(STAND_IN_NUMBER)
    }

    fn variable(&self, var: &str) -> Result<String, Unfilled> {
        let vars = self.root.get("vars").and_then(Node::as_map);
        let Some(entry) = vars.and_then(|vars| vars.get(var)) else {
            let names = vars.into_iter().flat_map(|vars| vars.keys().map(String::as_str));
            return Err(missing_name("variable", "vars", var, names));
        };
        match entry.node.scalar() {
            Some(text) => self.fill(&text),
            None => Err(Unfilled::new(format!("`vars.{var}` is {}, not text", entry.node.kind()), "no text")),
        }
    }

    fn service_url(&self, service: &str) -> Result<String, Unfilled> {
        let services = self.root.get("services").and_then(Node::as_map);
        let Some(entry) = services.and_then(|services| services.get(service)) else {
            let names = services.into_iter().flat_map(|services| services.keys().map(String::as_str));
            return Err(missing_name("service", "services", service, names));
        };
        let name = self.service_name(service, &entry.node)?;
        let region = self.text_at(&["region"], "region")?;
        Ok(host::url(&name, self.project_number(), &region))
    }

    /// Cloud Run's name of a service.
    pub(crate) fn service_name(&self, key: &str, service: &Node) -> Result<String, Unfilled> {
        match service.get("name").and_then(Node::as_text) {
            Some(name) => self.fill(name),
            None => self.name_from_pattern(key),
        }
    }

    /// The name that `naming.resource` gives to what is called `key` in the file.
    pub(crate) fn name_from_pattern(&self, key: &str) -> Result<String, Unfilled> {
        let pattern =
            self.root.get("naming").and_then(|naming| naming.get("resource")).and_then(Node::as_text);
        Ok(self.fill_pattern(pattern.unwrap_or("${name}-${env}"))?.replace("${name}", key))
    }

    /// Fills in everything but `${name}`.
    fn fill_pattern(&self, pattern: &str) -> Result<String, Unfilled> {
        let shielded = pattern.replace("${name}", "$${name}");
        self.fill(&shielded)
    }

    fn git(&self, what: &str) -> Result<String, Unfilled> {
        match self.git.read(what) {
            Some(Ok(value)) => Ok(value),
            Some(Err(reason)) => Err(Unfilled {
                rule: "git",
                ..Unfilled::new(format!("the git value `{what}` cannot be read: {reason}"), "needs git")
                    .hint("give the value in `vars`, or run inside of a git repository")
            }),
            None => Err(unknown(&format!("git.{what}"))),
        }
    }
}

fn unknown(name: &str) -> Unfilled {
    let hint = match did_you_mean(name, KNOWN) {
        Some(meant) => format!("did you mean `${{{meant}}}`? Known are: {}", KNOWN.join(", ")),
        None => format!("known are: {}; write `$$` for a dollar sign that means itself", KNOWN.join(", ")),
    };
    Unfilled::new(format!("`${{{name}}}` is not a name that deployer knows"), "unknown name").hint(hint)
}

fn missing_name<'n>(what: &str, map: &str, name: &str, names: impl Iterator<Item = &'n str>) -> Unfilled {
    let names: Vec<&str> = names.collect();
    let unfilled = Unfilled::new(format!("there is no {what} `{name}` in `{map}`"), "no value");
    match did_you_mean(name, names.iter().copied()) {
        Some(meant) => unfilled.hint(format!("did you mean `{meant}`?")),
        None if names.is_empty() => unfilled.hint(format!("`{map}` is empty")),
        None => unfilled.hint(format!("`{map}` has: {}", names.join(", "))),
    }
}

/// Fills in every value of the file; keys stay as they are. What cannot be filled in is reported and left as it was.
pub(crate) fn fill_tree(root: &mut Node, scope: &Scope<'_>, findings: &mut Findings) {
    fill_node("", root, &Local::Everywhere, scope, findings);
}

fn fill_node(path: &str, node: &mut Node, local: &Local<'_>, scope: &Scope<'_>, findings: &mut Findings) {
    match &mut node.value {
        Tree::Text(text) if text.contains('$') => {
            let filled =
                if path == "naming.resource" { scope.fill_pattern(text) } else { scope.fill_at(text, local) };
            let interpolated = text.contains("${");
            let place = node.place;
            match filled {
                Ok(filled) => {
                    node.value = typed(text, filled, scope);
                    node.interpolated = interpolated;
                }
                Err(unfilled) => report(path, place, unfilled, findings),
            }
        }
        Tree::List(items) => {
            for (position, item) in items.iter_mut().enumerate() {
                let path = join(path, &position.to_string());
                fill_node(&path, item, &local.at(&path), scope, findings);
            }
        }
        Tree::Map(map) => {
            let level = Level::at(path);
            for (name, entry) in map.iter_mut().filter(|(name, _)| !level.reserves(name)) {
                let path = join(path, name);
                let local = Local::of(&path, scope.root).unwrap_or_else(|| local.at(&path));
                fill_node(&path, &mut entry.node, &local, scope, findings);
            }
        }
        Tree::Text(_) | Tree::Null | Tree::Bool(_) | Tree::Number(_) => {}
    }
}

/// A value that is nothing but `${vars.X}` is what the variable is: `port: ${vars.port}` is a number.
fn typed(text: &str, filled: String, scope: &Scope<'_>) -> Tree {
    let whole = text.strip_prefix("${vars.").and_then(|rest| rest.strip_suffix('}'));
    let variable = whole.and_then(|name| scope.root.get("vars")?.get(name));
    match variable.map(|node| &node.value) {
        Some(value @ (Tree::Number(_) | Tree::Bool(_))) => value.clone(),
        _ => Tree::Text(filled),
    }
}

fn report(path: &str, place: Place, unfilled: Unfilled, findings: &mut Findings) {
    findings.broken.insert(path.to_owned());
    findings.add_at(Some(place), unfilled.into_diagnostic(path));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(yaml: &str, text: &str) -> Result<String, String> {
        let root = super::super::parse::parse(yaml, 0).unwrap();
        let git = Git::outside();
        Scope::new(&root, "staging", None, &git).fill(text).map_err(|unfilled| unfilled.message)
    }

    const SYSTEM: &str = "system: shop\nregion: europe-west1\nproject: {id: shop-1, number: 42}\nservices: {api: {}, web: {name: front}}\n";

    #[test]
    fn the_closed_set_is_filled_in() {
        assert_eq!(
            filled(SYSTEM, "${env} ${region} ${system} ${project.id}"),
            Ok("staging europe-west1 shop shop-1".into())
        );
        assert_eq!(
            filled(SYSTEM, "${services.api.url}"),
            Ok("https://api-staging-42.europe-west1.run.app".into())
        );
        assert_eq!(filled(SYSTEM, "${services.web.url}"), Ok("https://front-42.europe-west1.run.app".into()));
    }

    #[test]
    fn variables_may_use_variables_but_not_themselves() {
        assert_eq!(filled("vars: {a: \"${vars.b}!\", b: x}\n", "${vars.a}"), Ok("x!".into()));
        let circle = filled("vars: {a: \"${vars.b}\", b: \"${vars.a}\"}\n", "${vars.a}").unwrap_err();
        assert!(circle.contains("made from itself: `vars.a` -> `vars.b` -> `vars.a`"), "{circle}");
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        assert!(filled("", "${HOME}").unwrap_err().contains("not a name"));
        assert!(filled("", "${image.tag}").unwrap_err().contains("not supported yet"));
        assert!(filled("", "${tenant.slug}").unwrap_err().contains("no value here"));
        assert!(filled("", "${name}").unwrap_err().contains("`naming` only"));
        assert!(filled("", "${env").unwrap_err().contains("without its"));
        assert!(filled("", "${git.sha}").unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn an_unknown_number_is_noticed_and_stood_in_for() {
        let root = super::super::parse::parse("project: {id: shop-1}\n", 0).unwrap();
        let git = Git::outside();
        let scope = Scope::new(&root, "dev", None, &git);
        assert!(!scope.lacks_number());
        assert_eq!(scope.fill("${project.number}"), Ok(STAND_IN_NUMBER.to_string()));
        assert!(scope.lacks_number());
        let scope = Scope::new(&root, "dev", Some(7), &git);
        assert_eq!(scope.fill("${project.number}"), Ok("7".into()));
        assert!(!scope.lacks_number());
    }

    #[test]
    fn a_dollar_that_opens_nothing_means_itself() {
        assert_eq!(filled("", "echo $PORT $(X) $"), Ok("echo $PORT $(X) $".into()));
        assert_eq!(filled("", "$${env}"), Ok("${env}".into()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn text_without_a_dollar_stays(text in "[^$]*") {
            prop_assert_eq!(filled("", &text), Ok(text));
        }

        #[test]
        fn doubled_dollars_give_the_text_back(text in ".*") {
            prop_assert_eq!(filled("", &text.replace('$', "$$")), Ok(text));
        }
    }
}
