//! Revisions: how they are named, what they hold, and their methods.

use super::access::{pick, set, text, unset};
use super::condition;
use super::names;
use super::noise;
use super::resource::{self, view};
use super::{REVISION, REVISIONS, RunEffect, SERVICES, start_operation};
use crate::call::Call;
use crate::error::{Answer, Status};
use crate::world::World;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Fields that a revision takes over from the template. `healthCheckDisabled` is not among a Revision's fields.
const FROM_TEMPLATE: [&str; 21] = [
    "ambientNetworking",
    "annotations",
    "client",
    "clientVersion",
    "containers",
    "encryptionKey",
    "encryptionKeyRevocationAction",
    "encryptionKeyShutdownDuration",
    "executionEnvironment",
    "gpuZonalRedundancyDisabled",
    "labels",
    "maxInstanceRequestConcurrency",
    "nodeSelector",
    "scaling",
    "serviceAccount",
    "serviceMesh",
    "sessionAffinity",
    "timeout",
    "volumes",
    "vpcAccess",
    "workloadIdentityConfig",
];

/// Conditions of a revision besides `Ready` and `Active`.
const STEPS: [&str; 3] = ["ResourcesAvailable", "ContainerReady", "ContainerHealthy"];

/// What a write of a service means for its revisions. The names are full ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// The template is the same: nothing happens.
    Keep,
    /// The template asks by name for a revision that exists with this very configuration.
    Reuse(String),
    /// A new revision.
    Make(String),
}

/// Decides between keeping, reusing and making a revision. `current` is the service as stored.
///
/// # Errors
/// 409 ALREADY_EXISTS when the template names a revision that has another configuration. That is also the
/// case when a client leaves the name of the last revision in a template that it changes.
pub(super) fn next(
    world: &mut World,
    service: &str,
    current: Option<&Value>,
    new: &Value,
    generation: i64,
    force: bool,
) -> Result<Next, Status> {
    let template = &new["template"];
    let in_order = |template: &Value| noise::in_order(template.clone());
    if !force && current.is_some_and(|current| in_order(&current["template"]) == in_order(template)) {
        return Ok(Next::Keep);
    }
    let wanted = text(template, "revision");
    if wanted.is_empty() {
        return Ok(Next::Make(generated_name(world, service, generation)));
    }
    let name = format!("{service}/revisions/{wanted}");
    let Some(existing) = world.doc(REVISIONS, &name) else { return Ok(Next::Make(name)) };
    let same =
        in_order(&pick(existing, &FROM_TEMPLATE)) == in_order(&pick(template, &FROM_TEMPLATE)) && !force;
    if same {
        return Ok(Next::Reuse(name));
    }
    Err(Status::already_exists(format!(
        "Revision named '{wanted}' with different configuration already exists."
    )))
}

/// `SERVICE-00001-abc`: the generation of the service and three letters.
fn generated_name(world: &mut World, service: &str, generation: i64) -> String {
    loop {
        let letters = names::letters(world.random(), 3);
        let name = format!("{service}/revisions/{}-{generation:05}-{letters}", names::last(service));
        if world.doc(REVISIONS, &name).is_none() {
            return name;
        }
    }
}

/// Stores a revision of `service` that is not ready yet.
pub(super) fn make(world: &mut World, name: &str, service: &Value, creator: &str) {
    let mut doc = pick(&service["template"], &FROM_TEMPLATE);
    let now = world.now();
    let id = names::last(name).to_owned();
    let parts: Vec<&str> = name.split('/').collect();
    let (project, location, owner) = (parts[1], parts[3], parts[5]);
    let log_filter = format!(
        "resource.type%3D%22cloud_run_revision%22%0Aresource.labels.service_name%3D%22{owner}%22%0Aresource.labels.revision_name%3D%22{id}%22%0Aresource.labels.location%3D%22{location}%22"
    );
    let mut conditions = vec![condition::reconciling("Ready", &now), condition::active(true, &now)];
    conditions.extend(STEPS.iter().map(|step| condition::reconciling(step, &now)));
    for (key, value) in [
        ("name", json!(name)),
        ("uid", json!(world.uuid())),
        ("generation", json!("1")),
        ("createTime", json!(now)),
        ("updateTime", json!(now)),
        ("creator", json!(creator)),
        ("service", json!(owner)),
        ("launchStage", service["launchStage"].clone()),
        ("reconciling", json!(true)),
        ("conditions", json!(conditions)),
        (
            "logUri",
            json!(format!(
                "https://console.cloud.google.com/logs/viewer?project={project}&advancedFilter={log_filter}"
            )),
        ),
        ("etag", json!(world.fresh_etag())),
    ] {
        set(&mut doc, key, value);
    }
    resource::number(world, &mut doc);
    world.put(REVISIONS, name, doc);
}

