//! The rules of Service Usage, request by request.

use serde_json::{Value, json};

use crate::Apis;
use crate::error::Code;
use crate::testing::{get, send};
use crate::world::World;

const SERVICES: &str = "/v1/projects/agent-army-dev/services";

fn fresh() -> World {
    World::in_memory(1, Apis::Default)
}

fn finish(world: &mut World, operation: &Value) -> Value {
    let path = format!("/v1/{}", operation["name"].as_str().unwrap());
    (0..5).map(|_| get(world, &path).unwrap()).find(|answer| answer["done"] == true).unwrap()
}

fn state(world: &mut World, service: &str) -> Value {
    get(world, &format!("{SERVICES}/{service}.googleapis.com")).unwrap()["state"].clone()
}

#[test]
fn a_new_project_has_a_few_apis_and_not_these() {
    let mut world = fresh();
    assert_eq!(state(&mut world, "logging"), "ENABLED");
    for service in ["run", "secretmanager", "iam", "artifactregistry", "cloudresourcemanager"] {
        assert_eq!(state(&mut world, service), "DISABLED", "{service}");
    }
}

#[test]
fn reading_projects_needs_no_enabled_api() {
    let mut world = fresh();
    assert!(get(&mut world, "/v1/projects/agent-army-dev").is_ok());
    assert!(get(&mut world, SERVICES).is_ok());
}

#[test]
fn enabling_takes_an_operation_and_then_some_calls() {
    let mut world = fresh();
    let secrets = "/v1/projects/agent-army-dev/secrets";
    assert_eq!(get(&mut world, secrets).unwrap_err().code, Code::PermissionDenied);
    let path = format!("{SERVICES}/secretmanager.googleapis.com:enable");
    let operation = send(&mut world, "POST", &path, &json!({})).unwrap();
    assert!(operation["name"].as_str().unwrap().starts_with("operations/acat.p2-"));
    let done = finish(&mut world, &operation);
    assert_eq!(done["response"]["service"]["state"], "ENABLED");
    let refused = (0..6).take_while(|_| get(&mut world, secrets).is_err()).count();
    assert!((1..=4).contains(&refused), "{refused}");
}

#[test]
fn enabling_what_is_enabled_is_done_at_once() {
    let mut world = fresh();
    let path = format!("{SERVICES}/logging.googleapis.com:enable");
    assert_eq!(send(&mut world, "POST", &path, &json!({})).unwrap()["done"], true);
}

#[test]
fn a_batch_is_atomic_and_has_at_most_twenty() {
    let mut world = fresh();
    let path = format!("{SERVICES}:batchEnable");
    let batch = json!({"serviceIds": ["run.googleapis.com", "nonsense.googleapis.com"]});
    assert_eq!(send(&mut world, "POST", &path, &batch).unwrap_err().code, Code::PermissionDenied);
    assert_eq!(state(&mut world, "run"), "DISABLED");
    let many: Vec<String> = (0..21).map(|_| "run.googleapis.com".to_owned()).collect();
    let error = send(&mut world, "POST", &path, &json!({ "serviceIds": many })).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    let batch = json!({"serviceIds": ["run.googleapis.com", "iam.googleapis.com"]});
    let operation = send(&mut world, "POST", &path, &batch).unwrap();
    assert_eq!(finish(&mut world, &operation)["response"]["services"].as_array().unwrap().len(), 2);
    assert_eq!(state(&mut world, "iam"), "ENABLED");
}

#[test]
fn an_api_that_others_need_is_disabled_only_with_them() {
    let mut world = fresh();
    let operation =
        send(&mut world, "POST", &format!("{SERVICES}/run.googleapis.com:enable"), &json!({})).unwrap();
    finish(&mut world, &operation);
    let path = format!("{SERVICES}/pubsub.googleapis.com:disable");
    assert_eq!(send(&mut world, "POST", &path, &json!({})).unwrap_err().code, Code::FailedPrecondition);
    let operation = send(&mut world, "POST", &path, &json!({"disableDependentServices": true})).unwrap();
    finish(&mut world, &operation);
    assert_eq!(state(&mut world, "run"), "DISABLED");
}

#[test]
fn lists_are_filtered_by_state() {
    let mut world = fresh();
    let enabled = get(&mut world, &format!("{SERVICES}?filter=state:ENABLED&pageSize=200")).unwrap();
    assert!(enabled["services"].as_array().unwrap().iter().all(|service| service["state"] == "ENABLED"));
    assert!(get(&mut world, &format!("{SERVICES}?filter=name:x")).is_err());
}

#[test]
fn several_services_are_read_at_once() {
    let mut world = fresh();
    let name = |service: &str| format!("names=projects/agent-army-dev/services/{service}.googleapis.com");
    let path = format!("{SERVICES}:batchGet?{}&{}", name("run"), name("logging"));
    let services = get(&mut world, &path).unwrap();
    let states: Vec<_> =
        services["services"].as_array().unwrap().iter().map(|s| s["state"].clone()).collect();
    assert_eq!(states, [json!("DISABLED"), json!("ENABLED")]);
    assert!(get(&mut world, &format!("{SERVICES}:batchGet")).is_err());
}
