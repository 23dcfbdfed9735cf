//! What workload identity pools and their providers have in common: ids, texts, soft delete, and changes that are
//! there only once their operation is done.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::call::{Call, page};
use crate::error::{Answer, Status};
use crate::operations::{Effect, OperationSpec};
use crate::world::World;

/// A deleted pool or provider can be undeleted for thirty days; so long its id is taken.
const UNDELETE_HOURS: i64 = 30 * 24;
/// `displayName`: at most 32 characters.
const MAX_DISPLAY_NAME: usize = 32;
/// `description`: at most 256 characters.
const MAX_DESCRIPTION: usize = 256;

/// The type of the metadata. Not in the discovery document: from memory.
const METADATA: &str = "google.iam.v1.WorkloadIdentityPoolOperationMetadata";

/// Set in a document whose creation is not done: it takes the id and is not seen otherwise.
const PENDING: &str = "pending";

/// What a document is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    Pool,
    Provider,
}

impl Kind {
    /// Documents by relative name with the project's ID; the names inside have its number, as in Google's answers.
    pub(super) fn collection(self) -> &'static str {
        match self {
            Self::Pool => "iam.workloadIdentityPools",
            Self::Provider => "iam.workloadIdentityPoolProviders",
        }
    }

    /// The key of its lists.
    fn items(self) -> &'static str {
        match self {
            Self::Pool => "workloadIdentityPools",
            Self::Provider => "workloadIdentityPoolProviders",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Pool => "google.iam.v1.WorkloadIdentityPool",
            Self::Provider => "google.iam.v1.WorkloadIdentityPoolProvider",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Pool => "Workload identity pool",
            Self::Provider => "Workload identity pool provider",
        }
    }
}

/// What an operation does when it is done: fields that get a value, or go where it is null. Data, because it is
/// journalled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    kind: Kind,
    name: String,
    set: Map<String, Value>,
}

/// Makes the change; the type URL and the value of the operation's response.
pub(crate) fn finish(world: &mut World, change: &Change) -> Result<(String, Value), Status> {
    let Change { kind, name, set } = change;
    let mut doc = world.doc(kind.collection(), name).cloned().ok_or_else(|| not_found(*kind, name))?;
    lay_over(&mut doc, set);
    world.put(kind.collection(), name, doc.clone());
    Ok((format!("type.googleapis.com/{}", kind.message()), view(&doc)))
}

/// The operation failed: what was to be created is not there, anything else stays as it was.
pub(crate) fn abandon(world: &mut World, change: &Change) {
    let collection = change.kind.collection();
    if world.doc(collection, &change.name).is_some_and(is_pending) {
        world.remove(collection, &change.name);
    }
}

fn lay_over(doc: &mut Value, set: &Map<String, Value>) {
    let Some(fields) = doc.as_object_mut() else { return };
    fields.extend(set.clone());
    fields.retain(|_, value| !value.is_null());
}

fn is_pending(doc: &Value) -> bool {
    doc[PENDING] == true
}

/// What a client sees: fields with their default value are left out.
fn view(doc: &Value) -> Value {
    let mut view = doc.clone();
    if let Some(fields) = view.as_object_mut() {
        fields.remove(PENDING);
        fields
            .retain(|_, value| *value != "" && *value != false && *value != json!([]) && *value != json!({}));
    }
    view
}

pub(super) fn is_deleted(doc: &Value) -> bool {
    doc["state"] == "DELETED"
}

/// 400 unless the call is about the only location that there is.
pub(super) fn check_location(call: &Call) -> Result<(), Status> {
    match call.var("locations") {
        "global" => Ok(()),
        other => {
            Err(Status::invalid("parent", format!("Location '{other}' is not supported: only global is.")))
        }
    }
}

