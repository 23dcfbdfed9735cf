//! What the front door itself answers.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use crate::services::names::last;

/// Says that no container of the user's answered: what judges an answer must not judge this one.
pub(crate) const STAND_IN: &str = "x-sandbox-stand-in";

/// The answer of an image that has no content here.
pub(super) fn stand_in(revision: &str) -> Response {
    let text = format!(
        "This is the sandbox's stand-in for the revision {}: its image has no content here, so that nothing of it runs.",
        last(revision)
    );
    let mut response = page(StatusCode::OK, "Stand-in", &text);
    response.headers_mut().insert(STAND_IN, HeaderValue::from_static("true"));
    response
}

pub(super) fn not_found() -> Response {
    page(StatusCode::NOT_FOUND, "404 Page not found", "No service of the sandbox answers here.")
}

pub(super) fn forbidden(path: &str) -> Response {
    let text = format!("The request comes without the right to invoke this service at {}.", escaped(path));
    page(StatusCode::FORBIDDEN, "403 Forbidden", &text)
}

pub(super) fn unauthorized(path: &str) -> Response {
    let text = format!("The token of the request is not good for this service at {}.", escaped(path));
    let mut response = page(StatusCode::UNAUTHORIZED, "401 Unauthorized", &text);
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

pub(super) fn too_many() -> Response {
    page(
        StatusCode::TOO_MANY_REQUESTS,
        "429 Too many requests",
        "No instance of the service became free in time.",
    )
}

pub(super) fn unavailable() -> Response {
    page(
        StatusCode::SERVICE_UNAVAILABLE,
        "503 Service unavailable",
        "No instance of the service could answer.",
    )
}

/// As Cloud Run's proxy says it.
pub(super) fn timed_out() -> Response {
    page(
        StatusCode::GATEWAY_TIMEOUT,
        "504 Upstream request timeout",
        "The request took longer than the service's timeout.",
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn page(status: StatusCode, title: &str, text: &str) -> Response {
    let body = format!(
        "<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{text}</p></body></html>\n"
    );
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}
