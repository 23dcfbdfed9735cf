//! This layer against the sandbox: what the canned answers of the unit tests take for granted is asked here of a
//! server that was written by others.

use std::sync::Arc;

use gcp_sandbox::{Apis, ProjectSeed, Sandbox};
use serde_json::{Value, json};

use super::sleeper::testing::RecordingSleeper;
use super::{ErrorKind, Gcp, GcpError, Options, Payload, PolicyOf, Service, Triple};

const PROJECT: &str = "agents-dev";
const NUMBER: u64 = 424_242_424_242;
const REGION: &str = "europe-west1";
const EMAIL: &str = "api-runtime@agents-dev.iam.gserviceaccount.com";
const SECRET: &str = "projects/agents-dev/secrets/jwt";
const SERVICE: &str = "projects/agents-dev/locations/europe-west1/services/api";
const ACCESSOR: &str = "roles/secretmanager.secretAccessor";

/// A fresh sandbox with one project, and a client of it whose pauses take no time.
async fn fresh(apis: Apis) -> (Sandbox, Gcp) {
    let project = ProjectSeed { id: PROJECT.to_owned(), number: Some(NUMBER) };
    let options = gcp_sandbox::Options { projects: vec![project], apis, ..gcp_sandbox::Options::default() };
    let sandbox = gcp_sandbox::start(options).await.unwrap();
    let options = Options {
        endpoint: Some(sandbox.url()),
        anonymous: true,
        sleeper: Arc::new(RecordingSleeper::default()),
        ..Options::default()
    };
    (sandbox, Gcp::connect(options).await.unwrap())
}

/// Asks the sandbox's control endpoint.
async fn control(sandbox: &Sandbox, path: &str, body: Option<Value>) -> Value {
    let url = format!("{}/__sandbox/{path}", sandbox.url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = match body {
        Some(body) => client.post(url).json(&body),
        None => client.get(url),
    };
    request.send().await.unwrap().json().await.unwrap()
}

/// Sets a fault; answers its id.
async fn strike(sandbox: &Sandbox, fault: Value) -> String {
    control(sandbox, "faults", Some(fault)).await["id"].as_str().unwrap().to_owned()
}

fn account() -> String {
    format!("serviceAccount:{EMAIL}")
}

fn service_document() -> Value {
    json!({
        "labels": {"managed-by": "deployer"},
        "ingress": "INGRESS_TRAFFIC_ALL",
        "template": {
            "revision": "api-0a1b2c3d",
            "serviceAccount": EMAIL,
            "containers": [{
                "image": "us-docker.pkg.dev/cloudrun/container/hello",
                "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "cpuIdle": true},
                "env": [{"name": "JWT", "valueSource": {"secretKeyRef": {"secret": "jwt", "version": "1"}}}]
            }]
        },
        "traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": "api-0a1b2c3d", "percent": 100}]
    })
}

/// Everything that a first apply does at this layer, each step as the kinds do it.
async fn first_apply(gcp: &Gcp) -> Result<Value, GcpError> {
    gcp.create_account(PROJECT, "api-runtime", "Api", "runs api [deployer agents/dev]").await?;
    gcp.create_secret(PROJECT, "jwt", json!({"replication": {"automatic": {}}, "labels": {"a": "b"}}))
        .await?;
    let version = gcp.add_version(SECRET, Payload::new(b"hunter2".to_vec()), 1).await?;
    assert_eq!(version, 1);
    let grant = [Triple::new(ACCESSOR, account())];
    gcp.edit_policy(&PolicyOf::Secret(SECRET.into()), &grant, &[]).await?;
    // Grants take some calls to be effective.
    for _ in 0..6 {
        gcp.policy(&PolicyOf::Secret(SECRET.into())).await?;
    }
    gcp.create_object::<Service>(PROJECT, REGION, "api", service_document()).await?;
    let public = [Triple::new("roles/run.invoker", "allUsers")];
    gcp.edit_policy(&PolicyOf::RunService(SERVICE.into()), &public, &[]).await?;
    let mut live = gcp.object::<Service>(SERVICE).await?.unwrap_or_default();
    live["labels"]["step"] = json!("two");
    gcp.patch_object::<Service>(SERVICE, live, &["labels"]).await
}

