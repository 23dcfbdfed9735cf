//! One process of an instance: put into a folder of its own, started below a guard, heard, and ended.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Machine;
use super::image::{self, Image};
use super::listening;
use super::logs::Source;
use super::machine::open_to_all;
use super::user::{self, Identity};
use crate::guard::Orders;
use crate::server::lock;

/// A task that ends with what owns it.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Task {
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A process that is started while a file is being written inherits the file until its program is loaded, and for so long
/// nobody can execute that file (ETXTBSY). So files are written under a shared lock and processes started under the
/// exclusive one.
static FILES: RwLock<()> = RwLock::new(());

/// Starts a process while no program is being written.
pub(crate) async fn spawn(mut command: Command) -> io::Result<Child> {
    let start = move || {
        let _no_files = FILES.write().unwrap_or_else(PoisonError::into_inner);
        command.spawn()
    };
    tokio::task::spawn_blocking(start).await.map_err(io::Error::other)?
}

/// What to start.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Image(Image),
    /// An image that was pushed and cannot be read any more, and why.
    Unreadable(String),
    /// A command of this machine instead, with the folder to start it in.
    Command {
        command: Vec<String>,
        folder: PathBuf,
    },
}

/// A file that a secret is mounted as, by its path in the container.
#[derive(Clone)]
pub(crate) struct Mounted {
    pub(crate) path: String,
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
}

impl std::fmt::Debug for Mounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path)
    }
}

/// A container that is to be started.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) source: Source,
    pub(crate) content: Content,
    /// In place of the image's entrypoint and arguments, where given.
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    /// As the image names it.
    pub(crate) user: String,
    pub(crate) folder: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) files: Vec<Mounted>,
    /// Bytes.
    pub(crate) memory: u64,
}

impl std::fmt::Debug for Launch {
    // The environment holds values of secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch").field("source", &self.source).finish_non_exhaustive()
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    Exit(i32),
    Signal(i32),
    /// Killed because it had so many bytes resident.
    Memory(u64),
    NotStarted(String),
}

impl Ended {
    fn read(report: &str) -> Self {
        let report: Value = serde_json::from_str(report).unwrap_or_default();
        let number = |key: &str| report[key].as_i64().and_then(|number| i32::try_from(number).ok());
        match (number("exit"), number("signal"), report["memory"].as_u64(), report["notStarted"].as_str()) {
            (Some(status), ..) => Self::Exit(status),
            (_, Some(signal), ..) => Self::Signal(signal),
            (_, _, Some(bytes), _) => Self::Memory(bytes),
            (.., Some(why)) => Self::NotStarted(why.to_owned()),
            _ => Self::NotStarted("its guard was killed".to_owned()),
        }
    }

    /// What became of the container, as the middle of a sentence.
    pub(crate) fn words(&self, limit: u64) -> String {
        match self {
            Self::Exit(127) => "could not execute its command (exit status 127)".to_owned(),
            Self::Exit(status) => format!("exited with status {status}"),
            Self::Signal(signal) => format!("was ended by signal {signal}"),
            Self::Memory(bytes) => {
                let (limit, used) = (limit >> 20, bytes.div_ceil(1 << 20));
                format!("was killed: its memory limit of {limit} MiB was exceeded with {used} MiB used")
            }
            Self::NotStarted(why) => format!("could not be started ({why})"),
        }
    }
}

/// A process that was started. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    /// Closing it tells the guard to end the instance.
    pipe: Mutex<Option<ChildStdin>>,
    ended: watch::Receiver<Option<Ended>>,
    /// The process id of its guard.
    guard: u32,
}

