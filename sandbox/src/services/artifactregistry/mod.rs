//! Artifact Registry v1: repositories, and the Docker images in them as packages, versions and tags.
//!
//! Images come over the registry protocol (`pushed`), or without content over the control endpoint (`seed`). Cleanup
//! policies are carried out when the control endpoint says so (`cleanup`), never by themselves.

mod cleanup;
mod images;
mod lists;
mod names;
mod packages;
mod policies;
pub(crate) mod pushed;
mod repositories;
mod rules;
mod seed;
mod tags;
#[cfg(test)]
mod tests;
mod versions;

pub(crate) use cleanup::clean_up;
pub(crate) use images::holds;
pub(crate) use seed::seed;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::Handler;
use crate::error::Status;
use crate::operations::{Effect, OperationSpec};
use crate::world::World;

/// Collections of documents, by full resource name; slashes of package ids are `%2F` in it.
const REPOSITORIES: &str = "artifactregistry.repositories";
const PACKAGES: &str = "artifactregistry.packages";
const VERSIONS: &str = "artifactregistry.versions";
const TAGS: &str = "artifactregistry.tags";

/// Field of stored documents that tells an object from a later one of the same name; clients do not see it.
const ID: &str = "_id";

/// "Maximum page size is 1,000" (every list request). The default is not documented.
const MAX_PAGE: usize = 1000;
const DEFAULT_PAGE: usize = 100;

/// Message names of what operations carry.
const METADATA: &str = "google.devtools.artifactregistry.v1.OperationMetadata";
const BATCH_METADATA: &str = "google.devtools.artifactregistry.v1.BatchDeleteVersionsMetadata";
const REPOSITORY_URL: &str = "type.googleapis.com/google.devtools.artifactregistry.v1.Repository";
const EMPTY_URL: &str = "type.googleapis.com/google.protobuf.Empty";

/// An object that an operation is about: the one that had the name when the operation started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    name: String,
    id: u64,
}

impl Target {
    fn of(doc: &Value) -> Self {
        let name = doc["name"].as_str().unwrap_or_default().to_owned();
        Self { name, id: doc[ID].as_u64().unwrap_or_default() }
    }

    fn is_there(&self, world: &World, collection: &str) -> bool {
        world.doc(collection, &self.name).is_some_and(|doc| doc[ID] == json!(self.id))
    }
}

/// What an operation of Artifact Registry does when it finishes. Data, because it is journalled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ArtifactEffect {
    /// Makes a repository out of this document.
    CreateRepository { repository: Value },
    /// Takes a repository and all in it away.
    DeleteRepository { target: Target },
    /// Takes a package with its versions and tags away.
    DeletePackage { target: Target },
    /// Takes versions away, with their tags when `force` says so.
    DeleteVersions { targets: Vec<Target>, force: bool },
}

/// The methods served, by id.
pub fn routes() -> Vec<(&'static str, Handler)> {
    [repositories::routes(), images::routes(), packages::routes(), versions::routes(), tags::routes()]
        .concat()
}

/// Runs the effect: the type URL and the value of the operation's response. Nothing is written on `Err`.
pub fn finish(world: &mut World, effect: &ArtifactEffect) -> Result<(String, Value), Status> {
    match effect {
        ArtifactEffect::CreateRepository { repository } => {
            let made = repositories::make(world, repository)?;
            return Ok((REPOSITORY_URL.to_owned(), made));
        }
        ArtifactEffect::DeleteRepository { target } => {
            if target.is_there(world, REPOSITORIES) {
                repositories::remove(world, &target.name);
            }
        }
        ArtifactEffect::DeletePackage { target } => {
            if target.is_there(world, PACKAGES) {
                packages::remove(world, &target.name);
            }
        }
        ArtifactEffect::DeleteVersions { targets, force } => {
            let there: Vec<&Target> =
                targets.iter().filter(|target| target.is_there(world, VERSIONS)).collect();
            for target in &there {
                versions::check_untagged(world, &target.name, *force)?;
            }
            let going: Vec<&str> = there.iter().map(|target| target.name.as_str()).collect();
            versions::check_alone(world, &going)?;
            for target in there {
                versions::remove(world, &target.name);
            }
        }
    }
    Ok((EMPTY_URL.to_owned(), json!({})))
}

/// The operation that a write below `resource` answers with.
fn start_operation(world: &mut World, resource: &str, effect: ArtifactEffect) -> Value {
    let spec = OperationSpec::new(world, METADATA, json!({}), Effect::Artifacts(effect));
    let name = names::operation(resource, &world.uuid());
    world.start_operation(name, spec)
}

/// The stored document of this name, or 404.
fn find<'a>(world: &'a World, collection: &str, name: &str) -> Result<&'a Value, Status> {
    world
        .doc(collection, name)
        .ok_or_else(|| Status::not_found(format!("Requested entity was not found: {name}")))
}

/// A stored document as clients see it, when nothing is to be added.
fn view(doc: &Value) -> Value {
    let mut shown = doc.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.remove(ID);
        fields.remove(pushed::CONTENT);
    }
    shown
}

/// Takes every document below `parent` out of a collection.
fn remove_below(world: &mut World, collection: &str, parent: &str) {
    let names: Vec<String> =
        world.list(collection, &format!("{parent}/")).map(|(name, _)| name.to_owned()).collect();
    for name in names {
        world.remove(collection, &name);
    }
}

/// The body of a request to the control endpoint; an empty one is `{}`.
fn read_control<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Status> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Status::invalid_argument(format!("The request cannot be read: {error}.")))
}
