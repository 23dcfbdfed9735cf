//! Secret Manager v1, global secrets: the secrets themselves. Their versions are in `secretmanager/versions.rs`.

mod limits;
mod versions;

pub use versions::Reference;

use serde_json::{Value, json};

use crate::call::{Call, Handler, page};
use crate::error::{Answer, Status};
use crate::iam;
use crate::world::World;

/// Documents by `projects/ID/secrets/NAME`; the names inside have the project's number, as in Google's answers.
const SECRETS: &str = "secretmanager.secrets";

/// `ListSecretsRequest.pageSize`: "If the number is greater than 25000, it is capped".
const MAX_PAGE: usize = 25_000;

/// What `updateMask` may name.
const MUTABLE: [&str; 9] = [
    "annotations",
    "etag",
    "expireTime",
    "labels",
    "rotation",
    "topics",
    "ttl",
    "versionAliases",
    "versionDestroyTtl",
];

/// The collection that must never be shown: payloads.
pub(crate) const PAYLOADS: &str = versions::PAYLOADS;

/// The methods served, by id.
pub fn routes() -> Vec<(&'static str, Handler)> {
    let mut routes: Vec<(&'static str, Handler)> = vec![
        ("secretmanager.projects.secrets.create", create),
        ("secretmanager.projects.secrets.get", get),
        ("secretmanager.projects.secrets.list", list),
        ("secretmanager.projects.secrets.patch", patch),
        ("secretmanager.projects.secrets.delete", delete),
        ("secretmanager.projects.secrets.getIamPolicy", get_policy),
        ("secretmanager.projects.secrets.setIamPolicy", set_policy),
        ("secretmanager.projects.secrets.testIamPermissions", test_permissions),
    ];
    routes.extend(versions::routes());
    routes
}

/// The key of the secret that the call means, once it is known to exist and not to have expired.
fn find(world: &mut World, call: &Call) -> Result<String, Status> {
    let key = format!("projects/{}/secrets/{}", call.project, call.var("secrets"));
    let expired = world.doc(SECRETS, &key).is_some_and(|secret| has_passed(world, &secret["expireTime"]));
    if expired {
        forget(world, &key);
    }
    if world.doc(SECRETS, &key).is_some() {
        return Ok(key);
    }
    let number = world.project_number(&call.project);
    Err(Status::not_found(format!("Secret [projects/{number}/secrets/{}] not found.", call.var("secrets"))))
}

fn has_passed(world: &World, time: &Value) -> bool {
    time.as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok())
        .is_some_and(|instant| instant <= world.instant())
}

fn forget(world: &mut World, key: &str) {
    versions::forget(world, key);
    world.forget_policies(key);
    world.remove(SECRETS, key);
}

fn create(world: &mut World, call: &Call) -> Answer {
    let id = call.query.str("secretId").unwrap_or_default();
    if !limits::is_secret_id(id) {
        return Err(Status::invalid(
            "secret_id",
            format!("The secret ID '{id}' is not valid: 1 to 255 letters, digits, hyphens and underscores."),
        ));
    }
    let number = world.project_number(&call.project);
    let key = format!("projects/{}/secrets/{id}", call.project);
    if world.doc(SECRETS, &key).is_some() {
        return Err(Status::already_exists(format!(
            "Secret [projects/{number}/secrets/{id}] already exists."
        )));
    }
    let mut secret = call.body.clone();
    limits::check_replication(&secret["replication"])?;
    if secret.get("versionAliases").is_some_and(|aliases| aliases.as_object().is_some_and(|a| !a.is_empty()))
    {
        return Err(Status::invalid(
            "secret.version_aliases",
            "A new secret has no versions to give aliases to.",
        ));
    }
    limits::check_secret(&secret)?;
    settle_expiry(world, &mut secret)?;
    secret["name"] = json!(format!("projects/{number}/secrets/{id}"));
    secret["createTime"] = json!(world.now());
    secret["etag"] = json!(world.fresh_etag());
    drop_empty(&mut secret);
    world.put(SECRETS, &key, secret.clone());
    Ok(secret)
}

/// `ttl` is input only: what is kept is the time at which the secret ends.
fn settle_expiry(world: &World, secret: &mut Value) -> Result<(), Status> {
    let ttl = secret.as_object_mut().and_then(|fields| fields.remove("ttl"));
    if let Some(ttl) = ttl {
        let at = limits::after(world.instant(), &ttl)
            .ok_or_else(|| Status::invalid("secret.ttl", "The ttl must be a positive duration."))?;
        secret["expireTime"] = json!(at);
    } else if has_passed(world, &secret["expireTime"]) {
        return Err(Status::invalid("secret.expire_time", "The expire time must be in the future."));
    }
    Ok(())
}

