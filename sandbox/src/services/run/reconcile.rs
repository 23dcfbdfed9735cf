//! Reconciliation: from what was asked for to what serves.
//!
//! While it runs, `latestReadyRevision`, `trafficStatuses` and `observedGeneration` say what serves; when it
//! fails they stay there (`Service.reconciling` in the run.v2 document). A failed revision is never tried again.

use super::access::{int, list, set, text, unset};
use super::condition::{self, Failure};
use super::{REVISIONS, SERVICES, launch, names, needs, resource, revision, traffic};
use crate::error::{Answer, Status};
use crate::world::World;
use serde_json::Value;
use std::collections::BTreeSet;

/// Most revisions of a service (Cloud Run quotas and limits).
const MOST_REVISIONS: usize = 1000;

/// Marks a service that was just written.
pub(super) fn begin(world: &World, doc: &mut Value) {
    let now = world.now();
    set(doc, "reconciling", true);
    set(doc, "terminalCondition", condition::reconciling("Ready", &now));
    let parts = ["RoutesReady", "ConfigurationsReady"].map(|part| condition::reconciling(part, &now));
    set(doc, "conditions", parts.to_vec());
}

/// Ends the reconciliation that was started for `generation`.
///
/// # Errors
/// The failure of the service, which is also in its conditions; 404 when the service is gone.
pub(super) fn finish(world: &mut World, name: &str, generation: i64) -> Answer {
    settle_revision(world, name, generation, None);
    conclude(world, name, generation, None)
}

/// Ends it with a failure that has nothing to do with what was asked for.
pub(super) fn abandon(world: &mut World, name: &str, generation: i64, status: &Status) {
    let failure = Failure::injected(status);
    settle_revision(world, name, generation, Some(&failure));
    // The caller answers with the status that was injected; what is concluded here is for later reads.
    let _ = conclude(world, name, generation, Some(failure));
}

/// Decides about the revision that the write made, unless that is decided already.
fn settle_revision(world: &mut World, name: &str, generation: i64, injected: Option<&Failure>) {
    for revision in undecided(world, name, generation) {
        decide(world, &revision, injected);
    }
}

/// The revisions that the write of `generation` has to decide about. A later write has its own operation: whatever is
/// pending from before it is decided by the earlier one, so that no revision stays undecided.
fn undecided(world: &World, name: &str, generation: i64) -> Vec<String> {
    let Some(service) = world.doc(SERVICES, name) else { return Vec::new() };
    let latest = text(service, "latestCreatedRevision");
    let superseded = int(service, "generation") > generation;
    pending(world, name).into_iter().filter(|pending| !superseded || pending != latest).collect()
}

/// Whether a revision has yet to show that it starts. Asks the runtime to let it.
pub(super) fn waits(world: &mut World, name: &str, generation: i64) -> bool {
    let project = name.split('/').nth(1).unwrap_or_default();
    let mut waits = false;
    for revision in undecided(world, name, generation) {
        let lacks = |doc| needs::check(world, project, doc).is_err();
        if world.runtime.outcome(&revision).is_some() || world.doc(REVISIONS, &revision).is_none_or(lacks) {
            continue;
        }
        if launch::runs(world, &revision) {
            world.runtime.try_out(&revision);
            waits = true;
        }
    }
    waits
}

/// The revisions that are neither ready nor failed.
fn pending(world: &World, name: &str) -> Vec<String> {
    revision::all(world, name)
        .into_iter()
        .filter(|(_, doc)| !condition::is_ready(doc) && !condition::has_failed(doc))
        .map(|(revision, _)| revision)
        .collect()
}

fn decide(world: &mut World, name: &str, injected: Option<&Failure>) {
    let project = name.split('/').nth(1).unwrap_or_default();
    let outcome = match (injected, world.doc(REVISIONS, name)) {
        (Some(failure), _) => Err(failure.clone()),
        (None, Some(doc)) => match world.runtime.outcome(name) {
            Some(outcome) => outcome.clone(),
            None => needs::check(world, project, doc),
        },
        (None, None) => return,
    };
    revision::settle(world, name, outcome.as_ref().copied());
}

