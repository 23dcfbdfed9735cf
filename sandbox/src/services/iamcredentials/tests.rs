//! Tokens: whom they are for, how long they are good, and who may have them.

use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::call::Caller;
use crate::error::{Answer, Code};
use crate::testing::{let_propagate, send, send_as, world_in_time};
use crate::world::World;
use crate::{Clock, ManualClock};

const ACCOUNTS: &str = "/v1/projects/agent-army-dev/serviceAccounts";
const TOKENS: &str = "/v1/projects/-/serviceAccounts";
const DEPLOY: &str = "ci-deploy@agent-army-dev.iam.gserviceaccount.com";
const PLAN: &str = "ci-plan@agent-army-dev.iam.gserviceaccount.com";
const HOP: &str = "ci-hop@agent-army-dev.iam.gserviceaccount.com";

/// A world with three accounts, and its time in seconds.
fn with_accounts() -> (World, ManualClock) {
    let (mut world, now) = world_in_time();
    for id in ["ci-deploy", "ci-plan", "ci-hop"] {
        send(&mut world, "POST", ACCOUNTS, &json!({"accountId": id})).unwrap();
    }
    let_propagate(&mut world);
    (world, now)
}

fn access(world: &mut World, account: &str, extra: Value) -> Answer {
    access_as(world, Caller::default(), account, extra)
}

fn access_as(world: &mut World, caller: Caller, account: &str, extra: Value) -> Answer {
    let mut body = json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"]});
    if let (Some(body), Value::Object(extra)) = (body.as_object_mut(), extra) {
        body.extend(extra);
    }
    send_as(world, caller, "POST", &format!("{TOKENS}/{account}:generateAccessToken"), &body)
}

fn grant(world: &mut World, on: &str, role: &str, to: &str) {
    let policy =
        json!({"policy": {"bindings": [{"role": role, "members": [format!("serviceAccount:{to}")]}]}});
    send(world, "POST", &format!("{ACCOUNTS}/{on}:setIamPolicy"), &policy).unwrap();
    let_propagate(world);
}

#[test]
fn a_token_stands_for_its_account_until_it_expires() {
    let (mut world, now) = with_accounts();
    let answer = access(&mut world, PLAN, json!({"lifetime": "600s"})).unwrap();
    let token = answer["accessToken"].as_str().unwrap();
    let expires: jiff::Timestamp = answer["expireTime"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires.as_second(), now.now().as_second() + 600);
    assert_eq!(world.account_of_token(token).unwrap().as_deref(), Some(PLAN));
    now.advance(Duration::from_mins(10));
    let refused = world.account_of_token(token).unwrap_err();
    assert_eq!(refused.code, Code::Unauthenticated);
    assert_eq!(refused.details[0]["reason"], "ACCESS_TOKEN_EXPIRED");
}

#[test]
fn a_token_lasts_an_hour_unless_said_otherwise() {
    let (mut world, now) = with_accounts();
    let answer = access(&mut world, PLAN, json!({})).unwrap();
    let expires: jiff::Timestamp = answer["expireTime"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires.as_second(), now.now().as_second() + 3600);
}

#[test]
fn no_two_tokens_are_alike() {
    let (mut world, _) = with_accounts();
    let one = access(&mut world, PLAN, json!({})).unwrap();
    assert_ne!(one["accessToken"], access(&mut world, PLAN, json!({})).unwrap()["accessToken"]);
}

#[test]
fn lifetimes_and_scopes_are_checked() {
    let (mut world, _) = with_accounts();
    for wrong in ["0s", "-1s", "3601s"] {
        let error = access(&mut world, PLAN, json!({"lifetime": wrong})).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{wrong}");
    }
    assert_eq!(access(&mut world, PLAN, json!({"scope": []})).unwrap_err().code, Code::InvalidArgument);
    assert!(access(&mut world, PLAN, json!({"scopes": ["x"]})).is_err());
}

