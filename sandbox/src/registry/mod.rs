//! Artifact Registry's Docker registry: the OCI distribution specification 1.1, for every client that speaks it.
//!
//! `place` reads what a request is about, `access` lets it in, `layers` and `manifests` serve it, `images` is what the
//! runtime asks. Bytes are on disk (`blobs`, `uploads`); what is where is in the `World` beside the documents of the v1
//! API (`services::artifactregistry::pushed`), so that the two APIs always agree. Nothing is ever held in memory whole
//! but manifests.

mod access;
mod blobs;
#[cfg_attr(not(test), expect(dead_code, reason = "the runtime asks, and is still to come"))]
pub(crate) mod images;
mod layers;
mod manifest;
mod manifests;
mod place;
mod refusal;
mod uploads;

pub(crate) use place::{Target, find};

use std::io;
use std::path::Path;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::json;

use crate::routing::percent_decode;
use crate::server::{Shared, json_response, lock};
use crate::services::artifactregistry::pushed;
use crate::world::{World, written};
use blobs::Blobs;
use place::{Address, Door, Part};
use refusal::Refusal;
use uploads::Uploads;

/// What the registry keeps outside the `World`.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) blobs: Blobs,
    uploads: Uploads,
}

impl Storage {
    /// Opens the folder of the blobs and removes from it, and from the world, what is of no use any more.
    pub(crate) fn open(dir: &Path, world: &mut World) -> io::Result<Self> {
        let blobs = Blobs::open(dir)?;
        let removed = blobs.retain(&pushed::sweep(world))?;
        tracing::debug!(removed, "blobs that nothing names are gone");
        Ok(Self { blobs, uploads: Uploads::default() })
    }

    /// Removes everything.
    pub(crate) fn clear(&self) -> io::Result<()> {
        self.uploads.clear();
        self.blobs.clear()
    }
}

/// Serves one request.
pub(crate) async fn serve(shared: &Shared, target: &Target, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = match target {
        Target::Ping(door) => ping(shared, door, &parts),
        Target::Token(_) => exchange(shared, &parts),
        Target::Image(address) => image(shared, address, &parts, body).await,
        Target::Elsewhere(name) => Err(Refusal::unknown(
            "NAME_UNKNOWN",
            format!("'{name}' is no image here: names begin with REGION-docker.pkg.dev/PROJECT/REPOSITORY/."),
        )),
    };
    let challenge = match target {
        Target::Ping(door) | Target::Token(door) | Target::Image(Address { door, .. }) => door.challenge(),
        Target::Elsewhere(_) => String::new(),
    };
    let mut response = answer.unwrap_or_else(|refusal| refusal.response(&challenge));
    set(&mut response, HeaderName::from_static("docker-distribution-api-version"), "registry/2.0");
    response
}

/// Anybody may call without credentials, and is an owner then; who has some is asked for them all the same, because
/// some clients send theirs only when they are shown a challenge.
fn ping(shared: &Shared, door: &Door, parts: &Parts) -> Result<Response, Refusal> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Refusal::unsupported("The registry itself can be asked with GET only."));
    }
    let token = access::token(&parts.headers)?;
    access::account(&lock(&shared.world), token.as_deref())?;
    let mut response = json_response(StatusCode::OK, &json!({}), None);
    if token.is_none() {
        set(&mut response, http::header::WWW_AUTHENTICATE, &door.challenge());
    }
    Ok(response)
}

/// Where the challenge leads: an access token is as good for the registry as for all other APIs, so it comes back.
fn exchange(shared: &Shared, parts: &Parts) -> Result<Response, Refusal> {
    if parts.method != Method::GET {
        return Err(Refusal::unsupported("Tokens are given for GET only."));
    }
    let world = lock(&shared.world);
    let token = access::token(&parts.headers)?;
    access::account(&world, token.as_deref())?;
    let token = token.unwrap_or_else(|| "anonymous".to_owned());
    let body = json!({ "token": token, "access_token": token, "expires_in": 3600, "issued_at": written(world.instant()) });
    Ok(json_response(StatusCode::OK, &body, None))
}

/// One request about an image, with what all of its handlers need.
struct Asked<'a> {
    shared: &'a Shared,
    address: &'a Address,
    parts: &'a Parts,
    token: Option<String>,
}

async fn image(shared: &Shared, address: &Address, parts: &Parts, body: Body) -> Result<Response, Refusal> {
    let token = access::token(&parts.headers)?;
    let asked = Asked { shared, address, parts, token };
    match (&address.part, parts.method.as_str()) {
        (Part::Uploads, "POST") => layers::begin(&asked, body).await,
        (Part::Upload(id), "GET") => layers::status(&asked, id).await,
        (Part::Upload(id), "PATCH") => layers::go_on(&asked, id, body).await,
        (Part::Upload(id), "PUT") => layers::finish(&asked, id, body).await,
        (Part::Upload(id), "DELETE") => layers::give_up(&asked, id),
        (Part::Blob(digest), "GET" | "HEAD") => layers::pull(&asked, digest).await,
        (Part::Blob(digest), "DELETE") => layers::delete(&asked, digest),
        (Part::Manifest(reference), "GET" | "HEAD") => manifests::pull(&asked, reference),
        (Part::Manifest(reference), "PUT") => manifests::push(&asked, reference, body).await,
        (Part::Manifest(reference), "DELETE") => manifests::delete(&asked, reference),
        (Part::Tags, "GET") => manifests::tags(&asked),
        (Part::Referrers(digest), "GET") => manifests::referrers(&asked, digest),
        (_, method) => Err(Refusal::unsupported(format!("This cannot be asked with {method}."))),
    }
}

impl Asked<'_> {
    fn enter<T>(
        &self,
        act: access::Act,
        work: impl FnOnce(&mut World) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        access::enter(self.shared, self.token.as_deref(), self.address, act, work)
    }

    /// A parameter of the query, decoded.
    fn query(&self, name: &str) -> Option<String> {
        let pairs = self.parts.uri.query().unwrap_or_default().split('&');
        let value = pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
        percent_decode(&value.replace('+', " "))
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }
}

/// An answer without a body.
fn empty(status: StatusCode, headers: &[(HeaderName, &str)]) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in headers {
        set(&mut response, name.clone(), value);
    }
    response
}

/// Sets a header; a value that cannot be one is left out.
fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
