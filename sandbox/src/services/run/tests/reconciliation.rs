//! What serves while, after and in spite of a change.

use super::*;

fn with_secret(version: &str) -> Value {
    let mut service = named("api-s", "1");
    let reference = json!({"secret": "key", "version": version});
    service["template"]["containers"][0]["env"] =
        json!([{"name": "KEY", "valueSource": {"secretKeyRef": reference}}]);
    service
}

/// The first deployment of `service` and why it failed.
fn failure(run: &mut Run, service: &Value) -> Status {
    run.create("api", service).unwrap_err()
}

#[test]
fn while_reconciling_the_old_revision_serves() {
    let mut run = Run::with_api();
    let old = run.api();
    run.call("PATCH", "services/api", &named("api-v2", "2")).unwrap();
    let between = run.api();
    assert_eq!(between["reconciling"], true);
    assert_eq!(between["terminalCondition"]["state"], "CONDITION_RECONCILING");
    assert_eq!(short(&between["latestCreatedRevision"]), "api-v2");
    for kept in ["latestReadyRevision", "trafficStatuses", "observedGeneration", "uri"] {
        assert_eq!(between[kept], old[kept], "{kept}");
    }
}

#[test]
fn an_operation_that_nobody_polls_ends_too() {
    let mut run = Run::new();
    run.call("POST", "services?serviceId=api", &service()).unwrap();
    for _ in 0..21 {
        run.api();
    }
    assert_eq!(run.api()["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
}

#[test]
fn a_pinned_revision_keeps_the_traffic() {
    let mut run = Run::with_api();
    let first = run.revisions().remove(0);
    let mut body = named("api-v2", "2");
    body["traffic"] = json!([{"type": 2, "revision": first, "percent": 100},
                             {"type": 2, "revision": "api-v2", "tag": "next"}]);
    let service = run.patch("", &body).unwrap();
    assert_eq!(short(&service["latestReadyRevision"]), "api-v2");
    let statuses = service["trafficStatuses"].as_array().unwrap();
    assert_eq!((&statuses[0]["revision"], &statuses[0]["percent"]), (&json!(first), &json!(100)));
    assert_eq!((&statuses[1]["revision"], statuses[1].get("percent")), (&json!("api-v2"), None));
    let host = service["uri"].as_str().unwrap().trim_start_matches("https://").to_owned();
    assert_eq!(statuses[1]["uri"], format!("https://next---{host}"));
}

#[test]
fn a_missing_secret_fails_the_first_deployment_with_nothing_serving() {
    let mut run = Run::new();
    let status = failure(&mut run, &with_secret("1"));
    assert!(
        status.message.contains("Secret projects/")
            && status.message.contains("secrets/key/versions/1 was not found"),
        "{status}"
    );
    let service = run.api();
    assert_eq!(service["terminalCondition"]["reason"], "SECRETS_ACCESS_CHECK_FAILED");
    assert_eq!(short(&service["latestCreatedRevision"]), "api-s");
    for absent in ["latestReadyRevision", "trafficStatuses", "observedGeneration", "uri", "reconciling"] {
        assert_eq!(service.get(absent), None, "{absent}");
    }
    let revision = run.read("services/api/revisions/api-s");
    assert_eq!(condition(&revision, "Ready")["reason"], "SECRETS_ACCESS_CHECK_FAILED");
}

#[test]
fn a_failed_change_leaves_the_last_revision_serving() {
    let mut run = Run::with_api();
    let before = run.api();
    run.patch("", &with_secret("1")).unwrap_err();
    let after = run.api();
    for kept in ["latestReadyRevision", "trafficStatuses", "observedGeneration", "uri"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    assert_eq!(after["terminalCondition"]["state"], "CONDITION_FAILED");
}

#[test]
fn a_failed_revision_is_never_tried_again() {
    let mut run = Run::new();
    failure(&mut run, &with_secret("1"));
    run.add_secret(true);
    run.patch("", &with_secret("1")).unwrap_err();
    let mut renamed = with_secret("1");
    renamed["template"]["revision"] = json!("api-s2");
    run.patch("", &renamed).unwrap();
}

#[test]
fn an_account_without_the_accessor_role_fails_the_revision() {
    let mut run = Run::new();
    run.add_secret(false);
    let status = failure(&mut run, &with_secret("1"));
    assert_eq!(status.code, Code::PermissionDenied);
    let number = run.world.project_number(PROJECT);
    let expected = format!("Permission denied on secret: projects/{number}/secrets/key/versions/1");
    assert!(status.message.contains(&expected) && status.message.contains(&run.account()), "{status}");
}

#[test]
fn versions_are_found_by_number_alias_and_latest() {
    for (version, works) in [("1", true), ("latest", true), ("good", true), ("2", false), ("bad", false)] {
        let mut run = Run::new();
        run.add_secret(true);
        run.secrets(
            "PATCH",
            "secrets/key?updateMask=versionAliases",
            &json!({"versionAliases": {"good": "1"}}),
        );
        assert_eq!(run.create("api", &with_secret(version)).is_ok(), works, "{version}");
    }
}

#[test]
fn latest_is_the_newest_version_even_when_disabled() {
    let mut run = Run::new();
    run.add_secret(true);
    run.secrets("POST", "secrets/key:addVersion", &json!({"payload": {"data": "eQ=="}}));
    run.secrets("POST", "secrets/key/versions/2:disable", &json!({}));
    assert!(failure(&mut run, &with_secret("latest")).message.contains("is disabled or destroyed"));
    let mut pinned = with_secret("1");
    pinned["template"]["revision"] = json!("api-pinned");
    run.patch("", &pinned).unwrap();
}

#[test]
fn secrets_of_volumes_are_checked_too() {
    let mut run = Run::new();
    let mut body = named("api-v", "1");
    body["template"]["volumes"] = json!([{"name": "v", "secret": {"secret": "key"}}]);
    let status = failure(&mut run, &body);
    assert!(status.message.contains("secrets/key/versions/latest was not found"), "{status}");
}

#[test]
fn an_unknown_service_account_fails_the_revision() {
    let mut body = named("api-v", "1");
    body["template"]["serviceAccount"] = json!("nobody@agent-army-dev.iam.gserviceaccount.com");
    let status = failure(&mut Run::new(), &body);
    assert!(status.message.contains("nobody@agent-army-dev.iam.gserviceaccount.com"), "{status}");
}

#[test]
fn an_image_in_the_projects_own_registry_does_not_exist() {
    let mut body = named("api-v", "1");
    let image = "europe-west1-docker.pkg.dev/agent-army-dev/repo/api:v1";
    body["template"]["containers"][0]["image"] = json!(image);
    let mut run = Run::new();
    let status = failure(&mut run, &body);
    assert_eq!(status.code, Code::NotFound);
    assert!(status.message.contains(&format!("Image '{image}' not found.")), "{status}");
    assert_eq!(run.api()["terminalCondition"]["reason"], "CONTAINER_MISSING");
}

#[test]
fn traffic_can_move_while_the_newest_revision_is_broken() {
    let mut run = Run::with_api();
    let first = run.revisions().remove(0);
    run.patch("", &named("api-v2", "2")).unwrap();
    run.patch("", &with_secret("1")).unwrap_err();
    let back = json!({"traffic": [{"type": 2, "revision": first, "percent": 100}]});
    run.patch("?updateMask=traffic", &back).unwrap_err();
    assert_eq!(run.api()["trafficStatuses"][0]["revision"], first);
    run.patch("", &named("api-v2", "2")).unwrap();
}

#[test]
fn traffic_to_a_revision_that_fails_stays_where_it_is() {
    let mut run = Run::with_api();
    let before = run.api();
    let mut body = with_secret("1");
    body["traffic"] = json!([{"type": 2, "revision": "api-s", "percent": 100}]);
    run.patch("", &body).unwrap_err();
    let after = run.api();
    assert_eq!(after["trafficStatuses"], before["trafficStatuses"]);
    assert_eq!(after["traffic"][0]["revision"], "api-s");
}

#[test]
fn the_first_of_two_quick_changes_is_settled_too() {
    let mut run = Run::with_api();
    let first = run.call("PATCH", "services/api", &named("api-v2", "2")).unwrap();
    let second = run.call("PATCH", "services/api", &named("api-v3", "3")).unwrap();
    run.wait(&second).unwrap();
    run.wait(&first).unwrap();
    assert_eq!(short(&run.api()["latestReadyRevision"]), "api-v3");
    let middle = run.read("services/api/revisions/api-v2");
    assert_eq!(condition(&middle, "Ready")["state"], "CONDITION_SUCCEEDED");
}

#[test]
fn an_injected_failure_fails_the_revision_for_good() {
    let mut run = Run::with_api();
    run.call("PATCH", "services/api", &named("api-v2", "2")).unwrap();
    let name = run.api()["name"].as_str().unwrap().to_owned();
    let effect = super::super::RunEffect::Reconcile { service: name, generation: 2 };
    super::super::abandon(&mut run.world, &effect, &Status::internal("The control plane is down."));
    let service = run.api();
    assert_eq!(service["terminalCondition"]["reason"], "INTERNAL");
    let revision = run.read("services/api/revisions/api-v2");
    assert_eq!(condition(&revision, "Ready")["message"], "The control plane is down.");
}
