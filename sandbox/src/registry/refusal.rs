//! Refusals of the registry, in the form that the OCI distribution specification gives them.

use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::error::{Code, Status};
use crate::server::json_response;

/// A refusal: HTTP status, one of the specification's codes ("Error Codes"), and what came of it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) http: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(crate) fn new(http: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { http, code, message: message.into(), headers: Vec::new() }
    }

    /// 400.
    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404.
    pub(crate) fn unknown(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 405 for what Artifact Registry does not do.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    /// 500 for what the disk refused.
    pub(crate) fn disk(doing: &str, error: &std::io::Error) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            format!("The sandbox cannot {doing}: {error}."),
        )
    }

    /// The same refusal with a header, which is left out when it cannot be one.
    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// The answer. One that asks for credentials says with `challenge` how to come by them.
    pub(crate) fn response(self, challenge: &str) -> Response {
        let Self { http, code, message, mut headers } = self;
        if http == StatusCode::UNAUTHORIZED {
            headers
                .extend(HeaderValue::from_str(challenge).ok().map(|value| (header::WWW_AUTHENTICATE, value)));
        }
        let mut response =
            json_response(http, &json!({ "errors": [{ "code": code, "message": message }] }), None);
        response.headers_mut().extend(headers);
        response
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let code = match status.code {
            Code::Unauthenticated => "UNAUTHORIZED",
            Code::PermissionDenied => "DENIED",
            Code::NotFound => "NAME_UNKNOWN",
            Code::ResourceExhausted => "TOOMANYREQUESTS",
            Code::FailedPrecondition | Code::InvalidArgument => "UNSUPPORTED",
            _ => "UNKNOWN",
        };
        let http = StatusCode::from_u16(status.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(http, code, status.message)
    }
}
