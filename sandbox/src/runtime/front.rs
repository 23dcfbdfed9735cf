//! The front door: which service, revision and instance a request is for, and whether it may come in.
//!
//! A service answers on `SERVICE-NUMBER.REGION.run.app`, on the name with a hash, with `TAG---` in front of either, and
//! on all of these with `.localhost:PORT` behind, which browsers resolve by themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::logs::Source;
use super::pool::Refusal;
use super::{Runtime, pages, proxy};
use crate::permissions::Need;
use crate::server::lock;
use crate::services::iam as accounts;
use crate::services::names::last;
use crate::services::run::launch::{self, Scale};
use crate::services::run::{SERVICES, names};
use crate::world::World;

const DOMAIN: &str = ".run.app";
/// Instances that a request is tried on when one does not take connections.
const TRIES: usize = 3;
const INVOKER: &str = "roles/run.invoker";

/// Whose turn it is among the revisions of each service.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<String, u64>>);

impl Turns {
    /// A number from 0 to 99. Of a hundred in a row each comes once, so that small shares are met soon and exactly.
    fn next(&self, service: &str) -> i64 {
        let mut turns = lock(&self.0);
        let turn = turns.entry(service.to_owned()).or_default();
        *turn += 1;
        // 37 and 100 have no common divisor.
        i64::try_from(*turn * 37 % 100).unwrap_or_default()
    }
}

/// The host of a service that a request is for: without port and `.localhost`. `None` for a request to an API.
pub(crate) fn host(authority: &str) -> Option<String> {
    let name = authority.split(':').next()?.to_ascii_lowercase();
    let name = name.strip_suffix(".localhost").unwrap_or(&name);
    name.ends_with(DOMAIN).then(|| name.to_owned())
}

/// Where a request goes.
struct Target {
    service: String,
    revision: String,
    /// `None` for a stand-in.
    scale: Option<Scale>,
    timeout: f64,
}

/// Why it goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    NotFound,
    Forbidden,
    Unauthorized,
    NothingServes,
}

/// Serves one request to a service.
pub(crate) async fn serve(runtime: &Arc<Runtime>, host: &str, request: Request) -> Response {
    let found = runtime.with_world(|world| {
        world.advance();
        world.settle();
        find(world, &runtime.front, host, request.headers())
    });
    let Some(found) = found else { return pages::unavailable() };
    match found {
        Err(Closed::NotFound) => pages::not_found(),
        Err(Closed::Forbidden) => pages::forbidden(request.uri().path()),
        Err(Closed::Unauthorized) => pages::unauthorized(request.uri().path()),
        Err(Closed::NothingServes) => pages::unavailable(),
        Ok(target) => {
            let began = Instant::now();
            let about = about(&request, host);
            let (request, trace) = proxy::prepared(request);
            let mut response = match target.scale {
                None => pages::stand_in(&target.revision),
                Some(scale) => to_instance(runtime, &target, scale, request).await,
            };
            if let Ok(value) = http::HeaderValue::try_from(trace.context()) {
                response.headers_mut().entry("x-cloud-trace-context").or_insert(value);
            }
            log(runtime, &target, about, response.status(), began.elapsed(), &trace.id);
            response
        }
    }
}

async fn to_instance(runtime: &Arc<Runtime>, target: &Target, scale: Scale, request: Request) -> Response {
    let second = runtime.machine.options.second;
    let pool = runtime.pool(&target.revision);
    // An instance that has just ended is still known for a moment: nothing was sent to it, so that another may serve.
    for _ in 0..TRIES {
        let permit = match pool.acquire(scale, second).await {
            Ok(permit) => permit,
            Err(Refusal::Busy) => return pages::too_many(),
            Err(Refusal::Failed(failure)) => {
                tracing::debug!(revision = target.revision, failure.message, "an instance did not start");
                return pages::unavailable();
            }
        };
        if let Ok(stream) = proxy::connect(&permit).await {
            return proxy::forward(permit, stream, request, second.mul_f64(target.timeout)).await;
        }
        permit.instance.mark_gone();
    }
    pages::unavailable()
}

fn about(request: &Request<Body>, host: &str) -> Value {
    let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    json!({ "requestMethod": request.method().as_str(), "requestUrl": format!("https://{host}{path}"),
            "userAgent": agent.unwrap_or_default(), "remoteIp": "127.0.0.1", "protocol": "HTTP/1.1" })
}

fn log(
    runtime: &Runtime,
    target: &Target,
    mut about: Value,
    status: StatusCode,
    took: Duration,
    trace: &str,
) {
    about["status"] = status.as_u16().into();
    about["latency"] = format!("{:.6}s", took.as_secs_f64()).into();
    let machine = &runtime.machine;
    let source = Source::revision(&target.revision);
    machine.logs.request(&source, &about, Some(trace.to_owned()), machine.now());
    tracing::trace!(service = target.service, "request served");
}

