//! How changes ended that were not applied: after a large plan those that ended alike are told as one.

use serde_json::json;

use super::common::Names;
use super::grouping::{each_reason, gathered};
use crate::apply::{Failure, Outcome, Report, Skipped};
use crate::resource::Address;

/// One change, or several of a kind that ended alike.
#[derive(Clone, Debug)]
pub struct Ended<'a> {
    pub first: &'a Address,
    /// The objects besides the first; nobody when it stands alone.
    pub others: Option<Names<'a>>,
    pub count: usize,
    /// What happened to the first, or why it was not started; of the others the same is true.
    pub reasons: Vec<String>,
    pub hints: &'a [String],
    /// The last lines of the log of what failed.
    pub log: &'a [String],
    /// What served before serves.
    pub rolled_back: bool,
}

impl Ended<'_> {
    /// ` and 97 more alike`, behind the address of the first; nothing when it stands alone.
    pub fn and_others(&self) -> String {
        if self.others.is_some() { format!(" and {} more alike", self.count - 1) } else { String::new() }
    }
}

type Each = (Address, Outcome);

/// What failed.
pub fn failed(report: &Report, grouped: bool) -> Vec<Ended<'_>> {
    ended(report, grouped, |outcome| matches!(outcome, Outcome::Failed(_) | Outcome::RolledBack(_)))
}

/// What was not started.
pub fn skipped(report: &Report, grouped: bool) -> Vec<Ended<'_>> {
    ended(report, grouped, |outcome| matches!(outcome, Outcome::Skipped(_)))
}

fn ended(report: &Report, grouped: bool, wanted: fn(&Outcome) -> bool) -> Vec<Ended<'_>> {
    let found: Vec<&Each> = report.outcomes.iter().filter(|(_, outcome)| wanted(outcome)).collect();
    let groups = gathered(&found, |each| alike(each).filter(|_| grouped));
    let groups = groups.into_iter().filter_map(|group| {
        let ((first, outcome), rest) = group.split_first()?;
        let names = rest.iter().map(|(address, _)| address.name.as_str());
        Some(Ended {
            first,
            others: (!rest.is_empty()).then(|| Names::of(names, false)),
            count: group.len(),
            reasons: reasons(&group),
            hints: failure(outcome).map_or(&[], |failure| &failure.hints),
            log: failure(outcome).map_or(&[], |failure| &failure.log),
            rolled_back: matches!(outcome, Outcome::RolledBack(_)),
        })
    });
    groups.collect()
}

/// What is known of a change that failed.
fn failure(outcome: &Outcome) -> Option<&Failure> {
    match outcome {
        Outcome::Failed(failure) | Outcome::RolledBack(failure) => Some(failure),
        Outcome::Applied | Outcome::Skipped(_) | Outcome::Unknown => None,
    }
}

/// Outcomes with the same text are told alike.
fn alike((address, outcome): &Each) -> Option<String> {
    let key = match outcome {
        Outcome::Failed(Failure { message, hints, log: _ }) => {
            let hints: Vec<_> = hints.iter().map(|hint| nameless(hint, &address.name)).collect();
            json!([address.kind, nameless(message, &address.name), hints])
        }
        Outcome::Skipped(Skipped::Needs(need)) => json!([address.kind, "needs", need.kind]),
        Outcome::Skipped(why) => json!([address.kind, why_skipped(why)]),
        // Each release failed in its own way.
        Outcome::Applied | Outcome::RolledBack(_) | Outcome::Unknown => return None,
    };
    Some(key.to_string())
}

/// `text` without the name of its object, which messages of the same failure differ in.
fn nameless(text: &str, name: &str) -> String {
    let mut parts: Vec<_> = std::iter::once(name).chain(name.split(':')).filter(|p| !p.is_empty()).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.iter().fold(text.to_owned(), |text, part| without(&text, part))
}

