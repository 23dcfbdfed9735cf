//! What every request gets: an id, a log line, a time limit, and an answer whatever happens.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use tracing::{Instrument as _, field};
use uuid::Uuid;

use super::error::ApiError;
use super::leftover;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest time from the head of a request to its answer: shorter than Cloud Run's grace after SIGTERM, so that what is in flight
/// when an instance is taken away still gets its answer. It also bounds how slowly a body may come in.
const LIMIT: Duration = Duration::from_secs(8);

/// The outermost middleware.
pub(super) async fn handle(mut request: Request, next: Next) -> Response {
    let id = Uuid::new_v4();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!(
        "request", request_id = %id, %method, path, trace = trace(request.headers()).unwrap_or_default(),
        tenant_id = field::Empty, user_id = field::Empty,
    );
    let head = method == Method::HEAD;
    if head {
        // No route has HEAD; the router would answer it with that of GET. TRACE has none either.
        *request.method_mut() = Method::TRACE;
    }
    let started = Instant::now();
    let mut response = answer(request, next).instrument(span.clone()).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = method_not_allowed(response.headers());
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    span.in_scope(|| log(response.status(), started.elapsed()));
    response
}

async fn answer(request: Request, next: Next) -> Response {
    let work = AssertUnwindSafe(leftover::finish(request, next)).catch_unwind();
    match tokio::time::timeout(LIMIT, work).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!("a handler panicked");
            ApiError::internal().into_response()
        }
        Err(_) => {
            tracing::error!("a request took too long");
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "The request took too long").into_response()
        }
    }
}

/// The answer of the contract. The router's says that HEAD is allowed wherever GET is.
fn method_not_allowed(headers: &HeaderMap) -> Response {
    let allowed = headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default();
    let allowed: Vec<&str> = allowed.split(',').map(str::trim).filter(|method| *method != "HEAD").collect();
    let mut response = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed").into_response();
    if let Ok(value) = HeaderValue::from_str(&allowed.join(", ")) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

fn log(status: StatusCode, took: Duration) {
    let latency = format!("{:.6}s", took.as_secs_f64());
    let status = status.as_u16();
    if status >= 500 {
        tracing::error!(status, latency, "request");
    } else if status >= 400 {
        tracing::warn!(status, latency, "request");
    } else {
        tracing::info!(status, latency, "request");
    }
}

/// The trace that the front end put the request into: `traceparent` (W3C) or `X-Cloud-Trace-Context` (Google).
fn trace(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let w3c = text("traceparent").and_then(|value| value.split('-').nth(1));
    let google = text("x-cloud-trace-context").and_then(|value| value.split('/').next());
    w3c.or(google)
        .filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_from_either_header() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let mut headers = HeaderMap::new();
        assert_eq!(trace(&headers), None);
        headers.insert("x-cloud-trace-context", HeaderValue::from_str(&format!("{id}/1;o=1")).unwrap());
        assert_eq!(trace(&headers).as_deref(), Some(id));
        headers.insert("traceparent", HeaderValue::from_static("00-\"},{\"-01"));
        assert_eq!(trace(&headers), None);
    }
}
