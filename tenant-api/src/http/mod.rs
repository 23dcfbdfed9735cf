//! The API over HTTP: routes, what comes in and what goes out. Decides nothing; `service` does.

mod body;
mod cors;
mod docs;
mod error;
mod extract;
mod json_syntax;
mod leftover;
mod request;
mod routes;
mod source;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Router, extract::DefaultBodyLimit};
use utoipa::openapi::OpenApi;

use crate::service::App;
use crate::settings::{Environment, Settings};
use cors::Cors;
use error::ApiError;

pub use source::Peer;

/// The whole API. The document that describes it is served with it, except in production.
pub fn router(app: Arc<App>, settings: &Settings) -> Router {
    let (router, document) = routes::all().split_for_parts();
    let mut paths: Paths = document.paths.paths.keys().map(|path| segments(path)).collect();
    let mut router = router.with_state(app);
    if settings.environment != Environment::Production {
        paths.extend(docs::PATHS.map(segments));
        router = router.merge(docs::router(&document));
    }
    let inner = router
        .fallback_service(axum::routing::any(no_such_path).with_state(Arc::new(paths)))
        .layer(DefaultBodyLimit::max(settings.max_body))
        .layer(from_fn_with_state(Arc::new(Cors::new(&settings.origins)), cors::apply));
    // As the fallback of an outer router, so that its middleware runs before a route is looked for.
    Router::new().fallback_service(inner).layer(from_fn(request::handle))
}

/// The document that describes the API, made from the types of the handlers.
pub fn document() -> OpenApi {
    routes::all().split_for_parts().1
}

/// The paths of the API, as segments; `None` stands for any.
type Paths = Vec<Vec<Option<String>>>;

fn segments(path: &str) -> Vec<Option<String>> {
    path.split('/').map(|text| (!text.starts_with('{')).then(|| text.to_owned())).collect()
}

/// 404, or for a path that is one but for the slash at its end, the way there.
async fn no_such_path(State(paths): State<Arc<Paths>>, uri: Uri) -> Response {
    let path = uri.path().trim_end_matches('/');
    let segments: Vec<&str> = path.split('/').collect();
    let known = |pattern: &Vec<Option<String>>| {
        pattern.len() == segments.len()
            && pattern
                .iter()
                .zip(&segments)
                .all(|(wanted, given)| wanted.as_deref().is_none_or(|wanted| wanted == *given))
    };
    if path.len() == uri.path().len() || !paths.iter().any(known) {
        return ApiError::not_found("Not Found").into_response();
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    match HeaderValue::from_str(&format!("{path}{query}")) {
        Ok(location) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response(),
        Err(_) => ApiError::not_found("Not Found").into_response(),
    }
}
