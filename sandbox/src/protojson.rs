//! ProtoJSON: turns a request body into the one form that is stored, and says what does not fit.
//!
//! JSON names, enum names, int64 as strings, standard base64; null and output-only fields are left out. All
//! violations are collected, as Google does.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Number, Value, json};

use crate::error::{Code, Status};
use crate::schema::{Field, Schema, Shape};

/// Normalises `body` as the message `name`.
pub fn normalise(schema: &Schema, name: &str, body: &Value) -> Result<Value, Status> {
    let mut violations = Violations(Vec::new());
    // A request message is the body itself; a resource is one field of the request, whose name Google shows.
    let root = if name.ends_with("Request") { String::new() } else { snake_case(name) };
    let normal = message(schema, name, body, &root, &mut violations).unwrap_or_else(|| json!({}));
    violations.into_result().map(|()| normal)
}

struct Violations(Vec<(String, String)>);

impl Violations {
    fn add(&mut self, path: &str, description: String) {
        self.0.push((path.to_owned(), description));
    }

    fn wrong_type(&mut self, path: &str, kind: &str, value: &Value) {
        self.add(path, format!("Invalid value at '{path}' ({kind}), {value}"));
    }

    fn into_result(self) -> Result<(), Status> {
        if self.0.is_empty() {
            return Ok(());
        }
        let messages: Vec<&str> = self.0.iter().map(|(_, description)| description.as_str()).collect();
        let violations: Vec<Value> = self
            .0
            .iter()
            .map(|(field, description)| {
                if field.is_empty() {
                    json!({ "description": description })
                } else {
                    json!({ "field": field, "description": description })
                }
            })
            .collect();
        Err(Status::new(Code::InvalidArgument, messages.join("\n")).with_detail(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": violations,
        })))
    }
}

fn message(schema: &Schema, name: &str, value: &Value, path: &str, out: &mut Violations) -> Option<Value> {
    let Some(fields) = schema.message(name) else { return Some(value.clone()) };
    let Value::Object(object) = value else {
        out.wrong_type(path, name, value);
        return None;
    };
    let mut normal = Map::new();
    for (key, value) in object {
        let Some((json_name, field)) = find(fields, key) else {
            unknown(key, path, out);
            continue;
        };
        if value.is_null() || field.output_only {
            continue;
        }
        let at = join(path, &snake_case(json_name));
        if let Some(value) = shaped(schema, &field.shape, value, &at, out) {
            normal.insert(json_name.to_owned(), value);
        }
    }
    Some(Value::Object(normal))
}

fn find<'a>(
    fields: &'a std::collections::BTreeMap<String, Field>,
    key: &str,
) -> Option<(&'a str, &'a Field)> {
    fields
        .get_key_value(key)
        .or_else(|| fields.get_key_value(camel_case(key).as_str()))
        .map(|(name, field)| (name.as_str(), field))
}

fn unknown(key: &str, path: &str, out: &mut Violations) {
    let at = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
    out.add(path, format!("Invalid JSON payload received. Unknown name \"{key}\"{at}: Cannot find field."));
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// `None` for what counts as absent, and for what was reported.
fn shaped(schema: &Schema, shape: &Shape, value: &Value, path: &str, out: &mut Violations) -> Option<Value> {
    match shape {
        Shape::Message(name) => message(schema, name, value, path, out),
        Shape::List(inner) => list(schema, inner, value, path, out),
        Shape::Map(inner) => map(schema, inner, value, path, out),
        Shape::Enum(key) => enumerated(schema, key, value, path, out),
        Shape::Any => Some(value.clone()),
        _ => match scalar(shape, value) {
            Ok(normal) => Some(normal),
            Err(kind) => {
                out.wrong_type(path, kind, value);
                None
            }
        },
    }
}

fn list(schema: &Schema, inner: &Shape, value: &Value, path: &str, out: &mut Violations) -> Option<Value> {
    let Value::Array(items) = value else {
        out.wrong_type(path, "repeated field", value);
        return None;
    };
    let mut normal = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        normal.extend(shaped(schema, inner, item, &format!("{path}[{index}]"), out));
    }
    Some(Value::Array(normal))
}

