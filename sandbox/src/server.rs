//! HTTP: one port on loopback for every API, and the order of what happens to a request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use crate::call::Caller;
use crate::control;
use crate::dispatch;
use crate::error::{Answer, Status};
use crate::faults::{Action, Failure, Faults, Strike, When};
use crate::methods::Method;
use crate::quotas::Quotas;
use crate::registry::{self, Storage, Target};
use crate::routing::{self, Route};
use crate::wire::Scissors;
use crate::world::{OperationFault, World};

/// The largest body that is read, in bytes.
pub(crate) const MAX_BODY: usize = 10 * 1024 * 1024;
/// How many calls are remembered for `GET /__sandbox/calls`.
const MAX_CALLS: usize = 100_000;

/// One call, as the control endpoint shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Record {
    pub(crate) seq: u64,
    pub(crate) method: Option<&'static str>,
    pub(crate) http: String,
    /// Without the query.
    pub(crate) path: String,
    /// `None` while it runs, and when its connection was cut.
    pub(crate) status: Option<u16>,
    pub(crate) write: bool,
    /// Milliseconds since the sandbox started (or was reset) when the request had been read.
    pub(crate) start_ms: f64,
    /// The same when its answer was ready; `None` as for `status`.
    pub(crate) end_ms: Option<f64>,
}

/// The calls so far.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) records: Vec<Record>,
    last: u64,
    began: Instant,
}

impl Default for Calls {
    fn default() -> Self {
        Self { records: Vec::new(), last: 0, began: Instant::now() }
    }
}

impl Calls {
    fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1000.0
    }

    fn begin(&mut self, method: Option<&'static Method>, verb: &str, path: &str, write: bool) -> u64 {
        self.last += 1;
        if self.records.len() < MAX_CALLS {
            self.records.push(Record {
                seq: self.last,
                method: method.map(|method| method.id),
                http: verb.to_owned(),
                path: path.to_owned(),
                status: None,
                write,
                start_ms: self.now(),
                end_ms: None,
            });
        }
        self.last
    }

    fn end(&mut self, seq: u64, status: u16) {
        let now = self.now();
        if let Some(record) = self.records.iter_mut().rev().find(|record| record.seq == seq) {
            record.status = Some(status);
            record.end_ms = Some(now);
        }
    }
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) world: Mutex<World>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) calls: Mutex<Calls>,
    pub(crate) quotas: Option<Mutex<Quotas>>,
    pub(crate) registry: Storage,
    pub(crate) latency: Duration,
}

/// Locks; a handler that panicked has changed nothing that the next request could not cope with.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The application: everything goes through one function, because paths are matched against the method table.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(handle).with_state(shared)
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let host = authority(request.uri(), request.headers());
    if let Some(target) = registry::find(host.as_deref(), &path) {
        return respond_registry(&shared, &scissors, &target, request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        let status = Status::invalid_argument("Request payload size exceeds the limit: 10485760 bytes.");
        return failure(&status, 413, None);
    };
    if path.starts_with("/__sandbox/") {
        return control::serve(&shared, host.as_deref(), parts.method.as_str(), &path, &body).await;
    }
    let incoming = Incoming {
        verb: parts.method.as_str().to_owned(),
        path,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        host,
        body: body.to_vec(),
        caller: caller(&parts.headers),
        bearer: bearer(&parts.headers).or_else(|| token_in(parts.uri.query()?)),
    };
    respond(&shared, &scissors, &incoming).await
}

struct Incoming {
    verb: String,
    path: String,
    query: String,
    host: Option<String>,
    body: Vec<u8>,
    caller: Caller,
    bearer: Option<String>,
}

/// The authority of an absolute-form target goes before the Host header.
fn authority(uri: &http::Uri, headers: &HeaderMap) -> Option<String> {
    uri.authority()
        .map(ToString::to_string)
        .or_else(|| headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned))
}

