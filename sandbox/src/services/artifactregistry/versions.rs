//! Versions: of Docker images, one for each digest.

use serde_json::{Value, json};

use super::{ArtifactEffect, BATCH_METADATA, EMPTY_URL, PACKAGES, REPOSITORIES, TAGS, Target, VERSIONS};
use super::{find, lists, names, start_operation, tags, view};
use crate::call::{Call, Handler};
use crate::error::{Answer, Status};
use crate::operations::{Effect, OperationSpec};
use crate::world::World;

/// `Version.relatedTags`: "up to 100 tags that reference this version".
const MAX_RELATED: usize = 100;

pub(super) fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("artifactregistry.projects.locations.repositories.packages.versions.get", get),
        ("artifactregistry.projects.locations.repositories.packages.versions.list", list),
        ("artifactregistry.projects.locations.repositories.packages.versions.delete", delete),
        ("artifactregistry.projects.locations.repositories.packages.versions.batchDelete", batch_delete),
    ]
}

/// Whether `view` asks for the tags, too: `FULL`, which clients may send as its number.
fn is_full(call: &Call) -> Result<bool, Status> {
    match call.query.str("view") {
        None | Some("VERSION_VIEW_UNSPECIFIED" | "BASIC" | "0" | "1") => Ok(false),
        Some("FULL" | "2") => Ok(true),
        Some(other) => Err(Status::invalid("view", format!("'{other}' is not a view of versions."))),
    }
}

fn shown(world: &World, version: &Value, full: bool) -> Value {
    let mut shown = view(version);
    let name = version["name"].as_str().unwrap_or_default();
    let related: Vec<Value> =
        if full { tags::of_version(world, name).take(MAX_RELATED).collect() } else { vec![] };
    if !related.is_empty() {
        shown["relatedTags"] = json!(related);
    }
    shown
}

fn get(world: &mut World, call: &Call) -> Answer {
    let full = is_full(call)?;
    let version = find(world, VERSIONS, &names::version(call))?;
    Ok(shown(world, version, full))
}

fn list(world: &mut World, call: &Call) -> Answer {
    let full = is_full(call)?;
    let package = names::package(call);
    find(world, PACKAGES, &package)?;
    let all = world
        .list(VERSIONS, &format!("{package}/"))
        .map(|(_, version)| shown(world, version, full))
        .collect();
    lists::answer(all, "versions", call, &["name"])
}

/// "By default, a version that is tagged may not be deleted"; with `force` its tags go too, where tags can go.
pub(super) fn check_untagged(world: &World, version: &str, force: bool) -> Result<(), Status> {
    let tagged = tags::of_version(world, version).next().is_some();
    if tagged && !force {
        return Err(Status::failed_precondition(format!(
            "The version {version} is tagged: delete its tags first, or set force."
        )));
    }
    if tagged { tags::check_movable(world, version) } else { Ok(()) }
}

/// The versions of the same package that list this one: indexes of the platforms that it is one of.
pub(crate) fn parents<'a>(world: &'a World, version: &'a str) -> impl Iterator<Item = &'a str> {
    let digest = names::last(version);
    let lists = move |doc: &Value| {
        let children = doc[super::pushed::CONTENT]["children"].as_array();
        children.into_iter().flatten().any(|child| child["digest"] == digest)
    };
    let siblings = world.list(VERSIONS, &format!("{}/versions/", names::parent(version)));
    siblings.filter(move |(_, doc)| lists(doc)).map(|(name, _)| name)
}

/// An index keeps what it lists: `going` may have parents among themselves only.
pub(super) fn check_alone(world: &World, going: &[&str]) -> Result<(), Status> {
    for version in going {
        if let Some(parent) = parents(world, version).find(|parent| !going.contains(parent)) {
            return Err(Status::failed_precondition(format!(
                "The version {version} is listed by {parent}: delete that first."
            )));
        }
    }
    Ok(())
}

/// Takes a version and the tags that point to it away.
pub(crate) fn remove(world: &mut World, version: &str) {
    let tags: Vec<String> =
        tags::of_version(world, version).filter_map(|tag| tag["name"].as_str().map(str::to_owned)).collect();
    for tag in tags {
        world.remove(TAGS, &tag);
    }
    world.remove(VERSIONS, version);
}

fn delete(world: &mut World, call: &Call) -> Answer {
    let force = call.query.flag("force")?;
    let name = names::version(call);
    let targets = vec![Target::of(find(world, VERSIONS, &name)?)];
    check_untagged(world, &name, force)?;
    check_alone(world, &[&name])?;
    Ok(start_operation(world, &name, ArtifactEffect::DeleteVersions { targets, force }))
}

/// Deletes versions of any package of the repository; `validateOnly` only checks them.
fn batch_delete(world: &mut World, call: &Call) -> Answer {
    let repository = names::repository(call);
    find(world, REPOSITORIES, &repository)?;
    let names: Vec<&str> =
        call.body["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() {
        return Err(Status::invalid("names", "The names of the versions are required."));
    }
    let mut targets = Vec::with_capacity(names.len());
    for name in &names {
        if names::repository_of(name) != repository {
            return Err(Status::invalid("names", format!("The version {name} is not in {repository}.")));
        }
        targets.push(Target::of(find(world, VERSIONS, name)?));
        check_untagged(world, name, false)?;
    }
    check_alone(world, &names)?;
    let mut spec = OperationSpec::done(BATCH_METADATA, json!({}), EMPTY_URL, json!({}));
    if call.body["validateOnly"] != true {
        let effect = ArtifactEffect::DeleteVersions { targets, force: false };
        spec = OperationSpec::new(world, BATCH_METADATA, json!({}), Effect::Artifacts(effect));
    }
    let name = names::operation(&repository, &world.uuid());
    Ok(world.start_operation(name, spec))
}
