//! The rules of Secret Manager, request by request.

use serde_json::{Value, json};

use crate::error::Code;
use crate::testing::{get, send, world};
use crate::world::World;

const SECRETS: &str = "/v1/projects/agent-army-dev/secrets";

fn with_secret() -> World {
    let mut world = world();
    let body = json!({"replication": {"automatic": {}}, "labels": {"team": "api"}});
    send(&mut world, "POST", &format!("{SECRETS}?secretId=db"), &body).unwrap();
    world
}

fn add(world: &mut World, data: &str) -> Value {
    send(world, "POST", &format!("{SECRETS}/db:addVersion"), &json!({"payload": {"data": data}})).unwrap()
}

#[test]
fn answers_name_the_project_by_number() {
    let mut world = with_secret();
    let number = world.project_number("agent-army-dev");
    let secret = get(&mut world, &format!("{SECRETS}/db")).unwrap();
    assert_eq!(secret["name"], format!("projects/{number}/secrets/db"));
    assert!(get(&mut world, &format!("/v1/projects/{number}/secrets/db")).is_ok());
}

#[test]
fn replication_is_required_and_immutable() {
    let mut world = with_secret();
    let error = send(&mut world, "POST", &format!("{SECRETS}?secretId=x"), &json!({})).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    let body = json!({"replication": {"automatic": {}}});
    let error =
        send(&mut world, "PATCH", &format!("{SECRETS}/db?updateMask=replication"), &body).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
}

#[test]
fn a_second_create_already_exists() {
    let mut world = with_secret();
    let body = json!({"replication": {"automatic": {}}});
    let error = send(&mut world, "POST", &format!("{SECRETS}?secretId=db"), &body).unwrap_err();
    assert_eq!(error.code, Code::AlreadyExists);
}

#[test]
fn a_masked_field_that_is_not_sent_is_cleared() {
    let mut world = with_secret();
    let secret = send(&mut world, "PATCH", &format!("{SECRETS}/db?updateMask=labels"), &json!({})).unwrap();
    assert!(secret.get("labels").is_none());
}

#[test]
fn a_stale_etag_is_a_failed_precondition() {
    let mut world = with_secret();
    let old = get(&mut world, &format!("{SECRETS}/db")).unwrap();
    let patch = format!("{SECRETS}/db?updateMask=labels");
    send(&mut world, "PATCH", &patch, &json!({"labels": {"a": "b"}, "etag": old["etag"]})).unwrap();
    let error = send(&mut world, "PATCH", &patch, &json!({"labels": {}, "etag": old["etag"]})).unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
}

