//! The methods of services.

use super::access::{int, pick, set, text};
use super::resource::{self, Kind, view};
use super::revision::{self, Next};
use super::{
    DELETED, REVISIONS, RunEffect, SERVICE, SERVICES, check_location, defaults, mask, names, reconcile,
    start_operation, validate,
};
use crate::call::Call;
use crate::error::Answer;
use crate::world::World;
use serde_json::Value;
use std::collections::BTreeSet;

/// Services as a kind of resource.
pub(super) static KIND: Kind = Kind {
    collection: SERVICES,
    deleted: DELETED,
    message: SERVICE,
    word: "service",
    id: "serviceId",
    // "must contain fewer than 50 characters" (`serviceId` of services.create).
    longest_id: 49,
    mutable: &mask::MUTABLE,
};

/// `services.create`.
pub(super) fn create(world: &mut World, call: &Call) -> Answer {
    let name = KIND.new_name(world, call)?;
    write(world, call, &name, None, pick(&call.body, &mask::MUTABLE))
}

/// `services.patch`.
pub(super) fn patch(world: &mut World, call: &Call) -> Answer {
    let Some(current) = KIND.to_change(world, call)? else {
        return write(world, call, &call.resource, None, pick(&call.body, &mask::MUTABLE));
    };
    let wanted = mask::apply(&current, &call.body, call.query.str("updateMask"))?;
    write(world, call, &call.resource, Some(&current), wanted)
}

/// `services.get`.
pub(super) fn get(world: &mut World, call: &Call) -> Answer {
    KIND.find(world, &call.resource).map(view)
}

/// `services.list`, sorted by name.
pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    check_location(resource::location(&call.resource))?;
    let mut found = KIND.shown(world, call, &format!("{}/", call.resource))?;
    found.sort_by(|one, other| text(one, "name").cmp(text(other, "name")));
    resource::page_of(&found, "services", call)
}

/// `services.delete`.
pub(super) fn delete(world: &mut World, call: &Call) -> Answer {
    KIND.delete(world, call, RunEffect::DeleteService { service: call.resource.clone() })
}

/// The end of a deletion.
pub(super) fn remove(world: &mut World, name: &str) -> Answer {
    let doc = KIND.remove(world, name)?;
    for (revision, _) in revision::all(world, name) {
        world.remove(REVISIONS, &revision);
    }
    Ok(doc)
}

/// Stores `wanted` (mutable fields only) and starts reconciling; `current` is absent for a new service.
fn write(world: &mut World, call: &Call, name: &str, current: Option<&Value>, mut wanted: Value) -> Answer {
    defaults::fill_service(&mut wanted, world.project_number(&call.project));
    let known: BTreeSet<String> =
        revision::all(world, name).iter().map(|(revision, _)| names::last(revision).to_owned()).collect();
    validate::service(&wanted, names::last(name), &known)?;
    let forced = call.query.flag("forceNewRevision")?;
    let before = current.map_or(0, |current| int(current, "generation"));
    let next = revision::next(world, name, current, &wanted, before + 1, forced)?;
    let changed = next != Next::Keep || current.is_none_or(|current| KIND.differs(current, &wanted));
    let mut doc = KIND.assemble(world, call, name, current, wanted);
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
    resource::modified(world, call, &mut doc);
    reconcile::begin(world, &mut doc);
    world.put(SERVICES, name, doc.clone());
    let effect = RunEffect::Reconcile { service: name.to_owned(), generation: int(&doc, "generation") };
    Ok(start_operation(world, name, SERVICE, view(&doc), Some(effect)))
}
