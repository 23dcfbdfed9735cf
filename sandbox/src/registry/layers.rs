//! Blobs over HTTP: uploads in every form that the specification has, mounts, pulls with ranges, deletion.

use std::io::SeekFrom;
use std::path::PathBuf;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::stream;
use http::{StatusCode, header};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::access::{self, Act};
use super::refusal::Refusal;
use super::uploads::Upload;
use super::{Asked, CONTENT_DIGEST, UPLOAD_ID, empty, set};
use crate::services::artifactregistry::pushed;
use crate::services::run::image::is_digest;
use crate::world::World;

/// Bytes that are read from a file at once.
const PIECE: usize = 64 * 1024;

/// `POST blobs/uploads/`: a mount, a whole blob, or the begin of an upload.
pub(super) async fn begin(asked: &Asked<'_>, body: Body) -> Result<Response, Refusal> {
    if let Some(digest) = asked.query("mount")
        && mount(asked, &digest)?
    {
        return Ok(made(asked, &digest));
    }
    let repository = &asked.address.repository;
    let (id, now) = asked.enter(Act::Push, |world| Ok((world.uuid(), world.instant())))?;
    let storage = &asked.shared.registry;
    storage.uploads.begin(&id, repository, storage.blobs.draft(&id), now)?;
    if let Some(digest) = asked.query("digest") {
        return complete(asked, &id, &digest, body).await;
    }
    Ok(going_on(asked, &id, StatusCode::ACCEPTED, "0-0"))
}

/// Takes a blob over from a repository that the caller may pull from; false when there is none to take, and the client
/// has to upload it then.
fn mount(asked: &Asked<'_>, digest: &str) -> Result<bool, Refusal> {
    check_digest(digest)?;
    let address = asked.address;
    let source = match asked.query("from") {
        Some(from) => address.repository_of(&from),
        None => Some(address.repository.clone()),
    };
    asked.enter(Act::Push, |world| {
        let account = access::account(world, asked.token.as_deref())?;
        let source =
            source.filter(|source| access::may(world, account.as_deref(), source, Act::Pull).is_ok());
        let Some(size) = source.and_then(|source| pushed::blob(world, &source, digest)) else {
            return Ok(false);
        };
        if pushed::blob(world, &address.repository, digest).is_none() {
            pushed::add_blob(world, &address.repository, digest, size);
        }
        Ok(true)
    })
}

/// `GET blobs/uploads/ID`
pub(super) async fn status(asked: &Asked<'_>, id: &str) -> Result<Response, Refusal> {
    let upload = find(asked, id)?;
    let range = upload.lock().await.range();
    Ok(going_on(asked, id, StatusCode::NO_CONTENT, &range))
}

/// `PATCH blobs/uploads/ID`: the next piece, at the place that `Content-Range` names, or simply behind the last.
pub(super) async fn go_on(asked: &Asked<'_>, id: &str, body: Body) -> Result<Response, Refusal> {
    let upload = find(asked, id)?;
    let mut upload = upload.lock().await;
    check_start(asked, id, &upload)?;
    upload.append(body).await?;
    Ok(going_on(asked, id, StatusCode::ACCEPTED, &upload.range()))
}

/// `PUT blobs/uploads/ID?digest=`: the last piece, which may be empty.
pub(super) async fn finish(asked: &Asked<'_>, id: &str, body: Body) -> Result<Response, Refusal> {
    let digest = asked.query("digest").unwrap_or_default();
    complete(asked, id, &digest, body).await
}

/// `DELETE blobs/uploads/ID`
pub(super) fn give_up(asked: &Asked<'_>, id: &str) -> Result<Response, Refusal> {
    find(asked, id)?;
    asked.shared.registry.uploads.end(id);
    Ok(empty(StatusCode::NO_CONTENT, &[]))
}

fn find(asked: &Asked<'_>, id: &str) -> Result<std::sync::Arc<tokio::sync::Mutex<Upload>>, Refusal> {
    let now = asked.enter(Act::Push, |world| Ok(world.instant()))?;
    asked.shared.registry.uploads.find(id, &asked.address.repository, now)
}

/// 416 when the piece would leave a gap or overwrite something.
fn check_start(asked: &Asked<'_>, id: &str, upload: &Upload) -> Result<(), Refusal> {
    let Some(range) = asked.header(&header::CONTENT_RANGE) else { return Ok(()) };
    let start =
        range.trim_start_matches("bytes").trim().split('-').next().and_then(|start| start.parse().ok());
    if start == Some(upload.length()) {
        return Ok(());
    }
    let message = format!("The piece {range} does not follow the {} bytes that are there.", upload.length());
    Err(Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message)
        .with(header::RANGE, &upload.range())
        .with(header::LOCATION, &location(asked, id)))
}

/// Writes the last piece, checks the whole, and makes it a blob of the repository.
async fn complete(asked: &Asked<'_>, id: &str, digest: &str, body: Body) -> Result<Response, Refusal> {
    check_digest(digest)?;
    let found = find(asked, id)?;
    let mut upload = found.lock().await;
    check_start(asked, id, &upload)?;
    upload.append(body).await?;
    let failed = |error: &std::io::Error| Refusal::disk("keep the blob", error);
    let got = upload.complete().await.map_err(|error| failed(&error))?;
    // Right or wrong, it cannot go on.
    asked.shared.registry.uploads.end(id);
    if got != digest {
        return Err(Refusal::bad("DIGEST_INVALID", format!("The blob's digest is {got}, not {digest}.")));
    }
    let keep = |world: &mut World| {
        // Within the lock, so that a reset comes before all of this or after it.
        asked.shared.registry.blobs.keep(upload.path(), digest).map_err(|error| failed(&error))?;
        pushed::add_blob(world, &asked.address.repository, digest, upload.length());
        Ok(())
    };
    asked.enter(Act::Push, keep)?;
    Ok(made(asked, digest))
}

