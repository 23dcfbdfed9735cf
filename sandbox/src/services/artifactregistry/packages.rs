//! Packages: the images of a repository by name, each with its versions and tags.

use serde_json::Value;

use super::{ArtifactEffect, PACKAGES, REPOSITORIES, TAGS, Target, VERSIONS};
use super::{find, lists, names, remove_below, start_operation, tags, view};
use crate::call::{Call, Handler};
use crate::error::Answer;
use crate::world::World;

pub(super) fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("artifactregistry.projects.locations.repositories.packages.get", get),
        ("artifactregistry.projects.locations.repositories.packages.list", list),
        ("artifactregistry.projects.locations.repositories.packages.delete", delete),
    ]
}

fn get(world: &mut World, call: &Call) -> Answer {
    find(world, PACKAGES, &names::package(call)).map(view)
}

fn list(world: &mut World, call: &Call) -> Answer {
    let repository = names::repository(call);
    find(world, REPOSITORIES, &repository)?;
    let all: Vec<Value> =
        world.list(PACKAGES, &format!("{repository}/")).map(|(_, package)| view(package)).collect();
    lists::answer(all, "packages", call, &["name"])
}

fn delete(world: &mut World, call: &Call) -> Answer {
    let name = names::package(call);
    let target = Target::of(find(world, PACKAGES, &name)?);
    if world.list(TAGS, &format!("{name}/")).next().is_some() {
        tags::check_movable(world, &name)?;
    }
    Ok(start_operation(world, &name, ArtifactEffect::DeletePackage { target }))
}

/// Takes a package with its versions and tags away.
pub(super) fn remove(world: &mut World, name: &str) {
    remove_below(world, TAGS, name);
    remove_below(world, VERSIONS, name);
    world.remove(PACKAGES, name);
}
