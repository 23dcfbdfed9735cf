//! One request after routing and ProtoJSON normalisation: what a handler gets to see.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::{Answer, Status};
use crate::methods::Method;
use crate::world::World;

/// What serves one documented method.
pub type Handler = fn(&mut World, &Call) -> Answer;

/// Who calls. The sandbox asks for no credentials; who has a token that it issued is who the token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The address that appears as `creator` or `lastModifier`.
    pub email: String,
    /// The service account whose permissions count; `None` for an owner, who may do everything.
    pub account: Option<String>,
}

impl Caller {
    /// An owner with this address.
    pub fn owner(email: impl Into<String>) -> Self {
        Self { email: email.into(), account: None }
    }

    /// A service account, which may do what policies grant it.
    pub fn account(email: impl Into<String>) -> Self {
        let email = email.into();
        Self { account: Some(email.clone()), email }
    }
}

impl Default for Caller {
    fn default() -> Self {
        Self::owner("developer@sandbox.invalid")
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: &'static Method,
    /// Values of the template's variables, percent-decoded, by name without `Id`: `projects`, `services`.
    pub path: BTreeMap<String, String>,
    /// The path after the version and before a custom verb, with the project's ID in place of its number:
    /// `projects/p/locations/r/services/s`.
    pub resource: String,
    pub query: Query,
    /// The body with JSON names, enum names and int64 as strings; `{}` when there was none.
    pub body: Value,
    /// The project's ID, also when the request said its number; empty when the path names no project.
    pub project: String,
    pub caller: Caller,
}

impl Call {
    /// The value of a template variable, empty when the template has none of that name.
    pub fn var(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// A string of the body; `None` when absent or empty, which ProtoJSON does not tell apart.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}

/// Query parameters by camelCase name; repeated ones keep all values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(pub BTreeMap<String, Vec<String>>);

impl Query {
    /// The value of a parameter; an empty one counts as not given, as Google's own clients send those.
    pub fn str(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .and_then(|values| values.last())
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Every non-empty value of a repeated parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A boolean parameter, false when not given.
    pub fn flag(&self, name: &str) -> Result<bool, Status> {
        match self.str(name) {
            None | Some("false" | "False" | "0") => Ok(false),
            Some("true" | "True" | "1") => Ok(true),
            Some(other) => Err(invalid_query(name, other, "TYPE_BOOL")),
        }
    }

    /// A whole number, `None` when not given.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.str(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| invalid_query(name, text, "TYPE_INT32"))
    }

    /// How many items a page may have: 0 and absent mean `default`, more than `max` means `max`.
    pub fn page_size(&self, default: usize, max: usize) -> Result<usize, Status> {
        match self.int("pageSize")? {
            None | Some(0) => Ok(default),
            Some(size) => usize::try_from(size)
                .map(|size| size.min(max))
                .map_err(|_| Status::invalid("page_size", "The page size must not be negative.")),
        }
    }

    /// The page token of an earlier answer.
    pub fn page_token(&self) -> Option<&str> {
        self.str("pageToken")
    }
}

fn invalid_query(name: &str, value: &str, kind: &str) -> Status {
    Status::invalid(name, format!("Invalid value at '{name}' ({kind}), \"{value}\""))
}

/// One page of `items` under `key`. `nextPageToken` is there only when a further page is.
///
/// Tokens carry the offset and a mark of the path that they belong to: a token of another list is refused.
pub fn page(items: Vec<Value>, key: &str, call: &Call, default: usize, max: usize) -> Answer {
    let size = call.query.page_size(default, max)?;
    let mark = mark_of(call);
    let start = match call.query.page_token() {
        None => 0,
        Some(token) => offset_of(token, mark)
            .ok_or_else(|| Status::invalid("page_token", "The page token is not valid."))?,
    };
    let total = items.len();
    let shown: Vec<Value> = items.into_iter().skip(start).take(size).collect();
    let end = start + shown.len();
    let mut answer = Map::new();
    if !shown.is_empty() {
        answer.insert(key.to_owned(), Value::Array(shown));
    }
    if end < total && end > start {
        answer.insert("nextPageToken".into(), json!(token_of(end, mark)));
    }
    Ok(Value::Object(answer))
}

fn mark_of(call: &Call) -> u32 {
    crc32c::crc32c(format!("{}?{}", call.resource, call.query.str("filter").unwrap_or("")).as_bytes())
}

fn token_of(offset: usize, mark: u32) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{mark:08x}{offset}"))
}

fn offset_of(token: &str, mark: u32) -> Option<usize> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (said, offset) = text.split_at_checked(8)?;
    (u32::from_str_radix(said, 16).ok()? == mark).then(|| offset.parse().ok())?
}
