//! `deployer apply ENV` plans, shows, asks, carries out, reports; `deployer apply FILE` does so with a saved plan.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::session::{Aim, Connection, Reach, Selection, Session, Start, root};
use super::{CliError, Exit, Global, beside, building, carrying_out, plan_file};
use crate::config;
use crate::view::Out;

/// Show the plan and carry it out
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer apply dev                        the sandbox never asks
  deployer apply staging                    asks before it changes anything
  deployer apply production --auto-approve  for CI, which cannot answer
  deployer apply production.plan            what `plan production -o production.plan` has shown
An argument with a `.` or a `/` in it is a file. A saved plan is refused when the YAML or
anything that it was made from has moved since.")]
pub struct Args {
    /// Name of the environment (environments/ENV.yaml), or a file that `deployer plan -o FILE` has written
    #[arg(value_name = "ENV|FILE")]
    subject: String,
    /// A saved plan, which has to be for ENV
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    auto_approve: bool,
    /// How old a saved plan may be: 90m, 24h, 7d [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = plan_file::age)]
    max_age: Option<SignedDuration>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    reach: Reach,
}

/// How old a saved plan may be, unless `--max-age` says something else.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let root = root(global)?;
    match &args.file {
        Some(file) if is_environment(file, &root) && is_file(&args.subject, &root) => {
            let (file, environment) = (&args.subject, file.display());
            Err(CliError::user(format!(
                "the environment comes before the file: {environment} is an environment"
            ))
            .hint(format!("deployer apply {environment} {file}")))
        }
        Some(file) => apply_file(file, Some(&args.subject), &root, args, global, out).await,
        None if is_file(&args.subject, &root) => {
            apply_file(Path::new(&args.subject), None, &root, args, global, out).await
        }
        None => {
            apply_environment(args, global, out).await.map_err(|error| or_file(error, &args.subject, &root))
        }
    }
}

fn is_environment(name: &Path, root: &Path) -> bool {
    config::names(root).is_ok_and(|names| names.iter().any(|known| name == Path::new(known)))
}

/// A name that is no environment may have been meant as a saved plan.
fn or_file(mut error: CliError, subject: &str, root: &Path) -> CliError {
    if let CliError::Config(found) = &mut error
        && !is_environment(Path::new(subject), root)
    {
        for problem in found.diagnostics.iter_mut().filter(|problem| problem.rule == "unknown-environment") {
            let known = problem.hint.take().map(|hint| format!("{hint}; ")).unwrap_or_default();
            problem.hint = Some(format!("{known}a saved plan of this name is not here either"));
        }
    }
    error
}

/// No environment has a name like a path; a file may have one like an environment, which then goes first.
fn is_file(subject: &str, root: &Path) -> bool {
    let path = Path::new(subject);
    subject.contains(['.', '/', std::path::MAIN_SEPARATOR]) || (path.is_file() && !is_environment(path, root))
}

async fn apply_environment(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    if args.max_age.is_some() {
        return Err(CliError::user("--max-age is about saved plans, and this plan is made now"));
    }
    let session = Session::open(&args.subject, global, &args.reach, out).await?;
    let work = Box::pin(plan_and_apply(&session, &args.selection, args.auto_approve, out));
    let result = beside::local_services(&session, args.selection.layer, out, work).await;
    session.close().await;
    result
}

/// Builds what is missing, plans, shows, asks, and carries out.
pub(super) async fn plan_and_apply(
    session: &Session,
    selection: &Selection,
    approved: bool,
    out: &Out,
) -> Result<Exit, CliError> {
    // Before the plan nobody can be asked yet.
    if session.connection.on_sandbox || approved {
        building::missing(session, selection, out).await?;
    }
    let plan = session.plan(selection).await?;
    carrying_out::shown_and_carried_out(&session.connection, &plan, approved, out).await
}

async fn apply_file(
    file: &Path,
    environment: Option<&str>,
    root: &Path,
    args: &Args,
    global: &Global,
    out: &Out,
) -> Result<Exit, CliError> {
    if let [first, ..] = args.selection.words().as_slice() {
        return Err(CliError::user(format!("{first} cannot change a plan that is saved"))
            .hint(format!("give {first} to `deployer plan`, and save that plan with -o")));
    }
    let saved = plan_file::read(file)?;
    plan_file::in_time(file, &saved, Timestamp::now(), args.max_age.unwrap_or(MAX_AGE))?;
    let plan = &saved.planned.plan;
    plan_file::for_environment(file, plan, environment)?;
    if !plan_file::matches_yaml(file, plan, root)? {
        out.warning("the YAML is not here: whether it changed since this plan was made was not checked");
    }
    let aim = Aim::of_saved(&args.reach, &plan.target)?;
    let place = &plan.place;
    let seed = gcp_sandbox::ProjectSeed { id: place.project.clone(), number: Some(place.project_number) };
    let start = Start { projects: vec![seed], ..Start::default() };
    let connection = Connection::open(&aim, root, start, global, out).await?;
    if connection.embedded().is_some()
        && let Some(left_out) = plan_file::local_of(plan, root)
    {
        out.warning(&left_out);
    }
    let result = async {
        plan_file::still_holds(file, &saved.planned, &connection).await?;
        carrying_out::shown_and_carried_out(&connection, plan, args.auto_approve, out).await
    }
    .await;
    connection.close().await;
    result
}
