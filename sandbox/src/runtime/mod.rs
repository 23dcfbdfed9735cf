//! Revisions and jobs as processes.
//!
//! The world stays what it is: documents and synchronous handlers. When a handler needs to know whether a revision
//! starts, it says so over `Link` and its operation waits; `Runtime` starts an instance (`pool`, `instance`,
//! `process`), writes the outcome back, and lets the operation end. Requests come in through `front`, which picks a
//! revision and takes an instance from its pool. Each process has a guard above it (`crate::guard`), and says what it
//! has to say to `logs`.

pub(crate) mod container;
pub(crate) mod front;
mod grpc;
pub mod image;
mod instance;
mod listening;
pub(crate) mod logs;
mod machine;
pub(crate) mod metadata;
mod pages;
mod pool;
mod probe;
pub(crate) mod process;
mod proxy;
mod tasks;
mod user;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub use image::{Image, Images, Layer};

use crate::operations;
use crate::registry::blobs::Blobs;
use crate::registry::images::{Images as Pushed, NoContent};
use crate::server::{Shared, lock};
use crate::services::run::RunEffect;
use crate::services::run::condition::Failure;
use crate::services::run::{image as reference, launch};
use crate::world::World;
use logs::Logs;
pub(crate) use machine::Machine;
use pool::Pool;
use process::{Content, Task};

/// How the runtime is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// A program whose `main` calls [`crate::guard::asked`] first. Without one no process can be started.
    pub guard: Option<PathBuf>,
    /// Where content of images comes from; every image without content has a stand-in.
    pub images: Option<Arc<dyn Images>>,
    /// What to run in place of the image of a service or a job, by its id.
    pub commands: BTreeMap<String, Command>,
    /// How long a second of Cloud Run takes: of probes, time-outs and graces.
    pub second: Duration,
    /// Whether instances get a root of their own where the system lets them.
    pub isolate: bool,
}

impl Default for Options {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { guard: None, images: None, commands: BTreeMap::new(), second, isolate: true }
    }
}

/// A command of this machine that runs in place of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where it is started.
    pub folder: PathBuf,
}

/// What the world asks the runtime for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Signal {
    /// Start a first instance of the revision (full name), and say what came of it.
    TryOut(String),
    /// Something has changed that may call for more or fewer processes.
    Look,
}

/// The world's end of the connection to the runtime.
#[derive(Debug, Default)]
pub(crate) struct Link {
    signals: Option<UnboundedSender<Signal>>,
    /// Revisions that were tried out since the sandbox started: `None` while it lasts.
    tried: BTreeMap<String, Option<Result<(), Failure>>>,
    pub(crate) images: Option<Arc<dyn Images>>,
    pub(crate) commands: BTreeMap<String, Command>,
    pub(crate) logs: Arc<Logs>,
    /// What the sandbox's own registry holds.
    blobs: Option<Arc<Blobs>>,
    /// What containers of revisions run, by full name and their own: a revision keeps the image that its tag meant at first.
    contents: Mutex<BTreeMap<String, Content>>,
    address: Option<std::net::SocketAddr>,
}

impl Link {
    /// Asks for a first instance of a revision, once.
    pub(crate) fn try_out(&mut self, revision: &str) {
        if let Some(signals) = &self.signals
            && !self.tried.contains_key(revision)
        {
            self.tried.insert(revision.to_owned(), None);
            let _ = signals.send(Signal::TryOut(revision.to_owned()));
        }
    }

    /// What came of trying a revision out, once that is known.
    pub(crate) fn outcome(&self, revision: &str) -> Option<&Result<(), Failure>> {
        self.tried.get(revision)?.as_ref()
    }

    /// What a container of a revision was found to run; the one that gets the requests is named by nothing.
    pub(crate) fn content_of(&self, revision: &str, container: &str) -> Option<Content> {
        lock(&self.contents).get(&format!("{revision} {container}")).cloned()
    }

    /// Keeps what a container of a revision was found to run.
    pub(crate) fn keep_content(&self, revision: &str, container: &str, content: &Content) {
        lock(&self.contents).insert(format!("{revision} {container}"), content.clone());
    }

    pub(crate) fn has_content(&self, revision: &str) -> bool {
        lock(&self.contents).contains_key(&format!("{revision} "))
    }

    /// Tells the runtime that documents have changed.
    pub(crate) fn look(&self) {
        if let Some(signals) = &self.signals {
            let _ = signals.send(Signal::Look);
        }
    }

