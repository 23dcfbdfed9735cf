//! How services are released, in the words of the YAML: one line for each that is asked more than Cloud Run's word.

use crate::config::rollout::Health;
use crate::plan::{Plan, Release};
use crate::resource::Address;

/// The services of a plan with what their releases go through before they get traffic.
pub(super) fn releases(plan: &Plan) -> impl Iterator<Item = (&Address, String)> {
    plan.releases.iter().filter_map(|release| Some((&release.service, in_words(release)?)))
}

/// `migrations.shared, rollout.health /health (3 good answers in a row), smoke.version; then traffic`
fn in_words(release: &Release) -> Option<String> {
    let migrations = release.migrations.iter().map(|migration| migration.source.clone());
    let health = release.health.iter().map(|health| {
        let Health { path, successes, .. } = health;
        let answers = if *successes == 1 {
            "1 good answer".to_owned()
        } else {
            format!("{successes} good answers in a row")
        };
        format!("rollout.health {path} ({answers})")
    });
    let smoke = release.smoke.iter().map(|smoke| format!("smoke.{}", smoke.name));
    // Those of many tenants are one entry of the YAML.
    let mut steps: Vec<String> = migrations.chain(health).chain(smoke).collect();
    steps.dedup();
    (!steps.is_empty()).then(|| format!("{}, then traffic", steps.join(", ")))
}
