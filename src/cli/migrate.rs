//! `deployer migrate ENV`: runs the migrations that have not succeeded for what is deployed; `--status` shows how they stand.

use super::carrying_out;
use super::session::{Reach, Session};
use super::{CliError, Exit, Global};
use crate::apply::execution::{self, Said, Standing};
use crate::config::Environment;
use crate::config::model::Job;
use crate::gcp::{ErrorKind, Gcp};
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
    let done = migrations(args, &session, out).await;
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
    for (key, job) in in_order(env) {
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
    Ok(MigrationsAnswer { environment: env.name.clone(), status_only: args.status, rows })
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

/// The migrations of an environment, each after those that it needs.
fn in_order(env: &Environment) -> Vec<(&str, &Job)> {
    let mut left: Vec<_> = env.jobs.iter().filter(|(_, job)| job.migration).collect();
    let mut ordered: Vec<(&str, &Job)> = Vec::new();
    // The YAML has no circles; what would be left of one comes in the order of the files.
    while !left.is_empty() {
        let waits = |job: &Job, left: &[(&String, &Job)]| {
            job.needs.iter().any(|need| left.iter().any(|(key, _)| *key == need))
        };
        let at = left.iter().position(|(_, job)| !waits(job, &left)).unwrap_or(0);
        let (key, job) = left.remove(at);
        ordered.push((key, job));
    }
    ordered
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Inputs};

    const BASE: &str = r#"deployer: v1
environment: base
system: shop
project: {id: shop-project, number: "123456789012"}
region: us-central1
tenants: {list: {red: {}, blue: {}}}
services: {front: {image: "x/y:z"}}
migrations:
  last: {service: front, command: [m], needs: [each]}
  each: {service: front, command: [m, "${tenant.slug}"], for_each: tenants, needs: [shared]}
  shared: {service: front, command: [m]}
"#;

    #[test]
    fn a_migration_comes_after_those_that_it_needs() {
        let folder = tempfile::TempDir::new().unwrap();
        let environments = folder.path().join("environments");
        std::fs::create_dir(&environments).unwrap();
        std::fs::write(environments.join("base.yaml"), BASE).unwrap();
        std::fs::write(environments.join("dev.yaml"), "environment: dev\n").unwrap();
        let env = config::load(folder.path(), "dev", &Inputs::default()).unwrap().environment;
        let keys: Vec<_> = in_order(&env).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["shared", "each/red", "each/blue", "last"]);
    }
}