fn check_digest(digest: &str) -> Result<(), Refusal> {
    if is_digest(digest) {
        return Ok(());
    }
    Err(Refusal::bad(
        "DIGEST_INVALID",
        format!("'{digest}' is not a SHA-256 digest, the only ones known here."),
    ))
}

fn location(asked: &Asked<'_>, id: &str) -> String {
    asked.address.path(&format!("blobs/uploads/{id}"))
}

fn going_on(asked: &Asked<'_>, id: &str, status: StatusCode, range: &str) -> Response {
    let location = location(asked, id);
    empty(status, &[(header::LOCATION, &location), (header::RANGE, range), (UPLOAD_ID, id)])
}

fn made(asked: &Asked<'_>, digest: &str) -> Response {
    let location = asked.address.path(&format!("blobs/{digest}"));
    empty(StatusCode::CREATED, &[(header::LOCATION, &location), (CONTENT_DIGEST, digest)])
}

/// `GET` and `HEAD blobs/DIGEST`
pub(super) async fn pull(asked: &Asked<'_>, digest: &str) -> Result<Response, Refusal> {
    check_digest(digest)?;
    let repository = &asked.address.repository;
    let unknown = || Refusal::unknown("BLOB_UNKNOWN", format!("{repository} has no blob {digest}."));
    let size = asked.enter(Act::Pull, |world| pushed::blob(world, repository, digest).ok_or_else(unknown))?;
    let path = asked.shared.registry.blobs.path(digest).ok_or_else(unknown)?;
    let range = match asked.header(&header::RANGE) {
        Some(range) if !asked.is_head() => wanted(range, size),
        _ => Wanted::Whole,
    };
    let (start, length, status) = match range {
        Wanted::Whole => (0, size, StatusCode::OK),
        Wanted::Part { start, length } => (start, length, StatusCode::PARTIAL_CONTENT),
        Wanted::Outside => {
            let message = format!("The blob has {size} bytes only.");
            let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", message);
            return Err(refusal.with(header::CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let body = if asked.is_head() {
        Body::empty()
    } else {
        read(path, start, length).await.map_err(|error| Refusal::disk("read the blob", &error))?
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, format!("\"{digest}\"")),
        (CONTENT_DIGEST, digest.to_owned()),
    ] {
        set(&mut response, name, &value);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{size}", start + length - 1);
        set(&mut response, header::CONTENT_RANGE, &range);
    }
    Ok(response)
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part { start: u64, length: u64 },
    Outside,
}

/// What a `Range` header means of so many bytes. One that cannot be read, or asks for several parts, is as none (RFC
/// 9110, section 14.2).
fn wanted(range: &str, size: u64) -> Wanted {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Wanted::Whole;
    };
    let (start, end) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(start), Ok(last)) if start <= last => (start, last.saturating_add(1).min(size)),
        (Ok(start), Err(_)) if last.trim().is_empty() => (start, size),
        (Err(_), Ok(0)) if first.trim().is_empty() => return Wanted::Outside,
        (Err(_), Ok(count)) if first.trim().is_empty() => (size.saturating_sub(count), size),
        _ => return Wanted::Whole,
    };
    if start >= end { Wanted::Outside } else { Wanted::Part { start, length: end - start } }
}

/// Streams a part of a file.
async fn read(path: PathBuf, start: u64, length: u64) -> std::io::Result<Body> {
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(start)).await?;
    let pieces = stream::try_unfold(file.take(length), |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE);
        let count = (&mut file).take(PIECE as u64).read_to_end(&mut piece).await?;
        Ok::<_, std::io::Error>((count > 0).then(|| (Bytes::from(piece), file)))
    });
    Ok(Body::from_stream(pieces))
}

/// `DELETE blobs/DIGEST`, for what no image of the repository needs.
pub(super) fn delete(asked: &Asked<'_>, digest: &str) -> Result<Response, Refusal> {
    check_digest(digest)?;
    let repository = &asked.address.repository;
    asked.enter(Act::DeleteBlob, |world| {
        if pushed::blob(world, repository, digest).is_none() {
            return Err(Refusal::unknown("BLOB_UNKNOWN", format!("{repository} has no blob {digest}.")));
        }
        if let Some(user) = pushed::user_of_blob(world, repository, digest) {
            return Err(Refusal::unsupported(format!("The blob is part of {user}: delete that.")));
        }
        pushed::remove_blob(world, repository, digest);
        Ok(empty(StatusCode::ACCEPTED, &[]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_says() {
        let part = |start, length| Wanted::Part { start, length };
        for (range, expected) in [
            ("bytes=0-3", part(0, 4)),
            ("bytes=8-", part(8, 2)),
            ("bytes=-4", part(6, 4)),
            ("bytes=-40", part(0, 10)),
            ("bytes=5-100", part(5, 5)),
            ("bytes=10-", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=3-1", Wanted::Whole),
            ("bytes=0-1,4-5", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
        ] {
            assert_eq!(wanted(range, 10), expected, "{range}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Outside);
    }
}
