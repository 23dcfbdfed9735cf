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

/// The budgets of all APIs, shared by all requests of one client.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    budgets: Mutex<BTreeMap<(Api, Access), Budget>>,
}

impl Rates {
    /// Books a request at time `now` (monotonic) and answers how long to wait before it may start.
    pub(crate) fn reserve(&self, api: Api, access: Access, now: Duration) -> Duration {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = budgets.entry((api, access)).or_insert_with(|| Budget::new(api.quota(access)));
        budget.reserve(now).saturating_sub(now)
    }
}

/// The start times of the last `quota` requests.
#[derive(Debug)]
struct Budget {
    quota: usize,
    starts: VecDeque<Duration>,
}

impl Budget {
    fn new(quota: usize) -> Self {
        Self { quota, starts: VecDeque::new() }
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
}
