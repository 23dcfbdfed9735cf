//! What services and jobs have in common as resources: how they are named, found, listed, changed and deleted.

use super::access::{int, pick, set, text, unset};
use super::{RunEffect, check_etag, check_location, names, noise, start_operation};
use crate::call::{Call, page};
use crate::error::{Answer, Status};
use crate::protojson::snake_case;
use crate::world::{World, written};
use serde_json::{Value, json};
use std::cmp::Reverse;

/// How long a deleted resource is listed with `showDeleted`, in days. Not documented.
const KEPT_DAYS: i64 = 30;

/// Field of a stored document that tells which one is newer; clients do not see it.
const ORDER: &str = "_order";

/// A kind of resource that clients make, change and delete.
#[derive(Debug)]
pub(super) struct Kind {
    /// The collection of its documents, by full resource name.
    pub(super) collection: &'static str,
    /// The collection of deleted ones, by full resource name and uid.
    pub(super) deleted: &'static str,
    /// Message name of what its operations carry.
    pub(super) message: &'static str,
    /// What it is called in messages and, in the plural, in paths and answers.
    pub(super) word: &'static str,
    /// Query parameter of create that holds the id.
    pub(super) id: &'static str,
    /// Most characters of an id.
    pub(super) longest_id: usize,
    /// Fields that a client can change: those that the run.v2 document does not call output only.
    pub(super) mutable: &'static [&'static str],
}

impl Kind {
    pub(super) fn not_found(&self, name: &str) -> Status {
        not_found(self.word, name)
    }

    /// The stored document.
    pub(super) fn find<'a>(&self, world: &'a World, name: &str) -> Result<&'a Value, Status> {
        world.doc(self.collection, name).ok_or_else(|| self.not_found(name))
    }

    /// The name of a resource that create may make; 400 and 404 when it cannot, 409 when it is taken.
    pub(super) fn new_name(&self, world: &World, call: &Call) -> Result<String, Status> {
        check_location(location(&call.resource))?;
        let field = snake_case(self.id);
        let id = call.query.str(self.id).ok_or_else(|| Status::invalid(&field, "The field is required."))?;
        self.check_id(id)?;
        if call.text("name").is_some() {
            return Err(Status::invalid(
                &format!("{}.name", self.word),
                format!("The name must be empty: it follows from parent and {field}."),
            ));
        }
        let name = format!("{}/{id}", call.resource);
        if world.doc(self.collection, &name).is_some() {
            return Err(Status::already_exists(format!("Resource '{id}' already exists.")));
        }
        Ok(name)
    }

    /// What patch changes; `None` when it is missing and `allowMissing` lets it be made.
    pub(super) fn to_change(&self, world: &World, call: &Call) -> Result<Option<Value>, Status> {
        check_location(location(&call.resource))?;
        self.check_name(world, call)?;
        let Some(current) = world.doc(self.collection, &call.resource).cloned() else {
            if call.query.flag("allowMissing")? {
                self.check_id(names::last(&call.resource))?;
                return Ok(None);
            }
            return Err(self.not_found(&call.resource));
        };
        check_etag(call.text("etag"), &current, self.word)?;
        self.refuse_deleted(&current)?;
        Ok(Some(current))
    }

    fn check_id(&self, id: &str) -> Result<(), Status> {
        if names::is_label(id, self.longest_id) {
            return Ok(());
        }
        let message = format!(
            "'{id}' must have lower-case letters, digits and `-`, a letter first, no `-` last, and fewer than {} \
             characters.",
            self.longest_id + 1
        );
        Err(Status::invalid(&snake_case(self.id), message))
    }

    /// The body may repeat the name, with the project's ID or number, but not name another resource.
    fn check_name(&self, world: &World, call: &Call) -> Result<(), Status> {
        let Some(sent) = call.text("name") else { return Ok(()) };
        let by_number = call.resource.replacen(
            &format!("projects/{}/", call.project),
            &format!("projects/{}/", world.project_number(&call.project)),
            1,
        );
        if sent == call.resource || sent == by_number {
            return Ok(());
        }
        Err(Status::invalid(
            &format!("{}.name", self.word),
            format!("The name '{sent}' is not the one of the request's path."),
        ))
    }

    /// 400 FAILED_PRECONDITION for what is being deleted.
    pub(super) fn refuse_deleted(&self, doc: &Value) -> Result<(), Status> {
        if doc.get("deleteTime").is_none() {
            return Ok(());
        }
        let id = names::last(text(doc, "name"));
        Err(Status::failed_precondition(format!("{} '{id}' is being deleted.", capital(self.word))))
    }

    /// What a list shows below `prefix`: everything alive and, on demand, what was deleted and has not expired.
    pub(super) fn shown(&self, world: &World, call: &Call, prefix: &str) -> Result<Vec<Value>, Status> {
        let with_deleted = call.query.flag("showDeleted")?;
        let mut found: Vec<Value> = world
            .list(self.collection, prefix)
            .filter(|(_, doc)| with_deleted || doc.get("deleteTime").is_none())
            .map(|(_, doc)| doc.clone())
            .collect();
        if with_deleted {
            let now = world.now();
            let unexpired =
                world.list(self.deleted, prefix).filter(|(_, doc)| text(doc, "expireTime") > now.as_str());
            found.extend(unexpired.map(|(_, doc)| doc.clone()));
        }
        Ok(found)
    }

    /// The whole of delete. The resource stays readable, with `deleteTime`, until the operation is done.
    pub(super) fn delete(&self, world: &mut World, call: &Call, effect: RunEffect) -> Answer {
        let name = call.resource.clone();
        let mut doc = self.find(world, &name)?.clone();
        check_etag(call.query.str("etag"), &doc, self.word)?;
        self.refuse_deleted(&doc)?;
        mark_deleted(world, &mut doc);
        if call.query.flag("validateOnly")? {
            return Ok(start_operation(world, &name, self.message, view(&doc), None));
        }
        set(&mut doc, "reconciling", true);
        let generation = int(&doc, "generation") + 1;
        set(&mut doc, "generation", generation.to_string());
        set(&mut doc, "etag", world.fresh_etag());
        world.put(self.collection, &name, doc.clone());
        Ok(start_operation(world, &name, self.message, view(&doc), Some(effect)))
    }

    /// The end of a deletion; the document as it was last.
    pub(super) fn remove(&self, world: &mut World, name: &str) -> Answer {
        let mut doc = world.remove(self.collection, name).ok_or_else(|| self.not_found(name))?;
        world.forget_policies(name);
        unset(&mut doc, "reconciling");
        let kept = format!("{name}#{}", text(&doc, "uid"));
        world.put(self.deleted, &kept, doc.clone());
        Ok(view(&doc))
    }

    /// `wanted` with what the server adds: kept from `current`, or new.
    pub(super) fn assemble(
        &self,
        world: &mut World,
        call: &Call,
        name: &str,
        current: Option<&Value>,
        wanted: Value,
    ) -> Value {
        let mut doc = current.cloned().unwrap_or_else(|| {
            let now = world.now();
            let order = world.next_id();
            json!({"name": name, "uid": world.uuid(), "createTime": now, "updateTime": now,
                   "creator": call.caller.email, "lastModifier": call.caller.email,
                   "etag": world.fresh_etag(), ORDER: order})
        });
        for key in self.mutable {
            unset(&mut doc, key);
        }
        if let (Some(doc), Value::Object(wanted)) = (doc.as_object_mut(), wanted) {
            doc.extend(wanted);
        }
        doc
    }

    /// Whether the requested state differs by more than the order of lists.
    pub(super) fn differs(&self, current: &Value, wanted: &Value) -> bool {
        let comparable = |doc: &Value| {
            let mut picked = pick(doc, self.mutable);
            let template = noise::in_order(picked["template"].take());
            set(&mut picked, "template", template);
            picked
        };
        comparable(current) != comparable(wanted)
    }
}

