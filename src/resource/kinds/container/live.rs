//! Containers and networks as Google answers them, read as specs.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ContainerSpec, VolumeSpec, VpcSpec};
use crate::config::scalars;
use crate::gcp::GcpError;

type Texts = BTreeMap<String, String>;

/// Reads the containers of one object.
pub struct Reader {
    /// Resource name of the object.
    name: String,
}

impl Reader {
    pub fn of(doc: &Value) -> Self {
        Self { name: text(&doc["name"]) }
    }

    pub fn missing(&self, what: &str) -> GcpError {
        GcpError::unreadable(self.name.clone(), format!("it has no {what}"))
    }

    pub fn container(&self, doc: &Value, volumes: &[Value]) -> Result<ContainerSpec, GcpError> {
        let limit = |name: &str, default: &str| text_or(&doc["resources"]["limits"][name], default);
        let (mut secrets, env) = self.environment(doc)?;
        let mut in_memory = BTreeMap::new();
        for mount in doc["volumeMounts"].as_array().into_iter().flatten() {
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
            let Some(volume) = volume else { return Err(self.missing("volume for a mount")) };
            let path = text(&mount["mountPath"]);
            secrets.extend(self.files(&path, &volume["secret"]));
            if volume["emptyDir"].is_object() {
                let size = memory(text(&volume["emptyDir"]["sizeLimit"]));
                in_memory.insert(path, VolumeSpec { in_memory: size });
            }
        }
        let cpu = limit("cpu", "1");
        let memory = limit("memory", "512Mi");
        Ok(ContainerSpec {
            image: doc["image"].as_str().ok_or_else(|| self.missing("image"))?.to_owned(),
            command: strings(&doc["command"]),
            args: strings(&doc["args"]),
            cpu: scalars::millicpus(&cpu).map_or(cpu, scalars::cpu),
            memory: self::memory(memory),
            env,
            secrets,
            volumes: in_memory,
        })
    }

    /// Variables from secrets, and plain ones.
    fn environment(&self, doc: &Value) -> Result<(Texts, Texts), GcpError> {
        let (mut secrets, mut env) = (Texts::new(), Texts::new());
        for variable in doc["env"].as_array().into_iter().flatten() {
            let name =
                variable["name"].as_str().ok_or_else(|| self.missing("name of a variable"))?.to_owned();
            let source = &variable["valueSource"]["secretKeyRef"];
            if source.is_object() {
                secrets.insert(name, self.reference(source));
            } else {
                env.insert(name, text(&variable["value"]));
            }
        }
        Ok((secrets, env))
    }

    /// The files of one secret volume; a volume without items is one file named like the secret.
    fn files(&self, path: &str, volume: &Value) -> Vec<(String, String)> {
        let Some(id) = volume["secret"].as_str().map(|id| self.secret_id(id)) else { return Vec::new() };
        match volume["items"].as_array().filter(|items| !items.is_empty()) {
            Some(items) => {
                let file = |item: &Value| {
                    let version = text_or(&item["version"], "latest");
                    (format!("{path}/{}", text(&item["path"])), format!("{id}:{version}"))
                };
                items.iter().map(file).collect()
            }
            None => vec![(format!("{path}/{id}"), format!("{id}:latest"))],
        }
    }

    fn reference(&self, source: &Value) -> String {
        format!("{}:{}", self.secret_id(&text(&source["secret"])), text_or(&source["version"], "latest"))
    }

    /// A secret of the object's own project is called by its id.
    fn secret_id(&self, name: &str) -> String {
        let project = self.name.split('/').nth(1).unwrap_or_default();
        let prefix = format!("projects/{project}/secrets/");
        name.strip_prefix(&prefix).unwrap_or(name).to_owned()
    }
}

pub fn vpc(doc: &Value) -> Option<VpcSpec> {
    if !doc.is_object() {
        return None;
    }
    let interface = &doc["networkInterfaces"][0];
    let optional = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(VpcSpec {
        connector: optional(&doc["connector"]),
        network: optional(&interface["network"]),
        subnet: optional(&interface["subnetwork"]),
        tags: sorted(strings(&interface["tags"])),
        egress: match doc["egress"].as_str() {
            Some("ALL_TRAFFIC") => "all-traffic".to_owned(),
            _ => "private-ranges-only".to_owned(),
        },
    })
}

pub fn short(name: &Value) -> String {
    name.as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default().to_owned()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub fn text_or(value: &Value, default: &str) -> String {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
}

pub fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

/// A protobuf duration without a fraction: Google may answer `300s` as `300.000s`.
pub fn seconds(value: &Value) -> Option<String> {
    let whole = value.as_str()?.strip_suffix('s')?.split('.').next()?;
    Some(format!("{whole}s"))
}

pub fn lower(value: &Value, prefix: &str, default: &str) -> String {
    let name =
        value.as_str().and_then(|name| name.strip_prefix(prefix)).filter(|name| *name != "UNSPECIFIED");
    name.map_or_else(|| default.to_owned(), str::to_lowercase)
}

pub fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

pub fn sorted(mut items: Vec<String>) -> Vec<String> {
    items.sort_unstable();
    items
}

/// In the format's spelling; what is no such amount stays as Google has it.
fn memory(amount: String) -> String {
    scalars::kibibytes(&amount).map_or(amount, scalars::memory)
}
