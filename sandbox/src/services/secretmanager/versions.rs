//! Versions of secrets and their payloads.

use base64::Engine as _;
use serde_json::{Value, json};

use super::{SECRETS, check_etag, find, has_passed, limits, with_total};
use crate::call::{Call, Handler};
use crate::error::{Answer, Status};
use crate::world::World;

/// Documents by `projects/ID/secrets/NAME/versions/NUMBER`. Destroyed versions stay, so numbers are never reused.
const VERSIONS: &str = "secretmanager.versions";
/// Payloads by the same names: base64 and crc32c. They are shown to nobody but `access`.
pub(super) const PAYLOADS: &str = "secretmanager.payloads";

/// `SecretPayload.data`: "Must be no larger than 64KiB."
const MAX_PAYLOAD: usize = 64 * 1024;

pub(super) fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("secretmanager.projects.secrets.addVersion", add),
        ("secretmanager.projects.secrets.versions.get", get),
        ("secretmanager.projects.secrets.versions.list", list),
        ("secretmanager.projects.secrets.versions.access", access),
        ("secretmanager.projects.secrets.versions.enable", enable),
        ("secretmanager.projects.secrets.versions.disable", disable),
        ("secretmanager.projects.secrets.versions.destroy", destroy),
    ]
}

/// What another service learns about a version it refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// The secret itself does not exist.
    NoSecret,
    /// The secret exists, the version does not.
    NoVersion,
    /// The version exists and is disabled or destroyed.
    NotEnabled,
    /// It can be read; this is its number.
    Enabled(u64),
}

impl World {
    /// Looks up `version` (a number, `latest` or an alias) of `projects/ID/secrets/NAME`, with the project's ID.
    pub fn secret_version(&self, secret: &str, version: &str) -> Reference {
        let Some(doc) = self.doc(SECRETS, secret) else { return Reference::NoSecret };
        if has_passed(self, &doc["expireTime"]) {
            return Reference::NoSecret;
        }
        match resolve(self, secret, version) {
            None => Reference::NoVersion,
            Some(number) => match self.doc(VERSIONS, &key_of(secret, number)) {
                None => Reference::NoVersion,
                Some(doc) if doc["state"] == "ENABLED" => Reference::Enabled(number),
                Some(_) => Reference::NotEnabled,
            },
        }
    }

    /// The payload of a version, for the one that Cloud Run hands it to; `None` when there is none any more.
    pub(crate) fn secret_payload(&self, secret: &str, number: u64) -> Option<Vec<u8>> {
        let data = self.doc(PAYLOADS, &key_of(secret, number))?["data"].as_str()?;
        base64::engine::general_purpose::STANDARD.decode(data).ok()
    }
}

fn key_of(secret: &str, number: u64) -> String {
    format!("{secret}/versions/{number}")
}

fn numbers<'a>(world: &'a World, secret: &str) -> impl Iterator<Item = u64> + use<'a> {
    let prefix = format!("{secret}/versions/");
    world.list(VERSIONS, &prefix).filter_map(|(name, _)| name.rsplit('/').next()?.parse().ok())
}

/// `latest` is the highest number, whatever its state; anything else that is no number is an alias.
fn resolve(world: &World, secret: &str, version: &str) -> Option<u64> {
    if version == "latest" {
        return numbers(world, secret).max();
    }
    if let Ok(number) = version.parse() {
        return Some(number);
    }
    let alias = &world.doc(SECRETS, secret)?["versionAliases"][version];
    alias.as_str().and_then(|number| number.parse().ok()).or_else(|| alias.as_u64())
}

pub(super) fn forget(world: &mut World, secret: &str) {
    for number in numbers(world, secret).collect::<Vec<_>>() {
        let key = key_of(secret, number);
        world.remove(VERSIONS, &key);
        world.remove(PAYLOADS, &key);
    }
}

/// Aliases must point at versions that exist.
pub(super) fn check_aliases(world: &World, secret: &str, aliases: &Value) -> Result<(), Status> {
    for (alias, number) in aliases.as_object().into_iter().flatten() {
        let number = number.as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        if world.doc(VERSIONS, &key_of(secret, number)).is_none() {
            return Err(Status::failed_precondition(format!(
                "Alias '{alias}' points at version {number}, which does not exist."
            )));
        }
    }
    Ok(())
}

