//! Specs of containers and networks laid over documents of Google: managed fields are set, all others stay.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{ContainerSpec, VpcSpec};
use crate::resource::kinds::labels;

/// The volumes of a template while its containers are written.
pub struct Volumes {
    /// Names of the volumes that deployer does not manage, which keep their mounts.
    kept: Vec<String>,
    all: Vec<Value>,
}

impl Volumes {
    /// Takes the volumes out of `template`. The managed ones are made again, by the containers that mount them.
    pub fn take(template: &mut Value) -> Self {
        let old = template["volumes"].take();
        let foreign = |volume: &&Value| !volume["secret"].is_object() && !volume["emptyDir"].is_object();
        let all: Vec<Value> = old.as_array().into_iter().flatten().filter(foreign).cloned().collect();
        let kept = all.iter().filter_map(|volume| volume["name"].as_str().map(str::to_owned)).collect();
        Self { kept, all }
    }

    pub fn put(self, template: &mut Value) {
        set_or_remove(template, "volumes", (!self.all.is_empty()).then(|| self.all.into()));
    }
}

/// `before` with the managed fields of `spec`; volumes that it needs are added to `volumes`.
pub fn container(before: Value, spec: &ContainerSpec, volumes: &mut Volumes) -> Value {
    let mut doc = before;
    if let Value::Object(fields) = &mut doc {
        fields.remove("buildInfo"); // output only
    }
    set(&mut doc, "image", spec.image.as_str().into());
    set_or_remove(&mut doc, "command", list(&spec.command));
    set_or_remove(&mut doc, "args", list(&spec.args));
    labels::object(&mut doc, "resources");
    let limits = labels::object(&mut doc["resources"], "limits");
    limits.insert("cpu".into(), spec.cpu.as_str().into());
    limits.insert("memory".into(), spec.memory.as_str().into());

    let plain = spec.env.iter().map(|(name, value)| json!({"name": name, "value": value}));
    let secret =
        spec.secrets.iter().filter(|(target, _)| !target.starts_with('/')).map(|(name, reference)| {
            let (id, version) = split(reference);
            json!({"name": name, "valueSource": {"secretKeyRef": {"secret": id, "version": version}}})
        });
    let env: Vec<_> = plain.chain(secret).collect();
    set_or_remove(&mut doc, "env", (!env.is_empty()).then(|| env.into()));

    let mut mounts: Vec<Value> = doc["volumeMounts"].as_array().cloned().unwrap_or_default();
    mounts.retain(|mount| {
        mount["name"].as_str().is_some_and(|name| volumes.kept.iter().any(|kept| kept == name))
    });
    mounts.extend(mount(spec, &mut volumes.all));
    set_or_remove(&mut doc, "volumeMounts", (!mounts.is_empty()).then(|| mounts.into()));
    doc
}

/// Mounts for the secret files (one volume for each directory) and in-memory directories.
fn mount(spec: &ContainerSpec, volumes: &mut Vec<Value>) -> Vec<Value> {
    let mut mounts = Vec::new();
    let mut add = |path: &str, mut volume: Value| {
        let name = volume_name(path, &volume);
        volume["name"] = name.as_str().into();
        if !volumes.iter().any(|other| other["name"] == name.as_str()) {
            volumes.push(volume);
        }
        mounts.push(json!({"name": name, "mountPath": path}));
    };
    let mut directories: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (path, reference) in spec.secrets.iter().filter(|(target, _)| target.starts_with('/')) {
        if let Some((directory, file)) = path.rsplit_once('/') {
            directories.entry(directory).or_default().push((file, reference));
        }
    }
    for (directory, files) in directories {
        let id = split(files[0].1).0;
        let items: Vec<_> = files
            .iter()
            .map(|(file, reference)| json!({"path": file, "version": split(reference).1}))
            .collect();
        add(directory, json!({"secret": {"secret": id, "items": items}}));
    }
    for (path, volume) in &spec.volumes {
        add(path, json!({"emptyDir": {"medium": "MEMORY", "sizeLimit": volume.in_memory}}));
    }
    mounts
}

/// A name that depends on what is mounted where, so that the same spec writes the same template. Containers
/// that mount the same in-memory directory share it.
fn volume_name(path: &str, volume: &Value) -> String {
    let kind = if volume["secret"].is_object() { "secret" } else { "memory" };
    format!("{kind}-{}", short_digest(&json!([path, volume])))
}

/// Writes the network of a template.
pub fn network(template: &mut Value, spec: Option<&VpcSpec>) {
    set_or_remove(template, "vpcAccess", spec.map(vpc));
}

/// Google's name of an execution environment, e.g. `gen2`.
pub fn execution_environment(words: &str) -> Value {
    format!("EXECUTION_ENVIRONMENT_{}", words.to_uppercase()).into()
}

fn vpc(spec: &VpcSpec) -> Value {
    let egress = spec.egress.to_uppercase().replace('-', "_");
    if let Some(connector) = &spec.connector {
        return json!({"connector": connector, "egress": egress});
    }
    let mut interface = Map::new();
    for (field, value) in [("network", &spec.network), ("subnetwork", &spec.subnet)] {
        if let Some(value) = value {
            interface.insert(field.into(), value.as_str().into());
        }
    }
    if !spec.tags.is_empty() {
        interface.insert("tags".into(), spec.tags.clone().into());
    }
    json!({"networkInterfaces": [interface], "egress": egress})
}

pub fn short_digest(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    hex::encode(&digest[..4])
}

fn split(reference: &str) -> (&str, &str) {
    reference.rsplit_once(':').unwrap_or((reference, "latest"))
}

pub fn list(items: &[String]) -> Option<Value> {
    (!items.is_empty()).then(|| items.to_vec().into())
}

pub fn set(doc: &mut Value, field: &str, value: Value) {
    set_or_remove(doc, field, Some(value));
}

pub fn set_or_remove(doc: &mut Value, field: &str, value: Option<Value>) {
    let Some(value) = value else {
        if let Value::Object(fields) = doc {
            fields.remove(field);
        }
        return;
    };
    if !doc.is_object() {
        *doc = Value::Object(Map::new());
    }
    doc[field] = value;
}
