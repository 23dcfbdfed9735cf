//! Lists, policies and what is served in which order.

use super::*;

#[test]
fn services_are_listed_by_name_in_pages() {
    let mut run = Run::new();
    for id in ["c", "a", "b"] {
        run.create(id, &service()).unwrap();
    }
    let first = run.read("services?pageSize=2");
    let names: Vec<String> =
        first["services"].as_array().unwrap().iter().map(|one| short(&one["name"])).collect();
    assert_eq!(names, ["a", "b"]);
    let second =
        run.read(&format!("services?pageSize=2&pageToken={}", first["nextPageToken"].as_str().unwrap()));
    assert_eq!(short(&second["services"][0]["name"]), "c");
    assert_eq!(second.get("nextPageToken"), None);
}

#[test]
fn a_page_has_at_most_a_hundred_services() {
    let mut run = Run::new();
    for number in 0..101 {
        run.create(&format!("s{number}"), &service()).unwrap();
    }
    assert_eq!(run.read("services?pageSize=1000")["services"].as_array().unwrap().len(), 100);
}

#[test]
fn deleted_services_are_listed_on_demand() {
    let mut run = Run::with_api();
    let operation = run.call("DELETE", "services/api", &Value::Null).unwrap();
    assert_eq!(run.read("services").get("services"), None);
    run.wait(&operation).unwrap();
    assert_eq!(run.read("services"), json!({}));
    let deleted = run.read("services?showDeleted=true");
    assert!(deleted["services"][0]["deleteTime"].is_string());
}

#[test]
fn revisions_of_all_services_come_newest_first() {
    let mut run = Run::with_api();
    run.create("web", &service()).unwrap();
    run.patch("", &named("api-v2", "2")).unwrap();
    let listed = run.read("services/-/revisions");
    let services: Vec<&str> =
        listed["revisions"].as_array().unwrap().iter().map(|one| one["service"].as_str().unwrap()).collect();
    assert_eq!(services, ["api", "web", "api"]);
}

#[test]
fn policies_belong_to_services_that_exist() {
    let mut run = Run::with_api();
    assert_eq!(run.read("services/api:getIamPolicy"), json!({"etag": "ACAB"}));
    let status = run.call("GET", "services/none:getIamPolicy", &Value::Null).unwrap_err();
    assert_eq!(status.code, Code::NotFound);
    let asked = json!({"permissions": ["run.services.get"]});
    assert_eq!(run.call("POST", "services/api:testIamPermissions", &asked).unwrap(), asked);
}

#[test]
fn the_project_can_be_named_by_its_number() {
    let mut run = Run::with_api();
    let number = run.world.project_number(PROJECT);
    let path = format!("run.googleapis.com/v2/projects/{number}/locations/europe-west1/services/api");
    let service = testing::get(&mut run.world, &path).unwrap();
    assert_eq!(service["name"], "projects/agent-army-dev/locations/europe-west1/services/api");
}