/// `text` with `\0` in place of `part` wherever that is a whole name.
fn without(text: &str, part: &str) -> String {
    let of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let (mut shown, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(part) {
        let inside = (before.chars().next_back().or(shown.chars().next_back())).is_some_and(of_name)
            || after.starts_with(of_name);
        shown.push_str(before);
        shown.push_str(if inside { part } else { "\0" });
        rest = after;
    }
    shown + rest
}

/// What is true of all in a group.
fn reasons(group: &[&&Each]) -> Vec<String> {
    let Some(((_, outcome), rest)) = group.split_first() else { return Vec::new() };
    match outcome {
        Outcome::Failed(failure) | Outcome::RolledBack(failure) => vec![failure.message.clone()],
        Outcome::Skipped(Skipped::Needs(need)) if rest.iter().any(|(_, other)| !needs(other, need)) => {
            vec![format!("each needs a {} that was not applied", need.kind)]
        }
        Outcome::Skipped(why) => why_skipped(why),
        Outcome::Applied | Outcome::Unknown => Vec::new(),
    }
}

fn needs(outcome: &Outcome, wanted: &Address) -> bool {
    matches!(outcome, Outcome::Skipped(Skipped::Needs(need)) if need == wanted)
}

/// At least one reason; a change may wait for several things.
pub fn why_skipped(why: &Skipped) -> Vec<String> {
    match why {
        Skipped::Needs(need) => vec![format!("needs {need}")],
        Skipped::Blocked(why) => each_reason(why).map(str::to_owned).collect(),
        Skipped::Stopped => vec!["an earlier change failed".to_owned()],
        Skipped::Interrupted => vec!["interrupted before it was started".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::view::style::Style;
    use crate::view::testing::{address, create, plan};
    use crate::view::{Detail, report_human, report_markdown};

    fn accounts(count: usize) -> (Plan, Vec<Address>) {
        let names: Vec<_> = (0..count).map(|at| address(&format!("service_account/a-{at}"))).collect();
        let changes = names.iter().map(|at| create(&at.to_string(), "create", json!({})));
        (plan(changes.collect()), names)
    }

    fn quota(at: &Address) -> Outcome {
        let message = format!("cannot create service account {}: no more of them", at.name);
        Outcome::Failed(Failure { message, hints: vec!["ask for more".into()], log: Vec::new() })
    }

    #[test]
    fn equal_failures_of_a_large_plan_are_told_once() {
        let (plan, names) = accounts(100);
        let mut outcomes: Vec<_> = names.iter().map(|at| (at.clone(), quota(at))).collect();
        let other = Failure { message: "permission denied".into(), hints: Vec::new(), log: Vec::new() };
        outcomes[7].1 = Outcome::Failed(other);
        let report = Report { outcomes, interrupted: false, ..Report::default() };
        insta::assert_snapshot!(report_human(&plan, &report, Detail::Grouped, &Style::PLAIN), @r"
        Not complete: applied 0, failed 100, skipped 0.

        failed: service_account/a-0 and 98 more alike
          cannot create service account a-0: no more of them
          hint: ask for more
          alike: a-1, a-2, a-3, a-4, a-5, a-6, a-8, a-9, a-10, a-11, a-12, a-13, a-14, a-15, a-16, a-17,
                 a-18, a-19, a-20, a-21, a-22, a-23, a-24, a-25, a-26, a-27, ... and 72 more

        failed: service_account/a-7
          permission denied

        next: mend what failed, then run `deployer apply dev` again: what is applied stays, the rest follows
        ");
        let full = report_human(&plan, &report, Detail::Full, &Style::PLAIN);
        assert_eq!(full.matches("hint: ask for more").count(), 99);
        let markdown = report_markdown(&plan, &report);
        assert_eq!(markdown.matches("hint: ask for more").count(), 1);
        assert!(markdown.contains("`service_account/a-0` and 98 more alike: "), "{markdown}");
    }

    #[test]
    fn what_an_interruption_left_is_counted() {
        let (plan, names) = accounts(201);
        let left = names.iter().skip(16).map(|at| (at.clone(), Outcome::Skipped(Skipped::Interrupted)));
        let done = names.iter().take(16).map(|at| (at.clone(), Outcome::Applied));
        let report = Report { outcomes: done.chain(left).collect(), interrupted: true, ..Report::default() };
        insta::assert_snapshot!(report_human(&plan, &report, Detail::Grouped, &Style::PLAIN), @r"
        Interrupted: applied 16, failed 0, skipped 185.

        skipped:
          service_account/a-16 and 184 more alike: interrupted before it was started
            alike: a-17, a-18, a-19, a-20, a-21, a-22, a-23, a-24, a-25, a-26, a-27, a-28, a-29, a-30, a-31,
                   a-32, a-33, a-34, a-35, a-36, a-37, a-38, a-39, a-40, a-41, ... and 159 more

        next: run `deployer apply dev` again: what is applied stays, the rest follows
        ");
    }

    #[test]
    fn a_small_plan_is_reported_in_full() {
        let (plan, names) = accounts(40);
        let outcomes = names.iter().map(|at| (at.clone(), quota(at))).collect();
        let text = report_human(
            &plan,
            &Report { outcomes, interrupted: false, ..Report::default() },
            Detail::Grouped,
            &Style::PLAIN,
        );
        assert_eq!(text.matches("hint: ask for more").count(), 40);
    }

    #[test]
    fn what_needs_different_objects_is_not_said_to_need_the_first() {
        let each = |at: usize, need: &str| {
            (address(&format!("run_service/s-{at}")), Outcome::Skipped(Skipped::Needs(address(need))))
        };
        let told = |outcomes: Vec<Each>| {
            let report = Report { outcomes, interrupted: false, ..Report::default() };
            let ended = skipped(&report, true);
            ended.iter().map(|ended| (ended.count, ended.reasons.clone())).collect::<Vec<_>>()
        };
        let one = told((0..5).map(|at| each(at, "secret/a")).collect());
        assert_eq!(one, [(5, vec!["needs secret/a".to_owned()])]);
        let several = told((0..5).map(|at| each(at, &format!("secret/{at}"))).collect());
        assert_eq!(several, [(5, vec!["each needs a secret that was not applied".to_owned()])]);
    }

    #[test]
    fn a_name_within_another_one_stays() {
        assert_eq!(nameless("no api in api-2, my-api", "api"), "no \0 in api-2, my-api");
        assert_eq!(nameless("grant on key to api@p", "key:reader:api"), "grant on \0 to \0@p");
        assert_eq!(nameless("apiapi", "api"), "apiapi");
    }
}
