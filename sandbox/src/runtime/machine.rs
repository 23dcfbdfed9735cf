//! What the runtime has of the machine: a folder, a user for instances, ports, and whether it may isolate them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{OnceCell, watch};

use super::Options;
use super::image;
use super::logs::{Logs, Source};
use super::process::{self, Content, Launch};
use super::user::{self, Account};
use crate::clock::Clock;
use crate::server::lock;

/// Folders of sandboxes are named so in the system's folder for temporary files, with the process's id behind it.
const FOLDER: &str = "gcp-sandbox-run-";
/// Where ports of instances are taken from: below the range that systems take theirs from.
const FIRST_PORT: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Mounts what a process expects to find beside its files, and starts it in a root of its own, in which it sees itself as
/// the user that its image names: only root may mount, and only another namespace of users makes somebody else of it.
const ISOLATE: &str = r#"set -e
root=$1; folder=$2; path=$3; uid=$4; gid=$5; shift 5
unshare=$(command -v unshare)
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
PATH=$path
exec "$unshare" --user --map-user="$uid" --map-group="$gid" --root="$root" --wd="$folder" -- "$@""#;
/// The outer shell looks its programs up here, whatever the container's own path is.
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// The machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) options: Options,
    pub(crate) logs: Arc<Logs>,
    pub(crate) folder: PathBuf,
    /// Who stands in for root, when the sandbox may choose whom instances run as.
    pub(crate) nobody: Option<Account>,
    /// Whether it was told that instances run as the sandbox.
    told_user: AtomicBool,
    clock: Arc<dyn Clock>,
    isolated: OnceCell<bool>,
    numbers: AtomicU64,
    unpacking: Mutex<()>,
    alive: watch::Sender<usize>,
}

/// A port that no other instance gets while it is kept.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
}

impl Drop for Port {
    fn drop(&mut self) {
        lock(&PORTS).taken.remove(&self.number);
    }
}

/// Ports that instances have or are about to have. All sandboxes of a process share them: between the choice of a port
/// and the moment when an instance listens on it, nobody else can see that it is taken.
#[derive(Debug)]
struct Ports {
    taken: BTreeSet<u16>,
    turns: u32,
}

static PORTS: Mutex<Ports> = Mutex::new(Ports { taken: BTreeSet::new(), turns: 0 });

/// Counts a process that is not known to have ended.
#[derive(Debug)]
pub(crate) struct Alive(Arc<Machine>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.send_modify(|alive| *alive -= 1);
    }
}

