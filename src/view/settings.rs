//! What a new object will look like: few words behind its address, or a line for each setting.

use serde_json::{Map, Value};

use crate::plan::diff;
use crate::resource::Address;

/// Settings of a new object that describe its state, not a wish, and how it is released, which is told by itself.
const STATE: [&str; 6] = ["newest_revision", "readiness", "traffic", "last_release", "gated", "migrations"];

/// Specs with up to this many settings are told in one line, when they are short.
const FEW: usize = 4;

/// More characters than that are not.
const SHORT: usize = 120;

/// What a reviewer looks for first; the rest follows by name.
const FIRST: [&str; 7] = ["image", "command", "args", "port", "cpu", "memory", "service_account"];

/// The few settings of a small spec, e.g. `version 1 (hex32)`; without those that its name says already.
pub fn inline(address: &Address, spec: &Value) -> Option<String> {
    let fields = spec.as_object()?;
    if address.kind == "secret_value" {
        let version = diff::text(fields.get("version"));
        let generator = fields.get("generate").map(|generator| format!(" ({})", diff::text(Some(generator))));
        return Some(format!("version {version}{}", generator.unwrap_or_default()));
    }
    let unsaid = unsaid(address, fields);
    (is_small(fields, &unsaid) && !unsaid.is_empty()).then(|| unsaid.join(", "))
}

/// One line for each setting of a large spec; nothing for a small one.
pub fn settings(address: &Address, spec: &Value) -> Vec<String> {
    let Some(fields) = spec.as_object() else { return Vec::new() };
    if is_small(fields, &unsaid(address, fields)) { Vec::new() } else { told(fields) }
}

fn unsaid(address: &Address, fields: &Map<String, Value>) -> Vec<String> {
    let unsaid = fields.iter().filter(|(_, value)| !says(&address.name, value));
    told(&unsaid.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn is_small(fields: &Map<String, Value>, unsaid: &[String]) -> bool {
    told(fields).len() <= FEW && unsaid.iter().map(String::len).sum::<usize>() <= SHORT
}

/// A part of the name (`ON:ROLE:MEMBER`) is the value or its essence: `roles/run.invoker` is told by
/// `invoker`, `serviceAccount:api@...` by `api`, and the path `projects/1/pools/ci` by `1/ci`. Or the name has the
/// value whole.
fn says(name: &str, value: &Value) -> bool {
    let Some(value) = value.as_str() else { return false };
    let essence = |part: &str| {
        let ends = value.split_once('@').map_or(value, |(account, _)| account);
        ends.strip_suffix(part).is_some_and(|before| before.is_empty() || before.ends_with([':', '/', '.']))
    };
    let path_of = |part: &str| {
        let mut steps = value.split('/');
        part.contains('/')
            && part.split('/').all(|wanted| steps.any(|step| step == wanted))
            && steps.next().is_none()
    };
    let whole = name == value || name.ends_with(&format!(":{value}")) || name.contains(&format!(":{value}:"));
    whole || name.split(':').any(|part| !part.is_empty() && (essence(part) || path_of(part)))
}

/// `key: value` of everything that is set in an object, at any depth.
pub fn spread(fields: &Map<String, Value>) -> Vec<String> {
    let lines = fields.iter().filter(|(_, value)| !is_nothing(value)).flat_map(|(key, value)| match value {
        Value::Object(inner) => spread(inner).iter().map(|line| format!("{key}.{line}")).collect(),
        value => vec![format!("{key}: {}", diff::text(Some(value)))],
    });
    lines.collect()
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
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !is_nothing(value));
            let kept: Map<_, _> = fields.map(|(key, value)| (key.clone(), value.clone())).collect();
            format!("{key}.{name}: {}", diff::text(Some(&Value::Object(kept))))
        }
        value => format!("{key}.{name}: {}", diff::text(Some(value))),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inline(at: &str, spec: &Value) -> Option<String> {
        super::inline(&at.parse().unwrap(), spec)
    }

    #[test]
    fn a_value_to_be_made_is_told_by_version_and_generator() {
        let told = inline("secret_value/jwt", &json!({"version": 3, "generate": "hex32"}));
        assert_eq!(told.as_deref(), Some("version 3 (hex32)"));
    }

    #[test]
    fn what_the_name_says_is_not_said_again() {
        let public = json!({"on": "x", "role": "roles/run.invoker", "member": "allUsers"});
        assert_eq!(inline("run_grant/x:invoker:allUsers", &public), None);
        let mut ours = json!({
            "on": "db-dev", "role": "roles/secretmanager.secretAccessor",
            "member": "serviceAccount:api-dev@p.iam.gserviceaccount.com",
        });
        let address = "secret_grant/db-dev:secretAccessor:api-dev";
        assert_eq!(inline(address, &ours), None);
        assert_eq!(settings(&address.parse().unwrap(), &ours), Vec::<String>::new());
        ours["condition"] = json!({"title": "office"});
        assert_eq!(inline(address, &ours).as_deref(), Some("condition: {title: office}"));
        let pool = json!({"member": "principalSet://iam.example/projects/1/locations/global/pools/ci/attribute.id/9"});
        assert_eq!(inline("account_grant/a:user:principalSet:1/ci/attribute.id/9", &pool), None);
        assert!(inline("account_grant/a:user:principalSet:1/ci/attribute.id/8", &pool).is_some());
    }

    #[test]
    fn a_name_that_only_resembles_a_value_does_not_say_it() {
        let told = inline("service_account/api", &json!({"display_name": "apis", "on": "web-api"}));
        assert_eq!(told.as_deref(), Some("display_name: apis, on: web-api"));
    }

    #[test]
    fn a_small_spec_stands_on_the_line_of_its_address() {
        let account = json!({"display_name": "agent-army api"});
        assert_eq!(
            inline("service_account/api-dev", &account).as_deref(),
            Some("display_name: agent-army api")
        );
        assert_eq!(inline("secret/a", &json!({"labels": {}, "locations": []})), None);
    }

    #[test]
    fn few_settings_that_are_long_get_lines() {
        let long = json!({"condition": "x".repeat(200)});
        let address = "identity_provider/github";
        assert_eq!(inline(address, &long), None);
        assert_eq!(settings(&address.parse().unwrap(), &long).len(), 1);
    }

    #[test]
    fn a_large_spec_gets_a_line_for_each_setting_that_is_set() {
        let spec = json!({
            "image": "i", "cpu": "1", "memory": "1Gi", "args": [], "env": {"A": "1", "B": ""}, "labels": {},
            "startup_probe": {"path": "/h"}, "traffic": "100% newest", "secrets": {"DB": "db:1"},
            "sidecars": {"proxy": {"image": "p", "args": []}},
        });
        insta::assert_snapshot!(settings(&"run_service/api".parse().unwrap(), &spec).join("\n"), @r#"
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
