//! CI's own identity: what the accounts of GitHub's workflows may do and what not, on a sandbox that asks for the
//! permissions of each call; and pools, providers and grants when others change or delete them.

use serde_json::{Value, json};

use crate::rig::Rig;
use crate::support::{
    Cloud, Done, PROJECT, PROJECT_NUMBER, Run, Workplace, account_path, project_path, shop,
};

const BASE: &str = shop!(
    r"secrets:
  alpha: {generate: hex32}
services:
  web:
    name: web-${env}
    image: us-docker.pkg.dev/cloudrun/container/hello
    startup_probe: /s
    service_account: web-runner-${env}
    roles: [roles/cloudtrace.agent]
    secrets: {ALPHA: alpha}
github:
  repository: octo-org/shop
  repository_id: 900000001
  owner_id: 900000002
  identity: {pool: github, provider: actions, plan: github-plan, deploy: github-deploy}
"
);

const POOLS: &str =
    "/iam.googleapis.com/v1/projects/agent-army-example/locations/global/workloadIdentityPools";

/// `dev` and `staging` side by side in one project.
fn rig_of(cloud: Cloud) -> Rig {
    let overlay = |name: &str| format!("deployer: v1\nenvironment: {name}\n");
    let place = Workplace::with(&[
        ("environments/base.yaml", BASE),
        ("environments/dev.yaml", &format!("{}target: sandbox\n", overlay("dev"))),
        ("environments/staging.yaml", &format!("{}target: sandbox\n", overlay("staging"))),
    ]);
    Rig::of(place, cloud)
}

/// The foundation of `dev` is there.
async fn founded() -> Rig {
    founded_on(rig_of(Cloud::fresh().await)).await
}

async fn founded_on(rig: Rig) -> Rig {
    rig.deployer("apply dev --auto-approve --layer foundation").ok().await;
    rig.deployer("plan dev --layer foundation --detailed-exitcode").ok().await;
    rig
}

fn member(account: &str) -> String {
    format!("serviceAccount:{account}@{PROJECT}.iam.gserviceaccount.com")
}

/// A run of a workflow that has become `account`. Grants made moments ago are in force: they take some calls.
async fn as_account(rig: &Rig, account: &str, words: &str) -> Run {
    for _ in 0..10 {
        rig.cloud.policy(&project_path()).await;
    }
    let token = rig.cloud.token_of(account).await;
    rig.deployer(words).env("GOOGLE_OAUTH_ACCESS_TOKEN", token)
}

fn addresses(plan: &Value) -> Vec<String> {
    let changes = plan["changes"].as_array().unwrap().iter();
    changes
        .map(|change| format!("{} {}", change["verb"].as_str().unwrap(), change["address"].as_str().unwrap()))
        .collect()
}

async fn planned(rig: &Rig, environment: &str) -> Vec<String> {
    addresses(&rig.deployer(&format!("plan {environment} --output json")).ok().await.json())
}

