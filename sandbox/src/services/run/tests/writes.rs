//! create, patch and delete of services.

use super::*;

fn code(answer: Result<Value, Status>) -> Code {
    answer.unwrap_err().code
}

#[test]
fn a_created_service_reads_back_complete() {
    let mut run = Run::new();
    let service = run.create("api", &service()).unwrap();
    let number = run.world.project_number(PROJECT);
    assert_eq!(service["@type"], "type.googleapis.com/google.cloud.run.v2.Service");
    assert_eq!(service["name"], format!("projects/{PROJECT}/locations/europe-west1/services/api"));
    assert_eq!(service["uri"], format!("https://api-{number}.europe-west1.run.app"));
    assert_eq!((&service["generation"], &service["observedGeneration"]), (&json!("1"), &json!("1")));
    assert_eq!(service["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    assert_eq!(service["template"]["maxInstanceRequestConcurrency"], 80);
    assert_eq!(service.get("reconciling"), None);
    assert_eq!(service["urls"].as_array().unwrap().len(), 2);
}

#[test]
fn an_operation_carries_the_service_and_is_not_done_at_once() {
    let mut run = Run::new();
    let operation = run.call("POST", "services?serviceId=api", &service()).unwrap();
    assert_eq!(operation.get("done"), None);
    assert_eq!(operation["metadata"]["@type"], "type.googleapis.com/google.cloud.run.v2.Service");
    assert!(
        operation["name"]
            .as_str()
            .unwrap()
            .starts_with("projects/agent-army-dev/locations/europe-west1/operations/")
    );
}

#[test]
fn a_second_create_is_refused() {
    assert_eq!(code(Run::with_api().create("api", &service())), Code::AlreadyExists);
}

#[test]
fn ids_and_places_are_checked() {
    let mut run = Run::new();
    assert_eq!(code(run.create("Api", &service())), Code::InvalidArgument);
    assert_eq!(code(run.create("", &service())), Code::InvalidArgument);
    let elsewhere = |run: &mut Run, location: &str, verb: &str| {
        let path =
            format!("run.googleapis.com/v2/projects/{PROJECT}/locations/{location}/services?serviceId=a");
        let path = if verb == "GET" { path.replace("?serviceId=a", "") } else { path };
        testing::send(&mut run.world, verb, &path, &if verb == "GET" { Value::Null } else { service() })
    };
    assert_eq!(code(elsewhere(&mut run, "moon-west1", "POST")), Code::NotFound);
    assert_eq!(code(elsewhere(&mut run, "-", "GET")), Code::InvalidArgument);
}

#[test]
fn a_name_in_the_body_of_create_is_refused() {
    let mut body = service();
    body["name"] = json!("projects/agent-army-dev/locations/europe-west1/services/api");
    assert_eq!(code(Run::new().create("api", &body)), Code::InvalidArgument);
}

#[test]
fn validate_only_fills_in_defaults_and_stores_nothing() {
    let mut run = Run::new();
    let operation = run.call("POST", "services?serviceId=api&validateOnly=true", &service()).unwrap();
    assert_eq!(operation["done"], true);
    assert_eq!(operation["response"]["ingress"], "INGRESS_TRAFFIC_ALL");
    assert_eq!(code(run.call("GET", "services/api", &Value::Null)), Code::NotFound);
    assert_eq!(
        code(run.call("POST", "services?serviceId=api&validateOnly=true", &json!({}))),
        Code::InvalidArgument
    );
}

#[test]
fn validate_only_of_a_patch_and_a_delete_change_nothing() {
    let mut run = Run::with_api();
    let before = run.api();
    let patched = run.patch("?validateOnly=true", &named("api-v2", "2")).unwrap();
    assert_eq!(patched["template"]["revision"], "api-v2");
    let operation = run.call("DELETE", "services/api?validateOnly=true", &Value::Null).unwrap();
    run.wait(&operation).unwrap();
    assert_eq!(run.api(), before);
    assert_eq!(run.revisions().len(), 1);
}

#[test]
fn a_stale_etag_is_refused() {
    let mut run = Run::with_api();
    let mut body = service();
    body["etag"] = json!("\"stale\"");
    assert_eq!(code(run.patch("", &body)), Code::Aborted);
    assert_eq!(code(run.call("DELETE", "services/api?etag=stale", &Value::Null)), Code::Aborted);
    body["etag"] = run.api()["etag"].clone();
    run.patch("", &body).unwrap();
    assert_eq!(code(run.patch("", &body)), Code::Aborted);
}

#[test]
fn an_empty_etag_is_none() {
    let mut run = Run::with_api();
    let operation = run.call("DELETE", "services/api?etag=&validateOnly=false", &Value::Null).unwrap();
    run.wait(&operation).unwrap();
}

#[test]
fn reading_and_writing_back_changes_nothing() {
    let mut run = Run::with_api();
    let mut body = named("api-v1", "1");
    body["template"]["containers"][0]["env"] =
        (0..9).map(|n| json!({"name": format!("V{n}"), "value": "x"})).collect();
    run.patch("", &body).unwrap();
    let before = run.api();
    let after = run.patch("", &before).unwrap();
    assert_eq!(after["generation"], before["generation"]);
    assert_eq!(after["latestCreatedRevision"], before["latestCreatedRevision"]);
    assert_eq!(after["template"], before["template"]);
}

#[test]
fn what_the_server_sets_cannot_be_set() {
    let mut run = Run::with_api();
    let mut body = run.api();
    let uid = body["uid"].clone();
    body["uid"] = json!("forged");
    body["uri"] = json!("https://forged");
    let after = run.patch("", &body).unwrap();
    assert_eq!(after["uid"], uid);
    assert_ne!(after["uri"], "https://forged");
}

#[test]
fn without_a_mask_what_is_not_sent_falls_back_to_its_default() {
    let mut run = Run::with_api();
    let mut body = service();
    body["description"] = json!("text");
    body["ingress"] = json!("INGRESS_TRAFFIC_INTERNAL_ONLY");
    run.patch("", &body).unwrap();
    let after = run.patch("", &service()).unwrap();
    assert_eq!((after.get("description"), &after["ingress"]), (None, &json!("INGRESS_TRAFFIC_ALL")));
}

#[test]
fn a_mask_leaves_the_rest_alone() {
    let mut run = Run::with_api();
    run.patch("?updateMask=description,labels", &json!({"description": "text", "labels": {"a": "b"}}))
        .unwrap();
    let after = run.patch("?updateMask=labels", &json!({"labels": {}})).unwrap();
    assert_eq!((after.get("labels"), &after["description"]), (None, &json!("text")));
    assert_eq!(code(run.patch("?updateMask=memory", &json!({}))), Code::InvalidArgument);
}

#[test]
fn another_name_in_the_body_of_patch_is_refused() {
    let mut run = Run::with_api();
    let mut body = service();
    body["name"] = json!("projects/agent-army-dev/locations/europe-west1/services/other");
    assert_eq!(code(run.patch("", &body)), Code::InvalidArgument);
    let number = run.world.project_number(PROJECT);
    body["name"] = json!(format!("projects/{number}/locations/europe-west1/services/api"));
    run.patch("", &body).unwrap();
}

#[test]
fn patch_creates_only_when_allowed_to() {
    let mut run = Run::new();
    assert_eq!(code(run.patch("", &service())), Code::NotFound);
    run.patch("?allowMissing=true", &service()).unwrap();
    assert_eq!(run.api()["generation"], "1");
}

#[test]
fn enums_are_taken_as_numbers() {
    let mut body = service();
    body["ingress"] = json!(2);
    let service = Run::new().create("api", &body).unwrap();
    assert_eq!(service["ingress"], "INGRESS_TRAFFIC_INTERNAL_ONLY");
}

#[test]
fn a_deleted_service_takes_its_revisions_and_policy_along() {
    let mut run = Run::with_api();
    let grant = json!({"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}});
    run.call("POST", "services/api:setIamPolicy", &grant).unwrap();
    let operation = run.call("DELETE", "services/api", &Value::Null).unwrap();
    let leaving = run.api();
    assert!(leaving["deleteTime"].is_string() && leaving["reconciling"] == true);
    assert_eq!(code(run.patch("", &service())), Code::FailedPrecondition);
    let answer = run.wait(&operation).unwrap();
    assert_eq!(answer["name"], leaving["name"]);
    assert_eq!(code(run.call("GET", "services/api", &Value::Null)), Code::NotFound);
    assert!(run.revisions().is_empty());
    run.create("api", &service()).unwrap();
    assert_eq!(run.read("services/api:getIamPolicy").get("bindings"), None);
}

#[test]
fn changes_of_the_service_alone_make_no_revision() {
    let mut run = Run::with_api();
    let mut body = run.api();
    body["labels"] = json!({"team": "core"});
    body["scaling"] = json!({"minInstanceCount": 1});
    body["client"] = json!("deployer");
    let after = run.patch("", &body).unwrap();
    assert_eq!((&after["generation"], &after["observedGeneration"]), (&json!("2"), &json!("2")));
    assert_eq!(run.revisions().len(), 1);
}
