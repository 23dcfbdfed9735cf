//! One request from its route to its answer: project, gate, ProtoJSON, permissions, handler, journal.

use serde_json::{Value, json};

use crate::call::{Call, Caller, Query};
use crate::error::{Answer, Status};
use crate::iam;
use crate::permissions;
use crate::projects;
use crate::protojson::{self, camel_case};
use crate::routing::{Route, percent_decode};
use crate::schema;
use crate::services::{self, serviceusage};
use crate::world::World;

/// Parameters that every API takes.
const STANDARD: &[&str] = &[
    "$.xgafv",
    "$alt",
    "$prettyPrint",
    "$fields",
    "$outputDefaults",
    "$unique",
    "accessToken",
    "alt",
    "callback",
    "fields",
    "key",
    "oauthToken",
    "prettyPrint",
    "quotaUser",
    "uploadType",
    "uploadProtocol",
    "userIp",
];

/// Serves one routed request. What it changed is journalled when this returns.
pub fn serve(world: &mut World, route: &Route, query: &str, body: &[u8], caller: Caller) -> Answer {
    world.advance();
    world.settle();
    let answer = answer(world, route, query, body, caller);
    world.operation_fault = crate::world::OperationFault::default();
    world.move_etag = false;
    world
        .commit()
        .map_err(|error| Status::internal(format!("The change could not be journalled: {error}.")))?;
    answer
}

fn answer(world: &mut World, route: &Route, query: &str, body: &[u8], caller: Caller) -> Answer {
    let Some(handler) = services::handler(&route.method.key) else {
        return Err(Status::unimplemented(format!(
            "The sandbox knows the method {} but does not serve it yet.",
            route.method.id
        )));
    };
    let query = read_query(route, query)?;
    let (project, resource) = locate(world, route, &caller)?;
    if !project.is_empty() {
        serviceusage::gate(world, &project, route.method.host)?;
    }
    if std::mem::take(&mut world.move_etag) {
        move_etag(world, route, &resource);
    }
    let body = read_body(route, body)?;
    let vars = route.vars.clone();
    let call = Call { method: route.method, path: vars, resource, query, body, project, caller };
    permissions::authorise(world, &call)?;
    let mut answer = world.attempt(|world| handler(world, &call))?;
    permissions::narrow(world, &call, &mut answer);
    Ok(match call.query.str("fields") {
        Some(fields) => select(&answer, fields),
        None => answer,
    })
}

/// A fault on demand: somebody else has just changed what this call is about.
fn move_etag(world: &mut World, route: &Route, resource: &str) {
    if route.method.id.ends_with(".setIamPolicy") {
        iam::touch(world, resource);
    } else {
        world.touch(resource);
    }
}

/// The project's ID and the resource with that ID in it; both from the path. A project comes into being for an owner
/// only.
fn locate(world: &mut World, route: &Route, caller: &Caller) -> Result<(String, String), Status> {
    let mut segments = route.segments.clone();
    let named = segments.first().is_some_and(|first| first == "projects");
    let (true, Some(said)) = (named, segments.get(1).cloned()) else {
        return Ok((String::new(), segments.join("/")));
    };
    let said = if said == "-" { project_of_account(world, &segments) } else { said };
    if said == "-" {
        return Ok((String::new(), segments.join("/")));
    }
    if caller.account.is_some() && !world.has_project(&said) {
        return Err(projects::refused(&said));
    }
    let project = world.use_project(&said)?;
    segments[1].clone_from(&project);
    Ok((project, segments.join("/")))
}

/// `projects/-/serviceAccounts/NAME@PROJECT.iam.gserviceaccount.com` names its project too.
fn project_of_account(world: &World, segments: &[String]) -> String {
    let account = segments.get(3).map_or("", String::as_str);
    services::iam::project_of(world, account).unwrap_or_else(|| "-".to_owned())
}

fn read_query(route: &Route, query: &str) -> Result<Query, Status> {
    let mut read = Query::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| {
            percent_decode(&text.replace('+', " ")).ok_or_else(|| {
                Status::invalid_argument("The query string is not valid percent-encoded UTF-8.")
            })
        };
        let (name, mut value) = (decode(name)?, decode(value)?);
        let camel = camel_case(&name);
        let known =
            route.method.query.iter().find(|(parameter, _)| *parameter == camel || *parameter == name);
        match known {
            Some((_, "mask")) => value = protojson::mask(&value),
            Some(_) => {}
            None if STANDARD.contains(&camel.as_str()) => {}
            None => return Err(unknown_parameter(&name)),
        }
        read.0.entry(camel).or_default().push(value);
    }
    Ok(read)
}

fn unknown_parameter(name: &str) -> Status {
    let message = format!(
        "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. Field '{name}' could not be found in request message."
    );
    Status::invalid_argument(&message).with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{ "description": message }],
    }))
}

fn read_body(route: &Route, body: &[u8]) -> Answer {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(json!({}));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        Status::invalid_argument(format!(
            "Invalid JSON payload received. The body cannot be read as JSON: {error}"
        ))
    })?;
    if !value.is_object() {
        return Err(Status::invalid_argument(
            "Invalid JSON payload received. Root element must be a message.",
        ));
    }
    let message = route.method.request;
    if message.is_empty() {
        return match value.as_object().and_then(|object| object.keys().next()) {
            None => Ok(json!({})),
            Some(key) => Err(Status::invalid_argument(format!(
                "Invalid JSON payload received. Unknown name \"{key}\": Cannot find field."
            ))),
        };
    }
    match schema::of(&route.method.schema()) {
        Some(schema) => protojson::normalise(schema, message, &value),
        None => Ok(value),
    }
}

/// A partial answer, for `fields=a,b/c,items(d,e)`; a name that is not there selects nothing.
fn select(value: &Value, fields: &str) -> Value {
    if let Value::Array(items) = value {
        return Value::Array(items.iter().map(|item| select(item, fields)).collect());
    }
    let Value::Object(object) = value else { return value.clone() };
    let mut chosen = serde_json::Map::new();
    for field in split_fields(fields) {
        let end = field.find(['/', '(']).unwrap_or(field.len());
        let (name, below) = field.split_at(end);
        let below = below.trim_start_matches('/');
        let below = below.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(below);
        for (key, inner) in object.iter().filter(|(key, _)| name == "*" || **key == camel_case(name)) {
            let part = if below.is_empty() { inner.clone() } else { select(inner, below) };
            merge(chosen.entry(key.clone()).or_insert(Value::Null), part);
        }
    }
    Value::Object(chosen)
}

fn merge(into: &mut Value, part: Value) {
    match (into, part) {
        (Value::Object(into), Value::Object(part)) => {
            for (key, value) in part {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(part)) if into.len() == part.len() => {
            for (into, part) in into.iter_mut().zip(part) {
                merge(into, part);
            }
        }
        (into, part) => *into = part,
    }
}

/// Splits at the commas that are not inside brackets.
fn split_fields(fields: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (at, character) in fields.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(fields[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(fields[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_select_parts_of_lists() {
        let answer = json!({"items": [{"a": 1, "b": {"c": 2, "d": 3}}], "next": "t"});
        assert_eq!(select(&answer, "items(a,b/c)"), json!({"items": [{"a": 1, "b": {"c": 2}}]}));
        assert_eq!(
            select(&answer, "items/a,items/b/d,next"),
            json!({"items": [{"a": 1, "b": {"d": 3}}], "next": "t"})
        );
        assert_eq!(select(&answer, "nothing"), json!({}));
    }
}
