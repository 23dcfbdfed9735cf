//! The apply fails, or is killed, at every one of its writes, before and after the write's effect. Running it again
//! brings everything in line, makes nothing twice and loses nothing.

use std::collections::BTreeSet;

use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rig::{Rig, Running, cloud_from};
use crate::support::{Cloud, PROJECT, Workplace, service_path};

/// Cases that run side by side.
const AT_ONCE: usize = 6;

#[derive(Clone, Copy, Debug)]
enum Blow {
    /// This write and all that follow answer 500.
    Fails,
    /// This write's connection breaks, once; `faults` does the same to each kind of write of a first apply.
    Breaks,
    /// The process is killed while this write has no answer.
    Kills,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    nth: usize,
    when: &'static str,
    blow: Blow,
    /// Every run makes this many writes, so the case has to strike.
    sure: bool,
}

impl Case {
    fn fault(self) -> Value {
        let (act, times) = match self.blow {
            Blow::Fails => (json!({"status": 500}), u64::MAX),
            Blow::Breaks => (json!({"drop": true}), 1),
            Blow::Kills => (json!({"hang": true}), 1),
        };
        json!({"match": {"writes": true}, "nth": self.nth, "times": times, "when": self.when, "do": act})
    }
}

/// Every write of a run that made `writes` of them, of which `sure` succeeded: those every run makes.
fn cases(writes: usize, sure: usize, blows: &'static [Blow]) -> Vec<Case> {
    let each = (1..=writes).flat_map(|nth| {
        let sides = ["before", "after"].into_iter();
        sides.flat_map(move |when| blows.iter().map(move |&blow| Case { nth, when, blow, sure: nth <= sure }))
    });
    each.collect()
}

/// A state to start from, and a change of the YAML to apply to it.
struct Scene {
    state: TempDir,
    edits: &'static [(&'static str, &'static str)],
    blows: &'static [Blow],
}

impl Scene {
    async fn rig(&self, copy: &TempDir) -> Rig {
        let rig = Rig::of(Workplace::agent_army(), cloud_from(self.state.path(), copy).await);
        self.edits.iter().for_each(|(from, to)| rig.edit(from, to));
        rig
    }

    /// Strikes the apply at every write.
    async fn survives_every_blow(&self) -> usize {
        let copy = TempDir::new().unwrap();
        let rig = self.rig(&copy).await;
        rig.apply().ok().await;
        let writes = rig.cloud.writes().await;
        let sure = writes.iter().filter(|call| call.status == Some(200)).count();
        assert!(sure > 2, "{writes:?}");
        let cases = cases(writes.len(), sure, self.blows);
        let count = cases.len();
        futures::stream::iter(cases)
            .map(|case| self.survives(case))
            .buffer_unordered(AT_ONCE)
            .collect::<()>()
            .await;
        count
    }

    async fn survives(&self, case: Case) {
        let copy = TempDir::new().unwrap();
        let rig = self.rig(&copy).await;
        let fault = rig.cloud.fault(case.fault()).await;
        match case.blow {
            Blow::Fails | Blow::Breaks => {
                let done = rig.apply().done().await;
                assert!(matches!(done.code, 0 | 1), "{case:?}: {done}");
                if done.code == 1 {
                    assert!(done.stdout.contains("failed"), "{case:?}: it does not say what failed\n{done}");
                }
            }
            Blow::Kills => {
                let mut running = Running::start(&rig.apply());
                tokio::select! {
                    () = rig.cloud.reached(&fault) => running.kill(),
                    () = running.ended() => {}
                }
                running.done().await;
            }
        }
        assert!(!case.sure || rig.cloud.hits(&fault).await > 0, "{case:?} did not strike");
        rig.cloud.remove_faults().await;
        let again = rig.apply().done().await;
        assert_eq!(again.code, 0, "{case:?}: the second run\n{again}");
        rig.settled(&format!("{case:?}")).await;
        nothing_twice(&rig.cloud, &format!("{case:?}")).await;
    }
}

/// One object of each name, one version of each secret, each grant once.
async fn nothing_twice(cloud: &Cloud, context: &str) {
    let state = cloud.state().await;
    let names = |collection: &str| -> Vec<String> {
        state[collection].as_object().map(|docs| docs.keys().cloned().collect()).unwrap_or_default()
    };
    assert_eq!(names("run.services").len(), 1, "{context}");
    assert_eq!(names("iam.serviceAccounts").len(), 1, "{context}: {:?}", state.as_object().unwrap().keys());
    let versions = names("secretmanager.versions");
    assert!(versions.iter().all(|name| name.ends_with("/versions/1")), "{context}: {versions:?}");
    assert_eq!(versions.len(), 5, "{context}: {versions:?}");
    for secret in names("secretmanager.secrets") {
        let id = secret.rsplit('/').next().unwrap();
        let path = format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/{id}");
        assert_eq!(members(&cloud.policy(&path).await), 1, "{context}: grants on {id}");
    }
}

fn members(policy: &Value) -> usize {
    let bindings = policy["bindings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let all: Vec<_> = bindings.iter().flat_map(|binding| binding["members"].as_array().unwrap()).collect();
    assert_eq!(all.len(), all.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len());
    all.len()
}

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

/// The state after a first apply.
async fn deployed() -> TempDir {
    let state = TempDir::new().unwrap();
    let options = gcp_sandbox::Options { state: Some(state.path().to_owned()), ..Cloud::options() };
    let rig = Rig::of(Workplace::agent_army(), Cloud::start(options).await);
    rig.apply().ok().await;
    rig.cloud.stop().await;
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_apply_survives_a_blow_at_every_write() {
    let scene = Scene { state: TempDir::new().unwrap(), edits: &[], blows: &[Blow::Fails, Blow::Kills] };
    let count = scene.survives_every_blow().await;
    println!("{count} ways to die");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_survives_a_blow_at_every_write() {
    let scene =
        Scene { state: deployed().await, edits: &UPDATE, blows: &[Blow::Fails, Blow::Breaks, Blow::Kills] };
    let count = scene.survives_every_blow().await;
    println!("{count} ways to die");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_closes_the_door_and_keeps_the_old_revision() {
    let scene =
        Scene { state: deployed().await, edits: &UPDATE, blows: &[Blow::Fails, Blow::Breaks, Blow::Kills] };
    let copy = TempDir::new().unwrap();
    let rig = scene.rig(&copy).await;
    rig.apply().ok().await;
    assert_eq!(members(&rig.cloud.policy(&service_path("agent-army-api-dev")).await), 0);
    let state = rig.cloud.state().await;
    assert_eq!(state["run.revisions"].as_object().unwrap().len(), 2);
}

/// The child holds the sandbox, too: with it the whole cloud goes down and comes back from its journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_a_sandbox_that_comes_back() {
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
            nothing_twice(&cloud, &format!("killed after {moment} changes")).await;
            cloud.stop().await;
        })
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}