fn map(schema: &Schema, inner: &Shape, value: &Value, path: &str, out: &mut Violations) -> Option<Value> {
    let Value::Object(entries) = value else {
        out.wrong_type(path, "map", value);
        return None;
    };
    let mut normal = Map::new();
    for (key, item) in entries {
        if let Some(item) = shaped(schema, inner, item, &format!("{path}[\"{key}\"]"), out) {
            normal.insert(key.clone(), item);
        }
    }
    Some(Value::Object(normal))
}

/// Enum names; the value numbered 0 counts as absent, as in proto3.
fn enumerated(schema: &Schema, key: &str, value: &Value, path: &str, out: &mut Violations) -> Option<Value> {
    let values = schema.values(key)?;
    let found = match value {
        Value::String(name) => values.get_key_value(name),
        Value::Number(number) => {
            number.as_i64().filter(|n| *n >= 0).and_then(|n| values.iter().find(|(_, number)| **number == n))
        }
        _ => None,
    };
    match found {
        Some((_, 0)) => None,
        Some((name, _)) if name.ends_with("_UNSPECIFIED") => None,
        Some((name, _)) => Some(json!(name)),
        None if value == &json!(0) => None,
        None => {
            out.wrong_type(path, key, value);
            None
        }
    }
}

/// The normal form of a scalar, or the name of the type that it should have.
fn scalar(shape: &Shape, value: &Value) -> Result<Value, &'static str> {
    let (normal, kind) = match shape {
        Shape::Text => (value.is_string().then(|| value.clone()), "TYPE_STRING"),
        Shape::Bool => (value.is_boolean().then(|| value.clone()), "TYPE_BOOL"),
        Shape::Int32 => (integer(value).and_then(|n| i32::try_from(n).ok()).map(|n| json!(n)), "TYPE_INT32"),
        Shape::Uint32 => {
            (integer(value).and_then(|n| u32::try_from(n).ok()).map(|n| json!(n)), "TYPE_UINT32")
        }
        Shape::Int64 => {
            (integer(value).and_then(|n| i64::try_from(n).ok()).map(|n| json!(n.to_string())), "TYPE_INT64")
        }
        Shape::Uint64 => {
            (integer(value).and_then(|n| u64::try_from(n).ok()).map(|n| json!(n.to_string())), "TYPE_UINT64")
        }
        Shape::Double => (double(value), "TYPE_DOUBLE"),
        Shape::Bytes => (value.as_str().and_then(standard_base64).map(|text| json!(text)), "TYPE_BYTES"),
        Shape::Timestamp => (
            value.as_str().and_then(timestamp).map(|text| json!(text)),
            "type.googleapis.com/google.protobuf.Timestamp",
        ),
        Shape::Duration => (
            value.as_str().and_then(duration).map(|text| json!(text)),
            "type.googleapis.com/google.protobuf.Duration",
        ),
        Shape::Mask => {
            (value.as_str().map(|text| json!(mask(text))), "type.googleapis.com/google.protobuf.FieldMask")
        }
        Shape::List(_) | Shape::Map(_) | Shape::Enum(_) | Shape::Message(_) | Shape::Any => {
            (Some(value.clone()), "")
        }
    };
    normal.ok_or(kind)
}

/// Whole numbers as numbers or strings; `100.0` is whole.
fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => whole(number),
        _ => None,
    }
}

fn whole(number: &Number) -> Option<i128> {
    if let Some(n) = number.as_i64() {
        return Some(n.into());
    }
    if let Some(n) = number.as_u64() {
        return Some(n.into());
    }
    let float = number.as_f64()?;
    // Beyond 2^53 a float does not say which whole number it is.
    #[allow(clippy::cast_possible_truncation)]
    (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i128)
}

fn double(value: &Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(value.clone()),
        Value::String(text) if matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => {
            Some(value.clone())
        }
        Value::String(text) => text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
        _ => None,
    }
}

/// Decodes standard or URL-safe base64, with or without padding.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    [&STANDARD, &URL_SAFE, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD]
        .into_iter()
        .find_map(|engine| engine.decode(text).ok())
}

fn standard_base64(text: &str) -> Option<String> {
    decode_base64(text).map(|bytes| STANDARD.encode(bytes))
}

fn timestamp(text: &str) -> Option<String> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    Some(instant.to_string())
}

