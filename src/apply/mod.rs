//! Carries out a plan: the only writer. It never reads the configuration and decides nothing but when.

mod drive;
pub mod execution;
mod executor;
pub mod rollback;
pub mod rollout;
pub mod server_check;
mod smoke;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

pub use executor::apply;

use crate::gcp::GcpError;
use crate::plan::{Change, Note};
use crate::resource::Address;

/// What apply tells while it runs; views implement it.
pub trait Observer: Send + Sync {
    fn on(&self, event: Event<'_>);
}

#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    Started(&'a Change),
    /// What a change is waiting for, in words.
    Waiting(&'a Change, &'a str),
    Finished(&'a Change, &'a Outcome, Duration),
}

/// How one change ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Applied,
    Failed(Failure),
    /// The release of a service did not pass, and what served before it serves.
    RolledBack(Failure),
    Skipped(Skipped),
    /// Apply was told to stop at once while this was running: it may be half done.
    Unknown,
}

/// An error in words, with what to do about it.
#[derive(Clone, Debug)]
pub struct Failure {
    pub message: String,
    pub hints: Vec<String>,
    /// The last lines of the log of what failed, where it has one.
    pub log: Vec<String>,
}

impl From<GcpError> for Failure {
    fn from(error: GcpError) -> Self {
        Self { message: error.to_string(), hints: error.hints, log: Vec::new() }
    }
}

/// Why a change was not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// Something that it needs was not applied.
    Needs(Address),
    /// It waits for a person, and this is what the person has to do.
    Blocked(String),
    /// An earlier change failed.
    Stopped,
    /// The user pressed Ctrl-C.
    Interrupted,
}

/// What became of every change of the plan, in its order.
#[derive(Clone, Debug, Default)]
#[must_use = "a report that nobody reads hides failures"]
pub struct Report {
    pub outcomes: Vec<(Address, Outcome)>,
    pub interrupted: bool,
    /// What is worth knowing of what was applied.
    pub notes: Vec<Note>,
    /// The revisions that serve since this run, by their services.
    pub revisions: BTreeMap<Address, String>,
}

impl Report {
    pub fn applied(&self) -> usize {
        self.outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Applied)).count()
    }

    /// A release was taken back, and nothing else went wrong.
    pub fn only_rolled_back(&self) -> bool {
        let has = |wanted: fn(&Outcome) -> bool| self.outcomes.iter().any(|(_, outcome)| wanted(outcome));
        has(|outcome| matches!(outcome, Outcome::RolledBack(_)))
            && !has(|outcome| matches!(outcome, Outcome::Failed(_) | Outcome::Unknown))
    }

    pub fn all_applied(&self) -> bool {
        self.applied() == self.outcomes.len()
    }
}

/// The user's wish to stop: once to finish what is in flight, twice to stop at once.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<u8>);

/// The other end of an [`Interrupt`].
#[derive(Debug)]
pub struct Stop(watch::Sender<u8>);

impl Interrupt {
    pub fn new() -> (Stop, Self) {
        let (sender, receiver) = watch::channel(0);
        (Stop(sender), Self(receiver))
    }

    fn requested(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Resolves when the user insists; never, when nobody can.
    async fn insisted(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|count| *count > 1).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Stop {
    /// One press of Ctrl-C.
    pub fn press(&self) {
        self.0.send_modify(|count| *count = count.saturating_add(1));
    }
}