fn add(world: &mut World, call: &Call) -> Answer {
    let secret = find(world, call)?;
    let payload = &call.body["payload"];
    let Some(data) = payload["data"].as_str() else {
        return Err(Status::invalid("payload", "The payload is required."));
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap_or_default();
    if bytes.len() > MAX_PAYLOAD {
        return Err(Status::invalid("payload.data", "The payload must not be larger than 64 KiB."));
    }
    let crc = crc32c::crc32c(&bytes).to_string();
    let said = payload["dataCrc32c"].as_str();
    if said.is_some_and(|said| said != crc) {
        return Err(Status::invalid("payload.data_crc32c", "The checksum does not match the payload."));
    }
    let number = numbers(world, &secret).max().unwrap_or(0) + 1;
    let key = key_of(&secret, number);
    let doc = world.doc(SECRETS, &secret).cloned().unwrap_or_default();
    let mut version = json!({
        "name": format!("{}/versions/{number}", doc["name"].as_str().unwrap_or_default()),
        "createTime": world.now(),
        "state": "ENABLED",
        "replicationStatus": replication_status(&doc["replication"]),
        "etag": world.fresh_etag(),
    });
    if said.is_some() {
        version["clientSpecifiedPayloadChecksum"] = json!(true);
    }
    world.put(VERSIONS, &key, version.clone());
    world.put(PAYLOADS, &key, json!({ "data": data, "crc": crc }));
    Ok(version)
}

fn replication_status(replication: &Value) -> Value {
    match replication["userManaged"]["replicas"].as_array() {
        None => json!({ "automatic": {} }),
        Some(replicas) => {
            let places: Vec<Value> =
                replicas.iter().map(|replica| json!({ "location": replica["location"] })).collect();
            json!({ "userManaged": { "replicas": places } })
        }
    }
}

/// The key of the version that the call means. A version whose scheduled end has come is destroyed first.
fn find_version(world: &mut World, call: &Call) -> Result<(String, Value), Status> {
    let secret = find(world, call)?;
    let said = call.var("versions");
    let found = resolve(world, &secret, said).map(|number| key_of(&secret, number));
    if let Some(key) = found
        && let Some(version) = world.doc(VERSIONS, &key).cloned()
    {
        if has_passed(world, &version["scheduledDestroyTime"]) {
            let version = destroy_now(world, &key, version);
            return Ok((key, version));
        }
        return Ok((key, version));
    }
    let name = world.doc(SECRETS, &secret).and_then(|doc| doc["name"].as_str()).unwrap_or_default();
    Err(Status::not_found(format!("Secret Version [{name}/versions/{said}] not found.")))
}

fn get(world: &mut World, call: &Call) -> Answer {
    find_version(world, call).map(|(_, version)| version)
}

fn list(world: &mut World, call: &Call) -> Answer {
    let secret = find(world, call)?;
    let filter = limits::Filter::parse(call.query.str("filter"))?;
    let mut all: Vec<u64> = numbers(world, &secret).collect();
    all.sort_unstable_by(|one, two| two.cmp(one));
    let versions: Vec<Value> = all
        .into_iter()
        .filter_map(|number| world.doc(VERSIONS, &key_of(&secret, number)))
        .filter(|version| filter.matches(version))
        .cloned()
        .collect();
    with_total(versions, "versions", call)
}

fn access(world: &mut World, call: &Call) -> Answer {
    let (key, version) = find_version(world, call)?;
    let state = version["state"].as_str().unwrap_or_default();
    if state != "ENABLED" {
        return Err(Status::failed_precondition(format!(
            "Secret Version [{}] is in {state} state.",
            version["name"].as_str().unwrap_or_default()
        )));
    }
    let payload = world.doc(PAYLOADS, &key).cloned().unwrap_or_default();
    Ok(json!({
        "name": version["name"],
        "payload": { "data": payload["data"], "dataCrc32c": payload["crc"] },
    }))
}

fn enable(world: &mut World, call: &Call) -> Answer {
    change_state(world, call, "ENABLED")
}

fn disable(world: &mut World, call: &Call) -> Answer {
    change_state(world, call, "DISABLED")
}

fn change_state(world: &mut World, call: &Call, state: &str) -> Answer {
    let (key, mut version) = find_version(world, call)?;
    check_etag(call.body["etag"].as_str(), &version)?;
    refuse_destroyed(&version)?;
    version["state"] = json!(state);
    version["etag"] = json!(world.fresh_etag());
    if state == "ENABLED"
        && let Some(fields) = version.as_object_mut()
    {
        fields.remove("scheduledDestroyTime");
    }
    world.put(VERSIONS, &key, version.clone());
    Ok(version)
}

fn refuse_destroyed(version: &Value) -> Result<(), Status> {
    if version["state"] == "DESTROYED" {
        let name = version["name"].as_str().unwrap_or_default();
        return Err(Status::failed_precondition(format!("Secret Version [{name}] is in DESTROYED state.")));
    }
    Ok(())
}

fn destroy(world: &mut World, call: &Call) -> Answer {
    let (key, mut version) = find_version(world, call)?;
    check_etag(call.body["etag"].as_str(), &version)?;
    refuse_destroyed(&version)?;
    let secret = key.split("/versions/").next().unwrap_or_default();
    let ttl = world.doc(SECRETS, secret).and_then(|doc| doc.get("versionDestroyTtl")).cloned();
    let scheduled = ttl.and_then(|ttl| limits::after(world.instant(), &ttl));
    let Some(at) = scheduled.filter(|_| version.get("scheduledDestroyTime").is_none()) else {
        return Ok(destroy_now(world, &key, version));
    };
    version["state"] = json!("DISABLED");
    version["scheduledDestroyTime"] = json!(at);
    version["etag"] = json!(world.fresh_etag());
    world.put(VERSIONS, &key, version.clone());
    Ok(version)
}

fn destroy_now(world: &mut World, key: &str, mut version: Value) -> Value {
    version["state"] = json!("DESTROYED");
    version["destroyTime"] = json!(world.now());
    version["etag"] = json!(world.fresh_etag());
    if let Some(fields) = version.as_object_mut() {
        fields.remove("scheduledDestroyTime");
    }
    world.remove(PAYLOADS, key);
    world.put(VERSIONS, key, version.clone());
    version
}
