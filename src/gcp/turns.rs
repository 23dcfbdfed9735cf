//! Edits of one policy from within this process take turns. Those that come while one is under way are then written
//! together: ten grants on one secret cost two or three reads and writes instead of ten.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

use super::policy::Triple;

/// The edits of one policy.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    waiting: Mutex<Vec<Arc<Wish>>>,
    turn: AsyncMutex<()>,
}

/// One edit.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) add: Vec<Triple>,
    pub(crate) remove: Vec<Triple>,
    granted: AtomicBool,
}

impl Wish {
    /// Somebody whose turn came earlier has written it.
    pub(crate) fn is_granted(&self) -> bool {
        self.granted.load(Ordering::Acquire)
    }

    pub(crate) fn grant(&self) {
        self.granted.store(true, Ordering::Release);
    }
}

impl Turns {
    /// Puts an edit where whoever is next takes it along.
    pub(crate) fn queue(&self, add: &[Triple], remove: &[Triple]) -> Arc<Wish> {
        let wish =
            Arc::new(Wish { add: add.to_vec(), remove: remove.to_vec(), granted: AtomicBool::new(false) });
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&wish));
        wish
    }

    /// Resolves when it is this edit's turn.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// What waits, `mine` first. An edit that nobody holds any more was given up, and is not made.
    pub(crate) fn take_along(&self, mine: &Arc<Wish>) -> Vec<Arc<Wish>> {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let others =
            waiting.into_iter().filter(|wish| !Arc::ptr_eq(wish, mine) && Arc::strong_count(wish) > 1);
        std::iter::once(Arc::clone(mine)).chain(others).collect()
    }
}
