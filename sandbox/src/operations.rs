//! Long-running operations: they take several polls, survive restarts, and settle when nobody asks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::call::{Call, Handler, page};
use crate::error::{Answer, Status};
use crate::services::artifactregistry::{self, ArtifactEffect};
use crate::services::run::{self, RunEffect};
use crate::services::{iam, serviceusage};
use crate::world::World;

/// Documents here are named by the last segment of the operation's name.
pub(crate) const COLLECTION: &str = "operations";

/// After so many requests an operation that nobody polls ends too.
const PATIENCE: u64 = 20;

/// Finished operations that are kept over a restart.
const KEPT: usize = 1000;

/// What an operation does when it finishes. Data, so that it can be journalled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Nothing more: the answer is known.
    Respond { type_url: String, value: Value },
    /// It fails.
    Fail(Status),
    /// Cloud Run goes on.
    Run(RunEffect),
    /// A workload identity pool or a provider becomes so.
    Federation(iam::Change),
    /// Artifact Registry makes or deletes something.
    Artifacts(ArtifactEffect),
    /// APIs become enabled, or not; `project` is the project's ID.
    Apis { project: String, services: Vec<String>, enabled: bool, batch: bool },
}

/// A new operation.
#[derive(Debug, Clone)]
pub struct OperationSpec {
    /// Message name of the metadata without host, such as `google.cloud.run.v2.Service`.
    pub metadata_type: &'static str,
    pub metadata: Value,
    /// Polls until it is done; 0 ends it at once.
    pub steps: u64,
    pub on_done: Effect,
}

impl OperationSpec {
    /// An operation that takes one to three polls.
    pub fn new(world: &mut World, metadata_type: &'static str, metadata: Value, on_done: Effect) -> Self {
        Self { metadata_type, metadata, steps: world.random_between(1, 3), on_done }
    }

    /// An operation that is done when it is answered, with this response.
    pub fn done(metadata_type: &'static str, metadata: Value, type_url: &str, value: Value) -> Self {
        let on_done = Effect::Respond { type_url: type_url.to_owned(), value };
        Self { metadata_type, metadata, steps: 0, on_done }
    }
}

/// What is stored: the public part and what is still to happen.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    name: String,
    metadata: Value,
    /// The result, present when it is done: `{"response": ..}` or `{"error": ..}`.
    result: Option<Map<String, Value>>,
    polls: u64,
    steps: u64,
    /// The request at which it ends by itself.
    due: u64,
    on_done: Effect,
    /// Set by a fault on demand.
    fails: Option<Status>,
    /// Deleted by the client while it was waiting: it ends out of sight.
    #[serde(default)]
    forgotten: bool,
}

impl Stored {
    fn view(&self) -> Value {
        let mut view = Map::new();
        view.insert("name".into(), json!(self.name));
        view.insert("metadata".into(), self.metadata.clone());
        if let Some(result) = &self.result {
            view.insert("done".into(), json!(true));
            view.extend(result.clone());
        }
        Value::Object(view)
    }
}

fn key_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn load(world: &World, key: &str) -> Option<Stored> {
    serde_json::from_value(world.doc(COLLECTION, key)?.clone()).ok()
}

fn save(world: &mut World, operation: &Stored) {
    if let Ok(doc) = serde_json::to_value(operation) {
        world.put(COLLECTION, key_of(&operation.name), doc);
    }
}

/// Whether a stored operation is still to be finished.
pub(crate) fn is_open(doc: &Value) -> bool {
    doc.get("result").is_none_or(Value::is_null)
}

/// The operations that are still to be finished.
pub(crate) fn unfinished(world: &World) -> BTreeSet<String> {
    world.list(COLLECTION, "").filter(|(_, doc)| is_open(doc)).map(|(key, _)| key.to_owned()).collect()
}

/// Forgets the oldest finished operations beyond [`KEPT`], so that a long-lived state folder does not grow for ever.
pub(crate) fn forget_old(world: &mut World) {
    let mut finished: Vec<(u64, String)> = world
        .list(COLLECTION, "")
        .filter(|(_, doc)| !is_open(doc))
        .map(|(key, doc)| (doc["due"].as_u64().unwrap_or(0), key.to_owned()))
        .collect();
    finished.sort();
    let beyond = finished.len().saturating_sub(KEPT);
    for (_, key) in finished.into_iter().take(beyond) {
        world.remove(COLLECTION, &key);
    }
}

