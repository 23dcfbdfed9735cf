//! Bodies and queries: their fields are checked one by one, so that an answer says everything that is wrong, in the words of pydantic.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Number, Value, json};

use super::error::{ApiError, Issue};
use super::json_syntax;
use crate::domain::{Invalid, without_nul};

/// What can be read from the fields of a body or a query.
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
    // As Python does, which otherwise takes what it decoded from bytes.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let value: Value = serde_json::from_slice(bytes).map_err(|error| vec![not_json(bytes, &error)])?;
    let Value::Object(object) = value else { return Err(vec![not_an_object(value)]) };
    Fields { object: &object, place: "body", issues: Vec::new() }.read()
}

/// Reads the parameters of a query, each given once; of several with one name the last counts.
pub(super) fn read_query<T: Input>(pairs: Vec<(String, String)>) -> Result<T, Vec<Issue>> {
    let object = pairs.into_iter().map(|(name, text)| (name, Value::String(text))).collect();
    Fields { object: &object, place: "query", issues: Vec::new() }.read()
}

fn issue(kind: &'static str, loc: Vec<Value>, msg: impl Into<String>, input: Value) -> Issue {
    Issue { kind, loc, msg: msg.into(), input, ctx: None }
}

fn not_an_object(input: Value) -> Issue {
    let msg = "Input should be a valid dictionary or object to extract fields from";
    issue("model_attributes_type", vec!["body".into()], msg, input)
}

fn not_json(bytes: &[u8], error: &serde_json::Error) -> Issue {
    let (what, offset) = match std::str::from_utf8(bytes) {
        Ok(text) => match json_syntax::fault(text) {
            Some(fault) => (fault.what.to_owned(), fault.offset),
            // Right by its form, and still not taken: too deep, too large a number, half a surrogate pair.
            None => (error.to_string(), text.chars().count()),
        },
        Err(broken) => {
            let before = bytes.get(..broken.valid_up_to()).unwrap_or_default();
            ("Invalid UTF-8".to_owned(), String::from_utf8_lossy(before).chars().count())
        }
    };
    let mut issue = issue("json_invalid", vec!["body".into(), offset.into()], "JSON decode error", json!({}));
    issue.ctx = Some(json!({"error": what}));
    issue
}

/// The fields of a body or a query while they are read. Unknown ones are ignored. Numbers and truth values may also be given as
/// texts, as pydantic takes them: in a query there is nothing else.
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    place: &'static str,
    issues: Vec<Issue>,
}