/// Without a token of its own the sandbox believes anybody; a header may say who is calling.
fn caller(headers: &HeaderMap) -> Caller {
    headers
        .get("x-sandbox-caller")
        .and_then(|email| email.to_str().ok())
        .map_or_else(Caller::default, Caller::owner)
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// The token of an `access_token` parameter, which Google takes, too.
fn token_in(query: &str) -> Option<String> {
    let found = query.split('&').find_map(|pair| pair.strip_prefix("access_token="))?;
    routing::percent_decode(found)
}

async fn respond(shared: &Shared, scissors: &Scissors, incoming: &Incoming) -> Response {
    let route = routing::find(incoming.host.as_deref(), &incoming.verb, &incoming.path);
    let method = route.as_ref().ok().map(|route| route.method);
    let write = method.is_some_and(|method| method.write);
    let seq = lock(&shared.calls).begin(method, &incoming.verb, &incoming.path, write);
    let strike = lock(&shared.faults).strike(method, &incoming.path);
    let work = async {
        match route.and_then(|route| answer(shared, &route, incoming, strike.as_ref())) {
            Ok(value) => json_response(StatusCode::OK, &value, None),
            Err(status) => failure(&status, status.code.http(), None),
        }
    };
    travel(shared, scissors, seq, strike.as_ref(), work).await
}

/// A request to the registry; its body is not read yet, since it may be too large to be held.
async fn respond_registry(
    shared: &Shared,
    scissors: &Scissors,
    target: &Target,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let write = !request.method().is_safe();
    let seq = lock(&shared.calls).begin(None, request.method().as_str(), &path, write);
    let strike = lock(&shared.faults).strike(None, &path);
    travel(shared, scissors, seq, strike.as_ref(), registry::serve(shared, target, request)).await
}

/// The way of a noted request: latency, a fault before it, its work, a fault after it, and the note of its answer.
async fn travel(
    shared: &Shared,
    scissors: &Scissors,
    seq: u64,
    strike: Option<&Strike>,
    work: impl Future<Output = Response>,
) -> Response {
    if !shared.latency.is_zero() {
        tokio::time::sleep(shared.latency).await;
    }
    if let Some(strike) = strike
        && strike.when == When::Before
        && let Some(response) = carry_out(shared, scissors, strike).await
    {
        return finish(shared, scissors, seq, response);
    }
    let mut response = work.await;
    if let Some(strike) = strike
        && strike.when == When::After
        && let Some(instead) = carry_out(shared, scissors, strike).await
    {
        response = instead;
    }
    finish(shared, scissors, seq, response)
}

fn finish(shared: &Shared, scissors: &Scissors, seq: u64, response: Response) -> Response {
    if !scissors.is_cut() {
        lock(&shared.calls).end(seq, response.status().as_u16());
    }
    response
}

fn answer(shared: &Shared, route: &Route, incoming: &Incoming, strike: Option<&Strike>) -> Answer {
    let mut world = lock(&shared.world);
    let account = incoming.bearer.as_deref().map_or(Ok(None), |token| world.account_of_token(token))?;
    let caller = account.map_or_else(|| incoming.caller.clone(), Caller::account);
    if let Some(quotas) = &shared.quotas {
        lock(quotas).take(route, world.instant().as_second())?;
    }
    prepare(&mut world, strike);
    dispatch::serve(&mut world, route, &incoming.query, &incoming.body, caller)
}

/// Faults that are about the state and not about the answer.
fn prepare(world: &mut World, strike: Option<&Strike>) {
    match strike.map(|strike| &strike.action) {
        Some(Action::StaleEtag) => world.move_etag = true,
        Some(Action::OperationFails(status)) => {
            world.operation_fault = OperationFault { fails: Some(status.clone()), polls: None };
        }
        Some(Action::SlowOperation(polls)) => {
            world.operation_fault = OperationFault { fails: None, polls: Some(*polls) };
        }
        _ => {}
    }
}

/// The answer that takes the place of the call's own, if the fault has one.
async fn carry_out(shared: &Shared, scissors: &Scissors, strike: &Strike) -> Option<Response> {
    let hits = lock(&shared.faults).hit(strike.id);
    match &strike.action {
        Action::Fail(Failure { http, status, html: true, retry_after }) => {
            Some(html_response(*http, &status.message, *retry_after))
        }
        Action::Fail(Failure { http, status, html: false, retry_after }) => {
            Some(failure(status, *http, *retry_after))
        }
        Action::Drop => {
            scissors.cut();
            Some(Response::new(Body::empty()))
        }
        Action::Delay(time) => {
            tokio::time::sleep(*time).await;
            None
        }
        Action::Hang => {
            if let Some(mut hits) = hits {
                while hits.changed().await.is_ok() {}
            }
            None
        }
        Action::StaleEtag | Action::OperationFails(_) | Action::SlowOperation(_) => None,
    }
}

/// An error answer with another HTTP status than the code's own where a fault wants one.
fn failure(status: &Status, http: u16, retry_after: Option<u64>) -> Response {
    let mut body = status.to_http_body();
    body["error"]["code"] = http.into();
    json_response(StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &body, retry_after)
}

/// A JSON answer with Google's content type.
pub(crate) fn json_response(status: StatusCode, body: &Value, retry_after: Option<u64>) -> Response {
    built(status, "application/json; charset=UTF-8", body.to_string(), retry_after)
}

fn html_response(http: u16, message: &str, retry_after: Option<u64>) -> Response {
    let status = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = format!(
        "<!DOCTYPE html>\n<html><head><title>Error {http}</title></head><body><p>{message}</p></body></html>\n"
    );
    built(status, "text/html; charset=UTF-8", body, retry_after)
}

fn built(status: StatusCode, content_type: &'static str, body: String, retry_after: Option<u64>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
