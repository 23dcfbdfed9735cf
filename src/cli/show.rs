//! `deployer show FILE`: prints a saved plan. Reads that file and nothing else.

use std::path::PathBuf;

use super::{CliError, Exit, plan_file};
use crate::view::Out;

/// Show a saved plan
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer plan staging -o staging.plan
  deployer show staging.plan
  deployer show staging.plan --output json
An old plan is shown too; only `apply` minds its age.")]
pub struct Args {
    /// What `deployer plan -o FILE` has written
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub fn run(args: &Args, out: &Out) -> Result<Exit, CliError> {
    let saved = plan_file::read(&args.file)?;
    out.status(&format!("Made at {} by deployer {}.", saved.created, saved.deployer));
    out.plan(&saved.planned.plan);
    Ok(Exit::Fine)
}
