//! The apply fails, or is killed, at every one of its writes, before and after the write's effect. Running it again
//! brings everything in line, makes nothing twice and loses nothing.

use futures::StreamExt;
use tempfile::TempDir;

use crate::blows::{AT_ONCE, Blow, Scene};
use crate::rig::{Running, deployed, nothing_twice_or_lost};
use crate::support::{Cloud, ENVIRONMENTS, Workplace, service_path};

/// Moves that change a running service: another shape, a variable that becomes a secret, the public shut out.
const UPDATE: [(&str, &str); 4] = [
    ("memory: 512Mi", "memory: 1Gi"),
    ("      JWT_ALGORITHM: HS256\n", ""),
    (
        "      DATABASE_URL: database-url",
        "      JWT_ALGORITHM: openai-api-key\n      DATABASE_URL: database-url",
    ),
    ("    allow_unauthenticated: true\n", ""),
];

/// A running service of the repository's environments that is changed.
async fn update() -> Scene {
    Scene {
        state: deployed(Workplace::agent_army, &["dev"]).await,
        place: Workplace::agent_army,
        options: Cloud::options,
        command: "apply dev --auto-approve".to_owned(),
        settled: vec!["dev"],
        edits: &UPDATE,
        blows: &[Blow::Fails, Blow::Breaks, Blow::Kills],
    }
}

/// The first apply of an environment of the small system that has every kind, beside those applied before it.
async fn first_apply(index: usize) {
    let scene = Scene {
        state: deployed(Workplace::shop, &ENVIRONMENTS[..index]).await,
        place: Workplace::shop,
        options: Cloud::options,
        command: format!("apply {} --auto-approve", ENVIRONMENTS[index]),
        settled: ENVIRONMENTS[..=index].to_vec(),
        edits: &[],
        blows: &[Blow::Fails, Blow::Kills],
    };
    let blows = scene.survives_every_blow(async |_, _| {}).await;
    assert!(blows.ways >= 40 && blows.sure > 0, "only {blows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_apply_survives_a_blow_at_every_write() {
    first_apply(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_environment_survives_a_blow_at_every_write() {
    first_apply(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_environment_survives_a_blow_at_every_write() {
    first_apply(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_survives_a_blow_at_every_write() {
    let blows = update().await.survives_every_blow(async |_, _| {}).await;
    assert!(blows.ways >= 18 && blows.sure > 0, "only {blows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_closes_the_door_and_keeps_the_old_revision() {
    let scene = update().await;
    let copy = TempDir::new().unwrap();
    let rig = scene.rig(&copy).await;
    rig.apply().ok().await;
    assert_eq!(rig.cloud.grants(&service_path("agent-army-api-dev")).await, Vec::<String>::new());
    let state = rig.cloud.state().await;
    assert_eq!(state["run.revisions"].as_object().unwrap().len(), 2);
}

/// The child holds the sandbox, too: with it the whole cloud goes down and comes back from its journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_a_sandbox_that_comes_back() {
    let whole = Workplace::agent_army();
    whole.deployer("apply dev").ok().await;
    let cloud = whole.cloud().await;
    let wanted = &cloud.inventory().await;
    cloud.stop().await;
    let moments = futures::stream::iter([1_usize, 4, 8, 12, 17, 21]);
    moments
        .map(|moment| async move {
            let place = Workplace::agent_army();
            let mut running = Running::start(&place.deployer("apply dev"));
            let mut finished = 0;
            while let Some(line) = running.line().await {
                finished += usize::from(line.starts_with('['));
                if finished == moment {
                    running.kill();
                    break;
                }
            }
            assert_eq!(finished, moment);
            running.done().await;
            place.deployer("apply dev").ok().await;
            let done = place.deployer("plan dev --detailed-exitcode").done().await;
            assert_eq!(done.code, 0, "killed after {moment} changes: {done}");
            let cloud = place.cloud().await;
            nothing_twice_or_lost(&cloud, wanted, &format!("killed after {moment} changes")).await;
            cloud.stop().await;
        })
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}
