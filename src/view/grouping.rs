//! Large plans: changes that are alike are told as one, so that what is special can still be seen.
//!
//! Alike is what has the same kind, verb and consequences and changes the same fields; values that differ within a
//! group are told as such. What takes away, replaces or waits for a person always stands alone; what widens access,
//! cannot be undone or moves traffic is never told with anything else, and by its names.

use std::collections::BTreeMap;

use serde_json::json;

use super::common::Names;
use crate::plan::{Action, Change, Plan};
use crate::resource::{Address, Consequence};

/// A plan with more changes than this is told in groups.
const MANY: usize = 40;

/// So many changes that are alike stand alone; more of them are told as one.
const FEW: usize = 4;

/// What a reviewer wants to see name by name.
const SERIOUS: [Consequence; 3] =
    [Consequence::AccessWidened, Consequence::Irreversible, Consequence::TrafficMoves];

/// How much of a large plan is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Changes that are alike are counted.
    #[default]
    Grouped,
    /// Every change with everything about it.
    Full,
}

impl Detail {
    /// Whether this plan is told in groups.
    pub fn groups(self, plan: &Plan) -> bool {
        self == Self::Grouped && plan.changes.len() > MANY
    }
}

/// One change, or several that are alike.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub first: &'a Change,
    /// The others, in the order of the plan; empty when the change stands alone.
    pub others: Vec<&'a Change>,
    /// That it is skipped, and why.
    pub waiting: Option<&'a str>,
}

impl<'a> Entry<'a> {
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    pub fn alone(&self) -> bool {
        self.others.is_empty()
    }

    /// Its changes, in the order of the plan.
    pub fn members(&self) -> impl Iterator<Item = &'a Change> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }

    /// The names of its objects: the first ones, and how many there are besides.
    pub fn names(&self) -> Names<'a> {
        let matters = self.first.consequences.iter().any(|found| SERIOUS.contains(found));
        Names::of(self.members().map(|change| change.address.name.as_str()), matters)
    }
}

/// The changes of a plan, those that are alike as one when `grouped`; a group stands where its first member stood.
pub fn entries<'a>(plan: &'a Plan, waiting: &'a BTreeMap<&Address, String>, grouped: bool) -> Vec<Entry<'a>> {
    let why = |change: &Change| waiting.get(&change.address).map(String::as_str);
    let groups = gathered(&plan.changes, |change| alike(change, why(change)).filter(|_| grouped));
    let entries = groups.into_iter().filter_map(|group| {
        let mut members = group.into_iter();
        let first = members.next()?;
        Some(Entry { first, others: members.collect(), waiting: why(first) })
    });
    entries.collect()
}

/// `items` in groups of the same key, each where its first member stood. Few alike stand alone, and so does what
/// has no key.
pub fn gathered<T>(items: &[T], key: impl Fn(&T) -> Option<String>) -> Vec<Vec<&T>> {
    let keys: Vec<_> = items.iter().map(key).collect();
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for key in keys.iter().flatten() {
        *sizes.entry(key).or_default() += 1;
    }
    let mut groups: Vec<Vec<&T>> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (item, key) in items.iter().zip(&keys) {
        let key = key.as_deref().filter(|key| sizes.get(key).is_some_and(|size| *size > FEW));
        let known = key.and_then(|key| places.get(key).copied());
        if let Some(group) = known.and_then(|place| groups.get_mut(place)) {
            group.push(item);
            continue;
        }
        if let Some(key) = key {
            places.insert(key, groups.len());
        }
        groups.push(vec![item]);
    }
    groups
}

/// Changes with the same text are told alike; `None` stands alone.
fn alike(change: &Change, waiting: Option<&str>) -> Option<String> {
    if change.blocked.is_some() || !matches!(change.action, Action::Create | Action::Update) {
        return None;
    }
    let fields: Vec<_> = change.fields.iter().map(|field| field.pointer.as_str()).collect();
    let Change { address, action, verb, consequences, .. } = change;
    Some(json!([address.kind, action, verb, consequences, waiting, fields]).to_string())
}

/// Changes that apply will skip, and the words for it.
pub fn waiting(plan: &Plan) -> BTreeMap<&Address, String> {
    let mut waiting: BTreeMap<&Address, String> = BTreeMap::new();
    for change in &plan.changes {
        // In the order of the plan, so that what is needed has been judged already.
        if change.blocked.is_some() {
            waiting.insert(&change.address, "waits".to_owned());
        } else if let Some(need) = change.needs.iter().find(|need| waiting.contains_key(need)) {
            waiting.insert(&change.address, format!("waits for {need}"));
        }
    }
    waiting
}

