//! `deployer run ENV JOB`: executes a job, follows its logs and ends with its status.

use super::session::{Reach, Session};
use super::{CliError, Exit, Global};
use crate::apply::execution::{self, Said};
use crate::config::Environment;
use crate::config::model::Job;
use crate::gcp::{ErrorKind, Run};
use crate::view::{Out, RunAnswer};

/// Run a job, follow its logs and end with its status
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer run staging backup                        the job as it is deployed
  deployer run staging backup -- --all --quiet       with other arguments, this once
  deployer run staging restore -- file=monday.tgz    what `args_from: [file]` asks for
  deployer run staging sync --tenant acme            the job of one tenant, the same as sync/acme
What the job writes goes to standard output, and its exit status is deployer's; 1 when it could
not be started. Ctrl-C stops following: at Google the execution goes on.")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Key of a job or migration in the YAML; KEY/SLUG for one of a tenant
    #[arg(value_name = "JOB")]
    job: String,
    /// The tenant whose job it is
    #[arg(long, value_name = "SLUG")]
    tenant: Option<String>,
    /// Arguments in place of the job's own; NAME=VALUE for each of `args_from`
    #[arg(last = true, value_name = "ARGS")]
    words: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let session = Session::open(&args.environment, global, &args.reach, out).await?;
    let done = executed(args, &session, out).await;
    session.close().await;
    let answer = done?;
    out.ran(&answer);
    Ok(Exit::Job(answer.execution.exit_code()))
}

async fn executed(args: &Args, session: &Session, out: &Out) -> Result<RunAnswer, CliError> {
    let env = &session.env;
    let (key, job) = find(env, &args.job, args.tenant.as_deref())?;
    let words = job.arguments(&args.words).map_err(|why| not_so(key, job, &why))?;
    let place = session.place().await?;
    let lines = out.job_lines();
    let said: Said = lines.said();
    session.connection.interrupts.writing();
    let run = Run { args: words, etag: None };
    let execution =
        execution::run(&session.connection.gcp, &place, &job.name, &run, &said).await.map_err(|error| {
            let missing = error.kind == ErrorKind::NotFound;
            let hint = format!("`deployer apply {}` makes what is missing", env.name);
            CliError::Google(if missing { error.with_hint(hint) } else { error })
        })?;
    Ok(RunAnswer { environment: env.name.clone(), job: key.to_owned(), execution, entries: lines.taken() })
}

/// The job that these words name, with its key.
fn find<'a>(env: &'a Environment, name: &str, tenant: Option<&str>) -> Result<(&'a str, &'a Job), CliError> {
    let key = match tenant {
        Some(slug) => format!("{name}/{slug}"),
        None => name.to_owned(),
    };
    if let Some((key, job)) = env.jobs.get_key_value(&key) {
        return Ok((key, job));
    }
    let of_tenants =
        env.jobs.keys().any(|known| known.rsplit_once('/').is_some_and(|(base, _)| base == name));
    let error = CliError::user(match tenant {
        Some(slug) if of_tenants => format!("{} has no tenant `{slug}`", env.name),
        None if of_tenants => format!("`{name}` is a job of each tenant, and none is named"),
        Some(_) if env.jobs.contains_key(name) => format!("`{name}` is no job of tenants"),
        _ => format!("{} has no job `{key}`", env.name),
    });
    Err(if of_tenants {
        let slugs: Vec<_> = env.tenants.keys().map(String::as_str).collect();
        error.hint(format!("add --tenant SLUG; the tenants are: {}", slugs.join(", ")))
    } else {
        error.hint(known(env))
    })
}

fn known(env: &Environment) -> String {
    let keys: Vec<_> = env.jobs.keys().map(String::as_str).collect();
    match keys.as_slice() {
        [] => "declare it under `jobs:` in the YAML first".to_owned(),
        keys => format!("the jobs are: {}", keys.join(", ")),
    }
}

fn not_so(key: &str, job: &Job, why: &str) -> CliError {
    let wanted: Vec<_> = job.args_from.iter().map(|name| format!("{name}=VALUE")).collect();
    CliError::user(format!("`{key}` cannot be run so: {why}"))
        .hint(format!("give it: -- {}", wanted.join(" ")))
}
