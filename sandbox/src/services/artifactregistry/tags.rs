//! Tags: names in a package that point to its versions.

use serde_json::{Value, json};

use super::{PACKAGES, REPOSITORIES, TAGS, VERSIONS, find, lists, names};
use crate::call::{Call, Handler};
use crate::error::{Answer, Status};
use crate::services::run::image;
use crate::world::World;

pub(super) fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("artifactregistry.projects.locations.repositories.packages.tags.get", get),
        ("artifactregistry.projects.locations.repositories.packages.tags.list", list),
        ("artifactregistry.projects.locations.repositories.packages.tags.create", create),
        ("artifactregistry.projects.locations.repositories.packages.tags.patch", patch),
        ("artifactregistry.projects.locations.repositories.packages.tags.delete", delete),
    ]
}

/// The tags that point to a version, by name.
pub(super) fn of_version<'a>(world: &'a World, version: &'a str) -> impl Iterator<Item = Value> + use<'a> {
    world
        .list(TAGS, &format!("{}/", names::parent(version)))
        .filter(move |(_, tag)| tag["version"] == version)
        .map(|(_, tag)| tag.clone())
}

/// `DockerRepositoryConfig.immutableTags` "prevents all tags from being modified, moved or deleted". `name` is of
/// something in the repository.
pub(super) fn check_movable(world: &World, name: &str) -> Result<(), Status> {
    let repository = names::repository_of(name);
    let immutable = world
        .doc(REPOSITORIES, repository)
        .and_then(|doc| doc.pointer("/dockerConfig/immutableTags"))
        .is_some_and(|flag| *flag == json!(true));
    if !immutable {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "The tags of the repository {repository} are immutable: they cannot be moved or deleted."
    )))
}

/// Points a tag at a version of the same package, moving it when it is there already.
///
/// # Errors
/// 400 when the tag would have to move and tags are immutable.
pub(super) fn point(world: &mut World, tag: &str, version: &str) -> Answer {
    if let Some(held) = world.doc(TAGS, tag) {
        if held["version"] == version {
            return Ok(held.clone());
        }
        check_movable(world, tag)?;
    }
    let doc = json!({ "name": tag, "version": version });
    world.put(TAGS, tag, doc.clone());
    Ok(doc)
}

/// The version that the body names, when the package of the tag has it.
fn version_of(world: &World, call: &Call) -> Result<String, Status> {
    let version = call.text("version").unwrap_or_default();
    if names::parent(version) != names::package(call) || !version.contains("/versions/") {
        return Err(Status::invalid(
            "tag.version",
            format!("'{version}' is not the name of a version of the tag's package."),
        ));
    }
    find(world, VERSIONS, version)?;
    Ok(version.to_owned())
}

fn get(world: &mut World, call: &Call) -> Answer {
    find(world, TAGS, &names::tag(call)).cloned()
}

fn list(world: &mut World, call: &Call) -> Answer {
    let package = names::package(call);
    find(world, PACKAGES, &package)?;
    let all: Vec<Value> = world.list(TAGS, &format!("{package}/")).map(|(_, tag)| tag.clone()).collect();
    lists::answer(all, "tags", call, &["name", "version"])
}

fn create(world: &mut World, call: &Call) -> Answer {
    let package = names::package(call);
    find(world, PACKAGES, &package)?;
    let id = call.query.str("tagId").unwrap_or_default();
    if !image::is_tag(id) {
        return Err(Status::invalid("tag_id", format!("'{id}' cannot be a tag.")));
    }
    let name = format!("{package}/tags/{id}");
    if world.doc(TAGS, &name).is_some() {
        return Err(Status::already_exists(format!("The tag {name} already exists.")));
    }
    let version = version_of(world, call)?;
    point(world, &name, &version)
}

fn patch(world: &mut World, call: &Call) -> Answer {
    let name = names::tag(call);
    find(world, TAGS, &name)?;
    for path in call.query.str("updateMask").unwrap_or("version").split(',') {
        if !["*", "name", "version"].contains(&path) {
            return Err(Status::invalid(
                "update_mask",
                format!("The update mask names a field that does not exist: {path}"),
            ));
        }
    }
    let version = version_of(world, call)?;
    point(world, &name, &version)
}

fn delete(world: &mut World, call: &Call) -> Answer {
    let name = names::tag(call);
    find(world, TAGS, &name)?;
    check_movable(world, &name)?;
    world.remove(TAGS, &name);
    Ok(json!({}))
}
