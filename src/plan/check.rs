//! What must hold for every plan, whatever it was made from. Checked in debug builds and by the property tests.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Plan};

/// The rules that the plan breaks, in words; none for a good plan.
pub fn violations(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let waves: BTreeMap<_, _> = plan.changes.iter().map(|c| (&c.address, c.wave)).collect();
    let mut seen = BTreeSet::new();
    for change in &plan.changes {
        let address = &change.address;
        if !seen.insert(address) {
            found.push(format!("{address} is changed twice"));
        }
        let complete = match change.action {
            Action::Create => change.before.is_none() && change.after.is_some(),
            Action::Update | Action::Replace | Action::Restore => {
                change.before.is_some() && change.after.is_some()
            }
            Action::Delete => change.before.is_some() && change.after.is_none(),
        };
        if !complete {
            found.push(format!("{address} lacks the state before or after it"));
        }
        for need in &change.needs {
            if waves.get(need).is_none_or(|wave| *wave >= change.wave) {
                found.push(format!("{address} does not come after {need}"));
            }
        }
    }
    for release in plan.releases.iter().filter(|release| release.after_opening) {
        let opens = release.opened_by.as_ref().and_then(|grant| waves.get(grant));
        if opens.is_none_or(|wave| waves.get(&release.service).is_none_or(|service| wave <= service)) {
            found.push(format!("nothing opens {} after it was released", release.service));
        }
    }
    if !plan.changes.is_sorted_by_key(|change| change.wave) {
        found.push("the waves are out of order".to_owned());
    }
    found
}
