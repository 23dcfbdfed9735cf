//! `deployer build ENV [SERVICE]...`: images of the system's own services, built and pushed.

use super::building::{self, Buildable};
use super::session::{Reach, Session, tag};
use super::{CliError, Exit, Global};
use crate::config::model::Target;
use crate::config::{self, Environment, Inputs};
use crate::view::{BuildAnswer, Out};

/// Build the images of services and push them to the registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer build dev                     what changed since it was built last, into the sandbox
  deployer build staging api             one service
  deployer build staging --tag v1.4.0    and give the images this tag
  deployer build staging --force         also what did not change
What an image is made from (`build.paths`, Cargo.lock, settings) is a tag of it: an image that
the registry has is not built again. On the sandbox `apply` builds by itself; elsewhere choose
what to release with `deployer apply ENV --image SERVICE=REF` or `--tag TAG`.")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Key of a service in the YAML [default: all that have `build`]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Build also what is in the registry already
    #[arg(long)]
    force: bool,
    /// Give the images this tag instead of `image_tags.deploy`
    #[arg(long, value_name = "TAG", value_parser = tag)]
    tag: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let session = Session::open(&args.environment, global, &args.reach, out).await?;
    let done = build(args, &session, out).await;
    session.close().await;
    out.built(&done?);
    Ok(Exit::Fine)
}

async fn build(args: &Args, session: &Session, out: &Out) -> Result<BuildAnswer, CliError> {
    let env = &session.env;
    check(env, &args.services)?;
    let wanted = |key: &str| args.services.is_empty() || args.services.iter().any(|asked| asked == key);
    let found = building::prepared(env, &session.root, wanted)?;
    let tags: Vec<String> = match &args.tag {
        Some(tag) => vec![tag.clone()],
        None => deploy_tag(session)?.into_iter().collect(),
    };
    let mut builds = Vec::new();
    for each in &found {
        match Buildable::built(each, session, &tags, args.force, out).await {
            Ok(row) => builds.push(row),
            Err(error) => {
                // What was pushed before is there, whatever became of this one.
                for row in &builds {
                    out.status(&row.line());
                }
                return Err(error);
            }
        }
    }
    let next = (env.target != Target::Sandbox).then(|| command(env, &session.reach, &builds));
    Ok(BuildAnswer { environment: env.name.clone(), builds, next })
}

/// `image_tags.deploy`, which git may be asked for.
fn deploy_tag(session: &Session) -> Result<Option<String>, CliError> {
    let inputs = Inputs { deploy_tag: true, project_number: session.number };
    Ok(config::load(&session.root, &session.env.name, &inputs)?.environment.deploy_tag)
}

/// The command that releases what was built.
fn command(env: &Environment, reach: &[String], builds: &[crate::view::BuildRow]) -> String {
    let images = builds.iter().map(|row| format!("--image {}={}@{}", row.service, row.image, row.digest));
    let words = ["deployer apply".to_owned(), env.name.clone()]
        .into_iter()
        .chain(images)
        .chain(reach.iter().cloned());
    words.collect::<Vec<_>>().join(" ")
}

fn check(env: &Environment, asked: &[String]) -> Result<(), CliError> {
    let built: Vec<_> = env
        .services
        .iter()
        .filter(|(_, service)| service.build.is_some())
        .map(|(key, _)| key.as_str())
        .collect();
    if built.is_empty() {
        return Err(CliError::user(format!("no service of {} has a `build`", env.name))
            .hint("add one, e.g. `build: {builder: cargo}`; docs/configuration.md lists its keys"));
    }
    let Some(unknown) = asked.iter().find(|key| !built.contains(&key.as_str())) else { return Ok(()) };
    let message = if env.services.contains_key(unknown) {
        format!("the service `{unknown}` of {} has no `build`", env.name)
    } else {
        format!("there is no service `{unknown}` in {}", env.name)
    };
    Err(CliError::user(message).hint(format!("services with a `build`: {}", built.join(", "))))
}
