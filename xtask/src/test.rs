//! `cargo xtask test`: the one command for all tests, here and in CI.
//!
//! Plain `cargo test` over the workspace. What a test needs beyond Rust is installed before it (`install.rs`), so that
//! the command stays the only one to know. Tests that talk to programs which may be absent (gcloud, Google's Python
//! clients) look for them on their own and say when they do not find them.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Runs the tests in `workspace`; ends with cargo's own exit code.
///
/// `args` go to `cargo test` as they are. The error is that something is missing that could not be installed, or that
/// cargo did not start.
pub(crate) fn run(workspace: &Path, args: &[&str]) -> Result<ExitCode, String> {
    #[cfg(unix)]
    crate::install::servers()?;
    let begun = Instant::now();
    println!("cargo test --workspace {}", args.join(" "));
    let status = crate::cargo()
        .args(["test", "--workspace"])
        .args(args)
        .current_dir(workspace)
        .status()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    let seconds = begun.elapsed().as_secs();
    if status.success() {
        println!("xtask: all tests passed in {seconds} s");
    } else {
        println!("xtask: tests failed after {seconds} s ({status})");
    }
    // A signal leaves no code.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
