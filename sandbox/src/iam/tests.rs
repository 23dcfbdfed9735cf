//! The rules of IAM policies, on a secret and on a project.

use serde_json::{Value, json};

use crate::error::{Answer, Code};
use crate::testing::{get, let_propagate, send, world};
use crate::world::World;

const PROJECT: &str = "/cloudresourcemanager.googleapis.com/v1/projects/agent-army-dev";
const SECRET: &str = "/v1/projects/agent-army-dev/secrets/db";
const ACCESSOR: &str = "roles/secretmanager.secretAccessor";

fn with_secret() -> World {
    let mut world = world();
    let body = json!({"replication": {"automatic": {}}});
    send(&mut world, "POST", "/v1/projects/agent-army-dev/secrets?secretId=db", &body).unwrap();
    world
}

fn set(world: &mut World, policy: &Value) -> Answer {
    send(world, "POST", &format!("{SECRET}:setIamPolicy"), &json!({ "policy": policy }))
}

fn read(world: &mut World, version: u8) -> Value {
    get(world, &format!("{SECRET}:getIamPolicy?options.requestedPolicyVersion={version}")).unwrap()
}

fn binding(role: &str, members: &[&str]) -> Value {
    json!({ "role": role, "members": members })
}

#[test]
fn a_resource_without_a_policy_has_the_empty_one() {
    let mut world = with_secret();
    assert_eq!(read(&mut world, 3), json!({"etag": "ACAB"}));
}

#[test]
fn a_stale_etag_is_aborted_and_none_overwrites() {
    let mut world = with_secret();
    let first =
        set(&mut world, &json!({"etag": "ACAB", "bindings": [binding(ACCESSOR, &["allUsers"])]})).unwrap();
    assert_eq!(set(&mut world, &json!({"etag": "ACAB"})).unwrap_err().code, Code::Aborted);
    let url_safe = first["etag"].as_str().unwrap().replace('+', "-").replace('/', "_");
    let second = set(&mut world, &json!({"etag": url_safe, "bindings": []})).unwrap();
    assert_ne!(first["etag"], second["etag"]);
    set(&mut world, &json!({"bindings": []})).unwrap();
}

#[test]
fn bindings_are_merged_and_sorted() {
    let mut world = with_secret();
    let sent = json!({"bindings": [
        binding("roles/viewer", &["user:b@example.com"]),
        binding(ACCESSOR, &["user:Z@Example.com", "user:a@example.com"]),
        binding("roles/viewer", &["user:a@example.com", "user:b@example.com"]),
        binding("roles/editor", &[]),
    ]});
    let policy = set(&mut world, &sent).unwrap();
    assert_eq!(
        policy["bindings"],
        json!([
            binding(ACCESSOR, &["user:a@example.com", "user:z@example.com"]),
            binding("roles/viewer", &["user:a@example.com", "user:b@example.com"]),
        ])
    );
}

#[test]
fn conditions_need_version_three_to_write_and_to_read() {
    let mut world = with_secret();
    let mut bound = binding(ACCESSOR, &["user:a@example.com"]);
    bound["condition"] = json!({"title": "t", "expression": "true"});
    let refused = set(&mut world, &json!({"version": 1, "bindings": [bound]})).unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    set(&mut world, &json!({"version": 3, "bindings": [bound]})).unwrap();
    let full = read(&mut world, 3);
    assert_eq!((&full["version"], &full["bindings"][0]["condition"]["title"]), (&json!(3), &json!("t")));
    let reduced = read(&mut world, 1);
    assert!(reduced["bindings"][0]["role"].as_str().unwrap().starts_with(&format!("{ACCESSOR}_withcond_")));
    let lost = set(&mut world, &json!({"version": 1, "etag": full["etag"], "bindings": []})).unwrap_err();
    assert_eq!(lost.code, Code::InvalidArgument);
}

#[test]
fn members_have_known_forms() {
    let mut world = with_secret();
    for member in ["alice", "user:alice", "robot:a@example.com", "serviceAccount:x", "principal:x"] {
        let error = set(&mut world, &json!({"bindings": [binding(ACCESSOR, &[member])]})).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{member}");
    }
    let good = [
        "allUsers",
        "allAuthenticatedUsers",
        "user:a@example.com",
        "group:g@example.com",
        "domain:example.com",
        "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/*",
        "deleted:serviceAccount:x@agent-army-dev.iam.gserviceaccount.com?uid=1",
        "serviceAccount:x@another-project.iam.gserviceaccount.com",
    ];
    set(&mut world, &json!({"bindings": [binding(ACCESSOR, &good)]})).unwrap();
}

#[test]
fn an_account_that_does_not_exist_cannot_be_granted_anything() {
    let mut world = with_secret();
    let member = "serviceAccount:nobody@agent-army-dev.iam.gserviceaccount.com";
    let error = set(&mut world, &json!({"bindings": [binding(ACCESSOR, &[member])]})).unwrap_err();
    assert_eq!(
        error.message,
        "Service account nobody@agent-army-dev.iam.gserviceaccount.com does not exist."
    );
}

