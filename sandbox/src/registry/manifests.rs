//! Manifests over HTTP, by tag and by digest; tags; and what refers to a manifest.

use axum::body::{Body, to_bytes};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::access::Act;
use super::manifest::{self, Holds, MAX_MANIFEST, Manifest};
use super::refusal::Refusal;
use super::{Asked, CONTENT_DIGEST, FILTERS, SUBJECT, empty, set};
use crate::server::json_response;
use crate::services::artifactregistry::pushed::{self, Pushed};
use crate::services::run::image::{is_digest, is_tag};
use crate::world::World;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// `GET` and `HEAD manifests/REFERENCE`
pub(super) fn pull(asked: &Asked<'_>, reference: &str) -> Result<Response, Refusal> {
    let (digest, media_type) = asked.enter(Act::Pull, |world| {
        let version = find(asked, world, reference)?;
        let digest = digest_in(&version).to_owned();
        let content = pushed::content(world, &version).ok_or_else(|| {
            let name = &asked.address.name;
            Refusal::unknown(
                "MANIFEST_UNKNOWN",
                format!(
                    "{name}@{digest} exists in name only: it was seeded over the control endpoint of the sandbox and \
                     has no content. Push it to have it."
                ),
            )
        })?;
        Ok((digest, content.media_type))
    })?;
    if !accepts(&asked.parts.headers, &media_type) {
        return Err(Refusal::unknown(
            "MANIFEST_UNKNOWN",
            format!("The manifest {reference} is a {media_type}, which the Accept header leaves out."),
        ));
    }
    let bytes = asked.shared.registry.blobs.read(&digest);
    let bytes = bytes.map_err(|error| Refusal::disk("read the manifest", &error))?;
    let length = bytes.len().to_string();
    let mut response = Response::new(if asked.is_head() { Body::empty() } else { Body::from(bytes) });
    let etag = format!("\"{digest}\"");
    for (name, value) in [
        (header::CONTENT_TYPE, media_type.as_str()),
        (header::CONTENT_LENGTH, &length),
        (header::ETAG, &etag),
        (CONTENT_DIGEST, &digest),
    ] {
        set(&mut response, name, value);
    }
    Ok(response)
}

fn digest_in(version: &str) -> &str {
    version.rsplit('/').next().unwrap_or(version)
}

/// The version that a tag or a digest means.
fn find(asked: &Asked<'_>, world: &World, reference: &str) -> Result<String, Refusal> {
    check_reference(reference)?;
    let found = pushed::version_of(world, &asked.address.package, reference);
    found.ok_or_else(|| {
        let name = &asked.address.name;
        Refusal::unknown("MANIFEST_UNKNOWN", format!("There is no manifest {reference} of {name}."))
    })
}

fn check_reference(reference: &str) -> Result<(), Refusal> {
    match reference.contains(':') {
        true if !is_digest(reference) => Err(Refusal::bad(
            "DIGEST_INVALID",
            format!("'{reference}' is not a SHA-256 digest, the only ones known here."),
        )),
        false if !is_tag(reference) => {
            Err(Refusal::bad("NAME_INVALID", format!("'{reference}' can be neither tag nor digest.")))
        }
        _ => Ok(()),
    }
}

/// Whether a client takes this media type; one that says nothing takes all.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .filter(|range| !range.is_empty())
        .peekable();
    ranges.peek().is_none()
        || ranges
            .any(|range| matches!(range, "*/*" | "application/*") || range.eq_ignore_ascii_case(media_type))
}

/// `PUT manifests/REFERENCE`
pub(super) async fn push(asked: &Asked<'_>, reference: &str, body: Body) -> Result<Response, Refusal> {
    check_reference(reference)?;
    let bytes = to_bytes(body, MAX_MANIFEST).await.map_err(|_| {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "SIZE_INVALID",
            format!("The manifest did not come whole: it may have {MAX_MANIFEST} bytes at most."),
        )
    })?;
    let said = asked.header(&header::CONTENT_TYPE).and_then(|said| said.split(';').next()).map(str::trim);
    let manifest = manifest::read(said, &bytes)?;
    let is_tag = !reference.contains(':');
    if !is_tag && reference != manifest.digest {
        return Err(Refusal::bad(
            "DIGEST_INVALID",
            format!("The manifest's digest is {}, not {reference}.", manifest.digest),
        ));
    }
    asked.enter(Act::Push, |world| {
        check_parts(asked, world, &manifest)?;
        let kept = asked.shared.registry.blobs.write(&manifest.digest, &bytes);
        kept.map_err(|error| Refusal::disk("keep the manifest", &error))?;
        let package = &asked.address.package;
        let version = pushed::publish(
            world,
            &Pushed {
                package,
                digest: &manifest.digest,
                content: manifest.content(),
                size: manifest.image_size(),
                built: built(asked, &manifest),
            },
        );
        if is_tag {
            let moved = pushed::tag(world, package, reference, &version);
            moved.map_err(|status| Refusal::bad("MANIFEST_INVALID", status.message))?;
        }
        Ok(())
    })?;
    let location = asked.address.path(&format!("manifests/{}", manifest.digest));
    let mut response =
        empty(StatusCode::CREATED, &[(header::LOCATION, &location), (CONTENT_DIGEST, &manifest.digest)]);
    if let Some(subject) = manifest.subject() {
        set(&mut response, SUBJECT, subject);
    }
    Ok(response)
}

