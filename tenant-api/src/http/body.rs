//! Bodies: JSON objects whose fields are checked one by one, so that an answer says everything that is wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};

use super::error::{ApiError, Issue};
use crate::domain::{Invalid, without_nul};

/// What can be read from the fields of a body.
pub trait Input: Sized {
    /// `None` if something is wrong, which `fields` then knows.
    fn read(fields: &mut Fields<'_>) -> Option<Self>;
}

/// A body that was read and found right.
pub struct Valid<T>(pub T);

impl<T: Input, S: Send + Sync> FromRequest<S> for Valid<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_json = is_json(request.headers());
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large")
                }
                _ => ApiError::new(StatusCode::BAD_REQUEST, "The request body could not be read"),
            })?;
        read(&bytes, is_json).map(Valid).map_err(ApiError::Invalid)
    }
}

/// Without a media type a body is taken for JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence =
        value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn read<T: Input>(bytes: &[u8], is_json: bool) -> Result<T, Vec<Issue>> {
    if bytes.is_empty() {
        return Err(vec![issue("missing", vec!["body".into()], "Field required", Value::Null)]);
    }
    if !is_json {
        return Err(vec![not_an_object(String::from_utf8_lossy(bytes).into())]);
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| vec![not_json(bytes, &error)])?;
    let Value::Object(object) = value else { return Err(vec![not_an_object(value)]) };
    let mut fields = Fields { object: &object, issues: Vec::new() };
    let input = T::read(&mut fields);
    match input {
        Some(input) if fields.issues.is_empty() => Ok(input),
        _ => Err(fields.issues),
    }
}

fn issue(kind: &'static str, loc: Vec<Value>, msg: impl Into<String>, input: Value) -> Issue {
    Issue { kind, loc, msg: msg.into(), input, ctx: None }
}

fn not_an_object(input: Value) -> Issue {
    let msg = "Input should be a valid dictionary or object to extract fields from";
    issue("model_attributes_type", vec!["body".into()], msg, input)
}

fn not_json(bytes: &[u8], error: &serde_json::Error) -> Issue {
    let before =
        bytes.split(|byte| *byte == b'\n').take(error.line().saturating_sub(1)).map(|line| line.len() + 1);
    let offset = before.sum::<usize>() + error.column().saturating_sub(1);
    let mut issue = issue("json_invalid", vec!["body".into(), offset.into()], "JSON decode error", json!({}));
    issue.ctx = Some(json!({"error": error.to_string()}));
    issue
}

/// The fields of a body while they are read. Unknown ones are ignored.
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    issues: Vec<Issue>,
}

impl Fields<'_> {
    /// A required text that `parse` accepts.
    pub fn text<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Invalid>) -> Option<T> {
        let Some(value) = self.object.get(name) else {
            let input =
                self.object.iter().map(|(key, value)| (key.clone(), shown(key, value.clone()))).collect();
            self.issues.push(issue("missing", at(name), "Field required", Value::Object(input)));
            return None;
        };
        self.parsed(name, &value.clone(), parse)
    }

    /// A text that may be absent or null; `None` also if it is wrong, which keeps the body from being taken.
    pub fn optional_text<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Invalid>) -> Option<T> {
        match self.object.get(name).cloned() {
            None | Some(Value::Null) => None,
            Some(value) => self.parsed(name, &value, parse),
        }
    }

    pub fn optional_bool(&mut self, name: &str) -> Option<bool> {
        match self.object.get(name).cloned() {
            None | Some(Value::Null) => None,
            Some(Value::Bool(value)) => Some(value),
            Some(other) => self.wrong("bool_type", name, "Input should be a valid boolean", other),
        }
    }

    /// A whole number from `least` to `most`.
    pub fn optional_number(&mut self, name: &str, least: u32, most: u32) -> Option<u32> {
        let value = self.object.get(name).cloned().filter(|value| !value.is_null())?;
        match value.as_i64() {
            None => self.wrong("int_type", name, "Input should be a valid integer", value),
            Some(number) => match u32::try_from(number).ok().filter(|number| (least..=most).contains(number))
            {
                Some(number) => Some(number),
                None if number > i64::from(most) => self.wrong(
                    "less_than_equal",
                    name,
                    format!("Input should be less than or equal to {most}"),
                    value,
                ),
                None => self.wrong(
                    "greater_than_equal",
                    name,
                    format!("Input should be greater than or equal to {least}"),
                    value,
                ),
            },
        }
    }

    pub fn optional_object(&mut self, name: &str) -> Option<Value> {
        match self.object.get(name).cloned() {
            None | Some(Value::Null) => None,
            Some(value) if value.is_object() && !holds_nul(&value) => Some(value),
            Some(value) if value.is_object() => {
                self.wrong("value_error", name, "Value error, NUL characters are not allowed", value)
            }
            Some(other) => self.wrong("dict_type", name, "Input should be a valid dictionary", other),
        }
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        value: &Value,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let Value::String(text) = value else {
            return self.wrong("string_type", name, "Input should be a valid string", value.clone());
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(invalid) => self.wrong(invalid.kind, name, invalid.message, value.clone()),
        }
    }

    fn wrong<T>(
        &mut self,
        kind: &'static str,
        name: &str,
        msg: impl Into<String>,
        input: Value,
    ) -> Option<T> {
        self.issues.push(issue(kind, at(name), msg, shown(name, input)));
        None
    }
}

