//! `deployer schema`: the JSON Schema of the YAML, for editors.

use super::{CliError, Exit};
use crate::config;
use crate::view::Out;

/// Print the JSON Schema of the YAML, for editors
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  deployer schema > deployer.schema.json
and as the first line of a YAML file:
  # yaml-language-server: $schema=../deployer.schema.json")]
pub struct Args {}

pub fn run(_: &Args, out: &Out) -> Result<Exit, CliError> {
    out.json(&config::json_schema());
    Ok(Exit::Fine)
}
