//! What callers with a token may do, request by request.

use serde_json::{Value, json};

use crate::call::Caller;
use crate::error::{Answer, Code};
use crate::testing::{let_propagate, send, send_as, world};
use crate::world::World;

const PROJECT: &str = "/cloudresourcemanager.googleapis.com/v1/projects/agent-army-dev";
const SECRETS: &str = "/v1/projects/agent-army-dev/secrets";
const ACCOUNTS: &str = "/v1/projects/agent-army-dev/serviceAccounts";
const SERVICES: &str = "/v2/projects/agent-army-dev/locations/us-central1/services";
const PLAN: &str = "ci-plan@agent-army-dev.iam.gserviceaccount.com";
const RUNTIME: &str = "runtime-api@agent-army-dev.iam.gserviceaccount.com";

/// A project with a secret and the accounts `ci-plan` and `runtime-api`.
fn with_accounts() -> World {
    let mut world = world();
    for id in ["ci-plan", "runtime-api"] {
        send(&mut world, "POST", ACCOUNTS, &json!({"accountId": id})).unwrap();
    }
    let body = json!({"replication": {"automatic": {}}});
    send(&mut world, "POST", &format!("{SECRETS}?secretId=db"), &body).unwrap();
    let payload = json!({"payload": {"data": "c2VjcmV0"}});
    send(&mut world, "POST", &format!("{SECRETS}/db:addVersion"), &payload).unwrap();
    let_propagate(&mut world);
    world
}

fn set(world: &mut World, path: &str, bindings: &Value) {
    let policy = json!({"policy": {"version": 3, "bindings": bindings}});
    send(world, "POST", &format!("{path}:setIamPolicy"), &policy).unwrap();
    let_propagate(world);
}

/// A world in which `ci-plan` has the roles on the project.
fn with_roles(roles: &[&str]) -> World {
    let mut world = with_accounts();
    let bindings =
        roles.iter().map(|role| json!({"role": role, "members": [format!("serviceAccount:{PLAN}")]}));
    set(&mut world, PROJECT, &bindings.collect());
    world
}

fn plan(world: &mut World, verb: &str, path: &str, body: &Value) -> Answer {
    send_as(world, Caller::account(PLAN), verb, path, body)
}

fn code(answer: Answer) -> Option<Code> {
    answer.err().map(|status| status.code)
}

fn service(account: Option<&str>) -> Value {
    let mut template = json!({"containers": [{"image": "us-docker.pkg.dev/cloudrun/container/hello"}]});
    if let Some(account) = account {
        template["serviceAccount"] = json!(account);
    }
    json!({ "template": template })
}

#[test]
fn an_account_without_a_grant_is_refused_with_permission_and_resource() {
    let mut world = with_accounts();
    let refused = plan(&mut world, "GET", &format!("{SECRETS}/db"), &Value::Null).unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    let info = &refused.details[0];
    assert_eq!(info["reason"], "IAM_PERMISSION_DENIED");
    assert_eq!(info["metadata"]["permission"], "secretmanager.secrets.get");
    assert_eq!(info["metadata"]["resource"], "projects/agent-army-dev/secrets/db");
    assert!(refused.message.contains("secretmanager.secrets.get"));
    assert!(refused.message.contains("projects/agent-army-dev/secrets/db"));
}

#[test]
fn an_owner_may_do_everything() {
    let mut world = with_accounts();
    let owner = Caller::owner("somebody@example.com");
    let path = format!("{SECRETS}/db/versions/latest:access");
    assert!(send_as(&mut world, owner, "GET", &path, &Value::Null).is_ok());
}

#[test]
fn a_viewer_reads_but_no_payloads_and_no_policies_and_writes_nothing() {
    let mut world = with_roles(&["roles/viewer"]);
    for path in [
        PROJECT.to_owned(),
        SECRETS.to_owned(),
        format!("{SECRETS}/db"),
        format!("{SECRETS}/db/versions"),
        ACCOUNTS.to_owned(),
        SERVICES.to_owned(),
        "/v1/projects/agent-army-dev/services".to_owned(),
        "/v1/projects/agent-army-dev/services:batchGet?names=projects/agent-army-dev/services/run.googleapis.com"
            .to_owned(),
        "/v1/projects/agent-army-dev/locations/global/workloadIdentityPools".to_owned(),
    ] {
        let answer = plan(&mut world, "GET", &path, &Value::Null);
        assert!(answer.is_ok(), "{path}: {answer:?}");
    }
    for (verb, path) in [
        ("GET", format!("{SECRETS}/db/versions/1:access")),
        ("GET", format!("{SECRETS}/db:getIamPolicy")),
        ("POST", format!("{PROJECT}:getIamPolicy")),
        ("POST", format!("{ACCOUNTS}/{RUNTIME}:getIamPolicy")),
        ("POST", format!("{SECRETS}?secretId=new")),
        ("DELETE", format!("{SECRETS}/db")),
    ] {
        let body = if verb == "POST" { json!({}) } else { Value::Null };
        assert_eq!(code(plan(&mut world, verb, &path, &body)), Some(Code::PermissionDenied), "{path}");
    }
}

