//! Images that come over the control endpoint, as if they had been pushed: they exist and have no content.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;

use super::{VERSIONS, images, pushed, read_control, tags};
use crate::error::{Answer, Status};
use crate::services::run::image;
use crate::world::{World, written};

/// `POST /__sandbox/artifacts`. Without any tag the image is untagged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Push {
    /// `REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME`, with a tag, a digest or both behind it, or neither.
    image: String,
    /// Tags besides the one of `image`.
    #[serde(default)]
    tags: Vec<String>,
    digest: Option<String>,
    /// RFC 3339; now when not given.
    upload_time: Option<String>,
}

/// Puts an image into a Docker repository that is there; answers its `uri` and `digest`.
///
/// Without a digest it is a new image with a digest by chance. An image that is there already gets the tags only.
///
/// # Errors
/// 404 when there is no such repository; 400 for a request that cannot be read, for a repository that cannot be
/// pushed to, and for a tag that would have to move where tags are immutable.
pub(crate) fn seed(world: &mut World, body: &[u8]) -> Answer {
    let push: Push = read_control(body)?;
    let reference = image::parse(&push.image)
        .ok_or_else(|| Status::invalid_argument(format!("'{}' is not an image reference.", push.image)))?;
    let (repository, package) = images::place(&reference).ok_or_else(|| {
        Status::invalid_argument(format!("'{}' is not an image of an Artifact Registry.", push.image))
    })?;
    pushed::check_repository(world, &repository)?;
    let given = push.digest.as_deref().or(reference.digest);
    if push.digest.is_some() && reference.digest.is_some_and(|digest| Some(digest) != given) {
        return Err(Status::invalid_argument("The image and the request name different digests."));
    }
    let digest = given.map_or_else(|| random_digest(world), str::to_owned);
    let tags: BTreeSet<&str> = push.tags.iter().map(String::as_str).chain(reference.tag).collect();
    check_words(&digest, &tags)?;
    let uploaded = uploaded(world, push.upload_time.as_deref())?;
    let version = format!("{package}/versions/{digest}");
    publish(world, &package, &version, &uploaded);
    for tag in tags {
        tags::point(world, &format!("{package}/tags/{tag}"), &version)?;
    }
    Ok(json!({ "uri": images::uri(&version), "digest": digest }))
}

fn check_words(digest: &str, tags: &BTreeSet<&str>) -> Result<(), Status> {
    if !image::is_digest(digest) {
        return Err(Status::invalid_argument(format!("'{digest}' is not a digest.")));
    }
    match tags.iter().find(|tag| !image::is_tag(tag)) {
        Some(tag) => Err(Status::invalid_argument(format!("'{tag}' cannot be a tag."))),
        None => Ok(()),
    }
}

fn random_digest(world: &mut World) -> String {
    let words: Vec<String> = (0..4).map(|_| format!("{:016x}", world.random())).collect();
    format!("sha256:{}", words.concat())
}

fn uploaded(world: &World, given: Option<&str>) -> Result<String, Status> {
    let Some(text) = given else { return Ok(world.now()) };
    let instant = text.parse().map_err(|_| Status::invalid_argument(format!("'{text}' is not a time.")))?;
    Ok(written(instant))
}

/// Makes the version with metadata by chance. A version that is there was uploaded before.
fn publish(world: &mut World, package: &str, version: &str, uploaded: &str) {
    if world.doc(VERSIONS, version).is_some() {
        return;
    }
    let bytes = world.random_between(20_000_000, 400_000_000);
    let metadata = json!({
        "name": images::name(version),
        "buildTime": uploaded,
        "imageSizeBytes": bytes.to_string(),
        "mediaType": images::MEDIA_TYPE,
    });
    pushed::make_version(world, package, version, uploaded, metadata);
}
