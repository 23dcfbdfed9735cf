//! `deployer validate [ENV...]`: is the YAML right? Reads files only.

use super::session::root;
use super::{CliError, Exit, Global};
use crate::config::{self, Inputs};
use crate::view::Out;

/// Check the YAML of all environments, or of those named; no network
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer validate
  deployer validate staging production")]
pub struct Args {
    /// Names of environments; all of them when none is given
    #[arg(value_name = "ENV")]
    environments: Vec<String>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let root = root(global)?;
    let names = if args.environments.is_empty() { config::names(&root)? } else { args.environments.clone() };
    let results: Vec<_> =
        names.iter().map(|name| (name.clone(), config::load(&root, name, &Inputs::default()))).collect();
    let failed = results.iter().any(|(_, result)| result.is_err());
    out.validated(&results);
    Ok(if failed { Exit::Failed } else { Exit::Fine })
}