    pub(crate) fn forget(&mut self) {
        self.tried.clear();
        lock(&self.contents).clear();
        self.logs.forget();
    }

    /// The metadata server of an instance with this identity: `HOST:PORT`, and a path that says who asks.
    pub(crate) fn metadata_host(&self, account: &str, project: &str) -> Option<String> {
        self.address.map(|address| metadata::host(address, account, project))
    }
}

/// The label of images that `deployer build` made. What it says is not looked at.
pub const BUILT: &str = "dev.deployer.source-digest";

/// The content of an image that was pushed to the sandbox, or is given from outside. `None` for one that is known in
/// name only, is elsewhere, or is for another system: those have a stand-in.
pub(crate) fn content(world: &World, image: &str) -> Option<Content> {
    if let Some(found) = world.runtime.images.as_ref().and_then(|images| images.find(world, image)) {
        return Some(Content::Image(found));
    }
    let blobs = world.runtime.blobs.as_ref()?;
    match Pushed::new(world, blobs).find(&reference::parse(image)?) {
        Ok(found) if runs_here(&found.config) => {
            let layers = found.layers.into_iter();
            let layers =
                layers.map(|layer| Layer { path: layer.path, media_type: layer.media_type }).collect();
            Some(Content::Image(Image { digest: found.digest, config: found.config, layers }))
        }
        Ok(found) if is_built(&found.config) => Some(Content::Unreadable(format!(
            "its image was built for {}/{}, which this machine does not run; `local.run` names a command to run instead",
            found.config["os"].as_str().unwrap_or_default(),
            found.config["architecture"].as_str().unwrap_or_default()
        ))),
        Err(NoContent::Unreadable(why)) => Some(Content::Unreadable(why)),
        Ok(_) | Err(NoContent::NotHere | NoContent::NameOnly | NoContent::OtherPlatform { .. }) => None,
    }
}

/// Whether `deployer build` made an image, which never has a stand-in: who builds wants to see that run.
fn is_built(config: &Value) -> bool {
    config["config"]["Labels"].get(BUILT).is_some()
}

/// Whether an image is for this machine's system and processor. One that does not say is taken to be.
fn runs_here(config: &Value) -> bool {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let is = |key: &str, here: &str| config[key].as_str().is_none_or(|said| said.is_empty() || said == here);
    is("os", std::env::consts::OS) && is("architecture", architecture)
}

/// Runs what the documents ask for. One for each sandbox.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) machine: Arc<Machine>,
    shared: Weak<Shared>,
    pools: Mutex<BTreeMap<String, Arc<Pool>>>,
    pub(crate) executions: Mutex<BTreeMap<String, Task>>,
    pub(crate) front: front::Turns,
    work: Mutex<Option<Task>>,
}

impl Runtime {
    /// A runtime whose world is in `shared`, and the work that it does in the background.
    pub(crate) fn start(shared: &Arc<Shared>, options: Options, address: std::net::SocketAddr) -> Arc<Self> {
        let (signals, received) = unbounded_channel();
        let mut world = lock(&shared.world);
        world.runtime.signals = Some(signals);
        world.runtime.images.clone_from(&options.images);
        world.runtime.commands.clone_from(&options.commands);
        world.runtime.blobs = Some(Arc::clone(&shared.registry.blobs));
        world.runtime.address = Some(address);
        let machine = Arc::new(Machine::new(options, Arc::clone(&world.runtime.logs), world.clock()));
        world.runtime.look();
        drop(world);
        let runtime = Arc::new(Self {
            machine,
            shared: Arc::downgrade(shared),
            pools: Mutex::default(),
            executions: Mutex::default(),
            front: front::Turns::default(),
            work: Mutex::default(),
        });
        let work = Task::spawn(work(Arc::downgrade(&runtime), received));
        *lock(&runtime.work) = Some(work);
        runtime
    }

    /// Does something with the world; `None` once the sandbox is gone.
    pub(crate) fn with_world<T>(&self, act: impl FnOnce(&mut World) -> T) -> Option<T> {
        let shared = self.shared.upgrade()?;
        let mut world = lock(&shared.world);
        let answer = act(&mut world);
        if let Err(error) = world.commit() {
            tracing::warn!(%error, "what the runtime changed could not be journalled");
        }
        Some(answer)
    }

    /// The instances of a revision (full name).
    pub(crate) fn pool(self: &Arc<Self>, revision: &str) -> Arc<Pool> {
        let mut pools = lock(&self.pools);
        let new =
            || Arc::new(Pool::new(revision.to_owned(), Arc::downgrade(self), Arc::clone(&self.machine)));
        Arc::clone(pools.entry(revision.to_owned()).or_insert_with(new))
    }

