//! Suites and workflows: defaults, and that what they name and how they start fits what they do.

use indexmap::IndexMap;

use super::super::cron;
use super::super::diagnostic::{Diagnostic, did_you_mean};
use super::super::pipeline::{
    Ci, PullRequest, Push, Run, Setup, Suite, SuiteService, Tool, Triggers, Workflow,
};
use super::super::schema::{
    CiKeys, Named, OnKeys, OnWord, OneOrMore, PullRequestKeys, PushKeys, SuiteKeys, SuiteServiceKeys,
    TriggerKeys, WorkflowKeys, WorkflowRun,
};
use super::super::tree::{Findings, Node, Part, join};
use super::{Limits, in_file_order, require, seconds, text_map};

/// Name of the suite that stands directly under `ci`.
const ONLY: &str = "test";
/// Seconds that a suite may take: GitHub ends a job after six hours.
const TIMEOUT: Limits = Limits { least: 60, most: 6 * 3600, default: 30 * 60 };
/// Names of jobs and files.
const MAX_NAME: usize = 60;

pub(super) fn ci(keys: CiKeys, root: &Node, findings: &mut Findings) -> Ci {
    let mut suites = IndexMap::new();
    let direct = keys.suite != SuiteKeys::default();
    let several = in_file_order(keys.suites, root, "ci.suites");
    if direct && !several.is_empty() {
        let diagnostic = Diagnostic::error("ci", "there are `suites`, and a suite directly under `ci` too")
            .label("several suites")
            .hint("give the one under `ci` a name in `suites`");
        findings.add(Part::Key, "ci.suites", diagnostic);
    }
    if direct {
        suites.insert(ONLY.to_owned(), suite("ci", keys.suite, root, findings));
    }
    for (name, keys) in several {
        let path = join("ci.suites", &name);
        check_name(&path, &name, "suite", findings);
        suites.insert(name, suite(&path, keys, root, findings));
    }
    Ci { deployer: keys.deployer, suites }
}

fn suite(path: &str, keys: SuiteKeys, root: &Node, findings: &mut Findings) -> Suite {
    let steps = keys.steps.unwrap_or_default();
    if steps.is_empty() {
        require(&join(path, "steps"), "steps: [./test.sh]", "the commands of the suite", findings);
    }
    for (position, step) in steps.iter().enumerate() {
        if step.trim().is_empty() || step.contains("${{") {
            let message = if step.contains("${{") {
                "expressions of GitHub are not evaluated in a step: whoever can choose their value could run commands"
            } else {
                "a step is a command, and this is empty"
            };
            let at = format!("{path}.steps.{position}");
            findings.add(Part::Value, &at, Diagnostic::error("ci", message).label("no command"));
        }
    }
    let services = in_file_order(keys.services, root, &join(path, "services"));
    let services = services.into_iter().map(|(name, keys)| {
        let path = format!("{path}.services.{name}");
        check_name(&path, &name, "service", findings);
        let service = suite_service(&path, keys, findings);
        (name, service)
    });
    Suite {
        paths: keys.paths.unwrap_or_default(),
        working_directory: keys.working_directory,
        services: services.collect(),
        setup: keys.setup.unwrap_or_default().iter().map(|tool| setup(&tool.0)).collect(),
        env: text_map(keys.env),
        steps,
        timeout: seconds(&join(path, "timeout"), keys.timeout.map(|time| time.0), TIMEOUT, findings),
    }
}

fn suite_service(path: &str, keys: SuiteServiceKeys, findings: &mut Findings) -> SuiteService {
    let image = keys.image.unwrap_or_default();
    if image.is_empty() {
        require(&join(path, "image"), "image: postgres:16", "the image of the container", findings);
    }
    SuiteService {
        image,
        env: text_map(keys.env),
        ports: keys.ports.unwrap_or_default().into_iter().map(|pair| pair.0).collect(),
        health: keys.health,
    }
}

