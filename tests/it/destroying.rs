//! Destroying an environment: all that is its own goes, what others have stays, and a run that was struck down is
//! finished by the next one.

use serde_json::{Value, json};

use crate::blows::{Blow, Scene};
use crate::rig::{Rig, deployed};
use crate::support::{Cloud, PROJECT, Run, Workplace, account_path, project_path, secret_path, shop};

/// An environment with something of each kind that is deleted or revoked, and one beside it.
const BASE: &str = shop!(
    r#"secrets:
  key: {}
  url: {id: "url-${env}"}
tenants:
  secrets: [crm]
  secret_id: "${tenant.slug}-${secret}-${env}"
  readers: [front]
  list: {red: {}}
services:
  front:
    name: "front-${env}"
    image: us-docker.pkg.dev/cloudrun/container/hello
    allow_unauthenticated: true
    secrets: {KEY: key, URL: url}
    roles: [roles/cloudtrace.agent]
jobs:
  sync: {service: front, name: "sync-${env}", command: [sync]}
"#
);

/// With an identity of its own for CI.
const DEV: &str = "deployer: v1
environment: dev
target: sandbox
github:
  repository: octo-org/shop
  repository_id: 900000001
  owner_id: 900000002
  identity: {pool: hub-dev, provider: actions, plan: plan-dev, deploy: deploy-dev}
";

const FILES: [(&str, &str); 3] = [
    ("environments/base.yaml", BASE),
    ("environments/dev.yaml", DEV),
    ("environments/staging.yaml", "deployer: v1\nenvironment: staging\ntarget: sandbox\n"),
];

const DESTROY: &str = "destroy dev --auto-approve";

fn shop(cloud: Cloud) -> Rig {
    Rig::of(Workplace::with(&FILES), cloud)
}

fn destroy(rig: &Rig) -> Run {
    rig.deployer(DESTROY)
}

/// `KIND/NAME` of all that the plan for `dev` would make, or bring back.
async fn missing(rig: &Rig) -> Vec<String> {
    let plan = rig.deployer("plan dev --output json").ok().await.json();
    let changes = plan["changes"].as_array().unwrap().iter();
    let mut made: Vec<_> = changes
        .filter(|change| change["action"] == "create" || change["action"] == "restore")
        .map(|change| change["address"].as_str().unwrap().to_owned())
        .collect();
    made.sort_unstable();
    made
}

