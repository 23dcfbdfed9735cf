//! Resource Manager v1 and v3: reading projects and their IAM policies.

use serde_json::{Value, json};

use crate::call::{Call, Handler, page};
use crate::error::{Answer, Status};
use crate::iam;
use crate::permissions::Need;
use crate::projects;
use crate::world::World;

/// The methods served, by id.
pub fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("cloudresourcemanager.projects.get", get_v1),
        ("cloudresourcemanager.projects.list", list_v1),
        ("cloudresourcemanager.projects.getIamPolicy", get_policy),
        ("cloudresourcemanager.projects.setIamPolicy", set_policy),
        ("cloudresourcemanager.projects.testIamPermissions", test_permissions),
        ("cloudresourcemanager.projects.get@v3", get_v3),
        ("cloudresourcemanager.projects.search@v3", search_v3),
        ("cloudresourcemanager.projects.getIamPolicy@v3", get_policy),
        ("cloudresourcemanager.projects.setIamPolicy@v3", set_policy),
        ("cloudresourcemanager.projects.testIamPermissions@v3", test_permissions),
    ]
}

fn view_v1(doc: &Value) -> Value {
    json!({
        "projectNumber": doc["number"].to_string(),
        "projectId": doc["projectId"],
        "lifecycleState": "ACTIVE",
        "name": doc["projectId"],
        "createTime": doc["createTime"],
    })
}

fn view_v3(doc: &Value) -> Value {
    json!({
        "name": format!("projects/{}", doc["number"]),
        "projectId": doc["projectId"],
        "state": "ACTIVE",
        "displayName": doc["projectId"],
        "createTime": doc["createTime"],
        "updateTime": doc["createTime"],
        "etag": format!("W/\"{}\"", doc["etag"].as_str().unwrap_or_default()),
    })
}

#[allow(clippy::unnecessary_wraps)] // the signature of every handler
fn get_v1(world: &mut World, call: &Call) -> Answer {
    Ok(view_v1(&world.project_doc(&call.project)))
}

#[allow(clippy::unnecessary_wraps)] // the signature of every handler
fn get_v3(world: &mut World, call: &Call) -> Answer {
    Ok(view_v3(&world.project_doc(&call.project)))
}

fn list_v1(world: &mut World, call: &Call) -> Answer {
    let matches = matching(call.query.str("filter"))?;
    let views = visible(world, call).filter(|doc| matches(doc)).map(view_v1);
    page(views.collect(), "projects", call, 500, 500)
}

fn search_v3(world: &mut World, call: &Call) -> Answer {
    let matches = matching(call.query.str("query"))?;
    let views = visible(world, call).filter(|doc| matches(doc)).map(view_v3);
    page(views.collect(), "projects", call, 500, 500)
}

/// The projects that the caller may get: lists leave the others out.
fn visible<'a>(world: &'a World, call: &Call) -> impl Iterator<Item = &'a Value> {
    let account = call.caller.account.clone();
    world.list(projects::COLLECTION, "").map(|(_, doc)| doc).filter(move |doc| {
        let name = format!("projects/{}", doc["projectId"].as_str().unwrap_or_default());
        let need = Need::new("resourcemanager.projects.get", name);
        account.as_ref().is_none_or(|account| world.may(account, &need))
    })
}

/// Terms `id:x`, `projectId:x`, `name:x`, `displayName:x`, `state:ACTIVE`, `lifecycleState:ACTIVE`, all to hold;
/// a trailing `*` matches a prefix.
fn matching(filter: Option<&str>) -> Result<impl Fn(&Value) -> bool + use<>, Status> {
    let mut terms = Vec::new();
    for term in filter.unwrap_or("").split_whitespace().filter(|term| !term.eq_ignore_ascii_case("and")) {
        let Some((key, value)) = term.split_once([':', '=']) else {
            return Err(Status::invalid("query", format!("'{term}' is not a field and a value.")));
        };
        let value = value.trim_matches('"').to_owned();
        match key {
            "id" | "projectId" | "name" | "displayName" => terms.push((true, value)),
            "state" | "lifecycleState" => terms.push((false, value)),
            _ => return Err(Status::invalid("query", format!("The sandbox cannot search by '{key}'."))),
        }
    }
    Ok(move |doc: &Value| {
        terms.iter().all(|(by_id, wanted)| {
            let held = if *by_id { doc["projectId"].as_str().unwrap_or_default() } else { "ACTIVE" };
            wanted.strip_suffix('*').map_or_else(|| held == wanted, |prefix| held.starts_with(prefix))
        })
    })
}

fn resource(call: &Call) -> String {
    format!("projects/{}", call.project)
}

fn get_policy(world: &mut World, call: &Call) -> Answer {
    iam::get_policy(world, call, &resource(call))
}

fn set_policy(world: &mut World, call: &Call) -> Answer {
    iam::set_policy(world, call, &resource(call))
}

fn test_permissions(_: &mut World, call: &Call) -> Answer {
    iam::test_permissions(call)
}

#[cfg(test)]
mod tests {
    use crate::testing::{get, world};

    #[test]
    fn both_versions_name_the_same_number() {
        let mut world = world();
        let v1 = get(&mut world, "/v1/projects/agent-army-dev").unwrap();
        let v3 = get(&mut world, "/v3/projects/agent-army-dev").unwrap();
        assert_eq!(v1["lifecycleState"], "ACTIVE");
        assert_eq!(v3["name"], format!("projects/{}", v1["projectNumber"].as_str().unwrap()));
    }

    #[test]
    fn a_project_is_found_by_its_number() {
        let mut world = world();
        let number = world.project_number("agent-army-dev");
        get(&mut world, "/v1/projects/agent-army-dev").unwrap();
        let found = get(&mut world, &format!("/v3/projects/{number}")).unwrap();
        assert_eq!(found["projectId"], "agent-army-dev");
    }

    #[test]
    fn searching_filters_by_id() {
        let mut world = world();
        get(&mut world, "/v1/projects/agent-army-dev").unwrap();
        get(&mut world, "/v1/projects/other-project").unwrap();
        let found = get(&mut world, "/v3/projects:search?query=id%3Aagent*").unwrap();
        assert_eq!(found["projects"].as_array().unwrap().len(), 1);
    }
}
