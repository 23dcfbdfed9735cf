//! What a bad day at Google does to a run: it is waited out, or told in clear errors that the next run mends. Every
//! method that deployer calls meets every trouble.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rig::{Rig, cloud_from, deployed, nothing_twice_or_lost};
use crate::support::{
    Cloud, Done, PROJECT, Run, Workplace, account_path, job_path, repository, repository_path,
};

/// Cases that run side by side.
const AT_ONCE: usize = 4;

/// Cases that do nothing but wait for an answer that never comes.
const WAITING_AT_ONCE: usize = 32;

/// Runs after which everything has to be in line, whatever struck.
const RUNS: usize = 12;

/// A state to start from, a change of the YAML, and a command.
struct Scene {
    name: &'static str,
    state: TempDir,
    place: fn() -> Workplace,
    edits: &'static [(&'static str, &'static str)],
    command: &'static str,
}

/// Something that happens to a call.
struct Trouble {
    act: Value,
    when: &'static str,
    /// Reads are struck, too.
    reads: bool,
}

impl Scene {
    async fn rig(&self, copy: &TempDir) -> Rig {
        let rig = Rig::of((self.place)(), cloud_from(self.state.path(), copy).await);
        self.edits.iter().for_each(|(from, to)| rig.edit(from, to));
        rig
    }

    fn run(&self, rig: &Rig) -> Run {
        rig.deployer(self.command)
    }

    /// What a run without trouble calls (and whether that writes), and what there is afterwards.
    async fn undisturbed(&self) -> (BTreeMap<String, bool>, BTreeSet<String>) {
        let copy = TempDir::new().unwrap();
        let rig = self.rig(&copy).await;
        self.run(&rig).ok().await;
        let calls = rig.cloud.calls().await.into_iter();
        let methods = calls.map(|call| (call.method.unwrap(), call.write)).collect();
        (methods, rig.cloud.inventory().await)
    }

    /// Strikes the first call of each of the methods at once, and runs until there is nothing to do.
    /// Answers how many runs that took.
    async fn survives(&self, trouble: &Trouble, methods: &[&str], wanted: &BTreeSet<String>) -> usize {
        let context = format!("{}: {} {} of {methods:?}", self.name, trouble.act, trouble.when);
        let copy = TempDir::new().unwrap();
        let rig = self.rig(&copy).await;
        let mut faults = Vec::new();
        for method in methods {
            let fault =
                json!({"match": {"method": method}, "nth": 1, "when": trouble.when, "do": trouble.act});
            faults.push((method, rig.cloud.fault(fault).await));
        }
        let mut failures = 0;
        loop {
            let done = self.run(&rig).done().await;
            if done.code == 0 {
                break;
            }
            failures += 1;
            is_clear(&done, &context);
            assert!(failures < RUNS, "{context}: it never ends well\n{done}");
        }
        for (method, fault) in &faults {
            assert!(rig.cloud.hits(fault).await > 0, "{context}: {method} was not struck");
        }
        rig.cloud.forget_calls().await;
        let done = self.run(&rig).ok().await;
        assert_eq!(rig.cloud.writes().await.len(), 0, "{context}: there still was something to do\n{done}");
        nothing_twice_or_lost(&rig.cloud, wanted, &context).await;
        failures + 1
    }

    /// Passing trouble of every method: one run waits it out.
    async fn absorbs(&self, act: Value) {
        let (methods, wanted) = &self.undisturbed().await;
        let trouble = Trouble { act, when: "before", reads: true };
        let methods: Vec<_> = methods.keys().map(String::as_str).collect();
        let runs = self.survives(&trouble, &methods, wanted).await;
        assert_eq!(runs, 1, "{}: {} is not waited out", self.name, trouble.act);
    }

