//! Conditions of workflows that can never hold, because of what triggers the workflow or of how GitHub spells things.

use super::globs;
use crate::config::tree::{Node, Tree};

/// What starts a workflow.
#[derive(Debug, Default)]
pub(super) struct Triggers {
    events: Vec<Event>,
}

#[derive(Debug)]
struct Event {
    name: String,
    /// Patterns of branches and tags; nothing where the event takes all of them.
    branches: Option<Vec<String>>,
    tags: Option<Vec<String>>,
}

impl Triggers {
    /// From the value of `on`.
    pub(super) fn of(on: Option<&Node>) -> Self {
        let plain = |name: &str| Event { name: name.to_owned(), branches: None, tags: None };
        let events = match on.map(|on| (&on.value, on)) {
            Some((Tree::Text(name), _)) => vec![plain(name)],
            Some((Tree::List(_), on)) => {
                on.items().iter().filter_map(|item| Some(plain(item.as_text()?))).collect()
            }
            Some((Tree::Map(events), _)) => {
                events.iter().map(|(name, entry)| Event::filtered(name, &entry.node)).collect()
            }
            _ => Vec::new(),
        };
        Self { events }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.events.iter().any(|event| event.name == name)
    }

    fn any(&self, holds: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(holds)
    }
}

impl Event {
    fn filtered(name: &str, filters: &Node) -> Self {
        let list = |key: &str| {
            let node = filters.get(key)?;
            let one = node.as_text().map(str::to_owned);
            let items = node.items().iter().filter_map(Node::scalar);
            Some(one.into_iter().chain(items).collect::<Vec<_>>())
        };
        let (mut branches, mut tags) = (list("branches"), list("tags"));
        if name == "push" {
            // A filter of the one alone keeps the other out.
            let about_branches = branches.is_some() || filters.get("branches-ignore").is_some();
            let about_tags = tags.is_some() || filters.get("tags-ignore").is_some();
            if about_branches && !about_tags {
                tags = Some(Vec::new());
            } else if about_tags && !about_branches {
                branches = Some(Vec::new());
            }
        }
        Self { name: name.to_owned(), branches, tags }
    }

    fn takes(patterns: Option<&Vec<String>>, name: &str) -> bool {
        patterns.is_none_or(|patterns| globs::pass(patterns, name))
    }

    /// `github.ref` may be this branch.
    fn on_branch(&self, name: &str) -> bool {
        match self.name.as_str() {
            "push" | "pull_request_target" => Self::takes(self.branches.as_ref(), name),
            "release" | "pull_request" | "pull_request_review" | "pull_request_review_comment" => false,
            _ => true,
        }
    }

    /// `github.ref` may be this tag.
    fn on_tag(&self, name: &str) -> bool {
        match self.name.as_str() {
            "push" => Self::takes(self.tags.as_ref(), name),
            "release" | "workflow_dispatch" | "create" | "registry_package" | "deployment"
            | "deployment_status" => true,
            _ => false,
        }
    }

    fn on_pull_request(&self) -> bool {
        self.name.starts_with("pull_request")
    }
}

/// Why a condition is a mistake; `at` is the text in it that shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) at: String,
    pub(super) why: String,
    pub(super) hint: String,
}

/// The mistakes of a condition in a workflow with these triggers.
pub(super) fn mistakes(condition: &str, triggers: &Triggers) -> Vec<Mistake> {
    let mut found: Vec<_> = always_true(condition).into_iter().collect();
    for Comparison { text, context, literal, equal } in comparisons(condition) {
        if let Some((why, hint)) = never(&context, &literal, triggers) {
            let consequence = if equal { "this never holds" } else { "this always holds" };
            found.push(Mistake { at: text, why: format!("{why}: {consequence}"), hint });
        }
    }
    found
}

