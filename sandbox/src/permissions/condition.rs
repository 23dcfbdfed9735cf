//! IAM conditions, as far as they are evaluated here: what a resource is called, what it is, and the time.
//!
//! `resource.name`, `resource.type` and `resource.service` with `==`, `!=`, `startsWith` and `endsWith`; `request.time`
//! compared with `timestamp("...")`; `true`, `false`, `&&`, `||`, `!` and brackets. Whatever else it says, a condition
//! that cannot be evaluated does not hold.

use std::cmp::Ordering;

use crate::world::World;

/// What conditions are asked about.
#[derive(Debug)]
pub(super) struct Asked {
    name: String,
    service: Option<&'static str>,
    /// The last part of the type: `Secret`.
    kind: Option<&'static str>,
    time: jiff::Timestamp,
}

/// Collections of resources: the service and the type that conditions know them by.
const KINDS: &[(&str, &str, &str)] = &[
    ("secrets", "secretmanager.googleapis.com", "Secret"),
    ("versions", "secretmanager.googleapis.com", "SecretVersion"),
    ("services", "run.googleapis.com", "Service"),
    ("jobs", "run.googleapis.com", "Job"),
    ("repositories", "artifactregistry.googleapis.com", "Repository"),
    ("serviceAccounts", "iam.googleapis.com", "ServiceAccount"),
    ("projects", "cloudresourcemanager.googleapis.com", "Project"),
];

impl Asked {
    /// `resource` by its relative name with the project's ID; Secret Manager's conditions see the number instead.
    pub(super) fn new(world: &World, resource: &str) -> Self {
        let parts: Vec<&str> = resource.split('/').collect();
        let collection = parts.iter().rev().nth(1).copied().unwrap_or_default();
        let of_secret = parts.get(2) == Some(&"secrets");
        // Artifact Registry has versions, too, and Service Usage has services.
        let known = KINDS.iter().find(|(name, ..)| match *name {
            "versions" => *name == collection && of_secret,
            "services" => *name == collection && parts.len() == 6,
            name => name == collection,
        });
        let name = match parts.get(1).filter(|_| of_secret) {
            Some(project) => {
                let number = world.project_number(project);
                resource.replacen(&format!("projects/{project}/"), &format!("projects/{number}/"), 1)
            }
            None => resource.to_owned(),
        };
        let (service, kind) = (known.map(|(_, service, _)| *service), known.map(|(.., kind)| *kind));
        Self { name, service, kind, time: world.instant() }
    }

    /// Whether the condition holds.
    pub(super) fn fulfils(&self, expression: &str) -> bool {
        let Some(tokens) = tokens(expression) else { return false };
        let mut parser = Parser { asked: self, tokens: &tokens };
        parser.any() == Some(true) && parser.tokens.is_empty()
    }

    fn text(&self, attribute: &str) -> Option<String> {
        match attribute {
            "resource.name" => Some(self.name.clone()),
            "resource.service" => self.service.map(str::to_owned),
            "resource.type" => Some(format!("{}/{}", self.service?, self.kind?)),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name with its dots: `resource.name.startsWith`.
    Name(String),
    Text(String),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 11] = ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")"];

/// `None` for anything that is not known.
fn tokens(expression: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = if first == '"' || first == '\'' {
            let (text, _) = rest.get(1..)?.split_once(first)?;
            // What an escape stands for is not worked out.
            if text.contains('\\') {
                return None;
            }
            tokens.push(Token::Text(text.to_owned()));
            text.len() + 2
        } else if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            tokens.push(Token::Symbol(symbol));
            symbol.len()
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_');
            let name = rest.get(..end.unwrap_or(rest.len()))?;
            if name.is_empty() {
                return None;
            }
            tokens.push(Token::Name(name.to_owned()));
            name.len()
        };
        rest = rest.get(end..)?.trim_start();
    }
    Some(tokens)
}

struct Parser<'a> {
    asked: &'a Asked,
    tokens: &'a [Token],
}