#[test]
fn versions_are_listed_newest_first_and_numbers_are_not_reused() {
    let mut world = with_secret();
    for data in ["YQ==", "Yg==", "Yw=="] {
        add(&mut world, data);
    }
    send(&mut world, "POST", &format!("{SECRETS}/db/versions/3:destroy"), &json!({})).unwrap();
    let next = add(&mut world, "ZA==");
    assert!(next["name"].as_str().unwrap().ends_with("/versions/4"));
    let list = get(&mut world, &format!("{SECRETS}/db/versions?filter=state:ENABLED")).unwrap();
    let names: Vec<_> = list["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["4", "2", "1"]);
    assert_eq!(list["totalSize"], 3);
}

#[test]
fn access_answers_data_and_checksum() {
    let mut world = with_secret();
    add(&mut world, "aGVsbG8=");
    let answer = get(&mut world, &format!("{SECRETS}/db/versions/latest:access")).unwrap();
    assert_eq!(answer["payload"]["data"], "aGVsbG8=");
    assert_eq!(answer["payload"]["dataCrc32c"], crc32c::crc32c(b"hello").to_string());
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut world = with_secret();
    let body = json!({"payload": {"data": "aGVsbG8=", "dataCrc32c": "1"}});
    let error = send(&mut world, "POST", &format!("{SECRETS}/db:addVersion"), &body).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    let body = json!({"payload": {"data": "aGVsbG8=", "dataCrc32c": crc32c::crc32c(b"hello")}});
    let version = send(&mut world, "POST", &format!("{SECRETS}/db:addVersion"), &body).unwrap();
    assert_eq!(version["clientSpecifiedPayloadChecksum"], true);
}

#[test]
fn a_disabled_or_destroyed_version_is_not_readable() {
    let mut world = with_secret();
    add(&mut world, "YQ==");
    let version = format!("{SECRETS}/db/versions/1");
    for verb in ["disable", "destroy"] {
        send(&mut world, "POST", &format!("{version}:{verb}"), &json!({})).unwrap();
        let error = get(&mut world, &format!("{version}:access")).unwrap_err();
        assert_eq!(error.code, Code::FailedPrecondition, "{verb}");
    }
    let error = send(&mut world, "POST", &format!("{version}:enable"), &json!({})).unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
}

#[test]
fn destroying_is_delayed_where_the_secret_says_so() {
    let mut world = with_secret();
    add(&mut world, "YQ==");
    let body = json!({"versionDestroyTtl": "86400s"});
    send(&mut world, "PATCH", &format!("{SECRETS}/db?updateMask=versionDestroyTtl"), &body).unwrap();
    let version = send(&mut world, "POST", &format!("{SECRETS}/db/versions/1:destroy"), &json!({})).unwrap();
    assert_eq!(version["state"], "DISABLED");
    assert!(version["scheduledDestroyTime"].is_string());
}

#[test]
fn an_alias_finds_its_version() {
    let mut world = with_secret();
    add(&mut world, "YQ==");
    add(&mut world, "Yg==");
    let patch = format!("{SECRETS}/db?updateMask=versionAliases");
    let error = send(&mut world, "PATCH", &patch, &json!({"versionAliases": {"good": "9"}})).unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    send(&mut world, "PATCH", &patch, &json!({"versionAliases": {"good": 1}})).unwrap();
    let answer = get(&mut world, &format!("{SECRETS}/db/versions/good:access")).unwrap();
    assert_eq!(answer["payload"]["data"], "YQ==");
}

#[test]
fn secrets_are_filtered_by_label_and_name() {
    let mut world = with_secret();
    let body = json!({"replication": {"automatic": {}}});
    send(&mut world, "POST", &format!("{SECRETS}?secretId=other"), &body).unwrap();
    let count = |world: &mut World, filter: &str| {
        get(world, &format!("{SECRETS}?filter={filter}")).unwrap()["secrets"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(count(&mut world, "labels.team=api"), 1);
    assert_eq!(count(&mut world, "name:other%20AND%20labels.team=api"), 0);
    assert_eq!(count(&mut world, "name:oth"), 1);
    assert!(get(&mut world, &format!("{SECRETS}?filter=nonsense")).is_err());
}

#[test]
fn pages_follow_each_other_and_the_last_has_no_token() {
    let mut world = with_secret();
    let body = json!({"replication": {"automatic": {}}});
    send(&mut world, "POST", &format!("{SECRETS}?secretId=other"), &body).unwrap();
    let first = get(&mut world, &format!("{SECRETS}?pageSize=1")).unwrap();
    assert!(first["secrets"][0]["name"].as_str().unwrap().ends_with("/other"), "newest first");
    let token = first["nextPageToken"].as_str().unwrap();
    let second = get(&mut world, &format!("{SECRETS}?pageSize=1&pageToken={token}")).unwrap();
    assert!(second.get("nextPageToken").is_none());
    assert!(get(&mut world, &format!("{SECRETS}/db/versions?pageToken={token}")).is_err());
    let all = get(&mut world, &format!("{SECRETS}?pageSize=0&pageToken=")).unwrap();
    assert_eq!(all["secrets"].as_array().unwrap().len(), 2);
}

#[test]
fn deleting_takes_versions_and_policy_along() {
    let mut world = with_secret();
    add(&mut world, "YQ==");
    let policy =
        json!({"policy": {"bindings": [{"role": "roles/viewer", "members": ["user:a@example.com"]}]}});
    send(&mut world, "POST", &format!("{SECRETS}/db:setIamPolicy"), &policy).unwrap();
    send(&mut world, "DELETE", &format!("{SECRETS}/db"), &Value::Null).unwrap();
    assert_eq!(get(&mut world, &format!("{SECRETS}/db")).unwrap_err().code, Code::NotFound);
    assert!(world.list("secretmanager.payloads", "").next().is_none());
    assert!(world.policy("projects/agent-army-dev/secrets/db").bindings.is_empty());
}

#[test]
fn regional_secrets_are_not_served() {
    let mut world = world();
    let error = get(&mut world, "/v1/projects/agent-army-dev/locations/europe-west1/secrets").unwrap_err();
    assert_eq!(error.code, Code::Unimplemented);
}
