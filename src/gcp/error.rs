//! The one error of this layer: what was being done, what Google said, and what the user can do about it.

use std::error::Error as StdError;
use std::fmt;

use super::api::Method;
use super::failure::{BoxError, Failure, Stage};
use super::hints;

/// Why a call to Google failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The object does not exist, or the caller may not know that it does.
    NotFound,
    /// An object of that name exists already.
    AlreadyExists,
    /// The object changed since it was read: a stale etag, or `ABORTED`.
    Conflict,
    /// The caller lacks a permission.
    PermissionDenied,
    /// The API is not enabled in the project, or was enabled moments ago.
    ServiceDisabled {
        /// The name of the API, for instance `run.googleapis.com`.
        api: String,
    },
    /// Google refused the credentials, or no token could be had with them.
    Unauthenticated,
    /// There are no credentials on this machine.
    NoCredentials,
    /// A quota is used up.
    Quota,
    /// Google cannot answer at the moment.
    Unavailable,
    /// No answer, or no end of an operation, in time.
    Timeout,
    /// The server cannot be reached, or the connection broke.
    Network,
    /// A value that was sent is refused.
    InvalidArgument,
    /// The system is in a state that does not allow the call.
    FailedPrecondition,
    /// A long-running operation ended with an error.
    OperationFailed {
        /// The number of the `google.rpc` code.
        code: i32,
    },
    /// A revision of a Cloud Run service did not become ready.
    RevisionFailed {
        /// Cloud Run's reason, for instance `HEALTH_CHECK_CONTAINER_ERROR`.
        reason: String,
    },
    /// An execution of a job did not succeed, or was never to be started again.
    ExecutionFailed,
    /// What Google answered cannot be parsed.
    Unreadable,
    /// Anything else.
    Other,
}

/// An error of a call to Google. Its `Display` says what was being done and what came of it, in one line.
#[derive(Debug)]
#[non_exhaustive]
pub struct GcpError {
    /// What was being done, as an infinitive: `create service agent-army-api-dev`.
    pub call: String,
    /// The class of the error.
    pub kind: ErrorKind,
    /// HTTP status of the last answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong, in Google's words where it said so.
    pub message: String,
    /// What the user can do, one step each.
    pub hints: Vec<String>,
    /// Whether the call may have taken effect all the same.
    pub(crate) ambiguous: bool,
    // Boxed twice: every `Result` of this layer carries room for this type.
    source: Option<Box<BoxError>>,
}

impl GcpError {
    /// An error of our own making.
    pub fn new(call: impl Into<String>, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            call: call.into(),
            kind,
            status: None,
            message: message.into(),
            hints: Vec::new(),
            ambiguous: false,
            source: None,
        }
    }

    /// What was planned on is not there any more, or not as it was.
    pub fn moved(name: &str) -> Self {
        let short = name.rsplit('/').next().unwrap_or(name);
        Self::new(format!("change {short}"), ErrorKind::Conflict, "it changed after the plan was made")
            .with_hint("look at the difference with `deployer plan` and apply again")
    }

    /// An object, or a part of a plan, that this version cannot make sense of.
    pub fn unreadable(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(format!("read {}", what.into()), ErrorKind::Unreadable, why)
    }

    /// A failure on this machine, before any request.
    pub fn local(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(doing, ErrorKind::Other, why)
    }

    /// A revision that cannot serve. `why` starts with Cloud Run's reason: `REASON: message`.
    pub fn revision_failed(name: &str, why: &str) -> Self {
        let short = name.rsplit('/').next().unwrap_or(name);
        let reason = why.split_once(": ").map_or("UNKNOWN", |(reason, _)| reason).to_owned();
        Self::new(format!("take revision {short} into service"), ErrorKind::RevisionFailed { reason }, why)
    }

    /// The same call may succeed in a while: nothing is wrong with it.
    pub fn is_passing(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unavailable | ErrorKind::Quota | ErrorKind::Timeout | ErrorKind::Network
        )
    }

    /// Whether the call may have taken effect although it failed.
    pub fn may_have_happened(&self) -> bool {
        self.ambiguous
    }

    /// Whether the caller lacks a right.
    pub fn is_refusal(&self) -> bool {
        self.kind == ErrorKind::PermissionDenied
    }

    /// Adds a step that the user can take.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the underlying error.
    #[must_use]
    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(Box::new(source.into()));
        self
    }

    /// Replaces the message, for what must not be repeated literally.
    #[must_use]
    pub(crate) fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The judged form of an attempt's failure. `resource` is the name or path that the call was about.
    pub(crate) fn judge(
        call: &str,
        resource: &str,
        method: &Method,
        failure: Failure,
        ambiguous: bool,
    ) -> Self {
        let kind = classify(&failure, method.api.host());
        let hints = hints::of(&kind, &failure, resource, method);
        Self {
            call: call.to_owned(),
            kind,
            status: failure.status,
            message: failure.message,
            hints,
            ambiguous,
            source: failure.source.map(Box::new),
        }
    }
}

impl fmt::Display for GcpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot {}: {}", self.call, self.message)
    }
}

impl StdError for GcpError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &***source as &(dyn StdError + 'static))
    }
}

