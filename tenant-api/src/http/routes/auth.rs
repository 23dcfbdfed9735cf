//! Logging in and out, and who one is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::domain::email::Email;
use crate::domain::password::NewPassword;
use crate::domain::token::Pair;
use crate::http::body::{Fields, Input, Valid};
use crate::http::error::{ApiError, ErrorBody, InvalidBody};
use crate::http::extract::{Caller, Parameters, Presented};
use crate::http::source::Source;
use crate::service::App;
use crate::service::auth::Credentials;

/// E-mail address and password
#[derive(ToSchema)]
#[allow(dead_code, reason = "the fields are the description of the body")]
pub(super) struct LoginBody {
    #[schema(format = Email)]
    email: String,
    #[schema(format = Password)]
    password: String,
}

pub(super) struct Login {
    email: Email,
    password: Zeroizing<String>,
}

impl Input for Login {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let email = fields.text("email", Email::parse);
        let password = fields.text("password", |text| Ok(Zeroizing::new(text.to_owned())));
        Some(Self { email: email?, password: password? })
    }
}

/// A refresh token
#[derive(ToSchema)]
#[allow(dead_code, reason = "the fields are the description of the body")]
pub(super) struct RefreshBody {
    refresh_token: String,
}

pub(super) struct Refresh(String);

impl Input for Refresh {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.text("refresh_token", |text| Ok(text.to_owned())).map(Self)
    }
}

/// The old password and a new one
#[derive(ToSchema)]
#[allow(dead_code, reason = "the fields are the description of the body")]
pub(super) struct PasswordBody {
    #[schema(format = Password)]
    current_password: String,
    /// 10 characters to 72 bytes.
    #[schema(format = Password, min_length = 10, max_length = 72)]
    new_password: String,
}

pub(super) struct PasswordChange {
    current: Zeroizing<String>,
    new: NewPassword,
}

impl Input for PasswordChange {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let current = fields.text("current_password", |text| Ok(Zeroizing::new(text.to_owned())));
        let new = fields.text("new_password", NewPassword::parse);
        Some(Self { current: current?, new: new? })
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    access_token: String,
    /// Can be used once.
    refresh_token: String,
    token_type: &'static str,
}

impl From<Pair> for Tokens {
    fn from(pair: Pair) -> Self {
        Self { access_token: pair.access, refresh_token: pair.refresh, token_type: "bearer" }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    id: Uuid,
    email: String,
    name: Option<String>,
    role: String,
    tenant_id: Uuid,
    tenant_slug: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogoutParameters {
    /// Ends all logins of the user, not only the one of this token.
    everywhere: Option<bool>,
}

impl Input for LogoutParameters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { everywhere: fields.optional_bool("everywhere") })
    }
}

/// The body. What is wrong with it only hears who names a tenant: the contract settles the tenant first.
async fn of_a_tenant<T>(
    app: &App,
    credentials: &Credentials,
    body: Result<Valid<T>, ApiError>,
) -> Result<T, ApiError> {
    match body {
        Ok(Valid(body)) => Ok(body),
        Err(invalid) => {
            app.context(credentials).await?;
            Err(invalid)
        }
    }
}

/// Log in
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "auth", security(("tenant" = [])), request_body = LoginBody,
    responses((status = 200, body = Tokens), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
    (status = 403, body = ErrorBody), (status = 422, body = InvalidBody), (status = 429, body = ErrorBody)))]
pub(super) async fn login(
    State(app): State<Arc<App>>,
    Presented(credentials): Presented,
    Source(source): Source,
    login: Result<Valid<Login>, ApiError>,
) -> Result<Json<Tokens>, ApiError> {
    let login = of_a_tenant(&app, &credentials, login).await?;
    Ok(Json(app.login(&credentials, source, &login.email, &login.password).await?.into()))
}

/// Exchange a refresh token for new tokens
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "auth", security(("tenant" = [])), request_body = RefreshBody,
    responses((status = 200, body = Tokens), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
    (status = 403, body = ErrorBody), (status = 422, body = InvalidBody)))]
pub(super) async fn refresh(
    State(app): State<Arc<App>>,
    Presented(credentials): Presented,
    refresh: Result<Valid<Refresh>, ApiError>,
) -> Result<Json<Tokens>, ApiError> {
    let Refresh(token) = of_a_tenant(&app, &credentials, refresh).await?;
    Ok(Json(app.refresh(&credentials, &token).await?.into()))
}

/// Who the caller is
#[utoipa::path(get, path = "/api/v1/auth/me", tag = "auth", security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Me), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn me(Caller(caller): Caller) -> Json<Me> {
    let (user, scope) = (caller.user().clone(), caller.scope());
    Json(Me {
        id: user.id,
        email: user.email,
        name: user.name,
        role: user.role,
        tenant_id: scope.id(),
        tenant_slug: scope.slug().to_owned(),
    })
}

/// Log out
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "auth", security(("token" = [])), params(LogoutParameters),
    responses((status = 204), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
    (status = 422, body = InvalidBody)))]
pub(super) async fn logout(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Parameters(parameters): Parameters<LogoutParameters>,
) -> Result<StatusCode, ApiError> {
    app.logout(&caller, parameters.everywhere.unwrap_or(false)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change one's own password; ends all logins
#[utoipa::path(post, path = "/api/v1/auth/password", tag = "auth", security(("token" = []), ("api_key" = [])), request_body = PasswordBody,
    responses((status = 204), (status = 401, body = ErrorBody), (status = 422, body = InvalidBody)))]
pub(super) async fn change_password(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Valid(change): Valid<PasswordChange>,
) -> Result<StatusCode, ApiError> {
    app.change_password(&caller, &change.current, change.new).await?;
    Ok(StatusCode::NO_CONTENT)
}