    /// Strikes all methods at once with each trouble; what hides another strike behind its failure lets it through in
    /// the next run.
    async fn survives_all(&self, troubles: &[Trouble]) {
        let (methods, wanted) = &self.undisturbed().await;
        let cases = troubles.iter().map(|trouble| async move {
            let struck = methods.iter().filter(|(_, write)| **write || trouble.reads);
            let struck: Vec<_> = struck.map(|(method, _)| method.as_str()).collect();
            self.survives(trouble, &struck, wanted).await;
        });
        let cases: Vec<_> = cases.collect();
        futures::stream::iter(cases).buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

/// A failed run says what failed and why, in words: either one error, or a report with each change that failed.
fn is_clear(done: &Done, context: &str) {
    assert_eq!(done.code, 1, "{context}: {done}");
    let errors = done.stderr.matches("error: ").count();
    let failed = done.stdout.matches("\nfailed: ").count();
    assert!(errors == 1 || (errors == 0 && failed > 0), "{context}: it does not say what failed\n{done}");
    let raw = ["<html", "panicked", "reqwest::", "hyper::"];
    let raw: Vec<_> = raw.iter().filter(|word| done.to_string().contains(**word)).collect();
    assert!(raw.is_empty(), "{context}: {raw:?} means nothing to people\n{done}");
}

/// Everything is made.
fn first_apply() -> Scene {
    Scene {
        name: "a first apply",
        state: TempDir::new().unwrap(),
        place: Workplace::shop,
        edits: &[],
        command: "apply dev --auto-approve",
    }
}

/// Everything that can be changed in place is changed, and grants come and go.
async fn change() -> Scene {
    Scene {
        name: "a change",
        state: deployed(Workplace::shop, &["dev"]).await,
        place: Workplace::shop,
        edits: &[
            ("memory: 512Mi", "memory: 1Gi"),
            ("access: public", "access: private"),
            ("command: [tidy]", "command: [tidy, --all]"),
            ("database-url-${env}\"}", "database-url-${env}\", description: The database}"),
            ("    roles: [roles/cloudtrace.agent]\n", ""),
            ("repository_id: 900000001", "repository_id: 900000003"),
        ],
        command: "apply dev --auto-approve",
    }
}

/// A pool was deleted by hand and comes back with its provider; an account was given another name; a job and the
/// repository were opened to everybody.
async fn restore() -> Scene {
    let state = deployed(Workplace::shop, &["dev"]).await;
    let options = gcp_sandbox::Options { state: Some(state.path().to_owned()), ..Cloud::options() };
    let cloud = Cloud::start(options).await;
    let pool =
        format!("/iam.googleapis.com/v1/projects/{PROJECT}/locations/global/workloadIdentityPools/github");
    for path in [format!("{pool}/providers/actions"), pool] {
        assert_eq!(cloud.console("DELETE", &path, None).await.0, 200);
    }
    let renamed = json!({"serviceAccount": {"displayName": "by hand"}, "updateMask": "displayName"});
    assert_eq!(cloud.console("PATCH", &account_path("ci-plan"), Some(&renamed)).await.0, 200);
    cloud.grant(&job_path("tidy-dev"), "roles/run.invoker", "allUsers").await;
    cloud.grant(&repository_path("shop"), "roles/artifactregistry.reader", "allUsers").await;
    cloud.stop().await;
    Scene {
        name: "a restore",
        state,
        place: Workplace::shop,
        edits: &[],
        command: "apply dev --auto-approve",
    }
}

/// The service's image lies in the system's own registry.
const OWN_IMAGE: (&str, &str) = ("    image: us-docker.pkg.dev/cloudrun/container/hello\n", "");

/// A state in which two versions of the own image are there, after these commands.
async fn pushed(commands: &[&str]) -> TempDir {
    let state = deployed(Workplace::shop, &["dev"]).await;
    let options = gcp_sandbox::Options { state: Some(state.path().to_owned()), ..Cloud::options() };
    let rig = Rig::of(Workplace::shop(), Cloud::start(options).await);
    rig.edit(OWN_IMAGE.0, OWN_IMAGE.1);
    for tag in ["v1", "v2"] {
        rig.cloud.push(&format!("us-central1-docker.pkg.dev/{PROJECT}/shop/web:{tag}")).await;
    }
    for command in commands {
        rig.deployer(command).ok().await;
    }
    rig.cloud.stop().await;
    state
}

/// The own image is released for the first time.
async fn release() -> Scene {
    Scene {
        name: "a release",
        state: pushed(&[]).await,
        place: Workplace::shop,
        edits: &[OWN_IMAGE],
        command: "apply dev --auto-approve --tag v1",
    }
}

/// The next version is released.
async fn next_release() -> Scene {
    Scene {
        name: "the next release",
        state: pushed(&["apply dev --auto-approve --tag v1"]).await,
        place: Workplace::shop,
        edits: &[OWN_IMAGE],
        command: "apply dev --auto-approve --tag v2",
    }
}

/// The service leaves the registry, whose settings change.
async fn farewell() -> Scene {
    Scene {
        name: "a farewell",
        state: pushed(&["apply dev --auto-approve --tag v1"]).await,
        place: Workplace::shop,
        edits: &[("{repository: shop}", "{repository: shop, description: Empty soon}")],
        command: "apply dev --auto-approve --prune",
    }
}

async fn scenes() -> [Scene; 7] {
    [
        first_apply(),
        change().await,
        restore().await,
        release().await,
        next_release().await,
        farewell().await,
        destruction().await,
    ]
}

/// Everything goes: no other environment needs it.
async fn destruction() -> Scene {
    let place = || {
        let place = Workplace::shop();
        for environment in ["staging", "production"] {
            std::fs::remove_file(place.path(&format!("environments/{environment}.yaml"))).unwrap();
        }
        place
    };
    Scene {
        name: "a destruction",
        state: deployed(place, &["dev"]).await,
        place,
        edits: &[],
        command: "destroy dev --auto-approve",
    }
}

/// Every answer that is a failure, before the call had its effect and after it, and connections that break.
fn failures() -> Vec<Trouble> {
    let acts = [
        json!({"status": 429}),
        json!({"quota": true, "retryAfter": 1}),
        json!({"status": 500}),
        json!({"status": 502, "html": true}),
        json!({"status": 503}),
        json!({"drop": true}),
    ];
    let before = acts.clone().into_iter().map(|act| Trouble { act, when: "before", reads: true });
    // A refusal for quota has no effect.
    let after = acts.into_iter().skip(2).map(|act| Trouble { act, when: "after", reads: false });
    before.chain(after).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_apply_survives_every_failure_of_every_method() {
    first_apply().survives_all(&failures()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_survives_every_failure_of_every_method() {
    change().await.survives_all(&failures()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_survives_every_failure_of_every_method() {
    restore().await.survives_all(&failures()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_survives_every_failure_of_every_method() {
    release().await.survives_all(&failures()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_release_survives_every_failure_of_every_method() {
    next_release().await.survives_all(&failures()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_the_registry_survives_every_failure_of_every_method() {
    farewell().await.survives_all(&failures()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destruction_survives_every_failure_of_every_method() {
    destruction().await.survives_all(&failures()).await;
}

/// Refusals have no effect, so that they are waited out whatever was called.
#[tokio::test(flavor = "multi_thread")]
async fn one_run_waits_for_quotas_of_every_method() {
    let quota = json!({"quota": true, "retryAfter": 1});
    let scenes = scenes().await;
    let cases = scenes.iter().map(|scene| scene.absorbs(quota.clone()));
    let cases: Vec<_> = cases.collect();
    futures::stream::iter(cases).buffer_unordered(AT_ONCE).collect::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_edit_in_the_same_moment_is_never_overwritten() {
    let moved = [Trouble { act: json!({"stale_etag": true}), when: "before", reads: false }];
    for scene in scenes().await {
        scene.survives_all(&moved).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_failing_operations_end_well_now_or_in_the_next_run() {
    let fails = json!({"operation_fails": {"code": 13, "message": "The frobnicator is broken."}});
    let operations =
        [json!({"slow_operation": 7}), fails].map(|act| Trouble { act, when: "before", reads: false });
    for scene in scenes().await {
        scene.survives_all(&operations).await;
    }
}

/// All methods at once would wait one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_is_given_up_and_asked_for_again() {
    let hang = &Trouble { act: json!({"hang": true}), when: "after", reads: true };
    let scenes = scenes().await;
    let mut met = Vec::new();
    for scene in &scenes {
        met.push((scene, scene.undisturbed().await));
    }
    let (mut seen, mut cases) = (BTreeSet::new(), Vec::new());
    for (scene, (methods, wanted)) in &met {
        let new = methods.keys().filter(|method| seen.insert((*method).clone()));
        cases.extend(new.map(|method| async move { scene.survives(hang, &[method], wanted).await }));
    }
    futures::stream::iter(cases).buffer_unordered(WAITING_AT_ONCE).collect::<Vec<_>>().await;
}

/// Methods that no scene meets, and why.
const ELSEWHERE: [(&str, &str); 10] = [
    ("iam.projects.locations.workloadIdentityPools", "a collection, whose methods are put together"),
    ("iam.projects.locations.workloadIdentityPools.providers", "the same"),
    ("serviceusage.services.enable", "a permission, which a hint names"),
    (
        "secretmanager.projects.secrets.versions.destroy",
        "when two runs make the same first value, see `races`",
    ),
    ("run.projects.locations.jobs.run", "no scene has a migration, see `executions`"),
    ("run.projects.locations.jobs.executions.get", "the same"),
    ("run.projects.locations.jobs.executions.list", "the same"),
    ("run.projects.locations.jobs.executions.tasks.list", "the same"),
    ("run.projects.locations.services.revisions.list", "of `rollback` and `status`, see `rollback`"),
    ("artifactregistry.projects.locations.repositories.dockerImages.get", "of `rollback`, see `images`"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_method_that_deployer_knows_is_met_by_a_scene() {
    let mut met = BTreeSet::new();
    for scene in scenes().await {
        met.extend(scene.undisturbed().await.0.into_keys());
    }
    let sources = std::fs::read_dir(repository().join("src/gcp")).unwrap();
    let sources = sources.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    let text: String = sources.collect();
    let known = text.split('"').filter(|word| is_method(word)).map(str::to_owned);
    let known: BTreeSet<_> = known.collect();
    assert!(known.len() > 30, "{known:?}");
    let elsewhere: BTreeSet<_> = ELSEWHERE.iter().map(|(method, _)| (*method).to_owned()).collect();
    let unmet: Vec<_> = known.difference(&met).filter(|method| !elsewhere.contains(*method)).collect();
    assert!(unmet.is_empty(), "{unmet:#?}");
}

/// `run.projects.locations.services.list`, and no host or permission.
fn is_method(word: &str) -> bool {
    let starts = ["serviceusage.services.", "cloudresourcemanager.projects."];
    let inner = ["artifactregistry.", "iam.", "run.", "secretmanager."].map(|api| format!("{api}projects."));
    let known = starts.iter().copied().chain(inner.iter().map(String::as_str));
    known.into_iter().any(|start| word.starts_with(start))
        && word.chars().all(|c| c.is_ascii_alphabetic() || c == '.')
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_stays_is_one_clear_error_and_nothing_is_written() {
    let faults = [
        json!({"match": {"method": "serviceusage.services.list"}, "do": {"status": 503, "message": "We are down."}}),
        json!({"match": {"method": "cloudresourcemanager.projects.get"}, "do": {"status": 502, "html": true}}),
        json!({"match": {"method": "serviceusage.services.list"}, "do": {"status": 403, "message": "You may not."}}),
    ];
    let check = |fault: Value| async move {
        let rig = Rig::fresh().await;
        let id = rig.cloud.fault(fault.clone()).await;
        let done = rig.apply().done().await;
        assert!(rig.cloud.hits(&id).await > 0, "{fault} did not strike: {done}");
        is_clear(&done, &fault.to_string());
        assert_eq!(done.stderr.matches("error").count(), 1, "{fault}: {done}");
        assert_eq!(rig.cloud.writes().await.len(), 0, "{fault}: {done}");
    };
    futures::stream::iter(faults.map(check)).buffer_unordered(AT_ONCE).collect::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_fails_is_told_with_its_reason() {
    let rig = Rig::fresh().await;
    let act = json!({"operation_fails": {"code": 13, "message": "The frobnicator is broken."}});
    rig.cloud.fault(json!({"match": {"method": "*.batchEnable"}, "nth": 1, "do": act})).await;
    let done = rig.apply().done().await;
    assert_eq!(done.code, 1, "{done}");
    assert!(done.stdout.contains("The frobnicator is broken."), "{done}");
    rig.apply().ok().await;
    rig.settled("the second run").await;
}
