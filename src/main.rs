//! The `deployer` binary: parses the command line, runs the verb, ends with its exit code.

use std::process::ExitCode;

use clap::Parser;
use deployer::cli::{self, Cli, Exit};
use deployer::view::{Detail, Out};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let failed = error.use_stderr();
            let _ = error.print();
            // clap's own 2 would read as "changes pending".
            return ExitCode::from(u8::from(failed));
        }
    };
    let detail = if cli.global.verbose { Detail::Full } else { Detail::Grouped };
    let out = Out::new(cli.global.color, cli.global.output, detail);
    deployer::view::start_tracing(cli.global.verbose, &out);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out.failure(&cli::CliError::user(format!("no threads to work with: {error}")));
            return ExitCode::from(Exit::Failed.code());
        }
    };
    let exit = runtime.block_on(cli::run(cli, &out)).unwrap_or_else(|error| {
        out.failure(&error);
        error.exit()
    });
    // After a Ctrl-C somebody may still wait for standard input.
    runtime.shutdown_background();
    if out.lost() {
        out.error("standard output cannot be written: the answer is not complete", &[]);
        return ExitCode::from(Exit::Failed.code());
    }
    ExitCode::from(exit.code())
}
