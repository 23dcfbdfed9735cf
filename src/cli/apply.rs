//! `deployer apply ENV`: plans, shows, asks, carries out, reports.

use super::session::{Reach, Selection, Session};
use super::{CliError, Exit, Global, carrying_out};
use crate::apply::Report;
use crate::view::Out;

/// Show the plan and carry it out
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer apply dev                        the sandbox never asks
  deployer apply staging                    asks before it changes anything
  deployer apply production --auto-approve  for CI, which cannot answer")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Do not ask
    #[arg(long)]
    auto_approve: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let session = Session::open(&args.environment, global, &args.reach, out).await?;
    let result = plan_and_apply(args, &session, out).await;
    session.close().await;
    result
}

async fn plan_and_apply(args: &Args, session: &Session, out: &Out) -> Result<Exit, CliError> {
    let plan = session.plan(&args.selection).await?;
    if plan.is_empty() {
        out.applied(&plan, &Report::default());
        return Ok(Exit::Fine);
    }
    out.plan_before_apply(&plan);
    carrying_out::approved(session, &plan, args.auto_approve, out)?;
    carrying_out::carry_out(session, &plan, out).await
}
