//! What handlers take from a request besides its body.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use serde_json::json;
use uuid::Uuid;

use super::body::{Input, read_query};
use super::error::{ApiError, Issue};
use crate::domain::platform::PlatformAdmin;
use crate::service::App;
use crate::service::auth::{Credentials, Principal, TenantHeader};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");

/// What the request brought along, unchecked.
pub struct Presented(pub Credentials);

/// A user whose credentials were checked.
pub struct Caller(pub Principal);

/// Somebody who may manage tenants.
pub struct Admin(pub PlatformAdmin);

/// The id in the path.
pub struct PathId(pub Uuid);

/// The parameters after the question mark.
pub struct Parameters<T>(pub T);

fn credentials(headers: &HeaderMap) -> Credentials {
    // A credential that is no text is still one, and wrong. So are two of a kind: proxies differ in which of them they believe.
    let text = |name: &HeaderName| {
        let given: Vec<&str> =
            headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
        (!given.is_empty()).then(|| given.join(", "))
    };
    let bearer =
        text(&header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
    let tenant = text(&TENANT).map_or(TenantHeader::Absent, |text| match Uuid::parse_str(&text) {
        Ok(id) if id.to_string() == text => TenantHeader::Id(id),
        _ => TenantHeader::Unusable,
    });
    Credentials { bearer, api_key: text(&API_KEY), tenant }
}

impl<S: Send + Sync> FromRequestParts<S> for Presented {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(credentials(&parts.headers)))
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let principal = app.authenticate(&credentials(&parts.headers)).await?;
        let span = tracing::Span::current();
        span.record("tenant_id", principal.scope().id().to_string());
        span.record("user_id", principal.user().id.to_string());
        Ok(Self(principal))
    }
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        Ok(Self(app.platform_admin(&credentials(&parts.headers))?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = Path::<String>::from_request_parts(parts, state).await;
        let text = read.map(|Path(text)| text).unwrap_or_default();
        Uuid::parse_str(&text).map(Self).map_err(|error| {
            ApiError::Invalid(vec![Issue {
                kind: "uuid_parsing",
                loc: vec!["path".into(), "id".into()],
                msg: format!("Input should be a valid UUID, {error}"),
                input: text.into(),
                ctx: Some(json!({"error": error.to_string()})),
            }])
        })
    }
}

impl<T: Input, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // Everything is a list of pairs: what is no UTF-8 is replaced, and so is wrong where it counts.
        let read = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let pairs = read.map(|Query(pairs)| pairs).unwrap_or_default();
        read_query(pairs).map(Self).map_err(ApiError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(name: &'static str, value: &'static [u8]) -> Credentials {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(value).unwrap());
        credentials(&headers)
    }

    #[test]
    fn the_scheme_is_exact() {
        assert_eq!(with("authorization", b"Bearer abc").bearer.as_deref(), Some("abc"));
        assert_eq!(with("authorization", b"bearer abc").bearer, None);
        assert_eq!(with("authorization", b"Basic abc").bearer, None);
    }

    #[test]
    fn of_two_credentials_of_a_kind_none_counts() {
        let mut headers = HeaderMap::new();
        for value in ["Bearer a", "Bearer b"] {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        for id in ["6f1c1f3e-4b52-4c54-9d0e-3f1d6a2b9c10", "6f1c1f3e-4b52-4c54-9d0e-3f1d6a2b9c11"] {
            headers.append(TENANT, HeaderValue::from_static(id));
        }
        let credentials = credentials(&headers);
        assert_eq!(credentials.bearer.as_deref(), Some("a, Bearer b"));
        assert_eq!(credentials.tenant, TenantHeader::Unusable);
    }

    #[test]
    fn a_tenant_is_named_in_lower_case_only() {
        let id = "6f1c1f3e-4b52-4c54-9d0e-3f1d6a2b9c10";
        assert_eq!(with("x-tenant-id", id.as_bytes()).tenant, TenantHeader::Id(id.parse().unwrap()));
        assert_eq!(
            with("x-tenant-id", b"6F1C1F3E-4B52-4C54-9D0E-3F1D6A2B9C10").tenant,
            TenantHeader::Unusable
        );
        assert_eq!(with("x-tenant-id", b"6f1c1f3e4b524c549d0e3f1d6a2b9c10").tenant, TenantHeader::Unusable);
        assert_eq!(with("x-tenant-id", b"\xff").tenant, TenantHeader::Unusable);
    }
}
