//! When a revision is made, what it is called, when it can go.

use super::*;

#[test]
fn a_revision_is_named_after_service_and_generation() {
    let mut run = Run::with_api();
    let name = run.revisions().remove(0);
    let letters = name.strip_prefix("api-00001-").unwrap();
    assert!(letters.len() == 3 && letters.bytes().all(|byte| byte.is_ascii_lowercase()), "{name}");
    let mut body = service();
    body["template"]["timeout"] = json!("60s");
    run.patch("", &body).unwrap();
    assert!(run.revisions()[0].starts_with("api-00002-"));
}

#[test]
fn a_revision_holds_the_template_with_its_defaults() {
    let mut run = Run::with_api();
    let revision = run.read("services/api/revisions")["revisions"][0].clone();
    assert_eq!((&revision["timeout"], &revision["service"]), (&json!("300s"), &json!("api")));
    assert_eq!(revision["containers"][0]["resources"]["limits"]["memory"], "512Mi");
    assert_eq!(condition(&revision, "Ready")["state"], "CONDITION_SUCCEEDED");
    assert!(revision["logUri"].as_str().unwrap().starts_with("https://console.cloud.google.com/"));
    assert_eq!(revision.get("_order"), None);
}

#[test]
fn a_wanted_name_is_used_and_stays_in_the_template() {
    let mut run = Run::with_api();
    let service = run.patch("", &named("api-v2", "2")).unwrap();
    assert_eq!(short(&service["latestCreatedRevision"]), "api-v2");
    assert_eq!(service["template"]["revision"], "api-v2");
}

#[test]
fn a_name_cannot_be_used_for_another_configuration() {
    let mut run = Run::with_api();
    run.patch("", &named("api-v2", "2")).unwrap();
    let before = run.api();
    let status = run.patch("", &named("api-v2", "3")).unwrap_err();
    assert_eq!(status.code, Code::AlreadyExists);
    assert_eq!(run.api(), before);
}

#[test]
fn a_name_with_the_same_configuration_is_used_again() {
    let mut run = Run::with_api();
    run.patch("", &named("api-v2", "2")).unwrap();
    run.patch("", &named("api-v3", "3")).unwrap();
    let service = run.patch("", &named("api-v2", "2")).unwrap();
    assert_eq!(short(&service["latestReadyRevision"]), "api-v2");
    assert_eq!(run.revisions().len(), 3);
}

#[test]
fn a_revision_can_be_forced() {
    let mut run = Run::with_api();
    run.patch("?forceNewRevision=true", &service()).unwrap();
    assert_eq!(run.revisions().len(), 2);
}

#[test]
fn a_revision_in_use_cannot_be_deleted() {
    let mut run = Run::with_api();
    let first = run.revisions().remove(0);
    let path = format!("services/api/revisions/{first}");
    assert_eq!(run.call("DELETE", &path, &Value::Null).unwrap_err().code, Code::FailedPrecondition);
    run.patch("", &named("api-v2", "2")).unwrap();
    let operation = run.call("DELETE", &path, &Value::Null).unwrap();
    let gone = run.wait(&operation).unwrap();
    assert_eq!(gone["@type"], "type.googleapis.com/google.cloud.run.v2.Revision");
    assert_eq!(run.revisions(), ["api-v2"]);
}

#[test]
fn a_revision_without_traffic_is_retired_and_ready() {
    let mut run = Run::with_api();
    let first = run.revisions().remove(0);
    run.patch("", &named("api-v2", "2")).unwrap();
    let revision = run.read(&format!("services/api/revisions/{first}"));
    assert_eq!(condition(&revision, "Active")["revisionReason"], "RETIRED");
    assert_eq!(condition(&revision, "Ready")["state"], "CONDITION_SUCCEEDED");
    let serving = run.read("services/api/revisions/api-v2");
    assert_eq!(condition(&serving, "Active")["state"], "CONDITION_SUCCEEDED");
}

#[test]
fn the_oldest_unused_revisions_vanish_beyond_the_limit() {
    let mut run = Run::with_api();
    let first = run.revisions().remove(0);
    for revision in ["api-a", "api-b", "api-c"] {
        let mut body = named(revision, revision);
        body["traffic"] =
            json!([{"type": 1, "percent": 100}, {"type": 2, "revision": first, "tag": "first"}]);
        run.patch("", &body).unwrap();
    }
    let service = run.api();
    super::super::revision::forget_surplus(&mut run.world, &service, 3);
    assert_eq!(run.revisions(), ["api-c", "api-b", first.as_str()]);
    super::super::revision::forget_surplus(&mut run.world, &service, 1);
    assert_eq!(run.revisions(), ["api-c", first.as_str()]);
}
