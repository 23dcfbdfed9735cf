//! The one structural diff: two specs of a kind as JSON, compared by pointer.

use serde_json::Value;

use super::FieldChange;

/// The fields in which `new` differs from `old`, sorted by pointer. Objects are compared key by key,
/// everything else as a whole; what stands on one side only is one field.
pub fn fields(old: &Value, new: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    walk(String::new(), Some(old), Some(new), &mut found);
    found
}

fn walk(pointer: String, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<FieldChange>) {
    if old == new {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (old, new) {
        let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let step = key.replace('~', "~0").replace('/', "~1");
            walk(format!("{pointer}/{step}"), old.get(key), new.get(key), found);
        }
        return;
    }
    let (old, new) = (old.cloned(), new.cloned());
    found.push(FieldChange { pointer, path: String::new(), old, new, location: None });
}

/// A value as the YAML would write it, on one line; `(none)` when there is none.
pub fn text(value: Option<&Value>) -> String {
    match value {
        None => "(none)".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "\"\"".to_owned(),
        Some(Value::String(text)) if !text.contains(['\n', '\r']) => text.clone(),
        Some(Value::Array(items)) => {
            format!("[{}]", items.iter().map(|item| text(Some(item))).collect::<Vec<_>>().join(", "))
        }
        Some(Value::Object(fields)) => {
            let fields = fields.iter().map(|(key, value)| format!("{key}: {}", text(Some(value))));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z/~]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c/~]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    /// Puts every change into `old`.
    fn patched(mut old: Value, changes: &[FieldChange]) -> Value {
        for change in changes {
            let Some((parent, key)) = change.pointer.rsplit_once('/') else {
                return change.new.clone().unwrap_or(Value::Null);
            };
            let key = key.replace("~1", "/").replace("~0", "~");
            let parent = old.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
            match &change.new {
                Some(new) => parent.insert(key, new.clone()),
                None => parent.remove(&key),
            };
        }
        old
    }

    proptest! {
        #[test]
        fn a_value_does_not_differ_from_itself(value in json_value()) {
            prop_assert_eq!(fields(&value, &value), vec![]);
        }

        #[test]
        fn the_changes_turn_old_into_new(old in json_value(), new in json_value()) {
            prop_assert_eq!(patched(old.clone(), &fields(&old, &new)), new);
        }
    }

    #[test]
    fn what_stands_on_one_side_only_is_one_field() {
        let found = fields(&json!({"a": 1}), &json!({"a": 1, "probe": {"path": "/", "port": 1}}));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pointer, "/probe");
        assert_eq!(found[0].old, None);
    }

    #[test]
    fn values_read_like_the_yaml() {
        assert_eq!(
            text(Some(&json!({"path": "/health", "period_seconds": 10}))),
            "{path: /health, period_seconds: 10}"
        );
        assert_eq!(text(Some(&json!(["a", 1, true]))), "[a, 1, true]");
        assert_eq!(text(Some(&json!("two\nlines"))), r#""two\nlines""#);
        assert_eq!(text(None), "(none)");
    }
}