/// What a manifest names has to be there first, and as large as it says.
fn check_parts(asked: &Asked<'_>, world: &World, manifest: &Manifest) -> Result<(), Refusal> {
    let repository = &asked.address.repository;
    for blob in manifest.blobs() {
        let digest = &blob.digest;
        match pushed::blob(world, repository, digest) {
            Some(size) if size == blob.size => {}
            Some(size) => {
                let said = blob.size;
                return Err(Refusal::bad(
                    "MANIFEST_INVALID",
                    format!("The manifest is not valid: {digest} has {size} bytes, not {said}."),
                ));
            }
            None => return Err(missing(&format!("{repository} has no blob {digest}"))),
        }
    }
    let package = &asked.address.package;
    let is_there = |digest: &str| pushed::version_of(world, package, digest).is_some();
    match manifest.children().iter().find(|child| !is_there(&child.digest)) {
        Some(child) => Err(missing(&format!("{package} has no manifest {}", child.digest))),
        None => Ok(()),
    }
}

fn missing(what: &str) -> Refusal {
    Refusal::bad("MANIFEST_BLOB_UNKNOWN", format!("{what}, which the manifest names: push that first."))
}

/// When the image says that it was built, in its configuration.
fn built(asked: &Asked<'_>, manifest: &Manifest) -> Option<Timestamp> {
    let Holds::Image { config, .. } = &manifest.holds else { return None };
    let is_small = config.size <= MAX_MANIFEST as u64;
    let bytes = is_small.then(|| asked.shared.registry.blobs.read(&config.digest).ok())??;
    let config: Value = serde_json::from_slice(&bytes).ok()?;
    config["created"].as_str()?.parse().ok()
}

/// `DELETE manifests/REFERENCE`: a tag by its name; a manifest by its digest, when no tag and no index leads to it.
pub(super) fn delete(asked: &Asked<'_>, reference: &str) -> Result<Response, Refusal> {
    let package = &asked.address.package;
    if !reference.contains(':') {
        return asked.enter(Act::DeleteTag, |world| {
            find(asked, world, reference)?;
            let gone = pushed::untag(world, package, reference);
            gone.map_err(|status| Refusal::bad("MANIFEST_INVALID", status.message))?;
            Ok(empty(StatusCode::ACCEPTED, &[]))
        });
    }
    asked.enter(Act::DeleteVersion, |world| {
        let version = find(asked, world, reference)?;
        let tags = pushed::tags_at(world, &version);
        if !tags.is_empty() {
            return Err(Refusal::bad(
                "GOOGLE_MANIFEST_DANGLING_TAG",
                format!("The manifest has tags: delete {} first.", tags.join(", ")),
            ));
        }
        if let Some(parent) = pushed::parents(world, &version).next() {
            return Err(Refusal::bad(
                "GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE",
                format!("The manifest is listed by {}: delete that first.", digest_in(parent)),
            ));
        }
        pushed::remove(world, &version);
        Ok(empty(StatusCode::ACCEPTED, &[]))
    })
}

/// `GET tags/list`, with `n` and `last`.
pub(super) fn tags(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let name = &asked.address.name;
    let mut tags = asked.enter(Act::Pull, |world| {
        let tags = pushed::tags_of(world, &asked.address.package);
        tags.ok_or_else(|| Refusal::unknown("NAME_UNKNOWN", format!("There is no image {name}.")))
    })?;
    // "In lexical (i.e. case-insensitive alphanumeric order)".
    let key = |tag: &str| (tag.to_lowercase(), tag.to_owned());
    tags.sort_by_key(|tag| key(tag));
    if let Some(last) = asked.query("last") {
        tags.retain(|tag| key(tag) > key(&last));
    }
    let mut next = None;
    if let Some(count) = asked.query("n") {
        let count: usize = count.parse().map_err(|_| {
            Refusal::bad("UNSUPPORTED", format!("n is a number of tags, which '{count}' is not."))
        })?;
        let more = tags.len() > count;
        tags.truncate(count);
        next = tags.last().filter(|_| more).map(|last| {
            let list = asked.address.path("tags/list");
            format!("<{list}?n={count}&last={last}>; rel=\"next\"")
        });
    }
    let mut response = json_response(StatusCode::OK, &json!({ "name": name, "tags": tags }), None);
    if let Some(next) = next {
        set(&mut response, header::LINK, &next);
    }
    Ok(response)
}

/// `GET referrers/DIGEST`, with `artifactType`.
pub(super) fn referrers(asked: &Asked<'_>, digest: &str) -> Result<Response, Refusal> {
    check_reference(digest)?;
    let found =
        asked.enter(Act::Pull, |world| Ok(pushed::referrers(world, &asked.address.package, digest)))?;
    let kind = asked.query("artifactType");
    let manifests: Vec<Value> = found
        .into_iter()
        .filter(|(_, content)| kind.is_none() || content.artifact_type == kind)
        .map(|(digest, content)| {
            let mut descriptor =
                json!({ "mediaType": content.media_type, "digest": digest, "size": content.size });
            if let Some(kind) = content.artifact_type {
                descriptor["artifactType"] = json!(kind);
            }
            if let Some(annotations) = content.annotations {
                descriptor["annotations"] = annotations;
            }
            descriptor
        })
        .collect();
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
    let mut response = json_response(StatusCode::OK, &index, None);
    set(&mut response, header::CONTENT_TYPE, OCI_INDEX);
    if kind.is_some() {
        set(&mut response, FILTERS, "artifactType");
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_accepts() {
        let accepting = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT, value.parse().unwrap());
            }
            accepts(&headers, OCI_INDEX)
        };
        for yes in [
            &[][..],
            &["*/*"],
            &["text/plain", OCI_INDEX],
            &["a/b;q=0.5, application/vnd.oci.image.index.v1+json;q=0.4"],
        ] {
            assert!(accepting(yes), "{yes:?}");
        }
        assert!(!accepting(&["application/vnd.oci.image.manifest.v1+json"]));
    }
}
