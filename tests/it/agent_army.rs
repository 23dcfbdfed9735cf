//! The example `python-api`: agent-army's three environments in one project, as far as deployer knows its kinds.

use std::collections::BTreeSet;

use crate::rig::{Rig, nothing_twice_or_lost};
use crate::support::{Cloud, ENVIRONMENTS, Run, Workplace, repository};

/// What a first release says: nothing has been pushed to the registry of the system yet.
const IMAGE: &str = "api=us-docker.pkg.dev/cloudrun/container/hello";

fn army() -> Workplace {
    let place = Workplace::empty();
    for name in ["base", "dev", "staging", "production"] {
        let file = format!("environments/{name}.yaml");
        let text = std::fs::read_to_string(repository().join("examples/python-api").join(&file)).unwrap();
        // The sandbox of these tests has another project, and everything in it goes without a person's values.
        let text = text.replace("id: your-agent-army", "id: agent-army-example");
        let text = match name {
            "staging" | "production" => format!("{text}\ntarget: sandbox\n"),
            _ => text,
        };
        place.write(&file, &text);
    }
    // On a sandbox what is built follows its sources; as at Google, a release says here which image it is.
    let build = "    build: {builder: docker, template: python-uv, app: \"src.app.main:app\"}\n";
    place.edit("environments/base.yaml", build, "");
    place
}

async fn rig() -> Rig {
    Rig::of(army(), Cloud::fresh().await)
}

fn first_apply(rig: &Rig, environment: &str) -> Run {
    rig.apply_to(environment).args(["--image", IMAGE])
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_of_one_project_settle_side_by_side_in_any_order() {
    let orders = [["staging", "production", "dev"], ["dev", "production", "staging"]];
    let mut inventories = Vec::new();
    for order in orders {
        let rig = rig().await;
        for environment in order {
            first_apply(&rig, environment).ok().await;
        }
        for environment in order {
            rig.settled_in(environment, &format!("{order:?}")).await;
        }
        inventories.push((rig.cloud.inventory().await, rig));
    }
    let (wanted, _) = &inventories[0];
    nothing_twice_or_lost(&inventories[1].1.cloud, wanted, "in the other order").await;
}

/// `RESOURCE: ROLE MEMBER` of all grants.
async fn grants(rig: &Rig) -> BTreeSet<String> {
    rig.cloud.inventory().await.into_iter().filter(|entry| entry.contains(": roles/")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_of_one_environment_never_disturbs_another() {
    let rig = rig().await;
    first_apply(&rig, "staging").ok().await;
    let of_staging = grants(&rig).await;
    first_apply(&rig, "production").ok().await;
    let of_both = grants(&rig).await;
    assert!(of_both.is_superset(&of_staging), "{:#?}", of_staging.difference(&of_both));
    let own = |environment: &str, all: &BTreeSet<String>| -> Vec<String> {
        all.iter().filter(|grant| grant.contains(environment)).cloned().collect()
    };
    assert!(own("production", &of_both).len() > 10, "{of_both:#?}");

    // A grant that only production has goes, and one that both have stays for staging.
    rig.place.edit("environments/production.yaml", "      NOTION_TOKEN: notion-token\n", "");
    rig.apply_to("production").ok().await;
    let fewer = grants(&rig).await;
    let gone: Vec<_> = of_both.difference(&fewer).collect();
    assert!(gone.len() == 1 && gone[0].contains("notion-token"), "{gone:#?}");
    rig.settled_in("staging", "production changed").await;

    rig.deployer("destroy staging --auto-approve").ok().await;
    let left = grants(&rig).await;
    assert_eq!(own("production", &left), own("production", &fewer));
    rig.settled_in("production", "staging is destroyed").await;
    first_apply(&rig, "staging").ok().await;
    assert_eq!(grants(&rig).await, fewer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_by_tag_moves_one_environment_and_no_other() {
    let rig = rig().await;
    for environment in ENVIRONMENTS {
        first_apply(&rig, environment).ok().await;
    }
    let image = "us-central1-docker.pkg.dev/agent-army-example/agent-army/api:v1";
    let digest = rig.cloud.push(image).await;
    rig.apply_to("staging").args(["--tag", "v1"]).ok().await;
    let image_of =
        async |service: &str| rig.cloud.service(service).await["template"]["containers"][0]["image"].clone();
    assert!(image_of("agent-army-api-staging").await.as_str().unwrap().ends_with(&digest));
    assert!(!image_of("sales-agent-production").await.as_str().unwrap().ends_with(&digest));
    for environment in ENVIRONMENTS {
        rig.settled_in(environment, "staging was released").await;
    }
}