/// The class of a failure, from its canonical code first and its HTTP status second.
fn classify(failure: &Failure, host: &str) -> ErrorKind {
    match failure.stage {
        Stage::Login { .. } => return ErrorKind::Unauthenticated,
        Stage::Build => return ErrorKind::InvalidArgument,
        Stage::Connect | Stage::Broken => return ErrorKind::Network,
        Stage::Timeout => return ErrorKind::Timeout,
        Stage::Unreadable => return ErrorKind::Unreadable,
        Stage::Answered => {}
    }
    if let Some(api) = disabled_api(failure, host) {
        return ErrorKind::ServiceDisabled { api };
    }
    match failure.code.as_deref() {
        Some("NOT_FOUND") => ErrorKind::NotFound,
        Some("ALREADY_EXISTS") => ErrorKind::AlreadyExists,
        Some("ABORTED") => ErrorKind::Conflict,
        Some("PERMISSION_DENIED") => ErrorKind::PermissionDenied,
        Some("UNAUTHENTICATED") => ErrorKind::Unauthenticated,
        Some("RESOURCE_EXHAUSTED") => ErrorKind::Quota,
        Some("UNAVAILABLE") => ErrorKind::Unavailable,
        Some("DEADLINE_EXCEEDED") => ErrorKind::Timeout,
        Some("INVALID_ARGUMENT" | "OUT_OF_RANGE") => ErrorKind::InvalidArgument,
        Some("FAILED_PRECONDITION") if speaks_of_etag(&failure.message) => ErrorKind::Conflict,
        Some("FAILED_PRECONDITION") => ErrorKind::FailedPrecondition,
        _ => classify_status(failure.status),
    }
}

/// The class of an answer without a known canonical code.
fn classify_status(status: Option<u16>) -> ErrorKind {
    match status {
        Some(400) => ErrorKind::InvalidArgument,
        Some(401) => ErrorKind::Unauthenticated,
        Some(403) => ErrorKind::PermissionDenied,
        Some(404) => ErrorKind::NotFound,
        Some(409 | 412) => ErrorKind::Conflict,
        Some(429) => ErrorKind::Quota,
        Some(408 | 504) => ErrorKind::Timeout,
        Some(500..) => ErrorKind::Unavailable,
        _ => ErrorKind::Other,
    }
}

/// The API that an answer says is disabled.
fn disabled_api(failure: &Failure, host: &str) -> Option<String> {
    let info = failure.error_info()?;
    if info.get("reason")?.as_str()? != "SERVICE_DISABLED" {
        return None;
    }
    let named = info.pointer("/metadata/service").and_then(serde_json::Value::as_str);
    Some(named.unwrap_or(host).to_owned())
}

/// Secret Manager reports a stale etag as a failed precondition.
fn speaks_of_etag(message: &str) -> bool {
    message.to_ascii_lowercase().contains("etag")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::gcp::api::Api;

    const LIST: Method = Method::read(Api::Run, "GET", "run.projects.locations.services.list");
    const PATCH: Method = Method::write(Api::SecretManager, "PATCH", "secretmanager.projects.secrets.patch");

    fn judged(status: u16, code: &str, message: &str) -> GcpError {
        let failure = Failure::from_status(status, Some(code.to_owned()), message.to_owned(), Vec::new());
        GcpError::judge("patch secret x", "projects/p/secrets/x", &PATCH, failure, false)
    }

    #[test]
    fn canonical_codes_decide_the_kind() {
        assert_eq!(judged(404, "NOT_FOUND", "").kind, ErrorKind::NotFound);
        assert_eq!(judged(409, "ALREADY_EXISTS", "").kind, ErrorKind::AlreadyExists);
        assert_eq!(judged(409, "ABORTED", "").kind, ErrorKind::Conflict);
        assert_eq!(judged(429, "RESOURCE_EXHAUSTED", "").kind, ErrorKind::Quota);
    }

    #[test]
    fn a_failed_precondition_about_an_etag_is_a_conflict() {
        let stale = judged(400, "FAILED_PRECONDITION", "The etag provided does not match");
        assert_eq!(stale.kind, ErrorKind::Conflict);
        let other = judged(400, "FAILED_PRECONDITION", "The secret version is destroyed");
        assert_eq!(other.kind, ErrorKind::FailedPrecondition);
    }

    #[test]
    fn a_disabled_api_is_not_a_missing_permission() {
        let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED",
            "metadata": {"service": "run.googleapis.com", "consumer": "projects/42"}});
        let failure =
            Failure::from_status(403, Some("PERMISSION_DENIED".into()), "disabled".into(), vec![info]);
        let error = GcpError::judge("list services", "projects/p/locations/l", &LIST, failure, false);
        assert_eq!(error.kind, ErrorKind::ServiceDisabled { api: "run.googleapis.com".into() });
        assert!(error.hints[0].contains("gcloud services enable run.googleapis.com --project=p"));
    }

    #[test]
    fn answers_without_a_code_are_judged_by_status() {
        let failure = Failure::answered(502, None, b"<html>");
        assert_eq!(GcpError::judge("x", "", &LIST, failure, true).kind, ErrorKind::Unavailable);
    }

    #[test]
    fn display_says_the_call_and_does_not_repeat_the_source() {
        let error = GcpError::new("read project p", ErrorKind::Network, "no connection")
            .with_source(std::io::Error::other("refused"));
        assert_eq!(error.to_string(), "cannot read project p: no connection");
        assert_eq!(error.source().map(ToString::to_string), Some("refused".to_owned()));
    }
}
