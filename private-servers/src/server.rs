//! A running server: its processes, from the first to the last.
//!
//! What we start is a shell with `supervisor.sh`, and that starts the server; the script says why.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::account::Account;
use crate::error::{Doing, StartError, blocking};
use crate::folder::Folder;
use crate::home::Home;
use crate::random;

const SUPERVISOR: &str = include_str!("supervisor.sh");
/// Where the supervisor writes the number of the server's process, in the server's folder.
const PID_FILE: &str = "pid";
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Long, because a machine may be busy with other tests; what ends instead of serving is told at once.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Then it is killed.
const HALTED_WITHIN: Duration = Duration::from_secs(15);
/// Ports that are tried when somebody else was faster.
const ATTEMPTS: usize = 5;
/// What all three servers say of a port that is taken, in the C locale.
const PORT_TAKEN: &str = "Address already in use";
const LINES_TOLD: usize = 20;

/// How a server is run and recognised.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Its name in messages.
    pub(crate) name: &'static str,
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments, the port among them.
    pub(crate) args: Vec<OsString>,
    /// Ends it in order.
    pub(crate) halt: Signal,
    /// Ends it at once: what the supervisor sends when we are gone.
    pub(crate) end: Signal,
    /// When it serves.
    pub(crate) ready: Ready,
}

/// How a server tells that it serves.
#[derive(Debug)]
pub(crate) enum Ready {
    /// By this text in its log.
    Log(&'static str),
    /// By `ready` in line 8 of this file, whose line 1 is its process: `postmaster.pid`, as `pg_ctl` reads it.
    PostmasterFile(PathBuf),
}

/// A server of any kind with its folder. Dropping ends both without waiting for it.
#[derive(Debug)]
pub struct Server {
    launch: Launch,
    port: u16,
    account: Account,
    folder: Option<Folder>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    supervisor: Child,
    /// The supervisor ends the server when this is closed.
    lifeline: Option<ChildStdin>,
    server: Option<Pid>,
}

impl Server {
    /// Starts what `prepare` makes of the folder and a port, and waits until it serves. The port is the one that the
    /// folder's home has kept, else a free one.
    pub(crate) async fn start(
        account: Account,
        folder: Folder,
        prepare: impl Fn(&Folder, u16) -> Result<Launch, StartError>,
    ) -> Result<Self, StartError> {
        let kept = folder.home().map(Home::port).transpose()?.flatten();
        let port = kept.map_or_else(random::free_port, Ok)?;
        let launch = prepare(&folder, port)?;
        let mut server = Self { launch, port, account, folder: Some(folder), running: None };
        if kept.is_some() {
            return match server.launch().await {
                Err(StartError::Ended { log, .. }) if log.contains(PORT_TAKEN) => Err(server.port_taken()),
                other => other.map(|()| server),
            };
        }
        server.launch_anywhere(prepare).await?;
        if let Some(home) = server.folder()?.home() {
            home.keep_port(server.port)?;
        }
        Ok(server)
    }

    /// Others wait for the server at its port, so that it takes no other one by itself.
    fn port_taken(&self) -> StartError {
        let file = self.folder.as_ref().and_then(Folder::home).map(Home::port_file).unwrap_or_default();
        StartError::PortTaken { server: self.launch.name, port: self.port, file }
    }

    /// Launches it, on other ports as long as somebody else was faster.
    async fn launch_anywhere(
        &mut self,
        prepare: impl Fn(&Folder, u16) -> Result<Launch, StartError>,
    ) -> Result<(), StartError> {
        let server = self;
        for _ in 1..ATTEMPTS {
            match server.launch().await {
                Err(StartError::Ended { log, .. }) if log.contains(PORT_TAKEN) => {}
                other => return other,
            }
            server.port = random::free_port()?;
            server.launch = prepare(server.folder()?, server.port)?;
        }
        server.launch().await
    }

    /// The port of 127.0.0.1 that it listens on, the same after each restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        self.folder.as_ref().map(|folder| folder.log_text(0)).unwrap_or_default()
    }