fn at(name: &str) -> Vec<Value> {
    vec!["body".into(), name.into()]
}

/// What is repeated to the caller: secrets are not, since answers are logged in many places.
fn shown(name: &str, input: Value) -> Value {
    if name.contains("password") || name.contains("token") { Value::Null } else { input }
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

/// A rule for texts of `least` to `most` characters.
pub fn length(least: usize, most: usize) -> impl Fn(&str) -> Result<String, Invalid> {
    move |text| {
        without_nul(text)?;
        let count = text.chars().count();
        if count < least {
            let unit = if least == 1 { "character" } else { "characters" };
            return Err(Invalid::new(
                "string_too_short",
                format_args!("String should have at least {least} {unit}"),
            ));
        }
        if count > most {
            return Err(Invalid::new(
                "string_too_long",
                format_args!("String should have at most {most} characters"),
            ));
        }
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Pair(String, Option<u32>);

    impl Input for Pair {
        fn read(fields: &mut Fields<'_>) -> Option<Self> {
            let name = fields.text("name", length(1, 5));
            let days = fields.optional_number("days", 1, 10);
            Some(Self(name?, days))
        }
    }

    fn kinds(body: &str) -> Vec<&'static str> {
        read::<Pair>(body.as_bytes(), true).err().unwrap().into_iter().map(|issue| issue.kind).collect()
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        assert_eq!(kinds(r#"{"name": 7, "days": 11}"#), ["string_type", "less_than_equal"]);
        assert_eq!(kinds(r#"{"name": "", "days": 0}"#), ["string_too_short", "greater_than_equal"]);
        assert_eq!(kinds("{}"), ["missing"]);
        assert_eq!(kinds("[]"), ["model_attributes_type"]);
        assert_eq!(kinds(r#"{"name": "a\u0000"}"#), ["value_error"]);
    }

    #[test]
    fn what_is_no_json_is_told_with_its_offset() {
        let issues = read::<Pair>(b"{\"name\":\n x}", true).err().unwrap();
        assert_eq!(issues[0].kind, "json_invalid");
        assert_eq!(issues[0].loc, [json!("body"), json!(10)]);
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let pair = read::<Pair>(br#"{"name": "a", "more": 1}"#, true).unwrap();
        assert_eq!((pair.0.as_str(), pair.1), ("a", None));
    }

    #[test]
    fn secrets_are_not_repeated() {
        assert_eq!(shown("password", "hunter2".into()), Value::Null);
        assert_eq!(shown("refresh_token", "abc".into()), Value::Null);
    }

    proptest! {
        #[test]
        fn no_body_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), json in any::<bool>()) {
            let _ = read::<Pair>(&bytes, json);
        }
    }
}
