//! Keeps the values of plain environment variables out of machine-readable output.
//!
//! They are no secrets, yet a plan in JSON travels into logs and comments, where nobody asked for them.
//! Variables that `plan.show_env` lists are shown.

use serde_json::Value;

/// What stands in place of a value.
pub const REDACTED: &str = "(redacted)";

/// `value`, which stands at `pointer` of a spec, without the values of environment variables that `shown`
/// does not list. Environment variables are the entries of every object (or list) whose key is `env`.
pub fn redacted(value: &Value, pointer: &str, shown: &[String]) -> Value {
    let mut value = value.clone();
    let steps: Vec<_> = pointer.split('/').skip(1).map(unescaped).collect();
    match steps.iter().position(|step| is_env(step)) {
        None => walk(&mut value, shown),
        Some(env) => match steps.get(env + 1) {
            None => hide_all(&mut value, shown),
            Some(name) => hide(&mut value, name, shown),
        },
    }
    value
}

fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// The keys of the `v2:` patch are dotted paths, so that `env` may stand at the end of one.
fn is_env(key: &str) -> bool {
    key.rsplit('.').next() == Some("env")
}

fn walk(value: &mut Value, shown: &[String]) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                if is_env(key) { hide_all(field, shown) } else { walk(field, shown) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, shown)),
        _ => {}
    }
}

/// Hides the entries of a map by name, or of a list of `{name, value}`. Something else that is called
/// `env`, such as a label, is no collection of variables.
fn hide_all(variables: &mut Value, shown: &[String]) {
    match variables {
        Value::Object(entries) => entries.iter_mut().for_each(|(name, value)| hide(value, name, shown)),
        Value::Array(items) => {
            for item in items {
                let name = item["name"].as_str().unwrap_or_default().to_owned();
                match item {
                    Value::Object(fields) => {
                        if let Some(value) = fields.get_mut("value") {
                            hide(value, &name, shown);
                        }
                    }
                    other => hide(other, "", shown),
                }
            }
        }
        _ => {}
    }
}

fn hide(value: &mut Value, name: &str, shown: &[String]) {
    if !shown.iter().any(|listed| listed == name) {
        *value = Value::from(REDACTED);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_are_hidden_wherever_the_value_was_cut_out() {
        let spec = json!({"env": {"A": "aaaa"}, "sidecars": {"proxy": {"env": {"B": "bbbb"}, "image": "i"}}});
        let hidden =
            json!({"env": {"A": REDACTED}, "sidecars": {"proxy": {"env": {"B": REDACTED}, "image": "i"}}});
        assert_eq!(redacted(&spec, "", &[]), hidden);
        for pointer in ["/env", "/env/A", "/sidecars", "/sidecars/proxy", "/sidecars/proxy/env/B"] {
            let cut = redacted(spec.pointer(pointer).unwrap(), pointer, &[]);
            assert_eq!(Some(&cut), hidden.pointer(pointer), "{pointer}");
        }
    }

    #[test]
    fn a_listed_variable_is_shown() {
        let shown = ["LOG_LEVEL".to_owned()];
        assert_eq!(redacted(&json!("DEBUG"), "/env/LOG_LEVEL", &shown), json!("DEBUG"));
        assert_eq!(
            redacted(&json!({"env": {"LOG_LEVEL": "DEBUG", "X": "x"}}), "", &shown)["env"]["X"],
            REDACTED
        );
    }

    #[test]
    fn a_label_called_env_is_no_variable() {
        assert_eq!(redacted(&json!("dev"), "/labels/env", &[]), json!("dev"));
        assert_eq!(redacted(&json!({"labels": {"env": "dev"}}), "", &[])["labels"]["env"], "dev");
    }

    #[test]
    fn variables_in_a_patch_are_hidden_too() {
        let patch = json!({"template.containers.init.env": [{"name": "A", "value": "aaaa"}, {"name": "B"}]});
        let hidden =
            json!({"template.containers.init.env": [{"name": "A", "value": REDACTED}, {"name": "B"}]});
        assert_eq!(redacted(&patch, "/v2", &[]), hidden);
    }
}
