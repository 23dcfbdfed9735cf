//! The `v2:` patch: any field of the v2 Service that the format has no word for, as leaves by path.
//!
//! `template.containers` and `template.volumes` are maps by name in the patch and lists at Google. The
//! container that receives requests is called `main` in paths, since its name at Google is not managed. Dots
//! within a key are escaped in paths: `limits.nvidia\.com/gpu`. A `null` in the patch means that the field is
//! to be absent (RFC 7396).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Annotation of the service that lists the paths of the patch, so that removing one is seen.
pub const PATHS: &str = "deployer/v2-paths";

const MAIN: &str = "main";

/// Lists without an order: Cloud Run does not promise to keep the one in which they were written.
const SETS: [&str; 1] = ["customAudiences"];

/// The leaves of a patch; `key` is the service's key, by which the YAML calls the main container.
pub fn leaves(patch: &Value, key: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect("", patch, &mut found);
    let own = format!("template.containers.{key}.");
    let main = format!("template.containers.{MAIN}.");
    let found = found.into_iter().map(|(path, value)| {
        let value = in_order(&path, value);
        (path.replacen(&own, &main, 1), value)
    });
    found.collect()
}

/// A list without an order in the one in which it is compared; everything else as it is.
fn in_order(path: &str, mut value: Value) -> Value {
    if let Value::Array(items) = &mut value
        && SETS.contains(&path)
    {
        items.sort_by_cached_key(Value::to_string);
    }
    value
}

fn collect(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let key = key.replace('.', r"\.");
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                collect(&path, value, found);
            }
        }
        leaf => {
            found.insert(path.to_owned(), leaf.clone());
        }
    }
}

/// The leaves that an earlier patch set, with their values now; `null` for what is not there.
pub fn read(doc: &Value) -> BTreeMap<String, Value> {
    let paths =
        doc["annotations"][PATHS].as_str().unwrap_or_default().split(',').filter(|path| !path.is_empty());
    let found = paths.map(|path| {
        let value = find(doc, path).cloned().unwrap_or_default();
        (path.to_owned(), in_order(path, value))
    });
    found.collect()
}

/// The keys of a path.
fn keys(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut rest = path.chars();
    while let Some(character) = rest.next() {
        let last = keys.len() - 1;
        match character {
            '.' => keys.push(String::new()),
            '\\' => keys[last].extend(rest.next()),
            other => keys[last].push(other),
        }
    }
    keys
}

/// Puts the leaves into `doc`, takes out those of an earlier patch that are gone, and records the paths.
/// Leaves of the template are touched only when `template` says so: writing them makes a revision.
pub fn write(doc: &mut Value, leaves: &BTreeMap<String, Value>, template: bool) {
    let touched = |path: &str| template || !path.starts_with("template.");
    for path in read(doc).into_keys().filter(|path| !leaves.contains_key(path) && touched(path)) {
        remove(doc, &keys(&path));
    }
    for (path, value) in leaves.iter().filter(|(path, _)| touched(path)) {
        match value {
            Value::Null => remove(doc, &keys(path)),
            value => set(doc, &keys(path), value.clone()),
        }
    }
    let paths: Vec<_> = leaves.keys().map(String::as_str).collect();
    crate::resource::kinds::labels::annotate(doc, PATHS, (!paths.is_empty()).then(|| paths.join(",")));
}

/// One step into an object by key, or into a list of named objects by name.
fn step<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields.get(key),
        Value::Array(items) => items.iter().find(|item| is_named(item, key)),
        _ => None,
    }
}

fn is_named(item: &Value, name: &str) -> bool {
    item["name"] == name || (name == MAIN && item["ports"].is_array())
}

fn find<'a>(doc: &'a Value, path: &str) -> Option<&'a Value> {
    keys(path).iter().try_fold(doc, |at, key| step(at, key))
}

fn set(doc: &mut Value, path: &[String], value: Value) {
    let mut at = doc;
    for key in path {
        // What is neither gives way: whether the result makes sense is for Google's types to say.
        if !at.is_object() && !at.is_array() {
            *at = Value::Object(Map::new());
        }
        at = match at {
            Value::Array(items) => {
                let found = items.iter().position(|item| is_named(item, key));
                let index = found.unwrap_or_else(|| {
                    items.push(json!({"name": key}));
                    items.len() - 1
                });
                &mut items[index]
            }
            other if key == "volumes" && !other[key].is_array() => {
                other[key] = json!([]);
                &mut other[key]
            }
            other => &mut other[key],
        };
    }
    *at = value;
}

