//! `cargo xtask bench`: what start-up and `plan` cost, in requests, sequential round trips, time and memory.
//!
//! Nothing is judged by time, here or in a test: the table shows the figures, beside them the bars that the project
//! has set itself. An environment is applied to a sandbox once; then every figure is taken from a `plan` of its own
//! against a fresh sandbox process on the same state, so that quotas start full and one run cannot warm up another.

mod chain;
#[cfg(unix)] // as what sends it
mod client;
mod cloud;
mod environment;
mod options;
mod process;
mod report;
#[cfg(unix)] // as the guards of the sandbox's processes are
pub(crate) mod rollout;
#[cfg(unix)] // as the servers are
pub(crate) mod tenant_api;

use std::path::{Path, PathBuf};
use std::process::Command;

use cloud::Cloud;
use environment::Subject;
use options::Options;
use process::Cost;
use report::{Plan, Report, Startup};

pub(crate) use process::{MEASURE, measure};

/// Milliseconds that the sandbox waits before it answers: none, and what a call to a Google API takes at its best.
const LATENCIES: [u64; 2] = [0, 50];

/// How many services one `apply` makes. The client keeps to Cloud Run's 180 writes a minute and every process begins
/// with the whole minute's budget: small portions spare the preparation, which is not measured, from waiting.
const PORTION: usize = 80;

/// Start-up is so short that one run says little.
const STARTUP_RUNS: usize = 15;

/// Measures and prints. Errors are those of the programs that are run, with what they printed.
pub(crate) fn run(workspace: &Path, args: &[&str]) -> Result<(), String> {
    let options = Options::parse(args)?;
    let deployer = build(workspace, "deployer", &options.profile)?;
    let folder = tempfile::Builder::new()
        .prefix("deployer-bench-")
        .tempdir()
        .map_err(|error| format!("no temporary folder: {error}"))?;
    let mut report = Report { profile: options.profile.clone(), runs: options.runs, ..Report::default() };
    // All are applied before the first is measured, so that each is planned beside the others.
    let army = Subject::of_example(workspace, folder.path())?;
    army.iter().try_for_each(|subject| prepare(&deployer, subject))?;
    for subject in &army {
        measure_one(&deployer, subject, &options, &mut report)?;
    }
    for size in &options.sizes {
        let generated = Subject::generated(folder.path(), *size)?;
        prepare(&deployer, &generated)?;
        measure_one(&deployer, &generated, &options, &mut report)?;
    }
    if options.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

/// Builds the binary and answers where cargo put it.
fn build(workspace: &Path, package: &str, profile: &str) -> Result<PathBuf, String> {
    say(&format!("building {package}, profile {profile}"));
    let output = crate::cargo()
        .args(["build", "--package", package, "--bin", package])
        .args(["--profile", profile, "--message-format", "json-render-diagnostics"])
        .current_dir(workspace)
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("{package} does not build"));
    }
    executable(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| "cargo named no executable".to_owned())
}

/// The last executable among cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
}

fn startup(deployer: &Path, subject: &Subject) -> Result<Startup, String> {
    say(&format!("{}: validate", subject.name));
    let args = ["validate", &subject.environment, "-C", &subject.root()];
    let costs = repeat(STARTUP_RUNS, || process::cost(deployer, &args))?;
    Ok(Startup { subject: subject.name.clone(), cost: Cost::median(&costs) })
}

/// Starts it, then plans it at each latency.
fn measure_one(
    deployer: &Path,
    subject: &Subject,
    options: &Options,
    report: &mut Report,
) -> Result<(), String> {
    report.startup.push(startup(deployer, subject)?);
    for latency in LATENCIES {
        report.plans.push(plan(deployer, subject, latency, options.runs)?);
    }
    Ok(())
}

/// The sandbox is the one inside `apply` here: it gives the project the number that the YAML says.
fn prepare(deployer: &Path, subject: &Subject) -> Result<(), String> {
    let steps = subject.portions(PORTION);
    for (index, services) in steps.iter().enumerate() {
        say(&format!("{}: apply, part {} of {}", subject.name, index + 1, steps.len()));
        subject.write(*services)?;
        let args = ["apply", &subject.environment, "-C", &subject.root(), "--sandbox"];
        process::succeed(Command::new(deployer).args(args).args(subject.release))?;
    }
    Ok(())
}

fn plan(deployer: &Path, subject: &Subject, latency: u64, runs: usize) -> Result<Plan, String> {
    say(&format!("{}: plan at {latency} ms", subject.name));
    // Exit 2, and so an error here, would say that the plan is not empty and the figures are of something else.
    let args = ["plan", &subject.environment, "-C", &subject.root(), "--sandbox", "--detailed-exitcode"];
    let runs = repeat(runs, || {
        let cloud =
            Cloud::start(deployer, &subject.state(), &["--latency", &latency.to_string(), "--quotas"])?;
        let cost = process::cost(deployer, &args)?;
        Ok((cost, cloud.calls()?))
    })?;
    let costs: Vec<Cost> = runs.iter().map(|(cost, _)| *cost).collect();
    let calls = runs.into_iter().map(|(_, calls)| calls).next_back().unwrap_or_default();
    Ok(Plan {
        subject: subject.name.clone(),
        services: subject.services,
        latency,
        cost: Cost::median(&costs),
        // Without latency, calls that run side by side are over before the next one starts.
        sequential: if latency == 0 { None } else { chain::longest(&calls.spans) },
        calls,
    })
}

fn repeat<T>(times: usize, mut run: impl FnMut() -> Result<T, String>) -> Result<Vec<T>, String> {
    (0..times).map(|_| run()).collect()
}

/// Progress goes to stderr: stdout is the table.
fn say(line: &str) {
    eprintln!("bench: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_read_from_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\nnot json\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/debug/deployer\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/debug/deployer")));
        assert_eq!(executable("{\"executable\":null}"), None);
    }
}