impl World {
    /// Stores an operation under its full name and returns what the client sees of it.
    pub fn start_operation(&mut self, name: String, spec: OperationSpec) -> Value {
        let fault = std::mem::take(&mut self.operation_fault);
        let mut metadata = spec.metadata;
        metadata["@type"] = json!(format!("type.googleapis.com/{}", spec.metadata_type));
        let steps = fault.polls.unwrap_or(spec.steps);
        let operation = Stored {
            name,
            metadata,
            result: None,
            polls: 0,
            steps,
            due: self.tick() + PATIENCE.max(fault.polls.unwrap_or(0)),
            on_done: spec.on_done,
            fails: fault.fails,
            forgotten: false,
        };
        if steps == 0 && !waits(self, &operation) {
            return complete(self, operation).view();
        }
        save(self, &operation);
        operation.view()
    }

    /// Ends the operations that are due: done at the start of every request.
    pub(crate) fn settle(&mut self) {
        let now = self.tick();
        for key in self.open_operations.clone() {
            let is_due = self.doc(COLLECTION, &key).is_some_and(|doc| doc["due"].as_u64() <= Some(now));
            if is_due
                && let Some(operation) = load(self, &key)
                && !waits(self, &operation)
            {
                complete(self, operation);
            }
        }
    }
}

/// Lets the operations of Cloud Run that `wanted` says end now: what they waited for has come.
pub(crate) fn hasten(world: &mut World, wanted: impl Fn(&RunEffect) -> bool) {
    for key in world.open_operations.clone() {
        let Some(mut operation) = load(world, &key) else { continue };
        if matches!(&operation.on_done, Effect::Run(effect) if wanted(effect)) && operation.fails.is_none() {
            operation.due = 0;
            save(world, &operation);
        }
    }
    world.settle();
}

/// Whether the operation cannot end yet, however often it was polled: it ends with something else.
fn waits(world: &mut World, operation: &Stored) -> bool {
    operation.fails.is_none()
        && matches!(&operation.on_done, Effect::Run(effect) if run::waits(world, effect))
}

fn complete(world: &mut World, mut operation: Stored) -> Stored {
    let outcome = match operation.fails.take() {
        Some(status) => {
            match &operation.on_done {
                Effect::Run(effect) => run::abandon(world, effect, &status),
                Effect::Federation(change) => iam::abandon(world, change),
                Effect::Respond { .. } | Effect::Fail(_) | Effect::Artifacts(_) | Effect::Apis { .. } => {}
            }
            Err(status)
        }
        None => finish(world, &operation.on_done),
    };
    let mut result = Map::new();
    match outcome {
        Ok((type_url, mut value)) => {
            value["@type"] = json!(type_url);
            result.insert("response".into(), value);
        }
        Err(status) => {
            result.insert("error".into(), status.to_rpc());
        }
    }
    operation.result = Some(result);
    if operation.forgotten {
        world.remove(COLLECTION, key_of(&operation.name));
    } else {
        save(world, &operation);
    }
    operation
}

/// Runs an effect: the type URL and the value of the response. What it wrote is kept on `Err` too.
fn finish(world: &mut World, effect: &Effect) -> Result<(String, Value), Status> {
    match effect {
        Effect::Respond { type_url, value } => Ok((type_url.clone(), value.clone())),
        Effect::Fail(status) => Err(status.clone()),
        Effect::Run(effect) => run::finish(world, effect),
        Effect::Federation(change) => iam::finish(world, change),
        Effect::Artifacts(effect) => artifactregistry::finish(world, effect),
        Effect::Apis { project, services, enabled, batch } => {
            Ok(serviceusage::finish(world, project, services, *enabled, *batch))
        }
    }
}

/// The operation as far as clients know of it.
fn find(world: &World, name: &str) -> Result<Stored, Status> {
    load(world, key_of(name))
        .filter(|operation| !operation.forgotten)
        .ok_or_else(|| Status::not_found(format!("Operation '{name}' was not found.")))
}

fn poll(world: &mut World, name: &str, weight: u64) -> Answer {
    let mut operation = find(world, name)?;
    if operation.result.is_some() {
        return Ok(operation.view());
    }
    operation.polls += weight;
    if operation.polls >= operation.steps && !waits(world, &operation) {
        return Ok(complete(world, operation).view());
    }
    save(world, &operation);
    Ok(operation.view())
}

/// `operations.get` of every API: the operation is found by its id alone.
pub fn get(world: &mut World, call: &Call) -> Answer {
    poll(world, &call.resource, 1)
}

/// `operations.wait`: counts for several polls, and may still answer an unfinished operation.
pub fn wait(world: &mut World, call: &Call) -> Answer {
    poll(world, &call.resource, 3)
}

/// `operations.delete`: the operation is forgotten, what it does is not stopped.
pub fn delete(world: &mut World, call: &Call) -> Answer {
    let mut operation = find(world, &call.resource)?;
    operation.forgotten = true;
    if operation.result.is_some() {
        world.remove(COLLECTION, key_of(&call.resource));
    } else if waits(world, &operation) {
        save(world, &operation);
    } else {
        complete(world, operation);
    }
    Ok(json!({}))
}

