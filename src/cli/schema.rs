//! `deployer schema`: the JSON Schema of the YAML, for editors.

use super::{CliError, Exit};
use crate::config;
use crate::view::Out;

/// Print the JSON Schema of environments/*.yaml
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer schema > deployer.schema.json

Editors that speak the YAML language server take it from the first line of a file:
  # yaml-language-server: $schema=../deployer.schema.json")]
pub struct Args {}

#[expect(clippy::unnecessary_wraps, reason = "every verb answers in the same form")]
pub fn run(_: &Args, out: &Out) -> Result<Exit, CliError> {
    out.text(&format!("{:#}\n", config::json_schema()));
    Ok(Exit::Fine)
}
