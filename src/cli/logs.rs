//! `deployer logs ENV [SERVICE]`: what services and jobs wrote.

use std::collections::BTreeMap;

use super::session::{Reach, Session};
use super::{CliError, Exit, Global};
use crate::config::Environment;
use crate::config::diagnostic::did_you_mean;
use crate::gcp::{LogSource, Tail};
use crate::view::{Format, LogsAnswer, Out};

/// Show what services and jobs wrote
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer logs staging                  the last lines of all services
  deployer logs staging api --follow     and what comes, until Ctrl-C
  deployer logs staging backup           of a job; sync/acme is that of a tenant
  deployer logs staging api --lines 1000 --output json
Lines of the platform (requests, probes, starts and ends of instances) are among them.")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Key of a service or job in the YAML [default: all services]
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Go on showing what comes, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many lines of before
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    lines: u16,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    if args.follow && out.format() != Format::Human {
        return Err(CliError::user("--follow has no end, and this form of the output is one document")
            .hint("leave out --follow, or --output"));
    }
    let session = Session::open(&args.environment, global, &args.reach, out).await?;
    let shown = show(args, &session, out).await;
    session.close().await;
    shown.map(|()| Exit::Fine)
}

async fn show(args: &Args, session: &Session, out: &Out) -> Result<(), CliError> {
    let env = &session.env;
    let (source, keys) = source(env, args.service.as_deref())?;
    let gcp = &session.connection.gcp;
    let (project, region) = (&env.project.id, &env.region);
    let entries = gcp.last_entries(project, region, &source, usize::from(args.lines)).await?;
    let nothing = entries.is_empty();
    let newest = entries.last().map(|entry| entry.time);
    let mut tail = Tail::new(source, newest.or_else(|| Some(jiff::Timestamp::now())));
    tail.know(&entries);
    let on_sandbox = session.on_own_sandbox();
    out.logs(&LogsAnswer { environment: env.name.clone(), entries, keys: keys.clone() });
    if nothing && on_sandbox {
        out.status(&session.not_running());
    }
    if !args.follow {
        return Ok(());
    }
    if on_sandbox {
        return Err(CliError::user(session.not_running()).hint("nothing can come while nothing runs"));
    }
    let mut patience = gcp.patience().endless();
    loop {
        let entries = tail.news(gcp, project, region).await?;
        if !entries.is_empty() {
            out.logs(&LogsAnswer { environment: env.name.clone(), entries, keys: keys.clone() });
        }
        patience.pause("what comes next").await?;
    }
}

/// Whose entries to ask for, and the keys of the YAML by Cloud Run's names.
fn source(
    env: &Environment,
    wanted: Option<&str>,
) -> Result<(LogSource, BTreeMap<String, String>), CliError> {
    let services = env.services.iter().map(|(key, service)| (key, &service.name));
    let jobs = env.jobs.iter().map(|(key, job)| (key, &job.name));
    let named = services.clone().chain(jobs.clone()).map(|(key, name)| (name.clone(), key.clone())).collect();
    let Some(wanted) = wanted else {
        if env.services.is_empty() {
            return Err(CliError::user(format!("{} declares no service", env.name)));
        }
        return Ok((LogSource::Services(services.map(|(_, name)| name.clone()).collect()), named));
    };
    if let Some(service) = env.services.get(wanted) {
        return Ok((LogSource::Services(vec![service.name.clone()]), named));
    }
    if let Some(job) = env.jobs.get(wanted) {
        return Ok((LogSource::Jobs(vec![job.name.clone()]), named));
    }
    let keys: Vec<_> = services.chain(jobs).map(|(key, _)| key.as_str()).collect();
    let error = CliError::user(format!("{} has no service or job `{wanted}`", env.name));
    Err(match did_you_mean(wanted, keys.iter().copied()) {
        Some(meant) => error.hint(format!("did you mean `{meant}`?")),
        None => error.hint(format!("there are: {}", keys.join(", "))),
    })
}