/// The names of documents and the members of policies that tell of `dev`.
async fn traces(cloud: &Cloud) -> Vec<String> {
    let state = cloud.state().await;
    let collections = state.as_object().unwrap().iter();
    // What the sandbox keeps for an undeletion is no trace, nor is a policy whose resource has gone.
    let internal = ["operations", "deleted", "policies"];
    let collections =
        collections.filter(|(name, _)| !internal.iter().any(|word| name.to_lowercase().contains(word)));
    let mut found = Vec::new();
    for (collection, docs) in collections {
        for (name, doc) in docs.as_object().into_iter().flatten() {
            // A pool stays to be seen for a month after it was deleted, with its providers.
            let gone = doc["state"] == "DELETED" || name.contains("/providers/");
            if name.contains("-dev") && !gone {
                found.push(format!("{collection} {name}"));
            }
        }
    }
    for path in [project_path(), secret_path("key")] {
        let grants = cloud.grants(&path).await;
        found.extend(grants.into_iter().filter(|grant| grant.contains("-dev@")));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_its_own_goes_and_what_others_have_stays() {
    let rig = shop(Cloud::fresh().await);
    let fresh = missing(&rig).await;
    rig.apply().ok().await;
    rig.deployer("apply staging --auto-approve").ok().await;
    let body = json!({"replication": {"automatic": {}}});
    let others = format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets?secretId=other-dev");
    rig.cloud.console("POST", &others, Some(&body)).await;
    rig.cloud.grant(&secret_path("key"), "roles/secretmanager.secretAccessor", "user:ann@example.com").await;
    rig.cloud.grant(&project_path(), "roles/viewer", "user:ann@example.com").await;

    let report = destroy(&rig).args(["--output", "json"]).ok().await.json();
    assert_eq!(report["plan"]["destroy"], true);
    let notes: Vec<_> =
        report["plan"]["notes"].as_array().unwrap().iter().map(|note| note["address"].clone()).collect();
    assert_eq!(
        notes,
        [json!("secret/key"), json!("identity_provider/hub-dev/actions")],
        "one stays, one goes with its pool"
    );

    assert_eq!(
        traces(&rig.cloud).await,
        [format!("secretmanager.secrets projects/{PROJECT}/secrets/other-dev")]
    );
    let again = missing(&rig).await;
    let shared = |address: &&String| {
        !address.starts_with("api/") && !["secret/key", "secret_value/key"].contains(&address.as_str())
    };
    assert_eq!(again, fresh.iter().filter(shared).cloned().collect::<Vec<_>>());
    let grants = rig.cloud.grants(&secret_path("key")).await;
    assert!(grants.iter().any(|grant| grant.ends_with("user:ann@example.com")), "{grants:?}");
    assert!(grants.iter().any(|grant| grant.contains("front-staging@")), "{grants:?}");
    let grants = rig.cloud.grants(&project_path()).await;
    assert!(grants.contains(&"roles/viewer user:ann@example.com".to_owned()), "{grants:?}");
    let plan = rig.deployer("plan staging --detailed-exitcode").done().await;
    assert_eq!(plan.code, 0, "{plan}");

    // And it comes back.
    rig.apply().ok().await;
    rig.settled("after it came back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_twice_finds_nothing() {
    let rig = shop(Cloud::fresh().await);
    rig.apply().ok().await;
    destroy(&rig).ok().await;
    rig.cloud.forget_calls().await;
    let again = destroy(&rig).ok().await;
    assert!(again.stdout.starts_with("Nothing to destroy: shop/dev has nothing of its own."), "{again}");
    assert!(rig.cloud.writes().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_yaml_protects_is_safe_before_that_is_applied() {
    let rig = shop(Cloud::fresh().await);
    rig.apply().ok().await;
    rig.edit("    allow_unauthenticated: true\n", "    allow_unauthenticated: true\n    protect: true\n");
    rig.cloud.forget_calls().await;
    let done = destroy(&rig).fails(1).await;
    assert!(done.stderr.contains("run_service/front-dev") && done.stderr.contains("protect"), "{done}");
    assert_eq!(rig.cloud.writes().await.len(), 0, "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_object_keeps_everything_until_the_yaml_lets_go_of_it() {
    let rig = shop(Cloud::fresh().await);
    let (free, guarded) = ("url: {id: \"url-${env}\"}", "url: {id: \"url-${env}\", protect: true}");
    rig.edit(free, guarded);
    rig.apply().ok().await;
    rig.cloud.forget_calls().await;
    let refused = destroy(&rig).fails(1).await;
    assert!(
        refused.stderr.contains("secret/url-dev") && refused.stderr.contains("it is protected"),
        "{refused}"
    );
    assert!(rig.cloud.writes().await.is_empty());
    // The key alone is not enough: the object itself bears the mark.
    rig.edit(guarded, free);
    destroy(&rig).fails(1).await;
    assert!(rig.cloud.writes().await.is_empty());
    rig.apply().ok().await;
    destroy(&rig).ok().await;
    assert_eq!(traces(&rig.cloud).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_can_be_asked_means_nothing_is_destroyed() {
    let rig = shop(Cloud::fresh().await);
    rig.apply().ok().await;
    rig.cloud.forget_calls().await;
    let done = rig.deployer("destroy dev").fails(1).await;
    assert!(done.stderr.contains("add --auto-approve to destroy without asking"), "{done}");
    assert!(rig.cloud.writes().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_to_destroy_again() {
    let rig = shop(Cloud::fresh().await);
    rig.apply().ok().await;
    rig.cloud
        .fault(json!({"match": {"writes": true}, "nth": 1, "times": u64::MAX, "do": {"status": 500}}))
        .await;
    let done = destroy(&rig).fails(1).await;
    assert!(
        done.stdout.contains(&format!("run `deployer destroy dev --endpoint {}` again", rig.cloud.url())),
        "{done}"
    );
    assert!(!done.stdout.contains("deployer apply"), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destruction_survives_a_blow_at_every_write() {
    let place = || Workplace::with(&FILES);
    let scene = Scene {
        state: deployed(place, &["dev", "staging"]).await,
        place,
        options: Cloud::options,
        command: DESTROY.to_owned(),
        settled: vec!["staging"],
        edits: &[],
        blows: &[Blow::Fails, Blow::Kills],
    };
    let nothing_is_left = async |rig: &Rig, context: &str| {
        assert_eq!(traces(&rig.cloud).await, Vec::<String>::new(), "{context}");
        let third = destroy(rig).done().await;
        assert!(third.stdout.starts_with("Nothing to destroy"), "{context}: {third}");
    };
    let blows = scene.survives_every_blow(nothing_is_left).await;
    assert!(blows.ways >= 24 && blows.sure > 5, "only {blows:?}");
}

/// The account is named by no grant once it has gone: what IAM keeps of it would come back with its name.
#[tokio::test(flavor = "multi_thread")]
async fn grants_of_an_account_go_before_it() {
    let rig = shop(Cloud::fresh().await);
    rig.apply().ok().await;
    let before = rig.cloud.grants(&project_path()).await;
    assert!(before.iter().any(|grant| grant.starts_with("roles/cloudtrace.agent")), "{before:?}");
    destroy(&rig).ok().await;
    let after: Vec<Value> =
        rig.cloud.policy(&project_path()).await["bindings"].as_array().cloned().unwrap_or_default();
    assert!(!json!(after).to_string().contains("front-dev@"), "{after:?}");
    let (status, _) = rig.cloud.console("GET", &account_path("front-dev"), None).await;
    assert_eq!(status, 404);
}
