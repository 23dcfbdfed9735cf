//! Tenants, for those who hold the platform's token.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::domain::slug::Slug;
use crate::http::body::{Fields, Input, Valid, length};
use crate::http::error::{ApiError, ErrorBody, InvalidBody};
use crate::http::extract::{Admin, Parameters, PathId};
use crate::service::App;
use crate::store::tenants::Tenant;

/// A tenant to be made
#[derive(ToSchema)]
#[allow(dead_code, reason = "the fields are the description of the body")]
pub(super) struct NewTenantBody {
    /// 3 to 50 lower-case letters, digits and hyphens; unique for ever.
    #[schema(min_length = 3, max_length = 50, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: String,
    #[schema(min_length = 1, max_length = 200)]
    name: String,
}

pub(super) struct NewTenant {
    slug: Slug,
    name: String,
}

impl Input for NewTenant {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let slug = fields.text("slug", Slug::parse);
        let name = fields.text("name", length(1, 200));
        Some(Self { slug: slug?, name: name? })
    }
}

/// What to change of a tenant
#[derive(ToSchema)]
#[allow(dead_code, reason = "the fields are the description of the body")]
pub(super) struct TenantChangeBody {
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// Replaces the whole configuration. `rate_limit_per_minute` replaces the limit of requests; 0 is none.
    config: Option<Value>,
}

pub(super) struct TenantChange {
    name: Option<String>,
    config: Option<Value>,
}

impl Input for TenantChange {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.optional_text("name", length(1, 200));
        let config = fields.optional_object("config");
        Some(Self { name, config })
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct TenantAnswer {
    id: Uuid,
    slug: String,
    name: String,
    schema_name: String,
    is_active: bool,
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Value>,
}

impl From<Tenant> for TenantAnswer {
    fn from(tenant: Tenant) -> Self {
        let Tenant { id, slug, name, schema_name, is_active, config, created_at } = tenant;
        Self { id, slug, name, schema_name, is_active, created_at, config }
    }
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// Lists inactive tenants too.
    include_inactive: Option<bool>,
}

impl Input for ListParameters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { include_inactive: fields.optional_bool("include_inactive") })
    }
}

/// Make a tenant with its schema
#[utoipa::path(post, path = "/api/v1/tenants", tag = "tenants", security(("platform" = [])), request_body = NewTenantBody,
    responses((status = 201, body = TenantAnswer), (status = 401, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = InvalidBody)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Admin(admin): Admin,
    Valid(new): Valid<NewTenant>,
) -> Result<(StatusCode, Json<TenantAnswer>), ApiError> {
    let made = app.create_tenant(admin, &new.slug, &new.name, None).await?;
    // The contract has the time in lists only.
    Ok((StatusCode::CREATED, Json(TenantAnswer { created_at: None, ..made.into() })))
}

/// List tenants, oldest first
#[utoipa::path(get, path = "/api/v1/tenants", tag = "tenants", security(("platform" = [])), params(ListParameters),
    responses((status = 200, body = Vec<TenantAnswer>), (status = 401, body = ErrorBody),
    (status = 422, body = InvalidBody)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Admin(admin): Admin,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<TenantAnswer>>, ApiError> {
    let tenants = app.tenants(admin, parameters.include_inactive.unwrap_or(false)).await?;
    Ok(Json(tenants.into_iter().map(TenantAnswer::from).collect()))
}

/// Show a tenant, active or not
#[utoipa::path(get, path = "/api/v1/tenants/{id}", tag = "tenants", security(("platform" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = TenantAnswer), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    (status = 422, body = InvalidBody)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Admin(admin): Admin,
    PathId(id): PathId,
) -> Result<Json<TenantAnswer>, ApiError> {
    Ok(Json(app.tenant(admin, id).await?.into()))
}

/// Change name or configuration
#[utoipa::path(patch, path = "/api/v1/tenants/{id}", tag = "tenants", security(("platform" = [])), params(("id" = Uuid, Path)),
    request_body = TenantChangeBody, responses((status = 200, body = TenantAnswer), (status = 401, body = ErrorBody),
    (status = 404, body = ErrorBody), (status = 422, body = InvalidBody)))]
pub(super) async fn change(
    State(app): State<Arc<App>>,
    Admin(admin): Admin,
    PathId(id): PathId,
    Valid(change): Valid<TenantChange>,
) -> Result<Json<TenantAnswer>, ApiError> {
    Ok(Json(app.update_tenant(admin, id, change.name.as_deref(), change.config.as_ref(), None).await?.into()))
}

/// Deactivate: all credentials of the tenant stop working at once
#[utoipa::path(post, path = "/api/v1/tenants/{id}/deactivate", tag = "tenants", security(("platform" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = TenantAnswer), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    (status = 422, body = InvalidBody)))]
pub(super) async fn deactivate(
    State(app): State<Arc<App>>,
    Admin(admin): Admin,
    PathId(id): PathId,
) -> Result<Json<TenantAnswer>, ApiError> {
    Ok(Json(app.update_tenant(admin, id, None, None, Some(false)).await?.into()))
}

/// Reactivate
#[utoipa::path(post, path = "/api/v1/tenants/{id}/reactivate", tag = "tenants", security(("platform" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = TenantAnswer), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    (status = 422, body = InvalidBody)))]
pub(super) async fn reactivate(
    State(app): State<Arc<App>>,
    Admin(admin): Admin,
    PathId(id): PathId,
) -> Result<Json<TenantAnswer>, ApiError> {
    Ok(Json(app.update_tenant(admin, id, None, None, Some(true)).await?.into()))
}

/// Delete an inactive tenant with all of its data
#[utoipa::path(delete, path = "/api/v1/tenants/{id}", tag = "tenants", security(("platform" = [])), params(("id" = Uuid, Path)),
    responses((status = 204), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
    (status = 422, body = InvalidBody)))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Admin(admin): Admin,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    app.delete_tenant(admin, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