/// Seconds with up to nine decimals and `s`; trailing zeros go.
fn duration(text: &str) -> Option<String> {
    let seconds = text.strip_suffix('s')?;
    let (sign, digits) = seconds.strip_prefix('-').map_or(("", seconds), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 12 || fraction.len() > 9 || !is_digits(whole) || !is_digits(fraction)
    {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}s"))
}

/// A field mask with camelCase paths.
pub fn mask(text: &str) -> String {
    let paths: Vec<String> =
        text.split(',').map(str::trim).filter(|path| !path.is_empty()).map(camel_case).collect();
    paths.join(",")
}

/// `service_account` to `serviceAccount`; what has no underscore stays.
pub fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut raise = false;
    for character in name.chars() {
        if character == '_' && !out.is_empty() {
            raise = true;
        } else if raise {
            out.extend(character.to_uppercase());
            raise = false;
        } else {
            out.push(character);
        }
    }
    out
}

/// `serviceAccount` to `service_account`.
pub fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(character.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    fn service(body: &Value) -> Result<Value, Status> {
        normalise(schema::of("run.v2").unwrap(), "Service", body)
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_place() {
        let error = service(&json!({"template": {"cpuIdel": true}})).unwrap_err();
        assert_eq!(
            error.message,
            "Invalid JSON payload received. Unknown name \"cpuIdel\" at 'service.template': Cannot find field."
        );
        assert_eq!(error.details[0]["fieldViolations"][0]["field"], "service.template");
    }

    #[test]
    fn every_violation_is_reported() {
        let error = service(&json!({"a": 1, "template": {"timeout": 300}})).unwrap_err();
        assert_eq!(error.details[0]["fieldViolations"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn names_may_be_written_with_underscores() {
        let normal = service(&json!({"template": {"service_account": "a@b.c"}})).unwrap();
        assert_eq!(normal["template"]["serviceAccount"], "a@b.c");
    }

    #[test]
    fn null_and_output_only_fields_count_as_absent() {
        let normal = service(&json!({"uid": "u", "createTime": "now", "labels": null, "etag": "e"})).unwrap();
        assert_eq!(normal, json!({"etag": "e"}));
    }

    #[test]
    fn enums_are_read_by_number_and_kept_by_name() {
        let normal = service(&json!({"ingress": 2, "launchStage": 4})).unwrap();
        assert_eq!(normal, json!({"ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY", "launchStage": "GA"}));
        assert!(service(&json!({"ingress": "INGRESS_ALL"})).is_err());
        assert!(service(&json!({"ingress": 99})).is_err());
        assert_eq!(service(&json!({"ingress": "INGRESS_TRAFFIC_UNSPECIFIED"})).unwrap(), json!({}));
    }

    #[test]
    fn int64_becomes_a_string_and_int32_a_number() {
        let schema = schema::of("secretmanager.v1").unwrap();
        let normal =
            normalise(schema, "AddSecretVersionRequest", &json!({"payload": {"dataCrc32c": 5}})).unwrap();
        assert_eq!(normal["payload"]["dataCrc32c"], "5");
        let normal = service(&json!({"template": {"maxInstanceRequestConcurrency": "80"}})).unwrap();
        assert_eq!(normal["template"]["maxInstanceRequestConcurrency"], 80);
        assert!(service(&json!({"template": {"maxInstanceRequestConcurrency": 1.5}})).is_err());
    }

    #[test]
    fn bytes_may_be_url_safe_and_unpadded() {
        assert_eq!(standard_base64("9md-Mg").as_deref(), Some("9md+Mg=="));
        assert_eq!(standard_base64("9md-Mg==").as_deref(), Some("9md+Mg=="));
        assert_eq!(standard_base64("***"), None);
    }

    #[test]
    fn durations_need_their_unit() {
        assert_eq!(duration("2592000.0s").as_deref(), Some("2592000s"));
        assert_eq!(duration("1.50s").as_deref(), Some("1.5s"));
        assert_eq!(duration("300"), None);
        assert_eq!(duration("5m"), None);
    }

    #[test]
    fn masks_are_kept_in_json_names() {
        assert_eq!(
            mask("display_name, labels,template.service_account"),
            "displayName,labels,template.serviceAccount"
        );
    }
}
