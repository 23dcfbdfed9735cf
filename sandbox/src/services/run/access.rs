//! Short readers and writers over JSON documents. A sandbox document is whatever a client sent, so every
//! reader answers something sensible when the field is absent or has another type.

use serde_json::{Map, Value};

/// The string at `key`, empty when absent (proto3 does not tell the two apart).
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The list at `key`, empty when absent.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The integer at `key`, as a number or as ProtoJSON's int64 string; 0 when absent.
pub(super) fn int(value: &Value, key: &str) -> i64 {
    match value.get(key) {
        Some(Value::Number(number)) => number.as_i64().unwrap_or_default(),
        Some(Value::String(text)) => text.parse().unwrap_or_default(),
        _ => 0,
    }
}

/// The boolean at `key`, false when absent.
pub(super) fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or_default()
}

/// The objects of the list at `key`, to be changed.
pub(super) fn objects_mut<'a>(
    value: &'a mut Value,
    key: &str,
) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Sets `key` of an object; anything else than an object stays as it is.
pub(super) fn set(value: &mut Value, key: &str, new: impl Into<Value>) {
    if let Some(map) = value.as_object_mut() {
        map.insert(key.to_owned(), new.into());
    }
}

/// Sets `key` only when it is absent.
pub(super) fn set_default(value: &mut Value, key: &str, new: impl Into<Value>) {
    if value.get(key).is_none() {
        set(value, key, new);
    }
}

/// Removes `key` of an object.
pub(super) fn unset(value: &mut Value, key: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(key);
    }
}

/// An object with `fields` of `value`, those that are present.
pub(super) fn pick(value: &Value, fields: &[&str]) -> Value {
    let mut picked = Map::new();
    for field in fields {
        if let Some(found) = value.get(*field) {
            picked.insert((*field).to_owned(), found.clone());
        }
    }
    Value::Object(picked)
}

/// Whole seconds of a ProtoJSON duration such as `300s`; `None` when it is not one.
pub(super) fn seconds(duration: &str) -> Option<f64> {
    duration.strip_suffix('s').and_then(|number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_reads_as_the_default_of_its_type() {
        let doc = json!({});
        assert_eq!((text(&doc, "a"), int(&doc, "a"), flag(&doc, "a")), ("", 0, false));
        assert!(list(&doc, "a").is_empty());
    }

    #[test]
    fn int64_is_read_from_a_string() {
        assert_eq!(int(&json!({"generation": "7"}), "generation"), 7);
    }

    #[test]
    fn pick_leaves_out_what_is_absent() {
        assert_eq!(pick(&json!({"a": 1, "b": 2}), &["a", "c"]), json!({"a": 1}));
    }

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(seconds("300s"), Some(300.0));
        assert_eq!(seconds("300"), None);
    }
}
