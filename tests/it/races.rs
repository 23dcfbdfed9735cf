//! Several processes at once, and Ctrl-C in the middle of one.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::rig::{Rig, Running};
use crate::support::{Done, Workplace};

/// A value that came too late is destroyed, so that no secret has two.
fn every_secret_has_its_first_value(state: &Value) {
    let versions = state["secretmanager.versions"].as_object().unwrap().iter();
    let alive: Vec<_> =
        versions.filter(|(_, version)| version["state"] != "DESTROYED").map(|(name, _)| name).collect();
    assert_eq!(alive.len(), 5, "{alive:?}");
    assert!(alive.iter().all(|name| name.ends_with("/versions/1")), "{alive:?}");
}

/// Success, or a refusal that says what failed.
fn is_clean(done: &Done) {
    assert!(matches!(done.code, 0 | 1), "{done}");
    if done.code == 1 {
        assert!(done.to_string().contains("failed: ") || done.stderr.starts_with("error"), "{done}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_stood_still_while_another_ran_does_no_harm() {
    // Each time the first apply stops at another kind of write while the second one runs from start to end.
    let stops = [
        "*.batchEnable",
        "iam.*.serviceAccounts.create",
        "*.secrets.create",
        "*.addVersion",
        "secretmanager.*.setIamPolicy",
        "run.*.services.create",
        "run.*.services.setIamPolicy",
    ];
    for stop in stops {
        let rig = Rig::fresh().await;
        let fault = rig.cloud.fault(json!({"match": {"method": stop}, "nth": 1, "do": {"hang": true}})).await;
        let first = Running::start(&rig.apply());
        rig.cloud.reached(&fault).await;
        let second = rig.apply().done().await;
        assert_eq!(second.code, 0, "{stop}: nobody else moves, so this one gets through: {second}");
        rig.settled(stop).await;
        rig.cloud.remove_faults().await;
        is_clean(&first.done().await);
        rig.settled(stop).await;
        every_secret_has_its_first_value(&rig.cloud.state().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_applies_side_by_side_lose_nothing() {
    let rig = Rig::fresh().await;
    let (first, second) = tokio::join!(rig.apply().done(), rig.apply().done());
    is_clean(&first);
    is_clean(&second);
    if first.code + second.code == 2 {
        // Each was refused at something that the other had just made.
        rig.apply().ok().await;
    }
    rig.settled("after two applies").await;
    every_secret_has_its_first_value(&rig.cloud.state().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_applies_on_one_state_folder_share_the_sandbox() {
    let place = Workplace::agent_army();
    let (first, second) =
        tokio::join!(place.deployer("apply dev").done(), place.deployer("apply dev").done());
    is_clean(&first);
    is_clean(&second);
    if first.code + second.code > 0 {
        place.deployer("apply dev").ok().await;
    }
    let done = place.deployer("plan dev --detailed-exitcode").done().await;
    assert_eq!(done.code, 0, "{done}");
    let cloud = place.cloud().await;
    every_secret_has_its_first_value(&cloud.state().await);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_runs_by_itself_knows_the_projects_of_its_checkout() {
    let place = Workplace::agent_army();
    let mut sandbox = place.deployer("sandbox").spawn();
    let mut line = String::new();
    let mut said = BufReader::new(sandbox.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let done = place.deployer("apply dev").done().await;
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    assert!(line.contains("http://127.0.0.1:"), "{line}");
    assert_eq!(done.code, 0, "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_finishes_what_is_in_flight_and_reports() {
    let rig = Rig::fresh().await;
    let fault = rig
        .cloud
        .fault(json!({"match": {"method": "*.serviceAccounts.create"}, "nth": 1, "do": {"hang": true}}))
        .await;
    let mut running = Running::start(&rig.apply());
    rig.cloud.reached(&fault).await;
    running.interrupt();
    running.says("Ctrl-C").await;
    rig.cloud.remove_faults().await;
    let done = running.done().await;
    assert_eq!(done.code, 130, "{done}");
    assert!(done.stdout.contains("Interrupted"), "{done}");
    assert!(done.stdout.contains("interrupted before it was started"), "{done}");
    assert_eq!(
        rig.cloud.state().await["iam.serviceAccounts"].as_object().unwrap().len(),
        1,
        "it was in flight"
    );
    assert!(rig.cloud.state().await["run.services"].as_object().is_none_or(serde_json::Map::is_empty));
    rig.apply().ok().await;
    rig.settled("the next run").await;
}

/// Starts a command that hangs while it looks, and interrupts it.
async fn interrupted_while_looking(rig: &Rig, words: &str) -> Done {
    let fault =
        rig.cloud.fault(json!({"match": {"method": "run.*.services.list"}, "do": {"hang": true}})).await;
    let running = Running::start(&rig.deployer(words));
    rig.cloud.reached(&fault).await;
    running.interrupt();
    let done = running.done().await;
    rig.cloud.remove_faults().await;
    assert_eq!(done.code, 130, "{words}: {done}");
    assert!(done.stderr.contains("interrupted: nothing was changed"), "{words}: {done}");
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_while_planning_has_an_answer() {
    let rig = Rig::fresh().await;
    // The list of services is asked for once its API is there.
    rig.apply().ok().await;
    for words in ["plan dev", "apply dev --auto-approve", "drift dev"] {
        let done = interrupted_while_looking(&rig, words).await;
        assert_eq!(done.stdout, "", "{words}");
        let done = interrupted_while_looking(&rig, &format!("{words} --output json")).await;
        assert_eq!(done.json()["error"]["message"], "interrupted: nothing was changed", "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_after_an_edit_keeps_what_is_told_of_the_edit() {
    let rig = Rig::fresh().await;
    rig.apply().ok().await;
    let document = interrupted_while_looking(&rig, "tenants add dev acme --output json").await.json();
    assert_eq!(document["edit"]["tenant"], "acme");
    assert_eq!(document["error"]["message"], "interrupted: nothing was changed");
    assert!(rig.place.read("environments/base.yaml").contains("acme: {}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ctrl_c_stops_at_once_and_says_what_may_be_half_done() {
    let rig = Rig::fresh().await;
    let fault = rig
        .cloud
        .fault(json!({"match": {"method": "run.*.services.create"}, "nth": 1, "do": {"hang": true}}))
        .await;
    let mut running = Running::start(&rig.apply());
    rig.cloud.reached(&fault).await;
    running.interrupt();
    running.says("Ctrl-C").await;
    running.interrupt();
    let done = running.done().await;
    assert_eq!(done.code, 130, "{done}");
    assert!(done.stdout.contains("half done"), "{done}");
    assert!(done.stdout.contains("run_service/agent-army-api-dev"), "{done}");
    rig.cloud.remove_faults().await;
    rig.apply().ok().await;
    rig.settled("the next run").await;
}
