//! Doors that the YAML closes: grants that it no longer asks for are revoked, whether or not what they are on is still
//! declared, and what stays and needs them keeps them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::rig::Rig;
use crate::support::{
    Cloud, PROJECT, Workplace, account_path, job_path, project_path, repository_path, secret_path,
    service_path, shop,
};

const BASE: &str = shop!(
    r#"registry: {repository: shop}
secrets:
  common: {}
  own: {id: "own-${env}"}
tenants:
  secrets: [crm-key]
  readers: [api]
  secret_id: "${tenant.slug}-${secret}-${env}"
  list:
    red: {}
    blue: {}
services:
  api:
    name: api-${env}
    image: us-docker.pkg.dev/cloudrun/container/hello
    service_account: api-runner-${env}
    access: public
    secrets: {COMMON: common, OWN: own}
jobs:
  sync: {service: api, for_each: tenants, name: "sync-${tenant.slug}-${env}", command: [sync]}
github:
  repository: octo-org/shop
  repository_id: 900000001
  owner_id: 900000002
  identity: {pool: github, provider: actions, plan: ci-plan, deploy: ci-deploy}
"#
);

const STAGING: &str = "environments/staging.yaml";

/// `dev` and `staging` side by side in one project, applied and settled.
async fn applied() -> Rig {
    let overlay = |name: &str| format!("deployer: v1\nenvironment: {name}\n");
    let place = Workplace::with(&[
        ("environments/base.yaml", BASE),
        ("environments/dev.yaml", &format!("{}target: sandbox\n", overlay("dev"))),
        (STAGING, &format!("{}target: sandbox\n", overlay("staging"))),
    ]);
    let rig = Rig::of(place, Cloud::fresh().await);
    for environment in ["dev", "staging"] {
        rig.apply_to(environment).ok().await;
    }
    rig.settled("applied").await;
    rig
}

/// `VERB ADDRESS` of all changes of a plan.
async fn planned(rig: &Rig, words: &str) -> Vec<String> {
    let plan = rig.deployer(&format!("plan {words} --output json")).ok().await.json();
    let changes = plan["changes"].as_array().unwrap().iter();
    let text = |change: &Value, key: &str| change[key].as_str().unwrap().to_owned();
    changes.map(|change| format!("{} {}", text(change, "verb"), text(change, "address"))).collect()
}

/// How often a plan calls each method.
async fn asked(rig: &Rig) -> BTreeMap<String, usize> {
    rig.cloud.forget_calls().await;
    rig.deployer("plan dev").ok().await;
    let mut counts = BTreeMap::new();
    for call in rig.cloud.calls().await {
        *counts.entry(call.method.unwrap()).or_default() += 1;
    }
    counts
}

fn member(account: &str) -> String {
    format!("serviceAccount:{account}@{PROJECT}.iam.gserviceaccount.com")
}

/// Who may read a secret, of the accounts of this system.
async fn readers(rig: &Rig, secret: &str) -> Vec<String> {
    let grants = rig.cloud.grants(&secret_path(secret)).await;
    grants.into_iter().map(|grant| grant.split([':', '@']).nth(1).unwrap_or_default().to_owned()).collect()
}