#[test]
fn a_project_in_place_of_the_wildcard_is_refused() {
    let (mut world, _) = with_accounts();
    let body = json!({"scope": ["x"]});
    let path = format!("{ACCOUNTS}/{PLAN}:generateAccessToken");
    assert_eq!(send(&mut world, "POST", &path, &body).unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn unknown_and_disabled_accounts_get_no_token() {
    let (mut world, _) = with_accounts();
    let nobody = "nobody@agent-army-dev.iam.gserviceaccount.com";
    assert_eq!(access(&mut world, nobody, json!({})).unwrap_err().code, Code::NotFound);
    send(&mut world, "POST", &format!("{ACCOUNTS}/{PLAN}:disable"), &json!({})).unwrap();
    assert_eq!(access(&mut world, PLAN, json!({})).unwrap_err().code, Code::FailedPrecondition);
}

#[test]
fn a_token_ends_with_its_account_and_does_not_pass_to_the_next_of_its_name() {
    let (mut world, _) = with_accounts();
    let token = access(&mut world, PLAN, json!({})).unwrap()["accessToken"].as_str().unwrap().to_owned();
    send(&mut world, "POST", &format!("{ACCOUNTS}/{PLAN}:disable"), &json!({})).unwrap();
    assert_eq!(world.account_of_token(&token).unwrap_err().code, Code::Unauthenticated);
    send(&mut world, "POST", &format!("{ACCOUNTS}/{PLAN}:enable"), &json!({})).unwrap();
    assert!(world.account_of_token(&token).is_ok());
    send(&mut world, "DELETE", &format!("{ACCOUNTS}/{PLAN}"), &Value::Null).unwrap();
    send(&mut world, "POST", ACCOUNTS, &json!({"accountId": "ci-plan"})).unwrap();
    let_propagate(&mut world);
    let refused = world.account_of_token(&token).unwrap_err();
    assert_eq!(refused.details[0]["reason"], "ACCOUNT_STATE_INVALID");
}

#[test]
fn a_foreign_bearer_is_nobody_we_know_and_a_lost_token_of_ours_is_refused() {
    let (mut world, _) = with_accounts();
    assert_eq!(world.account_of_token("ya29.a0AfB").unwrap(), None);
    let token = access(&mut world, PLAN, json!({})).unwrap()["accessToken"].as_str().unwrap().to_owned();
    let (fresh, _) = with_accounts();
    assert_eq!(fresh.account_of_token(&token).unwrap_err().code, Code::Unauthenticated);
    world.reset();
    assert_eq!(world.account_of_token(&token).unwrap_err().code, Code::Unauthenticated);
}

#[test]
fn no_document_holds_a_token() {
    let (mut world, _) = with_accounts();
    let token = access(&mut world, PLAN, json!({})).unwrap()["accessToken"].as_str().unwrap().to_owned();
    let holds =
        |collection: &str| world.list(collection, "").any(|(_, doc)| doc.to_string().contains(&token));
    assert!(!world.collections().any(holds));
}

#[test]
fn an_account_needs_token_creator_on_another_one() {
    let (mut world, _) = with_accounts();
    let deploy = Caller::account(DEPLOY);
    let refused = access_as(&mut world, deploy.clone(), PLAN, json!({})).unwrap_err();
    assert_eq!(refused.details[0]["metadata"]["permission"], "iam.serviceAccounts.getAccessToken");
    grant(&mut world, PLAN, "roles/iam.serviceAccountTokenCreator", DEPLOY);
    assert!(access_as(&mut world, deploy, PLAN, json!({})).is_ok());
}

#[test]
fn each_hop_of_a_delegation_needs_its_grant() {
    let (mut world, _) = with_accounts();
    let deploy = Caller::account(DEPLOY);
    let chain = json!({"delegates": [format!("projects/-/serviceAccounts/{HOP}")]});
    let refused = access_as(&mut world, deploy.clone(), PLAN, chain.clone()).unwrap_err();
    assert_eq!(refused.details[0]["metadata"]["permission"], "iam.serviceAccounts.implicitDelegation");
    grant(&mut world, HOP, "roles/iam.serviceAccountTokenCreator", DEPLOY);
    let refused = access_as(&mut world, deploy.clone(), PLAN, chain.clone()).unwrap_err();
    assert_eq!(refused.details[0]["metadata"]["permission"], "iam.serviceAccounts.getAccessToken");
    grant(&mut world, PLAN, "roles/iam.serviceAccountTokenCreator", HOP);
    assert!(access_as(&mut world, deploy, PLAN, chain).is_ok());
    let wrong = json!({"delegates": [format!("projects/agent-army-dev/serviceAccounts/{HOP}")]});
    assert_eq!(access(&mut world, PLAN, wrong).unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn an_id_token_says_whom_it_is_for_and_needs_its_own_permission() {
    let (mut world, now) = with_accounts();
    let path = format!("{TOKENS}/{DEPLOY}:generateIdToken");
    let body = json!({"audience": "https://api.example", "includeEmail": true});
    let caller = Caller::account(DEPLOY);
    assert!(send_as(&mut world, caller.clone(), "POST", &path, &body).is_err());
    grant(&mut world, DEPLOY, "roles/iam.serviceAccountOpenIdTokenCreator", DEPLOY);
    let answer = send_as(&mut world, caller, "POST", &path, &body).unwrap();
    let claims = answer["token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["aud"], &claims["email"]), (&json!("https://api.example"), &json!(DEPLOY)));
    assert_eq!(claims["exp"], now.now().as_second() + 3600);
    assert_eq!(send(&mut world, "POST", &path, &json!({})).unwrap_err().code, Code::InvalidArgument);
}