/// 400 unless `id` has 4 to 32 lower-case letters, digits and hyphens and does not begin with `gcp-`.
pub(super) fn check_id(id: &str, field: &str) -> Result<(), Status> {
    let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(4..=32).contains(&id.len()) || !id.bytes().all(is_known) {
        return Err(Status::invalid(
            field,
            format!("The ID '{id}' is not valid: 4 to 32 lower-case letters, digits and hyphens."),
        ));
    }
    if id.starts_with("gcp-") {
        return Err(Status::invalid(
            field,
            format!("The ID '{id}' is not valid: the prefix gcp- is reserved."),
        ));
    }
    Ok(())
}

/// Limits of what both kinds have.
pub(super) fn check_texts(doc: &Value) -> Result<(), Status> {
    for (field, most) in [("displayName", MAX_DISPLAY_NAME), ("description", MAX_DESCRIPTION)] {
        if doc[field].as_str().is_some_and(|text| text.chars().count() > most) {
            let name = crate::protojson::snake_case(field);
            return Err(Status::invalid(&name, format!("The {field} must not exceed {most} characters.")));
        }
    }
    Ok(())
}

fn not_found(kind: Kind, name: &str) -> Status {
    Status::not_found(format!("{} '{name}' was not found.", kind.noun()))
}

