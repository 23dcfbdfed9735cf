//! The guard: one small process above each process of an instance, so that nothing outlives the sandbox.
//!
//! It is the program that embeds the sandbox, started again. It holds one end of a pipe; when the other end closes,
//! because the sandbox stops the instance or because the sandbox itself is gone in whatever way, it sends SIGTERM to
//! the instance's process group and SIGKILL when the grace is over. It also watches the instance's memory, and says
//! in a file how the instance ended.

use std::ffi::OsString;
use std::process::ExitCode;

/// The first argument of a guard.
pub(crate) const MARK: &str = "__sandbox-guard";

/// What a guard is told on its command line, before `--` and what it shall start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orders {
    /// Milliseconds between SIGTERM and SIGKILL.
    pub(crate) grace: u64,
    /// Most bytes that the instance may have resident; 0 for no limit.
    pub(crate) memory: u64,
    /// User and group of the instance, when another than the guard's.
    pub(crate) user: Option<(u32, u32)>,
    /// Where to say how it ended.
    pub(crate) report: String,
    pub(crate) command: Vec<OsString>,
}

impl Orders {
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let (uid, gid) =
            self.user.map_or((String::new(), String::new()), |(uid, gid)| (uid.to_string(), gid.to_string()));
        let said =
            [MARK.to_owned(), self.grace.to_string(), self.memory.to_string(), uid, gid, self.report.clone()];
        said.into_iter().map(OsString::from).chain(self.command.iter().cloned()).collect()
    }

    #[cfg(unix)]
    fn read(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut word = || args.next()?.into_string().ok();
        let (grace, memory) = (word()?.parse().ok()?, word()?.parse().ok()?);
        let (uid, gid) = (word()?, word()?);
        let user = uid.parse().ok().zip(gid.parse().ok());
        let report = word()?;
        Some(Self { grace, memory, user, report, command: args.collect() })
    }
}

/// Does the work of a guard when the program was started as one, and answers what to end with.
///
/// A program that embeds the sandbox and names itself in [`crate::runtime::Options::guard`] calls this first in its
/// `main`, with `std::env::args_os()`.
pub fn asked(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    if args.next()? != MARK {
        return None;
    }
    #[cfg(unix)]
    return Some(Orders::read(args).map_or(ExitCode::from(2), |orders| unix::watch(&orders)));
    #[cfg(not(unix))]
    Some(ExitCode::from(2))
}

/// Every process below this one. Only Linux tells; elsewhere the process group has to do.
pub(crate) fn descendants(above: u32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut todo = vec![above.to_string()];
    while let Some(process) = todo.pop() {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { continue };
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace() {
                found.extend(child.parse::<i32>());
                todo.push(child.to_owned());
            }
        }
    }
    found
}

#[cfg(unix)]
mod unix {
    use std::io::Read as _;
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Command, ExitCode, ExitStatus, Stdio};
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
    use std::time::{Duration, Instant};
    use std::{fs, io, thread};

    use nix::sys::signal::{Signal, kill, killpg};
    use nix::sys::wait::{WaitPidFlag, waitpid};
    use nix::unistd::Pid;
    use serde_json::{Value, json};

    use super::{Orders, descendants};

    /// How often memory is looked at.
    const LOOK: Duration = Duration::from_millis(100);

    enum Event {
        Ended(io::Result<ExitStatus>),
        Closed,
    }

    pub(super) fn watch(orders: &Orders) -> ExitCode {
        // What the instance's processes leave behind becomes a child of the guard, not of init.
        let _ = nix::sys::prctl::set_child_subreaper(true);
        let report = follow(orders).unwrap_or_else(|error| json!({ "notStarted": error.to_string() }));
        let _ = fs::write(&orders.report, report.to_string());
        ExitCode::SUCCESS
    }

    fn start(orders: &Orders) -> io::Result<std::process::Child> {
        let (program, args) =
            orders.command.split_first().ok_or_else(|| io::Error::other("nothing to start"))?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).process_group(0);
        if let Some((uid, gid)) = orders.user {
            command.uid(uid).gid(gid);
        }
        command.spawn()
    }

    fn follow(orders: &Orders) -> io::Result<Value> {
        let mut child = start(orders)?;
        let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let (events, received) = channel();
        listen(events.clone());
        thread::spawn(move || events.send(Event::Ended(child.wait())));
        let (mut killed_at, mut too_much) = (None, None);
        let status = loop {
            match received.recv_timeout(LOOK) {
                Ok(Event::Ended(status)) => break status?,
                Ok(Event::Closed) => {
                    let _ = killpg(group, Signal::SIGTERM);
                    killed_at = Some(Instant::now() + Duration::from_millis(orders.grace));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the guard lost its instance"));
                }
            }
            if orders.memory > 0 && too_much.is_none() {
                too_much = Some(resident()).filter(|bytes| *bytes > orders.memory);
            }
            if too_much.is_some() || killed_at.is_some_and(|at| at <= Instant::now()) {
                let _ = killpg(group, Signal::SIGKILL);
            }
        };
        let _ = killpg(group, Signal::SIGKILL);
        sweep();
        Ok(match (too_much, status.signal()) {
            (Some(bytes), _) => json!({ "memory": bytes }),
            (None, Some(signal)) => json!({ "signal": signal }),
            (None, None) => json!({ "exit": status.code() }),
        })
    }

    /// Nothing is ever written into the pipe: reading ends when its other end is closed.
    fn listen(events: Sender<Event>) {
        thread::spawn(move || {
            let mut rest = [0; 64];
            while io::stdin().read(&mut rest).is_ok_and(|read| read > 0) {}
            events.send(Event::Closed)
        });
    }

    /// Ends whatever has left the process group.
    fn sweep() {
        while let children = descendants(std::process::id())
            && !children.is_empty()
        {
            for child in children {
                let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
            }
            while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|state| state.pid().is_some()) {}
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Bytes of memory that the processes below the guard have resident.
    fn resident() -> u64 {
        let of = |process: &i32| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        descendants(std::process::id()).iter().filter_map(of).sum::<u64>() * 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_the_command_line() {
        let command = vec!["/bin/app".into(), "--port".into()];
        let orders = Orders { grace: 10, memory: 5, user: Some((1, 2)), report: "r".into(), command };
        assert_eq!(Orders::read(orders.arguments().into_iter().skip(1)), Some(orders.clone()));
        let same = Orders { user: None, ..orders };
        assert_eq!(Orders::read(same.arguments().into_iter().skip(1)), Some(same));
    }

    #[test]
    fn a_program_that_is_no_guard_goes_on() {
        assert_eq!(asked(["deployer".into(), "plan".into()]), None);
        assert_eq!(asked(["deployer".into()]), None);
    }
}