    /// The folder with its data and its log, gone when the server is.
    pub fn path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), Folder::path)
    }

    /// Ends the server in order, and removes the folder.
    pub(crate) async fn stop(mut self) -> Result<(), StartError> {
        self.halt().await?;
        match self.folder.take() {
            Some(folder) => blocking(move || folder.remove()).await,
            None => Ok(()),
        }
    }

    /// Ends the server in order, and keeps its data. Nothing happens to one that is halted or has ended.
    pub async fn halt(&mut self) -> Result<(), StartError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        running.thaw();
        running.signal(self.launch.halt);
        let begun = Instant::now();
        let mut killed = false;
        while !running.has_ended()? {
            if !killed && begun.elapsed() > HALTED_WITHIN {
                running.signal(Signal::SIGKILL);
                killed = true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.running = None;
        Ok(())
    }

    /// Halts it if it runs, and starts it on the same port with the same data.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.halt().await?;
        self.launch().await
    }

    /// Stops all its processes in their tracks: connections stay, and nothing answers.
    pub fn freeze(&self) -> Result<(), StartError> {
        let server = self.server_pid()?;
        let refused = |error| signalling(error, self.launch.name);
        // The first one first: it cannot start others from then on.
        kill(server, Signal::SIGSTOP).map_err(refused)?;
        let mut stopped = Vec::new();
        loop {
            let mut others = children(server);
            others.retain(|child| !stopped.contains(child));
            if others.is_empty() {
                return Ok(());
            }
            for child in others {
                // One that has ended meanwhile needs no stopping.
                let _ = kill(child, Signal::SIGSTOP);
                stopped.push(child);
            }
        }
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) -> Result<(), StartError> {
        self.server_pid()?;
        if let Some(running) = &self.running {
            running.thaw();
        }
        Ok(())
    }

    fn server_pid(&self) -> Result<Pid, StartError> {
        let pid = self.running.as_ref().and_then(|running| running.server);
        pid.ok_or(StartError::NotRunning { server: self.launch.name })
    }

    fn folder(&self) -> Result<&Folder, StartError> {
        self.folder.as_ref().ok_or(StartError::NotRunning { server: self.launch.name })
    }

    /// Runs the server and waits until it serves. After an error nothing runs.
    async fn launch(&mut self) -> Result<(), StartError> {
        let log_start = self.folder()?.log_len();
        self.running = Some(self.spawn()?);
        let begun = Instant::now();
        while !self.serves(log_start)? {
            let seconds = READY_WITHIN.as_secs();
            if begun.elapsed() > READY_WITHIN {
                let log = last_lines(&self.folder()?.log_text(log_start));
                self.halt().await?;
                return Err(StartError::TimedOut { server: self.launch.name, seconds, log });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Running, StartError> {
        let folder = self.folder()?;
        // The one of the run before.
        let _ = fs::remove_file(folder.path().join(PID_FILE));
        let mut command = Command::new("/bin/sh");
        let then = if folder.home().is_some() { "keep" } else { "remove" };
        command.args(["-c", SUPERVISOR, "supervisor"]).arg(folder.path()).arg(then);
        command.arg(signal_name(self.launch.end));
        command.arg(&self.launch.program).args(&self.launch.args);
        command.current_dir(folder.path()).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(folder.log()?).stderr(folder.log()?);
        // A group of its own: Ctrl-C is for us, who then end the server in order.
        command.process_group(0);
        self.account.apply(&mut command);
        let spawned = command.spawn();
        let mut supervisor = spawned.doing(|| format!("starting {}", self.launch.name))?;
        let lifeline = supervisor.stdin.take();
        Ok(Running { supervisor, lifeline, server: None })
    }

    /// Whether the server is ready; an error when it has ended.
    fn serves(&mut self, log_start: usize) -> Result<bool, StartError> {
        let name = self.launch.name;
        let (Some(running), Some(folder)) = (&mut self.running, &self.folder) else {
            return Err(StartError::NotRunning { server: name });
        };
        if running.has_ended()? {
            let log = last_lines(&folder.log_text(log_start));
            self.running = None;
            return Err(StartError::Ended { server: name, log });
        }
        if running.server.is_none() {
            running.server = read_pid(&folder.path().join(PID_FILE));
        }
        Ok(running.server.is_some_and(|pid| match &self.launch.ready {
            Ready::Log(text) => folder.log_text(log_start).contains(text),
            Ready::PostmasterFile(path) => postmaster_is_ready(path, pid),
        }))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let running = self.running.take();
        let folder = self.folder.take();
        if running.is_none() && folder.as_ref().is_some_and(|folder| folder.home().is_some()) {
            // There is nothing to wait for, and the home is free at once.
            return;
        }
        let reap = move || {
            if let Some(mut running) = running {
                running.thaw();
                running.lifeline = None;
                let _ = running.supervisor.wait();
            }
            // The supervisor did it, unless the server had ended before.
            folder.map(Folder::remove)
        };
        // Should the program end before the thread does, the lifeline closes with it and the supervisor does the rest.
        let _ = std::thread::Builder::new().name("end of a server".to_owned()).spawn(reap);
    }
}

impl Running {
    fn has_ended(&mut self) -> Result<bool, StartError> {
        let status = self.supervisor.try_wait().doing(|| "waiting for a server".to_owned())?;
        Ok(status.is_some())
    }

    /// To the server; one that has ended needs none. Its number is not reused as long as the supervisor, its parent, runs.
    fn signal(&self, signal: Signal) {
        if let Some(server) = self.server {
            let _ = kill(server, signal);
        }
    }

    /// Harmless for processes that were not stopped.
    fn thaw(&self) {
        let Some(server) = self.server else { return };
        for child in children(server) {
            let _ = kill(child, Signal::SIGCONT);
        }
        let _ = kill(server, Signal::SIGCONT);
    }
}

fn signalling(error: Errno, server: &str) -> StartError {
    StartError::Io { doing: format!("signalling {server}"), source: error.into() }
}

/// As `kill -s` wants it: without `SIG`.
fn signal_name(signal: Signal) -> &'static str {
    signal.as_str().trim_start_matches("SIG")
}

/// The number in a file that is complete when its line is.
fn read_pid(path: &Path) -> Option<Pid> {
    let text = fs::read_to_string(path).ok()?;
    text.strip_suffix('\n')?.parse().ok().map(Pid::from_raw)
}

fn postmaster_is_ready(path: &Path, server: Pid) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    lines.next() == Some(server.to_string().as_str()) && lines.nth(6) == Some("ready")
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let start = lines.len().saturating_sub(LINES_TOLD);
    lines.get(start..).unwrap_or_default().join("\n")
}