/// The schema has passed the text.
fn setup(text: &str) -> Setup {
    let (tool, version) = text.split_once('@').map_or((text, None), |(tool, version)| (tool, Some(version)));
    let tool = match tool {
        "uv" => Tool::Uv,
        "python" => Tool::Python,
        "node" => Tool::Node,
        _ => Tool::Rust,
    };
    Setup { tool, version: version.map(str::to_owned) }
}

pub(super) fn workflows(
    keys: Option<Named<WorkflowKeys>>,
    ci: &Ci,
    root: &Node,
    findings: &mut Findings,
) -> IndexMap<String, Workflow> {
    let mut workflows = IndexMap::new();
    for (name, keys) in in_file_order(keys, root, "github.workflows") {
        let path = join("github.workflows", &name);
        check_name(&path, &name, "workflow", findings);
        if let Some(workflow) = workflow(&path, &name, keys, ci, findings) {
            workflows.insert(name, workflow);
        }
    }
    check_needs(&workflows, findings);
    let runs_deployer = workflows.iter().find(|(_, workflow)| workflow.run.needs_environments());
    if let Some((name, _)) = runs_deployer.filter(|_| ci.deployer.is_none()) {
        let what = format!("the action of deployer, which `{name}` runs");
        require("ci.deployer", "deployer: OWNER/REPOSITORY@COMMIT", &what, findings);
    }
    workflows
}

/// `None`: nobody can tell what it is to do, which is reported.
fn workflow(
    path: &str,
    name: &str,
    keys: WorkflowKeys,
    ci: &Ci,
    findings: &mut Findings,
) -> Option<Workflow> {
    let Some(run) = run(&keys, name) else {
        let words: Vec<_> = Run::ALL.iter().map(|run| run.word()).collect();
        let what = format!("what it does, one of {}", words.join(", "));
        require(&join(path, "run"), "run: ci", &what, findings);
        return None;
    };
    check_idle(path, &keys, run, findings);
    let at = join(path, "on");
    let on = if let Some(on) = keys.on {
        triggers(&at, on, findings)
    } else {
        require(&at, "on: {push: [main]}", "what starts the workflow", findings);
        Triggers::default()
    };
    let on =
        Triggers { manual: on.manual || matches!(run, Run::Deploy | Run::Rollback | Run::Migrate), ..on };
    check_triggers(path, run, &on, findings);
    let environments = keys.deploy.or(keys.environments).unwrap_or_default();
    if run == Run::Deploy && environments.is_empty() {
        let what = "the environments that are deployed, one after the other";
        require(&join(path, "deploy"), "deploy: [staging, production]", what, findings);
    }
    let suites = keys.suites.unwrap_or_else(|| ci.suites.keys().cloned().collect());
    check_suites(path, run, &suites, ci, findings);
    Some(Workflow {
        on,
        run,
        environments,
        suites,
        changed: keys.matrix.is_some(),
        needs: match keys.needs {
            None => Vec::new(),
            Some(OneOrMore::One(name)) => vec![name],
            Some(OneOrMore::More(names)) => names,
        },
        binaries: keys.binaries.unwrap_or_default().into_iter().map(|package| package.0).collect(),
        concurrency: keys.concurrency,
    })
}

fn run(keys: &WorkflowKeys, name: &str) -> Option<Run> {
    let written = keys.run.map(|run| match run {
        WorkflowRun::Ci => Run::Ci,
        WorkflowRun::Plan => Run::Plan,
        WorkflowRun::Deploy => Run::Deploy,
        WorkflowRun::Drift => Run::Drift,
        WorkflowRun::Rollback => Run::Rollback,
        WorkflowRun::Migrate => Run::Migrate,
        WorkflowRun::Scan => Run::Scan,
        WorkflowRun::Release => Run::Release,
    });
    let named = || Run::ALL.into_iter().find(|run| run.word() == name);
    written.or(keys.deploy.as_ref().map(|_| Run::Deploy)).or_else(named)
}

