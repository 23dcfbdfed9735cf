//! Labels of the user beside labels of others: which ones deployer wrote stands in an annotation.
//!
//! Other tools label the same objects (`commit-sha`, `client`). Their labels are left alone and never
//! appear in a plan; a label that the YAML dropped is known from the annotation, and removed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::resource::Ownership;

/// The annotation of Cloud Run's services and jobs.
pub const RUN: &str = "deployer/labels";

/// The labels that the annotation `key` says are from the YAML.
pub fn read(doc: &Value, key: &str) -> BTreeMap<String, String> {
    let written = doc["annotations"][key].as_str().unwrap_or_default();
    let labels = written.split(',').filter_map(|name| {
        let value = doc["labels"][name].as_str()?;
        Some((name.to_owned(), value.to_owned()))
    });
    labels.collect()
}

/// `doc` with these labels, the ownership labels, and the annotation that lists the former.
pub fn write(doc: &mut Value, key: &str, labels: &BTreeMap<String, String>, ownership: &Ownership) {
    let dropped: Vec<_> = read(doc, key).into_keys().filter(|name| !labels.contains_key(name)).collect();
    let all = object(doc, "labels");
    for name in dropped {
        all.remove(&name);
    }
    for (name, value) in labels {
        all.insert(name.clone(), value.clone().into());
    }
    for (name, value) in ownership.labels() {
        match value {
            Some(value) => all.insert(name.to_owned(), value.into()),
            None => all.remove(name),
        };
    }
    let names: Vec<_> = labels.keys().map(String::as_str).collect();
    annotate(doc, key, (!names.is_empty()).then(|| names.join(",")));
}

/// Sets or removes one annotation.
pub fn annotate(doc: &mut Value, key: &str, value: Option<String>) {
    let annotations = object(doc, "annotations");
    match value {
        Some(value) => annotations.insert(key.to_owned(), value.into()),
        None => annotations.remove(key),
    };
}

/// The object under `key`, made where there is none.
pub fn object<'a>(doc: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !doc.is_object() {
        *doc = Value::Object(Map::new());
    }
    let slot = &mut doc[key];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("made an object two lines above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ours() -> Ownership {
        Ownership::new("shop", "dev")
    }

    #[test]
    fn a_label_that_the_yaml_dropped_goes_and_foreign_ones_stay() {
        let mut doc = json!({"labels": {"commit-sha": "abc"}});
        write(&mut doc, "k", &BTreeMap::from([("team".into(), "red".into())]), &ours());
        assert_eq!(read(&doc, "k"), BTreeMap::from([("team".into(), "red".into())]));
        write(&mut doc, "k", &BTreeMap::new(), &ours());
        assert_eq!(doc["labels"]["commit-sha"], "abc");
        assert_eq!(doc["labels"].get("team"), None);
        assert_eq!(doc["annotations"], json!({}));
        assert_eq!(Ownership::owner_by_labels(&doc), crate::resource::Owner::Marked(ours()));
    }
}