#[test]
fn roles_have_known_forms() {
    let mut world = with_secret();
    for role in ["viewer", "roles/", "roles/a/b", "projects//roles/x"] {
        assert!(set(&mut world, &json!({"bindings": [binding(role, &["allUsers"])]})).is_err(), "{role}");
    }
}

#[test]
fn a_grant_is_in_force_after_a_few_requests_and_a_revoked_one_is_not() {
    let mut world = with_secret();
    let (name, member) = ("projects/agent-army-dev/secrets/db", "user:a@example.com");
    set(&mut world, &json!({"bindings": [binding(ACCESSOR, &[member])]})).unwrap();
    assert!(!world.has_role(name, ACCESSOR, member));
    let_propagate(&mut world);
    assert!(world.has_role(name, ACCESSOR, member));
    // Writing the same grant again does not take it back.
    set(&mut world, &json!({"bindings": [binding(ACCESSOR, &[member, "user:b@example.com"])]})).unwrap();
    assert!(world.has_role(name, ACCESSOR, member));
    assert!(!world.has_role(name, ACCESSOR, "user:b@example.com"));
    set(&mut world, &json!({"bindings": []})).unwrap();
    assert!(!world.has_role(name, ACCESSOR, member));
}

#[test]
fn a_grant_on_the_project_counts_for_what_is_in_it() {
    let mut world = with_secret();
    let policy =
        json!({"policy": {"bindings": [binding("roles/secretmanager.admin", &["user:a@example.com"])]}});
    send(&mut world, "POST", &format!("{PROJECT}:setIamPolicy"), &policy).unwrap();
    let_propagate(&mut world);
    assert!(world.has_role("projects/agent-army-dev/secrets/db", ACCESSOR, "user:a@example.com"));
    assert!(!world.has_role("projects/another-project/secrets/db", ACCESSOR, "user:a@example.com"));
}

#[test]
fn more_than_1500_principals_are_refused() {
    let mut world = with_secret();
    let members: Vec<String> = (0..1501).map(|n| format!("user:u{n}@example.com")).collect();
    let error = set(&mut world, &json!({"bindings": [{"role": ACCESSOR, "members": members}]})).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
}

#[test]
fn the_caller_has_the_permissions_it_asks_about() {
    let mut world = with_secret();
    let path = format!("{SECRET}:testIamPermissions");
    let asked = json!({"permissions": ["secretmanager.versions.access"]});
    assert_eq!(send(&mut world, "POST", &path, &asked).unwrap(), asked);
    assert!(send(&mut world, "POST", &path, &json!({"permissions": ["secretmanager.*"]})).is_err());
}

#[test]
fn a_recreated_account_is_not_granted_anything_beside_its_deleted_self() {
    let mut world = with_secret();
    let accounts = "/v1/projects/agent-army-dev/serviceAccounts";
    let email = "runtime-api@agent-army-dev.iam.gserviceaccount.com";
    let make = |world: &mut World| {
        send(world, "POST", accounts, &json!({"accountId": "runtime-api"})).unwrap();
        let_propagate(world);
    };
    make(&mut world);
    let live = format!("serviceAccount:{email}");
    set(&mut world, &json!({"bindings": [binding(ACCESSOR, &[&live])]})).unwrap();
    send(&mut world, "DELETE", &format!("{accounts}/{email}"), &Value::Null).unwrap();
    make(&mut world);
    let stale = read(&mut world, 3)["bindings"][0]["members"][0].as_str().unwrap().to_owned();
    assert!(stale.starts_with("deleted:serviceAccount:"), "{stale}");
    for bindings in [
        json!([binding(ACCESSOR, &[&stale, &live])]),
        json!([binding(ACCESSOR, &[&stale]), binding("roles/secretmanager.viewer", &[&live])]),
    ] {
        let refused = set(&mut world, &json!({ "bindings": bindings })).unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument);
        assert!(refused.message.contains(&stale) && refused.message.contains("first"), "{}", refused.message);
    }
    // Leaving the stale member alone is no error, and neither is replacing it.
    let other = binding(ACCESSOR, &[&stale, "user:a@example.com"]);
    set(&mut world, &json!({"bindings": [other]})).unwrap();
    set(&mut world, &json!({"bindings": [binding(ACCESSOR, &[&live])]})).unwrap();
}

#[test]
fn a_conditional_grant_is_a_role_only_while_its_condition_holds() {
    let mut world = with_secret();
    let (name, member) = ("projects/agent-army-dev/secrets/db", "user:a@example.com");
    for (expression, held) in [("true", true), ("request.time < timestamp('2020-01-01T00:00:00Z')", false)] {
        let mut bound = binding(ACCESSOR, &[member]);
        bound["condition"] = json!({"title": "t", "expression": expression});
        set(&mut world, &json!({"version": 3, "bindings": [bound]})).unwrap();
        let_propagate(&mut world);
        assert_eq!(world.has_role(name, ACCESSOR, member), held, "{expression}");
    }
}