/// Brings the service's own status up to date and answers the service, or why it is not ready.
fn conclude(world: &mut World, name: &str, generation: i64, injected: Option<Failure>) -> Answer {
    let Some(mut doc) = world.doc(SERVICES, name).cloned() else {
        return Err(Status::not_found(format!("Service '{}' was deleted.", names::last(name))));
    };
    let superseded = int(&doc, "generation") > generation || doc.get("deleteTime").is_some();
    if superseded {
        return Ok(resource::view(&doc));
    }
    let configuration = latest_failure(world, &doc);
    if let Some(ready) = newest_ready(world, name, &doc) {
        set(&mut doc, "latestReadyRevision", ready);
    }
    let routes = match injected {
        Some(failure) => Err(failure),
        None => route(world, name, &mut doc),
    };
    let failure = configuration.clone().or_else(|| routes.as_ref().err().cloned());
    describe(world, &mut doc, configuration.as_ref(), routes.as_ref().err(), failure.as_ref());
    set(&mut doc, "etag", world.fresh_etag());
    world.put(SERVICES, name, doc.clone());
    let serving: BTreeSet<String> =
        traffic::addressed(list(&doc, "trafficStatuses")).into_iter().map(str::to_owned).collect();
    revision::retire_others(world, name, &serving);
    revision::forget_surplus(world, &doc, MOST_REVISIONS);
    match failure {
        None => Ok(resource::view(&doc)),
        Some(failure) => Err(failure.status()),
    }
}

/// Why the latest created revision cannot serve, in the words of the service.
fn latest_failure(world: &World, doc: &Value) -> Option<Failure> {
    let latest = text(doc, "latestCreatedRevision");
    let failure = condition::failure_of(world.doc(REVISIONS, latest)?)?;
    let message = condition::not_ready(names::last(latest), &failure.message);
    Some(Failure { message, ..failure })
}

/// The latest created revision when it is ready, else the newest one that is.
fn newest_ready(world: &World, name: &str, doc: &Value) -> Option<String> {
    let latest = text(doc, "latestCreatedRevision");
    if world.doc(REVISIONS, latest).is_some_and(condition::is_ready) {
        return Some(latest.to_owned());
    }
    let kept = text(doc, "latestReadyRevision");
    if world.doc(REVISIONS, kept).is_some_and(condition::is_ready) {
        return Some(kept.to_owned());
    }
    revision::all(world, name)
        .into_iter()
        .find(|(_, doc)| condition::is_ready(doc))
        .map(|(revision, _)| revision)
}

/// Moves the traffic when every target can serve, also while a newer revision failed: else nobody could
/// move traffic away from a bad one. Otherwise all of it stays where it is.
fn route(world: &World, name: &str, doc: &mut Value) -> Result<(), Failure> {
    let parts: Vec<&str> = name.split('/').collect();
    let hosts = names::hosts(names::last(name), world.project_number(parts[1]), parts[3]);
    let ready = text(doc, "latestReadyRevision");
    let latest = (!ready.is_empty()).then(|| names::last(ready));
    let can_serve = |revision: &str| {
        world.doc(REVISIONS, &format!("{name}/revisions/{revision}")).is_some_and(condition::is_ready)
    };
    let statuses =
        traffic::resolve(list(doc, "traffic"), latest, &hosts[0], can_serve).map_err(|unready| {
            let message = unready.map_or_else(
                || "No revision is ready to serve traffic.".to_owned(),
                |revision| format!("Revision '{revision}' is not ready and cannot serve traffic."),
            );
            Failure::new("REVISION_FAILED", message)
        })?;
    set(doc, "trafficStatuses", statuses);
    let urls: Vec<String> = hosts.iter().map(|host| format!("https://{host}")).collect();
    // A service without its default URL answers on none of them.
    if super::access::flag(doc, "defaultUriDisabled") {
        unset(doc, "uri");
        unset(doc, "urls");
    } else {
        set(doc, "uri", urls[0].as_str());
        set(doc, "urls", urls);
    }
    Ok(())
}

fn describe(
    world: &World,
    doc: &mut Value,
    configuration: Option<&Failure>,
    routes: Option<&Failure>,
    whole: Option<&Failure>,
) {
    let now = world.now();
    let state = |kind: &str, failure: Option<&Failure>| match failure {
        None => condition::succeeded(kind, &now),
        Some(failure) => condition::failed(kind, &failure.reason, &failure.message, &now),
    };
    set(doc, "terminalCondition", state("Ready", whole));
    set(doc, "conditions", vec![state("RoutesReady", routes), state("ConfigurationsReady", configuration)]);
    if whole.is_none() {
        set(doc, "observedGeneration", doc["generation"].clone());
    }
    unset(doc, "reconciling");
}
