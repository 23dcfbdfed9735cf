//! Running programs, and what they cost.
//!
//! The kernel tells CPU time and peak memory of the children that a process has waited for, as a sum and a maximum
//! over all of them. So the program to be measured is the only child of a small process of ours: xtask itself, started
//! as `xtask measure-one PROGRAM ARGS...`, which prints one JSON object.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

/// The hidden command of xtask that measures one program.
pub(crate) const MEASURE: &str = "measure-one";

/// What one run of a program took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    pub(super) wall_ms: f64,
    /// User and system time of all its threads.
    pub(super) cpu_ms: f64,
    /// The most that was resident at one time.
    pub(super) peak_mib: f64,
}

impl Cost {
    /// The median of each figure by itself; zero for no costs.
    pub(super) fn median(costs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            let mut figures: Vec<f64> = costs.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied().unwrap_or_default()
        };
        Self {
            wall_ms: of(|cost| cost.wall_ms),
            cpu_ms: of(|cost| cost.cpu_ms),
            peak_mib: of(|cost| cost.peak_mib),
        }
    }

    fn read(document: &Value) -> Option<Self> {
        let figure = |name: &str| document[name].as_f64();
        Some(Self { wall_ms: figure("wall_ms")?, cpu_ms: figure("cpu_ms")?, peak_mib: figure("peak_mib")? })
    }
}

/// Runs a program to its end and tells what it cost. The error is an exit code other than 0, with what was printed.
pub(super) fn cost(program: &Path, args: &[&str]) -> Result<Cost, String> {
    let own = std::env::current_exe().map_err(|error| format!("where xtask is: {error}"))?;
    let output = succeed(Command::new(own).arg(MEASURE).arg(program).args(args))?;
    let document: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("a figure: {error}"))?;
    Cost::read(&document).ok_or_else(|| "a figure is missing".to_owned())
}

/// Runs a command. The error is an exit code other than 0, with what was printed.
pub(super) fn succeed(command: &mut Command) -> Result<Output, String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{shown}: {}\n{}", output.status, String::from_utf8_lossy(&said)))
}

/// `xtask measure-one PROGRAM ARGS...`: runs it, its output on our stderr, and prints its cost on stdout.
pub(crate) fn measure(command: &[&str]) -> Result<(), String> {
    let (program, args) = command.split_first().ok_or("nothing to measure")?;
    let begun = Instant::now();
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| format!("{program}: {error}"))?;
    let wall_ms = begun.elapsed().as_secs_f64() * 1000.0;
    if !status.success() {
        return Err(format!("{program}: {status}"));
    }
    let (cpu_ms, peak_mib) = children()?;
    println!("{}", json!({ "wall_ms": wall_ms, "cpu_ms": cpu_ms, "peak_mib": peak_mib }));
    Ok(())
}

/// CPU milliseconds and peak MiB of the children that have ended.
#[cfg(unix)]
fn children() -> Result<(f64, f64), String> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;

    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|error| format!("getrusage: {error}"))?;
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    // Apple counts bytes, everybody else KiB.
    let unit = if cfg!(target_vendor = "apple") { 1024.0 * 1024.0 } else { 1024.0 };
    Ok((float(cpu) / 1000.0, float(usage.max_rss()) / unit))
}

#[cfg(not(unix))]
fn children() -> Result<(f64, f64), String> {
    Err("CPU time and memory can be measured on Unix only".to_owned())
}

/// Microseconds and bytes of one run stay far below the 2^52 up to which this is exact.
#[cfg(unix)]
#[allow(clippy::cast_precision_loss, reason = "see above")]
fn float(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_taken_of_each_figure() {
        let cost = |wall_ms, cpu_ms, peak_mib| Cost { wall_ms, cpu_ms, peak_mib };
        let costs = [cost(9.0, 1.0, 5.0), cost(1.0, 2.0, 6.0), cost(5.0, 3.0, 4.0)];
        assert_eq!(Cost::median(&costs), cost(5.0, 2.0, 5.0));
        assert_eq!(Cost::median(&[]), Cost::default());
    }

    #[test]
    fn a_cost_with_a_figure_missing_is_none() {
        assert!(Cost::read(&json!({"wall_ms": 1.0, "cpu_ms": 2.0})).is_none());
        assert!(Cost::read(&json!({"wall_ms": 1.0, "cpu_ms": 2.0, "peak_mib": 3})).is_some());
    }

    #[test]
    #[cfg(unix)]
    fn a_failing_program_is_an_error_with_its_output() {
        let error = succeed(Command::new("sh").args(["-c", "echo why; exit 3"])).unwrap_err();
        assert!(error.contains("why") && error.contains('3'), "{error}");
    }
}