impl Fields<'_> {
    fn read<T: Input>(mut self) -> Result<T, Vec<Issue>> {
        match T::read(&mut self) {
            Some(input) if self.issues.is_empty() => Ok(input),
            _ => Err(self.issues),
        }
    }

    /// A required text that `parse` accepts.
    pub fn text<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Invalid>) -> Option<T> {
        let Some(value) = self.object.get(name) else {
            let input =
                self.object.iter().map(|(key, value)| (key.clone(), shown(key, value.clone()))).collect();
            let loc = self.at(name);
            self.issues.push(issue("missing", loc, "Field required", Value::Object(input)));
            return None;
        };
        self.parsed(name, &value.clone(), parse)
    }

    /// A text that may be absent or null; `None` also if it is wrong, which keeps the body from being taken.
    pub fn optional_text<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Invalid>) -> Option<T> {
        let value = self.given(name)?;
        self.parsed(name, &value, parse)
    }

    pub fn optional_bool(&mut self, name: &str) -> Option<bool> {
        const UNCLEAR: &str = "Input should be a valid boolean, unable to interpret input";
        let value = self.given(name)?;
        let word = match &value {
            Value::Bool(value) => return Some(*value),
            Value::String(text) => text.to_ascii_lowercase(),
            Value::Number(number) if whole(number).is_some() => whole(number)?.to_string(),
            _ => return self.wrong("bool_type", name, "Input should be a valid boolean", value, None),
        };
        match word.as_str() {
            "1" | "on" | "t" | "true" | "y" | "yes" => Some(true),
            "0" | "off" | "f" | "false" | "n" | "no" => Some(false),
            _ => self.wrong("bool_parsing", name, UNCLEAR, value, None),
        }
    }

    /// A whole number from `least` to `most`.
    pub fn optional_number<T>(&mut self, name: &str, least: T, most: T) -> Option<T>
    where
        T: Into<i128> + TryFrom<i128>,
    {
        let value = self.given(name)?;
        let number = self.integer(name, &value)?;
        let (least, most) = (least.into(), most.into());
        if number > most {
            let msg = format!("Input should be less than or equal to {most}");
            return self.wrong("less_than_equal", name, msg, value, Some(json!({"le": exact(most)})));
        }
        if number < least {
            let msg = format!("Input should be greater than or equal to {least}");
            return self.wrong("greater_than_equal", name, msg, value, Some(json!({"ge": exact(least)})));
        }
        T::try_from(number).ok()
    }

    fn integer(&mut self, name: &str, value: &Value) -> Option<i128> {
        const FRACTION: &str = "Input should be a valid integer, got a number with a fractional part";
        const UNCLEAR: &str = "Input should be a valid integer, unable to parse string as an integer";
        match value {
            Value::Bool(value) => Some(i128::from(*value)),
            Value::Number(number) => {
                whole(number).or_else(|| self.wrong("int_from_float", name, FRACTION, value.clone(), None))
            }
            Value::String(text) => match text.trim().parse() {
                Ok(number) => Some(number),
                Err(_) => self.wrong("int_parsing", name, UNCLEAR, value.clone(), None),
            },
            _ => self.wrong("int_type", name, "Input should be a valid integer", value.clone(), None),
        }
    }

    pub fn optional_object(&mut self, name: &str) -> Option<Value> {
        let value = self.given(name)?;
        if !value.is_object() {
            return self.wrong("dict_type", name, "Input should be a valid dictionary", value, None);
        }
        if holds_nul(&value) {
            let invalid = Invalid::value("NUL characters are not allowed");
            return self.wrong(invalid.kind, name, invalid.message, value, Some(invalid.context));
        }
        Some(value)
    }

    /// A value that is there and not null.
    fn given(&self, name: &str) -> Option<Value> {
        self.object.get(name).cloned().filter(|value| !value.is_null())
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        value: &Value,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let Value::String(text) = value else {
            return self.wrong("string_type", name, "Input should be a valid string", value.clone(), None);
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(Invalid { kind, message, context }) => {
                self.wrong(kind, name, message, value.clone(), Some(context))
            }
        }
    }

    fn wrong<T>(
        &mut self,
        kind: &'static str,
        name: &str,
        msg: impl Into<String>,
        input: Value,
        ctx: Option<Value>,
    ) -> Option<T> {
        let mut issue = issue(kind, self.at(name), msg, shown(name, input));
        issue.ctx = ctx;
        self.issues.push(issue);
        None
    }

    fn at(&self, name: &str) -> Vec<Value> {
        vec![self.place.into(), name.into()]
    }
}