impl Machine {
    pub(crate) fn new(options: Options, logs: Arc<Logs>, clock: Arc<dyn Clock>) -> Self {
        static SANDBOXES: AtomicU64 = AtomicU64::new(0);
        let number = SANDBOXES.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("{FOLDER}{}-{number}", std::process::id()));
        Self {
            options,
            logs,
            folder,
            nobody: user::nobody(),
            told_user: AtomicBool::new(false),
            clock,
            isolated: OnceCell::new(),
            numbers: AtomicU64::new(0),
            unpacking: Mutex::default(),
            alive: watch::Sender::new(0),
        }
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// A number that no instance had before.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn alive(self: &Arc<Self>) -> Alive {
        self.alive.send_modify(|alive| *alive += 1);
        Alive(Arc::clone(self))
    }

    /// Resolves when no process is left.
    pub(crate) async fn all_ended(&self) {
        let _ = self.alive.subscribe().wait_for(|alive| *alive == 0).await;
    }

    /// A free port, another one each time: what has just ended may still have connections.
    pub(crate) fn port() -> io::Result<Port> {
        let mut ports = lock(&PORTS);
        for _ in 0..COUNT {
            ports.turns = ports.turns.wrapping_add(1);
            // Sandboxes of different processes begin at different places.
            let offset = (u64::from(std::process::id()) * 7919 + u64::from(ports.turns)) % u64::from(COUNT);
            let number = FIRST_PORT + u16::try_from(offset).unwrap_or_default();
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() && ports.taken.insert(number) {
                return Ok(Port { number });
            }
        }
        Err(io::Error::other("no port is free"))
    }

    /// Whether instances get a root of their own: found out at the first one.
    pub(crate) async fn isolation(&self) -> bool {
        let find = || async { self.options.isolate && self.try_isolation().await.unwrap_or(false) };
        *self.isolated.get_or_init(find).await
    }

    pub(crate) fn is_isolated(&self) -> Option<bool> {
        self.isolated.get().copied()
    }

    /// Lets `true` run as an instance would, in a root that is the machine's own.
    async fn try_isolation(&self) -> io::Result<bool> {
        if !cfg!(target_os = "linux") {
            return Ok(false);
        }
        self.make_folder()?;
        let root = self.folder.join("trial");
        for folder in ["dev", "proc"] {
            fs::create_dir_all(root.join(folder))?;
        }
        let mut trial = Self::isolating(&root, "/", "/", Account { uid: 1, gid: 1 });
        // The trial's root is empty: that the shell gets as far as not finding the program is what counts.
        trial.push("/sandbox-trial".into());
        let Some((program, args)) = trial.split_first() else { return Ok(false) };
        let mut command = tokio::process::Command::new(program);
        command.args(args).stdin(std::process::Stdio::null()).env_clear();
        #[cfg(unix)]
        if let Some(nobody) = self.nobody {
            command.uid(nobody.uid).gid(nobody.gid);
        }
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        let output = process::spawn(command).await?.wait_with_output().await?;
        fs::remove_dir_all(&root)?;
        Ok(output.status.code() == Some(127)
            && String::from_utf8_lossy(&output.stderr).contains("sandbox-trial"))
    }

    /// The words before a command that give it `root` as its root, where it is `shown` as who it is.
    pub(crate) fn isolating(root: &Path, folder: &str, path: &str, shown: Account) -> Vec<OsString> {
        let words =
            ["/usr/bin/env", "unshare", "--user", "--map-root-user", "--mount", "--", "/bin/sh", "-c"];
        let mut command: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        command.insert(1, PATH.into());
        command.extend([ISOLATE.into(), "sh".into(), root.into(), folder.into(), path.into()]);
        command.extend([shown.uid, shown.gid].map(|number| number.to_string().into()));
        command
    }

    /// The folder, made at the first use; leftovers of sandboxes that were killed are taken away.
    fn make_folder(&self) -> io::Result<()> {
        if self.folder.exists() {
            return Ok(());
        }
        remove_leftovers();
        fs::create_dir_all(&self.folder)?;
        open_to_all(&self.folder)
    }

    /// The unpacked image of a launch, unpacked once for each digest; `None` for a command of the machine.
    pub(crate) fn unpacked(&self, launch: &Launch) -> io::Result<Option<PathBuf>> {
        self.make_folder()?;
        let Content::Image(image) = &launch.content else { return Ok(None) };
        let _one_at_a_time = lock(&self.unpacking);
        let into = self.folder.join("images").join(image.digest.replace(':', "-"));
        if !into.exists() {
            image::unpack(image, &into)?;
        }
        Ok(Some(into))
    }

    /// Tells once that instances cannot run as the users that their images name.
    pub(crate) fn tell_user(&self, source: &Source, named: &str) {
        if self.nobody.is_some() || named.is_empty() || self.told_user.swap(true, Ordering::Relaxed) {
            return;
        }
        let text = format!(
            "Sandbox: it does not run as root, so that instances run as whoever started it and may write all of their \
             files; this one's image names the user '{named}'."
        );
        self.logs.platform(source, "NOTICE", &text, self.now());
    }

    /// Takes the folder away.
    pub(crate) fn clear(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Lets everybody pass through a folder, whatever the sandbox's own umask is: instances have users of their own.
#[cfg(unix)]
pub(super) fn open_to_all(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711))
}

#[cfg(not(unix))]
pub(super) fn open_to_all(_: &Path) -> io::Result<()> {
    Ok(())
}

fn remove_leftovers() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(FOLDER)).and_then(|rest| rest.split('-').next());
        if let Some(process) = owner.and_then(|process| process.parse().ok())
            && !is_alive(process)
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(unix)]
fn is_alive(process: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), None) != Err(nix::errno::Errno::ESRCH)
}

#[cfg(not(unix))]
fn is_alive(_: i32) -> bool {
    true
}
