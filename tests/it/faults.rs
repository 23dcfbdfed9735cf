//! What a bad day at Google does to an apply: it is waited out, or told in one clear error that a second run mends.

use futures::StreamExt;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::support::Done;

/// Strikes the first apply of an empty project.
async fn under(fault: &Value) -> (Rig, Done) {
    let rig = Rig::fresh().await;
    let id = rig.cloud.fault(fault.clone()).await;
    let done = rig.apply().done().await;
    assert!(rig.cloud.hits(&id).await > 0, "{fault} did not strike: {done}");
    (rig, done)
}

async fn all(faults: Vec<Value>, check: impl AsyncFn(Value)) {
    let check = &check;
    futures::stream::iter(faults).for_each_concurrent(6, |fault| async move { check(fault).await }).await;
}

/// Passing troubles of calls that may be repeated.
fn passing() -> Vec<Value> {
    let trouble = [
        json!({"quota": true, "retryAfter": 1}),
        json!({"status": 500}),
        json!({"status": 502, "html": true}),
        json!({"status": 503}),
        json!({"drop": true}),
    ];
    let reads =
        ["serviceusage.services.list", "run.*.services.getIamPolicy", "secretmanager.*.versions.list"];
    let calls = reads.iter().flat_map(|method| {
        let trouble = trouble.clone();
        trouble.map(|act| json!({"match": {"method": method}, "nth": 1, "do": act}))
    });
    let mut faults: Vec<_> = calls.collect();
    // Whatever is called, a refusal for quota had no effect.
    for method in [
        "*.batchEnable",
        "*.secrets.create",
        "*.addVersion",
        "iam.*.serviceAccounts.create",
        "run.*.services.create",
    ] {
        faults.push(json!({"match": {"method": method}, "nth": 1, "do": {"quota": true, "retryAfter": 1}}));
    }
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_trouble_is_waited_out() {
    all(passing(), async |fault| {
        let (rig, done) = under(&fault).await;
        assert_eq!(done.code, 0, "{fault}: {done}");
        rig.settled(&fault.to_string()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_unknown_effect_ends_well_now_or_in_the_next_run() {
    let methods = [
        "*.batchEnable",
        "iam.*.serviceAccounts.create",
        "*.secrets.create",
        "*.addVersion",
        "secretmanager.*.setIamPolicy",
        "run.*.services.create",
        "run.*.services.setIamPolicy",
        "run.*.operations.wait",
    ];
    let acts = [json!({"status": 500}), json!({"status": 502, "html": true}), json!({"drop": true})];
    let faults = methods.iter().flat_map(|method| {
        let acts = acts.clone();
        let sides = ["before", "after"].into_iter();
        sides.flat_map(move |when| {
            acts.clone().map(|act| json!({"match": {"method": method}, "nth": 1, "when": when, "do": act}))
        })
    });
    all(faults.collect(), async |fault| {
        let (rig, done) = under(&fault).await;
        assert!(matches!(done.code, 0 | 1), "{fault}: {done}");
        if done.code == 1 {
            assert_eq!(done.stdout.matches("\nfailed: ").count(), 1, "{fault}: {done}");
            rig.apply().ok().await;
        }
        rig.settled(&fault.to_string()).await;
        let versions = rig.cloud.state().await["secretmanager.versions"].as_object().unwrap().len();
        assert_eq!(versions, 5, "{fault}: no secret has a second value");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_edit_in_the_same_moment_is_never_overwritten() {
    // Policies are read again and edited again.
    let (rig, done) =
        under(&json!({"match": {"method": "*.setIamPolicy"}, "nth": 1, "do": {"stale_etag": true}})).await;
    assert_eq!(done.code, 0, "{done}");
    rig.settled("a policy moved").await;
    // A service or secret that moved is a stale plan: the next one sees what is there.
    for (from, to, method) in [
        ("memory: 512Mi", "memory: 1Gi", "run.*.services.patch"),
        ("openai-api-key: {}", "openai-api-key: {description: For agents}", "secretmanager.*.secrets.patch"),
    ] {
        rig.edit(from, to);
        let fault =
            rig.cloud.fault(json!({"match": {"method": method}, "nth": 1, "do": {"stale_etag": true}})).await;
        let done = rig.apply().done().await;
        assert_eq!(rig.cloud.hits(&fault).await, 1, "{done}");
        assert!(matches!(done.code, 0 | 1), "{method}: {done}");
        if done.code == 1 {
            assert_eq!(done.stdout.matches("\nfailed: ").count(), 1, "{method}: {done}");
            rig.apply().ok().await;
        }
        rig.settled(method).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_stays_is_one_clear_error_and_nothing_is_written() {
    let faults = vec![
        json!({"match": {"method": "serviceusage.services.list"}, "do": {"status": 503, "message": "We are down."}}),
        json!({"match": {"method": "cloudresourcemanager.projects.get"}, "do": {"status": 502, "html": true}}),
        json!({"match": {"method": "serviceusage.services.list"}, "do": {"status": 403, "message": "You may not."}}),
    ];
    all(faults, async |fault| {
        let (rig, done) = under(&fault).await;
        assert_eq!(done.code, 1, "{fault}: {done}");
        assert_eq!(done.stderr.matches("error").count(), 1, "{fault}: {done}");
        assert!(!done.stderr.contains("<html"), "{fault}: {done}");
        assert_eq!(rig.cloud.writes().await.len(), 0, "{fault}: {done}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_fails_is_told_with_its_reason() {
    let act = json!({"operation_fails": {"code": 13, "message": "The frobnicator is broken."}});
    let (rig, done) = under(&json!({"match": {"method": "*.batchEnable"}, "nth": 1, "do": act})).await;
    assert_eq!(done.code, 1, "{done}");
    assert!(done.stdout.contains("The frobnicator is broken."), "{done}");
    rig.apply().ok().await;
    rig.settled("the second run").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_operation_is_waited_for() {
    let act = json!({"slow_operation": 7});
    let (rig, done) =
        under(&json!({"match": {"method": "run.*.services.create"}, "nth": 1, "do": act})).await;
    assert_eq!(done.code, 0, "{done}");
    rig.settled("after a slow operation").await;
}