impl Process {
    /// Unpacks and starts. `id` names the instance's folder.
    pub(crate) async fn start(machine: &Arc<Machine>, id: &str, launch: Launch) -> io::Result<Self> {
        let guard = machine
            .options
            .guard
            .clone()
            .ok_or_else(|| io::Error::other("this sandbox was started without a guard"))?;
        let place = machine.folder.join("instances").join(id);
        let isolated = matches!(launch.content, Content::Image(_)) && machine.isolation().await;
        let (machine_, launch_, place_) = (Arc::clone(machine), launch.clone(), place.clone());
        let work = move || {
            let _files = FILES.read().unwrap_or_else(PoisonError::into_inner);
            machine_
                .unpacked(&launch_)
                .and_then(|image| lay_out(&machine_, &launch_, image.as_deref(), &place_, isolated))
        };
        let prepared = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?;
        let Prepared { command, folder, identity } = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&place);
                return Err(error);
            }
        };
        if !isolated
            && let Some(file) = launch.files.first()
            && matches!(launch.content, Content::Image(_))
        {
            let text = format!(
                "Sandbox: this system grants no namespace of mounts, so that '{}' is in the instance's folder: {}",
                file.path,
                place.join("root").display()
            );
            machine.logs.platform(&launch.source, "WARNING", &text, machine.now());
        }
        machine.tell_user(&launch.source, &launch.user);
        let user = identity.and_then(|identity| identity.real).map(|real| (real.uid, real.gid));
        let report = place.join("report").to_string_lossy().into_owned();
        let grace = grace(machine.options.second);
        let orders = Orders { grace, memory: launch.memory, user, report: report.clone(), command };
        let mut guard = Command::new(guard);
        guard.args(orders.arguments()).current_dir(folder).env_clear().envs(&launch.env);
        guard.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        guard.process_group(0);
        let mut guard = spawn(guard).await?;
        let (pipe, id) = (guard.stdin.take(), guard.id().unwrap_or_default());
        let mut readers = Vec::new();
        readers.extend(
            guard
                .stdout
                .take()
                .map(|pipe| tokio::spawn(hear(pipe, Arc::clone(machine), launch.source.clone(), "stdout"))),
        );
        readers.extend(
            guard
                .stderr
                .take()
                .map(|pipe| tokio::spawn(hear(pipe, Arc::clone(machine), launch.source.clone(), "stderr"))),
        );
        let (tell, ended) = watch::channel(None);
        let alive = machine.alive();
        tokio::spawn(async move {
            let _ = guard.wait().await;
            for reader in readers {
                let _ = reader.await;
            }
            let said = tokio::fs::read_to_string(&report).await.unwrap_or_default();
            let _ = tokio::fs::remove_dir_all(&place).await;
            drop(alive);
            let _ = tell.send(Some(Ended::read(&said)));
        });
        Ok(Self { pipe: Mutex::new(pipe), ended, guard: id })
    }

    /// The ports that it listens on, where the system tells.
    pub(crate) fn ports(&self) -> Option<BTreeSet<u16>> {
        listening::ports(self.guard)
    }

    /// Resolves when the process, and all that it started, has ended.
    pub(crate) async fn ended(&self) -> Ended {
        self.ending().await
    }

    /// The same for who does not keep the process.
    pub(crate) fn ending(&self) -> impl Future<Output = Ended> + use<> {
        let mut ended = self.ended.clone();
        async move {
            let found = ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
            found.unwrap_or_else(|| Ended::NotStarted("the sandbox ended".to_owned()))
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// SIGTERM now, SIGKILL ten seconds later.
    pub(crate) fn stop(&self) {
        drop(lock(&self.pipe).take());
    }
}

async fn hear(pipe: impl AsyncRead + Unpin, machine: Arc<Machine>, source: Source, stream: &'static str) {
    let mut lines = BufReader::new(pipe);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        machine.logs.line(&source, stream, text.trim_end_matches(['\n', '\r']), machine.now());
        line.clear();
    }
}

/// Milliseconds between SIGTERM and SIGKILL: ten seconds of Cloud Run (its container runtime contract).
fn grace(second: Duration) -> u64 {
    u64::try_from((second * 10).as_millis()).unwrap_or(u64::MAX)
}

