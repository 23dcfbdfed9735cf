//! For unit tests: requests straight into a world, with everything but HTTP.

use std::sync::Arc;

use serde_json::Value;

use crate::call::Caller;
use crate::dispatch;
use crate::error::Answer;
use crate::routing;
use crate::world::World;
use crate::{Apis, ManualClock};

/// A world in which every API is enabled.
pub(crate) fn world() -> World {
    World::in_memory(1, Apis::All)
}

/// The same world at a time that the test moves.
pub(crate) fn world_in_time() -> (World, ManualClock) {
    let clock = ManualClock::new(jiff::Timestamp::from_second(1_790_000_000).unwrap());
    (world().with_clock(Arc::new(clock.clone())), clock)
}

/// Sends `verb target` (path with query, the API's host as the first segment where the path is shared by several).
pub(crate) fn send(world: &mut World, verb: &str, target: &str, body: &Value) -> Answer {
    send_as(world, Caller::default(), verb, target, body)
}

/// Sends as somebody.
pub(crate) fn send_as(world: &mut World, caller: Caller, verb: &str, target: &str, body: &Value) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let route = routing::find(None, verb, path)?;
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    dispatch::serve(world, &route, query, &body, caller)
}

/// Sends a GET.
pub(crate) fn get(world: &mut World, target: &str) -> Answer {
    send(world, "GET", target, &Value::Null)
}

/// Sends requests that change nothing, so that what needs some calls to be in force is.
pub(crate) fn let_propagate(world: &mut World) {
    for _ in 0..5 {
        world.advance();
    }
}
