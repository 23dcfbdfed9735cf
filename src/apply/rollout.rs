//! The rollout of a revision as a pure state machine: what was seen, what to do next. `drive` does it.
//!
//! A revision that Cloud Run reports as ready gets the traffic. The release gate (health, smoke, steps)
//! adds states between [`Step::Judge`] and [`Step::Shift`].

use serde_json::Value;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look at the candidate's own conditions.
    Judge,
    /// Send the traffic to it, by name.
    Shift,
    Done,
    /// It cannot serve; traffic stays where it is.
    Refuse(String),
}

/// What was seen of the candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Pending,
    Ready,
    Failed(String),
    Gone,
    Shifted,
}

/// The step that follows from `seen`.
pub fn next(seen: Seen) -> Step {
    match seen {
        Seen::Pending => Step::Judge,
        Seen::Ready => Step::Shift,
        Seen::Shifted => Step::Done,
        Seen::Failed(why) => Step::Refuse(why),
        Seen::Gone => Step::Refuse("it does not exist any more".to_owned()),
    }
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
            Seen::Failed(format!("{}: {message}", reason.unwrap_or("it failed")))
        }
        _ => Seen::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with_ready(ready: &Value) -> Seen {
        seen(Some(&json!({"conditions": [{"type": "Active", "state": "CONDITION_FAILED"}, ready]})))
    }

    #[test]
    fn only_its_own_ready_condition_makes_a_revision_serve() {
        assert_eq!(next(with_ready(&json!({"type": "Ready", "state": "CONDITION_SUCCEEDED"}))), Step::Shift);
        assert_eq!(
            next(with_ready(&json!({"type": "Ready", "state": "CONDITION_RECONCILING"}))),
            Step::Judge
        );
        let failed = json!({"type": "Ready", "state": "CONDITION_FAILED", "reason": "CONTAINER_MISSING", "message": "m"});
        assert_eq!(next(with_ready(&failed)), Step::Refuse("CONTAINER_MISSING: m".into()));
        assert_eq!(next(seen(Some(&json!({})))), Step::Judge);
    }

    #[test]
    fn a_retired_revision_is_fit_to_serve() {
        let retired = json!({"type": "Ready", "state": "CONDITION_FAILED", "revisionReason": "RETIRED"});
        assert_eq!(with_ready(&retired), Seen::Ready);
    }

    #[test]
    fn a_revision_that_is_gone_is_refused() {
        assert!(matches!(next(seen(None)), Step::Refuse(_)));
    }
}
