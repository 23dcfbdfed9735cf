//! `cargo xtask bench rollout`: releases, failed releases and rollbacks of a service under constant load. No request may fail,
//! and a rollback takes seconds; how long each takes and how many requests a rollback sends is shown, not judged.
//!
//! The service runs below `deployer up` in a folder of its own, as a command in place of an image; the load comes in
//! through the sandbox's front door, over connections that stay open.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::{Connection, Load, Request};
use super::cloud::Cloud;
use super::options::profile;
use super::{build, say};

/// Connections at once.
const CLIENTS: usize = 8;

/// How long the first release may take.
const SERVES_WITHIN: Duration = Duration::from_mins(2);

/// Failures that are told; of the others only the number is.
const TOLD: usize = 5;

const HOST: &str = "api-dev-123456789012.us-central1.run.app";

const BASE: &str = r#"deployer: v1
environment: base
system: shop
project: {id: agent-army-example, number: "123456789012"}
region: us-central1
services:
  api:
    name: api-${env}
    image: us-docker.pkg.dev/cloudrun/container/hello
    access: no_iam_check
    health: /health
    startup_probe: {tcp: true, period_seconds: 1, failure_threshold: 30}
    liveness_probe: {path: /health, period_seconds: 240}
    env: {HEALTH: good, VERSION: first}
rollout: {health: {attempts: 2, interval: 1, successes: 2}}
"#;

/// What to measure.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// The fewest requests that the load consists of.
    requests: usize,
    /// A cargo profile, `dev` or `release`.
    profile: String,
}

impl Options {
    /// Reads the words after `rollout`. The error names the word and what would be right.
    fn parse(args: &[&str]) -> Result<Self, String> {
        let mut options = Self { requests: 100_000, profile: "release".to_owned() };
        let mut words =
            args.iter().flat_map(|arg| arg.split_once('=').map_or(vec![*arg], |(a, b)| vec![a, b]));
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word {
                "--requests" => {
                    let text = value()?;
                    options.requests =
                        text.trim().parse().map_err(|_| format!("`{text}` is not a number"))?;
                }
                "--profile" => options.profile = profile(value()?)?,
                _ => return Err(format!("bench rollout has no option {word}: see cargo xtask help")),
            }
        }
        Ok(options)
    }
}

/// Measures and prints. The error says which step went wrong, or how many requests failed.
pub(crate) fn run(workspace: &Path, args: &[&str]) -> Result<(), String> {
    let options = Options::parse(args)?;
    let deployer = build(workspace, "deployer", &options.profile)?;
    let place = Place::make(workspace, deployer)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let (report, failures) = runtime.block_on(measure(Arc::new(place), &options))?;
    print!("{}", report.table());
    if failures.is_empty() {
        return Ok(());
    }
    let told: Vec<&str> = failures.iter().take(TOLD).map(String::as_str).collect();
    Err(format!("{} requests failed:\n  {}", failures.len(), told.join("\n  ")))
}

/// A system of one service, and the program that releases it.
struct Place {
    deployer: PathBuf,
    folder: tempfile::TempDir,
}

impl Place {
    fn make(workspace: &Path, deployer: PathBuf) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("deployer-bench-").tempdir();
        let folder = folder.map_err(|error| format!("no temporary folder: {error}"))?;
        let service = folder.path().join("service");
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args(["--edition", "2024", "-O", "-o"]).arg(&service);
        super::process::succeed(rustc.arg(workspace.join("tests/fixture/service.rs")))?;
        let place = Self { deployer, folder };
        let dev = format!(
            "deployer: v1\nenvironment: dev\ntarget: sandbox\nlocal: {{run: {{api: [{:?}]}}}}\n",
            service.display().to_string()
        );
        place.write("dev", &dev)?;
        place.write("base", BASE)?;
        Ok(place)
    }

    fn write(&self, environment: &str, text: &str) -> Result<(), String> {
        let file = self.folder.path().join("environments").join(format!("{environment}.yaml"));
        let folder = file.parent().unwrap_or(self.folder.path());
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, text));
        written.map_err(|error| format!("{}: {error}", file.display()))
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join(".deployer/sandbox")
    }

    /// Waits until the first release is on record: it serves before that.
    fn settled(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            match self.deployer(&["plan", "dev", "--detailed-exitcode"], 0) {
                Err(error) if begun.elapsed() > SERVES_WITHIN => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Releases the service as this version, healthy or not.
    fn release(&self, version: usize, healthy: bool) -> Result<Duration, String> {
        let health = if healthy { "good" } else { "bad" };
        let env = format!("{{HEALTH: {health}, VERSION: v{version}}}");
        self.write("base", &BASE.replace("{HEALTH: good, VERSION: first}", &env))?;
        self.deployer(&["apply", "dev", "--auto-approve"], if healthy { 0 } else { 3 })
    }

    fn roll_back(&self) -> Result<Duration, String> {
        self.deployer(&["rollback", "dev", "--auto-approve"], 0)
    }

    /// Runs deployer and answers how long it took. The error is another exit code, with what was printed.
    fn deployer(&self, args: &[&str], exit: i32) -> Result<Duration, String> {
        let begun = Instant::now();
        let mut command = Command::new(&self.deployer);
        let output = command.args(args).arg("-C").arg(self.folder.path()).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("deployer did not start: {error}"))?;
        if output.status.code() == Some(exit) {
            return Ok(begun.elapsed());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(format!("deployer {}: {}\n{}", args.join(" "), output.status, String::from_utf8_lossy(&said)))
    }
}

async fn measure(place: Arc<Place>, options: &Options) -> Result<(Report, Vec<String>), String> {
    say("the first release");
    let mut up = Command::new(&place.deployer);
    up.args(["up", "dev", "--port", &free_port()?, "-C"]).arg(place.folder.path()).stderr(Stdio::null());
    let cloud = Cloud::start_as(&mut up, &place.state())?;
    let port = cloud.port();
    let request = Request::get(&format!("/{HOST}/version"), &[]);
    serves(port, &request).await?;
    place.settled()?;
    let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn(constant(port, request, Arc::clone(&over), Arc::clone(&count)));
    let (wanted, done) = (options.requests, Arc::clone(&count));
    let changes = tokio::task::spawn_blocking(move || {
        let mut report = Report::default();
        let mut version = 0;
        while report.rollbacks.is_empty() || done.load(Ordering::Relaxed) < wanted {
            version += 1;
            say(&format!("{} requests so far; release {version}", done.load(Ordering::Relaxed)));
            report.releases.push(place.release(version, true)?);
            let before = cloud.calls()?.total();
            report.rollbacks.push(place.roll_back()?);
            report.calls = cloud.calls()?.total() - before;
            report.failed.push(place.release(version, false)?);
        }
        Ok::<_, String>((report, cloud))
    });
    let outcome = changes.await.map_err(|error| format!("the releases: {error}"));
    over.store(true, Ordering::Relaxed);
    let (load, failures) = load.await.map_err(|error| format!("the load: {error}"))?;
    let (mut report, _cloud) = outcome??;
    report.load = load;
    Ok((report, failures))
}

/// A port that nobody listens on now.
fn free_port() -> Result<String, String> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port().to_string()).map_err(|error| format!("no free port: {error}"))
}

