//! The rollout of a revision as a pure state machine: what was seen, what to do next. `drive` does it.
//!
//! A candidate is judged by its own Revision, asked for its health, checked, given the traffic by name, looked at once
//! more, and asked where its callers find it. Whatever goes wrong before the traffic moved leaves it where it is; what goes wrong after that takes it back.

use serde_json::Value;

/// Looks at where the traffic went before it is taken back.
const LOOKS: u32 = 30;

/// Times that a check elsewhere may fail: what stands in front of a service takes a while to see where the traffic went.
pub const TRIES: u32 = 10;

/// What a candidate has to pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    pub health: Option<Asked>,
    /// How many smoke checks there are.
    pub checks: usize,
    /// How many checks there are of what callers reach elsewhere, once the traffic is there.
    pub elsewhere: usize,
}

/// How often its health is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Most requests, at least 1.
    pub attempts: u32,
    /// Good answers in a row that it takes, at least 1.
    pub successes: u32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look at the candidate's own conditions.
    Judge,
    /// Ask the candidate for its health: requests that are left, this one too, and good answers so far.
    Probe {
        left: u32,
        good: u32,
    },
    /// Make this smoke check.
    Check(usize),
    /// Send the traffic to it, by name.
    Shift,
    /// Look where the traffic goes.
    Verify {
        left: u32,
    },
    /// Ask the service for its health, where its callers do.
    Confirm {
        left: u32,
    },
    /// Make this check of what callers reach elsewhere: tries that are left, this one too.
    Elsewhere {
        index: usize,
        left: u32,
    },
    Done,
    /// It is not to serve; the traffic never moved.
    Refuse(String),
    /// It is not to serve, and the traffic has to go back.
    Return(String),
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing final yet.
    Pending,
    /// It is ready; it has the traffic.
    Ready,
    Failed(String),
    Gone,
    /// A good answer.
    Good,
    /// A bad answer, or none.
    Bad(String),
    /// Something answered that is not the candidate's own: nothing of it can be judged.
    StandIn,
    /// The traffic was sent to it.
    Shifted,
}

impl Step {
    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done | Self::Refuse(_) | Self::Return(_))
    }
}

/// The step that follows when `seen` is what came of `step`.
pub fn next(gates: Gates, step: &Step, seen: Seen) -> Step {
    match (step, seen) {
        (Step::Judge, Seen::Pending) => Step::Judge,
        (Step::Judge, Seen::Ready) => begin(gates),
        (Step::Judge, Seen::Failed(why)) | (Step::Check(_), Seen::Bad(why)) => Step::Refuse(why),
        (Step::Judge, Seen::Gone) => Step::Refuse("it does not exist any more".to_owned()),
        (Step::Probe { left, good }, Seen::Good) => probed(gates, *left, good.saturating_add(1), None),
        (Step::Probe { left, .. }, Seen::Bad(why)) => probed(gates, *left, 0, Some(why)),
        (Step::Check(index), Seen::Good) => check(gates, index.saturating_add(1)),
        (Step::Probe { .. } | Step::Check(_), Seen::StandIn) => Step::Shift,
        (Step::Shift, Seen::Shifted) => Step::Verify { left: LOOKS },
        (Step::Verify { .. }, Seen::Ready) => match gates.health {
            Some(asked) => Step::Confirm { left: asked.attempts },
            None => elsewhere(gates, 0),
        },
        (Step::Verify { left: 0 | 1 }, Seen::Pending) => {
            Step::Return("Cloud Run does not send all traffic to it".to_owned())
        }
        (Step::Verify { left }, Seen::Pending) => Step::Verify { left: left - 1 },
        (Step::Confirm { .. }, Seen::Good | Seen::StandIn) => elsewhere(gates, 0),
        (Step::Elsewhere { index, .. }, Seen::Good) => elsewhere(gates, index.saturating_add(1)),
        (Step::Elsewhere { .. }, Seen::StandIn) => Step::Done,
        (Step::Confirm { left: 0 | 1 } | Step::Elsewhere { left: 0 | 1, .. }, Seen::Bad(why)) => {
            Step::Return(why)
        }
        (Step::Elsewhere { index, left }, Seen::Bad(_)) => Step::Elsewhere { index: *index, left: left - 1 },
        (Step::Confirm { left }, Seen::Bad(_)) => Step::Confirm { left: left - 1 },
        (Step::Shift | Step::Verify { .. } | Step::Confirm { .. } | Step::Elsewhere { .. }, seen) => {
            Step::Return(unexpected(&seen))
        }
        (Step::Done | Step::Refuse(_) | Step::Return(_), _) => step.clone(),
        (_, seen) => Step::Refuse(unexpected(&seen)),
    }
}