/// Ends the reconciliation of a revision, for good: ready, or failed.
pub(super) fn settle(world: &mut World, name: &str, outcome: Result<(), &condition::Failure>) {
    let Some(mut doc) = world.doc(REVISIONS, name).cloned() else { return };
    let now = world.now();
    let state = |kind: &str| match outcome {
        Ok(()) => condition::succeeded(kind, &now),
        Err(failure) => condition::failed(kind, &failure.reason, &failure.message, &now),
    };
    let mut conditions = vec![state("Ready"), condition::active(outcome.is_ok(), &now)];
    // Resources are there either way; what fails is the container, which is then never started.
    conditions.push(condition::succeeded("ResourcesAvailable", &now));
    conditions.push(state("ContainerReady"));
    if outcome.is_ok() {
        conditions.push(condition::succeeded("ContainerHealthy", &now));
    }
    set(&mut doc, "conditions", conditions);
    set(&mut doc, "observedGeneration", "1");
    unset(&mut doc, "reconciling");
    touch(world, &mut doc, &now);
    world.put(REVISIONS, name, doc);
}

fn touch(world: &mut World, doc: &mut Value, now: &str) {
    set(doc, "updateTime", now);
    set(doc, "etag", world.fresh_etag());
}

/// Says of each ready revision whether it takes requests. `serving` are short names.
pub(super) fn retire_others(world: &mut World, service: &str, serving: &BTreeSet<String>) {
    let now = world.now();
    for (name, mut doc) in all(world, service) {
        if !condition::is_ready(&doc) {
            continue;
        }
        let active = condition::active(serving.contains(names::last(&name)), &now);
        let Some(conditions) = doc.get_mut("conditions").and_then(Value::as_array_mut) else { continue };
        let Some(old) = conditions.iter_mut().find(|condition| condition["type"] == "Active") else {
            continue;
        };
        if old["state"] == active["state"] {
            continue;
        }
        *old = active;
        touch(world, &mut doc, &now);
        world.put(REVISIONS, &name, doc);
    }
}

/// Takes away the oldest revisions beyond `most` that neither traffic nor a tag reaches, as Cloud Run does
/// without asking: a revision to go back to can vanish.
pub(super) fn forget_surplus(world: &mut World, service: &Value, most: usize) {
    let revisions = all(world, text(service, "name"));
    let surplus = revisions.len().saturating_sub(most);
    let unused = revisions.iter().rev().filter(|(name, _)| check_unused(service, name).is_ok());
    for (name, _) in unused.take(surplus) {
        world.remove(REVISIONS, name);
    }
}

/// The revisions of a service with their full names, newest first.
pub(super) fn all(world: &World, service: &str) -> Vec<(String, Value)> {
    let prefix = format!("{service}/revisions/");
    let mut found: Vec<Value> = world.list(REVISIONS, &prefix).map(|(_, doc)| doc.clone()).collect();
    resource::newest_first(&mut found);
    found.into_iter().map(|doc| (text(&doc, "name").to_owned(), doc)).collect()
}

fn find<'a>(world: &'a World, name: &str) -> Result<&'a Value, Status> {
    world.doc(REVISIONS, name).ok_or_else(|| resource::not_found("revision", name))
}

/// `services.revisions.get`.
pub(super) fn get(world: &mut World, call: &Call) -> Answer {
    find(world, &call.resource).map(view)
}

/// `services.revisions.list`: newest first; `-` stands for all services of the location.
pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    let parts: Vec<&str> = call.resource.split('/').collect();
    let (location, service) = (parts[..4].join("/"), parts[5]);
    super::check_location(parts[3])?;
    let owners: Vec<String> = if service == "-" {
        world.list(SERVICES, &format!("{location}/services/")).map(|(name, _)| name.to_owned()).collect()
    } else {
        vec![format!("{location}/services/{service}")]
    };
    let mut found: Vec<Value> =
        owners.iter().flat_map(|owner| all(world, owner)).map(|(_, doc)| doc).collect();
    resource::newest_first(&mut found);
    resource::page_of(&found, "revisions", call)
}

/// `services.revisions.delete`: not while it is the latest one or has traffic.
pub(super) fn delete(world: &mut World, call: &Call) -> Answer {
    let name = call.resource.clone();
    let doc = find(world, &name)?;
    super::check_etag(call.query.str("etag"), doc, "revision")?;
    let service = name.split("/revisions/").next().unwrap_or_default();
    if let Some(service) = world.doc(SERVICES, service) {
        check_unused(service, &name)?;
    }
    let mut doc = doc.clone();
    set(&mut doc, "deleteTime", world.now());
    let validate_only = call.query.flag("validateOnly")?;
    if !validate_only {
        set(&mut doc, "reconciling", true);
        set(&mut doc, "etag", world.fresh_etag());
        world.put(REVISIONS, &name, doc.clone());
    }
    let effect = (!validate_only).then_some(RunEffect::DeleteRevision { revision: name.clone() });
    Ok(start_operation(world, &name, REVISION, view(&doc), effect))
}

fn check_unused(service: &Value, name: &str) -> Result<(), Status> {
    let id = names::last(name);
    let in_traffic = ["traffic", "trafficStatuses"]
        .iter()
        .flat_map(|key| super::access::list(service, key))
        .any(|target| text(target, "revision") == id);
    let latest =
        ["latestCreatedRevision", "latestReadyRevision"].iter().any(|key| text(service, key) == name);
    if in_traffic || latest {
        return Err(Status::failed_precondition(format!(
            "Revision '{id}' cannot be deleted: it is the latest one or has traffic or a tag."
        )));
    }
    Ok(())
}
