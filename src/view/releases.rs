//! How services are released, in the words of the YAML: one line for each that is asked more than Cloud Run's word.

use crate::config::rollout::Health;
use crate::plan::{Plan, Release, Smoke};
use crate::resource::Address;

/// The services of a plan with what their releases go through before they get traffic.
pub(super) fn releases(plan: &Plan) -> impl Iterator<Item = (&Address, String)> {
    plan.releases.iter().filter_map(|release| Some((&release.service, in_words(release)?)))
}

/// `migrations.shared, rollout.health /health (3 good answers in a row), smoke.version, then traffic`
fn in_words(release: &Release) -> Option<String> {
    let mut before: Vec<String> =
        release.migrations.iter().map(|migration| migration.source.clone()).collect();
    let mut own: Vec<String> = release.health.iter().map(health).collect();
    own.extend(release.own_checks().map(check));
    let mut once_open = Vec::new();
    if release.waits_for_the_public() { &mut once_open } else { &mut before }.append(&mut own);
    let mut after = Vec::new();
    let elsewhere = release.checks_elsewhere().map(check);
    if release.after_opening { &mut once_open } else { &mut after }.extend(elsewhere);
    // Those of many tenants are one entry of the YAML.
    before.dedup();
    if before.is_empty() && after.is_empty() && once_open.is_empty() {
        return None;
    }
    let phases = [before, vec!["traffic".to_owned()], after].into_iter();
    let phases: Vec<_> = phases.filter(|phase| !phase.is_empty()).map(|phase| phase.join(", ")).collect();
    let text = phases.join(", then ");
    if once_open.is_empty() {
        return Some(text);
    }
    Some(format!("{text}; once everybody may call it: {}", once_open.join(", ")))
}

fn health(health: &Health) -> String {
    let Health { path, successes, .. } = health;
    let answers = if *successes == 1 {
        "1 good answer".to_owned()
    } else {
        format!("{successes} good answers in a row")
    };
    format!("rollout.health {path} ({answers})")
}

fn check(smoke: &Smoke) -> String {
    format!("smoke.{}", smoke.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smoke(name: &str, url: Option<&str>) -> Smoke {
        Smoke { url: url.map(str::to_owned), ..Smoke::example(name) }
    }

    fn release() -> Release {
        Release {
            health: Some(Health { path: "/h".to_owned(), attempts: 3, interval: 1, successes: 1 }),
            smoke: vec![smoke("own", None), smoke("site", Some("https://shop.example.com"))],
            open: true,
            ..Release::plain("run_service/api".parse().unwrap())
        }
    }

    #[test]
    fn what_is_asked_stands_before_or_after_the_traffic() {
        let told = in_words(&release()).unwrap();
        assert_eq!(told, "rollout.health /h (1 good answer), smoke.own, then traffic, then smoke.site");
        assert_eq!(in_words(&Release { health: None, smoke: Vec::new(), ..release() }), None);
    }

    #[test]
    fn what_waits_for_the_public_is_told() {
        let closed = Release { open: false, after_opening: true, ..release() };
        assert_eq!(
            in_words(&closed).unwrap(),
            "traffic; once everybody may call it: rollout.health /h (1 good answer), smoke.own, smoke.site"
        );
        let called = Release { caller: Some("ci@p".to_owned()), ..closed };
        assert_eq!(
            in_words(&called).unwrap(),
            "rollout.health /h (1 good answer), smoke.own, then traffic; once everybody may call it: smoke.site"
        );
    }
}