/// The children of a process: PostgreSQL's are no group, each one leads its own.
fn children(parent: Pid) -> Vec<Pid> {
    let pairs = processes_in_proc().unwrap_or_else(processes_told_by_ps);
    let ours = pairs.into_iter().filter(|(_, its_parent)| *its_parent == parent.as_raw());
    ours.map(|(child, _)| Pid::from_raw(child)).collect()
}

/// Every process with its parent, on Linux.
fn processes_in_proc() -> Option<Vec<(i32, i32)>> {
    let numbers = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name, in brackets, may hold anything; the state and the parent follow the last bracket.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((number, parent))
    });
    let found: Vec<_> = numbers.collect();
    (!found.is_empty()).then_some(found)
}

/// Every process with its parent, where there is no `/proc`.
fn processes_told_by_ps() -> Vec<(i32, i32)> {
    let output = Command::new("ps").args(["-A", "-o", "pid=", "-o", "ppid="]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let pair = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_written_number_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        fs::write(&path, "12").unwrap();
        assert_eq!(read_pid(&path), None);
        fs::write(&path, "123\n").unwrap();
        assert_eq!(read_pid(&path), Some(Pid::from_raw(123)));
    }

    #[test]
    fn file_of_an_earlier_run_does_not_make_a_server_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postmaster.pid");
        fs::write(&path, "77\n/data\n1700000000\n5432\n\n127.0.0.1\n  5  0\nready   \n").unwrap();
        assert!(postmaster_is_ready(&path, Pid::from_raw(77)));
        assert!(!postmaster_is_ready(&path, Pid::from_raw(78)));
        fs::write(&path, "77\n/data\n1700000000\n5432\n\n127.0.0.1\n  5  0\nstarting\n").unwrap();
        assert!(!postmaster_is_ready(&path, Pid::from_raw(77)));
    }

    #[test]
    fn children_are_found_with_and_without_proc() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pair = (i32::try_from(child.id()).unwrap(), i32::try_from(std::process::id()).unwrap());
        assert!(children(Pid::from_raw(pair.1)).contains(&Pid::from_raw(pair.0)));
        // Machines with `/proc` need no `ps`, and the smallest ones have none.
        if Command::new("ps").output().is_ok() {
            assert!(processes_told_by_ps().contains(&pair));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn errors_tell_the_end_of_a_log() {
        let lines: Vec<_> = (0..100).map(|line| line.to_string()).collect();
        assert!(last_lines(&lines.join("\n")).starts_with("80\n"));
        assert_eq!(last_lines("one"), "one");
    }
}
