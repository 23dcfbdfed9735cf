//! The routes, a file for each resource. A route is served exactly when it is described.

mod api_keys;
mod audit;
mod auth;
mod health;
mod tenants;
mod users;

use std::sync::Arc;

use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::docs;
use crate::service::App;

/// All routes with their description.
pub(super) fn all() -> OpenApiRouter<Arc<App>> {
    let info = InfoBuilder::new().title("Agent Army API").version("0.1.0").build();
    let header = |name: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name)));
    let bearer = || SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = ComponentsBuilder::new()
        .security_scheme("token", bearer())
        .security_scheme("api_key", header("X-API-Key"))
        .security_scheme("platform", bearer())
        .security_scheme("tenant", header("X-Tenant-ID"))
        .build();
    let base = OpenApiBuilder::new().info(info).components(Some(components)).build();
    let mut router = OpenApiRouter::with_openapi(base)
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::startup))
        .routes(routes!(tenants::create, tenants::list))
        .routes(routes!(tenants::show, tenants::change, tenants::delete))
        .routes(routes!(tenants::deactivate))
        .routes(routes!(tenants::reactivate))
        .routes(routes!(auth::login))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::me))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::change_password))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(users::create, users::list))
        .routes(routes!(users::show, users::change))
        .routes(routes!(users::reset_password))
        .routes(routes!(audit::list));
    docs::complete(router.get_openapi_mut());
    router
}