#[test]
fn a_security_reviewer_reads_policies() {
    let mut world = with_roles(&["roles/iam.securityReviewer"]);
    assert!(plan(&mut world, "GET", &format!("{SECRETS}/db:getIamPolicy"), &Value::Null).is_ok());
    assert!(plan(&mut world, "POST", &format!("{PROJECT}:getIamPolicy"), &json!({})).is_ok());
    assert!(plan(&mut world, "POST", &format!("{ACCOUNTS}/{RUNTIME}:getIamPolicy"), &json!({})).is_ok());
    assert_eq!(
        code(plan(&mut world, "POST", &format!("{SECRETS}/db:setIamPolicy"), &json!({"policy": {}}))),
        Some(Code::PermissionDenied)
    );
}

#[test]
fn a_grant_on_a_resource_counts_for_what_is_in_it_and_nowhere_else() {
    let mut world = with_accounts();
    send(
        &mut world,
        "POST",
        &format!("{SECRETS}?secretId=other"),
        &json!({"replication": {"automatic": {}}}),
    )
    .unwrap();
    let grant = json!([{"role": "roles/secretmanager.secretAccessor", "members": [format!("serviceAccount:{PLAN}")]}]);
    set(&mut world, &format!("{SECRETS}/db"), &grant);
    assert!(plan(&mut world, "GET", &format!("{SECRETS}/db/versions/1:access"), &Value::Null).is_ok());
    let elsewhere = format!("{SECRETS}/other/versions/1:access");
    assert_eq!(code(plan(&mut world, "GET", &elsewhere, &Value::Null)), Some(Code::PermissionDenied));
}

#[test]
fn a_new_grant_needs_a_few_requests() {
    let grant = json!({"policy": {"bindings": [
        {"role": "roles/secretmanager.viewer", "members": [format!("serviceAccount:{PLAN}")]}]}});
    let mut world = with_accounts();
    let mut refused = 0;
    for _ in 0..8 {
        set(&mut world, PROJECT, &json!([]));
        send(&mut world, "POST", &format!("{PROJECT}:setIamPolicy"), &grant).unwrap();
        refused += (0..4).filter(|_| plan(&mut world, "GET", SECRETS, &Value::Null).is_err()).count();
        assert!(plan(&mut world, "GET", SECRETS, &Value::Null).is_ok());
    }
    assert!(refused > 0);
}

#[test]
fn an_unknown_role_grants_nothing() {
    let mut world = with_roles(&["roles/secretmanager.everything", "projects/agent-army-dev/roles/custom"]);
    assert_eq!(code(plan(&mut world, "GET", SECRETS, &Value::Null)), Some(Code::PermissionDenied));
}

#[test]
fn a_conditional_grant_counts_when_its_condition_can_be_told_to_hold() {
    let number = with_accounts().project_number("agent-army-dev");
    for (expression, granted) in [
        (format!("resource.name.startsWith('projects/{number}/secrets/db')"), true),
        (format!("resource.name.startsWith('projects/{number}/secrets/other')"), false),
        ("request.time < timestamp('2020-01-01T00:00:00Z')".to_owned(), false),
        ("resource.matchTag('1/env', 'prod')".to_owned(), false),
    ] {
        let mut world = with_accounts();
        let binding = json!([{
            "role": "roles/secretmanager.viewer",
            "members": [format!("serviceAccount:{PLAN}")],
            "condition": {"title": "t", "expression": expression},
        }]);
        set(&mut world, PROJECT, &binding);
        let answer = plan(&mut world, "GET", &format!("{SECRETS}/db"), &Value::Null);
        assert_eq!(answer.is_ok(), granted, "{expression}");
    }
}

