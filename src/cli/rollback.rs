//! `deployer rollback ENV [SERVICE]`: sends the traffic back to a revision that served before. Two or three round trips: what
//! there is, whether the image is there, the write.

use std::time::Instant;

use jiff::Timestamp;

use super::carrying_out;
use super::session::{Reach, Session};
use super::{CliError, Exit, Global};
use crate::apply::rollback::{self, Candidate, Fitness, Refusal};
use crate::config::Environment;
use crate::config::model::Service as Declared;
use crate::gcp::Service;
use crate::resource::kinds::run_service;
use crate::resource::{Owner, Ownership};
use crate::view::{CandidateRow, Out, RollbackAnswer, RolledBack};

/// Send the traffic back to a revision that served before
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer rollback staging api                     to the revision that served before
  deployer rollback staging api --list              which there are; changes nothing
  deployer rollback staging api --to api-0a1b2c3d   to this one
The revision has to be ready, or retired, and its image has to be there. A rollback is recorded:
the next plan says who went back and when, and `apply` releases the newest again. Migrations are
never undone: when some ran in between you are asked, and a migration that is marked
`backward_compatible: false` refuses it.")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Key of the service in the YAML [default: the only one]
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// The revision that is to serve
    #[arg(long, value_name = "REVISION")]
    to: Option<String>,
    /// Only list the revisions
    #[arg(long, conflicts_with_all = ["to", "auto_approve"])]
    list: bool,
    /// Do not ask
    #[arg(long)]
    auto_approve: bool,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let session = Session::open_at_once(&args.environment, global, &args.reach, out).await?;
    let done = roll_back(args, &session, out).await;
    session.close().await;
    out.rolled_back(&done?, Timestamp::now());
    Ok(Exit::Fine)
}

async fn roll_back(args: &Args, session: &Session, out: &Out) -> Result<RollbackAnswer, CliError> {
    let (env, gcp) = (&session.env, &session.connection.gcp);
    let started = Instant::now();
    let (key, declared) = wanted(env, args.service.as_deref())?;
    let name = run_service::full_name(&env.project.id, &env.region, &declared.name);
    let (live, revisions) = futures::try_join!(gcp.object::<Service>(&name), gcp.revisions(&name))?;
    let live = live.ok_or_else(|| {
        let why = format!("there is no service {} yet: nothing served before", declared.name);
        CliError::user(why).hint(format!("deployer apply {} makes it", env.name))
    })?;
    let candidates = rollback::candidates(&live, &revisions);
    let usual = rollback::choose(&candidates, None).ok().map(|usual| usual.revision.name.clone());
    let mut answer = RollbackAnswer {
        environment: env.name.clone(),
        service: key.to_owned(),
        candidates: candidates.iter().map(|found| row(found, usual.as_deref())).collect(),
        done: None,
    };
    if args.list {
        return Ok(answer);
    }
    if let Owner::Marked(mark) = Ownership::owner_by_labels(&live)
        && mark.system != env.system
    {
        let whose = format!("{}/{}", mark.system, mark.environment);
        return Err(CliError::user(format!("{} belongs to {whose}: nothing was changed", declared.name)));
    }
    let chosen = rollback::choose(&candidates, args.to.as_deref()).map_err(refusal)?;
    let (to, image) = (&chosen.revision.name, &chosen.revision.image);
    let migrations = between(env, key, &candidates, to)?;
    if !rollback::image_is_there(gcp, &env.project.id, image).await? {
        return Err(CliError::user(format!("the image of {to} is gone: {image}"))
            .hint(format!("deployer rollback {} {key} --list shows the others", env.name)));
    }
    if !migrations.is_empty() {
        out.warning(&format!("{} ran since {to} served, and is not undone", migrations.join(", ")));
        let question = format!("Send the traffic of {key} to {to} all the same?");
        carrying_out::confirmed(&session.connection, &question, args.auto_approve, out)?;
    }
    session.connection.interrupts.writing();
    rollback::shift(gcp, &live, &candidates, to).await?;
    let serving = candidates.iter().filter(|found| matches!(found.fitness, Fitness::Serving(_)));
    answer.done = Some(RolledBack {
        from: serving.map(|found| found.revision.name.clone()).filter(|name| name != to).collect(),
        to: to.clone(),
        migrations,
        milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    Ok(answer)
}

/// The service that is meant.
fn wanted<'a>(env: &'a Environment, key: Option<&str>) -> Result<(&'a str, &'a Declared), CliError> {
    let keys: Vec<_> = env.services.keys().map(String::as_str).collect();
    let known = format!("the services are: {}", keys.join(", "));
    let key = match (key, keys.as_slice()) {
        (Some(key), _) => key,
        (None, [only]) => only,
        (None, []) => return Err(CliError::user(format!("{} declares no service", env.name))),
        (None, _) => {
            return Err(CliError::user(format!("{} has several services: name one", env.name)).hint(known));
        }
    };
    let found = env.services.get_key_value(key).map(|(key, service)| (key.as_str(), service));
    found.ok_or_else(|| CliError::user(format!("{} has no service `{key}`", env.name)).hint(known))
}

fn refusal(refusal: Refusal) -> CliError {
    let Refusal { message, hints } = refusal;
    CliError::User { message: format!("{message}: nothing was changed"), hints }
}

/// The migrations that ran since, by their keys in the YAML where it still has them.
///
/// # Errors
/// When one of them cannot be gone back over, by what was true when it ran or by what the YAML says now: its author may have
/// found out since.
fn between(
    env: &Environment,
    key: &str,
    candidates: &[Candidate],
    to: &str,
) -> Result<Vec<String>, CliError> {
    let breaking = rollback::breaking_between(candidates, to);
    let mut ran = Vec::new();
    for job in rollback::migrations_between(candidates, to) {
        let declared = env.jobs.iter().find(|(_, declared)| declared.name == job);
        let migration = declared.map_or(job.as_str(), |(key, _)| key);
        let said = match declared {
            _ if breaking.contains(&job) => "backward_compatible: false, when it ran".to_owned(),
            Some((_, declared)) if !declared.backward_compatible => {
                format!("{}.backward_compatible", declared.path)
            }
            _ => {
                ran.push(migration.to_owned());
                continue;
            }
        };
        let why = format!("the migration `{migration}` ran since {to} served, which cannot serve after it");
        return Err(CliError::user(format!("{why} ({said}): nothing was changed"))
            .hint("release a revision that can: deployer apply, with an image that is mended")
            .hint(format!(
                "deployer rollback {} {key} --list shows when each revision was released",
                env.name
            )));
    }
    Ok(ran)
}

fn row(candidate: &Candidate, usual: Option<&str>) -> CandidateRow {
    let Candidate { revision, record, fitness } = candidate;
    CandidateRow {
        revision: revision.name.clone(),
        image: revision.image.clone(),
        sha: record.as_ref().and_then(|record| record.sha.clone()),
        when: record.as_ref().map_or(&revision.created, |record| &record.when).clone(),
        who: record.as_ref().map(|record| record.who.clone()),
        outcome: record.as_ref().map(|record| record.outcome.word().to_owned()),
        percent: if let Fitness::Serving(percent) = fitness { *percent } else { 0 },
        trouble: if let Fitness::Bad(why) = fitness { Some(why.clone()) } else { None },
        usual: usual == Some(revision.name.as_str()),
    }
}
