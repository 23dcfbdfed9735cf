//! What a new object will look like: few words behind its address, or a line for each setting.

use serde_json::{Map, Value};

use crate::plan::diff;

/// Kinds whose address says it all.
const NAME_SAYS_ALL: [&str; 3] = ["api", "run_grant", "secret_grant"];

/// Settings of a new object that describe its state, not a wish.
const STATE: [&str; 3] = ["newest_revision", "readiness", "traffic"];

/// Specs with up to this many settings are told in one line.
const FEW: usize = 4;

/// What a reviewer looks for first; the rest follows by name.
const FIRST: [&str; 7] = ["image", "command", "args", "port", "cpu", "memory", "service_account"];

/// The few settings of a small spec, e.g. `version 1 (hex32)`.
pub fn inline(kind: &str, spec: &Value) -> Option<String> {
    let fields = spec.as_object()?;
    if kind == "secret_value" {
        let version = diff::text(fields.get("version"));
        let generator = fields.get("generate").map(|generator| format!(" ({})", diff::text(Some(generator))));
        return Some(format!("version {version}{}", generator.unwrap_or_default()));
    }
    let told = told(fields);
    if NAME_SAYS_ALL.contains(&kind) || told.is_empty() || told.len() > FEW {
        return None;
    }
    Some(told.join(", "))
}

/// One line for each setting of a large spec; nothing for a small one.
pub fn settings(kind: &str, spec: &Value) -> Vec<String> {
    let Some(fields) = spec.as_object() else { return Vec::new() };
    let told = told(fields);
    if NAME_SAYS_ALL.contains(&kind) || kind == "secret_value" || told.len() <= FEW {
        return Vec::new();
    }
    told
}

/// `key: value` of everything that is set. Maps whose values are no maps get a line for each entry.
fn told(fields: &Map<String, Value>) -> Vec<String> {
    let mut keys: Vec<_> = fields.keys().filter(|key| !STATE.contains(&key.as_str())).collect();
    keys.sort_by_key(|key| (FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len()), *key));
    let mut lines = Vec::new();
    for key in keys {
        match &fields[key] {
            Value::Null => {}
            Value::Array(items) if items.is_empty() => {}
            Value::Object(entries) if by_name(key) => {
                lines.extend(entries.iter().map(|(name, value)| entry(key, name, value)));
            }
            Value::Object(entries) if entries.is_empty() => {}
            value => lines.push(format!("{key}: {}", diff::text(Some(value)))),
        }
    }
    lines
}

/// Maps whose keys are names that the user chose.
fn by_name(key: &str) -> bool {
    matches!(key, "env" | "labels" | "secrets" | "sidecars" | "v2" | "volumes")
}

fn entry(key: &str, name: &str, value: &Value) -> String {
    let nothing = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !nothing(value));
            let kept: Map<_, _> = fields.map(|(key, value)| (key.clone(), value.clone())).collect();
            format!("{key}.{name}: {}", diff::text(Some(&Value::Object(kept))))
        }
        value => format!("{key}.{name}: {}", diff::text(Some(value))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_to_be_made_is_told_by_version_and_generator() {
        let told = inline("secret_value", &json!({"version": 3, "generate": "hex32"}));
        assert_eq!(told.as_deref(), Some("version 3 (hex32)"));
    }

    #[test]
    fn a_grant_is_told_by_its_name() {
        let grant = json!({"on": "x", "role": "roles/run.invoker", "member": "allUsers"});
        assert_eq!(inline("run_grant", &grant), None);
        assert_eq!(settings("run_grant", &grant), Vec::<String>::new());
    }

    #[test]
    fn a_small_spec_stands_on_the_line_of_its_address() {
        assert_eq!(
            inline("service_account", &json!({"display_name": "api"})).as_deref(),
            Some("display_name: api")
        );
        assert_eq!(inline("secret", &json!({"labels": {}, "locations": []})), None);
    }

    #[test]
    fn a_large_spec_gets_a_line_for_each_setting_that_is_set() {
        let spec = json!({
            "image": "i", "cpu": "1", "memory": "1Gi", "args": [], "env": {"A": "1", "B": ""}, "labels": {},
            "startup_probe": {"path": "/h"}, "traffic": "100% newest", "secrets": {"DB": "db:1"},
            "sidecars": {"proxy": {"image": "p", "args": []}},
        });
        insta::assert_snapshot!(settings("run_service", &spec).join("\n"), @r#"
        image: i
        cpu: 1
        memory: 1Gi
        env.A: 1
        env.B: ""
        secrets.DB: db:1
        sidecars.proxy: {image: p}
        startup_probe: {path: /h}
        "#);
    }
}
