//! The order that a client may not rely on. Cloud Run keeps the order of containers and of traffic targets;
//! what it does not promise to keep, the sandbox shuffles, the same way for the same version of an object.

use super::access::{objects_mut, text};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A resource as a client sees it.
pub(super) fn disorder(mut doc: Value) -> Value {
    let seed = format!("{}{}", text(&doc, "uid"), text(&doc, "generation"));
    shuffle(&mut doc, "conditions", &seed);
    shuffle(&mut doc, "customAudiences", &seed);
    template(&mut doc, &seed);
    doc
}

/// The same document in one order, to compare two that differ by order only.
pub(super) fn in_order(mut doc: Value) -> Value {
    sort(&mut doc, "volumes");
    for container in objects_mut(&mut doc, "containers") {
        for key in ["env", "volumeMounts", "dependsOn"] {
            sort(container, key);
        }
    }
    if let Some(inner) = doc.get_mut("template") {
        *inner = in_order(inner.take());
    }
    doc
}

fn template(doc: &mut Value, seed: &str) {
    shuffle(doc, "volumes", seed);
    for container in objects_mut(doc, "containers") {
        for key in ["env", "volumeMounts", "dependsOn"] {
            shuffle(container, key, seed);
        }
    }
    // A service has one template, a job one within another.
    if let Some(inner) = doc.get_mut("template") {
        template(inner, seed);
    }
}

fn shuffle(owner: &mut Value, key: &str, seed: &str) {
    if let Some(items) = owner.get_mut(key).and_then(Value::as_array_mut) {
        items.sort_by_cached_key(|item| Sha256::digest(format!("{seed}{key}{item}").as_bytes()).to_vec());
    }
}

fn sort(owner: &mut Value, key: &str) {
    if let Some(items) = owner.get_mut(key).and_then(Value::as_array_mut) {
        items.sort_by_cached_key(Value::to_string);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(generation: &str) -> Value {
        let env: Vec<Value> = (0..9).map(|number| json!({"name": format!("V{number}")})).collect();
        json!({"uid": "u", "generation": generation,
               "template": {"containers": [{"name": "b", "env": env}, {"name": "a"}]}})
    }

    #[test]
    fn the_environment_comes_back_in_another_order() {
        let seen = disorder(service("1"));
        assert_ne!(seen, service("1"));
        assert_eq!(in_order(seen["template"].clone()), in_order(service("1")["template"].clone()));
    }

    #[test]
    fn the_order_is_the_same_until_the_object_changes() {
        assert_eq!(disorder(service("1")), disorder(service("1")));
        let env =
            |generation: &str| disorder(service(generation))["template"]["containers"][0]["env"].clone();
        assert_ne!(env("1"), env("2"));
    }

    #[test]
    fn containers_keep_their_order() {
        assert_eq!(disorder(service("1"))["template"]["containers"][1]["name"], "a");
    }
}
