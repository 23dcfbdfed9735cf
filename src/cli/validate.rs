//! `deployer validate [ENV...]`: all that is wrong with the YAML. Reads files only.

use super::session::root;
use super::{CliError, Exit, Global};
use crate::config::{self, Inputs};
use crate::view::Out;

/// Check environments without network
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer validate                 every environment
  deployer validate staging         one of them
  deployer validate -C services/shop")]
pub struct Args {
    /// Names of environments; without any, all of them
    #[arg(value_name = "ENV")]
    environments: Vec<String>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let inputs = Inputs { deploy_tag: true, ..Inputs::default() };
    let checked = config::validate(&root(global)?, &args.environments, &inputs)?;
    out.validated(&checked);
    Ok(if checked.has_errors() { Exit::Failed } else { Exit::Fine })
}