/// Notes who has just changed the document and when, and gives it a new etag.
pub(super) fn modified(world: &mut World, call: &Call, doc: &mut Value) {
    set(doc, "updateTime", world.now());
    set(doc, "lastModifier", call.caller.email.as_str());
    set(doc, "etag", world.fresh_etag());
}

/// Marks a document as new: the newest of its collection.
pub(super) fn number(world: &mut World, doc: &mut Value) {
    let order = world.next_id();
    set(doc, ORDER, order);
}

/// Sorts documents by when they were made, the newest first.
pub(super) fn newest_first(docs: &mut [Value]) {
    docs.sort_by_key(|doc| Reverse(doc[ORDER].as_u64()));
}

/// A page of documents as clients see them. Page sizes are not documented; the sandbox gives 100 at most.
pub(super) fn page_of(docs: &[Value], key: &str, call: &Call) -> Answer {
    page(docs.iter().map(view).collect(), key, call, 100, 100)
}

/// Sets `deleteTime` and when the deleted resource is forgotten.
pub(super) fn mark_deleted(world: &World, doc: &mut Value) {
    set(doc, "deleteTime", world.now());
    if let Ok(expires) = world.instant().checked_add(jiff::SignedDuration::from_hours(24 * KEPT_DAYS)) {
        set(doc, "expireTime", written(expires));
    }
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

/// The document as a client sees it.
pub(super) fn view(doc: &Value) -> Value {
    let mut doc = doc.clone();
    unset(&mut doc, ORDER);
    noise::disorder(doc)
}

/// 404 for a resource of the kind that `word` names.
pub(super) fn not_found(word: &str, name: &str) -> Status {
    let id = names::last(name);
    Status::not_found(format!("Resource '{id}' of kind '{}' was not found.", word.to_uppercase()))
}

/// What the names of everything that a list asks for begin with: the part before the first `-` in its path.
pub(super) fn before_wildcard(resource: &str) -> String {
    match resource.split_once("/-/") {
        Some((before, _)) => format!("{before}/"),
        None => format!("{resource}/"),
    }
}

/// The location of a full resource name.
pub(super) fn location(resource: &str) -> &str {
    resource.split('/').nth(3).unwrap_or_default()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
