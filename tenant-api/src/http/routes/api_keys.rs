//! API keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::body::{Fields, Input, Valid, length};
use crate::http::error::{ApiError, ErrorBody, InvalidBody};
use crate::http::extract::{Caller, Parameters, PathId};
use crate::service::App;
use crate::store::api_keys::StoredKey;

/// Most days that a key may live.
const MAX_DAYS: u32 = 3650;

/// A key to be made
#[derive(ToSchema)]
#[allow(dead_code, reason = "the fields are the description of the body")]
pub(super) struct NewKeyBody {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Without it the key does not expire.
    #[schema(minimum = 1, maximum = 3650)]
    expires_in_days: Option<u32>,
}

pub(super) struct NewKey {
    name: String,
    days: Option<u32>,
}

impl Input for NewKey {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.text("name", length(1, 200));
        let days = fields.optional_number("expires_in_days", 1, MAX_DAYS);
        Some(Self { name: name?, days })
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct NewKeyAnswer {
    id: Uuid,
    name: String,
    /// Shown this once.
    key: String,
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    id: Uuid,
    user_id: Uuid,
    name: String,
    is_active: bool,
    created_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl From<StoredKey> for KeyAnswer {
    fn from(key: StoredKey) -> Self {
        let StoredKey { id, user_id, name, is_active, created_at, last_used_at, expires_at } = key;
        Self { id, user_id, name, is_active, created_at, last_used_at, expires_at }
    }
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// Lists the keys of all users; for admins.
    all: Option<bool>,
}

impl Input for ListParameters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { all: fields.optional_bool("all") })
    }
}

/// Make a key
#[utoipa::path(post, path = "/api/v1/auth/api-keys", tag = "api keys", security(("token" = []), ("api_key" = [])), request_body = NewKeyBody,
    responses((status = 201, body = NewKeyAnswer), (status = 401, body = ErrorBody), (status = 422, body = InvalidBody)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Valid(new): Valid<NewKey>,
) -> Result<(StatusCode, Json<NewKeyAnswer>), ApiError> {
    let (key, stored) = app.create_api_key(&caller, &new.name, new.days).await?;
    let answer = NewKeyAnswer {
        id: stored.id,
        name: stored.name,
        key: key.expose().to_owned(),
        created_at: stored.created_at,
        expires_at: stored.expires_at,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// List keys, oldest first
#[utoipa::path(get, path = "/api/v1/auth/api-keys", tag = "api keys", security(("token" = []), ("api_key" = [])), params(ListParameters),
    responses((status = 200, body = Vec<KeyAnswer>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
    (status = 422, body = InvalidBody)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<KeyAnswer>>, ApiError> {
    let keys = app.api_keys(&caller, parameters.all.unwrap_or(false)).await?;
    Ok(Json(keys.into_iter().map(KeyAnswer::from).collect()))
}

/// Revoke a key
#[utoipa::path(delete, path = "/api/v1/auth/api-keys/{id}", tag = "api keys", security(("token" = []), ("api_key" = [])),
    params(("id" = Uuid, Path)), responses((status = 204), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    (status = 422, body = InvalidBody)))]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    app.revoke_api_key(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