/// Keys that do nothing for what the workflow does.
fn check_idle(path: &str, keys: &WorkflowKeys, run: Run, findings: &mut Findings) {
    let about = run.needs_environments() && run != Run::Deploy;
    let keys = [
        ("deploy", keys.deploy.is_some(), run == Run::Deploy, "deploy"),
        ("environments", keys.environments.is_some(), about, "plan, drift, rollback, migrate and scan"),
        ("suites", keys.suites.is_some(), run == Run::Ci, "ci"),
        ("matrix", keys.matrix.is_some(), run == Run::Ci, "ci"),
        ("binaries", keys.binaries.is_some(), run == Run::Release, "release"),
        ("needs", keys.needs.is_some(), matches!(run, Run::Deploy | Run::Release), "deploy and release"),
    ];
    for (key, written, obeyed, whose) in keys {
        if written && !obeyed {
            let message =
                format!("`{key}` does nothing here: it is for {whose}, and this runs {}", run.word());
            let diagnostic = Diagnostic::error("workflow", message).label("does nothing").hint("take it out");
            findings.add(Part::Key, &join(path, key), diagnostic);
        }
    }
}

fn triggers(path: &str, keys: OnKeys, findings: &mut Findings) -> Triggers {
    let keys = match keys {
        OnKeys::Word(OnWord::Manual) => TriggerKeys { manual: Some(true), ..TriggerKeys::default() },
        OnKeys::Full(keys) => *keys,
    };
    if let Some(problem) = keys.schedule.as_deref().and_then(cron::problem) {
        let diagnostic = Diagnostic::error("schedule", problem).label("no time").hint(
            "minute, hour, day of the month, month, day of the week, in UTC: `17 5 * * 1` is Mondays at 5:17",
        );
        findings.add(Part::Value, &join(path, "schedule"), diagnostic);
    }
    let push = keys.push.map(|push| match push {
        PushKeys::Branches(branches) => Push { branches, ..Push::default() },
        PushKeys::Full(fields) => Push {
            branches: fields.branches.unwrap_or_default(),
            tags: fields.tags.unwrap_or_default(),
            paths: fields.paths.unwrap_or_default(),
        },
    });
    let pull_request = keys.pull_request.map(|pull_request| match pull_request {
        PullRequestKeys::Branches(branches) => PullRequest { branches, paths: Vec::new() },
        PullRequestKeys::Full(fields) => PullRequest {
            branches: fields.branches.unwrap_or_default(),
            paths: fields.paths.unwrap_or_default(),
        },
    });
    let pushed = push.iter().flat_map(|push| push.branches.iter().chain(&push.tags));
    let into = pull_request.iter().flat_map(|pull_request| &pull_request.branches);
    for (key, name) in pushed.map(|name| ("push", name)).chain(into.map(|name| ("pull_request", name))) {
        check_ref(&join(path, key), name, findings);
    }
    Triggers { push, pull_request, schedule: keys.schedule, manual: keys.manual.unwrap_or(false) }
}

/// A name or pattern of a branch or tag (git-check-ref-format, and GitHub's patterns).
fn check_ref(path: &str, name: &str, findings: &mut Findings) {
    let hint = if name.starts_with("refs/") {
        Some("write the name alone, without `refs/heads/` or `refs/tags/`: the full name matches nothing")
    } else if name.trim().is_empty() || name.contains(char::is_whitespace) {
        Some("a name has no spaces")
    } else if name.contains("..")
        || name.contains(['~', '^', ':', '\\'])
        || name.starts_with('/')
        || name.ends_with(['/', '.'])
    {
        Some("git allows no such name")
    } else {
        None
    };
    if let Some(hint) = hint {
        let message = format!("`{name}` is no name of a branch or tag, so nothing would start the workflow");
        let diagnostic = Diagnostic::error("workflow", message).label("matches nothing").hint(hint);
        findings.add(Part::Key, path, diagnostic);
    }
}