/// Takes a leaf out, and the objects above it that this leaves empty; a list entry with nothing but its name
/// goes too where the patch made it, which is among the volumes.
fn remove(doc: &mut Value, path: &[String]) {
    let Some((last, parents)) = path.split_last() else { return };
    let Some(Value::Object(parent)) = find_mut(doc, parents) else { return };
    parent.remove(last);
    if parents.is_empty() || !parent.keys().all(|key| key == "name") {
        return;
    }
    match parents {
        [_, volumes, name] if volumes == "volumes" => {
            if let Value::Array(items) = &mut doc["template"]["volumes"] {
                items.retain(|item| !is_named(item, name));
            }
        }
        [_] => {}
        [_, containers, _] if containers == "containers" => {}
        parents => remove(doc, parents),
    }
}

fn find_mut<'a>(doc: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(doc, |at, key| match at {
        Value::Object(fields) => fields.get_mut(key),
        Value::Array(items) => items.iter_mut().find(|item| is_named(item, key)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_dots_and_nulls_are_kept_apart() {
        let mut doc = json!({"launchStage": "GA", "template": {"containers": [{"resources": {"limits": {"cpu": "1"}}, "ports": []}]}});
        let patch = json!({"launchStage": null, "template": {"containers": {"api": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}}});
        let leaves = leaves(&patch, "api");
        write(&mut doc, &leaves, true);
        assert_eq!(
            doc["template"]["containers"][0]["resources"]["limits"],
            json!({"cpu": "1", "nvidia.com/gpu": "1"})
        );
        assert_eq!(doc.get("launchStage"), None);
        assert_eq!(read(&doc), leaves);
        write(&mut doc, &BTreeMap::new(), true);
        assert_eq!(doc["template"]["containers"][0]["resources"]["limits"], json!({"cpu": "1"}));
    }

    #[test]
    fn the_order_of_audiences_is_no_difference() {
        let asked = leaves(&json!({"customAudiences": ["b", "a"], "template": {"x": [2, 1]}}), "api");
        let doc = json!({
            "annotations": {PATHS: "customAudiences,template.x"},
            "customAudiences": ["a", "b"],
            "template": {"x": [2, 1]},
        });
        assert_eq!(read(&doc), asked);
        let moved = json!({"annotations": {PATHS: "template.x"}, "template": {"x": [1, 2]}});
        assert_ne!(read(&moved)["template.x"], asked["template.x"]);
    }

    #[test]
    fn a_patch_reaches_named_containers_and_volumes_and_can_be_taken_back() {
        let original =
            json!({"template": {"containers": [{"ports": [{}], "image": "a"}, {"name": "proxy"}]}});
        let patch = json!({
            "customAudiences": ["x"],
            "template": {
                "nodeSelector": {"accelerator": "nvidia-l4"},
                "containers": {"api": {"workingDir": "/app"}, "proxy": {"workingDir": "/p"}},
                "volumes": {"share": {"nfs": {"server": "10.0.0.2", "path": "/"}}}
            }
        });
        let leaves = leaves(&patch, "api");
        let mut doc = original.clone();
        write(&mut doc, &leaves, true);
        assert_eq!(read(&doc), leaves);
        assert_eq!(doc["template"]["containers"][0]["workingDir"], "/app");
        assert_eq!(doc["template"]["containers"][1]["workingDir"], "/p");
        assert_eq!(doc["template"]["volumes"][0]["nfs"]["server"], "10.0.0.2");
        write(&mut doc, &BTreeMap::new(), true);
        assert_eq!(doc["template"]["containers"], original["template"]["containers"]);
        assert_eq!(doc.get("customAudiences"), None);
        assert_eq!(doc["template"].get("nodeSelector"), None);
        assert_eq!(doc["template"]["volumes"], json!([]));
    }

    #[test]
    fn a_leaf_below_a_text_is_set_and_not_a_panic() {
        let mut doc = json!({"launchStage": "GA"});
        let leaves = leaves(&json!({"launchStage": {"a": "b"}}), "api");
        write(&mut doc, &leaves, true);
        assert_eq!(read(&doc), leaves);
    }
}
