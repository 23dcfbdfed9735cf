//! What was done in the caller's tenant.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::body::{Fields, Input};
use crate::http::error::{ApiError, ErrorBody, InvalidBody};
use crate::http::extract::{Caller, Parameters};
use crate::service::App;
use crate::service::audit::MAX_PAGE;
use crate::store::audit::Entry;

/// Lines of an answer that is not asked for another number.
const PAGE: u32 = 100;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// Most entries in the answer; 100 if it is not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// Only entries before the one with this `id`: the last one of the page before.
    #[param(minimum = 1)]
    before: Option<i64>,
}

impl Input for ListParameters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let limit = fields.optional_number("limit", 1, MAX_PAGE);
        let before = fields.optional_number("before", 1, i64::MAX);
        Some(Self { limit, before })
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct EntryAnswer {
    /// Rises with every entry of the tenant.
    id: i64,
    at: Timestamp,
    /// The user who acted; null for the platform.
    actor: Option<Uuid>,
    /// What was done, as in `user.created`.
    action: String,
    /// The user, key or login that it was done to.
    target: Option<Uuid>,
    detail: Option<Value>,
}

impl From<Entry> for EntryAnswer {
    fn from(entry: Entry) -> Self {
        let Entry { id, at, actor, action, target, detail } = entry;
        Self { id, at, actor, action, target, detail }
    }
}

/// List what was done, newest first; for admins
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", security(("token" = []), ("api_key" = [])), params(ListParameters),
    responses((status = 200, body = Vec<EntryAnswer>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
    (status = 422, body = InvalidBody)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<EntryAnswer>>, ApiError> {
    let entries = app.audit_log(&caller, parameters.limit.unwrap_or(PAGE), parameters.before).await?;
    Ok(Json(entries.into_iter().map(EntryAnswer::from).collect()))
}
