//! The command line: one file a verb. Verbs decide what to call; they neither plan nor print.

mod apply;
mod beside;
mod build;
mod building;
mod carrying_out;
mod comment;
mod completions;
mod destroy;
mod drift;
mod interrupts;
mod lint;
mod logs;
mod migrate;
mod plan;
mod plan_file;
mod render;
mod rollback;
mod run;
mod sandbox;
mod schema;
mod secrets;
mod session;
mod show;
mod status;
mod tenants;
mod up;
mod validate;
mod watching;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub use crate::error::{CliError, Exit};
use interrupts::Interrupts;

use crate::view::{self, Out};

/// Plans and applies Google Cloud Run systems from YAML, without a state file.
#[derive(Debug, Parser)]
#[command(name = "deployer", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  deployer up dev              run dev on this machine until Ctrl-C
  deployer plan dev            what would change, on the sandbox that dev runs on
  deployer apply dev           show the plan and carry it out
  deployer plan staging --sandbox    rehearse staging without an account
  deployer validate            check every environment, without network")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Options that every verb takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Work in this folder (the one that holds `environments/`)
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// Show each request with its status and time, never a body; and every change of a large plan
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", global = true)]
    pub color: view::Color,
    /// Form of the output
    #[arg(long, value_enum, default_value_t, value_name = "FORM", global = true)]
    pub output: view::Format,
    #[arg(skip)]
    pub interrupts: Interrupts,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Up(up::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Show(show::Args),
    Drift(drift::Args),
    Destroy(destroy::Args),
    Build(build::Args),
    Status(status::Args),
    Logs(logs::Args),
    Run(run::Args),
    Rollback(rollback::Args),
    Migrate(migrate::Args),
    Validate(validate::Args),
    Lint(lint::Args),
    Schema(schema::Args),
    Comment(comment::Args),
    Render(render::Args),
    Secrets(secrets::Args),
    Tenants(tenants::Args),
    Sandbox(sandbox::Args),
    Completions(completions::Args),
}

/// Runs the verb until it is done or a Ctrl-C ends it.
///
/// The verb has a thread of its own: it may wait for an answer on standard input, and Ctrl-C ends that too.
pub async fn run(cli: Cli, out: &Out) -> Result<Exit, CliError> {
    let interrupts = cli.global.interrupts.clone();
    if let Ok(root) = session::root(&cli.global) {
        out.works_in(&root);
    }
    let verb = {
        let out = out.clone();
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(run_verb(cli, &out)))
    };
    tokio::select! {
        done = verb => match done {
            Ok(done) => done,
            Err(error) => Err(CliError::user(format!("this is a mistake in deployer: {error}"))),
        },
        interrupted = interrupts.end() => Err(interrupted),
    }
}

async fn run_verb(cli: Cli, out: &Out) -> Result<Exit, CliError> {
    let global = &cli.global;
    match cli.verb {
        Verb::Up(args) => up::run(&args, global, out).await,
        Verb::Plan(args) => plan::run(&args, global, out).await,
        Verb::Apply(args) => apply::run(&args, global, out).await,
        Verb::Show(args) => show::run(&args, out),
        Verb::Drift(args) => drift::run(&args, global, out).await,
        Verb::Destroy(args) => destroy::run(&args, global, out).await,
        Verb::Build(args) => build::run(&args, global, out).await,
        Verb::Status(args) => Box::pin(status::run(&args, global, out)).await,
        Verb::Logs(args) => logs::run(&args, global, out).await,
        Verb::Rollback(args) => rollback::run(&args, global, out).await,
        Verb::Run(args) => run::run(&args, global, out).await,
        Verb::Migrate(args) => migrate::run(&args, global, out).await,
        Verb::Validate(args) => validate::run(&args, global, out),
        Verb::Lint(args) => lint::run(&args, global, out),
        Verb::Schema(args) => schema::run(&args, out),
        Verb::Comment(args) => comment::run(&args, out).await,
        Verb::Render(args) => render::run(&args, global, out),
        Verb::Secrets(args) => secrets::run(&args, global, out).await,
        Verb::Tenants(args) => tenants::run(&args, global, out).await,
        Verb::Sandbox(args) => sandbox::run(&args, global, out).await,
        Verb::Completions(args) => Ok(completions::run(&args, out)),
    }
}

/// The whole command line, for completions and for the documentation.
pub fn command() -> clap::Command {
    Cli::command()
}
