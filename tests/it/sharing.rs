//! What environments of one project have in common, and what only looks like it.

use crate::rig::Rig;
use crate::support::{Cloud, PROJECT, Workplace, shop};

const BASE: &str = shop!(
    r#"secrets:
  key: {generate: hex32}
services:
  front:
    name: shop-front
    service_account: "front-${env}"
    image: us-docker.pkg.dev/cloudrun/container/hello
    env: {WHERE: "${env}"}
    secrets: {KEY: key}
"#
);

fn overlay(name: &str, more: &str) -> String {
    format!("deployer: v1\nenvironment: {name}\n{more}\n")
}

fn place(environments: &[(&str, &str)]) -> Workplace {
    let place = Workplace::with(&[("environments/base.yaml", BASE)]);
    for (name, more) in environments {
        place.write(&format!("environments/{name}.yaml"), &overlay(name, more));
    }
    place
}

/// The environment that a secret is marked with.
async fn mark(rig: &Rig, secret: &str) -> String {
    let path = format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/{secret}");
    rig.cloud.read(&path).await["labels"]["deployer-env"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_one_name_in_two_regions_are_two_services() {
    let west = "target: sandbox\nregion: europe-west1";
    let rig = Rig::of(place(&[("one", "target: sandbox"), ("two", west)]), Cloud::fresh().await);
    rig.place.deployer("validate").ok().await;
    for environment in ["one", "two"] {
        rig.apply_to(environment).ok().await;
    }
    for environment in ["one", "two"] {
        rig.settled_in(environment, "both are there").await;
    }
    assert_eq!(mark(&rig, "key").await, "shared");

    rig.deployer("destroy two --auto-approve").ok().await;
    let left = rig.cloud.inventory().await;
    let services: Vec<_> = left.iter().filter(|entry| entry.starts_with("run.services ")).collect();
    assert_eq!(services.len(), 1, "{services:?}");
    assert!(services[0].contains("us-central1"), "{services:?}");
    assert!(left.iter().any(|entry| entry.ends_with("/secrets/key")), "{left:#?}");
    rig.settled_in("one", "two is destroyed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lives_in_a_sandbox_shares_nothing_with_google() {
    let named = |name: &str| format!("services: {{front: {{name: shop-{name}}}}}");
    let dev = format!("target: sandbox\nsecrets: {{key: {{description: Another}}}}\n{}", named("dev"));
    let (staging, production) = (named("staging"), "secrets: {key: {id: key-production}}".to_owned());
    let place = place(&[("dev", &dev), ("staging", &staging), ("production", &production)]);
    let rig = Rig::of(place, Cloud::fresh().await);
    rig.apply_to("staging").ok().await;
    assert_eq!(mark(&rig, "key").await, "staging");
    rig.deployer("destroy staging --auto-approve").ok().await;
    let left = rig.cloud.inventory().await;
    assert!(!left.iter().any(|entry| entry.ends_with("/secrets/key")), "{left:#?}");
}

#[tokio::test]
async fn a_disagreement_is_told_to_whoever_asks_for_either_environment() {
    let place = place(&[
        ("one", "services: {front: {name: front-one}}"),
        ("two", "services: {front: {name: front-two}}\nsecrets: {key: {description: Two}}"),
    ]);
    for environment in ["one", "two"] {
        let done = place.deployer(&format!("validate {environment}")).fails(1).await;
        assert!(done.stderr.contains("unequal-shared") || done.stdout.contains("unequal-shared"), "{done}");
    }
}