/// `operations.list` below the called path; `filter=done:true` and `done:false` are understood.
pub fn list(world: &mut World, call: &Call) -> Answer {
    let done = match call.query.str("filter").map(|filter| filter.replace(' ', "")) {
        None => None,
        Some(filter) => match filter.as_str() {
            "done:true" | "done=true" => Some(true),
            "done:false" | "done=false" => Some(false),
            _ => return Err(Status::invalid("filter", "The filter is not valid: only `done` is supported.")),
        },
    };
    let prefix = format!("{}/", call.resource.trim_end_matches('/'));
    let views: Vec<Value> = world
        .list(COLLECTION, "")
        .filter_map(|(_, doc)| serde_json::from_value::<Stored>(doc.clone()).ok())
        .filter(|operation| operation.name.starts_with(&prefix) && !operation.forgotten)
        .filter(|operation| done.is_none_or(|wanted| operation.result.is_some() == wanted))
        .map(|operation| operation.view())
        .collect();
    page(views, "operations", call, 100, 100)
}

/// The operation methods of the APIs that have no rules of their own for them.
pub fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("artifactregistry.projects.locations.operations.get", get),
        ("run.projects.locations.operations.get", get),
        ("run.projects.locations.operations.wait", wait),
        ("run.projects.locations.operations.delete", delete),
        ("run.projects.locations.operations.list", list),
        ("serviceusage.operations.get", get),
        ("serviceusage.operations.delete", delete),
        ("serviceusage.operations.list", list),
        ("iam.projects.locations.workloadIdentityPools.operations.get", get),
        ("iam.projects.locations.workloadIdentityPools.providers.operations.get", get),
        ("cloudresourcemanager.operations.get", get),
        ("cloudresourcemanager.operations.get@v3", get),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{get, send, world};

    fn spec(steps: u64) -> OperationSpec {
        let on_done = Effect::Respond { type_url: "type.googleapis.com/x.Y".into(), value: json!({"a": 1}) };
        OperationSpec { metadata_type: "x.Meta", metadata: json!({}), steps, on_done }
    }

    const NAME: &str = "projects/agent-army-dev/locations/us-central1/operations/1";

    #[test]
    fn an_operation_needs_its_polls_and_then_stays_done() {
        let mut world = world();
        let started = world.start_operation(NAME.into(), spec(2));
        assert_eq!(started["metadata"]["@type"], "type.googleapis.com/x.Meta");
        let path = format!("/run.googleapis.com/v2/{NAME}");
        assert!(get(&mut world, &path).unwrap().get("done").is_none());
        let done = get(&mut world, &path).unwrap();
        assert_eq!(done["response"], json!({"@type": "type.googleapis.com/x.Y", "a": 1}));
        assert_eq!(get(&mut world, &path).unwrap(), done);
    }

    #[test]
    fn waiting_counts_for_several_polls() {
        let mut world = world();
        world.start_operation(NAME.into(), spec(3));
        let path = format!("/run.googleapis.com/v2/{NAME}:wait");
        let done = send(&mut world, "POST", &path, &json!({"timeout": "30s"})).unwrap();
        assert_eq!(done["done"], true);
    }

    #[test]
    fn an_operation_that_nobody_polls_ends_too() {
        let mut world = world();
        world.start_operation(NAME.into(), spec(100));
        for _ in 0..PATIENCE {
            world.advance();
        }
        world.settle();
        assert!(world.open_operations.is_empty());
    }

    #[test]
    fn operations_are_listed_by_place_and_state() {
        let mut world = world();
        world.start_operation(NAME.into(), spec(0));
        world.start_operation(NAME.replace("operations/1", "operations/2"), spec(9));
        world.start_operation(NAME.replace("us-central1/operations/1", "europe-west1/operations/3"), spec(9));
        let list = "/run.googleapis.com/v2/projects/agent-army-dev/locations/us-central1/operations";
        let all = get(&mut world, list).unwrap();
        assert_eq!(all["operations"].as_array().unwrap().len(), 2);
        let open = get(&mut world, &format!("{list}?filter=done:false")).unwrap();
        assert_eq!(open["operations"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn only_the_newest_finished_operations_are_kept() {
        let mut world = world();
        for n in 0..KEPT + 2 {
            world.advance();
            world.start_operation(format!("operations/{n}"), spec(0));
        }
        world.start_operation("operations/open".into(), spec(9));
        forget_old(&mut world);
        assert_eq!(world.list(COLLECTION, "").count(), KEPT + 1);
        assert!(get(&mut world, "/v1/operations/0").is_err());
        assert!(get(&mut world, "/v1/operations/open").is_ok());
    }

    #[test]
    fn an_unknown_operation_is_not_found() {
        let mut world = world();
        assert!(get(&mut world, "/v1/operations/nothing").is_err());
    }
}
