//! The rules of workload identity pools, request by request.

use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Answer, Code, Status};
use crate::testing::{get, send, world, world_in_time};
use crate::world::{OperationFault, World};

const POOLS: &str = "/v1/projects/agent-army-dev/locations/global/workloadIdentityPools";
const POOL: &str = "/v1/projects/agent-army-dev/locations/global/workloadIdentityPools/github";

/// Polls the operation of an answer to its end.
pub(in crate::services::iam) fn finish(world: &mut World, answer: Answer) -> Value {
    let started = answer.unwrap();
    let path = format!("/iam.googleapis.com/v1/{}", started["name"].as_str().unwrap());
    for _ in 0..5 {
        let operation = get(world, &path).unwrap();
        if operation["done"] == true {
            return operation;
        }
    }
    panic!("the operation does not end");
}

fn create(world: &mut World, id: &str, body: &Value) -> Answer {
    send(world, "POST", &format!("{POOLS}?workloadIdentityPoolId={id}"), body)
}

fn with_pool() -> World {
    let mut world = world();
    let answer = create(&mut world, "github", &json!({"displayName": "GitHub", "disabled": false}));
    finish(&mut world, answer);
    world
}

fn delete(world: &mut World) {
    let answer = send(world, "DELETE", POOL, &Value::Null);
    finish(world, answer);
}

fn code(answer: Answer) -> Code {
    answer.unwrap_err().code
}

#[test]
fn a_pool_is_there_when_its_operation_is_done() {
    let mut world = world();
    let started = create(&mut world, "github", &json!({"displayName": "GitHub"}));
    let name = started.as_ref().unwrap()["name"].as_str().unwrap().to_owned();
    let number = world.project_number("agent-army-dev");
    let prefix = format!("projects/{number}/locations/global/workloadIdentityPools/github/operations/");
    assert!(name.starts_with(&prefix), "{name}");
    assert_eq!(code(get(&mut world, POOL)), Code::NotFound);
    assert_eq!(get(&mut world, &format!("{POOLS}?showDeleted=true")).unwrap(), json!({}));
    let done = finish(&mut world, started);
    assert_eq!(done["response"]["@type"], "type.googleapis.com/google.iam.v1.WorkloadIdentityPool");
    let pool = get(&mut world, POOL).unwrap();
    assert_eq!(
        pool,
        json!({
            "name": format!("projects/{number}/locations/global/workloadIdentityPools/github"),
            "displayName": "GitHub",
            "state": "ACTIVE",
        })
    );
    assert_eq!(get(&mut world, POOLS).unwrap()["workloadIdentityPools"], json!([pool]));
}

#[test]
fn an_id_is_taken_from_the_request_on() {
    let mut world = world();
    create(&mut world, "github", &json!({})).unwrap();
    assert_eq!(code(create(&mut world, "github", &json!({}))), Code::AlreadyExists);
}

#[test]
fn a_creation_that_fails_leaves_nothing() {
    let mut world = world();
    world.operation_fault = OperationFault { fails: Some(Status::internal("no")), polls: None };
    let answer = create(&mut world, "github", &json!({}));
    let done = finish(&mut world, answer);
    assert_eq!(done["error"]["code"], 13);
    assert_eq!(code(get(&mut world, POOL)), Code::NotFound);
    create(&mut world, "github", &json!({})).unwrap();
}

#[test]
fn ids_follow_their_rule() {
    let mut world = world();
    for wrong in ["", "abc", "Upper", "under_score", "gcp-pool", &"x".repeat(33)] {
        assert_eq!(code(create(&mut world, wrong, &json!({}))), Code::InvalidArgument, "{wrong}");
    }
    create(&mut world, "0123", &json!({})).unwrap();
}

#[test]
fn texts_have_their_limits_in_characters() {
    let mut world = world();
    for body in [json!({"displayName": "x".repeat(33)}), json!({"description": "x".repeat(257)})] {
        assert_eq!(code(create(&mut world, "github", &body)), Code::InvalidArgument);
    }
    let longest = json!({"displayName": "\u{e9}".repeat(32), "description": "\u{e9}".repeat(256)});
    create(&mut world, "github", &longest).unwrap();
}

#[test]
fn pools_are_global() {
    let mut world = world();
    let path = POOLS.replace("global", "us-central1");
    let answer = send(&mut world, "POST", &format!("{path}?workloadIdentityPoolId=github"), &json!({}));
    assert_eq!(code(answer), Code::InvalidArgument);
    assert_eq!(code(get(&mut world, &path)), Code::InvalidArgument);
}

