//! The instances of one revision: who gets the next request, when one more is started, and when one is ended.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Runtime;
use super::instance::Instance;
use super::machine::Machine;
use super::process::Task;
use crate::server::lock;
use crate::services::run::condition::Failure;
use crate::services::run::launch::{self, Scale};

/// Seconds of the sandbox's clock after which an instance without requests is ended: Cloud Run keeps them for at most
/// 15 minutes.
const IDLE: i64 = 15 * 60;
/// Seconds that a request waits for an instance before it is refused: at least 10, says Cloud Run.
const PATIENCE: u32 = 10;

/// Why a request gets no instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// All instances are busy, and there may be no more.
    Busy,
    /// An instance did not start.
    Failed(Failure),
}

/// The instances of a revision.
#[derive(Debug)]
pub(crate) struct Pool {
    revision: String,
    runtime: Weak<Runtime>,
    machine: Arc<Machine>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    starting: Vec<Task>,
    /// Starts that failed, so that who waits for one learns of it.
    failures: u64,
    last_failure: Option<Failure>,
    failed_at: Option<Instant>,
    waiting: usize,
    closed: bool,
}

#[derive(Debug)]
struct Slot {
    instance: Arc<Instance>,
    requests: usize,
    idle_since: jiff::Timestamp,
    _watch: Task,
}

/// The right to send one request to an instance; dropping it makes room for the next.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(crate) instance: Arc<Instance>,
    pool: Arc<Pool>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = lock(&self.pool.state);
        let now = self.pool.machine.now();
        if let Some(slot) = state.slots.iter_mut().find(|slot| Arc::ptr_eq(&slot.instance, &self.instance)) {
            slot.requests -= 1;
            slot.idle_since = now;
        }
        let over = state.closed && state.slots.iter().all(|slot| slot.requests == 0);
        if over {
            state.slots.iter().for_each(|slot| slot.instance.stop());
        }
        drop(state);
        self.pool.changed.notify_waiters();
    }
}

/// Counts a request that waits.
struct Waiting<'a>(&'a Pool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).waiting -= 1;
    }
}

impl Pool {
    pub(crate) fn new(revision: String, runtime: Weak<Runtime>, machine: Arc<Machine>) -> Self {
        Self { revision, runtime, machine, state: Mutex::default(), changed: Notify::new() }
    }

