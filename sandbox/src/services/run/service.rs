//! The methods of services.

use super::access::{int, pick, set, text, unset};
use super::revision::{self, Next};
use super::{
    DELETED, REVISIONS, RunEffect, SERVICE, SERVICES, check_etag, check_location, defaults, mask, names,
    noise, reconcile, start_operation, validate,
};
use crate::call::{Call, page};
use crate::error::{Answer, Status};
use crate::world::World;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// "must contain fewer than 50 characters" (`serviceId` of services.create).
const LONGEST_ID: usize = 49;
/// How long a deleted service is listed with `showDeleted`, in days. Not documented.
const KEPT_DAYS: i64 = 30;

/// `services.create`.
pub(super) fn create(world: &mut World, call: &Call) -> Answer {
    let location = call.resource.split('/').nth(3).unwrap_or_default();
    check_location(location)?;
    let id =
        call.query.str("serviceId").ok_or_else(|| Status::invalid("service_id", "The field is required."))?;
    check_id(id)?;
    if call.text("name").is_some() {
        return Err(Status::invalid(
            "service.name",
            "The name must be empty: it follows from parent and service_id.",
        ));
    }
    let name = format!("{}/{id}", call.resource);
    if world.doc(SERVICES, &name).is_some() {
        return Err(Status::already_exists(format!("Resource '{id}' already exists.")));
    }
    write(world, call, &name, None, pick(&call.body, &mask::MUTABLE))
}

/// `services.patch`.
pub(super) fn patch(world: &mut World, call: &Call) -> Answer {
    let name = call.resource.clone();
    check_location(name.split('/').nth(3).unwrap_or_default())?;
    check_name(world, call)?;
    let Some(current) = world.doc(SERVICES, &name).cloned() else {
        if call.query.flag("allowMissing")? {
            check_id(names::short(&name))?;
            return write(world, call, &name, None, pick(&call.body, &mask::MUTABLE));
        }
        return Err(not_found(&name));
    };
    check_etag(call.text("etag"), &current, "service")?;
    refuse_deleted(&current)?;
    let wanted = mask::apply(&current, &call.body, call.query.str("updateMask"))?;
    write(world, call, &name, Some(&current), wanted)
}

/// `services.get`.
pub(super) fn get(world: &mut World, call: &Call) -> Answer {
    find(world, &call.resource).map(view)
}

/// `services.list`, sorted by name. Page sizes are not documented; the sandbox gives 100 at most.
pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    check_location(call.resource.split('/').nth(3).unwrap_or_default())?;
    let prefix = format!("{}/", call.resource);
    let with_deleted = call.query.flag("showDeleted")?;
    let mut found: Vec<Value> = world
        .list(SERVICES, &prefix)
        .filter(|(_, doc)| with_deleted || doc.get("deleteTime").is_none())
        .map(|(_, doc)| view(doc))
        .collect();
    if with_deleted {
        let now = world.now();
        let unexpired =
            world.list(DELETED, &prefix).filter(|(_, doc)| text(doc, "expireTime") > now.as_str());
        found.extend(unexpired.map(|(_, doc)| view(doc)));
        found.sort_by(|one, other| text(one, "name").cmp(text(other, "name")));
    }
    page(found, "services", call, 100, 100)
}

/// `services.delete`. The service stays readable, with `deleteTime`, until the operation is done.
pub(super) fn delete(world: &mut World, call: &Call) -> Answer {
    let name = call.resource.clone();
    let mut doc = find(world, &name)?.clone();
    check_etag(call.query.str("etag"), &doc, "service")?;
    refuse_deleted(&doc)?;
    set(&mut doc, "deleteTime", world.now());
    if let Ok(expires) = world.instant().checked_add(jiff::SignedDuration::from_hours(24 * KEPT_DAYS)) {
        set(&mut doc, "expireTime", expires.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
    }
    if call.query.flag("validateOnly")? {
        return Ok(start_operation(world, &name, SERVICE, view(&doc), None));
    }
    set(&mut doc, "reconciling", true);
    let generation = int(&doc, "generation") + 1;
    set(&mut doc, "generation", generation.to_string());
    set(&mut doc, "etag", world.fresh_etag());
    world.put(SERVICES, &name, doc.clone());
    let effect = RunEffect::DeleteService { service: name.clone() };
    Ok(start_operation(world, &name, SERVICE, view(&doc), Some(effect)))
}

/// The end of a deletion.
pub(super) fn remove(world: &mut World, name: &str) -> Answer {
    let mut doc = world.remove(SERVICES, name).ok_or_else(|| not_found(name))?;
    for (revision, _) in revision::all(world, name) {
        world.remove(REVISIONS, &revision);
    }
    world.forget_policies(name);
    unset(&mut doc, "reconciling");
    let kept = format!("{name}#{}", text(&doc, "uid"));
    world.put(DELETED, &kept, doc.clone());
    Ok(view(&doc))
}

/// The end of a deletion that a fault on demand made fail.
pub(super) fn keep_after_all(world: &mut World, collection: &str, name: &str) {
    let Some(mut doc) = world.doc(collection, name).cloned() else { return };
    for key in ["deleteTime", "expireTime", "reconciling"] {
        unset(&mut doc, key);
    }
    set(&mut doc, "etag", world.fresh_etag());
    world.put(collection, name, doc);
}

/// The stored service.
pub(super) fn find<'a>(world: &'a World, name: &str) -> Result<&'a Value, Status> {
    world.doc(SERVICES, name).ok_or_else(|| not_found(name))
}