/// What is asked first of a revision that is ready.
pub fn begin(gates: Gates) -> Step {
    match gates.health {
        Some(asked) => Step::Probe { left: asked.attempts, good: 0 },
        None => check(gates, 0),
    }
}

fn elsewhere(gates: Gates, index: usize) -> Step {
    if index < gates.elsewhere { Step::Elsewhere { index, left: TRIES } } else { Step::Done }
}

fn unexpected(seen: &Seen) -> String {
    format!("this was not expected: {seen:?}")
}

/// After an answer about its health: `left` counts it too, `bad` is why it was not good.
fn probed(gates: Gates, left: u32, good: u32, bad: Option<String>) -> Step {
    let Some(asked) = gates.health else { return check(gates, 0) };
    if good >= asked.successes {
        return check(gates, 0);
    }
    let left = left.saturating_sub(1);
    // Requests that could not make it healthy any more are not sent.
    if left < asked.successes - good {
        let why = bad.unwrap_or_else(|| format!("only {good} good answers in a row"));
        return Step::Refuse(why);
    }
    Step::Probe { left, good }
}

fn check(gates: Gates, index: usize) -> Step {
    if index < gates.checks { Step::Check(index) } else { Step::Shift }
}

/// What a Revision says about itself. The service's `latestReadyRevision` is not asked: it is about the
/// service, and it lags.
pub fn seen(revision: Option<&Value>) -> Seen {
    let Some(revision) = revision else { return Seen::Gone };
    let conditions = revision["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(ready) = conditions.iter().find(|condition| condition["type"] == "Ready") else {
        return Seen::Pending;
    };
    match ready["state"].as_str() {
        Some("CONDITION_SUCCEEDED") => Seen::Ready,
        // A revision without traffic may be retired: it started well, and starts again with traffic.
        Some("CONDITION_FAILED") if ready["revisionReason"] == "RETIRED" => Seen::Ready,
        Some("CONDITION_FAILED") => {
            let reason = ["revisionReason", "reason"].iter().find_map(|key| ready[key].as_str());
            let message = ready["message"].as_str().unwrap_or_default();
            Seen::Failed(format!("it did not become ready ({}): {message}", reason.unwrap_or("UNKNOWN")))
        }
        _ => Seen::Pending,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NONE: Gates = Gates { health: None, checks: 0, elsewhere: 0 };

    fn with_ready(ready: &Value) -> Seen {
        seen(Some(&json!({"conditions": [{"type": "Active", "state": "CONDITION_FAILED"}, ready]})))
    }

    fn judged(seen: Seen) -> Step {
        next(NONE, &Step::Judge, seen)
    }

    #[test]
    fn only_its_own_ready_condition_makes_a_revision_serve() {
        assert_eq!(
            judged(with_ready(&json!({"type": "Ready", "state": "CONDITION_SUCCEEDED"}))),
            Step::Shift
        );
        assert_eq!(
            judged(with_ready(&json!({"type": "Ready", "state": "CONDITION_RECONCILING"}))),
            Step::Judge
        );
        let failed = json!({"type": "Ready", "state": "CONDITION_FAILED", "reason": "CONTAINER_MISSING", "message": "m"});
        let Step::Refuse(why) = judged(with_ready(&failed)) else { panic!("it is taken into service") };
        assert_eq!(why, "it did not become ready (CONTAINER_MISSING): m");
        assert_eq!(judged(seen(Some(&json!({})))), Step::Judge);
    }

    #[test]
    fn a_retired_revision_is_fit_to_serve() {
        let retired = json!({"type": "Ready", "state": "CONDITION_FAILED", "revisionReason": "RETIRED"});
        assert_eq!(with_ready(&retired), Seen::Ready);
    }

    #[test]
    fn a_revision_that_is_gone_is_refused() {
        assert!(matches!(judged(seen(None)), Step::Refuse(_)));
    }

    #[test]
    fn good_answers_have_to_come_in_a_row() {
        let gates = Gates { health: Some(Asked { attempts: 4, successes: 2 }), ..NONE };
        let after = |answers: &[bool]| {
            answers.iter().fold(next(gates, &Step::Judge, Seen::Ready), |step, good| {
                next(gates, &step, if *good { Seen::Good } else { Seen::Bad("500".to_owned()) })
            })
        };
        assert_eq!(after(&[true, true]), Step::Shift);
        assert_eq!(after(&[true, false, true]), Step::Probe { left: 1, good: 1 });
        assert_eq!(after(&[true, false, true, true]), Step::Shift);
        assert_eq!(after(&[true, false, true, false]), Step::Refuse("500".to_owned()));
        assert_eq!(after(&[false, false, false]), Step::Refuse("500".to_owned()));
    }

    #[test]
    fn what_goes_wrong_after_the_shift_takes_the_traffic_back() {
        let gates = Gates { health: Some(Asked { attempts: 2, successes: 1 }), checks: 1, elsewhere: 1 };
        let verify = next(gates, &Step::Shift, Seen::Shifted);
        assert_eq!(verify, Step::Verify { left: LOOKS });
        assert!(matches!(next(gates, &Step::Verify { left: 1 }, Seen::Pending), Step::Return(_)));
        let confirm = next(gates, &verify, Seen::Ready);
        let again = next(gates, &confirm, Seen::Bad("503".to_owned()));
        assert_eq!(again, Step::Confirm { left: 1 });
        assert_eq!(next(gates, &again, Seen::Bad("503".to_owned())), Step::Return("503".to_owned()));
        let first = next(gates, &again, Seen::Good);
        assert_eq!(first, Step::Elsewhere { index: 0, left: TRIES });
        assert_eq!(next(gates, &first, Seen::Good), Step::Done);
        let last = (1..TRIES).fold(first, |step, _| next(gates, &step, Seen::Bad("502".to_owned())));
        assert_eq!(last, Step::Elsewhere { index: 0, left: 1 });
        assert_eq!(next(gates, &last, Seen::Bad("502".to_owned())), Step::Return("502".to_owned()));
    }

    fn anything() -> impl Strategy<Value = Seen> {
        prop_oneof![
            3 => Just(Seen::Ready),
            8 => Just(Seen::Good),
            2 => Just(Seen::Shifted),
            1 => Just(Seen::Bad("bad".to_owned())),
            1 => Just(Seen::Failed("failed".to_owned())),
            1 => Just(Seen::Gone),
            1 => Just(Seen::StandIn),
        ]
    }

    fn gates() -> impl Strategy<Value = Gates> {
        let health = (1_u32..8, 1_u32..4).prop_map(|(attempts, successes)| Asked { attempts, successes });
        (prop::option::of(health), 0_usize..4, 0_usize..3).prop_map(|(health, checks, elsewhere)| Gates {
            health,
            checks,
            elsewhere,
        })
    }

    /// What a driver may honestly see of each step.
    fn fits(step: &Step, seen: &Seen) -> bool {
        match step {
            Step::Judge => matches!(seen, Seen::Ready | Seen::Failed(_) | Seen::Gone),
            Step::Probe { .. } | Step::Check(_) | Step::Confirm { .. } | Step::Elsewhere { .. } => {
                matches!(seen, Seen::Good | Seen::Bad(_) | Seen::StandIn)
            }
            Step::Shift => *seen == Seen::Shifted,
            Step::Verify { .. } => matches!(seen, Seen::Ready | Seen::Pending),
            Step::Done | Step::Refuse(_) | Step::Return(_) => true,
        }
    }

    proptest! {
        /// Only Cloud Run's own work may take long, and the driver's patience with that has an end.
        #[test]
        fn it_always_ends(gates in gates(), seens in prop::collection::vec(anything(), 80)) {
            let last = seens.into_iter().fold(Step::Judge, |step, seen| next(gates, &step, seen));
            prop_assert!(last.is_last(), "{last:?}");
        }

        #[test]
        fn it_never_promotes_after_a_bad_answer(gates in gates(), seens in prop::collection::vec(anything(), 200)) {
            let (mut step, mut good, mut checked) = (Step::Judge, 0, 0);
            let mut stand_in = false;
            for seen in seens {
                if step == Step::Shift || step.is_last() {
                    break;
                }
                if !fits(&step, &seen) {
                    continue;
                }
                match (&step, &seen) {
                    (Step::Probe { .. }, Seen::Good) => good += 1,
                    (Step::Probe { .. }, Seen::Bad(_)) => good = 0,
                    (Step::Check(index), Seen::Good) => checked = index + 1,
                    (Step::Check(_), Seen::Bad(_)) => {
                        prop_assert!(matches!(next(gates, &step, seen.clone()), Step::Refuse(_)));
                    }
                    (_, Seen::StandIn) => stand_in = true,
                    _ => {}
                }
                step = next(gates, &step, seen);
            }
            if step == Step::Shift && !stand_in {
                prop_assert_eq!(checked, gates.checks);
                prop_assert!(gates.health.is_none_or(|asked| good >= asked.successes));
            }
        }
    }
}
