//! Client-side rate budgets: never more requests in any sixty seconds than the API's quota.
//!
//! A sliding log of start times, not a token bucket: a bucket as large as the quota lets twice the quota through
//! in its first minute. Small systems never wait, large ones are paced instead of being refused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::api::{Access, Api};

/// The window of Google's quotas.
const WINDOW: Duration = Duration::from_mins(1);

/// A queue is told of no more often than that.
const QUIET: Duration = Duration::from_secs(10);

/// The budgets of all APIs, shared by all requests of one client.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    budgets: Mutex<BTreeMap<(Api, Access), Budget>>,
}

impl Rates {
    /// Books a request at time `now` (monotonic) and answers how long to wait before it may start. A wait that is not
    /// zero ends with [`Rates::resume`].
    pub(crate) fn reserve(&self, api: Api, access: Access, now: Duration) -> Duration {
        self.with(api, access, |budget| {
            let wait = budget.reserve(now).saturating_sub(now);
            budget.waiting += usize::from(!wait.is_zero());
            wait
        })
    }

    /// A request has waited.
    pub(crate) fn resume(&self, api: Api, access: Access) {
        self.with(api, access, |budget| budget.waiting = budget.waiting.saturating_sub(1));
    }

    /// The queue of a budget at time `now`, if there is one and it was not told moments ago: hundreds of requests wait
    /// for the same.
    pub(crate) fn news(&self, api: Api, access: Access, now: Duration) -> Option<Queue> {
        self.with(api, access, |budget| {
            let last = budget.starts.back().copied().unwrap_or_default();
            let due = budget.told.is_none_or(|told| now >= told + QUIET);
            if budget.waiting == 0 || !due {
                return None;
            }
            budget.told = Some(now);
            Some(Queue { waiting: budget.waiting, longest: last.saturating_sub(now), quota: budget.quota })
        })
    }

    fn with<T>(&self, api: Api, access: Access, act: impl FnOnce(&mut Budget) -> T) -> T {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        act(budgets.entry((api, access)).or_insert_with(|| Budget::new(api.quota(access))))
    }
}

/// Requests that wait for a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) waiting: usize,
    /// Until the last one may start.
    pub(crate) longest: Duration,
    /// Requests a minute.
    pub(crate) quota: usize,
}

/// The start times of the last `quota` requests.
#[derive(Debug)]
struct Budget {
    quota: usize,
    starts: VecDeque<Duration>,
    /// Requests that have been booked and not started.
    waiting: usize,
    /// When somebody was told of them.
    told: Option<Duration>,
}

impl Budget {
    fn new(quota: usize) -> Self {
        Self { quota, starts: VecDeque::new(), waiting: 0, told: None }
    }

    /// The time at which a request asked for at `now` may start.
    fn reserve(&mut self, now: Duration) -> Duration {
        let start = if self.starts.len() < self.quota {
            now
        } else {
            self.starts.pop_front().map_or(now, |oldest| now.max(oldest + WINDOW))
        };
        self.starts.push_back(start);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_below_the_quota_never_wait() {
        let rates = Rates::default();
        for _ in 0..600 {
            assert_eq!(rates.reserve(Api::SecretManager, Access::Read, Duration::ZERO), Duration::ZERO);
        }
    }

    #[test]
    fn the_request_after_the_quota_waits_for_the_window_to_slide() {
        let mut budget = Budget::new(2);
        let at = Duration::from_secs;
        assert_eq!(budget.reserve(at(0)), at(0));
        assert_eq!(budget.reserve(at(10)), at(10));
        assert_eq!(budget.reserve(at(20)), at(60));
        assert_eq!(budget.reserve(at(20)), at(70));
        assert_eq!(budget.reserve(at(200)), at(200));
    }

    #[test]
    fn no_window_of_a_minute_holds_more_than_the_quota() {
        let mut budget = Budget::new(5);
        let starts: Vec<_> = (0..40).map(|n| budget.reserve(Duration::from_secs(n * 3))).collect();
        for (index, start) in starts.iter().enumerate().skip(5) {
            assert!(*start >= starts[index - 5] + WINDOW, "{starts:?}");
        }
    }

    #[test]
    fn reads_and_writes_have_budgets_of_their_own() {
        let rates = Rates::default();
        for _ in 0..180 {
            rates.reserve(Api::Run, Access::Write, Duration::ZERO);
        }
        assert_eq!(rates.reserve(Api::Run, Access::Write, Duration::ZERO), WINDOW);
        assert_eq!(rates.reserve(Api::Run, Access::Read, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_queue_is_told_once_in_ten_seconds_while_it_is_there() {
        let rates = Rates::default();
        let (at, news) = (Duration::from_secs, |rates: &Rates, now| rates.news(Api::Run, Access::Write, now));
        for _ in 0..180 {
            rates.reserve(Api::Run, Access::Write, at(0));
        }
        assert_eq!(news(&rates, at(0)), None);
        assert_eq!(rates.reserve(Api::Run, Access::Write, at(1)), at(59));
        let queue = |waiting, longest| Some(Queue { waiting, longest: at(longest), quota: 180 });
        assert_eq!(news(&rates, at(1)), queue(1, 59));
        rates.reserve(Api::Run, Access::Write, at(1));
        assert_eq!(news(&rates, at(10)), None);
        assert_eq!(news(&rates, at(11)), queue(2, 49));
        rates.resume(Api::Run, Access::Write);
        assert_eq!(news(&rates, at(60)), queue(1, 0));
        rates.resume(Api::Run, Access::Write);
        assert_eq!(news(&rates, at(80)), None);
    }
}