#[test]
fn running_as_an_account_takes_act_as_on_it() {
    let mut world = with_roles(&["roles/run.admin"]);
    let create = format!("{SERVICES}?serviceId=api");
    let refused = plan(&mut world, "POST", &create, &service(Some(RUNTIME))).unwrap_err();
    assert_eq!(refused.details[0]["metadata"]["permission"], "iam.serviceAccounts.actAs");
    assert_eq!(
        refused.details[0]["metadata"]["resource"],
        format!("projects/agent-army-dev/serviceAccounts/{RUNTIME}")
    );
    let user =
        json!([{"role": "roles/iam.serviceAccountUser", "members": [format!("serviceAccount:{PLAN}")]}]);
    set(&mut world, &format!("{ACCOUNTS}/{RUNTIME}"), &user);
    plan(&mut world, "POST", &create, &service(Some(RUNTIME))).unwrap();
    // Another account, here the default one, is another matter.
    let refused = plan(&mut world, "PATCH", &format!("{SERVICES}/api"), &service(None)).unwrap_err();
    let resource = refused.details[0]["metadata"]["resource"].as_str().unwrap();
    assert!(resource.ends_with("-compute@developer.gserviceaccount.com"), "{resource}");
}

#[test]
fn an_update_that_leaves_the_account_alone_needs_act_as_on_the_one_there_is() {
    let mut world = with_roles(&["roles/run.admin"]);
    send(&mut world, "POST", &format!("{SERVICES}?serviceId=api"), &service(Some(RUNTIME))).unwrap();
    let patch = format!("{SERVICES}/api?updateMask=labels");
    let refused = plan(&mut world, "PATCH", &patch, &json!({"labels": {"a": "b"}})).unwrap_err();
    assert!(refused.message.contains(RUNTIME), "{}", refused.message);
    let user =
        json!([{"role": "roles/iam.serviceAccountUser", "members": [format!("serviceAccount:{PLAN}")]}]);
    set(&mut world, &format!("{ACCOUNTS}/{RUNTIME}"), &user);
    plan(&mut world, "PATCH", &patch, &json!({"labels": {"a": "b"}})).unwrap();
}

#[test]
fn setting_a_policy_needs_its_own_permission() {
    let mut world = with_roles(&["roles/run.developer"]);
    send(&mut world, "POST", &format!("{SERVICES}?serviceId=api"), &service(Some(RUNTIME))).unwrap();
    let policy = json!({"policy": {"bindings": []}});
    let path = format!("{SERVICES}/api:setIamPolicy");
    let refused = plan(&mut world, "POST", &path, &policy).unwrap_err();
    assert_eq!(refused.details[0]["metadata"]["permission"], "run.services.setIamPolicy");
}

#[test]
fn asking_for_permissions_is_answered_truthfully() {
    let mut world = with_roles(&["roles/viewer"]);
    let asked = json!({"permissions": ["secretmanager.secrets.get", "secretmanager.versions.access"]});
    let path = format!("{SECRETS}/db:testIamPermissions");
    let answer = plan(&mut world, "POST", &path, &asked).unwrap();
    assert_eq!(answer, json!({"permissions": ["secretmanager.secrets.get"]}));
    assert_eq!(send(&mut world, "POST", &path, &asked).unwrap(), asked);
    let nothing = json!({"permissions": ["secretmanager.versions.access"]});
    assert_eq!(plan(&mut world, "POST", &path, &nothing).unwrap(), json!({}));
}

#[test]
fn lists_of_projects_show_those_that_the_caller_may_get() {
    let mut world = with_roles(&["roles/browser"]);
    world.use_project("other-project").unwrap();
    let list = "/cloudresourcemanager.googleapis.com/v1/projects";
    let seen = plan(&mut world, "GET", list, &Value::Null).unwrap();
    assert_eq!(seen["projects"].as_array().unwrap().len(), 1);
    assert_eq!(seen["projects"][0]["projectId"], "agent-army-dev");
    let all = send(&mut world, "GET", list, &Value::Null).unwrap();
    assert_eq!(all["projects"].as_array().unwrap().len(), 2);
}

#[test]
fn an_account_brings_no_project_into_being() {
    let mut world = with_roles(&["roles/owner"]);
    let path = "/v1/projects/never-used-before/secrets";
    assert_eq!(code(plan(&mut world, "GET", path, &Value::Null)), Some(Code::PermissionDenied));
    assert!(!world.has_project("never-used-before"));
}

#[test]
fn policies_of_an_account_count_when_it_is_named_by_its_unique_id() {
    let mut world = with_accounts();
    let viewer =
        json!([{"role": "roles/iam.serviceAccountUser", "members": [format!("serviceAccount:{PLAN}")]}]);
    set(&mut world, &format!("{ACCOUNTS}/{RUNTIME}"), &viewer);
    let account = send(&mut world, "GET", &format!("{ACCOUNTS}/{RUNTIME}"), &Value::Null).unwrap();
    let unique = account["uniqueId"].as_str().unwrap();
    assert!(plan(&mut world, "GET", &format!("{ACCOUNTS}/{unique}"), &Value::Null).is_ok());
    assert!(
        plan(&mut world, "GET", &format!("/v1/projects/-/serviceAccounts/{unique}"), &Value::Null).is_ok()
    );
}
