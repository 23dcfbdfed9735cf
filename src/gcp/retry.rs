//! When a failed attempt is sent again, as a pure function.
//!
//! After AIP-194, widened where a repetition is known to be harmless: a request without effect (no connection,
//! 429) is always repeated; one of unknown effect (5xx, time-out, broken connection) only if it is repeatable.

use std::time::Duration;

use super::failure::{Failure, Stage};

/// How long and how often one call is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Attempts in all, the first one included.
    pub(crate) attempts: u32,
    /// No attempt starts later than this after the first one.
    pub(crate) total: Duration,
    /// What one attempt may take.
    pub(crate) attempt: Duration,
    /// The pause after the first failure; it doubles with every further one.
    pub(crate) first_pause: Duration,
    /// The longest pause that we choose ourselves.
    pub(crate) longest_pause: Duration,
}

impl Limits {
    /// Against Google.
    pub(crate) const GOOGLE: Self = Self {
        attempts: 8,
        total: Duration::from_mins(1),
        attempt: Duration::from_secs(30),
        first_pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(16),
    };

    /// Against a loopback endpoint, where a pause protects nobody.
    pub(crate) const LOOPBACK: Self = Self {
        first_pause: Duration::from_millis(20),
        longest_pause: Duration::from_secs(1),
        ..Self::GOOGLE
    };
}

/// The verdict on a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    After(Duration),
    GiveUp,
}

/// Decides whether the call is tried again.
///
/// `attempt` counts from 1 and is the one that just failed, `elapsed` is the time since the first one started,
/// `random` is in `0.0..1.0` and spreads the clients of one project apart.
pub(crate) fn decide(
    limits: &Limits,
    failure: &Failure,
    repeatable: bool,
    attempt: u32,
    elapsed: Duration,
    random: f64,
) -> Retry {
    if attempt >= limits.attempts || !worth_repeating(failure, repeatable) {
        return Retry::GiveUp;
    }
    let doubled = limits.first_pause.saturating_mul(1 << (attempt - 1).min(16));
    let pause = doubled.min(limits.longest_pause).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
    let pause = failure.retry_after.map_or(pause, |asked| asked.max(pause));
    if elapsed + pause > limits.total { Retry::GiveUp } else { Retry::After(pause) }
}

/// Whether another attempt can end differently and does no harm.
fn worth_repeating(failure: &Failure, repeatable: bool) -> bool {
    match failure.stage {
        Stage::Connect => true,
        Stage::Login { transient } => transient,
        Stage::Timeout | Stage::Broken => repeatable,
        Stage::Answered => match failure.status {
            Some(429) => true,
            Some(408 | 500 | 502 | 503 | 504) => repeatable,
            _ => false,
        },
        Stage::Build | Stage::Unreadable => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Failure {
        Failure::from_status(status, None, String::new(), Vec::new())
    }

    fn first(failure: &Failure, repeatable: bool) -> Retry {
        decide(&Limits::GOOGLE, failure, repeatable, 1, Duration::ZERO, 1.0)
    }

    #[test]
    fn server_errors_are_repeated_only_where_that_is_harmless() {
        for status in [408, 500, 502, 503, 504] {
            assert_eq!(first(&answered(status), true), Retry::After(Duration::from_millis(500)), "{status}");
            assert_eq!(first(&answered(status), false), Retry::GiveUp, "{status}");
        }
    }

    #[test]
    fn broken_connections_and_timeouts_are_repeated_only_where_that_is_harmless() {
        for stage in [Stage::Timeout, Stage::Broken] {
            let failure = Failure::without_answer(stage, "", None);
            assert_ne!(first(&failure, true), Retry::GiveUp);
            assert_eq!(first(&failure, false), Retry::GiveUp);
        }
    }

    #[test]
    fn requests_without_effect_are_always_repeated() {
        assert_ne!(first(&Failure::without_answer(Stage::Connect, "", None), false), Retry::GiveUp);
        assert_ne!(first(&answered(429), false), Retry::GiveUp);
    }

    #[test]
    fn what_the_caller_did_wrong_is_not_repeated() {
        for status in [400, 401, 403, 404, 409, 412, 501] {
            assert_eq!(first(&answered(status), true), Retry::GiveUp, "{status}");
        }
        assert_eq!(first(&Failure::without_answer(Stage::Unreadable, "", None), true), Retry::GiveUp);
    }

    #[test]
    fn the_pause_doubles_up_to_its_limit_and_is_spread() {
        let pause =
            |attempt, random| decide(&Limits::GOOGLE, &answered(503), true, attempt, Duration::ZERO, random);
        assert_eq!(pause(2, 1.0), Retry::After(Duration::from_secs(1)));
        assert_eq!(pause(2, 0.0), Retry::After(Duration::from_millis(500)));
        assert_eq!(pause(7, 1.0), Retry::After(Duration::from_secs(16)));
    }

    #[test]
    fn the_servers_wish_to_wait_is_obeyed() {
        let failure = answered(429).with_retry_after(Some("7"));
        assert_eq!(first(&failure, false), Retry::After(Duration::from_secs(7)));
    }

    #[test]
    fn a_call_ends_after_its_attempts_or_its_time() {
        let at = |attempt, elapsed| {
            decide(&Limits::GOOGLE, &answered(503), true, attempt, Duration::from_secs(elapsed), 1.0)
        };
        assert_eq!(at(8, 1), Retry::GiveUp);
        assert_eq!(at(1, 60), Retry::GiveUp);
        let late = answered(429).with_retry_after(Some("61"));
        assert_eq!(first(&late, true), Retry::GiveUp);
    }
}