/// Text around an expression makes all of it text, and text that is not empty is true.
fn always_true(condition: &str) -> Option<Mistake> {
    let trimmed = condition.trim();
    let whole = trimmed.starts_with("${{") && trimmed.find("}}").is_some_and(|end| end + 2 == trimmed.len());
    (trimmed.contains("${{") && !whole).then(|| Mistake {
        at: trimmed.lines().next().unwrap_or_default().to_owned(),
        why: "the condition is more than one `${{ }}`, so that it is text, and text is always true"
            .to_owned(),
        hint: "write the condition without `${{ }}`: an `if` is an expression by itself".to_owned(),
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Comparison {
    text: String,
    context: String,
    literal: String,
    equal: bool,
}

/// Every `github.X == 'text'` of a condition, either way round.
fn comparisons(condition: &str) -> Vec<Comparison> {
    let mut found = Vec::new();
    for (operator, equal) in [("==", true), ("!=", false)] {
        for (at, _) in condition.match_indices(operator) {
            let (left, right) = (&condition[..at], &condition[at + operator.len()..]);
            let sides = match (context_at_end(left), literal_at_start(right)) {
                (Some(context), Some(literal)) => Some((context, literal, true)),
                _ => literal_at_end(left)
                    .zip(context_at_start(right))
                    .map(|(literal, context)| (context, literal, false)),
            };
            if let Some((context, literal, context_first)) = sides {
                let quoted = format!("'{literal}'");
                let text = if context_first { context.clone() } else { quoted };
                found.push(Comparison { text, context: context.to_ascii_lowercase(), literal, equal });
            }
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn context_at_end(text: &str) -> Option<String> {
    let text = text.trim_end();
    let start = text.char_indices().rev().take_while(|(_, c)| is_name(*c)).last()?.0;
    Some(text.get(start..)?.to_owned())
}

fn context_at_start(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| is_name(*c)).collect();
    (!name.is_empty()).then_some(name)
}

fn literal_at_start(text: &str) -> Option<String> {
    let (literal, _) = text.trim_start().strip_prefix('\'')?.split_once('\'')?;
    Some(literal.to_owned())
}

fn literal_at_end(text: &str) -> Option<String> {
    let (_, literal) = text.trim_end().strip_suffix('\'')?.rsplit_once('\'')?;
    Some(literal.to_owned())
}

/// Why a context never has this value, and what to write.
fn never(context: &str, literal: &str, triggers: &Triggers) -> Option<(String, String)> {
    // The contexts of a reusable workflow are those of its caller, whom this file does not name.
    let known = !triggers.has("workflow_call") && !triggers.events.is_empty();
    let no_trigger = |what: &str| {
        (
            format!("no trigger of this workflow has {what}"),
            "add it to `on`, or take the condition out".to_owned(),
        )
    };
    match context {
        "github.ref" => {
            if let Some(branch) = literal.strip_prefix("refs/heads/") {
                let possible = triggers.any(|event| event.on_branch(branch));
                return (known && !possible).then(|| no_trigger(&format!("the branch `{branch}`")));
            }
            if let Some(tag) = literal.strip_prefix("refs/tags/") {
                let possible = triggers.any(|event| event.on_tag(tag));
                return (known && !possible).then(|| no_trigger(&format!("the tag `{tag}`")));
            }
            (!literal.starts_with("refs/")).then(|| {
                let why = format!("`github.ref` is a whole name such as `refs/heads/{literal}`");
                (why, format!("github.ref == 'refs/heads/{literal}'"))
            })
        }
        "github.ref_name" => {
            if let Some(short) = whole_ref(literal) {
                let why = "`github.ref_name` is the short name".to_owned();
                return Some((why, format!("github.ref_name == '{short}'")));
            }
            let merge = literal.ends_with("/merge") && triggers.any(Event::on_pull_request);
            let possible = merge || triggers.any(|event| event.on_branch(literal) || event.on_tag(literal));
            (known && !possible).then(|| no_trigger(&format!("a branch or tag `{literal}`")))
        }
        "github.base_ref" | "github.head_ref" => {
            if let Some(short) = whole_ref(literal) {
                return Some((format!("`{context}` is the short name"), format!("{context} == '{short}'")));
            }
            if literal.is_empty() || !known {
                return None;
            }
            let base = context == "github.base_ref";
            let fits = |event: &Event| {
                event.on_pull_request() && (!base || Event::takes(event.branches.as_ref(), literal))
            };
            let what =
                if base { format!("a pull request into `{literal}`") } else { "a pull request".to_owned() };
            (!triggers.any(fits)).then(|| no_trigger(&what))
        }
        "github.ref_type" => (!matches!(literal, "branch" | "tag")).then(|| {
            ("`github.ref_type` is `branch` or `tag`".to_owned(), "compare it with one of them".to_owned())
        }),
        "github.event_name" => {
            (known && !triggers.has(literal)).then(|| no_trigger(&format!("the event `{literal}`")))
        }
        _ => None,
    }
}

fn whole_ref(literal: &str) -> Option<&str> {
    literal.strip_prefix("refs/heads/").or_else(|| literal.strip_prefix("refs/tags/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;

    fn why(on: &str, condition: &str) -> Vec<String> {
        let document = parse(&format!("on: {on}\n"), 0).unwrap();
        let triggers = Triggers::of(document.get("on"));
        mistakes(condition, &triggers).into_iter().map(|mistake| mistake.why).collect()
    }

    #[track_caller]
    fn holds(on: &str, condition: &str) {
        assert_eq!(why(on, condition), Vec::<String>::new());
    }

    #[test]
    fn a_ref_is_a_whole_name_and_a_ref_name_a_short_one() {
        assert_eq!(
            why("push", "github.ref == 'main'"),
            ["`github.ref` is a whole name such as `refs/heads/main`: this never holds"]
        );
        assert_eq!(
            why("push", "'refs/heads/main' != github.ref_name"),
            ["`github.ref_name` is the short name: this always holds"]
        );
        holds("push", "github.ref == 'refs/heads/main' && github.ref_name == 'main'");
    }

    #[test]
    fn a_branch_that_no_trigger_has_never_comes() {
        let only = "{push: {branches: [main, 'releases/**']}}";
        assert_eq!(
            why(only, "success() && github.ref == 'refs/heads/master'"),
            ["no trigger of this workflow has the branch `master`: this never holds"]
        );
        holds(only, "github.ref == 'refs/heads/releases/1/2'");
        holds("{push: {branches: [main]}, workflow_dispatch: null}", "github.ref == 'refs/heads/master'");
        holds("{push: {branches-ignore: [x]}}", "github.ref == 'refs/heads/master'");
    }

    #[test]
    fn a_trigger_for_tags_has_no_branches_and_the_other_way_round() {
        let of = |on: &str, name: &str| why(on, &format!("github.ref == '{name}'")).len();
        assert_eq!(of("{push: {tags: ['v*']}}", "refs/heads/main"), 1);
        assert_eq!(of("{push: {tags: ['v*']}}", "refs/tags/v1"), 0);
        assert_eq!(of("{push: {branches: [main]}}", "refs/tags/v1"), 1);
        assert_eq!(of("pull_request", "refs/heads/main"), 1);
        assert_eq!(of("[push, pull_request]", "refs/heads/main"), 0);
    }

    #[test]
    fn events_and_pull_requests_have_to_be_triggers() {
        assert_eq!(why("push", "github.event_name == 'schedule'").len(), 1);
        assert_eq!(why("push", "github.base_ref == 'main'").len(), 1);
        assert_eq!(why("{pull_request: {branches: [main]}}", "github.base_ref == 'dev'").len(), 1);
        holds("{pull_request: {branches: [main]}}", "github.base_ref == 'main'");
        holds("push", "github.head_ref == ''");
    }

    #[test]
    fn a_reusable_workflow_has_the_events_of_its_callers() {
        holds("{workflow_call: {}}", "github.event_name == 'push' && github.ref == 'refs/heads/x'");
        assert_eq!(why("{workflow_call: {}}", "github.ref == 'main'").len(), 1);
    }

    #[test]
    fn text_beside_an_expression_is_always_true() {
        assert_eq!(why("push", "${{ github.actor }} == 'x'").len(), 1);
        holds("push", "${{ github.actor == 'x' }}");
    }

    #[test]
    fn what_is_compared_with_something_else_is_left_alone() {
        holds("push", "github.ref == format('refs/heads/{0}', x) || steps.a.outputs.b == 'c' || a == b");
    }
}
