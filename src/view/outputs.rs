//! What a step of GitHub Actions that plans or applies gives to the steps after it.

use super::report::{Service, planned_services, services};
use crate::apply::Report;
use crate::plan::Plan;

type Outputs = Vec<(&'static str, String)>;

/// Of a plan: whether it changes something, and the services that it releases.
pub fn plan_outputs(plan: &Plan) -> Outputs {
    let services = planned_services(plan, |_| true).into_iter().map(|(service, _)| service);
    outputs(!plan.is_empty(), &services.collect::<Vec<_>>())
}

/// Of an apply: whether it changed something, and the services that it released.
pub fn report_outputs(plan: &Plan, report: &Report) -> Outputs {
    outputs(report.applied() > 0, &services(plan, report))
}

/// The value where there is one service, else a line `SERVICE=VALUE` for each that has it.
fn outputs(changed: bool, services: &[Service<'_>]) -> Outputs {
    let of = |value: &dyn Fn(&Service<'_>) -> Option<String>| match services {
        [only] => value(only).unwrap_or_default(),
        several => {
            let lines =
                several.iter().filter_map(|service| Some(format!("{}={}", service.name, value(service)?)));
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    let digest = |image: &str| image.split_once('@').map(|(_, digest)| digest.to_owned());
    vec![
        ("changed", changed.to_string()),
        ("revision", of(&|service| service.revision.map(str::to_owned))),
        ("digest", of(&|service| service.image.and_then(digest))),
        ("url", of(&|service| service.url.clone())),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::apply::Outcome;
    use crate::view::testing::{address, create, plan};

    fn released(names: &[&str]) -> (Plan, Report) {
        let at = |name: &&str| format!("run_service/{name}");
        let changes = names.iter().map(|name| create(&at(name), "create", json!({"image": "r/i@sha256:1f"})));
        let plan = plan(changes.chain([create("secret/a", "create", json!({}))]).collect());
        let outcomes = plan.changes.iter().map(|change| (change.address.clone(), Outcome::Applied)).collect();
        let revisions: BTreeMap<_, _> =
            names.iter().map(|name| (address(&at(name)), format!("{name}-0a1b2c3d"))).collect();
        (plan, Report { outcomes, revisions, ..Report::default() })
    }

    fn text(outputs: &Outputs) -> String {
        let lines: Vec<_> = outputs.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        lines.join("\n")
    }

    #[test]
    fn one_service_is_told_plainly() {
        let (plan, report) = released(&["api"]);
        insta::assert_snapshot!(text(&report_outputs(&plan, &report)), @r"
        changed: true
        revision: api-0a1b2c3d
        digest: sha256:1f
        url: https://api-123456789012.us-central1.run.app
        ");
    }

    #[test]
    fn several_services_have_a_line_each() {
        let (plan, report) = released(&["api", "web"]);
        let outputs = report_outputs(&plan, &report);
        assert_eq!(outputs[1], ("revision", "api=api-0a1b2c3d\nweb=web-0a1b2c3d".to_owned()));
    }

    #[test]
    fn a_plan_knows_no_revision_and_one_without_changes_no_service() {
        assert_eq!(plan_outputs(&released(&["api"]).0)[1], ("revision", String::new()));
        let nothing = plan_outputs(&plan(vec![]));
        assert_eq!(nothing[0], ("changed", "false".to_owned()));
        assert!(nothing[1..].iter().all(|(_, value)| value.is_empty()), "{nothing:?}");
    }
}
