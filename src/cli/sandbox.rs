//! `deployer sandbox`: a Google Cloud on loopback, until Ctrl-C.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::interrupts::asked_to_end;
use super::session::{root, sandbox_runtime, sandbox_state};
use super::{CliError, Exit, Global};
use crate::config;
use crate::local;
use crate::view::Out;

/// Run the sandbox: Google's REST APIs on loopback
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  deployer sandbox                      its state is in .deployer/sandbox; plan and apply find it
  deployer sandbox reset                starts from nothing
  deployer sandbox --port 9000 --project my-project=123456789012 --apis all
  CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER=http://127.0.0.1:9000/ gcloud secrets list")]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Folder of the state [default: .deployer/sandbox]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// A project that exists from the start; others are made on first use
    #[arg(long = "project", value_name = "ID[=NUMBER]", value_parser = project)]
    projects: Vec<gcp_sandbox::ProjectSeed>,
    /// APIs that a new project has enabled
    #[arg(long, value_enum, default_value_t)]
    apis: Apis,
    /// Wait this long before each answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Refuse requests beyond Google's documented quotas
    #[arg(long)]
    quotas: bool,
    /// Seed of everything random, for runs that repeat
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Empty the sandbox: nothing of what was applied to it exists any more
    #[command(after_help = "Examples:
  deployer sandbox reset                the sandbox of this checkout
  deployer sandbox reset --state DIR
It never asks, since nothing real can be broken. It refuses while a sandbox is running on that
state.")]
    Reset(Reset),
}

#[derive(Debug, clap::Args)]
struct Reset {
    /// Folder of the state [default: .deployer/sandbox]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Apis {
    /// The few that a new project has
    #[default]
    Default,
    All,
}

fn project(text: &str) -> Result<gcp_sandbox::ProjectSeed, String> {
    let (id, number) = match text.split_once('=') {
        None => (text, None),
        Some((id, number)) => {
            (id, Some(number.parse().map_err(|_| format!("`{number}` is not a project number"))?))
        }
    };
    if id.is_empty() {
        return Err("it has the form ID or ID=NUMBER".to_owned());
    }
    Ok(gcp_sandbox::ProjectSeed { id: id.to_owned(), number })
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let root = root(global)?;
    if let Some(Verb::Reset(args)) = &args.verb {
        return reset(args, &root, out);
    }
    let state = args.state.clone().unwrap_or_else(|| sandbox_state(&root));
    let options = gcp_sandbox::Options {
        port: args.port,
        state: Some(state.clone()),
        projects: declared(&root).into_iter().chain(args.projects.clone()).collect(),
        apis: match args.apis {
            Apis::Default => gcp_sandbox::Apis::Default,
            Apis::All => gcp_sandbox::Apis::All,
        },
        latency: Duration::from_millis(args.latency),
        quotas: args.quotas,
        seed: args.seed,
        clock: None,
        runtime: sandbox_runtime(),
    };
    global.interrupts.taken_over();
    let sandbox = gcp_sandbox::start(options).await?;
    out.sandbox_started(&sandbox.url(), &state);
    asked_to_end().await;
    sandbox.stop().await;
    Ok(Exit::Fine)
}

fn reset(args: &Reset, root: &Path, out: &Out) -> Result<Exit, CliError> {
    let state = args.state.clone().unwrap_or_else(|| sandbox_state(root));
    let emptied = gcp_sandbox::reset(&state).map_err(|error| match error {
        gcp_sandbox::StartError::Locked { path, address } => {
            let at = address.map_or_else(String::new, |address| format!(" at http://{address}"));
            CliError::user(format!("a sandbox is running{at} on {}: nothing was removed", path.display()))
                .hint("end that `deployer` (Ctrl-C where it runs), then run this again")
        }
        error => error.into(),
    })?;
    let forgotten = local::forget(&state)?;
    out.sandbox_reset(&state, emptied || forgotten);
    Ok(Exit::Fine)
}

/// The projects whose numbers this checkout's environments know: those are the numbers that they will expect. An
/// environment with mistakes in it is the business of the command that uses it.
fn declared(root: &Path) -> Vec<gcp_sandbox::ProjectSeed> {
    let names = config::names(root).unwrap_or_default();
    let loaded = names.iter().filter_map(|name| config::load(root, name, &config::Inputs::default()).ok());
    let projects = loaded.map(|loaded| loaded.environment.project);
    let known = projects.filter(|project| project.number.is_some());
    known.map(|project| gcp_sandbox::ProjectSeed { id: project.id, number: project.number }).collect()
}