    /// The full name.
    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }

    /// Starts an instance and keeps it.
    pub(crate) async fn try_out(self: &Arc<Self>) -> Result<(), Failure> {
        self.start().await
    }

    async fn start(self: &Arc<Self>) -> Result<(), Failure> {
        let gone = || Failure::new("INTERNAL", "The sandbox ended.");
        let runtime = self.runtime.upgrade().ok_or_else(gone)?;
        let serving =
            runtime.with_world(|world| launch::serving(world, &self.revision)).ok_or_else(gone)??;
        if serving.members.iter().filter(|member| member.launch.is_some()).count() > 1 {
            runtime.make_room(&self.revision).await;
        }
        drop(runtime);
        let instance = Arc::new(Instance::start(&self.machine, serving).await?);
        let weak = Arc::downgrade(self);
        let changed = move || {
            if let Some(pool) = weak.upgrade() {
                pool.changed.notify_waiters();
            }
        };
        let (weak, one, machine) = (Arc::downgrade(self), Arc::clone(&instance), Arc::clone(&self.machine));
        let watch = Task::spawn(async move {
            Arc::clone(&one).watch(machine, changed).await;
            if let Some(pool) = weak.upgrade() {
                pool.remove(&one);
            }
        });
        let mut state = lock(&self.state);
        if state.closed {
            instance.stop();
            return Err(gone());
        }
        state.slots.push(Slot { instance, requests: 0, idle_since: self.machine.now(), _watch: watch });
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    fn remove(&self, instance: &Arc<Instance>) {
        let mut state = lock(&self.state);
        let at = state.slots.iter().position(|slot| Arc::ptr_eq(&slot.instance, instance));
        let removed = at.map(|at| state.slots.swap_remove(at));
        drop(state);
        drop(removed);
        self.changed.notify_waiters();
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.with_world(|world| world.runtime.look());
        }
    }

    fn begin_start(self: &Arc<Self>, state: &mut State) {
        let pool = Arc::clone(self);
        state.starting.retain(|task| !task.is_finished());
        state.starting.push(Task::spawn(async move {
            let outcome = pool.start().await;
            let mut state = lock(&pool.state);
            if let Err(failure) = outcome {
                state.failures += 1;
                state.last_failure = Some(failure);
                state.failed_at = Some(Instant::now());
            }
            drop(state);
            pool.changed.notify_waiters();
        }));
    }

    /// An instance for a request: a free one, else one more where `scale` allows it, else the next to become free.
    pub(crate) async fn acquire(self: &Arc<Self>, scale: Scale, second: Duration) -> Result<Permit, Refusal> {
        let failures = {
            let mut state = lock(&self.state);
            state.waiting += 1;
            state.failures
        };
        let _waiting = Waiting(self);
        let deadline = Instant::now() + second * PATIENCE;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let starting = {
                let mut state = lock(&self.state);
                if let Some(permit) = self.take(&mut state, scale) {
                    return Ok(permit);
                }
                state.starting.retain(|task| !task.is_finished());
                if state.failures > failures && state.starting.is_empty() {
                    let failure = state.last_failure.clone();
                    return Err(failure.map_or(Refusal::Busy, Refusal::Failed));
                }
                let coming = state.starting.len();
                if state.slots.len() + coming < scale.most && coming * scale.concurrency < state.waiting {
                    self.begin_start(&mut state);
                }
                !state.starting.is_empty()
            };
            if starting {
                // A start has a time limit of its own, the startup probe's.
                changed.await;
            } else if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(Refusal::Busy);
            }
        }
    }

    /// The instance with the fewest requests, when that has room for one more.
    fn take(self: &Arc<Self>, state: &mut State, scale: Scale) -> Option<Permit> {
        let free = state
            .slots
            .iter_mut()
            .filter(|slot| slot.instance.may_serve() && slot.requests < scale.concurrency);
        let slot = free.min_by_key(|slot| slot.requests)?;
        slot.requests += 1;
        Some(Permit { instance: Arc::clone(&slot.instance), pool: Arc::clone(self) })
    }

    /// Starts what is missing to the minimum and ends what has been idle for long.
    pub(crate) fn tend(self: &Arc<Self>, scale: Scale) {
        let mut state = lock(&self.state);
        state.starting.retain(|task| !task.is_finished());
        let missing = scale.least.saturating_sub(state.slots.len() + state.starting.len());
        // One that cannot start is tried again, but not all the time.
        let pause = self.machine.options.second * PATIENCE;
        if state.failed_at.is_none_or(|at| at.elapsed() >= pause) {
            for _ in 0..missing {
                self.begin_start(&mut state);
            }
        }
        let now = self.machine.now();
        let surplus = state.slots.len().saturating_sub(scale.least);
        let idle = |slot: &&Slot| slot.requests == 0 && now.duration_since(slot.idle_since).as_secs() >= IDLE;
        state.slots.iter().filter(idle).take(surplus).for_each(|slot| slot.instance.stop());
    }

    /// Ends what has no requests, and waits until it has ended.
    pub(crate) async fn end_idle(&self) {
        let idle: Vec<Arc<Instance>> = {
            let state = lock(&self.state);
            let idle = state.slots.iter().filter(|slot| slot.requests == 0);
            idle.map(|slot| Arc::clone(&slot.instance)).collect()
        };
        for instance in idle {
            instance.mark_gone();
            instance.ended().await;
        }
    }

    /// Ends every instance once its requests are served; nothing is started any more.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let starting = std::mem::take(&mut state.starting);
        state.slots.iter().filter(|slot| slot.requests == 0).for_each(|slot| slot.instance.stop());
        drop(state);
        drop(starting);
    }

    /// Ends every instance now.
    pub(crate) fn end(&self) {
        self.close();
        lock(&self.state).slots.iter().for_each(|slot| slot.instance.stop());
    }

    /// What runs, for the control endpoint.
    pub(crate) fn state(&self) -> Value {
        let state = lock(&self.state);
        let instances = state.slots.iter().map(|slot| {
            json!({ "id": slot.instance.id, "port": slot.instance.port.number, "requests": slot.requests,
                    "ready": slot.instance.may_serve() })
        });
        let starting = state.starting.iter().filter(|task| !task.is_finished()).count();
        json!({ "instances": instances.collect::<Vec<_>>(), "starting": starting, "waiting": state.waiting })
    }
}
