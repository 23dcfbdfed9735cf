//! `deployer destroy ENV`: deletes everything that belongs to one environment alone.

use super::session::{Reach, Session};
use super::{CliError, Exit, Global, carrying_out};
use crate::view::Out;

/// Delete everything that belongs to an environment alone
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer destroy dev                   the sandbox never asks
  deployer destroy staging --plan-only   show what would go
  deployer destroy staging --sandbox     rehearse it, or take the rehearsal away
  deployer destroy staging               asks before it deletes anything
What another environment declares too stays, enabled APIs stay, and one protected object
(`protect: true`) refuses the whole plan before anything goes.")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Show the plan and delete nothing
    #[arg(long)]
    plan_only: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "plan_only")]
    auto_approve: bool,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let session = Session::open(&args.environment, global, &args.reach, out).await?;
    let result = destroy(args, &session, out).await;
    session.close().await;
    result
}

async fn destroy(args: &Args, session: &Session, out: &Out) -> Result<Exit, CliError> {
    let plan = session.plan_destruction().await?;
    if args.plan_only {
        out.plan(&plan);
        return Ok(Exit::Fine);
    }
    carrying_out::shown_and_carried_out(&session.connection, &plan, args.auto_approve, out).await
}