/// What a person has to do first, each thing once, with the changes that wait for it.
pub fn reasons(plan: &Plan) -> Vec<(&str, Vec<&Address>)> {
    let mut reasons: Vec<(&str, Vec<&Address>)> = Vec::new();
    for (change, why) in plan.blocked() {
        for reason in each_reason(why) {
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, waiting)) => waiting.push(&change.address),
                None => reasons.push((reason, vec![&change.address])),
            }
        }
    }
    reasons
}

/// The reasons of one change, which the plan joins.
pub fn each_reason(why: &str) -> impl Iterator<Item = &str> {
    why.split("; ")
}

/// How many changes of which word and kind there are, in the order of their first.
pub fn tally<'a>(plan: &'a Plan, word: impl Fn(&'a Change) -> &'a str) -> Vec<(usize, &'a str, &'a str)> {
    let mut tally: Vec<(usize, &str, &str)> = Vec::new();
    for change in &plan.changes {
        let (word, kind) = (word(change), change.address.kind.as_str());
        match tally.iter_mut().find(|(_, known, k)| *known == word && *k == kind) {
            Some((count, _, _)) => *count += 1,
            None => tally.push((1, word, kind)),
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::plan_human;
    use crate::view::style::Style;
    use crate::view::testing::{create, delete, plan, update};

    fn grants(count: usize) -> Vec<Change> {
        let grant =
            |at| create(&format!("secret_grant/key-{at}:secretAccessor:api"), "grant", json!({"on": "x"}));
        (0..count).map(grant).collect()
    }

    fn services(count: usize) -> Vec<Change> {
        let spec = json!({"image": "i", "cpu": "1", "memory": "1Gi", "port": 8080, "env": {"A": "1"}});
        (0..count).map(|at| create(&format!("run_service/web-{at}"), "create", spec.clone())).collect()
    }

    fn released(at: usize) -> Change {
        let mut change =
            update(&format!("run_service/old-{at}"), json!({"image": "app:v1"}), json!({"image": "app:v2"}))
                .leads_to(Consequence::NewRevision);
        change.field("/image").path = format!("services.old-{at}.image");
        change
    }

    fn told(plan: &Plan, detail: Detail) -> String {
        plan_human(plan, detail, &Style::PLAIN)
    }

    #[test]
    fn five_changes_stand_alone() {
        let text = told(&plan(grants(5)), Detail::Grouped);
        assert_eq!(text.matches("+ grant").count(), 5);
        assert!(!text.contains("hint:"), "{text}");
    }

    #[test]
    fn forty_one_changes_are_told_in_groups() {
        let mut changes = grants(36);
        changes.extend(services(5));
        insta::assert_snapshot!(told(&plan(changes.clone()), Detail::Grouped), @r"
        Plan for agent-army/dev: project agent-army-example, region us-central1, on the sandbox

          + grant   secret_grant  36
                key-0:secretAccessor:api, key-1:secretAccessor:api, key-2:secretAccessor:api,
                key-3:secretAccessor:api, key-4:secretAccessor:api, ... and 31 more
          + create  run_service   5
                web-0, web-1, web-2, web-3, web-4

        Plan: 41 to add, 0 to change, 0 to remove.
          36 grant secret_grant
           5 create run_service
        hint: alike changes are told as one and new objects without their settings; `-v` or `--output json` shows all
        ");
        changes.pop();
        let text = told(&plan(changes), Detail::Grouped);
        assert_eq!(text.matches("+ grant").count(), 36);
        assert_eq!(text.matches("memory: 1Gi").count(), 4);
    }

    #[test]
    fn two_hundred_changes_can_be_read_and_nothing_dangerous_is_hidden() {
        let mut changes = services(20);
        changes.extend((0..50).map(released));
        let mut other = released(50);
        other.fields[0].old = Some("app:v0".into());
        changes.push(other);
        changes.extend(grants(120));
        changes.push(
            create("run_grant/web-0:invoker:allUsers", "grant", json!({}))
                .leads_to(Consequence::AccessWidened),
        );
        changes.push(create("run_service/stuck", "create", json!({})).blocked("secret a has no value"));
        let gone = |at| delete(&format!("run_grant/gone-{at}:invoker:allUsers"), "revoke", json!({}));
        changes.extend((0..7).map(gone));
        assert_eq!(changes.len(), 200);
        let plan = plan(changes);
        insta::assert_snapshot!(told(&plan, Detail::Grouped), @r"
        Plan for agent-army/dev: project agent-army-example, region us-central1, on the sandbox

        Waiting for you:
          secret a has no value
            needed by run_service/stuck

          + create  run_service                       20
                web-0, web-1, web-2, web-3, web-4, web-5, web-6, web-7, web-8, web-9, web-10, web-11,
                web-12, web-13, web-14, web-15, web-16, web-17, web-18, web-19
          ~ update  run_service                       51, new revision
                image:
                    50 objects: app:v1 -> app:v2
                    old-50: app:v0 -> app:v2
                old-0, old-1, old-2, old-3, old-4, old-5, old-6, old-7, old-8, old-9, old-10, old-11,
                old-12, old-13, old-14, old-15, old-16, old-17, old-18, old-19, ... and 31 more
          + grant   secret_grant                      120
                key-0:secretAccessor:api, key-1:secretAccessor:api, key-2:secretAccessor:api,
                key-3:secretAccessor:api, key-4:secretAccessor:api, ... and 115 more
          + grant   run_grant/web-0:invoker:allUsers  access widened
          + create  run_service/stuck                 waits
          - revoke  run_grant/gone-0:invoker:allUsers
          - revoke  run_grant/gone-1:invoker:allUsers
          - revoke  run_grant/gone-2:invoker:allUsers
          - revoke  run_grant/gone-3:invoker:allUsers
          - revoke  run_grant/gone-4:invoker:allUsers
          - revoke  run_grant/gone-5:invoker:allUsers
          - revoke  run_grant/gone-6:invoker:allUsers

        Plan: 142 to add, 51 to change, 7 to remove. 1 of them waits.
           21 create run_service
           51 update run_service
          120 grant secret_grant
            1 grant run_grant
            7 revoke run_grant
        hint: alike changes are told as one and new objects without their settings; `-v` or `--output json` shows all
        ");
    }

    /// A release in which each service has an image of its own.
    fn release(at: usize) -> Change {
        let image = |version: &str| json!({"image": format!("us-docker.pkg.dev/p/r/web-{at}:{version}")});
        let mut change = update(&format!("run_service/web-{at}"), image("v1"), image("v2"))
            .leads_to(Consequence::NewRevision)
            .at(&format!("environments/base.yaml:{}:3", 10 * at + 1));
        let field = change.field("/image");
        field.path = format!("services.web-{at}.image");
        field.location = Some(format!("environments/base.yaml:{}:12", 10 * at + 2));
        change
    }

    #[test]
    fn values_of_each_object_are_told_compactly_and_only_the_first() {
        let text = told(&plan((0..60).map(release).collect()), Detail::Grouped);
        insta::assert_snapshot!(text, @r"
        Plan for agent-army/dev: project agent-army-example, region us-central1, on the sandbox

          ~ update  run_service  60, new revision                                            environments/base.yaml
                image:                                                                       environments/base.yaml
                    web-0: us-docker.pkg.dev/p/r/web-0:v1 -> us-docker.pkg.dev/p/r/web-0:v2  environments/base.yaml:2:12
                    web-1: us-docker.pkg.dev/p/r/web-1:v1 -> us-docker.pkg.dev/p/r/web-1:v2  environments/base.yaml:12:12
                    web-2: us-docker.pkg.dev/p/r/web-2:v1 -> us-docker.pkg.dev/p/r/web-2:v2  environments/base.yaml:22:12
                    web-3: us-docker.pkg.dev/p/r/web-3:v1 -> us-docker.pkg.dev/p/r/web-3:v2  environments/base.yaml:32:12
                    web-4: us-docker.pkg.dev/p/r/web-4:v1 -> us-docker.pkg.dev/p/r/web-4:v2  environments/base.yaml:42:12
                    web-5: us-docker.pkg.dev/p/r/web-5:v1 -> us-docker.pkg.dev/p/r/web-5:v2  environments/base.yaml:52:12
                    web-6: us-docker.pkg.dev/p/r/web-6:v1 -> us-docker.pkg.dev/p/r/web-6:v2  environments/base.yaml:62:12
                    web-7: us-docker.pkg.dev/p/r/web-7:v1 -> us-docker.pkg.dev/p/r/web-7:v2  environments/base.yaml:72:12
                    web-8: us-docker.pkg.dev/p/r/web-8:v1 -> us-docker.pkg.dev/p/r/web-8:v2  environments/base.yaml:82:12
                    web-9: us-docker.pkg.dev/p/r/web-9:v1 -> us-docker.pkg.dev/p/r/web-9:v2  environments/base.yaml:92:12
                    ... and 50 more
                web-0, web-1, web-2, web-3, web-4, web-5, web-6, web-7, web-8, web-9, web-10, web-11,
                web-12, web-13, web-14, web-15, web-16, web-17, web-18, web-19, ... and 40 more

        Plan: 0 to add, 60 to change, 0 to remove.
          60 update run_service
        hint: alike changes are told as one and new objects without their settings; `-v` or `--output json` shows all
        ");
    }

    #[test]
    fn a_thousand_different_values_stay_one_group() {
        let memory = |at: usize| {
            let spec = |memory: usize| json!({"memory": format!("{memory}Mi"), "cpu": if at == 7 { "2" } else { "1" }});
            update(&format!("run_service/s-{at}"), spec(512), spec(512 + at + 1))
        };
        let text = told(&plan((0..1000).map(memory).collect()), Detail::Grouped);
        assert!(text.lines().count() < 25, "{text}");
        assert!(
            text.contains("~ update  run_service  1000\n") && text.contains("... and 990 more\n"),
            "{text}"
        );
    }

    #[test]
    fn what_most_have_stands_before_what_one_has() {
        let mut changes = vec![released(99)];
        changes[0].fields[0].old = Some("app:v0".into());
        changes.extend((0..45).map(released));
        let text = told(&plan(changes), Detail::Grouped);
        assert!(
            text.contains(
                "image:\n            45 objects: app:v1 -> app:v2\n            old-99: app:v0 -> app:v2\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_changes_other_fields_is_another_group() {
        let memory =
            |at| update(&format!("run_service/m-{at}"), json!({"memory": "1Gi"}), json!({"memory": "2Gi"}));
        let changes = (0..30).map(release).chain((0..15).map(memory)).collect();
        let text = told(&plan(changes), Detail::Grouped);
        assert!(
            text.contains("run_service  30, new revision") && text.contains("run_service  15\n"),
            "{text}"
        );
    }

    #[test]
    fn access_that_is_widened_is_counted_apart_and_named() {
        let public = |at| {
            create(&format!("run_grant/web-{at}:invoker:allUsers"), "grant", json!({}))
                .leads_to(Consequence::AccessWidened)
        };
        let private = |at| create(&format!("run_grant/web-{at}:invoker:api"), "grant", json!({}));
        let few = (0..30).map(public).chain((0..30).map(private)).collect();
        let text = told(&plan(few), Detail::Grouped);
        assert!(text.contains("+ grant  run_grant  30, access widened\n"), "{text}");
        assert_eq!(text.matches(":invoker:allUsers").count(), 30, "{text}");
        let many = told(&plan((0..1000).map(public).collect()), Detail::Grouped);
        assert!(many.contains("+ grant  run_grant  1000, access widened\n"), "{many}");
        assert!(many.lines().count() < 25, "{many}");
    }

    #[test]
    fn large_drift_is_counted_in_words_of_drift() {
        let text = crate::view::drift_human(&plan(services(45)), Detail::Grouped, &Style::PLAIN);
        assert!(text.contains("\n  45 missing run_service\n") && !text.contains("create"), "{text}");
    }

    #[test]
    fn asked_for_in_full_nothing_is_grouped() {
        let mut changes = services(20);
        changes.extend(grants(120));
        let text = told(&plan(changes), Detail::Full);
        assert_eq!(text.matches("+ grant").count(), 120);
        assert_eq!(text.matches("memory: 1Gi").count(), 20);
    }

    #[test]
    fn changes_that_wait_for_something_are_not_counted_among_the_others() {
        let mut changes = grants(45);
        changes.insert(0, create("secret/a", "create", json!({})).blocked("do it"));
        let waits = changes.split_off(26);
        changes.extend(waits.into_iter().map(|change| change.needing("secret/a")));
        let text = told(&plan(changes), Detail::Grouped);
        assert!(
            text.contains("secret_grant  25\n") && text.contains("secret_grant  20, waits for secret/a\n"),
            "{text}"
        );
    }
}