/// A number without fraction, whatever its spelling.
fn whole(number: &Number) -> Option<i128> {
    if number.is_i64() || number.is_u64() {
        return number.to_string().parse().ok();
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
    let limit = if float < 0.0 { i128::MIN } else { i128::MAX };
    // Written without exponent; what does not fit is beyond every limit anyway.
    Some(format!("{float:.0}").parse().unwrap_or(limit))
}

/// A limit as it stands in an answer; those of this API are all within `i64`.
fn exact(limit: i128) -> Value {
    i64::try_from(limit).map_or(Value::Null, Value::from)
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
            return Err(Invalid::too_short(least));
        }
        if count > most {
            return Err(Invalid::too_long(most));
        }
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug)]
    struct Pair(String, Option<u32>);

    impl Input for Pair {
        fn read(fields: &mut Fields<'_>) -> Option<Self> {
            let name = fields.text("name", length(1, 5));
            let days = fields.optional_number("days", 1, 10);
            fields.optional_bool("flag");
            fields.optional_object("config");
            Some(Self(name?, days))
        }
    }

    /// The whole answer to a body, as a client sees it.
    fn told(bytes: &[u8], is_json: bool) -> Value {
        serde_json::to_value(read::<Pair>(bytes, is_json).unwrap_err()).unwrap()
    }

    /// The answers were given by FastAPI 0.165 with pydantic 2.14 for a model with the same rules.
    #[test]
    fn bodies_that_are_no_objects_are_told_as_the_original_tells_them() {
        let no_object = "Input should be a valid dictionary or object to extract fields from";
        for (body, is_json, kind, loc, msg, input) in [
            ("", true, "missing", json!(["body"]), "Field required", Value::Null),
            ("", false, "missing", json!(["body"]), "Field required", Value::Null),
            ("[]", true, "model_attributes_type", json!(["body"]), no_object, json!([])),
            ("7", true, "model_attributes_type", json!(["body"]), no_object, json!(7)),
            ("null", true, "model_attributes_type", json!(["body"]), no_object, Value::Null),
            ("{}", false, "model_attributes_type", json!(["body"]), no_object, json!("{}")),
        ] {
            let expected = json!([{"type": kind, "loc": loc, "msg": msg, "input": input}]);
            assert_eq!(told(body.as_bytes(), is_json), expected, "{body:?}");
        }
        let broken = json!([{"type": "json_invalid", "loc": ["body", 9], "msg": "JSON decode error", "input": {},
            "ctx": {"error": "Expecting value"}}]);
        assert_eq!(told(b"{\"name\": x}", true), broken);
        let missing =
            json!([{"type": "missing", "loc": ["body", "name"], "msg": "Field required", "input": {"a": 1}}]);
        assert_eq!(told(br#"{"a": 1}"#, true), missing);
        assert_eq!(told(b"\xef\xbb\xbf{\"a\": 1}", true), missing);
    }

    #[test]
    fn what_no_parser_of_ours_takes_is_still_told_with_a_place() {
        for (body, offset) in [(&b"\"\xc3\xbc\xff"[..], 2), (b"\"\\ud800\"", 8), (b"1e999", 5)] {
            let said = told(body, true);
            assert_eq!(
                (&said[0]["type"], &said[0]["loc"]),
                (&json!("json_invalid"), &json!(["body", offset]))
            );
        }
    }

    #[test]
    fn wrong_fields_are_told_as_the_original_tells_them() {
        for (field, value, kind, msg, ctx) in [
            (
                "name",
                json!(""),
                "string_too_short",
                "String should have at least 1 character",
                json!({"min_length": 1}),
            ),
            (
                "name",
                json!("123456"),
                "string_too_long",
                "String should have at most 5 characters",
                json!({"max_length": 5}),
            ),
            ("name", json!(7), "string_type", "Input should be a valid string", Value::Null),
            ("name", Value::Null, "string_type", "Input should be a valid string", Value::Null),
            (
                "name",
                json!("a\0"),
                "value_error",
                "Value error, NUL characters are not allowed",
                json!({"error": {}}),
            ),
            (
                "days",
                json!(0),
                "greater_than_equal",
                "Input should be greater than or equal to 1",
                json!({"ge": 1}),
            ),
            (
                "days",
                json!(11),
                "less_than_equal",
                "Input should be less than or equal to 10",
                json!({"le": 10}),
            ),
            (
                "days",
                json!(1e30),
                "less_than_equal",
                "Input should be less than or equal to 10",
                json!({"le": 10}),
            ),
            (
                "days",
                json!("x"),
                "int_parsing",
                "Input should be a valid integer, unable to parse string as an integer",
                Value::Null,
            ),
            (
                "days",
                json!(1.5),
                "int_from_float",
                "Input should be a valid integer, got a number with a fractional part",
                Value::Null,
            ),
            ("days", json!([]), "int_type", "Input should be a valid integer", Value::Null),
            (
                "flag",
                json!("x"),
                "bool_parsing",
                "Input should be a valid boolean, unable to interpret input",
                Value::Null,
            ),
            (
                "flag",
                json!(2),
                "bool_parsing",
                "Input should be a valid boolean, unable to interpret input",
                Value::Null,
            ),
            ("flag", json!(1.5), "bool_type", "Input should be a valid boolean", Value::Null),
            ("config", json!(7), "dict_type", "Input should be a valid dictionary", Value::Null),
        ] {
            let mut body = json!({"name": "a"});
            body[field] = value.clone();
            let mut expected = json!([{"type": kind, "loc": ["body", field], "msg": msg, "input": value}]);
            if !ctx.is_null() {
                expected[0]["ctx"] = ctx;
            }
            assert_eq!(told(body.to_string().as_bytes(), true), expected);
        }
    }

    #[test]
    fn numbers_may_be_spelled_as_pydantic_takes_them() {
        for (days, read_as) in [(json!("5"), 5), (json!(2.0), 2), (json!(true), 1), (json!(" 7 "), 7)] {
            let body = json!({"name": "a", "days": days, "flag": "true"}).to_string();
            assert_eq!(read::<Pair>(body.as_bytes(), true).unwrap().1, Some(read_as));
        }
    }

    #[test]
    fn parameters_of_a_query_are_told_with_their_names() {
        let query =
            |days: &str| vec![("name".to_owned(), "a".to_owned()), ("days".to_owned(), days.to_owned())];
        assert_eq!(read_query::<Pair>(query("5")).unwrap().1, Some(5));
        let said = serde_json::to_value(read_query::<Pair>(query("many")).unwrap_err()).unwrap();
        assert_eq!((&said[0]["loc"], &said[0]["type"]), (&json!(["query", "days"]), &json!("int_parsing")));
        assert_eq!(said[0]["input"], "many");
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
