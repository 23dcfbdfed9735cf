//! `deployer completions SHELL`.

use clap_complete::Shell;

use super::Exit;
use crate::view::Out;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer completions bash > ~/.local/share/bash-completion/completions/deployer
  deployer completions zsh > ~/.zfunc/_deployer")]
pub struct Args {
    shell: Shell,
}

pub fn run(args: &Args, out: &Out) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "deployer", &mut script);
    out.text(&String::from_utf8_lossy(&script));
    Exit::Fine
}