#[tokio::test]
async fn a_first_apply_leaves_what_it_said() {
    let (sandbox, gcp) = fresh(Apis::All).await;
    let service = first_apply(&gcp).await.unwrap();
    assert_eq!(service["labels"], json!({"managed-by": "deployer", "step": "two"}));
    assert_eq!(service["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    assert_eq!(service["ingress"], "INGRESS_TRAFFIC_ALL");

    assert_eq!(gcp.project(PROJECT).await.unwrap().number, NUMBER);
    let accounts = gcp.list_accounts(PROJECT).await.unwrap();
    let ours = accounts.iter().find(|account| account.email == EMAIL).unwrap();
    assert_eq!((ours.account_id.as_str(), ours.display_name.as_str()), ("api-runtime", "Api"));
    let secrets = gcp.list_secrets(PROJECT).await.unwrap();
    assert_eq!(secrets[0]["labels"], json!({"a": "b"}));
    assert_eq!(gcp.list_versions(SECRET).await.unwrap().unwrap()[0].state, "ENABLED");
    let policy = gcp.policy(&PolicyOf::RunService(SERVICE.into())).await.unwrap().unwrap();
    assert_eq!(policy.bindings[0].members, ["allUsers"]);
    let listed = gcp.list_objects::<Service>(PROJECT, REGION).await.unwrap();
    assert_eq!(listed, [gcp.object::<Service>(SERVICE).await.unwrap().unwrap()]);
    let revision = gcp.revision(&format!("{SERVICE}/revisions/api-0a1b2c3d")).await.unwrap().unwrap();
    assert_eq!(revision["serviceAccount"], EMAIL);
    sandbox.stop().await;
}

/// A first apply with one fault, struck at its `nth` write; answers whether there was such a write.
async fn apply_with(fault: &Value, when: &str, nth: u64) -> bool {
    let (sandbox, gcp) = fresh(Apis::All).await;
    let spec = json!({"match": {"writes": true}, "nth": nth, "when": when, "do": fault});
    let id = strike(&sandbox, spec).await;
    let scene = format!("{fault} {when} write {nth}");
    let service = first_apply(&gcp).await.unwrap_or_else(|error| panic!("{scene}: {error:?}"));
    assert_eq!(service["labels"]["step"], "two", "{scene}");
    assert_eq!(gcp.list_versions(SECRET).await.unwrap().unwrap().len(), 1, "{scene}: one version only");
    let revision = gcp.revision(&format!("{SERVICE}/revisions/api-0a1b2c3d")).await.unwrap();
    assert!(revision.is_some(), "{scene}");
    let hits = control(&sandbox, &format!("faults/{id}"), None).await["hits"].as_u64().unwrap();
    sandbox.stop().await;
    hits > 0
}

/// Every write of the apply meets the fault once, before and after its effect.
async fn survives(fault: Value) {
    for when in ["before", "after"] {
        let mut nth = 1;
        while apply_with(&fault, when, nth).await {
            nth += 1;
        }
        assert!(nth > 6, "{fault} {when}: only {} writes were struck", nth - 1);
    }
}

#[tokio::test]
async fn an_apply_survives_a_lost_connection_at_every_write() {
    survives(json!({"drop": true})).await;
}

#[tokio::test]
async fn an_apply_survives_an_unavailable_api_at_every_write() {
    survives(json!({"status": 503})).await;
}

#[tokio::test]
async fn an_apply_survives_a_proxys_error_page_at_every_write() {
    survives(json!({"status": 502, "html": true})).await;
}

#[tokio::test]
async fn an_apply_survives_a_refused_quota_at_every_write() {
    let fault = json!({"quota": true});
    let mut nth = 1;
    while apply_with(&fault, "before", nth).await {
        nth += 1;
    }
    assert!(nth > 6);
}

#[tokio::test]
async fn a_disabled_api_is_told_apart_and_can_be_enabled() {
    let (sandbox, gcp) = fresh(Apis::Default).await;
    let error = gcp.list_objects::<Service>(PROJECT, REGION).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ServiceDisabled { api: "run.googleapis.com".into() });
    let error = gcp.list_accounts(PROJECT).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ServiceDisabled { api: "iam.googleapis.com".into() });

    gcp.enable_apis(PROJECT, &["run.googleapis.com".into()]).await.unwrap();
    assert!(gcp.enabled_apis(PROJECT).await.unwrap().contains("run.googleapis.com"));
    // The sandbox refuses a few more calls, as Google does for minutes; that is waited for, since it was us.
    assert_eq!(gcp.list_objects::<Service>(PROJECT, REGION).await.unwrap(), Vec::<Value>::new());
    let error = gcp.list_accounts(PROJECT).await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::ServiceDisabled { api: "iam.googleapis.com".into() },
        "not enabled by us"
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn a_revision_that_may_not_read_its_secret_says_so() {
    let (sandbox, gcp) = fresh(Apis::All).await;
    gcp.create_account(PROJECT, "api-runtime", "", "").await.unwrap();
    gcp.create_secret(PROJECT, "jwt", json!({"replication": {"automatic": {}}})).await.unwrap();
    gcp.add_version(SECRET, Payload::new(b"x".to_vec()), 1).await.unwrap();
    let error = gcp.create_object::<Service>(PROJECT, REGION, "api", service_document()).await.unwrap_err();
    assert!(matches!(&error.kind, ErrorKind::RevisionFailed { .. }), "{error:?}");
    assert!(
        error.message.contains("api-0a1b2c3d") && error.message.to_lowercase().contains("secret"),
        "{error}"
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn a_stale_etag_is_a_conflict_for_every_kind_that_has_one() {
    let (sandbox, gcp) = fresh(Apis::All).await;
    first_apply(&gcp).await.unwrap();
    let stale = gcp.object::<Service>(SERVICE).await.unwrap().unwrap();
    let mut change = stale.clone();
    change["labels"]["x"] = json!("1");
    gcp.patch_object::<Service>(SERVICE, change, &["labels"]).await.unwrap();
    let mut late = stale;
    late["labels"]["y"] = json!("2");
    let error = gcp.patch_object::<Service>(SERVICE, late, &["labels"]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");

    let body = json!({"labels": {"a": "c"}});
    let error = gcp.patch_secret(SECRET, body.clone(), &["labels"], Some("\"stale\"")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    let etag = gcp.secret(SECRET).await.unwrap().unwrap()["etag"].as_str().unwrap().to_owned();
    let changed = gcp.patch_secret(SECRET, body, &["labels"], Some(&etag)).await.unwrap();
    assert_eq!(changed["labels"], json!({"a": "c"}));
    sandbox.stop().await;
}

#[tokio::test]
async fn a_policy_whose_etag_goes_stale_is_read_again() {
    let (sandbox, gcp) = fresh(Apis::All).await;
    first_apply(&gcp).await.unwrap();
    let fault = json!({"match": {"method": "*.setIamPolicy"}, "nth": 1, "do": {"stale_etag": true}});
    let id = strike(&sandbox, fault).await;
    let of = PolicyOf::Secret(SECRET.into());
    let member = format!("serviceAccount:{EMAIL}");
    let conditional = Triple {
        condition: Some(
            json!({"title": "soon", "expression": "request.time < timestamp('2030-01-01T00:00:00Z')"}),
        ),
        ..Triple::new("roles/secretmanager.viewer", &member)
    };
    gcp.edit_policy(&of, std::slice::from_ref(&conditional), &[]).await.unwrap();
    assert_eq!(control(&sandbox, &format!("faults/{id}"), None).await["hits"], 1);
    let policy = gcp.policy(&of).await.unwrap().unwrap();
    assert_eq!(policy.bindings.len(), 2, "the grant that was there stays: {policy:?}");
    let found = policy.bindings.iter().find(|binding| binding.role == conditional.role).unwrap();
    assert_eq!(found.condition, conditional.condition);
    gcp.edit_policy(&of, &[], &[conditional]).await.unwrap();
    assert_eq!(gcp.policy(&of).await.unwrap().unwrap().bindings.len(), 1);
    sandbox.stop().await;
}

#[tokio::test]
async fn policies_of_projects_and_accounts_are_edited_too() {
    let (sandbox, gcp) = fresh(Apis::All).await;
    gcp.create_account(PROJECT, "api-runtime", "", "").await.unwrap();
    for (of, role) in [
        (PolicyOf::Project(PROJECT.into()), "roles/cloudsql.client"),
        (PolicyOf::ServiceAccount(EMAIL.into()), "roles/iam.serviceAccountUser"),
    ] {
        let before = gcp.policy(&of).await.unwrap().map_or(0, |policy| policy.bindings.len());
        let grant = [Triple::new(role, account())];
        gcp.edit_policy(&of, &grant, &[]).await.unwrap();
        let policy = gcp.policy(&of).await.unwrap().unwrap();
        assert!(policy.bindings.iter().any(|binding| binding.role == role), "{policy:?}");
        gcp.edit_policy(&of, &[], &grant).await.unwrap();
        assert_eq!(gcp.policy(&of).await.unwrap().unwrap().bindings.len(), before);
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn everything_can_be_deleted_twice() {
    let (sandbox, gcp) = fresh(Apis::All).await;
    first_apply(&gcp).await.unwrap();
    for _ in 0..2 {
        gcp.delete_object::<Service>(SERVICE, None).await.unwrap();
        gcp.delete_secret(SECRET, None).await.unwrap();
        gcp.delete_account(EMAIL).await.unwrap();
    }
    assert_eq!(gcp.object::<Service>(SERVICE).await.unwrap(), None);
    assert_eq!(gcp.secret(SECRET).await.unwrap(), None);
    assert_eq!(gcp.list_versions(SECRET).await.unwrap(), None);
    assert_eq!(gcp.policy(&PolicyOf::Secret(SECRET.into())).await.unwrap(), None);
    assert!(gcp.list_accounts(PROJECT).await.unwrap().iter().all(|account| account.email != EMAIL));
    sandbox.stop().await;
}
