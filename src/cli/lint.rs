//! `deployer lint [PATH...]`: what is wrong with the workflows and Dockerfiles of the repository. Reads files only.

use std::path::{Path, PathBuf};

use super::session::root;
use super::{CliError, Exit, Global};
use crate::config::{self, Accepted};
use crate::lint;
use crate::view::Out;

/// Judge the workflows and Dockerfiles of the repository, without network
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer lint                       everything in the git repository around this folder
  deployer lint .github/workflows     a part of it
  deployer lint --output json
A finding is accepted by `lint: {allow: {RULE: {FILE: reason}}}` in the YAML, or for one key
by FILE:KEY. The YAML itself is checked by `deployer validate`.")]
pub struct Args {
    /// Files and folders; without any, all of the repository
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let root = root(global)?;
    let repository = lint::repository_around(&root);
    let wanted = args.paths.iter().map(|path| within(&repository, path)).collect::<Result<Vec<_>, _>>()?;
    let accepted = accepted(&root, &repository)?;
    out.works_in(&repository);
    let linted = lint::lint(&repository, &wanted, &accepted);
    if linted.files.is_empty() && !wanted.is_empty() {
        return Err(CliError::user("there is no workflow and no Dockerfile in what was named")
            .hint("workflows are in .github/workflows at the top of the repository"));
    }
    out.linted(&linted);
    Ok(if linted.has_errors() { Exit::Failed } else { Exit::Fine })
}

/// A path of the command line, relative to the repository.
fn within(repository: &Path, path: &Path) -> Result<PathBuf, CliError> {
    let shown = path.display();
    let whole =
        path.canonicalize().map_err(|error| CliError::user(format!("{shown} cannot be read: {error}")))?;
    let inside = whole.strip_prefix(repository).map(Path::to_owned);
    inside.map_err(|_| CliError::user(format!("{shown} is not in the repository {}", repository.display())))
}

/// What the YAML accepts, with places relative to the repository as those of the findings are.
fn accepted(root: &Path, repository: &Path) -> Result<Vec<Accepted>, CliError> {
    let mut accepted = config::accepted_in_files(root)?;
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let folder = root.strip_prefix(repository).unwrap_or(Path::new(""));
    for place in accepted.iter_mut().filter_map(|entry| entry.location.as_mut()) {
        place.file = folder.join(&place.file);
    }
    Ok(accepted)
}