impl Parser<'_> {
    fn next(&mut self) -> Option<&Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn take(&mut self, symbol: &'static str) -> bool {
        let found = self.tokens.first() == Some(&Token::Symbol(symbol));
        if found {
            self.next();
        }
        found
    }

    fn any(&mut self) -> Option<bool> {
        let mut value = self.all()?;
        while self.take("||") {
            value |= self.all()?;
        }
        Some(value)
    }

    fn all(&mut self) -> Option<bool> {
        let mut value = self.one()?;
        while self.take("&&") {
            value &= self.one()?;
        }
        Some(value)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("!") {
            return self.one().map(|value| !value);
        }
        if self.take("(") {
            let value = self.any()?;
            return self.take(")").then_some(value);
        }
        let Token::Name(name) = self.next()?.clone() else { return None };
        match name.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            "request.time" => self.time(),
            name => self.text(name),
        }
    }

    /// `request.time < timestamp("2027-01-01T00:00:00Z")`
    fn time(&mut self) -> Option<bool> {
        let Token::Symbol(operator) = *self.next()? else { return None };
        if self.next()? != &Token::Name("timestamp".to_owned()) {
            return None;
        }
        let limit: jiff::Timestamp = self.argument()?.parse().ok()?;
        let order = self.asked.time.cmp(&limit);
        Some(match operator {
            "<" => order == Ordering::Less,
            "<=" => order != Ordering::Greater,
            ">" => order == Ordering::Greater,
            ">=" => order != Ordering::Less,
            _ => return None,
        })
    }

    fn text(&mut self, name: &str) -> Option<bool> {
        if let Some(held) = self.asked.text(name) {
            let equal = self.take("==");
            if !equal && !self.take("!=") {
                return None;
            }
            let Token::Text(said) = self.next()? else { return None };
            return Some((held == *said) == equal);
        }
        let (attribute, function) = name.rsplit_once('.')?;
        let held = self.asked.text(attribute)?;
        let said = self.argument()?;
        match function {
            "startsWith" => Some(held.starts_with(&said)),
            "endsWith" => Some(held.ends_with(&said)),
            _ => None,
        }
    }

    /// `("...")`
    fn argument(&mut self) -> Option<String> {
        if !self.take("(") {
            return None;
        }
        let Token::Text(text) = self.next()?.clone() else { return None };
        self.take(")").then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
            name: "projects/1/secrets/db".into(),
            service: Some("secretmanager.googleapis.com"),
            kind: Some("Secret"),
            time: "2026-06-01T00:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_condition_holds_by_name_type_and_time() {
        for expression in [
            "resource.name == \"projects/1/secrets/db\"",
            "resource.name.startsWith('projects/1/secrets/')",
            "resource.name.endsWith(\"/db\") && resource.type == \"secretmanager.googleapis.com/Secret\"",
            "request.time < timestamp(\"2027-01-01T00:00:00Z\")",
            "!(resource.name == \"x\") && (false || resource.service != 'run.googleapis.com')",
            "true",
        ] {
            assert!(asked().fulfils(expression), "{expression}");
        }
    }

    #[test]
    fn a_condition_that_is_false_does_not_hold() {
        for expression in [
            "resource.name == \"projects/1/secrets/dbx\"",
            "!resource.name.startsWith('projects/1/')",
            "request.time >= timestamp(\"2027-01-01T00:00:00Z\")",
            "true && false",
        ] {
            assert!(!asked().fulfils(expression), "{expression}");
        }
    }

    #[test]
    fn what_cannot_be_evaluated_does_not_hold() {
        for expression in [
            "",
            "resource.matchTag('1/env', 'prod')",
            "true || request.auth.claims.x == 'y'",
            "resource.name",
            "resource.name == \"projects/1/secrets/db\" trailing",
            "resource.name == \"unterminated",
            "(true",
            "request.time < '2027-01-01T00:00:00Z'",
            "1 == 1",
        ] {
            assert!(!asked().fulfils(expression), "{expression}");
        }
    }
}
