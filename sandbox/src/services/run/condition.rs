//! Conditions: how Cloud Run says what became of a service or a revision (`Condition` in the run.v2 document).

use crate::error::{Code, Status};
use serde_json::{Value, json};

pub(crate) const SUCCEEDED: &str = "CONDITION_SUCCEEDED";
pub(crate) const FAILED: &str = "CONDITION_FAILED";
/// The container did not start: a value of `Condition.revisionReason`, where all others here are of `reason`.
pub(crate) const HEALTH_CHECK: &str = "HEALTH_CHECK_CONTAINER_ERROR";
const RECONCILING: &str = "CONDITION_RECONCILING";

/// Why a revision cannot serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A value of `Condition.reason`, or [`HEALTH_CHECK`].
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }

    /// The failure that stands for an operation which a fault on demand made fail.
    pub(crate) fn injected(status: &Status) -> Self {
        Self::new("INTERNAL", status.message.clone())
    }

    /// What the operation of a service ends with. The codes are those that clients report having seen for
    /// these reasons; Google documents none.
    pub(crate) fn status(&self) -> Status {
        let code = match self.reason.as_str() {
            "CONTAINER_MISSING" => Code::NotFound,
            "SECRETS_ACCESS_CHECK_FAILED" | "CONTAINER_PERMISSION_DENIED" => Code::PermissionDenied,
            "REVISION_FAILED" | "UNKNOWN" | HEALTH_CHECK => Code::FailedPrecondition,
            _ => Code::Internal,
        };
        Status::new(code, self.message.clone())
    }
}

/// The sentence that services and operations put before a revision's own message.
pub(crate) fn not_ready(revision: &str, message: &str) -> String {
    format!("Revision '{revision}' is not ready and cannot serve traffic. {message}")
}

/// A condition that holds.
pub(crate) fn succeeded(kind: &str, now: &str) -> Value {
    json!({"type": kind, "state": SUCCEEDED, "lastTransitionTime": now})
}

/// A condition that is being worked on.
pub(crate) fn reconciling(kind: &str, now: &str) -> Value {
    json!({"type": kind, "state": RECONCILING, "lastTransitionTime": now,
           "message": "The resource is being brought into the requested state."})
}

/// A condition that nobody works on yet.
pub(crate) fn pending(kind: &str, now: &str) -> Value {
    json!({"type": kind, "state": "CONDITION_PENDING", "lastTransitionTime": now,
           "message": "The execution waits to be started."})
}

/// A condition of an execution that does not hold. `reason` is a value of `Condition.executionReason`.
pub(crate) fn execution_failed(kind: &str, reason: &str, message: &str, now: &str) -> Value {
    json!({"type": kind, "state": FAILED, "severity": "ERROR", "executionReason": reason,
           "message": message, "lastTransitionTime": now})
}

/// A condition that does not hold.
pub(crate) fn failed(kind: &str, reason: &str, message: &str, now: &str) -> Value {
    let field = if reason == HEALTH_CHECK { "revisionReason" } else { "reason" };
    json!({"type": kind, "state": FAILED, "severity": "ERROR", field: reason,
           "message": message, "lastTransitionTime": now})
}

/// Whether a revision takes requests. One that gets none is retired, and stays ready nevertheless.
pub(crate) fn active(serves: bool, now: &str) -> Value {
    if serves {
        succeeded("Active", now)
    } else {
        json!({"type": "Active", "state": FAILED, "severity": "INFO", "revisionReason": "RETIRED",
               "message": "The revision gets no traffic.", "lastTransitionTime": now})
    }
}

/// The condition of a list with this type.
pub(crate) fn of<'a>(conditions: &'a [Value], kind: &str) -> Option<&'a Value> {
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// The state of the `Ready` condition of a revision, empty while there is none.
pub(crate) fn ready_state(revision: &Value) -> &str {
    let conditions = revision.get("conditions").and_then(Value::as_array);
    conditions
        .and_then(|conditions| of(conditions, "Ready"))
        .and_then(|ready| ready["state"].as_str())
        .unwrap_or_default()
}

/// Whether the revision is ready.
pub(crate) fn is_ready(revision: &Value) -> bool {
    ready_state(revision) == SUCCEEDED
}

/// Whether it failed, which is for good.
pub(crate) fn has_failed(revision: &Value) -> bool {
    ready_state(revision) == FAILED
}

/// Why a failed revision failed, as its `Ready` condition says.
pub(crate) fn failure_of(revision: &Value) -> Option<Failure> {
    let conditions = revision.get("conditions").and_then(Value::as_array)?;
    let ready = of(conditions, "Ready").filter(|_| has_failed(revision))?;
    let text = |key: &str| ready[key].as_str().unwrap_or_default();
    let reason = [text("reason"), text("revisionReason")].into_iter().find(|reason| !reason.is_empty());
    Some(Failure::new(reason.unwrap_or_default(), text("message")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_revision_says_why() {
        let revision = json!({"conditions": [failed("Ready", "CONTAINER_MISSING", "Not there.", "now")]});
        assert!(has_failed(&revision) && !is_ready(&revision));
        let failure = failure_of(&revision).unwrap();
        assert_eq!((failure.reason.as_str(), failure.status().code), ("CONTAINER_MISSING", Code::NotFound));
    }

    #[test]
    fn a_retired_revision_is_ready() {
        let revision = json!({"conditions": [active(false, "now"), succeeded("Ready", "now")]});
        assert!(is_ready(&revision));
        assert_eq!(revision["conditions"][0]["revisionReason"], "RETIRED");
    }
}