#[test]
fn an_update_needs_a_mask_of_fields_that_can_change() {
    let mut world = with_pool();
    let body = json!({"displayName": "x", "mode": "TRUST_DOMAIN"});
    for query in ["", "?updateMask=mode", "?updateMask=state", "?updateMask=name", "?updateMask=nothing"] {
        let answer = send(&mut world, "PATCH", &format!("{POOL}{query}"), &body);
        assert_eq!(code(answer), Code::InvalidArgument, "{query}");
    }
}

#[test]
fn an_update_changes_what_the_mask_names_once_it_is_done() {
    let mut world = with_pool();
    let body = json!({"displayName": "ignored", "description": "d", "disabled": true, "state": "DELETED"});
    let answer = send(&mut world, "PATCH", &format!("{POOL}?updateMask=description,disabled"), &body);
    assert!(get(&mut world, POOL).unwrap().get("description").is_none());
    finish(&mut world, answer);
    let pool = get(&mut world, POOL).unwrap();
    assert_eq!((&pool["displayName"], &pool["description"]), (&json!("GitHub"), &json!("d")));
    assert_eq!((&pool["disabled"], &pool["state"]), (&json!(true), &json!("ACTIVE")));
    let answer = send(&mut world, "PATCH", &format!("{POOL}?updateMask=description"), &json!({}));
    finish(&mut world, answer);
    assert!(get(&mut world, POOL).unwrap().get("description").is_none());
}

#[test]
fn a_deleted_pool_is_still_seen_and_keeps_its_id() {
    let mut world = with_pool();
    delete(&mut world);
    let pool = get(&mut world, POOL).unwrap();
    assert_eq!(pool["state"], "DELETED");
    assert!(pool["expireTime"].is_string());
    assert_eq!(get(&mut world, POOLS).unwrap(), json!({}));
    let with_deleted = get(&mut world, &format!("{POOLS}?showDeleted=true")).unwrap();
    assert_eq!(with_deleted["workloadIdentityPools"], json!([pool]));
    assert_eq!(code(create(&mut world, "github", &json!({}))), Code::AlreadyExists);
}

#[test]
fn a_deleted_pool_cannot_be_changed_and_can_be_undeleted() {
    let mut world = with_pool();
    assert_eq!(
        code(send(&mut world, "POST", &format!("{POOL}:undelete"), &json!({}))),
        Code::FailedPrecondition
    );
    delete(&mut world);
    let patch = send(&mut world, "PATCH", &format!("{POOL}?updateMask=disabled"), &json!({}));
    assert_eq!(code(patch), Code::FailedPrecondition);
    assert_eq!(code(send(&mut world, "DELETE", POOL, &Value::Null)), Code::FailedPrecondition);
    let answer = send(&mut world, "POST", &format!("{POOL}:undelete"), &json!({}));
    finish(&mut world, answer);
    let pool = get(&mut world, POOL).unwrap();
    assert_eq!(pool["state"], "ACTIVE");
    assert!(pool.get("expireTime").is_none());
}

#[test]
fn a_deleted_pool_is_gone_after_thirty_days_and_its_id_is_free() {
    let (mut world, now) = world_in_time();
    let answer = create(&mut world, "github", &json!({}));
    finish(&mut world, answer);
    delete(&mut world);
    now.advance(Duration::from_secs(30 * 24 * 3600 - 1));
    assert!(get(&mut world, POOL).is_ok());
    now.advance(Duration::from_secs(1));
    assert_eq!(get(&mut world, &format!("{POOLS}?showDeleted=true")).unwrap(), json!({}));
    assert_eq!(code(send(&mut world, "POST", &format!("{POOL}:undelete"), &json!({}))), Code::NotFound);
    create(&mut world, "github", &json!({})).unwrap();
}

#[test]
fn a_pool_has_a_policy() {
    let mut world = with_pool();
    let policy =
        json!({"policy": {"bindings": [{"role": "roles/viewer", "members": ["user:a@example.com"]}]}});
    send(&mut world, "POST", &format!("{POOL}:setIamPolicy"), &policy).unwrap();
    let read = send(&mut world, "POST", &format!("{POOL}:getIamPolicy"), &json!({})).unwrap();
    assert_eq!(read["bindings"], policy["policy"]["bindings"]);
}
