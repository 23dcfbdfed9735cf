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

#[cfg(test)]
mod tests {
    use super::*;

    fn triple(member: &str) -> Triple {
        Triple { role: "roles/x".into(), member: member.into(), condition: None }
    }

    fn added(wishes: &[Arc<Wish>]) -> Vec<&str> {
        wishes.iter().flat_map(|wish| &wish.add).map(|triple| triple.member.as_str()).collect()
    }

    #[test]
    fn whoever_is_next_takes_all_that_waits_along_and_its_own_first() {
        let turns = Turns::default();
        let first = turns.queue(&[triple("user:a")], &[]);
        let second = turns.queue(&[triple("user:b")], &[]);
        assert_eq!(added(&turns.take_along(&second)), ["user:b", "user:a"]);
        assert!(!first.is_granted());
    }

    #[test]
    fn what_was_taken_along_waits_no_more() {
        let turns = Turns::default();
        let first = turns.queue(&[triple("user:a")], &[]);
        let second = turns.queue(&[triple("user:b")], &[]);
        for wish in turns.take_along(&first) {
            wish.grant();
        }
        assert!(first.is_granted() && second.is_granted());
        let third = turns.queue(&[triple("user:c")], &[]);
        assert_eq!(added(&turns.take_along(&third)), ["user:c"]);
    }

    #[test]
    fn an_edit_that_was_given_up_is_not_made() {
        let turns = Turns::default();
        drop(turns.queue(&[triple("user:gone")], &[]));
        let mine = turns.queue(&[triple("user:a")], &[]);
        assert_eq!(added(&turns.take_along(&mine)), ["user:a"]);
    }

    #[tokio::test]
    async fn a_waiter_that_was_given_up_eats_no_turn() {
        let turns = Turns::default();
        let running = turns.turn().await;
        {
            let mut given_up = std::pin::pin!(turns.turn());
            assert!(futures::poll!(&mut given_up).is_pending());
            let mut patient = std::pin::pin!(turns.turn());
            assert!(futures::poll!(&mut patient).is_pending());
            drop(running);
            // The turn has fallen to the one that waited longest, which is given up now.
            given_up.set(turns.turn());
            assert!(futures::poll!(&mut patient).is_ready());
        }
        assert!(turns.turn.try_lock().is_ok());
    }
}