/// Empty maps and lists do not show in Google's answers.
fn drop_empty(secret: &mut Value) {
    if let Some(fields) = secret.as_object_mut() {
        fields.remove("tags");
        fields.retain(|key, value| {
            key == "replication"
                || !(value.as_object().is_some_and(serde_json::Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty))
        });
    }
}

fn get(world: &mut World, call: &Call) -> Answer {
    let key = find(world, call)?;
    Ok(world.doc(SECRETS, &key).cloned().unwrap_or_default())
}

fn list(world: &mut World, call: &Call) -> Answer {
    let filter = limits::Filter::parse(call.query.str("filter"))?;
    let prefix = format!("projects/{}/secrets/", call.project);
    let mut secrets: Vec<Value> = world
        .list(SECRETS, &prefix)
        .map(|(_, secret)| secret)
        .filter(|secret| !has_passed(world, &secret["expireTime"]) && filter.matches(secret))
        .cloned()
        .collect();
    let order = |secret: &Value, key: &str| secret[key].as_str().unwrap_or_default().to_owned();
    secrets.sort_by_key(|secret| std::cmp::Reverse((order(secret, "createTime"), order(secret, "name"))));
    with_total(secrets, "secrets", call)
}

/// A page with `totalSize`, which counts all pages.
fn with_total(items: Vec<Value>, key: &str, call: &Call) -> Answer {
    let total = items.len();
    let mut answer = page(items, key, call, MAX_PAGE, MAX_PAGE)?;
    if total > 0 {
        answer["totalSize"] = json!(total);
    }
    Ok(answer)
}

fn patch(world: &mut World, call: &Call) -> Answer {
    let key = find(world, call)?;
    let mask = call.query.str("updateMask").unwrap_or_default();
    if mask.is_empty() {
        return Err(Status::invalid("update_mask", "The update mask is required."));
    }
    let mut secret = world.doc(SECRETS, &key).cloned().unwrap_or_default();
    check_etag(call.body["etag"].as_str(), &secret)?;
    for path in mask.split(',') {
        apply(&mut secret, &call.body, path)?;
    }
    limits::check_secret(&secret)?;
    versions::check_aliases(world, &key, &secret["versionAliases"])?;
    settle_expiry(world, &mut secret)?;
    secret["etag"] = json!(world.fresh_etag());
    drop_empty(&mut secret);
    world.put(SECRETS, &key, secret.clone());
    Ok(secret)
}

fn apply(secret: &mut Value, sent: &Value, path: &str) -> Result<(), Status> {
    let field = path.split('.').next().unwrap_or(path);
    if field == "replication" {
        return Err(Status::invalid("secret.replication", "The replication of a secret cannot be changed."));
    }
    if !MUTABLE.contains(&field) {
        return Err(Status::invalid("update_mask", format!("'{path}' cannot be changed or does not exist.")));
    }
    if let Some((_, inner)) = path.split_once('.') {
        let value = sent[field].get(inner).cloned();
        set(&mut secret[field], inner, value);
    } else if field != "etag" {
        set(secret, field, sent.get(field).cloned());
    }
    if field == "ttl" {
        set(secret, "expireTime", None);
    }
    Ok(())
}

fn set(object: &mut Value, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        object[key] = value;
    } else if let Some(fields) = object.as_object_mut() {
        fields.remove(key);
    }
}

/// Secret Manager answers a stale etag with FAILED_PRECONDITION, unlike other APIs' ABORTED.
fn check_etag(sent: Option<&str>, doc: &Value) -> Result<(), Status> {
    let held = doc["etag"].as_str().unwrap_or_default().trim_matches('"');
    match sent.map(|etag| etag.trim_matches('"')).filter(|etag| !etag.is_empty()) {
        Some(etag) if etag != held => Err(Status::failed_precondition(
            "The etag in the request does not match the current one. Read the resource again and retry.",
        )),
        _ => Ok(()),
    }
}

fn delete(world: &mut World, call: &Call) -> Answer {
    let key = find(world, call)?;
    let secret = world.doc(SECRETS, &key).cloned().unwrap_or_default();
    check_etag(call.query.str("etag"), &secret)?;
    forget(world, &key);
    Ok(json!({}))
}

fn get_policy(world: &mut World, call: &Call) -> Answer {
    let key = find(world, call)?;
    iam::get_policy(world, call, &key)
}

fn set_policy(world: &mut World, call: &Call) -> Answer {
    let key = find(world, call)?;
    iam::set_policy(world, call, &key)
}

fn test_permissions(world: &mut World, call: &Call) -> Answer {
    find(world, call)?;
    iam::test_permissions(call)
}

#[cfg(test)]
mod tests;
