//! Docker images: each version of a repository under the name that it is pulled by.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{REPOSITORIES, TAGS, VERSIONS, find, lists, names};
use crate::call::{Call, Handler};
use crate::error::{Answer, Status};
use crate::projects;
use crate::services::run::image::Reference;
use crate::world::World;

/// What a Docker client pushes for one platform.
pub(super) const MEDIA_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

const HOST_SUFFIX: &str = "-docker.pkg.dev";

pub(super) fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("artifactregistry.projects.locations.repositories.dockerImages.get", get),
        ("artifactregistry.projects.locations.repositories.dockerImages.list", list),
    ]
}

/// Ids of tags by the name of the version that they point to, sorted; `parent` is a repository or a package.
pub(super) fn tags_below(world: &World, parent: &str) -> BTreeMap<String, Vec<String>> {
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, tag) in world.list(TAGS, &format!("{parent}/")) {
        let version = tag["version"].as_str().unwrap_or_default().to_owned();
        tags.entry(version).or_default().push(names::last(name).to_owned());
    }
    tags
}

/// `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/PACKAGE@DIGEST` of a version.
pub(super) fn uri(version: &str) -> String {
    let registry = names::registry(names::repository_of(version), "DOCKER");
    format!("{registry}/{}@{}", names::id_of(names::parent(version)), names::last(version))
}

/// The name of the Docker image that a version is.
pub(super) fn name(version: &str) -> String {
    let package = names::last(names::parent(version));
    format!("{}/dockerImages/{package}@{}", names::repository_of(version), names::last(version))
}

fn view(version: &Value, tags: &[String]) -> Value {
    let version_name = version["name"].as_str().unwrap_or_default();
    let metadata = &version["metadata"];
    let mut image = json!({
        "name": name(version_name),
        "uri": uri(version_name),
        "imageSizeBytes": metadata["imageSizeBytes"],
        "uploadTime": version["createTime"],
        "mediaType": metadata["mediaType"],
        "updateTime": version["updateTime"],
    });
    // What the manifest or its configuration may lack.
    for field in ["buildTime", "artifactType", "imageManifests"] {
        if let Some(value) = metadata.get(field) {
            image[field] = value.clone();
        }
    }
    if !tags.is_empty() {
        image["tags"] = json!(tags);
    }
    image
}

/// The repository of the call, when it is one of Docker images.
fn docker_repository(world: &World, call: &Call) -> Result<String, Status> {
    let name = names::repository(call);
    if find(world, REPOSITORIES, &name)?["format"] == "DOCKER" {
        return Ok(name);
    }
    Err(Status::failed_precondition(format!("The repository {name} does not hold Docker images.")))
}

fn get(world: &mut World, call: &Call) -> Answer {
    let repository = docker_repository(world, call)?;
    let (package, digest) = call.var("dockerImages").rsplit_once('@').unwrap_or_default();
    let version = format!("{repository}/packages/{}/versions/{digest}", names::escaped(package));
    let doc = find(world, VERSIONS, &version)?;
    let tags = tags_below(world, names::parent(&version));
    Ok(view(doc, tags.get(&version).map(Vec::as_slice).unwrap_or_default()))
}

fn list(world: &mut World, call: &Call) -> Answer {
    let repository = docker_repository(world, call)?;
    let tags = tags_below(world, &repository);
    let images = world
        .list(VERSIONS, &format!("{repository}/"))
        .map(|(name, doc)| view(doc, tags.get(name).map(Vec::as_slice).unwrap_or_default()))
        .collect();
    lists::answer(images, "dockerImages", call, &[])
}

/// The repository and the package that an image reference names; `None` for another registry.
pub(crate) fn place(reference: &Reference<'_>) -> Option<(String, String)> {
    let location = reference.host?.strip_suffix(HOST_SUFFIX)?;
    let mut parts = reference.path.splitn(3, '/');
    let (project, id) = (parts.next()?, parts.next()?);
    let repository = names::repository_at(project, location, id);
    let package = format!("{repository}/packages/{}", names::escaped(parts.next()?));
    Some((repository, package))
}

/// Whether the Artifact Registry of a project of the sandbox holds an image: by digest, else by tag, else `latest`.
///
/// `None` when that is not the sandbox's to say: the image is in another registry, in a project that the sandbox
/// has never seen, or behind a repository that passes on what others hold.
pub(crate) fn holds(world: &World, reference: &Reference<'_>) -> Option<bool> {
    reference.host?.strip_suffix(HOST_SUFFIX)?;
    world.doc(projects::COLLECTION, reference.path.split('/').next()?)?;
    let Some((repository, package)) = place(reference) else { return Some(false) };
    let Some(repository) = world.doc(REPOSITORIES, &repository) else { return Some(false) };
    if repository["mode"] != "STANDARD_REPOSITORY" {
        return None;
    }
    let found = match reference.digest {
        Some(digest) => world.doc(VERSIONS, &format!("{package}/versions/{digest}")),
        None => world.doc(TAGS, &format!("{package}/tags/{}", reference.tag.unwrap_or("latest"))),
    };
    Some(found.is_some())
}
