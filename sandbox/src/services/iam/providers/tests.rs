//! The rules of providers that `mapping` does not know: their pool, updates, soft delete.

use serde_json::{Value, json};

use crate::error::{Answer, Code};
use crate::services::iam::pools::tests::finish;
use crate::testing::{get, send, world};
use crate::world::World;

const POOLS: &str = "/v1/projects/agent-army-dev/locations/global/workloadIdentityPools";
const POOL: &str = "/v1/projects/agent-army-dev/locations/global/workloadIdentityPools/github";
const PROVIDERS: &str = "/v1/projects/agent-army-dev/locations/global/workloadIdentityPools/github/providers";

fn provider() -> Value {
    json!({
        "displayName": "Actions",
        "oidc": {"issuerUri": "https://token.actions.githubusercontent.com", "allowedAudiences": ["a"]},
        "attributeMapping": {"google.subject": "assertion.sub", "attribute.repository_id": "assertion.repository_id"},
        "attributeCondition": "assertion.repository_id == '900000001'",
    })
}

fn create(world: &mut World, id: &str, body: &Value) -> Answer {
    send(world, "POST", &format!("{PROVIDERS}?workloadIdentityPoolProviderId={id}"), body)
}

fn with_pool(body: &Value) -> World {
    let mut world = world();
    let answer = send(&mut world, "POST", &format!("{POOLS}?workloadIdentityPoolId=github"), body);
    finish(&mut world, answer);
    world
}

fn with_provider() -> World {
    let mut world = with_pool(&json!({}));
    let answer = create(&mut world, "actions", &provider());
    finish(&mut world, answer);
    world
}

fn patch(world: &mut World, mask: &str, body: &Value) -> Answer {
    send(world, "PATCH", &format!("{PROVIDERS}/actions?updateMask={mask}"), body)
}

fn code(answer: Answer) -> Code {
    answer.unwrap_err().code
}

#[test]
fn a_provider_comes_back_as_sent_with_name_and_state() {
    let mut world = with_provider();
    let number = world.project_number("agent-army-dev");
    let mut wanted = provider();
    wanted["name"] =
        json!(format!("projects/{number}/locations/global/workloadIdentityPools/github/providers/actions"));
    wanted["state"] = json!("ACTIVE");
    assert_eq!(get(&mut world, &format!("{PROVIDERS}/actions")).unwrap(), wanted);
    let list = get(&mut world, PROVIDERS).unwrap();
    assert_eq!(list["workloadIdentityPoolProviders"], json!([wanted]));
}

#[test]
fn a_provider_needs_its_pool() {
    let mut world = world();
    assert_eq!(code(create(&mut world, "actions", &provider())), Code::NotFound);
    assert_eq!(code(get(&mut world, PROVIDERS)), Code::NotFound);
    // Also one whose creation is not done yet.
    send(&mut world, "POST", &format!("{POOLS}?workloadIdentityPoolId=github"), &json!({})).unwrap();
    assert_eq!(code(create(&mut world, "actions", &provider())), Code::NotFound);
}

#[test]
fn a_trust_domain_pool_has_no_providers() {
    let mut world = with_pool(&json!({"mode": "TRUST_DOMAIN"}));
    assert_eq!(code(create(&mut world, "actions", &provider())), Code::FailedPrecondition);
}

#[test]
fn ids_and_content_are_checked() {
    let mut world = with_pool(&json!({}));
    for id in ["", "abc", "gcp-actions", "Actions"] {
        assert_eq!(code(create(&mut world, id, &provider())), Code::InvalidArgument, "{id}");
    }
    for key in ["attributeCondition", "attributeMapping", "oidc"] {
        let mut body = provider();
        body.as_object_mut().unwrap().remove(key);
        assert_eq!(code(create(&mut world, "actions", &body)), Code::InvalidArgument, "{key}");
    }
}

#[test]
fn an_update_is_checked_as_a_whole() {
    let mut world = with_provider();
    assert_eq!(code(patch(&mut world, "attributeCondition", &json!({}))), Code::InvalidArgument);
    let narrower = json!({"attributeCondition": "assertion.repository_id == '1' && attribute.owner == '2'"});
    assert_eq!(code(patch(&mut world, "attributeCondition", &narrower)), Code::InvalidArgument);
    let mut both = narrower;
    both["attributeMapping"] =
        json!({"google.subject": "assertion.sub", "attribute.owner": "assertion.owner"});
    let answer = patch(&mut world, "attributeCondition,attributeMapping", &both);
    finish(&mut world, answer);
    let provider = get(&mut world, &format!("{PROVIDERS}/actions")).unwrap();
    assert_eq!(provider["attributeMapping"], both["attributeMapping"]);
    assert_eq!(provider["displayName"], "Actions");
}

#[test]
fn fields_of_the_issuer_change_one_by_one() {
    let mut world = with_provider();
    let answer = patch(&mut world, "oidc.allowedAudiences", &json!({"oidc": {"allowedAudiences": ["b"]}}));
    finish(&mut world, answer);
    let oidc = get(&mut world, &format!("{PROVIDERS}/actions")).unwrap()["oidc"].clone();
    assert_eq!(
        oidc,
        json!({"issuerUri": "https://token.actions.githubusercontent.com", "allowedAudiences": ["b"]})
    );
}

#[test]
fn the_type_of_a_provider_does_not_change() {
    let mut world = with_provider();
    let body = json!({"aws": {"accountId": "123456789012"}});
    assert_eq!(code(patch(&mut world, "aws,oidc", &body)), Code::InvalidArgument);
}

#[test]
fn a_deleted_provider_is_seen_keeps_its_id_and_comes_back() {
    let mut world = with_provider();
    let path = format!("{PROVIDERS}/actions");
    let answer = send(&mut world, "DELETE", &path, &Value::Null);
    finish(&mut world, answer);
    assert_eq!(get(&mut world, &path).unwrap()["state"], "DELETED");
    assert_eq!(get(&mut world, PROVIDERS).unwrap(), json!({}));
    let shown = get(&mut world, &format!("{PROVIDERS}?showDeleted=true")).unwrap();
    assert_eq!(shown["workloadIdentityPoolProviders"].as_array().unwrap().len(), 1);
    assert_eq!(code(create(&mut world, "actions", &provider())), Code::AlreadyExists);
    assert_eq!(code(patch(&mut world, "disabled", &json!({}))), Code::FailedPrecondition);
    let answer = send(&mut world, "POST", &format!("{path}:undelete"), &json!({}));
    finish(&mut world, answer);
    assert_eq!(get(&mut world, &path).unwrap()["state"], "ACTIVE");
}

#[test]
fn providers_of_a_deleted_pool_can_be_read_and_not_changed() {
    let mut world = with_provider();
    let answer = send(&mut world, "DELETE", POOL, &Value::Null);
    finish(&mut world, answer);
    assert_eq!(get(&mut world, &format!("{PROVIDERS}/actions")).unwrap()["state"], "ACTIVE");
    assert!(get(&mut world, PROVIDERS).is_ok());
    assert_eq!(code(create(&mut world, "other", &provider())), Code::FailedPrecondition);
    assert_eq!(code(patch(&mut world, "disabled", &json!({}))), Code::FailedPrecondition);
    let answer = send(&mut world, "POST", &format!("{POOL}:undelete"), &json!({}));
    finish(&mut world, answer);
    assert!(patch(&mut world, "disabled", &json!({"disabled": true})).is_ok());
}
