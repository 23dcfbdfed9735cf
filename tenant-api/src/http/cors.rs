//! Which web pages may read answers.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::settings::Origins;

const METHODS: HeaderValue = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");

/// Seconds for which a browser may keep the answer to a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The configured origins.
pub(super) struct Cors(Origins);

impl Cors {
    pub(super) fn new(origins: &Origins) -> Self {
        Self(origins.clone())
    }

    /// What an answer says to this origin; `None` if it may not read.
    ///
    /// Where any origin may, it never may with credentials: else every page could act with its visitor's cookies.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        match &self.0 {
            Origins::Any => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Origins::Listed(listed) if listed.iter().any(|listed| listed.as_bytes() == origin.as_bytes()) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
            Origins::Listed(_) => return None,
        }
        Some(headers)
    }

    /// Says that the answer depends on who asks, where it does: also to those who are told nothing, since a cache between would give
    /// their answer to others.
    fn varying(&self, mut response: Response) -> Response {
        if matches!(self.0, Origins::Listed(_)) {
            response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
        }
        response
    }

    fn preflight(&self, origin: &HeaderValue, request: &HeaderMap) -> Response {
        let Some(mut headers) = self.allowed(origin) else {
            return self.varying((StatusCode::BAD_REQUEST, "Disallowed CORS origin").into_response());
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        self.varying((StatusCode::OK, headers, "OK").into_response())
    }
}

/// Answers preflights, and marks the answers to other requests.
pub(super) async fn apply(State(cors): State<Arc<Cors>>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return cors.varying(next.run(request).await);
    };
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && asks {
        return cors.preflight(&origin, request.headers());
    }
    let mut response = cors.varying(next.run(request).await);
    if let Some(headers) = cors.allowed(&origin) {
        response.headers_mut().extend(headers);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: HeaderValue = HeaderValue::from_static("https://a.example");

    #[test]
    fn any_origin_never_comes_with_credentials() {
        let headers = Cors(Origins::Any).allowed(&ORIGIN).unwrap();
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }

    #[test]
    fn only_listed_origins_are_allowed() {
        let cors = Cors(Origins::Listed(vec!["https://a.example".into()]));
        assert_eq!(cors.allowed(&ORIGIN).unwrap()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        let other = HeaderValue::from_static("https://a.example.evil");
        assert!(cors.allowed(&other).is_none());
        let refused = cors.preflight(&other, &HeaderMap::new());
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        assert_eq!(refused.headers()[header::VARY], "Origin");
    }
}