    /// Ends the instances of other revisions of the service that have no requests: a container beside the one with the
    /// requests has the same port in all of them, and they share the machine's.
    pub(crate) async fn make_room(&self, revision: &str) {
        let service = launch::resource_of(revision);
        let others = |pool: &&Arc<Pool>| {
            pool.revision() != revision && launch::resource_of(pool.revision()) == service
        };
        let others: Vec<Arc<Pool>> = lock(&self.pools).values().filter(others).cloned().collect();
        for pool in others {
            pool.end_idle().await;
        }
    }

    /// Starts a first instance of a revision and tells the world what came of it.
    async fn try_out(self: Arc<Self>, revision: String) {
        let outcome = self.pool(&revision).try_out().await;
        self.with_world(|world| {
            world.runtime.tried.insert(revision.clone(), Some(outcome));
            let service = launch::resource_of(&revision).to_owned();
            operations::hasten(
                world,
                |effect| matches!(effect, RunEffect::Reconcile { service: of, .. } if *of == service),
            );
        });
        self.look();
    }

    /// Brings processes into line with the documents: minimum instances, what is gone, what is idle, what is to run.
    fn look(self: &Arc<Self>) {
        let wanted = self.with_world(|world| {
            let addressed = launch::addressed(world);
            let least = |revision: String| (launch::scale(world, &revision), revision);
            let kept: Vec<_> =
                addressed.into_iter().map(least).filter(|(scale, _)| scale.least > 0).collect();
            let kept: Vec<String> = kept
                .into_iter()
                .filter(|(_, name)| launch::runs(world, name))
                .map(|(_, name)| name)
                .collect();
            (kept, launch::open_executions(world))
        });
        let Some((kept, executions)) = wanted else { return };
        for revision in kept {
            self.pool(&revision);
        }
        let pools: Vec<Arc<Pool>> = lock(&self.pools).values().cloned().collect();
        for pool in pools {
            let scale = self.with_world(|world| {
                launch::is_there(world, pool.revision()).then(|| launch::scale(world, pool.revision()))
            });
            if let Some(Some(scale)) = scale {
                pool.tend(scale);
            } else {
                pool.close();
                lock(&self.pools).remove(pool.revision());
            }
        }
        tasks::look(self, &executions);
    }

    /// Ends everything and waits until it has ended.
    pub(crate) async fn stop(&self) {
        self.end();
        self.machine.all_ended().await;
        self.machine.clear();
    }

    /// Ends everything.
    pub(crate) fn end(&self) {
        drop(lock(&self.work).take());
        let pools: Vec<Arc<Pool>> = std::mem::take(&mut *lock(&self.pools)).into_values().collect();
        lock(&self.executions).clear();
        for pool in &pools {
            pool.end();
        }
    }

    /// What runs, for the control endpoint.
    pub(crate) fn state(&self) -> Value {
        let pools: Vec<Arc<Pool>> = lock(&self.pools).values().cloned().collect();
        let instances = pools.iter().map(|pool| (pool.revision().to_owned(), pool.state()));
        let instances: serde_json::Map<String, Value> = instances.collect();
        let stand_ins = self.with_world(|world| {
            let addressed = launch::addressed(world).into_iter();
            addressed.filter(|revision| !launch::runs(world, revision)).collect::<Vec<_>>()
        });
        json!({ "revisions": instances, "standIns": stand_ins, "isolated": self.machine.is_isolated() })
    }
}

async fn work(runtime: Weak<Runtime>, mut signals: UnboundedReceiver<Signal>) {
    let Some(tick) = runtime.upgrade().map(|runtime| runtime.machine.options.second) else { return };
    let mut trials: Vec<Task> = Vec::new();
    loop {
        let signal = tokio::time::timeout(tick, signals.recv()).await;
        let Some(runtime) = runtime.upgrade() else { return };
        match signal {
            Ok(None) => return,
            Ok(Some(Signal::TryOut(revision))) => trials.push(Task::spawn(runtime.try_out(revision))),
            Ok(Some(Signal::Look)) => {
                while signals.try_recv().is_ok_and(|next| {
                    if let Signal::TryOut(revision) = &next {
                        trials.push(Task::spawn(Arc::clone(&runtime).try_out(revision.clone())));
                    }
                    true
                }) {}
                runtime.look();
            }
            Err(_) => runtime.look(),
        }
        trials.retain(|trial| !trial.is_finished());
    }
}