/// The service as a client sees it.
pub(super) fn view(doc: &Value) -> Value {
    noise::disorder(doc.clone())
}

fn not_found(name: &str) -> Status {
    Status::not_found(format!("Resource '{}' of kind 'SERVICE' was not found.", names::short(name)))
}

fn check_id(id: &str) -> Result<(), Status> {
    if names::is_label(id, LONGEST_ID) {
        return Ok(());
    }
    Err(Status::invalid(
        "service_id",
        format!(
            "'{id}' must have lower-case letters, digits and `-`, a letter first, no `-` last, and fewer than 50 characters."
        ),
    ))
}

/// The body may repeat the name, with the project's ID or number, but not name another service.
fn check_name(world: &World, call: &Call) -> Result<(), Status> {
    let Some(sent) = call.text("name") else { return Ok(()) };
    let by_number = call.resource.replacen(
        &format!("projects/{}/", call.project),
        &format!("projects/{}/", world.project_number(&call.project)),
        1,
    );
    if sent == call.resource || sent == by_number {
        return Ok(());
    }
    Err(Status::invalid("service.name", format!("The name '{sent}' is not the one of the request's path.")))
}

fn refuse_deleted(doc: &Value) -> Result<(), Status> {
    if doc.get("deleteTime").is_none() {
        return Ok(());
    }
    let id = names::short(text(doc, "name"));
    Err(Status::failed_precondition(format!("Service '{id}' is being deleted.")))
}

/// Stores `wanted` (mutable fields only) and starts reconciling; `current` is absent for a new service.
fn write(world: &mut World, call: &Call, name: &str, current: Option<&Value>, mut wanted: Value) -> Answer {
    defaults::fill_service(&mut wanted, world.project_number(&call.project));
    let known: BTreeSet<String> =
        revision::all(world, name).iter().map(|(revision, _)| names::short(revision).to_owned()).collect();
    validate::service(&wanted, names::short(name), &known)?;
    let forced = call.query.flag("forceNewRevision")?;
    let before = current.map_or(0, |current| int(current, "generation"));
    let next = revision::next(world, name, current, &wanted, before + 1, forced)?;
    let changed = next != Next::Keep || current.is_none_or(|current| differs(current, &wanted));
    let mut doc = assemble(world, call, name, current, wanted);
    set(&mut doc, "generation", (before + i64::from(changed)).to_string());
    if call.query.flag("validateOnly")? {
        return Ok(start_operation(world, name, SERVICE, view(&doc), None));
    }
    match &next {
        Next::Keep => {}
        Next::Reuse(revision) => set(&mut doc, "latestCreatedRevision", revision.as_str()),
        Next::Make(revision) => {
            revision::make(world, revision, &doc, &call.caller.email);
            set(&mut doc, "latestCreatedRevision", revision.as_str());
        }
    }
    set(&mut doc, "updateTime", world.now());
    set(&mut doc, "lastModifier", call.caller.email.as_str());
    set(&mut doc, "etag", world.fresh_etag());
    reconcile::begin(world, &mut doc);
    world.put(SERVICES, name, doc.clone());
    let effect = RunEffect::Reconcile { service: name.to_owned(), generation: int(&doc, "generation") };
    Ok(start_operation(world, name, SERVICE, view(&doc), Some(effect)))
}

/// `wanted` with what the server adds: kept from `current`, or new.
fn assemble(world: &mut World, call: &Call, name: &str, current: Option<&Value>, wanted: Value) -> Value {
    let mut doc = current.cloned().unwrap_or_else(|| {
        let now = world.now();
        json!({"name": name, "uid": world.uuid(), "createTime": now, "updateTime": now,
               "creator": call.caller.email, "lastModifier": call.caller.email,
               "etag": world.fresh_etag()})
    });
    for key in mask::MUTABLE {
        unset(&mut doc, key);
    }
    if let (Some(doc), Value::Object(wanted)) = (doc.as_object_mut(), wanted) {
        doc.extend(wanted);
    }
    doc
}

/// Whether the requested state differs by more than the order of lists.
fn differs(current: &Value, wanted: &Value) -> bool {
    let comparable = |doc: &Value| {
        let mut picked = pick(doc, &mask::MUTABLE);
        let template = noise::in_order(picked["template"].take());
        set(&mut picked, "template", template);
        picked
    };
    comparable(current) != comparable(wanted)
}
