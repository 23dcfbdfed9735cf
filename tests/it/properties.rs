//! Properties of plans over random systems: what comes first, and that applying leaves nothing to do.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::rig::Rig;
use crate::support::{Cloud, Workplace, shop};

const HEAD: &str = shop!("");

/// A service: which secrets it reads, whether everybody may call it, whether it shares its account, whether it lends
/// what it has to a job.
type Service = (Vec<bool>, bool, bool, bool);

/// A system: which of four secrets and three services it has.
#[derive(Clone, Debug)]
struct System {
    secrets: Vec<bool>,
    services: Vec<Option<Service>>,
}

fn system() -> impl Strategy<Value = System> {
    let service = (prop::collection::vec(any::<bool>(), 4), any::<bool>(), any::<bool>(), any::<bool>());
    let services = prop::collection::vec(prop::option::weighted(0.7, service), 3);
    (prop::collection::vec(prop::bool::weighted(0.7), 4), services)
        .prop_map(|(secrets, services)| System { secrets, services })
}

impl System {
    fn yaml(&self) -> String {
        let mut text = format!("{HEAD}secrets:\n  always: {{}}\n");
        let declared = |at: &usize| self.secrets[*at];
        for at in (0..4).filter(declared) {
            let _ = writeln!(text, "  key-{at}: {{}}");
        }
        text.push_str("services:\n  always: {name: always-on, image: us-docker.pkg.dev/cloudrun/container/hello, startup_probe: /s}\n");
        for (at, service) in self.services.iter().enumerate() {
            let Some((reads, public, shares, _)) = service else { continue };
            let account = if *shares { "shared-account".to_owned() } else { format!("account-{at}") };
            let _ = write!(
                text,
                "  web-{at}: {{name: web-{at}, image: us-docker.pkg.dev/cloudrun/container/hello, startup_probe: /s, \
                 service_account: {account}, allow_unauthenticated: {public}, secrets: {{"
            );
            for key in (0..4).filter(|key| reads[*key] && declared(key)) {
                let _ = write!(text, "KEY_{key}: key-{key}, ");
            }
            text.push_str("}}\n");
        }
        text.push_str("jobs:\n");
        for at in self.jobs() {
            let account = if at == 0 { "service_account: job-account, " } else { "" };
            let _ =
                writeln!(text, "  job-{at}: {{name: job-{at}, service: web-{at}, {account}command: [work]}}");
        }
        text
    }

    /// Numbers of the services that have a job.
    fn jobs(&self) -> impl Iterator<Item = usize> {
        let services = self.services.iter().enumerate();
        services.filter(|(_, service)| matches!(service, Some((.., true)))).map(|(at, _)| at)
    }
}

/// Where each change stands.
fn waves(plan: &Value) -> BTreeMap<&str, (u64, &Value)> {
    let changes = plan["changes"].as_array().unwrap().iter();
    changes
        .map(|change| (change["address"].as_str().unwrap(), (change["wave"].as_u64().unwrap(), change)))
        .collect()
}

/// Every change comes after what it needs, and a delete after everything that used the object until then.
fn is_in_order(plan: &Value) {
    let waves = waves(plan);
    for (address, (wave, change)) in &waves {
        for need in change["needs"].as_array().unwrap() {
            assert!(waves[need.as_str().unwrap()].0 < *wave, "{address} does not come after {need}");
        }
        let before = change["before"].to_string();
        let uses = |deleted: &str| match deleted.split_once('/').unwrap() {
            ("secret", name) => {
                before.contains(&format!("\"{name}:")) || before.contains(&format!("\"on\":\"{name}\""))
            }
            ("service_account", name) => before.contains(&format!("{name}@")),
            _ => false,
        };
        for (deleted, (later, _)) in waves.iter().filter(|(_, (_, change))| change["action"] == "delete") {
            assert!(
                deleted == address || !uses(deleted) || wave < later,
                "{deleted} is deleted before {address} is changed"
            );
        }
    }
    assert_eq!(waves.len(), plan["changes"].as_array().unwrap().len(), "no address twice");
}

async fn becomes(rig: &Rig, system: &System) {
    rig.place.write("environments/base.yaml", &system.yaml());
    let plan = rig.deployer("plan dev --prune --output json").ok().await.json();
    is_in_order(&plan);
    rig.apply().arg("--prune").ok().await;
    rig.settled(&system.yaml()).await;
    let state = rig.cloud.state().await;
    let count = |collection: &str| state[collection].as_object().map_or(0, serde_json::Map::len);
    assert_eq!(count("run.services"), 1 + system.services.iter().flatten().count());
    assert_eq!(count("run.jobs"), system.jobs().count());
    assert_eq!(
        count("secretmanager.secrets"),
        1 + system.secrets.iter().filter(|declared| **declared).count()
    );
}

#[test]
fn any_system_can_become_any_other_in_one_apply() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = Config { cases: 8, failure_persistence: None, max_shrink_iters: 16, ..Config::default() };
    let outcome = TestRunner::new(config).run(&(system(), system()), |(first, second)| {
        runtime.block_on(async {
            let files = [
                ("environments/base.yaml", HEAD),
                ("environments/dev.yaml", "deployer: v1\nenvironment: dev\ntarget: sandbox\n"),
            ];
            let rig = Rig::of(Workplace::with(&files), Cloud::fresh().await);
            becomes(&rig, &first).await;
            becomes(&rig, &second).await;
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
