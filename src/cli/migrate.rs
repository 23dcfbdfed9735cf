//! `deployer migrate ENV`: runs the migrations that have not succeeded for what is deployed; `--status` shows how they stand.

use super::carrying_out;
use super::session::{Reach, Session};
use super::{CliError, Exit, Global, beside};
use crate::apply::execution::{self, Said, Standing};
use crate::config::model::Job;
use crate::gcp::{ErrorKind, Gcp};
use crate::resource::Layer;
use crate::resource::Place;
use crate::view::style::counted;
use crate::view::{MigrationRow, MigrationState, MigrationsAnswer, Out};

/// Run the migrations that have not succeeded yet, or show how they stand
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer migrate staging              in their order, those that succeeded left out
  deployer migrate staging --status     which ran, when, and what came of it; runs nothing
A release runs its migrations itself, each once. One that failed is not run again by `apply`:
this command does that, once its cause is gone. It runs the jobs as they are deployed.
`deployer run ENV MIGRATION` runs one of them whatever came of it before.")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Only show how they stand
    #[arg(long)]
    status: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "status")]
    auto_approve: bool,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let session = Session::open(&args.environment, global, &args.reach, out).await?;
    let work = Box::pin(migrations(args, &session, out));
    let done = if args.status {
        work.await
    } else {
        // What was delivered before still holds: a migration changes no secret.
        beside::local_services(&session, Some(Layer::Release), out, work).await
    };
    session.close().await;
    let answer = done?;
    out.migrations(&answer);
    let failed = !args.status && answer.rows.iter().any(|row| !row.state.is_done());
    Ok(if failed { Exit::Failed } else { Exit::Fine })
}

async fn migrations(args: &Args, session: &Session, out: &Out) -> Result<MigrationsAnswer, CliError> {
    let (env, gcp) = (&session.env, &session.connection.gcp);
    let place = session.place().await?;
    let mut found = Vec::new();
    for (key, job) in env.migrations() {
        let standing = execution::standing(gcp, &place, &job.name).await?;
        found.push(Found { key, job, row: row(key, job, standing.as_ref()), standing });
    }
    let open = found.iter().filter(|found| !found.row.state.is_done()).count();
    if !args.status && open > 0 {
        if let Some(missing) = found.iter().find(|found| found.standing.is_none()) {
            let why = format!("there is no job {} yet", missing.job.name);
            return Err(CliError::user(why).hint(format!("deployer apply {} makes it", env.name)));
        }
        let question = format!("Run {open} of {} of {}?", counted(found.len(), "migration"), env.name);
        carrying_out::confirmed(&session.connection, &question, args.auto_approve, out)?;
        session.connection.interrupts.writing();
        run_open(&mut found, gcp, &place, out).await?;
    }
    let rows = found.into_iter().map(|found| found.row).collect();
    Ok(MigrationsAnswer { environment: env.name.clone(), rows })
}

struct Found<'a> {
    key: &'a str,
    job: &'a Job,
    standing: Option<Standing>,
    row: MigrationRow,
}

/// Runs those that have not succeeded, in order, up to the first that fails.
async fn run_open(found: &mut [Found<'_>], gcp: &Gcp, place: &Place, out: &Out) -> Result<(), CliError> {
    let said: Said = out.job_lines().said();
    for each in found.iter_mut().filter(|found| !found.row.state.is_done()) {
        let digest = each.standing.as_ref().map(|standing| standing.digest.clone()).unwrap_or_default();
        out.status(&format!("Running {}.", each.key));
        let ran = execution::migrate(gcp, place, &each.job.name, &digest, true, &said).await;
        let failed = match ran {
            Ok(_) => false,
            Err(error) if error.kind == ErrorKind::ExecutionFailed => {
                out.error(&error.to_string(), &error.hints);
                true
            }
            Err(error) => return Err(error.into()),
        };
        each.standing = execution::standing(gcp, place, &each.job.name).await?;
        each.row = row(each.key, each.job, each.standing.as_ref());
        if failed {
            break;
        }
    }
    Ok(())
}

fn row(key: &str, job: &Job, standing: Option<&Standing>) -> MigrationRow {
    let newest = standing.and_then(|standing| standing.newest.clone());
    let state = match (standing, &newest) {
        (None, _) => MigrationState::NotDeployed,
        (Some(_), None) => MigrationState::NeverRun,
        (Some(_), Some(execution)) => MigrationState::Ran(execution.clone()),
    };
    MigrationRow {
        migration: key.to_owned(),
        job: job.name.clone(),
        release: standing.map(|standing| standing.digest.clone()),
        state,
    }
}
