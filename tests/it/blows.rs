//! A command that fails, or is killed, at every one of its writes, before and after the write's effect, and is run again.

use std::collections::BTreeSet;

use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rig::{Rig, Running, cloud_with, nothing_twice_or_lost, sure_writes};
use crate::support::{Run, Workplace};

/// Cases that run side by side.
pub const AT_ONCE: usize = 6;

#[derive(Clone, Copy, Debug)]
pub enum Blow {
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

/// A state to start from, a change of the YAML, and the command that is struck.
pub struct Scene {
    pub state: TempDir,
    pub place: fn() -> Workplace,
    /// How the sandbox is.
    pub options: fn() -> gcp_sandbox::Options,
    /// Of deployer, with its words.
    pub command: String,
    /// Environments that are as their YAML says once the command was run to its end.
    pub settled: Vec<&'static str>,
    /// Changes of base.yaml.
    pub edits: &'static [(&'static str, &'static str)],
    pub blows: &'static [Blow],
}

/// How often a command was struck: too seldom shows that the scene no longer does what it is for.
#[derive(Debug)]
pub struct Blows {
    /// Ways to fail or die.
    pub ways: usize,
    /// Writes that every run makes.
    pub sure: usize,
}

impl Scene {
    pub async fn rig(&self, copy: &TempDir) -> Rig {
        let rig = Rig::of((self.place)(), cloud_with((self.options)(), self.state.path(), copy).await);
        self.edits.iter().for_each(|(from, to)| rig.edit(from, to));
        rig
    }

    fn run(&self, rig: &Rig) -> Run {
        rig.deployer(&self.command)
    }

    /// Strikes the command at every write and runs it again; `then` is what else has to hold.
    pub async fn survives_every_blow(&self, then: impl AsyncFn(&Rig, &str)) -> Blows {
        let copy = TempDir::new().unwrap();
        let rig = self.rig(&copy).await;
        self.run(&rig).ok().await;
        let writes = rig.cloud.writes().await;
        let sure = sure_writes(&writes);
        let (wanted, then) = (&rig.cloud.inventory().await, &then);
        let cases = cases(writes.len(), sure, self.blows);
        let blows = Blows { ways: cases.len(), sure };
        futures::stream::iter(cases)
            .map(|case| async move {
                let copy = TempDir::new().unwrap();
                let rig = self.rig(&copy).await;
                self.survives(case, &rig, wanted).await;
                then(&rig, &format!("{case:?}")).await;
            })
            .buffer_unordered(AT_ONCE)
            .collect::<()>()
            .await;
        blows
    }

    async fn survives(&self, case: Case, rig: &Rig, wanted: &BTreeSet<String>) {
        let fault = rig.cloud.fault(case.fault()).await;
        match case.blow {
            Blow::Fails | Blow::Breaks => {
                let done = self.run(rig).done().await;
                assert!(matches!(done.code, 0 | 1), "{case:?}: {done}");
                if done.code == 1 {
                    assert!(done.stdout.contains("failed"), "{case:?}: it does not say what failed\n{done}");
                }
            }
            Blow::Kills => {
                let mut running = Running::start(&self.run(rig));
                tokio::select! {
                    () = rig.cloud.reached(&fault) => running.kill(),
                    () = running.ended() => {}
                }
                running.done().await;
            }
        }
        assert!(!case.sure || rig.cloud.hits(&fault).await > 0, "{case:?} did not strike");
        rig.cloud.remove_faults().await;
        let again = self.run(rig).done().await;
        assert_eq!(again.code, 0, "{case:?}: the second run\n{again}");
        for environment in &self.settled {
            rig.settled_in(environment, &format!("{case:?}")).await;
        }
        nothing_twice_or_lost(&rig.cloud, wanted, &format!("{case:?}")).await;
    }
}
