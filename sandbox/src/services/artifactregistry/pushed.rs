//! Images with content, as the registry protocol brings them: what the v1 API and Cloud Run know of a push.
//!
//! The bytes are the `registry` module's. Here is which repository has which blob, and what a manifest holds: on its
//! version, so that it goes when the version goes, by whatever API.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use super::images::place;
pub(crate) use super::versions::{parents, remove};
use super::{ID, PACKAGES, REPOSITORIES, TAGS, VERSIONS, find, images, names, tags};
use crate::error::Status;
use crate::world::{World, written};

/// Documents by `REPOSITORY/blobs/DIGEST`: `{size, uploadTime}`.
const BLOBS: &str = "artifactregistry.blobs";

/// Field of stored versions: their [`Content`]. Versions that were seeded have none.
pub(super) const CONTENT: &str = "_content";

/// How long a blob may wait for a manifest that names it.
const UNNAMED: SignedDuration = SignedDuration::from_hours(24);

/// What the manifest of a version holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Content {
    pub(crate) media_type: String,
    /// Of the manifest, in bytes.
    pub(crate) size: u64,
    /// Digests of the configuration and the layers.
    pub(crate) blobs: Vec<String>,
    /// `ImageManifest`s of the v1 API: the manifests that an index lists.
    pub(crate) children: Vec<Value>,
    /// Digest of what this is about: a signature, a bill of materials.
    pub(crate) subject: Option<String>,
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: Option<Value>,
}

/// A manifest that was pushed.
#[derive(Debug)]
pub(crate) struct Pushed<'a> {
    pub(crate) package: &'a str,
    pub(crate) digest: &'a str,
    pub(crate) content: Content,
    /// Of everything that a pull fetches, in bytes.
    pub(crate) size: u64,
    pub(crate) built: Option<Timestamp>,
}

/// Whether images can be pushed to and pulled from here.
///
/// # Errors
/// 404 when there is no such repository, 400 when it is of another format or passes on what others hold.
pub(crate) fn check_repository(world: &World, name: &str) -> Result<(), Status> {
    let repository = world
        .doc(REPOSITORIES, name)
        .ok_or_else(|| Status::not_found(format!("Repository '{name}' was not found.")))?;
    if repository["format"] == "DOCKER" && repository["mode"] == "STANDARD_REPOSITORY" {
        return Ok(());
    }
    Err(Status::failed_precondition(
        "Images can be put into standard repositories of the format DOCKER only.",
    ))
}

/// Keeps a manifest: its version and its package, where they are not there yet, and what it holds.
pub(crate) fn publish(world: &mut World, pushed: &Pushed<'_>) -> String {
    let version = format!("{}/versions/{}", pushed.package, pushed.digest);
    let mut metadata = json!({
        "name": images::name(&version),
        "imageSizeBytes": pushed.size.to_string(),
        "mediaType": pushed.content.media_type,
    });
    if let Some(built) = pushed.built {
        metadata["buildTime"] = json!(written(built));
    }
    if let Some(kind) = &pushed.content.artifact_type {
        metadata["artifactType"] = json!(kind);
    }
    if !pushed.content.children.is_empty() {
        metadata["imageManifests"] = json!(pushed.content.children);
    }
    let uploaded = world.now();
    make_version(world, pushed.package, &version, &uploaded, metadata);
    if let Some(mut doc) = world.doc(VERSIONS, &version).filter(|doc| doc.get(CONTENT).is_none()).cloned() {
        doc[CONTENT] = json!(pushed.content);
        world.put(VERSIONS, &version, doc);
    }
    version
}

/// Makes a version and its package. Of a version that is there and has content, nothing changes.
pub(super) fn make_version(world: &mut World, package: &str, version: &str, uploaded: &str, metadata: Value) {
    let known = world.doc(VERSIONS, version).cloned();
    if known.as_ref().is_some_and(|doc| doc.get(CONTENT).is_some()) {
        return;
    }
    let id = world.next_id();
    let mut doc = known.unwrap_or_else(
        || json!({ "name": version, "createTime": uploaded, "updateTime": uploaded, ID: id }),
    );
    doc["metadata"] = metadata;
    world.put(VERSIONS, version, doc);
    let mut doc = world.doc(PACKAGES, package).cloned().unwrap_or_else(
        || json!({ "name": package, "displayName": names::id_of(package), "createTime": uploaded, ID: id }),
    );
    // "This includes publishing a new version of the package"; an upload may be dated back.
    if doc["updateTime"].as_str().is_none_or(|time| time < uploaded) {
        doc["updateTime"] = json!(uploaded);
    }
    world.put(PACKAGES, package, doc);
}

/// The name of the version that a tag or a digest of a package means.
pub(crate) fn version_of(world: &World, package: &str, reference: &str) -> Option<String> {
    if reference.contains(':') {
        let name = format!("{package}/versions/{reference}");
        return world.doc(VERSIONS, &name).map(|_| name);
    }
    let tag = world.doc(TAGS, &format!("{package}/tags/{reference}"))?;
    tag["version"].as_str().map(str::to_owned)
}

