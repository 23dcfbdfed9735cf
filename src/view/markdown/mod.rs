//! Answers as GitHub-flavoured markdown, for a comment on a pull request.
//!
//! Values of environment variables are hidden as in JSON, and no text from the YAML or from Google can be
//! anything but text. An answer has at most `document::LIMIT` bytes.

mod answers;
mod changes;
mod cut;
mod document;
#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write as _;

pub use answers::{
    answer_markdown, error_markdown, lint_markdown, notes_markdown, rendering_markdown, table_markdown,
    tenant_edit_markdown, validation_markdown,
};
pub use cut::cut;

use super::grouping::Detail;
use super::human::{drift_counts, drift_headline, no_changes, plan_to, target_in_words, whose};
use super::outcomes::{Ended, failed, skipped};
use super::report::{NO_URL, headline_in_words, next_steps, services};
use super::rows::Wording;
use crate::apply::{Outcome, Report};
use crate::plan::Plan;
use document::{Item, LIMIT, Section, assemble};
use text::{clipped, code, codes, prose};

/// Characters of a name in a headline; the configuration allows fewer.
const MAX_NAME: usize = 200;

/// The whole plan.
pub fn plan_markdown(plan: &Plan) -> String {
    plan_within(plan, LIMIT)
}

/// The same in at most `limit` bytes.
fn plan_within(plan: &Plan, limit: usize) -> String {
    let headline = if plan.is_empty() {
        no_changes(plan)
    } else {
        format!("{} {}: {}", plan_to(plan), whose(plan), changes::counts(plan))
    };
    let mut sections = vec![changes::consequences_section(plan), changes::waiting_section(plan)];
    sections.extend(changes::sections(plan, Wording::Plan));
    sections.push(changes::releases_section(plan));
    sections.push(changes::notes_section(plan));
    let head = head(plan, &headline) + &changes::table(plan);
    assemble(&head, &sections, limit)
}

/// Where what exists is not as the YAML says.
pub fn drift_markdown(plan: &Plan) -> String {
    let mut head = head(plan, &drift_headline(plan));
    if !plan.is_empty() {
        let _ = writeln!(head, "\n{}. Values: `-` live, `+` YAML.", prose(&drift_counts(plan)));
    }
    let mut sections = changes::sections(plan, Wording::Drift);
    sections.push(changes::notes_section(plan));
    assemble(&head, &sections, LIMIT)
}

/// What became of a plan, and the plan.
pub fn report_markdown(plan: &Plan, report: &Report) -> String {
    let (word, counts) = headline_in_words(plan, report);
    let colon = if report.all_applied() { "" } else { ":" };
    let headline = format!("{word}{colon} {counts} ({})", whose(plan));
    let grouped = Detail::Grouped.groups(plan);
    let steps = next_steps(plan, report);
    let steps = steps.iter().map(|step| Item::line("steps", 0, &prose(step))).collect();
    let mut sections = vec![
        Section::new("Failed", outcomes(&failed(report, grouped), 0)),
        last_lines(report),
        Section::new("May be half done", half_done(report)),
        Section::new("Skipped", outcomes(&skipped(report, grouped), 1)),
        Section::new("Next", steps),
        remarks(report),
        existing(plan, report),
    ];
    let planned = changes::sections(plan, Wording::Plan).into_iter();
    sections.extend(
        planned.map(|section| Section { heading: format!("Planned: {}", section.heading), ..section }),
    );
    sections.push(changes::notes_section(plan));
    assemble(&head(plan, &headline), &sections, LIMIT)
}

/// `### HEADLINE` and where it holds.
fn head(plan: &Plan, headline: &str) -> String {
    let place = &plan.place;
    let short = |text: &str| clipped(text, MAX_NAME);
    let mut text = format!("### {}\n\n", prose(&short(headline.trim_end_matches('.'))));
    let (project, region) = (code(&short(&place.project)), code(&short(&place.region)));
    let target = prose(&short(&target_in_words(&plan.target)));
    let _ = write!(text, "Project {project}, region {region}, {target}");
    // Without changes the headline says it.
    if let Some(part) = plan.part.as_deref().filter(|_| !plan.is_empty()) {
        let _ = write!(text, "; only a part was looked at: {}", code(&clipped(part, 4 * MAX_NAME)));
    }
    text.push_str(".\n");
    text
}

/// The outcomes of one sort, each with its reasons and hints.
fn outcomes(ended: &[Ended<'_>], rank: u8) -> Vec<Item> {
    let items = ended.iter().map(|ended| {
        let hints = ended.hints.iter().map(|hint| format!("hint: {hint}"));
        let back = ended.rolled_back.then(|| "rolled back".to_owned());
        let mut lines: Vec<_> = back
            .into_iter()
            .chain(ended.reasons.iter().cloned())
            .chain(hints)
            .map(|line| prose(&line))
            .collect();
        lines.extend(ended.others.as_ref().map(|others| format!("alike: {}", codes(others))));
        let (address, more) = (code(&ended.first.to_string()), ended.and_others());
        let item = Item::line(&ended.first.kind, rank, &format!("{address}{more}: {}", lines.join("<br>")));
        Item { count: ended.count, ..item }
    });
    items.collect()
}

/// What failed revisions said last.
fn last_lines(report: &Report) -> Section {
    let failed = report.outcomes.iter().filter_map(|(address, outcome)| match outcome {
        Outcome::Failed(failure) | Outcome::RolledBack(failure) if !failure.log.is_empty() => {
            let lines: Vec<_> = failure.log.iter().map(|line| code(line)).collect();
            Some(Item::line("log", 0, &format!("{}:<br>{}", code(&address.to_string()), lines.join("<br>"))))
        }
        _ => None,
    });
    Section::new("Last lines", failed.collect())
}

/// What is worth knowing of what was applied.
fn remarks(report: &Report) -> Section {
    let told = report.notes.iter().map(|note| {
        Item::line("note", 2, &format!("{}: {}", code(&note.address.to_string()), prose(&note.text)))
    });
    Section::new("Notes", told.collect())
}

fn half_done(report: &Report) -> Vec<Item> {
    let half = report.outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Unknown));
    half.map(|(address, _)| Item::line(&address.kind, 0, &code(&address.to_string()))).collect()
}

/// The services that this run made or changed, and where they answer.
fn existing(plan: &Plan, report: &Report) -> Section {
    let items: Vec<_> = services(plan, report)
        .iter()
        .map(|service| {
            // A name that fits into a URL is one label of a host name: nothing in it can end the link.
            let url = service.url.as_deref().map_or_else(|| NO_URL.to_owned(), link);
            Item::line("service", 3, &format!("{}: {url}", code(service.name)))
        })
        .collect();
    Section::new("What exists now", items)
}

/// A link where the URL is plainly one.
fn link(url: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/' | ':');
    if url.chars().all(plain) { format!("<{url}>") } else { code(url) }
}
