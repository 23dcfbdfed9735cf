//! The apply fails, or is killed, at every one of its writes, before and after the write's effect. Running it again
//! brings everything in line, makes nothing twice and loses nothing.

use std::collections::BTreeSet;

use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rig::{Rig, Running, cloud_from, deployed, nothing_twice_or_lost, sure_writes};
use crate::support::{ENVIRONMENTS, Run, Workplace, service_path};

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

/// A state to start from, a change of the YAML, and the environment to apply.
struct Scene {
    state: TempDir,
    place: fn() -> Workplace,
    environment: &'static str,
    /// Environments that are as their YAML says, and stay so.
    settled: &'static [&'static str],
    edits: &'static [(&'static str, &'static str)],
    blows: &'static [Blow],
}

impl Scene {
    async fn rig(&self, copy: &TempDir) -> Rig {
        let rig = Rig::of((self.place)(), cloud_from(self.state.path(), copy).await);
        self.edits.iter().for_each(|(from, to)| rig.edit(from, to));
        rig
    }

    fn apply(&self, rig: &Rig) -> Run {
        rig.apply_to(self.environment)
    }

    /// Strikes the apply at every write. Answers in how many ways.
    async fn survives_every_blow(&self) -> usize {
        let copy = TempDir::new().unwrap();
        let rig = self.rig(&copy).await;
        self.apply(&rig).ok().await;
        let writes = rig.cloud.writes().await;
        let sure = sure_writes(&writes);
        assert!(sure > 0, "{writes:?}");
        let wanted = &rig.cloud.inventory().await;
        let cases = cases(writes.len(), sure, self.blows);
        let count = cases.len();
        futures::stream::iter(cases)
            .map(|case| self.survives(case, wanted))
            .buffer_unordered(AT_ONCE)
            .collect::<()>()
            .await;
        count
    }

    async fn survives(&self, case: Case, wanted: &BTreeSet<String>) {
        let copy = TempDir::new().unwrap();
        let rig = self.rig(&copy).await;
        let fault = rig.cloud.fault(case.fault()).await;
        match case.blow {
            Blow::Fails | Blow::Breaks => {
                let done = self.apply(&rig).done().await;
                assert!(matches!(done.code, 0 | 1), "{case:?}: {done}");
                if done.code == 1 {
                    assert!(done.stdout.contains("failed"), "{case:?}: it does not say what failed\n{done}");
                }
            }
            Blow::Kills => {
                let mut running = Running::start(&self.apply(&rig));
                tokio::select! {
                    () = rig.cloud.reached(&fault) => running.kill(),
                    () = running.ended() => {}
                }
                running.done().await;
            }
        }
        assert!(!case.sure || rig.cloud.hits(&fault).await > 0, "{case:?} did not strike");
        rig.cloud.remove_faults().await;
        let again = self.apply(&rig).done().await;
        assert_eq!(again.code, 0, "{case:?}: the second run\n{again}");
        for environment in self.settled.iter().chain([&self.environment]) {
            rig.settled_in(environment, &format!("{case:?}")).await;
        }
        nothing_twice_or_lost(&rig.cloud, wanted, &format!("{case:?}")).await;
    }
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

/// A running service of the repository's environments that is changed.
async fn update() -> Scene {
    Scene {
        state: deployed(Workplace::agent_army, &["dev"]).await,
        place: Workplace::agent_army,
        environment: "dev",
        settled: &[],
        edits: &UPDATE,
        blows: &[Blow::Fails, Blow::Breaks, Blow::Kills],
    }
}

/// The first apply of an environment of the small system that has every kind, beside those applied before it.
async fn first_apply(index: usize) {
    let settled = &ENVIRONMENTS[..index];
    let scene = Scene {
        state: deployed(Workplace::shop, settled).await,
        place: Workplace::shop,
        environment: ENVIRONMENTS[index],
        settled,
        edits: &[],
        blows: &[Blow::Fails, Blow::Kills],
    };
    let count = scene.survives_every_blow().await;
    assert!(count >= 40, "only {count} ways to die");
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
    let count = update().await.survives_every_blow().await;
    assert!(count >= 18, "only {count} ways to die");
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