/// What starts a workflow has to be something, and fit what it does.
fn check_triggers(path: &str, run: Run, on: &Triggers, findings: &mut Findings) {
    let at = join(path, "on");
    if findings.is_broken(&at) || !findings.is_written(&at) {
        return;
    }
    let nothing = on.push.is_none() && on.pull_request.is_none() && on.schedule.is_none() && !on.manual;
    let wrong = match run {
        _ if nothing => {
            Some(("nothing starts the workflow", "write `manual`, or `push`, `pull_request` or `schedule`"))
        }
        Run::Plan if on.pull_request.is_none() => Some((
            "the plan is a comment on a pull request, and none starts this",
            "write `pull_request: [main]`",
        )),
        Run::Drift | Run::Scan if on.pull_request.is_some() || on.push.is_some() => {
            Some(("what exists changes without a push", "write `schedule`, or `manual`"))
        }
        Run::Rollback | Run::Migrate
            if on.pull_request.is_some() || on.push.is_some() || on.schedule.is_some() =>
        {
            Some(("a person decides about this", "write `on: manual`"))
        }
        Run::Release if on.push.as_ref().is_none_or(|push| push.tags.is_empty()) => {
            Some(("a release is made for a tag, and none starts this", "write `push: {tags: [v*]}`"))
        }
        Run::Deploy | Run::Release if on.pull_request.is_some() => {
            Some(("a pull request is not merged yet: whoever opens one would deploy", "write `push: [main]`"))
        }
        _ => None,
    };
    if let Some((message, hint)) = wrong {
        let diagnostic = Diagnostic::error("workflow", message).label("starts wrongly").hint(hint);
        findings.add(Part::Key, &at, diagnostic);
    }
}

fn check_suites(path: &str, run: Run, suites: &[String], ci: &Ci, findings: &mut Findings) {
    if run != Run::Ci || findings.is_broken("ci") {
        return;
    }
    if ci.suites.is_empty() {
        require("ci", "ci: {steps: [./test.sh]}", "what the workflow runs", findings);
    }
    for name in suites.iter().filter(|name| !ci.suites.contains_key(name.as_str())) {
        let diagnostic =
            Diagnostic::error("unknown-suite", format!("there is no suite `{name}`")).label("unknown suite");
        let known: Vec<&str> = ci.suites.keys().map(String::as_str).collect();
        findings.add(Part::Key, &join(path, "suites"), with_known(diagnostic, name, &known, "suites"));
    }
}

/// What has to succeed first are tests, which the workflow can run itself.
fn check_needs(workflows: &IndexMap<String, Workflow>, findings: &mut Findings) {
    for (name, workflow) in workflows {
        let at = format!("github.workflows.{name}.needs");
        for needed in &workflow.needs {
            match workflows.get(needed) {
                Some(other) if other.run == Run::Ci => {}
                Some(other) => {
                    let message = format!(
                        "`{needed}` runs {}, and only tests can come first in the same run",
                        other.run.word()
                    );
                    let diagnostic = Diagnostic::error("workflow", message)
                        .label("no tests")
                        .hint("name a workflow with `run: ci`");
                    findings.add(Part::Key, &at, diagnostic);
                }
                None => {
                    let message = format!("there is no workflow `{needed}`");
                    let diagnostic = Diagnostic::error("unknown-workflow", message).label("unknown workflow");
                    let known: Vec<&str> =
                        workflows.keys().map(String::as_str).filter(|known| known != name).collect();
                    findings.add(Part::Key, &at, with_known(diagnostic, needed, &known, "workflows"));
                }
            }
        }
    }
}

fn with_known(diagnostic: Diagnostic, name: &str, known: &[&str], what: &str) -> Diagnostic {
    match did_you_mean(name, known.iter().copied()) {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
        None if known.is_empty() => diagnostic.hint(format!("there are no other {what}")),
        None => diagnostic.hint(format!("the {what} are: {}", known.join(", "))),
    }
}

/// The name becomes one of a job or of a file.
fn check_name(path: &str, name: &str, what: &str, findings: &mut Findings) {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !begins || !rest || name.len() > MAX_NAME {
        let message = format!("`{name}` cannot be the name of a {what}");
        let hint =
            format!("lower-case letters, digits and dashes, starting with a letter, at most {MAX_NAME}");
        findings.add(
            Part::Key,
            path,
            Diagnostic::error("wrong-value", message).label("not valid").hint(hint),
        );
    }
}
