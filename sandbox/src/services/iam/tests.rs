//! The rules of service accounts, request by request.

use serde_json::{Value, json};

use crate::error::Code;
use crate::testing::{get, let_propagate, send, world};
use crate::world::World;

const ACCOUNTS: &str = "/v1/projects/agent-army-dev/serviceAccounts";
const RUNTIME: &str = "runtime-api@agent-army-dev.iam.gserviceaccount.com";

fn create(world: &mut World, id: &str) -> Result<Value, crate::error::Status> {
    send(world, "POST", ACCOUNTS, &json!({"accountId": id, "serviceAccount": {"displayName": "d"}}))
}

fn with_account() -> World {
    let mut world = world();
    create(&mut world, "runtime-api").unwrap();
    let_propagate(&mut world);
    world
}

#[test]
fn ids_follow_their_rule() {
    let mut world = world();
    for wrong in ["short", "Upper-case", "1-digit-first", "hyphen-last-", "", &"x".repeat(31)] {
        assert_eq!(create(&mut world, wrong).unwrap_err().code, Code::InvalidArgument, "{wrong}");
    }
}

#[test]
fn an_account_becomes_visible_within_two_requests() {
    for seed in 0..20 {
        let mut world = World::in_memory(seed, crate::Apis::All);
        create(&mut world, "runtime-api").unwrap();
        let seen = (0..3).filter(|_| get(&mut world, &format!("{ACCOUNTS}/{RUNTIME}")).is_ok()).count();
        assert!(seen >= 1, "seed {seed}");
    }
}

#[test]
fn an_account_is_found_by_address_by_unique_id_and_in_any_project() {
    let mut world = with_account();
    let account = get(&mut world, &format!("{ACCOUNTS}/{RUNTIME}")).unwrap();
    let unique = account["uniqueId"].as_str().unwrap();
    assert_eq!(get(&mut world, &format!("{ACCOUNTS}/{unique}")).unwrap(), account);
    assert_eq!(get(&mut world, &format!("/v1/projects/-/serviceAccounts/{RUNTIME}")).unwrap(), account);
    assert_eq!(get(&mut world, &format!("/v1/projects/-/serviceAccounts/{unique}")).unwrap(), account);
    assert_eq!(account["name"], format!("projects/agent-army-dev/serviceAccounts/{RUNTIME}"));
}

#[test]
fn a_second_create_already_exists() {
    let mut world = with_account();
    assert_eq!(create(&mut world, "runtime-api").unwrap_err().code, Code::AlreadyExists);
}

#[test]
fn a_patch_changes_what_its_mask_names() {
    let mut world = with_account();
    let path = format!("{ACCOUNTS}/{RUNTIME}");
    let body =
        json!({"serviceAccount": {"displayName": "new", "description": "x"}, "updateMask": "description"});
    let patched = send(&mut world, "PATCH", &path, &body).unwrap();
    assert_eq!((&patched["displayName"], &patched["description"]), (&json!("d"), &json!("x")));
    let unmasked = json!({"serviceAccount": {"displayName": "new"}});
    assert!(send(&mut world, "PATCH", &path, &unmasked).is_err());
    let fixed = json!({"serviceAccount": {}, "updateMask": "email"});
    assert!(send(&mut world, "PATCH", &path, &fixed).is_err());
}

#[test]
fn texts_have_limits() {
    let mut world = with_account();
    let body = json!({"serviceAccount": {"description": "x".repeat(257)}, "updateMask": "description"});
    let error = send(&mut world, "PATCH", &format!("{ACCOUNTS}/{RUNTIME}"), &body).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
}

#[test]
fn disabling_shows_and_enabling_hides_again() {
    let mut world = with_account();
    let path = format!("{ACCOUNTS}/{RUNTIME}");
    send(&mut world, "POST", &format!("{path}:disable"), &json!({})).unwrap();
    assert_eq!(get(&mut world, &path).unwrap()["disabled"], true);
    send(&mut world, "POST", &format!("{path}:enable"), &json!({})).unwrap();
    assert!(get(&mut world, &path).unwrap().get("disabled").is_none());
}

#[test]
fn a_deleted_account_is_marked_in_policies_until_it_is_undeleted() {
    let mut world = with_account();
    let project = "/cloudresourcemanager.googleapis.com/v1/projects/agent-army-dev";
    let member = format!("serviceAccount:{RUNTIME}");
    let policy = json!({"policy": {"bindings": [{"role": "roles/viewer", "members": [member]}]}});
    send(&mut world, "POST", &format!("{project}:setIamPolicy"), &policy).unwrap();
    let unique =
        get(&mut world, &format!("{ACCOUNTS}/{RUNTIME}")).unwrap()["uniqueId"].as_str().unwrap().to_owned();
    send(&mut world, "DELETE", &format!("{ACCOUNTS}/{RUNTIME}"), &Value::Null).unwrap();
    assert!(!world.service_account_exists(RUNTIME));
    let held = |world: &World| world.policy("projects/agent-army-dev").bindings[0].members[0].clone();
    assert_eq!(held(&world), format!("deleted:serviceAccount:{RUNTIME}?uid={unique}"));
    send(&mut world, "POST", &format!("{ACCOUNTS}/{unique}:undelete"), &json!({})).unwrap();
    assert_eq!(held(&world), member);
    assert!(world.service_account_exists(RUNTIME));
}

#[test]
fn a_name_can_be_used_again_and_then_the_old_account_cannot_come_back() {
    let mut world = with_account();
    let path = format!("{ACCOUNTS}/{RUNTIME}");
    let old = get(&mut world, &path).unwrap();
    send(&mut world, "DELETE", &path, &Value::Null).unwrap();
    let new = create(&mut world, "runtime-api").unwrap();
    assert_ne!(old["uniqueId"], new["uniqueId"]);
    let undelete = format!("{ACCOUNTS}/{}:undelete", old["uniqueId"].as_str().unwrap());
    assert_eq!(send(&mut world, "POST", &undelete, &json!({})).unwrap_err().code, Code::FailedPrecondition);
}

#[test]
fn a_page_has_twenty_accounts_unless_more_are_asked_for_and_a_project_a_hundred() {
    let mut world = world();
    for n in 0..100 {
        create(&mut world, &format!("account-{n:03}")).unwrap();
    }
    assert_eq!(create(&mut world, "account-100").unwrap_err().code, Code::ResourceExhausted);
    let count = |world: &mut World, query: &str| {
        get(world, &format!("{ACCOUNTS}{query}")).unwrap()["accounts"].as_array().unwrap().len()
    };
    assert_eq!(count(&mut world, ""), 20);
    assert_eq!(count(&mut world, "?pageSize=1000"), 100);
}

#[test]
fn googles_own_accounts_are_taken_to_exist() {
    let world = world();
    assert!(world.service_account_exists("123-compute@developer.gserviceaccount.com"));
    assert!(world.service_account_exists("service-1@serverless-robot-prod.iam.gserviceaccount.com"));
}