fn names_what_is_missing(done: &Done, kind: &str, role: &str) {
    for text in [&format!("what exists of {kind}"), role, "gcloud projects add-iam-policy-binding"] {
        assert!(done.stderr.contains(text), "{text} is not in:\n{done}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deploy_account_plans_and_applies_releases() {
    let rig = founded().await;
    let plan = as_account(&rig, "github-deploy", "plan dev --layer release --output json").await.ok().await;
    assert_eq!(addresses(&plan.json()), ["create run_service/web-dev"]);
    as_account(&rig, "github-deploy", "apply dev --layer release --auto-approve").await.ok().await;
    let again = "plan dev --layer release --detailed-exitcode";
    as_account(&rig, "github-deploy", again).await.ok().await;
    rig.settled("releases are all that was missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deploy_account_plans_checks_and_applies_jobs_that_run_as_others() {
    let rig = rig_of(Cloud::fresh().await);
    let job = "jobs: {night: {name: 'night-${env}', image: us-docker.pkg.dev/cloudrun/container/job:v1, command: [work], service_account: 'night-${env}'}}";
    rig.edit("github:\n", &format!("{job}\ngithub:\n"));
    let rig = founded_on(rig).await;
    let users = rig.cloud.grants(&account_path("night-dev")).await;
    assert_eq!(users, [format!("roles/iam.serviceAccountUser {}", member("github-deploy"))]);

    let check = "plan dev --layer release --server-check --output json";
    let done = as_account(&rig, "github-deploy", check).await.ok().await;
    assert_eq!(addresses(&done.json()), ["create run_service/web-dev", "create run_job/night-dev"]);
    assert!(done.stderr.contains("2 accepted, 0 refused"), "{done}");
    let apply = "apply dev --layer release --auto-approve";
    as_account(&rig, "github-deploy", apply).await.ok().await;
    rig.edit("command: [work]", "command: [work, harder]");
    let done = as_account(&rig, "github-deploy", check).await.ok().await;
    assert_eq!(addresses(&done.json()), ["update run_job/night-dev"]);
    assert!(done.stderr.contains("1 accepted, 0 refused"), "{done}");
    as_account(&rig, "github-deploy", apply).await.ok().await;
    rig.settled("the job works harder").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deploy_account_resolves_tags_and_moves_those_that_serve() {
    let rig = rig_of(Cloud::fresh().await);
    rig.edit("secrets:\n  alpha", "registry: {repository: shop}\nsecrets:\n  alpha");
    let own = "  own: {name: \"own-${env}\", startup_probe: /s, service_account: \"web-runner-${env}\"}\n";
    rig.edit("github:\n", &format!("{own}github:\n"));
    rig.deployer("apply dev --auto-approve --layer foundation").ok().await;
    for tag in ["v1", "v2"] {
        let image = format!("us-central1-docker.pkg.dev/{PROJECT}/shop/own:{tag}");
        let body = json!({ "image": image });
        let (status, answer) =
            rig.cloud.send(reqwest::Method::POST, "/__sandbox/artifacts", Some(&body)).await;
        assert_eq!(status, 200, "{answer}");
        let plan = format!("plan dev --layer release --tag {tag} --output json");
        let plan = as_account(&rig, "github-deploy", &plan).await.ok().await.json();
        let changes = plan["changes"].as_array().unwrap().iter();
        let mut images = changes.filter(|change| change["address"] == "run_service/own-dev");
        let image = &images.next().unwrap()["after"]["image"];
        assert!(image.as_str().unwrap().ends_with(answer["digest"].as_str().unwrap()), "{image} {answer}");
        let apply = format!("apply dev --layer release --auto-approve --tag {tag}");
        as_account(&rig, "github-deploy", &apply).await.ok().await;
        let again = "plan dev --layer release --detailed-exitcode";
        as_account(&rig, "github-deploy", again).await.ok().await;
    }
    rig.settled("releases are all that was missing").await;

    rig.cloud.revoke(&project_path(), "roles/artifactregistry.writer", &member("github-deploy")).await;
    let done = as_account(&rig, "github-deploy", "plan dev --layer release").await.fails(1).await;
    names_what_is_missing(&done, "image_tag", "roles/artifactregistry.reader");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_that_a_release_needs_is_named_when_it_is_missing() {
    let rig = founded().await;
    as_account(&rig, "github-deploy", "apply dev --layer release --auto-approve").await.ok().await;
    let seen_by = [
        ("roles/run.admin", "run_", "roles/run.viewer"),
        ("roles/secretmanager.viewer", "secret_value", "roles/secretmanager.viewer"),
    ];
    for (role, kind, viewer) in seen_by {
        rig.cloud.revoke(&project_path(), role, &member("github-deploy")).await;
        let done = as_account(&rig, "github-deploy", "plan dev --layer release").await.fails(1).await;
        names_what_is_missing(&done, kind, viewer);
        let expected = format!("grant project_grant/{PROJECT}:{}:github-deploy", &role["roles/".len()..]);
        assert_eq!(planned(&rig, "dev").await, [expected]);
        rig.apply().ok().await;
    }

    let user = "roles/iam.serviceAccountUser";
    rig.cloud.revoke(&account_path("web-runner-dev"), user, &member("github-deploy")).await;
    rig.edit("startup_probe: /s", "startup_probe: /started");
    let apply = "apply dev --layer release --auto-approve";
    let done = as_account(&rig, "github-deploy", apply).await.fails(1).await;
    for text in ["run_service/web-dev", "iam.serviceAccounts.actAs", user, "add-iam-policy-binding"] {
        assert!(format!("{}{}", done.stdout, done.stderr).contains(text), "{text} is not in:\n{done}");
    }
    rig.deployer("apply dev --layer foundation --auto-approve").ok().await;
    as_account(&rig, "github-deploy", apply).await.ok().await;
    rig.settled("the right to run as the account is back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deploy_account_cannot_see_what_would_let_it_change_its_own_rights() {
    let rig = founded().await;
    let done = as_account(&rig, "github-deploy", "plan dev").await.fails(1).await;
    assert!(done.stderr.contains("look at what exists of"), "{done}");
    let project = rig.cloud.grants(&project_path()).await;
    let of_deploy: Vec<_> =
        project.iter().filter(|grant| grant.ends_with(&member("github-deploy"))).collect();
    assert_eq!(of_deploy.len(), 4, "{of_deploy:?}");
    assert!(!of_deploy.iter().any(|grant| grant.contains("Admin") || grant.contains("owner")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_account_sees_everything_and_changes_nothing() {
    let rig = founded().await;
    let plan = as_account(&rig, "github-plan", "plan dev --output json").await.ok().await.json();
    assert_eq!(addresses(&plan), ["create run_service/web-dev"]);
    rig.edit("roles/cloudtrace.agent", "roles/cloudprofiler.agent");
    let all = as_account(&rig, "github-plan", "plan dev --output json").await.ok().await.json();
    assert_eq!(addresses(&all).len(), 3, "{all}");
    rig.cloud.forget_calls().await;
    let done = as_account(&rig, "github-plan", "apply dev --auto-approve").await.fails(1).await;
    let told = format!("{}{}", done.stdout, done.stderr);
    assert!(told.contains("add-iam-policy-binding") && told.contains("the missing permission is"), "{done}");
    let refused = rig.cloud.writes().await.into_iter().filter(|call| call.status != Some(403));
    let by_owner = |method: &Option<String>| {
        method.as_deref().is_some_and(|method| method.starts_with("iamcredentials."))
    };
    assert_eq!(refused.filter(|call| !by_owner(&call.method)).count(), 0);

    for (role, kind) in [("roles/iam.securityReviewer", "_grant"), ("roles/viewer", "")] {
        rig.cloud.revoke(&project_path(), role, &member("github-plan")).await;
        let done = as_account(&rig, "github-plan", "plan dev").await.fails(1).await;
        assert!(
            done.stderr.contains("add-iam-policy-binding") && done.stderr.contains(kind),
            "{role}: {done}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_ends_the_run_and_is_not_shown() {
    let rig = founded().await;
    let run = as_account(&rig, "github-plan", "plan dev -v").await;
    rig.cloud.console("DELETE", &account_path("github-plan"), None).await;
    let done = run.fails(1).await;
    assert!(done.stderr.contains("log in again"), "{done}");
    assert!(!done.to_string().contains("ya29"), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pool_and_its_provider_are_restored() {
    let rig = founded().await;
    for path in [format!("{POOLS}/github/providers/actions"), format!("{POOLS}/github")] {
        let (status, answer) = rig.cloud.console("DELETE", &path, None).await;
        assert_eq!(status, 200, "{answer}");
    }
    let layer = "--layer foundation";
    let plan = rig.deployer(&format!("plan dev {layer} --output json")).ok().await.json();
    assert_eq!(
        addresses(&plan),
        ["restore identity_pool/github", "restore identity_provider/github/actions"]
    );
    for change in plan["changes"].as_array().unwrap() {
        assert_eq!(change["consequences"], json!(["access_widened"]), "its tokens are valid again: {change}");
    }
    rig.deployer(&format!("apply dev {layer} --auto-approve")).ok().await;
    rig.deployer(&format!("plan dev {layer} --detailed-exitcode")).ok().await;
    assert_eq!(rig.cloud.read(&format!("{POOLS}/github/providers/actions")).await["state"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_provider_is_brought_in_line() {
    let rig = founded().await;
    let path = format!("{POOLS}/github/providers/actions");
    let open = json!({"attributeCondition": "assertion.repository_id != ''"});
    let loosened = format!("{path}?updateMask=attributeCondition");
    assert_eq!(rig.cloud.console("PATCH", &loosened, Some(&open)).await.0, 200);
    assert_eq!(rig.cloud.console("DELETE", &path, None).await.0, 200);
    rig.deployer("apply dev --layer foundation --auto-approve").ok().await;
    let live = rig.cloud.read(&path).await;
    assert_eq!(
        live["attributeCondition"],
        "assertion.repository_id == '900000001' && assertion.repository_owner_id == '900000002'"
    );
    assert_eq!(live["state"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_loosened_at_the_provider_is_seen_and_mended() {
    let rig = founded().await;
    let path = format!("{POOLS}/github/providers/actions");
    let loose = json!({
        "attributeCondition": "assertion.repository_owner_id == '900000002'",
        "oidc": {"issuerUri": "https://token.actions.githubusercontent.com", "jwksJson": r#"{"keys":[]}"#,
            "allowedAudiences": ["https://example.com"]},
    });
    let loosened = format!("{path}?updateMask=attributeCondition,oidc");
    assert_eq!(rig.cloud.console("PATCH", &loosened, Some(&loose)).await.0, 200);
    let off = json!({"disabled": true});
    let pool = format!("{POOLS}/github?updateMask=disabled");
    assert_eq!(rig.cloud.console("PATCH", &pool, Some(&off)).await.0, 200);
    let plan = rig.deployer("plan dev --layer foundation --output json").ok().await.json();
    let pointers = plan["changes"].as_array().unwrap().iter().flat_map(|change| {
        change["fields"].as_array().unwrap().iter().map(|field| field["pointer"].as_str().unwrap())
    });
    let mut pointers = pointers.collect::<Vec<_>>();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/audiences", "/condition", "/disabled", "/keys"]);
    rig.deployer("apply dev --layer foundation --auto-approve").ok().await;
    rig.deployer("plan dev --layer foundation --detailed-exitcode").ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_deleted_is_made_anew_and_all_policies_are_clean() {
    let rig = founded().await;
    rig.apply().ok().await;
    for account in ["github-deploy", "web-runner-dev"] {
        assert_eq!(rig.cloud.console("DELETE", &account_path(account), None).await.0, 200);
    }
    let secret = format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/alpha");
    assert!(rig.cloud.grants(&secret).await[0].contains("deleted:"), "IAM keeps what the account had");
    rig.apply().ok().await;
    rig.settled("made anew").await;
    for path in [project_path(), secret, account_path("github-deploy"), account_path("web-runner-dev")] {
        let grants = rig.cloud.grants(&path).await;
        assert!(!grants.is_empty() && !grants.iter().any(|grant| grant.contains("deleted:")), "{grants:?}");
    }
    as_account(&rig, "github-deploy", "plan dev --layer release --detailed-exitcode").await.ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_somebody_put_on_our_grant_is_shown_and_left_alone() {
    let rig = founded().await;
    rig.apply().ok().await;
    let until =
        json!({"title": "until then", "expression": "request.time < timestamp('2027-01-01T00:00:00Z')"});
    let cases = [
        (project_path(), "roles/cloudtrace.agent", member("web-runner-dev"), "project_grant"),
        (
            account_path("web-runner-dev"),
            "roles/iam.serviceAccountUser",
            member("github-deploy"),
            "account_grant",
        ),
    ];
    for (path, role, holder, _) in &cases {
        rig.cloud.revoke(path, role, holder).await;
        rig.cloud.bind(path, json!({"role": role, "members": [holder], "condition": until})).await;
    }
    let before = [rig.cloud.policy(&cases[0].0).await, rig.cloud.policy(&cases[1].0).await];
    rig.settled("the conditional grants stand for ours").await;
    let drift = rig.deployer("drift dev").fails(2).await;
    assert!(drift.stdout.contains("dev has drifted from its YAML: 2 objects differ in 2 places"), "{drift}");
    let plan = rig.deployer("plan dev").ok().await;
    for (_, role, _, kind) in &cases {
        let told = plan.stdout.lines().any(|line| line.contains(kind) && line.contains(role));
        assert!(told && plan.stdout.contains("until then"), "{plan}");
    }
    rig.apply().ok().await;
    assert_eq!([rig.cloud.policy(&cases[0].0).await, rig.cloud.policy(&cases[1].0).await], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_our_accounts_have_beyond_the_files_is_revoked_and_others_keep_theirs() {
    let rig = founded().await;
    rig.apply().ok().await;
    let (project, account) = (project_path(), account_path("github-deploy"));
    let pool = format!(
        "principalSet://iam.googleapis.com/projects/{PROJECT_NUMBER}/locations/global/workloadIdentityPools"
    );
    rig.cloud.grant(&project, "roles/run.viewer", &member("web-runner-dev")).await;
    rig.cloud.grant(&project, "roles/run.viewer", "user:ann@example.com").await;
    let role = "roles/iam.workloadIdentityUser";
    rig.cloud.grant(&account, role, &format!("{pool}/github/*")).await;
    rig.cloud.grant(&account, role, &format!("{pool}/other-pool/*")).await;
    assert_eq!(
        planned(&rig, "dev").await,
        [
            format!("revoke project_grant/{PROJECT}:run.viewer:web-runner-dev"),
            format!(
                "revoke account_grant/github-deploy:iam.workloadIdentityUser:principalSet:{PROJECT_NUMBER}/github/*"
            ),
        ]
    );
    rig.apply().ok().await;
    rig.settled("revoked").await;
    let (project, account) = (rig.cloud.grants(&project).await, rig.cloud.grants(&account).await);
    assert!(project.contains(&"roles/run.viewer user:ann@example.com".to_owned()), "{project:?}");
    assert!(account.contains(&format!("{role} {pool}/other-pool/*")), "{account:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_share_an_identity_and_leave_each_others_grants_alone() {
    let rig = rig_of(Cloud::fresh().await);
    rig.apply().ok().await;
    rig.deployer("apply staging --auto-approve").ok().await;
    assert!(planned(&rig, "dev").await.is_empty());
    assert!(planned(&rig, "staging").await.is_empty());
    let of = |grants: Vec<String>, account: &str| -> Vec<String> {
        grants.into_iter().filter(|grant| grant.ends_with(&member(account))).collect()
    };
    let before = rig.cloud.grants(&project_path()).await;
    rig.edit("    roles: [roles/cloudtrace.agent]\n", "");
    let revoked = format!("revoke project_grant/{PROJECT}:cloudtrace.agent:web-runner-dev");
    assert_eq!(planned(&rig, "dev").await, [revoked]);
    rig.apply().ok().await;
    let after = rig.cloud.grants(&project_path()).await;
    assert!(of(after.clone(), "web-runner-dev").is_empty());
    assert_eq!(of(after, "web-runner-staging"), of(before, "web-runner-staging"));

    // Neither does the end of one environment touch what the other needs too.
    let gone = rig.deployer("destroy dev --auto-approve").done().await;
    assert_eq!(gone.code, 0, "{gone}");
    assert_eq!(rig.cloud.read(&format!("{POOLS}/github")).await["state"], "ACTIVE");
    let left = rig.cloud.grants(&project_path()).await;
    assert_eq!(of(left.clone(), "github-deploy").len(), 4, "{left:?}");
    assert!(!left.iter().any(|grant| grant.contains("web-runner-dev")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pruned_can_be_declared_again() {
    let rig = founded().await;
    let github = &BASE[BASE.find("github:").unwrap()..];
    rig.edit(github, "");
    rig.deployer("apply dev --layer foundation --prune --auto-approve").ok().await;
    rig.deployer("plan dev --layer foundation --prune --detailed-exitcode").ok().await;
    assert_eq!(rig.cloud.read(&format!("{POOLS}/github")).await["state"], "DELETED");
    let grants = rig.cloud.grants(&project_path()).await;
    assert!(!grants.iter().any(|grant| grant.contains("github-")), "{grants:?}");
    rig.place.write("environments/base.yaml", BASE);
    rig.deployer("apply dev --layer foundation --auto-approve").ok().await;
    rig.deployer("plan dev --layer foundation --detailed-exitcode").ok().await;
    as_account(&rig, "github-deploy", "plan dev --layer release").await.ok().await;
}