/// Takes away for good what was deleted thirty days ago.
fn purge(world: &mut World, kind: Kind, name: &str) {
    let is_over = world.doc(kind.collection(), name).is_some_and(|doc| {
        let expires = doc["expireTime"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        expires.is_some_and(|expires| expires <= world.instant())
    });
    if !is_over {
        return;
    }
    world.remove(kind.collection(), name);
    if kind == Kind::Pool {
        world.forget_policies(name);
        let below = format!("{name}/");
        let orphans = world.list(Kind::Provider.collection(), &below).map(|(name, _)| name.to_owned());
        for orphan in orphans.collect::<Vec<_>>() {
            world.remove(Kind::Provider.collection(), &orphan);
        }
    }
}

/// The document, deleted or not; 404 when it never was, is not yet, or is gone for good.
pub(super) fn find(world: &mut World, kind: Kind, name: &str) -> Answer {
    purge(world, kind, name);
    let found = world.doc(kind.collection(), name).filter(|doc| !is_pending(doc));
    found.cloned().ok_or_else(|| not_found(kind, name))
}

/// The document, which must not be deleted.
pub(super) fn find_active(world: &mut World, kind: Kind, name: &str) -> Answer {
    let doc = find(world, kind, name)?;
    if is_deleted(&doc) {
        let message = format!("{} '{name}' is deleted: it has to be undeleted first.", kind.noun());
        return Err(Status::failed_precondition(message));
    }
    Ok(doc)
}

pub(super) fn show(world: &mut World, kind: Kind, call: &Call) -> Answer {
    find(world, kind, &call.resource).map(|doc| view(&doc))
}

/// One page of what is directly below the call's collection.
pub(super) fn list(world: &mut World, kind: Kind, call: &Call, default: usize, max: usize) -> Answer {
    let with_deleted = call.query.flag("showDeleted")?;
    let prefix = format!("{}/", call.resource);
    let names: Vec<String> =
        world.list(kind.collection(), &prefix).map(|(name, _)| name.to_owned()).collect();
    for name in &names {
        purge(world, kind, name);
    }
    let shown = world.list(kind.collection(), &prefix).map(|(_, doc)| doc);
    let shown = shown.filter(|doc| !is_pending(doc) && (with_deleted || !is_deleted(doc)));
    page(shown.map(view).collect(), kind.items(), call, default, max)
}

/// Takes the id with a document of `fields`, and answers the operation after which it is there.
pub(super) fn create(world: &mut World, kind: Kind, call: &Call, id: &str, fields: &Value) -> Answer {
    let name = format!("{}/{id}", call.resource);
    purge(world, kind, &name);
    if world.doc(kind.collection(), &name).is_some() {
        return Err(Status::already_exists(format!(
            "{} '{name}' already exists, or was deleted less than 30 days ago.",
            kind.noun()
        )));
    }
    let mut doc = fields.clone();
    doc["name"] = json!(shown_name(world, call, &name));
    doc["state"] = json!("ACTIVE");
    doc[PENDING] = json!(true);
    world.put(kind.collection(), &name, doc);
    Ok(start(world, kind, call, &name, json!({ PENDING: null })))
}

pub(super) fn delete(world: &mut World, kind: Kind, call: &Call) -> Answer {
    find_active(world, kind, &call.resource)?;
    let expires = world.instant().checked_add(jiff::SignedDuration::from_hours(UNDELETE_HOURS));
    let expires = expires.map_err(|_| Status::internal("The time of expiry cannot be told."))?;
    let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Ok(start(world, kind, call, &call.resource, json!({ "state": "DELETED", "expireTime": expires })))
}

pub(super) fn undelete(world: &mut World, kind: Kind, call: &Call) -> Answer {
    if !is_deleted(&find(world, kind, &call.resource)?) {
        let message = format!("{} '{}' is not deleted.", kind.noun(), call.resource);
        return Err(Status::failed_precondition(message));
    }
    Ok(start(world, kind, call, &call.resource, json!({ "state": "ACTIVE", "expireTime": null })))
}

/// The operation that makes the change.
pub(super) fn start(world: &mut World, kind: Kind, call: &Call, name: &str, set: Value) -> Value {
    let set = if let Value::Object(set) = set { set } else { Map::new() };
    let operation = format!("{}/operations/{}", shown_name(world, call, name), world.uuid());
    let effect = Effect::Federation(Change { kind, name: name.to_owned(), set });
    let spec = OperationSpec::new(world, METADATA, json!({}), effect);
    world.start_operation(operation, spec)
}

/// The name with the project's number.
fn shown_name(world: &World, call: &Call, name: &str) -> String {
    let number = world.project_number(&call.project);
    name.replacen(&format!("projects/{}/", call.project), &format!("projects/{number}/"), 1)
}

/// What an update sets, by its mask; each path must be one of `mutable` or lie below one of `nested`.
///
/// `Null` stands for a field that the mask names and the body does not have.
pub(super) fn masked(
    current: &Value,
    call: &Call,
    mutable: &[&str],
    nested: &[&str],
) -> Result<Value, Status> {
    let Some(mask) = call.query.str("updateMask") else {
        return Err(Status::invalid("update_mask", "The update mask is required."));
    };
    let mut set = json!({});
    let everything = mutable.join(",");
    for path in if mask == "*" { everything.as_str() } else { mask }.split(',') {
        let below = path.split_once('.').filter(|(field, _)| nested.contains(field));
        if let Some((field, key)) = below {
            let before = set.get(field).or_else(|| current.get(field)).cloned();
            let mut message = before.filter(Value::is_object).unwrap_or_else(|| json!({}));
            message[key] = call.body[field][key].clone();
            if let Some(fields) = message.as_object_mut() {
                fields.retain(|_, value| !value.is_null());
            }
            set[field] = message;
        } else if mutable.contains(&path) {
            set[path] = call.body[path].clone();
        } else {
            return Err(Status::invalid(
                "update_mask",
                format!("'{path}' in the update mask cannot be changed or does not exist."),
            ));
        }
    }
    Ok(set)
}

/// The document as it will be.
pub(super) fn changed(current: &Value, set: &Value) -> Value {
    let mut doc = current.clone();
    if let Some(set) = set.as_object() {
        lay_over(&mut doc, set);
    }
    doc
}

/// The fields of a body that a client may set.
pub(super) fn chosen(body: &Value, fields: &[&str]) -> Value {
    let found = fields.iter().filter_map(|field| Some(((*field).to_owned(), body.get(*field)?.clone())));
    Value::Object(found.collect())
}
