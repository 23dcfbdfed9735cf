//! The commands of the program.

#[cfg(all(feature = "dev", unix))]
mod dev;
mod doctor;
mod migrate;
mod provision;
pub mod serve;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::service::ServiceError;
use crate::settings::{InvalidSettings, Settings};
use crate::store::StoreError;
use crate::store::kv::KvError;
use crate::store::migrate::MigrateError;

/// A multi-tenant API on PostgreSQL and Redis
#[derive(Parser)]
#[command(name = "tenant-api", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a demo on a PostgreSQL of its own, which is fetched where there is none; nothing stays
    #[cfg(all(feature = "dev", unix))]
    Dev(serve::Args),
    /// Serve the API
    Serve(serve::Args),
    /// Bring schemas to this version; safe to run again, and by several at once
    Migrate(migrate::Args),
    /// Make a tenant, with its first admin if one is given
    Provision(provision::Args),
    /// Prove that roles, versions and row-level security are as they have to be
    Doctor,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("cannot listen on port {port}")]
    Listen { port: u16, source: std::io::Error },
    #[error("{0}")]
    Refused(String),
    /// The words of the command line do not go together.
    #[error("{0}")]
    Usage(&'static str),
    #[error("cannot write the answer")]
    Output(#[from] std::io::Error),
}

/// Parses the command line and does what it says. Ends with 0, with 1 after a failure, with 2 after a wrong command line.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    // Two libraries of ours speak TLS; the first to do so must not have to guess by which provider. A second
    // installation is refused, which only happens where one is in place.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    match execute(cli.command).await {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to tell where standard error is closed.
            let _ = writeln!(std::io::stderr(), "tenant-api: {}", crate::error_chain(&error));
            if matches!(error, CommandError::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

async fn execute(command: Command) -> Result<ExitCode, CommandError> {
    match command {
        #[cfg(all(feature = "dev", unix))]
        Command::Dev(args) => dev::run(&args).await?,
        Command::Serve(args) => serve::run(&args, Settings::from_env()?).await?,
        Command::Migrate(args) => migrate::run(&args, &Settings::from_env()?).await?,
        Command::Provision(args) => provision::run(args, &Settings::from_env()?).await?,
        Command::Doctor => return doctor::run(&Settings::from_env()?).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// A line of the answer.
fn say(line: &str) -> Result<(), CommandError> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}
