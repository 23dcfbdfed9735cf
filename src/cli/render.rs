//! `deployer render`: the files that the repository needs, from the YAML and from templates. Reads and writes files only.

use std::path::Path;

use super::session::root;
use super::{CliError, Exit, Global};
use crate::config::{self, Environment, Inputs, did_you_mean};
use crate::render::files::{self, Judged, Standing};
use crate::render::{self, Templates};
use crate::view::{FileOutcome, Out, RenderAnswer, RenderRow};

/// Write the files that the YAML asks for: workflows of GitHub
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer render                                   write what differs
  deployer render --check                           only look; exit 1 with a diff when something differs
  deployer render --only .github/workflows/ci.yml   this file alone
Rendered files say so in one of their first lines. What was changed by hand since, or was there
before, is shown as a diff and stays, with all other files, unless --force is given. What was
rendered before and is asked for no more is removed. A file in a folder `templates` beside
`environments` stands in for the built-in template of the same name.")]
pub struct Args {
    /// Write nothing: exit 1 with a diff when a file is not as it would be rendered
    #[arg(long)]
    check: bool,
    /// Only this file, as its path is shown
    #[arg(long, value_name = "PATH")]
    only: Vec<String>,
    /// Write also what was changed by hand, or was not rendered
    #[arg(long, conflicts_with = "check")]
    force: bool,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let root = root(global)?;
    let environments = environments(&root)?;
    let templates = Templates::of(&root).map_err(|error| CliError::user(error.to_string()))?;
    let rendered =
        render::render(&environments, &templates).map_err(|error| CliError::user(error.to_string()))?;
    let judged = files::judge(&root, &rendered).map_err(|error| CliError::user(error.to_string()))?;
    let judged = chosen(judged, &args.only)?;
    let refused = !args.check && !args.force && judged.iter().any(is_somebody_elses);
    if !args.check && !refused {
        files::write(&root, &judged, args.force).map_err(|error| CliError::user(error.to_string()))?;
    }
    let rows: Vec<_> = judged.iter().map(|file| row(file, args, refused)).collect();
    let failed = refused || (args.check && rows.iter().any(|row| row.outcome.differs()));
    let mut remarks = templates.remarks();
    if !args.check {
        // What git knows differs from one checkout to the next: a check does not ask it.
        remarks.extend(about_branches(&root, &environments));
    }
    let answer = RenderAnswer { check: args.check, refused, files: rows, remarks };
    out.rendered(&answer);
    Ok(if failed { Exit::Failed } else { Exit::Fine })
}

fn environments(root: &Path) -> Result<Vec<Environment>, CliError> {
    let loaded = config::load_all(root, &Inputs::default())?;
    Ok(loaded.into_iter().map(|loaded| loaded.environment).collect())
}

/// Workflows that start on a branch which is not there, or why nobody can tell.
fn about_branches(root: &Path, environments: &[Environment]) -> Vec<String> {
    let named = environments.first().map(named_branches).unwrap_or_default();
    if named.is_empty() {
        return Vec::new();
    }
    let known = match config::branches(root) {
        Ok(known) if known.is_empty() => {
            Err("it has no branch: its head is detached, or there is no commit yet".to_owned())
        }
        known => known,
    };
    match known {
        Err(why) => vec![format!("whether the branches of the workflows exist was not looked at: {why}")],
        Ok(known) => named
            .into_iter()
            .filter(|(_, branch)| !known.contains(branch))
            .map(|(workflow, branch)| {
                let meant = did_you_mean(&branch, known.iter().map(String::as_str));
                let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
                format!("workflow `{workflow}` starts on the branch `{branch}`, which this repository does not have{meant}")
            })
            .collect(),
    }
}

/// Workflows with the branches that they name in full.
fn named_branches(environment: &Environment) -> Vec<(String, String)> {
    let workflows = environment.github.iter().flat_map(|github| &github.workflows);
    let named = workflows.flat_map(|(name, workflow)| {
        let pushed = workflow.on.push.iter().flat_map(|push| &push.branches);
        let into = workflow.on.pull_request.iter().flat_map(|request| &request.branches);
        pushed.chain(into).map(move |branch| (name.clone(), branch.clone()))
    });
    let mut named: Vec<_> = named.filter(|(_, branch)| !branch.contains(['*', '?', '[', '!', '+'])).collect();
    named.sort();
    named.dedup();
    named
}

/// The files that were asked for; all, when none was named.
fn chosen(judged: Vec<Judged>, only: &[String]) -> Result<Vec<Judged>, CliError> {
    let only: Vec<&str> = only.iter().map(|path| path.strip_prefix("./").unwrap_or(path)).collect();
    let known: Vec<&str> = judged.iter().map(|file| file.path.as_str()).collect();
    if let Some(path) = only.iter().find(|path| !known.contains(path)) {
        let error = CliError::user(format!("`{path}` is no file that is rendered"));
        return Err(match did_you_mean(path, known.iter().copied()) {
            Some(meant) => error.hint(format!("did you mean `{meant}`?")),
            None if known.is_empty() => error.hint("nothing is rendered: the YAML asks for no file"),
            None => error.hint(format!("rendered are: {}", known.join(", "))),
        });
    }
    let wanted = |file: &Judged| only.is_empty() || only.contains(&file.path.as_str());
    Ok(judged.into_iter().filter(wanted).collect())
}

/// Writing it would take away what somebody has written.
fn is_somebody_elses(file: &Judged) -> bool {
    matches!(file.standing, Standing::Touched | Standing::Foreign)
}

fn row(file: &Judged, args: &Args, refused: bool) -> RenderRow {
    let outcome = if args.check { checked(file.standing) } else { done(file.standing, args.force, refused) };
    let shown = if args.check { outcome.differs() } else { outcome == FileOutcome::Refused };
    let (before, after) = (file.before.clone().unwrap_or_default(), file.after.clone().unwrap_or_default());
    RenderRow {
        path: file.path.clone(),
        template: file.template.clone(),
        outcome,
        by_hand: matches!(file.standing, Standing::Touched | Standing::LeftTouched),
        change: shown.then_some((before, after)),
    }
}

fn checked(standing: Standing) -> FileOutcome {
    match standing {
        Standing::Current => FileOutcome::Unchanged,
        Standing::Missing => FileOutcome::Missing,
        Standing::Old | Standing::Touched | Standing::Foreign => FileOutcome::Differs,
        Standing::Left => FileOutcome::Left,
        Standing::LeftTouched => FileOutcome::Kept,
    }
}

/// What became of a file. When something is refused, nothing at all is written.
fn done(standing: Standing, force: bool, refused: bool) -> FileOutcome {
    match standing {
        Standing::Touched | Standing::Foreign if !force => FileOutcome::Refused,
        Standing::Current => FileOutcome::Unchanged,
        _ if refused => FileOutcome::Skipped,
        Standing::Missing => FileOutcome::Created,
        Standing::Old | Standing::Touched | Standing::Foreign => FileOutcome::Updated,
        Standing::LeftTouched if !force => FileOutcome::Kept,
        Standing::Left | Standing::LeftTouched => FileOutcome::Removed,
    }
}
