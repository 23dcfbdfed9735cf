//! Errors as answers: `{"detail": ...}`, and nothing that a stranger should not know.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::service::ServiceError;
use crate::store::StoreError;

/// The body of an error.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong, for people.
    pub detail: String,
}

/// The body of a 422 answer.
#[derive(Serialize, ToSchema)]
pub struct InvalidBody {
    pub detail: Vec<Issue>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Issue {
    /// The kind of violation.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where it is: `body`, `path` or `query`, then the names of fields, or the offset of what is no JSON.
    pub loc: Vec<Value>,
    pub msg: String,
    /// What was given; secrets are left out.
    pub input: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub ctx: Option<Value>,
}

/// An answer that is an error.
#[derive(Debug)]
pub enum ApiError {
    Invalid(Vec<Issue>),
    Plain { status: StatusCode, detail: String, header: Option<(HeaderName, HeaderValue)> },
}

impl ApiError {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::Plain { status, detail: detail.into(), header: None }
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let Self::Plain { header, .. } = &mut self {
            *header = Some((name, value));
        }
        self
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::MissingTenant => Self::new(
                StatusCode::BAD_REQUEST,
                "Missing tenant context. Send a token, X-API-Key, or X-Tenant-ID of an active tenant.",
            ),
            ServiceError::Unauthenticated(detail) => Self::new(StatusCode::UNAUTHORIZED, detail)
                .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            ServiceError::Refused(detail) => Self::new(StatusCode::UNAUTHORIZED, detail),
            ServiceError::Forbidden(detail) => Self::new(StatusCode::FORBIDDEN, detail),
            ServiceError::NotFound(detail) => Self::not_found(detail),
            ServiceError::Conflict(detail) => Self::new(StatusCode::CONFLICT, detail),
            ServiceError::TooMany(detail, left) => Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
                .with(header::RETRY_AFTER, HeaderValue::from(left.as_secs().saturating_add(1))),
            ServiceError::Overloaded => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Too much to do, try again")
                    .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            ServiceError::Store(error @ (StoreError::Unavailable(_) | StoreError::NotMigrated(_))) => {
                tracing::error!(error = crate::error_chain(&error), "the database cannot serve");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service temporarily unavailable")
                    .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            other => {
                tracing::error!(error = crate::error_chain(&other), "a request failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(detail) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Json(InvalidBody { detail })).into_response()
            }
            Self::Plain { status, detail, header } => {
                let mut response = (status, Json(ErrorBody { detail })).into_response();
                if let Some((name, value)) = header {
                    response.headers_mut().insert(name, value);
                }
                response
            }
        }
    }
}