/// What a version holds; `None` for one that was only seeded.
pub(crate) fn content(world: &World, version: &str) -> Option<Content> {
    serde_json::from_value(world.doc(VERSIONS, version)?.get(CONTENT)?.clone()).ok()
}

/// Points a tag of the package at a version.
///
/// # Errors
/// 400 when it would have to move and tags are immutable.
pub(crate) fn tag(world: &mut World, package: &str, tag: &str, version: &str) -> Result<(), Status> {
    tags::point(world, &format!("{package}/tags/{tag}"), version).map(|_| ())
}

/// Takes a tag away.
///
/// # Errors
/// 404 when it is not there, 400 when tags are immutable.
pub(crate) fn untag(world: &mut World, package: &str, tag: &str) -> Result<(), Status> {
    let name = format!("{package}/tags/{tag}");
    find(world, TAGS, &name)?;
    tags::check_movable(world, &name)?;
    world.remove(TAGS, &name);
    Ok(())
}

/// The tags of a package, sorted; `None` when there is no such package.
pub(crate) fn tags_of(world: &World, package: &str) -> Option<Vec<String>> {
    world.doc(PACKAGES, package)?;
    let prefix = format!("{package}/tags/");
    Some(world.list(TAGS, &prefix).map(|(name, _)| names::last(name).to_owned()).collect())
}

/// The tags of a package that point to a version, sorted.
pub(crate) fn tags_at(world: &World, version: &str) -> Vec<String> {
    let name_of = |tag: Value| tag["name"].as_str().map(|name| names::last(name).to_owned());
    tags::of_version(world, version).filter_map(name_of).collect()
}

/// Digest and content of every version of a package that is about what has this digest.
pub(crate) fn referrers(world: &World, package: &str, subject: &str) -> Vec<(String, Content)> {
    let versions = world.list(VERSIONS, &format!("{package}/versions/"));
    versions
        .filter_map(|(name, _)| Some((names::last(name).to_owned(), content(world, name)?)))
        .filter(|(_, content)| content.subject.as_deref() == Some(subject))
        .collect()
}

fn blob_name(repository: &str, digest: &str) -> String {
    format!("{repository}/blobs/{digest}")
}

/// Notes that a repository has a blob of so many bytes.
pub(crate) fn add_blob(world: &mut World, repository: &str, digest: &str, size: u64) {
    let doc = json!({ "size": size, "uploadTime": world.now() });
    world.put(BLOBS, &blob_name(repository, digest), doc);
}

/// The size of a blob in bytes, when the repository has it.
pub(crate) fn blob(world: &World, repository: &str, digest: &str) -> Option<u64> {
    world.doc(BLOBS, &blob_name(repository, digest))?["size"].as_u64()
}

/// Takes a blob out of a repository.
pub(crate) fn remove_blob(world: &mut World, repository: &str, digest: &str) {
    world.remove(BLOBS, &blob_name(repository, digest));
}

/// Takes every blob out of a repository that goes.
pub(super) fn remove_blobs(world: &mut World, repository: &str) {
    super::remove_below(world, BLOBS, repository);
}

/// The name of a version in the repository whose manifest names the blob.
pub(crate) fn user_of_blob(world: &World, repository: &str, digest: &str) -> Option<String> {
    let mut versions = world.list(VERSIONS, &format!("{repository}/"));
    let uses = |name: &str| {
        content(world, name).is_some_and(|content| content.blobs.iter().any(|blob| blob == digest))
    };
    versions.find(|(name, _)| uses(name)).map(|(name, _)| name.to_owned())
}

/// Takes out the blobs that no manifest has named for a day, and answers the digests of everything that is left: blobs
/// and manifests.
pub(crate) fn sweep(world: &mut World) -> BTreeSet<String> {
    let (mut named, mut manifests) = (BTreeSet::new(), BTreeSet::new());
    for (name, _) in world.list(VERSIONS, "") {
        let Some(content) = content(world, name) else { continue };
        let repository = names::repository_of(name);
        named.extend(content.blobs.iter().map(|digest| blob_name(repository, digest)));
        manifests.insert(names::last(name).to_owned());
    }
    let now = world.instant();
    let is_old = |doc: &Value| {
        let uploaded: Option<Timestamp> = doc["uploadTime"].as_str().and_then(|text| text.parse().ok());
        uploaded.is_none_or(|uploaded| now.duration_since(uploaded) >= UNNAMED)
    };
    let blobs = world.list(BLOBS, "");
    let garbage: Vec<String> = blobs
        .filter(|(name, doc)| !named.contains(*name) && is_old(doc))
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in &garbage {
        world.remove(BLOBS, name);
    }
    manifests.extend(world.list(BLOBS, "").map(|(name, _)| names::last(name).to_owned()));
    manifests
}
