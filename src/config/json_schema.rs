//! The JSON Schema of a file, for editors and for our own check.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::schema::File;

/// The JSON Schema (draft 2020-12) of one file of `environments/`.
pub fn json_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<File>().to_value();
    close(&mut schema);
    if let Value::Object(root) = &mut schema {
        root.insert("title".into(), "Environment of deployer".into());
    }
    schema
}

/// The same schema for merged values, in which there is no `null` any more: every message is then about the one
/// thing that was expected, not about one of several branches.
pub(crate) fn without_null() -> Value {
    let mut schema = json_schema();
    strip_null(&mut schema);
    schema
}

/// Refuses keys that are not listed, in every object that lists keys, and lets a variable be any scalar.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("properties").is_some_and(Value::is_object) {
                object.insert("additionalProperties".into(), Value::Bool(false));
                loosen_variables(object);
            }
            object.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// `env` and `vars` take numbers and booleans too; they are text by the time that the types see them.
fn loosen_variables(object: &mut Map<String, Value>) {
    for key in ["env", "vars"] {
        if let Some(values) = object.get_mut("properties").and_then(|properties| properties.get_mut(key))
            && let Some(values) = values.as_object_mut()
            && values.contains_key("additionalProperties")
        {
            values.insert(
                "additionalProperties".into(),
                json!({"type": ["string", "number", "boolean", "null"]}),
            );
        }
    }
}

fn strip_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            strip_null_type(object);
            strip_null_branch(object);
            object.values_mut().for_each(strip_null);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_null),
        _ => {}
    }
}

fn strip_null_type(object: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = object.get_mut("type") else { return };
    types.retain(|name| name != "null");
    if let [only] = types.as_slice() {
        let only = only.clone();
        object.insert("type".into(), only);
    }
}

fn strip_null_branch(object: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = object.get_mut("anyOf") else { return };
    branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
    if branches.len() == 1
        && let Some(Value::Object(only)) = branches.pop()
    {
        object.remove("anyOf");
        object.extend(only);
    }
}

/// The part of `schema` that describes the value at `path`, with references followed.
pub(crate) fn at<'a>(schema: &'a Value, path: &[String]) -> Option<&'a Value> {
    follow(schema, written_at(schema, path)?)
}

/// The same with a last reference not followed: a key's own description stands beside its reference.
pub(crate) fn written_at<'a>(schema: &'a Value, path: &[String]) -> Option<&'a Value> {
    let mut here = schema;
    for key in path {
        here = child(schema, follow(schema, here)?, key)?;
    }
    Some(here)
}

fn child<'a>(root: &'a Value, here: &'a Value, key: &str) -> Option<&'a Value> {
    if let Some(property) = here.get("properties").and_then(|properties| properties.get(key)) {
        return Some(property);
    }
    // A list beside a map is its short form: its items are asked for by position only.
    if let Some(items) = here.get("items").filter(|_| key.parse::<usize>().is_ok()) {
        return Some(items);
    }
    if let Some(values) = here.get("additionalProperties").filter(|values| values.is_object()) {
        return Some(values);
    }
    let branches = here.get("anyOf")?.as_array()?;
    branches.iter().find_map(|branch| child(root, follow(root, branch)?, key))
}

pub(crate) fn follow<'a>(root: &'a Value, mut here: &'a Value) -> Option<&'a Value> {
    while let Some(reference) = here.get("$ref").and_then(Value::as_str) {
        here = root.pointer(reference.strip_prefix('#')?)?;
    }
    Some(here)
}

/// The keys that may stand in the map at `path`; none when its keys are names that the user chooses.
pub(crate) fn keys_at<'a>(schema: &'a Value, path: &[String]) -> Vec<&'a str> {
    let Some(here) = at(schema, path) else { return Vec::new() };
    let mut keys = properties(here);
    for branch in here.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        keys.extend(follow(schema, branch).map(properties).unwrap_or_default());
    }
    keys
}

fn properties(schema: &Value) -> Vec<&str> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(keys: &str) -> Vec<String> {
        keys.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn every_object_with_keys_is_closed() {
        let schema = json_schema();
        let service = at(&schema, &path("defaults")).unwrap();
        assert!(service.get("anyOf").is_some() || service["additionalProperties"] == false);
        let schema = without_null();
        assert_eq!(at(&schema, &path("services.api")).unwrap()["additionalProperties"], false);
        assert_eq!(at(&schema, &path("services.api.sidecars.proxy")).unwrap()["additionalProperties"], false);
    }

    #[test]
    fn a_service_takes_the_keys_of_a_container_and_a_sidecar_takes_no_port() {
        let schema = without_null();
        let service = keys_at(&schema, &path("services.api"));
        assert!(service.contains(&"memory") && service.contains(&"port"));
        let sidecar = keys_at(&schema, &path("services.api.sidecars.proxy"));
        assert!(sidecar.contains(&"memory") && !sidecar.contains(&"port"));
    }

    #[test]
    fn every_key_is_documented() {
        let schema = without_null();
        for object in [
            "",
            "project",
            "services.x",
            "services.x.vpc",
            "services.x.startup_probe",
            "secrets.x",
            "registry",
            "registry.retention",
            "tenants",
            "tenants.list.x",
            "services.x.metrics",
            "jobs.x",
            "migrations.x",
            "github",
            "github.identity",
            "plan",
            "lint",
        ] {
            let keys = if object.is_empty() { vec![] } else { path(object) };
            for key in keys_at(&schema, &keys) {
                let mut full = keys.clone();
                full.push(key.to_owned());
                let documented =
                    written_at(&schema, &full).is_some_and(|found| found.get("description").is_some());
                assert!(documented, "{object}.{key}");
            }
        }
    }

    #[test]
    fn the_merged_schema_knows_no_null() {
        assert!(!without_null().to_string().contains("\"null\""));
    }
}