fn find(world: &World, turns: &Turns, host: &str, headers: &HeaderMap) -> Result<Target, Closed> {
    let (tag, host) = match host.split_once("---") {
        Some((tag, rest)) => (Some(tag), rest),
        None => (None, host),
    };
    let (name, doc) = service(world, host).ok_or(Closed::NotFound)?;
    let reachable = doc["ingress"] == "INGRESS_TRAFFIC_ALL" && doc["defaultUriDisabled"] != true;
    if !reachable {
        return Err(Closed::NotFound);
    }
    authorise(world, name, doc, headers)?;
    let statuses = doc["trafficStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    if statuses.is_empty() {
        return Err(Closed::NothingServes);
    }
    let status = match tag {
        Some(tag) => statuses.iter().find(|status| status["tag"] == tag).ok_or(Closed::NotFound)?,
        None => pick(statuses, turns.next(name)).ok_or(Closed::NothingServes)?,
    };
    let revision = format!("{name}/revisions/{}", status["revision"].as_str().unwrap_or_default());
    let doc = world.doc(crate::services::run::REVISIONS, &revision).ok_or(Closed::NothingServes)?;
    Ok(Target {
        service: name.to_owned(),
        scale: launch::runs(world, &revision).then(|| launch::scale(world, &revision)),
        timeout: launch::seconds(doc, "timeout", 300.0),
        revision,
    })
}

/// The target that has the share in which `turn` (0 to 99) lies.
fn pick(statuses: &[Value], turn: i64) -> Option<&Value> {
    let mut sum = 0;
    statuses.iter().find(|status| {
        sum += status["percent"].as_i64().unwrap_or_default();
        turn < sum
    })
}

fn service<'a>(world: &'a World, host: &str) -> Option<(&'a str, &'a Value)> {
    let label = host.split('.').next()?;
    world.list(SERVICES, "").find(|(name, doc)| {
        let id = last(name);
        let project = name.split('/').nth(1).unwrap_or_default();
        label.starts_with(id)
            && doc.get("deleteTime").is_none()
            && names::hosts(id, world.project_number(project), launch::location(name))
                .iter()
                .any(|own| own == host)
    })
}

/// Whether the caller may invoke the service: anybody, or an account by an identity token for this service.
fn authorise(world: &World, name: &str, doc: &Value, headers: &HeaderMap) -> Result<(), Closed> {
    if doc["invokerIamDisabled"] == true || world.has_role(name, INVOKER, "allUsers") {
        return Ok(());
    }
    let token =
        ["x-serverless-authorization", "authorization"].into_iter().find_map(|header| headers.get(header));
    let Some(token) = token.and_then(|value| value.to_str().ok()) else { return Err(Closed::Forbidden) };
    let token = token
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let claims = token.and_then(claims).ok_or(Closed::Unauthorized)?;
    let account = whose(world, name, doc, &claims).ok_or(Closed::Unauthorized)?;
    let granted = world.may(&account, &Need::new("run.routes.invoke", name))
        || world.has_role(name, INVOKER, "allAuthenticatedUsers");
    if granted { Ok(()) } else { Err(Closed::Forbidden) }
}

fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// The account of a token that is for this service and still good. The audience is the service's URL, also for requests
/// to a tag, or a custom one of the service.
fn whose(world: &World, name: &str, doc: &Value, claims: &Value) -> Option<String> {
    let project = name.split('/').nth(1).unwrap_or_default();
    let hosts = names::hosts(last(name), world.project_number(project), launch::location(name));
    let custom = doc["customAudiences"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let audience = claims["aud"].as_str()?.trim_end_matches('/');
    let is_for_us = hosts.iter().any(|host| audience.strip_prefix("https://") == Some(host))
        || custom.into_iter().any(|custom| custom == audience);
    let good = claims["iss"] == "https://accounts.google.com"
        && claims["exp"].as_i64()? > world.instant().as_second();
    let account = accounts::with_unique_id(world, claims["sub"].as_str()?)?;
    (is_for_us && good && account["disabled"] != true)
        .then(|| account["email"].as_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_services_are_told_from_hosts_of_apis() {
        assert_eq!(host("api-1.europe-west1.run.app").as_deref(), Some("api-1.europe-west1.run.app"));
        assert_eq!(
            host("T---api-1.us-central1.run.app.localhost:80").as_deref(),
            Some("t---api-1.us-central1.run.app")
        );
        for api in ["run.googleapis.com", "127.0.0.1:8080", "localhost", "run.app"] {
            assert_eq!(host(api), None, "{api}");
        }
    }

    #[test]
    fn a_hundred_requests_are_split_exactly() {
        let statuses = [
            json!({"revision": "a", "percent": 90}),
            json!({"revision": "t", "tag": "t"}),
            json!({"revision": "b", "percent": 10}),
        ];
        let turns = Turns::default();
        let mut got: BTreeMap<&str, u32> = BTreeMap::new();
        for _ in 0..100 {
            *got.entry(pick(&statuses, turns.next("s")).unwrap()["revision"].as_str().unwrap())
                .or_default() += 1;
        }
        assert_eq!(got, BTreeMap::from([("a", 90), ("b", 10)]));
    }
}
