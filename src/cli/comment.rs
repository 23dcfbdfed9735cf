//! `deployer comment`: one comment of a key on the pull request of this run of GitHub Actions, and the run's summary.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use super::{CliError, Exit};
use crate::github::{self, GithubError, Key, Run};
use crate::view::{CommentAnswer, Out, comment_text};

/// Post or update one comment on the pull request of this run of GitHub Actions
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer plan staging --output markdown > plan.md
  deployer comment --file plan.md                   one comment of this workflow and job, rewritten by the next run
  deployer comment --file plan.md --key staging     jobs of a matrix give a key each
It needs GITHUB_TOKEN and `permissions: {pull-requests: write}`. The text goes into the summary of
the run as well. For a fork, whose runs cannot comment, that is all, and the exit code is 0.")]
pub struct Args {
    /// The text, as markdown; without it, standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Which comment: a pull request has one of each key [default: names of the workflow and the job]
    #[arg(long)]
    key: Option<String>,
    /// Number of the pull request [default: that of the event]
    #[arg(long = "pr", value_name = "N")]
    pull_request: Option<u64>,
}

pub async fn run(args: &Args, out: &Out) -> Result<Exit, CliError> {
    let text = text(args)?;
    // First, so that it is to be read there whatever becomes of the comment.
    out.summary(&text);
    let run = Run::of(|name| std::env::var(name).ok())?;
    let pull = run.pull_request(args.pull_request)?;
    let key = Key::of(args.key.as_deref().unwrap_or(&run.job));
    let posted = match github::post(&run, pull.number, &key, &comment_text(&text, &key)).await {
        Ok(posted) => Some(posted),
        Err(GithubError::Forbidden { .. }) if pull.fork => None,
        Err(error) => return Err(error.into()),
    };
    out.commented(&CommentAnswer { key, pull_request: pull.number, posted });
    Ok(Exit::Fine)
}

fn text(args: &Args) -> Result<String, CliError> {
    let from =
        args.file.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let bytes = bytes(args).map_err(|error| CliError::user(format!("{from} cannot be read: {error}")))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if text.trim().is_empty() {
        return Err(CliError::user(format!("{from} is empty: there is nothing to comment"))
            .hint("deployer comment --file FILE, or give it on standard input; did the command that writes it fail?"));
    }
    Ok(text)
}

fn bytes(args: &Args) -> std::io::Result<Vec<u8>> {
    if let Some(path) = &args.file {
        return std::fs::read(path);
    }
    let mut stdin = std::io::stdin();
    let mut bytes = Vec::new();
    // Nobody types a plan.
    if !stdin.is_terminal() {
        stdin.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
