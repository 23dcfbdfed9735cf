//! `/__sandbox/`: faults, the calls so far, the state, images, and a fresh start. For tests; loopback only.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::error::{Answer, Status};
use crate::faults::Spec;
use crate::server::{Calls, Shared, json_response, lock};
use crate::services::{artifactregistry, secretmanager};
use crate::world::World;

/// Serves one request below `/__sandbox/`.
pub(crate) async fn serve(
    shared: &Shared,
    host: Option<&str>,
    verb: &str,
    path: &str,
    body: &[u8],
) -> Response {
    if !host.is_none_or(is_loopback) {
        return refused(StatusCode::FORBIDDEN, "The control endpoint answers on loopback only.");
    }
    let segments: Vec<&str> =
        path.trim_start_matches("/__sandbox/").trim_end_matches('/').split('/').collect();
    match (verb, segments.as_slice()) {
        ("POST", ["faults"]) => add_fault(shared, body),
        ("DELETE", ["faults"]) => {
            lock(&shared.faults).clear();
            done()
        }
        ("GET", ["faults", id]) => show_fault(shared, id),
        ("GET", ["faults", id, "reached"]) => reached(shared, id).await,
        ("DELETE", ["faults", id]) => {
            if number(id).is_some_and(|id| lock(&shared.faults).remove(id)) {
                done()
            } else {
                no_fault(id)
            }
        }
        ("GET", ["calls"]) => {
            json_response(StatusCode::OK, &json!({ "calls": lock(&shared.calls).records }), None)
        }
        ("DELETE", ["calls"]) => {
            lock(&shared.calls).records.clear();
            done()
        }
        ("GET", ["state"]) => json_response(StatusCode::OK, &state(shared), None),
        ("POST", ["reset"]) => match reset(shared) {
            Ok(()) => done(),
            Err(why) => refused(StatusCode::INTERNAL_SERVER_ERROR, &why),
        },
        ("POST", ["artifacts"]) => change(shared, |world| artifactregistry::seed(world, body)),
        ("POST", ["artifacts", "cleanup"]) => change(shared, |world| artifactregistry::clean_up(world, body)),
        _ => refused(
            StatusCode::NOT_FOUND,
            "The control endpoint has faults, calls, state, artifacts and reset.",
        ),
    }
}

fn is_loopback(host: &str) -> bool {
    let name = if host.starts_with('[') {
        host.split_once(']').map_or(host, |(name, _)| name).trim_start_matches('[')
    } else {
        host.split(':').next().unwrap_or(host)
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn done() -> Response {
    json_response(StatusCode::OK, &json!({}), None)
}

fn refused(status: StatusCode, message: &str) -> Response {
    json_response(status, &json!({ "error": { "code": status.as_u16(), "message": message } }), None)
}

fn no_fault(id: &str) -> Response {
    refused(StatusCode::NOT_FOUND, &format!("There is no fault {id}."))
}

fn number(id: &str) -> Option<u64> {
    id.parse().ok()
}

fn add_fault(shared: &Shared, body: &[u8]) -> Response {
    let added = serde_json::from_slice::<Spec>(body)
        .map_err(|error| error.to_string())
        .and_then(|spec| lock(&shared.faults).add(spec));
    match added {
        Ok(id) => json_response(StatusCode::OK, &json!({ "id": id.to_string() }), None),
        Err(why) => refused(StatusCode::BAD_REQUEST, &format!("The fault cannot be read: {why}.")),
    }
}

fn show_fault(shared: &Shared, id: &str) -> Response {
    let counts = number(id).and_then(|id| lock(&shared.faults).counts(id));
    counts.map_or_else(|| no_fault(id), |counts| json_response(StatusCode::OK, &json!(counts), None))
}

/// Answers once the fault has struck, or at once when it has already.
async fn reached(shared: &Shared, id: &str) -> Response {
    let watch = number(id).and_then(|id| lock(&shared.faults).watch(id));
    let Some(mut hits) = watch else { return no_fault(id) };
    let struck = hits.wait_for(|hits| *hits > 0).await.map(|hits| *hits);
    match struck {
        Ok(hits) => json_response(StatusCode::OK, &json!({ "hits": hits }), None),
        Err(_) => refused(StatusCode::GONE, "The fault was deleted before it struck."),
    }
}

/// Every document but the payloads of secrets.
fn state(shared: &Shared) -> Value {
    let world = lock(&shared.world);
    let mut collections = Map::new();
    for collection in world.collections().filter(|collection| *collection != secretmanager::PAYLOADS) {
        let docs: Map<String, Value> =
            world.list(collection, "").map(|(name, doc)| (name.to_owned(), doc.clone())).collect();
        collections.insert(collection.to_owned(), Value::Object(docs));
    }
    Value::Object(collections)
}

/// Changes the state as a call would: all of it and journalled, or nothing.
fn change(shared: &Shared, act: impl FnOnce(&mut World) -> Answer) -> Response {
    let mut world = lock(&shared.world);
    let answer = world.attempt(act).and_then(|answer| {
        let kept = world.commit().map_err(|error| Status::internal(error.to_string()));
        kept.map(|()| answer)
    });
    match answer {
        Ok(answer) => json_response(StatusCode::OK, &answer, None),
        Err(status) => {
            let http = StatusCode::from_u16(status.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            refused(http, &status.message)
        }
    }
}

fn reset(shared: &Shared) -> Result<(), String> {
    lock(&shared.faults).clear();
    *lock(&shared.calls) = Calls::default();
    let mut world = lock(&shared.world);
    world.reset();
    world.commit().map_err(|error| error.to_string())?;
    shared.registry.clear().map_err(|error| format!("the blobs cannot be removed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in ["127.0.0.1:8080", "localhost", "[::1]:80"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["run.googleapis.com", "evil.example", "10.0.0.1:80"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
