//! The API's description, for programs and for people.

use std::fmt::Write as _;

use axum::Router;
use axum::response::{Html, IntoResponse as _};
use axum::routing::get;
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};

/// Where the description is served, outside production.
pub(super) const PATHS: [&str; 3] = ["/openapi.json", "/docs", "/redoc"];

/// Adds to each operation of the API what can become of every request, and which no handler says of itself.
pub(super) fn complete(document: &mut OpenApi) {
    for (_, item) in document.paths.paths.iter_mut().filter(|(path, _)| path.starts_with("/api/")) {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let takes_input = operation.request_body.is_some() || operation.parameters.is_some();
            let responses = &mut operation.responses.responses;
            if takes_input {
                responses
                    .entry("422".to_owned())
                    .or_insert_with(|| answer("What was sent is wrong", "InvalidBody"));
            }
            responses.entry("default".to_owned()).or_insert_with(|| answer("Any other error", "ErrorBody"));
        }
    }
}

fn answer(description: &str, schema: &str) -> RefOr<Response> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(description).content("application/json", content).build().into()
}

/// [`PATHS`]: the document, and one plain page of it twice that loads nothing from elsewhere.
pub(super) fn router(document: &OpenApi) -> Router {
    let page = page(document);
    let json = serde_json::to_value(document).unwrap_or_default();
    let show = get(move || async move { Html(page).into_response() });
    let [document, docs, redoc] = PATHS;
    Router::new()
        .route(document, get(move || async move { axum::Json(json).into_response() }))
        .route(docs, show.clone())
        .route(redoc, show)
}

fn page(document: &OpenApi) -> String {
    let mut rows = String::new();
    for (path, item) in &document.paths.paths {
        let operations = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                let summary = operation.summary.as_deref().unwrap_or_default();
                // Writing to a string cannot fail.
                let _ = writeln!(
                    rows,
                    "<tr><td>{method}</td><td><code>{path}</code></td><td>{summary}</td></tr>"
                );
            }
        }
    }
    let title = &document.info.title;
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1>\
         <p>The full description is <a href=\"/openapi.json\">openapi.json</a>.</p><table>{rows}</table></html>"
    )
}
