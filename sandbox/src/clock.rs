//! The one source of time: quotas, soft delete, expiry of tokens and every timestamp ask it.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Tells the time. A test gives its own, so that an hour can pass at once.
pub trait Clock: Debug + Send + Sync {
    /// The time now. It must not go back.
    fn now(&self) -> jiff::Timestamp;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// A clock that stands still until it is told to go on. Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<jiff::Timestamp>>);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: jiff::Timestamp) -> Self {
        Self(Arc::new(Mutex::new(start)))
    }

    /// Lets `time` pass; at the end of what a timestamp can hold it stands still.
    pub fn advance(&self, time: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.saturating_add(time).unwrap_or(jiff::Timestamp::MAX);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> jiff::Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_so_do_its_clones() {
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let other = clock.clone();
        assert_eq!(clock.now(), other.now());
        clock.advance(Duration::from_millis(1500));
        assert_eq!(other.now().as_millisecond(), 1500);
    }

    #[test]
    fn no_advance_takes_a_clock_beyond_what_it_can_show() {
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), jiff::Timestamp::MAX);
    }
}