/// Waits for the first good answer.
async fn serves(port: u16, request: &Request) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let answer = match Connection::open(port).await {
            Ok(mut connection) => connection.send(request).await.map(drop),
            Err(error) => Err(error),
        };
        match answer {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > SERVES_WITHIN => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Sends the request again and again until it is over. What fails is told, and goes on over a new connection.
async fn constant(
    port: u16,
    request: Request,
    over: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> (Load, Vec<String>) {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..CLIENTS {
        let (request, over, count) = (request.clone(), Arc::clone(&over), Arc::clone(&count));
        running.spawn(async move {
            let (mut latencies, mut failures) = (Vec::new(), Vec::new());
            let mut connection = None;
            while !over.load(Ordering::Relaxed) {
                let sent = Instant::now();
                let answer = match connection.take() {
                    Some(open) => Ok(open),
                    None => Connection::open(port).await,
                };
                let answer = match answer {
                    Ok(mut open) => open.send(&request).await.map(|_| open),
                    Err(error) => Err(error),
                };
                count.fetch_add(1, Ordering::Relaxed);
                match answer {
                    Ok(open) => {
                        latencies.push(sent.elapsed());
                        connection = Some(open);
                    }
                    Err(error) => failures.push(error),
                }
            }
            (latencies, failures)
        });
    }
    let (mut latencies, mut failures) = (Vec::new(), Vec::new());
    while let Some(done) = running.join_next().await {
        match done {
            Ok((times, errors)) => {
                latencies.extend(times);
                failures.extend(errors);
            }
            Err(error) => failures.push(format!("a client: {error}")),
        }
    }
    (Load::of(latencies, begun.elapsed()), failures)
}

/// What was measured.
#[derive(Debug, Default)]
struct Report {
    load: Load,
    releases: Vec<Duration>,
    failed: Vec<Duration>,
    rollbacks: Vec<Duration>,
    /// Requests that the last rollback sent.
    calls: usize,
}

impl Report {
    fn table(&self) -> String {
        let load = &self.load;
        let row = |name: &str, times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            let longest = times.last().copied().unwrap_or_default();
            format!(
                "{name:<16} {:>4} times, median {:.2} s, longest {:.2} s\n",
                times.len(),
                median.as_secs_f64(),
                longest.as_secs_f64()
            )
        };
        format!(
            "good answers     {:.0}, {:.0} a second; p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms\n{}{}{}rollback sends   {} requests\n",
            load.count(),
            load.per_second(),
            load.percentile_ms(50),
            load.percentile_ms(99),
            load.percentile_ms(100),
            row("releases", &self.releases),
            row("failed releases", &self.failed),
            row("rollbacks", &self.rollbacks),
            self.calls,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_what_cannot_be_meant_is_refused_by_name() {
        let options = Options::parse(&["--requests=50", "--profile", "dev"]).unwrap();
        assert_eq!(options, Options { requests: 50, profile: "dev".to_owned() });
        assert_eq!(Options::parse(&[]).unwrap().requests, 100_000);
        for (args, named) in [(["--requests", "many"], "`many`"), (["--request", "1"], "--request")] {
            assert!(Options::parse(&args).unwrap_err().contains(named));
        }
    }

    #[test]
    fn the_table_has_the_median_of_each_kind_of_release() {
        let seconds = |times: &[u64]| times.iter().map(|time| Duration::from_secs(*time)).collect();
        let report = Report { releases: seconds(&[9, 1, 3]), calls: 7, ..Report::default() };
        let table = report.table();
        assert!(table.contains("releases            3 times, median 3.00 s, longest 9.00 s"), "{table}");
        assert!(table.contains("rollback sends   7 requests"), "{table}");
    }
}
