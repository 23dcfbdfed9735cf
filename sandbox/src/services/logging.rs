//! Cloud Logging v2: what instances and the platform said, read with `entries.list`.

mod filter;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::call::{Call, Handler};
use crate::error::{Answer, Status};
use crate::projects;
use crate::services::serviceusage;
use crate::world::World;
use filter::Filter;

/// "pageSize: If the value is negative, the request is rejected"; the default is 50.
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;

/// The methods served, by id.
pub fn routes() -> Vec<(&'static str, Handler)> {
    vec![("logging.entries.list", list)]
}

fn list(world: &mut World, call: &Call) -> Answer {
    let names = call.body["resourceNames"].as_array().map(Vec::as_slice).unwrap_or_default();
    if names.is_empty() {
        return Err(Status::invalid("resource_names", "At least one resource name is required."));
    }
    let mut entries = Vec::new();
    for name in names {
        let project = project(world, call, name.as_str().unwrap_or_default())?;
        entries.extend(world.runtime.logs.of_project(&project));
    }
    let filter = Filter::read(call.text("filter").unwrap_or_default())
        .map_err(|why| Status::invalid("filter", format!("The filter cannot be read: {why}.")))?;
    entries.retain(|entry| filter.matches(entry));
    let time = |entry: &Value| entry["timestamp"].as_str().unwrap_or_default().to_owned();
    entries.sort_by_key(time);
    match call.text("orderBy").unwrap_or("timestamp asc") {
        "timestamp asc" | "timestamp" => {}
        "timestamp desc" => entries.reverse(),
        other => {
            return Err(Status::invalid(
                "order_by",
                format!("'{other}' is no order: `timestamp asc` and `timestamp desc` are."),
            ));
        }
    }
    page(&entries, call)
}

/// The projects whose logs a call asks for, by ID where that is known; `None` for a call that asks for no logs.
pub(crate) fn projects(world: &World, call: &Call) -> Option<Vec<String>> {
    if call.method.api != "logging" {
        return None;
    }
    let names = call.body["resourceNames"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let projects = names.filter_map(|name| name.strip_prefix("projects/")).map(|project| {
        let by_number = project.parse().ok().and_then(|number| world.project_with_number(number));
        by_number.unwrap_or_else(|| project.to_owned())
    });
    Some(projects.collect())
}

/// The project's ID of a resource name.
fn project(world: &mut World, call: &Call, name: &str) -> Result<String, Status> {
    let asked =
        name.strip_prefix("projects/").filter(|project| !project.is_empty() && !project.contains('/'));
    let asked = asked.ok_or_else(|| {
        Status::invalid(
            "resource_names",
            format!("'{name}' is not projects/PROJECT, which is all that the sandbox keeps logs of."),
        )
    })?;
    if call.caller.account.is_some() && !world.has_project(asked) {
        return Err(projects::refused(asked));
    }
    let project = world.use_project(asked)?;
    serviceusage::gate(world, &project, call.method.host)?;
    Ok(project)
}

/// Page tokens say how many entries came before. New entries come at the end, or at the beginning of what is sorted the
/// other way, where a token also says how many there were.
fn page(entries: &[Value], call: &Call) -> Answer {
    let size = match call.body["pageSize"].as_i64() {
        None | Some(0) => DEFAULT_PAGE,
        Some(size) => usize::try_from(size)
            .map_err(|_| Status::invalid("page_size", "The page size must not be negative."))?
            .min(MAX_PAGE),
    };
    let newest_first = call.text("orderBy") == Some("timestamp desc");
    let bad = || Status::invalid("page_token", "The page token is not valid.");
    let (start, total) = match call.text("pageToken") {
        None => (0, entries.len()),
        Some(token) => offset(token).ok_or_else(bad)?,
    };
    let new = if newest_first { entries.len().saturating_sub(total) } else { 0 };
    let shown: Vec<&Value> = entries.iter().skip(start + new).take(size).collect();
    let end = start + shown.len();
    let mut answer = json!({});
    if end + new < entries.len() {
        answer["nextPageToken"] = json!(URL_SAFE_NO_PAD.encode(format!("{end}.{total}")));
    }
    if !shown.is_empty() {
        answer["entries"] = json!(shown);
    }
    Ok(answer)
}

fn offset(token: &str) -> Option<(usize, usize)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (start, total) = text.split_once('.')?;
    Some((start.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests;
