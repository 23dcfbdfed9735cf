//! `deployer plan ENV`: what apply would do. Writes nothing.

use super::session::{Reach, Selection, Session};
use super::{CliError, Exit, Global};
use crate::view::Out;

/// Show what apply would change
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer plan dev
  deployer plan production --detailed-exitcode   exit 2 when something would change
  deployer plan staging --image api=us-docker.pkg.dev/p/r/api:v2
  deployer plan staging --sandbox --output json")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Exit 2 instead of 0 when there are changes
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let session = Session::open(&args.environment, global, &args.reach, out).await?;
    let plan = session.plan(&args.selection).await;
    session.close().await;
    let plan = plan?;
    out.plan(&plan, args.selection.part().as_deref());
    Ok(if args.detailed_exitcode && !plan.is_empty() { Exit::Pending } else { Exit::Fine })
}
