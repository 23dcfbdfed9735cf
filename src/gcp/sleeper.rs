//! Time as the transport sees it: waiting and a monotonic clock, injectable so that tests wait for nothing.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

/// Waits, and tells how much time has passed. Retries, rate budgets and operation polling all go through it.
pub trait Sleeper: Debug + Send + Sync {
    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Monotonic time since this sleeper was made.
    fn now(&self) -> Duration;
}

/// The sleeper of production: Tokio's timer and the system's monotonic clock.
#[derive(Debug)]
pub struct RealSleeper {
    start: Instant,
}

impl RealSleeper {
    /// A sleeper whose clock starts now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for RealSleeper {
    fn default() -> Self {
        Self::new()
    }
}

impl Sleeper for RealSleeper {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A sleeper that notes what it was asked for and returns at once.

    use std::sync::{Mutex, PoisonError};

    use super::{BoxFuture, Duration, Sleeper};

    /// Its clock advances by exactly what was slept.
    #[derive(Debug, Default)]
    pub(crate) struct RecordingSleeper {
        slept: Mutex<Vec<Duration>>,
    }

    impl RecordingSleeper {
        pub(crate) fn slept(&self) -> Vec<Duration> {
            self.slept.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    impl Sleeper for RecordingSleeper {
        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            self.slept.lock().unwrap_or_else(PoisonError::into_inner).push(duration);
            Box::pin(tokio::task::yield_now())
        }

        fn now(&self) -> Duration {
            self.slept().iter().sum()
        }
    }
}
