//! `cargo xtask`: the workspace's own commands, so that nobody needs more than Rust to test and measure it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line for developers: printing is its output"
)]

mod bench;
mod discovery;
#[cfg(unix)] // as the servers are
mod install;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  test [ARGS...]             install what the tests need and is missing (with apt or Homebrew), and run every
                             test of the workspace; ARGS go to `cargo test`
                             (`cargo xtask test plan -- --nocapture`)
  bench [OPTIONS]            measure start-up and `plan`; prints a table, judges nothing
      --sizes 10,100,1000    services of the generated environments; an empty list leaves them out
      --runs N               runs of each figure, of which the median is shown (default 3)
      --profile dev|release  build to measure (default release)
      --json                 one JSON document instead of the table
  bench tenant-api [OPTIONS] measure the API under load on its own PostgreSQL and Redis (Linux)
      --tenants 1,1000       numbers of tenants
      --keys N               API keys in the last measurement (default 1000000; 0 leaves it out)
      --seconds N            length of each measurement (default 5)
      --profile dev|release  build to measure (default release)
  bench rollout [OPTIONS]    release, fail to release and roll back a service under load; no request may fail
      --requests N           the fewest requests (default 100000)
      --profile dev|release  build to measure (default release)
  discovery DOCS_DIR ENUM_NUMBERS
                             rebuild the tables in sandbox/data from Google's discovery documents and a JSON
                             file of enum numbers";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test", rest @ ..] => test::run(&workspace(), rest),
        #[cfg(unix)]
        ["bench", "tenant-api", rest @ ..] => {
            bench::tenant_api::run(&workspace(), rest).map(|()| ExitCode::SUCCESS)
        }
        #[cfg(unix)]
        ["bench", "rollout", rest @ ..] => {
            bench::rollout::run(&workspace(), rest).map(|()| ExitCode::SUCCESS)
        }
        ["bench", rest @ ..] => bench::run(&workspace(), rest).map(|()| ExitCode::SUCCESS),
        [bench::MEASURE, command @ ..] => bench::measure(command).map(|()| ExitCode::SUCCESS),
        ["discovery", docs, numbers] => {
            let data = workspace().join("sandbox").join("data");
            discovery::run(Path::new(docs), Path::new(numbers), &data).map(|()| ExitCode::SUCCESS)
        }
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(format!("no such command: {}\n\n{USAGE}", words.join(" "))),
    };
    done.unwrap_or_else(|message| {
        eprintln!("xtask: {message}");
        ExitCode::FAILURE
    })
}

/// The workspace that this program was built in.
fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The cargo that runs us, or the one on the path.
fn cargo() -> std::process::Command {
    std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