/// Staging gets on without the secret that both environments share.
fn drop_common(rig: &Rig) {
    let dropped = "secrets: {common: null}\nservices: {api: {secrets: {COMMON: null}}}\n";
    rig.place.write(STAGING, &format!("{}{dropped}", rig.place.read(STAGING)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_drops_a_shared_secret_cannot_read_it_any_more() {
    let rig = applied().await;
    drop_common(&rig);
    let plan = rig.deployer("plan staging --output json").ok().await.json();
    let changes = plan["changes"].as_array().unwrap();
    let told: Vec<_> = changes.iter().map(|change| change["address"].as_str().unwrap()).collect();
    let users = ["run_service/api-staging", "run_job/sync-blue-staging", "run_job/sync-red-staging"];
    assert_eq!(told[..3], users);
    assert_eq!(told[3..], ["secret_grant/common:secretAccessor:api-runner-staging"]);
    let needs = changes[3]["needs"].as_array().unwrap();
    assert!(users.iter().all(|user| needs.iter().any(|need| need == user)), "users go first: {needs:?}");
    rig.apply_to("staging").ok().await;
    assert_eq!(readers(&rig, "common").await, ["api-runner-dev"]);
    rig.settled_in("staging", "the door is closed").await;
    // Now it is the other's alone.
    rig.apply().ok().await;
    assert_eq!(readers(&rig, "common").await, ["api-runner-dev"]);
    for environment in ["dev", "staging"] {
        rig.settled_in(environment, "nothing is left to do").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_environment_may_still_use_stays_shared_until_that_one_is_applied() {
    let rig = applied().await;
    drop_common(&rig);
    rig.apply().ok().await;
    assert_eq!(readers(&rig, "common").await, ["api-runner-dev", "api-runner-staging"]);
    rig.settled("the mark waits for staging").await;
    rig.apply_to("staging").ok().await;
    assert_eq!(readers(&rig, "common").await, ["api-runner-dev"]);
    assert_eq!(planned(&rig, "dev").await, ["update secret/common"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_nobody_declares_any_more_is_noted_and_read_by_nobody() {
    let rig = applied().await;
    rig.edit("  own: {id: \"own-${env}\"}\n", "");
    rig.edit(", OWN: own", "");
    let plan = planned(&rig, "dev").await;
    assert_eq!(plan.last().unwrap(), "revoke secret_grant/own-dev:secretAccessor:api-runner-dev");
    assert!(plan[..plan.len() - 1].iter().all(|change| change.starts_with("update run_")), "{plan:?}");
    rig.apply().ok().await;
    assert!(readers(&rig, "own-dev").await.is_empty());
    rig.settled("the secret is noted").await;
    let notes = rig.deployer("plan dev").ok().await.stdout;
    assert!(notes.contains("secret/own-dev"), "{notes}");
    assert_eq!(readers(&rig, "own-staging").await, ["api-runner-staging"], "another environment's");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_tenant_that_is_gone_are_read_by_nobody() {
    let rig = applied().await;
    rig.edit("    red: {}\n", "");
    // A job of the tenant stays, runs as the same account, and is no reader.
    assert_eq!(
        planned(&rig, "dev").await,
        ["revoke secret_grant/red-crm-key-dev:secretAccessor:api-runner-dev"]
    );
    rig.apply().ok().await;
    assert!(readers(&rig, "red-crm-key-dev").await.is_empty());
    assert_eq!(readers(&rig, "blue-crm-key-dev").await, ["api-runner-dev"]);
    rig.settled("the tenant is gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_workflows_that_the_yaml_drops_can_be_used_by_nobody() {
    let rig = applied().await;
    rig.edit("  identity: {pool: github, provider: actions, plan: ci-plan, deploy: ci-deploy}\n", "");
    let plan = planned(&rig, "dev").await;
    for on in ["ci-plan:iam.workloadIdentityUser", "ci-deploy:iam.serviceAccountOpenIdTokenCreator"] {
        assert!(
            plan.iter().any(|change| change.starts_with(&format!("revoke account_grant/{on}"))),
            "{plan:?}"
        );
    }
    for environment in ["dev", "staging"] {
        rig.apply_to(environment).ok().await;
        rig.settled_in(environment, "the identity is gone").await;
    }
    for account in ["ci-plan", "ci-deploy", "api-runner-dev"] {
        assert_eq!(rig.cloud.grants(&account_path(account)).await, Vec::<String>::new(), "{account}");
    }
    let project = rig.cloud.grants(&project_path()).await;
    assert!(!project.iter().any(|grant| grant.contains(":ci-")), "{project:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stays_under_its_old_name_keeps_what_it_was_granted() {
    let rig = applied().await;
    let renamed = "  front:\n    name: front-${env}\n";
    rig.edit("  api:\n    name: api-${env}\n", renamed);
    rig.edit("readers: [api]", "readers: [front]");
    rig.edit("service_account: api-runner-${env}", "service_account: front-runner-${env}");
    rig.edit("sync: {service: api", "sync: {service: front");
    let plan = rig.deployer("plan dev --output json").ok().await.json();
    let revoked: Vec<_> =
        plan["changes"].as_array().unwrap().iter().filter(|change| change["verb"] == "revoke").collect();
    // Those who deploy need not act as an account that nothing is deployed with.
    let actor = "account_grant/api-runner-dev:iam.serviceAccountUser:ci-deploy";
    assert_eq!(revoked.iter().map(|change| &change["address"]).collect::<Vec<_>>(), [actor]);
    let notes = plan["notes"].to_string();
    for kept in
        ["secret_grant/red-crm-key-dev:secretAccessor:api-runner-dev", "run_grant/api-dev:invoker:allUsers"]
    {
        assert!(notes.contains(kept), "{kept}: {notes}");
    }
    rig.apply().ok().await;
    assert_eq!(readers(&rig, "red-crm-key-dev").await, ["api-runner-dev", "front-runner-dev"]);
    assert_eq!(rig.cloud.grants(&service_path("api-dev")).await, ["roles/run.invoker allUsers"]);
    rig.settled("the old service stays").await;
    rig.apply().arg("--prune").ok().await;
    assert_eq!(readers(&rig, "red-crm-key-dev").await, ["front-runner-dev"]);
    rig.settled("the old service is gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_and_repositories_are_open_to_nobody_of_ours_and_not_to_the_public() {
    let rig = applied().await;
    let (job, images) = (job_path("sync-red-dev"), repository_path("shop"));
    for (path, role) in [(&job, "roles/run.invoker"), (&images, "roles/artifactregistry.reader")] {
        for holder in ["allUsers", "user:ann@example.com", &member("api-runner-dev")] {
            rig.cloud.grant(path, role, holder).await;
        }
    }
    assert_eq!(
        planned(&rig, "dev --layer release").await,
        [
            "revoke job_grant/sync-red-dev:invoker:allUsers",
            "revoke job_grant/sync-red-dev:invoker:api-runner-dev"
        ]
    );
    assert_eq!(
        planned(&rig, "dev --layer foundation").await,
        [
            "revoke repository_grant/shop:artifactregistry.reader:allUsers",
            "revoke repository_grant/shop:artifactregistry.reader:api-runner-dev"
        ]
    );
    rig.apply().ok().await;
    rig.settled("closed again").await;
    assert_eq!(rig.cloud.grants(&job).await, ["roles/run.invoker user:ann@example.com"]);
    assert_eq!(rig.cloud.grants(&images).await, ["roles/artifactregistry.reader user:ann@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn seeing_grants_on_what_is_undeclared_takes_no_more_than_if_it_were_declared() {
    let rig = applied().await;
    let declared = asked(&rig).await;
    rig.edit("    red: {}\n", "");
    let noted = asked(&rig).await;
    for method in noted.keys() {
        assert!(noted.get(method) <= declared.get(method), "{method}: {noted:#?} instead of {declared:#?}");
    }
    let policies = "secretmanager.projects.secrets.getIamPolicy";
    assert_eq!(noted.get(policies), declared.get(policies), "one each, whether or not it is declared");
}
