//! Reads from a Cloud Run service whether it is ready, and why not.

use serde_json::Value;

use super::error::{ErrorKind, GcpError};

/// What a service says about its newest generation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It serves as asked.
    Ready,
    /// It does not, and this condition says why.
    Failed(Value),
    /// It says nothing final.
    Unknown,
}

/// Whether Cloud Run is still working on the service.
pub(crate) fn is_reconciling(service: &Value) -> bool {
    service.get("reconciling").and_then(Value::as_bool).unwrap_or(false)
}

/// Judges by `terminalCondition`, once Cloud Run is done. After a failure `observedGeneration` stays with what
/// serves (field `reconciling` in the discovery document), so that it only qualifies a success.
pub(crate) fn verdict(service: &Value) -> Verdict {
    let Some(condition) = service.get("terminalCondition") else { return Verdict::Unknown };
    if is_reconciling(service) {
        return Verdict::Unknown;
    }
    match text(condition, "state") {
        "CONDITION_SUCCEEDED" if is_observed(service) => Verdict::Ready,
        "CONDITION_FAILED" => Verdict::Failed(condition.clone()),
        _ => Verdict::Unknown,
    }
}

fn is_observed(service: &Value) -> bool {
    service.get("generation") == service.get("observedGeneration")
}

/// The resource name of the newest revision.
pub(crate) fn candidate(service: &Value) -> Option<String> {
    let revision = text(service, "latestCreatedRevision");
    match revision {
        "" => None,
        full if full.contains('/') => Some(full.to_owned()),
        short => Some(format!("{}/revisions/{short}", text(service, "name"))),
    }
}

/// The error for a service whose newest revision did not become ready.
pub(crate) fn failed(doing: &str, condition: &Value, revision: Option<&Value>) -> GcpError {
    let own = revision.and_then(failed_condition);
    let cause = own.unwrap_or(condition);
    let reason = reason_of(cause).or_else(|| reason_of(condition)).unwrap_or("UNKNOWN").to_owned();
    let said = [text(cause, "message"), text(condition, "message")].into_iter().find(|text| !text.is_empty());
    let said = said.unwrap_or("Cloud Run gave no explanation");
    let name = revision.map(|revision| text(revision, "name").rsplit('/').next().unwrap_or_default());
    let message = match name {
        Some(name) => format!("revision {name} did not become ready ({reason}): {said}"),
        None => format!("it did not become ready ({reason}): {said}"),
    };
    let error = GcpError::new(doing, ErrorKind::RevisionFailed { reason }, message);
    match revision.map(|revision| text(revision, "logUri")) {
        Some(logs) if !logs.is_empty() => error.with_hint(format!("its logs: {logs}")),
        _ => error,
    }
}

/// The failed condition of a revision, `Ready` before all others.
fn failed_condition(revision: &Value) -> Option<&Value> {
    let conditions = revision.get("conditions")?.as_array()?;
    let failed = || conditions.iter().filter(|condition| text(condition, "state") == "CONDITION_FAILED");
    failed().find(|condition| text(condition, "type") == "Ready").or_else(|| failed().next())
}

/// The reason stands in one of three fields, by who found it.
fn reason_of(condition: &Value) -> Option<&str> {
    ["revisionReason", "reason", "executionReason"]
        .iter()
        .map(|field| text(condition, field))
        .find(|reason| !reason.is_empty() && !reason.ends_with("_UNSPECIFIED") && *reason != "UNDEFINED")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(state: &str, generation: &str, observed: &str) -> Value {
        json!({"name": "projects/p/locations/l/services/api", "generation": generation,
            "observedGeneration": observed, "terminalCondition": {"type": "Ready", "state": state}})
    }

    #[test]
    fn a_success_counts_for_its_generation_only_and_a_failure_always() {
        assert_eq!(verdict(&service("CONDITION_SUCCEEDED", "2", "2")), Verdict::Ready);
        assert_eq!(verdict(&service("CONDITION_SUCCEEDED", "2", "1")), Verdict::Unknown);
        assert!(matches!(verdict(&service("CONDITION_FAILED", "2", "1")), Verdict::Failed(_)));
        let mut working = service("CONDITION_FAILED", "2", "1");
        working["reconciling"] = json!(true);
        assert_eq!(verdict(&working), Verdict::Unknown);
        assert_eq!(verdict(&json!({})), Verdict::Unknown);
    }

    #[test]
    fn the_newest_revision_is_named_in_full() {
        let mut service = service("CONDITION_FAILED", "1", "1");
        assert_eq!(candidate(&service), None);
        service["latestCreatedRevision"] = json!("api-1");
        let full = "projects/p/locations/l/services/api/revisions/api-1";
        assert_eq!(candidate(&service).as_deref(), Some(full));
        service["latestCreatedRevision"] = json!(full);
        assert_eq!(candidate(&service).as_deref(), Some(full));
    }

    #[test]
    fn the_revisions_own_reason_is_told_with_its_logs() {
        let condition = json!({"type": "Ready", "state": "CONDITION_FAILED", "message": "Revision is not ready",
            "reason": "COMMON_REASON_UNDEFINED"});
        let revision = json!({"name": "x/revisions/api-1", "logUri": "https://logs.example.com", "conditions": [
            {"type": "ResourcesAvailable", "state": "CONDITION_FAILED", "message": "no"},
            {"type": "Ready", "state": "CONDITION_FAILED", "message": "the container did not listen",
             "revisionReason": "HEALTH_CHECK_CONTAINER_ERROR"}]});
        let error = failed("change service api", &condition, Some(&revision));
        assert_eq!(error.kind, ErrorKind::RevisionFailed { reason: "HEALTH_CHECK_CONTAINER_ERROR".into() });
        assert_eq!(
            error.to_string(),
            "cannot change service api: revision api-1 did not become ready (HEALTH_CHECK_CONTAINER_ERROR): \
             the container did not listen"
        );
        assert_eq!(error.hints, ["its logs: https://logs.example.com"]);
    }

    #[test]
    fn without_the_revision_the_services_condition_is_told() {
        let condition =
            json!({"state": "CONDITION_FAILED", "message": "m", "reason": "SECRETS_ACCESS_CHECK_FAILED"});
        let error = failed("change service api", &condition, None);
        assert_eq!(error.kind, ErrorKind::RevisionFailed { reason: "SECRETS_ACCESS_CHECK_FAILED".into() });
    }
}
