//! Users of the caller's tenant.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::domain::email::Email;
use crate::domain::password::NewPassword;
use crate::domain::role::Role;
use crate::http::body::{Fields, Input, Valid, length};
use crate::http::error::{ApiError, ErrorBody, InvalidBody};
use crate::http::extract::{Caller, Parameters, PathId};
use crate::service::App;
use crate::service::users::MAX_PAGE;
use crate::store::users::User;

/// A user to be made
#[derive(ToSchema)]
#[allow(dead_code, reason = "the fields are the description of the body")]
pub(super) struct NewUserBody {
    #[schema(format = Email)]
    email: String,
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// `member` (default) or `admin`.
    role: Option<String>,
    /// 10 characters to 72 bytes. Without it the user cannot log in.
    #[schema(format = Password, min_length = 10, max_length = 72)]
    password: Option<String>,
}

pub(super) struct NewUser {
    email: Email,
    name: Option<String>,
    role: Role,
    password: Option<NewPassword>,
}

impl Input for NewUser {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let email = fields.text("email", Email::parse);
        let name = fields.optional_text("name", length(1, 200));
        let role = fields.optional_text("role", Role::parse);
        let password = fields.optional_text("password", NewPassword::parse);
        Some(Self { email: email?, name, role: role.unwrap_or(Role::Member), password })
    }
}

/// What to change of a user
#[derive(ToSchema)]
#[allow(dead_code, reason = "the fields are the description of the body")]
pub(super) struct UserChangeBody {
    /// `member` or `admin`.
    role: Option<String>,
    is_active: Option<bool>,
}

pub(super) struct UserChange {
    role: Option<Role>,
    active: Option<bool>,
}

impl Input for UserChange {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let role = fields.optional_text("role", Role::parse);
        let active = fields.optional_bool("is_active");
        Some(Self { role, active })
    }
}

/// A new password
#[derive(ToSchema)]
#[allow(dead_code, reason = "the fields are the description of the body")]
pub(super) struct PasswordBody {
    #[schema(format = Password, min_length = 10, max_length = 72)]
    password: String,
}

pub(super) struct Password(NewPassword);

impl Input for Password {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.text("password", NewPassword::parse).map(Self)
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct UserAnswer {
    id: Uuid,
    email: String,
    name: Option<String>,
    role: String,
    is_active: bool,
    created_at: Option<Timestamp>,
}

impl From<User> for UserAnswer {
    fn from(user: User) -> Self {
        let User { id, email, name, role, is_active, created_at } = user;
        Self { id, email, name, role, is_active, created_at }
    }
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// Most users in the answer; 500, which is also the most.
    limit: Option<u32>,
    /// How many users to leave out at the beginning.
    offset: Option<u32>,
}

impl Input for ListParameters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let limit = fields.optional_number("limit", 0, u32::MAX);
        let offset = fields.optional_number("offset", 0, u32::MAX);
        Some(Self { limit, offset })
    }
}

/// Make a user; for admins
#[utoipa::path(post, path = "/api/v1/users", tag = "users", security(("token" = []), ("api_key" = [])), request_body = NewUserBody,
    responses((status = 201, body = UserAnswer), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
    (status = 409, body = ErrorBody), (status = 422, body = InvalidBody)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Valid(new): Valid<NewUser>,
) -> Result<(StatusCode, Json<UserAnswer>), ApiError> {
    let user = app.create_user(&caller, &new.email, new.name.as_deref(), new.role, new.password).await?;
    Ok((StatusCode::CREATED, Json(user.into())))
}

/// List users, oldest first; for admins
#[utoipa::path(get, path = "/api/v1/users", tag = "users", security(("token" = []), ("api_key" = [])), params(ListParameters),
    responses((status = 200, body = Vec<UserAnswer>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
    (status = 422, body = InvalidBody)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<UserAnswer>>, ApiError> {
    let users =
        app.users(&caller, parameters.limit.unwrap_or(MAX_PAGE), parameters.offset.unwrap_or(0)).await?;
    Ok(Json(users.into_iter().map(UserAnswer::from).collect()))
}

/// Show a user: oneself, or any for admins
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "users", security(("token" = []), ("api_key" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = UserAnswer), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
    (status = 422, body = InvalidBody)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<Json<UserAnswer>, ApiError> {
    Ok(Json(app.user(&caller, id).await?.into()))
}

/// Change role or state; for admins
#[utoipa::path(patch, path = "/api/v1/users/{id}", tag = "users", security(("token" = []), ("api_key" = [])), params(("id" = Uuid, Path)),
    request_body = UserChangeBody, responses((status = 200, body = UserAnswer), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
    (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = InvalidBody)))]
pub(super) async fn change(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Valid(change): Valid<UserChange>,
) -> Result<Json<UserAnswer>, ApiError> {
    Ok(Json(app.update_user(&caller, id, change.role, change.active).await?.into()))
}

/// Give a user a new password; for admins
#[utoipa::path(put, path = "/api/v1/users/{id}/password", tag = "users", security(("token" = []), ("api_key" = [])),
    params(("id" = Uuid, Path)), request_body = PasswordBody, responses((status = 204), (status = 401, body = ErrorBody),
    (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = InvalidBody)))]
pub(super) async fn reset_password(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Valid(Password(password)): Valid<Password>,
) -> Result<StatusCode, ApiError> {
    app.reset_password(&caller, id, password).await?;
    Ok(StatusCode::NO_CONTENT)
}
