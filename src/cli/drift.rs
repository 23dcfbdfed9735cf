//! `deployer drift ENV`: what exists and is not as the YAML says. Writes nothing.

use super::session::{Reach, Session};
use super::{CliError, Exit, Global};
use crate::resource::Layer;
use crate::view::Out;

/// Show what differs from the YAML
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer drift production                   exit 2 when something differs, 0 when nothing does
  deployer drift production --layer release   only services, who may call them, and jobs
  deployer drift production --output json     for a nightly job that tells somebody
An image that a release brought stays until the YAML's image changes: it is no drift.")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Look only at this part
    #[arg(long, value_enum)]
    layer: Option<Layer>,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let session = Session::open(&args.environment, global, &args.reach, out).await?;
    let plan = session.plan_drift(args.layer).await;
    session.close().await;
    let plan = plan?;
    out.drift(&plan);
    Ok(if plan.is_empty() { Exit::Fine } else { Exit::Pending })
}
