//! `deployer plan ENV`: what apply would do. Writes nothing but the file that `-o` names.

use std::path::PathBuf;

use jiff::Timestamp;

use super::plan_file::Destination;
use super::session::{Connection, Reach, Selection, Session};
use super::{CliError, Exit, Global};
use crate::apply::server_check;
use crate::plan::file::{Planned, Saved};
use crate::view::Out;

/// Show what apply would change
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer plan dev
  deployer plan production --detailed-exitcode   exit 2 when something would change
  deployer plan production -o production.plan    for `deployer apply production.plan`, for a day
  deployer plan staging --server-check           Google checks what would be sent
  deployer plan staging --image api=us-docker.pkg.dev/p/r/api:v2
  deployer plan staging --sandbox --output json")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Exit 2 instead of 0 when there are changes
    #[arg(long)]
    detailed_exitcode: bool,
    /// Save the plan, for `deployer apply FILE`
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Let Google check the changes of services and jobs, without making them (needs the right to make them)
    #[arg(long)]
    server_check: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let destination = args.file.as_deref().map(Destination::of).transpose()?;
    let session = Session::open(&args.environment, global, &args.reach, out).await?;
    let planned = plan(args, &session, out).await;
    session.close().await;
    let saved = Saved::new(planned?, Timestamp::now());
    let plan = &saved.planned.plan;
    if let Some(destination) = &destination {
        destination.write(&saved)?;
    }
    out.plan(plan);
    if let Some(file) = &args.file {
        let (environment, file) = (&args.environment, file.display());
        out.status(&format!("Saved. `deployer apply {environment} {file}` does exactly this."));
    }
    Ok(if args.detailed_exitcode && !plan.is_empty() { Exit::Pending } else { Exit::Fine })
}

async fn plan(args: &Args, session: &Session, out: &Out) -> Result<Planned, CliError> {
    let planned = session.planned(&args.selection).await?;
    if args.server_check {
        let Connection { registry, gcp, .. } = &session.connection;
        let checked = server_check::check(registry, gcp, &planned.plan).await;
        out.server_checked(&planned.plan, &checked);
        if !checked.refusals.is_empty() {
            let message = "Google would refuse some of these changes".to_owned();
            return Err(CliError::Refused { message, refusals: checked.refusals });
        }
    }
    Ok(planned)
}
