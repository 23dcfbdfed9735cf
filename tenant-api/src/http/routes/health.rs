//! Whether the program runs, and whether it can serve.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::service::App;
use crate::service::health::{Check, Readiness};

#[derive(Serialize, ToSchema)]
pub(super) struct Live {
    status: &'static str,
    environment: &'static str,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    status: &'static str,
    checks: Checks,
}

/// `ok` or `error` for each, and for those that fail the kind of failure.
#[derive(Serialize, ToSchema)]
struct Checks {
    database: &'static str,
    redis: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    database_error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis_error: Option<&'static str>,
}

/// The process runs
#[utoipa::path(get, path = "/health", responses((status = 200, body = Live)))]
pub(super) async fn live(State(app): State<Arc<App>>) -> Json<Live> {
    Json(Live { status: "ok", environment: app.environment.as_str() })
}

/// Everything that requests need is there
#[utoipa::path(get, path = "/health/ready", responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Ready>) {
    answer(app.readiness().await, "ready", "degraded")
}

/// The start is over
#[utoipa::path(get, path = "/health/startup", responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub(super) async fn startup(State(app): State<Arc<App>>) -> (StatusCode, Json<Ready>) {
    answer(app.readiness().await, "started", "starting")
}

fn answer(readiness: Readiness, good: &'static str, bad: &'static str) -> (StatusCode, Json<Ready>) {
    let told = |check: Check| match check {
        Check::Fine => ("ok", None),
        Check::Broken(kind) => ("error", Some(kind)),
    };
    let (database, database_error) = told(readiness.database);
    let (redis, redis_error) = told(readiness.redis);
    let (code, status) =
        if readiness.ready() { (StatusCode::OK, good) } else { (StatusCode::SERVICE_UNAVAILABLE, bad) };
    (code, Json(Ready { status, checks: Checks { database, redis, database_error, redis_error } }))
}
