//! Starting and stopping a sandbox.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::faults::Faults;
use crate::projects::{ProjectSeed, is_project_id};
use crate::quotas::Quotas;
use crate::registry::Storage;
use crate::server::{self, Calls, Shared, lock};
use crate::store::{self, FolderLock, Holder, Journal, StoreError};
use crate::wire::{Scissors, Wire};
use crate::world::World;

/// Which APIs a project has when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Apis {
    /// The few that a new project has; everything else has to be enabled.
    #[default]
    Default,
    /// Everything is enabled from the start.
    All,
}

/// How a sandbox is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The folder that keeps the state; without one everything is forgotten at the end.
    pub state: Option<PathBuf>,
    /// Projects that exist from the start; others come into being at their first use.
    pub projects: Vec<ProjectSeed>,
    pub apis: Apis,
    /// Waited before each answer.
    pub latency: Duration,
    /// Whether Google's request quotas are kept.
    pub quotas: bool,
    /// The seed of everything that is left to chance.
    pub seed: u64,
    /// Where the time comes from; without one, from the machine.
    pub clock: Option<Arc<dyn Clock>>,
}

/// Why a sandbox did not start; each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "port {port} on 127.0.0.1 is in use: stop what listens there, or choose another port with --port"
    )]
    PortInUse { port: u16 },
    #[error("cannot listen on 127.0.0.1 port {port}: choose another port with --port")]
    Listen { port: u16, source: io::Error },
    #[error("cannot use the state folder {}: make it writable, or name another with --state", path.display())]
    FolderUnwritable { path: PathBuf, source: io::Error },
    #[error(
        "the state in {} was written by a newer version (format {found}): use that version, or name another folder \
         with --state",
        path.display()
    )]
    StateNewer { path: PathBuf, found: u64 },
    #[error(
        "line {line} of {} cannot be read ({why}): restore the file, or delete the folder to start afresh",
        path.display()
    )]
    JournalUnreadable { path: PathBuf, line: usize, why: String },
    #[error(
        "the state folder {} is in use by another sandbox{}: use that one, or name another folder with --state",
        path.display(),
        address.map_or_else(String::new, |address| format!(" at http://{address}"))
    )]
    Locked { path: PathBuf, address: Option<SocketAddr> },
    #[error("cannot make a folder for images below {}: set TMPDIR, or name a folder with --state", path.display())]
    NoTemporaryFolder { path: PathBuf, source: io::Error },
    #[error(
        "'{id}' is no project ID: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter"
    )]
    ProjectId { id: String },
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Folder { path, source } => Self::FolderUnwritable { path, source },
            StoreError::Newer { path, found } => Self::StateNewer { path, found },
            StoreError::Unreadable { path, line, why } => Self::JournalUnreadable { path, line, why },
            StoreError::Locked { path, address } => Self::Locked { path, address },
        }
    }
}

/// A running sandbox. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    lock: Option<FolderLock>,
    /// Where blobs are without a state folder; removed with the sandbox.
    _temporary: Option<TempDir>,
}

/// Empties a state folder, and answers whether there was anything in it. What is no state folder is left alone, and so is
/// every file in it that no sandbox has written.
///
/// Fails with [`StartError::Locked`] while a sandbox uses the folder.
pub fn reset(dir: &Path) -> Result<bool, StartError> {
    Ok(store::empty(dir)?)
}

/// Starts a sandbox on loopback. It serves when this returns.
pub async fn start(options: Options) -> Result<Sandbox, StartError> {
    if let Some(seed) = options.projects.iter().find(|seed| !is_project_id(&seed.id)) {
        return Err(StartError::ProjectId { id: seed.id.clone() });
    }
    let mut world = World::in_memory(options.seed, options.apis);
    if let Some(clock) = &options.clock {
        world = world.with_clock(Arc::clone(clock));
    }
    world.seeds = options.projects.iter().filter_map(|seed| Some((seed.id.clone(), seed.number?))).collect();
    let mut lock = None;
    if let Some(dir) = &options.state {
        lock = Some(FolderLock::acquire(dir)?);
        world = world.with_journal(Journal::open(dir)?);
    }
    for seed in &options.projects {
        let made = world.use_project(&seed.id);
        made.map_err(|_| StartError::ProjectId { id: seed.id.clone() })?;
    }
    let (registry, temporary) = open_registry(options.state.as_deref(), &mut world)?;
    world.commit()?;
    let listener = listen(options.port).await?;
    let failed = |source| StartError::Listen { port: options.port, source };
    let address = listener.local_addr().map_err(failed)?;
    if let Some(lock) = &lock {
        lock.publish(Holder { address, quotas: options.quotas })?;
    }
    let shared = Arc::new(Shared {
        world: Mutex::new(world),
        faults: Mutex::new(Faults::default()),
        calls: Mutex::new(Calls::default()),
        quotas: options.quotas.then(|| Mutex::new(Quotas::default())),
        registry,
        latency: options.latency,
    });
    let service = server::router(Arc::clone(&shared)).into_make_service_with_connect_info::<Scissors>();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let serving = axum::serve(Wire(listener), service).with_graceful_shutdown(async {
            // A dropped sender means stop, too.
            let _ = stopped.await;
        });
        if let Err(error) = serving.await {
            tracing::warn!(%error, "the sandbox ended");
        }
    });
    tracing::info!(%address, "sandbox listens");
    Ok(Sandbox { address, shared, stop: Some(stop), task, lock, _temporary: temporary })
}

/// The registry with its blobs in the state folder, or in a temporary one.
fn open_registry(state: Option<&Path>, world: &mut World) -> Result<(Storage, Option<TempDir>), StartError> {
    if let Some(dir) = state {
        let folder = dir.join(store::BLOBS);
        let opened = Storage::open(&folder, world);
        return Ok((opened.map_err(|source| StartError::FolderUnwritable { path: folder, source })?, None));
    }
    let failed = |source| StartError::NoTemporaryFolder { path: std::env::temp_dir(), source };
    let temporary = tempfile::Builder::new().prefix("gcp-sandbox-").tempdir().map_err(failed)?;
    Ok((Storage::open(temporary.path(), world).map_err(failed)?, Some(temporary)))
}

async fn listen(port: u16) -> Result<TcpListener, StartError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            StartError::PortInUse { port }
        } else {
            StartError::Listen { port, source }
        }
    })
}

impl Sandbox {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Finishes the requests in flight, for two seconds at most, and frees port and folder.
    pub async fn stop(mut self) {
        lock(&self.shared.faults).clear();
        drop(self.stop.take());
        if tokio::time::timeout(Duration::from_secs(2), &mut self.task).await.is_err() {
            self.task.abort();
        }
        drop(self.lock.take());
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}
