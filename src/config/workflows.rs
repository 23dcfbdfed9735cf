//! Workflows beside all environments: they belong to the system, and name environments that are there and can be reached.

use super::across::{Between, placed};
use super::diagnostic::{Diagnostic, did_you_mean};
use super::model::{Environment, Target};
use super::pipeline::{Run, Workflow};

/// All that is wrong; `known` are the names of all environments, also of those that cannot be used.
pub(super) fn check(usable: &[&Environment], known: &[String]) -> Vec<Between> {
    let Some((first, others)) = usable.split_first() else { return Vec::new() };
    let mut found: Vec<Between> = others.iter().filter_map(|other| unequal(first, other)).collect();
    for (name, workflow) in first.github.iter().flat_map(|github| &github.workflows) {
        let path = format!("github.workflows.{name}");
        let key = if workflow.run == Run::Deploy { "deploy" } else { "environments" };
        let at = format!("{path}.{key}");
        for wanted in &workflow.environments {
            let environment = usable.iter().find(|environment| environment.name == *wanted);
            let problem = match environment {
                Some(environment) => unreachable(environment).map(|why| (why, "take it out")),
                None if known.contains(wanted) => None,
                None => {
                    found.push(alone(first, &at, unknown(wanted, known)));
                    None
                }
            };
            if let Some((why, hint)) = problem {
                found.push(alone(
                    first,
                    &at,
                    Diagnostic::error("workflow", why).label("cannot be reached").hint(hint),
                ));
            }
        }
        for environment in reached(usable, workflow) {
            found.extend(signing_in(environment, name, workflow));
        }
    }
    found
}

/// The environments that a workflow is about: those that it names, or all that are not on the sandbox, production last.
pub(crate) fn reached<'e>(environments: &[&'e Environment], workflow: &Workflow) -> Vec<&'e Environment> {
    if !workflow.run.needs_environments() {
        return Vec::new();
    }
    let at_google = |environment: &&&Environment| unreachable(environment).is_none();
    if workflow.environments.is_empty() {
        let mut all: Vec<_> = environments.iter().filter(at_google).copied().collect();
        all.sort_by_key(|environment| super::rules::is_production(&environment.name));
        return all;
    }
    let named = workflow.environments.iter();
    let named = named.filter_map(|name| environments.iter().find(|environment| environment.name == *name));
    named.filter(at_google).copied().collect()
}

fn unreachable(environment: &Environment) -> Option<String> {
    (environment.target == Target::Sandbox).then(|| {
        format!("`{}` is on the sandbox of each developer, which GitHub cannot reach", environment.name)
    })
}

fn unequal(first: &Environment, other: &Environment) -> Option<Between> {
    let workflows =
        |environment: &Environment| environment.github.as_ref().map(|github| github.workflows.clone());
    let repository =
        |environment: &Environment| environment.github.as_ref().map(|github| github.repository.clone());
    let path = if first.ci != other.ci {
        "ci"
    } else if workflows(first) != workflows(other) {
        "github.workflows"
    } else if repository(first) != repository(other) {
        "github.repository"
    } else {
        return None;
    };
    let message = format!(
        "`{}` and `{}` do not agree on `{path}`, which belongs to the system and not to one environment",
        first.name, other.name
    );
    let diagnostic = Diagnostic::error("unequal-shared", message)
        .label("another environment says otherwise")
        .hint("say it in the base alone");
    Some(([other.name.clone(), first.name.clone()], placed(other, path, diagnostic)))
}

/// Without a key there is one way to sign in: as an account that trusts the repository.
fn signing_in(environment: &Environment, name: &str, workflow: &Workflow) -> Vec<Between> {
    let identity = environment.github.as_ref().and_then(|github| github.identity.as_ref());
    let account = if workflow.run.writes() { "deploy" } else { "plan" };
    let has = identity.is_some_and(|identity| {
        let account = if workflow.run.writes() { &identity.deploy } else { &identity.plan };
        account.is_some()
    });
    let mut found = Vec::new();
    if !has {
        let message = format!(
            "`{name}` signs in to `{}` with `github.identity.{account}`, and there is none",
            environment.name
        );
        let diagnostic = Diagnostic::error("workflow", message).label("cannot sign in").hint(format!(
            "add `identity: {{pool: github, provider: github, {account}: github-{account}}}` to `github`"
        ));
        found.push(alone(environment, &format!("github.workflows.{name}"), diagnostic));
    }
    if environment.project.number.is_none() {
        let message = format!(
            "`{name}` signs in to `{}` by the number of its project, which is not there",
            environment.name
        );
        let diagnostic = Diagnostic::error("workflow", message).label("needs the number").hint(format!(
            "`gcloud projects describe {} --format 'value(projectNumber)'` prints it, for `project: {{number: ...}}`",
            environment.project.id
        ));
        found.push(alone(environment, "project", diagnostic));
    }
    found
}

fn unknown(name: &str, known: &[String]) -> Diagnostic {
    let diagnostic = Diagnostic::error("unknown-environment", format!("there is no environment `{name}`"))
        .label("unknown environment");
    match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
        None => diagnostic.hint(format!("there are: {}", known.join(", "))),
    }
}

fn alone(environment: &Environment, path: &str, diagnostic: Diagnostic) -> Between {
    ([environment.name.clone(), environment.name.clone()], placed(environment, path, diagnostic))
}