/// What to execute in which folder of this machine, and as whom.
struct Prepared {
    command: Vec<OsString>,
    folder: PathBuf,
    /// `None` for a command of this machine, which runs as the sandbox.
    identity: Option<Identity>,
}

/// Makes the instance's folder.
fn lay_out(
    machine: &Machine,
    launch: &Launch,
    image: Option<&Path>,
    place: &Path,
    isolated: bool,
) -> io::Result<Prepared> {
    std::fs::create_dir_all(place)?;
    for folder in place.ancestors().take(2) {
        open_to_all(folder)?;
    }
    let Some(image) = image else {
        let (command, folder) = match &launch.content {
            Content::Command { command, folder } => (command, folder),
            Content::Unreadable(why) => return Err(io::Error::other(why.clone())),
            Content::Image(_) => return Err(io::Error::other("the image is not unpacked")),
        };
        let command = command.iter().chain(&launch.args).map(OsString::from).collect();
        return Ok(Prepared { command, folder: folder.clone(), identity: None });
    };
    let identity = Identity::new(user::wanted(&launch.user, image)?, machine.nobody);
    let root = place.join("root");
    image::copy(image, &root)?;
    let folder = furnish(&root, launch, &identity)?;
    let argv: Vec<&String> = launch.command.iter().chain(&launch.args).collect();
    let Some((first, rest)) = argv.split_first() else {
        return Err(io::Error::other("the image names no command"));
    };
    let rest = rest.iter().map(OsString::from);
    let path = launch.env.get("PATH").map_or("", String::as_str);
    if isolated {
        let mut command = Machine::isolating(&root, &launch.folder, path, identity.shown);
        command.push(first.into());
        command.extend(rest);
        return Ok(Prepared { command, folder: PathBuf::from("/"), identity: Some(identity) });
    }
    let program = find(&root, first, path)?;
    let command = std::iter::once(program.into_os_string()).chain(rest).collect();
    Ok(Prepared { command, folder, identity: Some(identity) })
}

/// Puts into an instance's copy of its image what Cloud Run gives it, and answers the folder to start in.
fn furnish(root: &Path, launch: &Launch, identity: &Identity) -> io::Result<PathBuf> {
    let no_tmp = !is_there(&root.join("tmp"));
    for name in ["tmp", "dev", "proc", "etc"] {
        let folder = image::folder(root, Path::new(name))?;
        if no_tmp && name == "tmp" {
            set_mode(&folder, 0o1777)?;
        }
    }
    for name in ["etc/resolv.conf", "etc/hosts"] {
        let at = image::inside(root, Path::new(name))?;
        if !is_there(&at) {
            let _ = std::fs::copy(Path::new("/").join(name), at);
        }
    }
    let folder = image::folder(root, Path::new(&launch.folder))?;
    user::hand_over(root, identity)?;
    for file in &launch.files {
        let at = image::inside(root, Path::new(&file.path))?;
        // What the image has there may be a link, which leads anywhere on this machine.
        if is_there(&at) {
            std::fs::remove_file(&at)?;
        }
        std::fs::write(&at, &file.data)?;
        set_mode(&at, file.mode)?;
        // A secret is its instance's, whose user is to read it with any mode.
        if let Some(real) = identity.real {
            user::give(&at, real)?;
        }
    }
    Ok(folder)
}

/// Whether the image has something of this name, be it a link to nothing.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// A program of the image that is executed without a root of its own.
fn find(root: &Path, program: &str, path: &str) -> io::Result<PathBuf> {
    if program.contains('/') {
        return image::inside(root, Path::new(program));
    }
    let mut places =
        path.split(':').filter_map(|folder| image::inside(root, &Path::new(folder).join(program)).ok());
    places
        .find(|at| at.is_file())
        .ok_or_else(|| io::Error::other(format!("the image has no program '{program}'")))
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_sigterm_and_sigkill_lie_ten_seconds_of_cloud_run() {
        assert_eq!(grace(Duration::from_secs(1)), 10_000);
        assert_eq!(grace(Duration::from_millis(50)), 500);
    }
}
