//! What one attempt of one request can end in, before it is judged: the same shape for both transports.

use std::error::Error as StdError;
use std::time::Duration;

use serde_json::Value;

/// A boxed source error.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// How far an attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No token could be had; nothing was sent.
    Login { transient: bool },
    /// The request could not be built from what we were given; nothing was sent.
    Build,
    /// No connection; nothing was sent.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke after sending began.
    Broken,
    /// The server answered with an error.
    Answered,
    /// The server answered with success and a body that cannot be read.
    Unreadable,
}

/// The failure of one attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    /// HTTP status, where there was an answer.
    pub(crate) status: Option<u16>,
    /// Canonical code (`NOT_FOUND`), where the answer had one.
    pub(crate) code: Option<String>,
    /// Google's message, or what went wrong on our side.
    pub(crate) message: String,
    /// `google.rpc` details, each with its `@type`.
    pub(crate) details: Vec<Value>,
    /// What the server asked us to wait: the header `Retry-After` in seconds, or a `RetryInfo` detail.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) source: Option<BoxError>,
}

impl Failure {
    /// A failure without an answer.
    pub(crate) fn without_answer(stage: Stage, message: impl Into<String>, source: Option<BoxError>) -> Self {
        Self {
            stage,
            status: None,
            code: None,
            message: message.into(),
            details: Vec::new(),
            retry_after: None,
            source,
        }
    }

    /// A failure decoded from an HTTP error answer. `body` is Google's error JSON, or whatever a proxy sent.
    pub(crate) fn answered(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let parsed: Option<Value> = serde_json::from_slice(body).ok();
        // Some front ends wrap the error in a list of one.
        let error =
            parsed.as_ref().and_then(|value| value.get("error").or_else(|| value.get(0)?.get("error")));
        let details = error.and_then(|error| error.get("details")).and_then(Value::as_array).cloned();
        let text = |key: &str| error.and_then(|error| error.get(key)).and_then(Value::as_str);
        let message = text("message").map_or_else(|| format!("the server answered {status}"), str::to_owned);
        Self::from_status(status, text("status").map(str::to_owned), message, details.unwrap_or_default())
            .with_retry_after(retry_after)
    }

    /// A failure from an already decoded `google.rpc.Status`.
    pub(crate) fn from_status(
        status: u16,
        code: Option<String>,
        message: String,
        details: Vec<Value>,
    ) -> Self {
        let retry_after = details
            .iter()
            .find(|detail| type_of(detail).ends_with("google.rpc.RetryInfo"))
            .and_then(|detail| detail.get("retryDelay"))
            .and_then(Value::as_str)
            .and_then(seconds);
        Self {
            stage: Stage::Answered,
            status: Some(status),
            code,
            message,
            details,
            retry_after,
            source: None,
        }
    }

    /// Takes the header `Retry-After` into account, where it is a number of seconds.
    pub(crate) fn with_retry_after(mut self, header: Option<&str>) -> Self {
        let header = header.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
        self.retry_after = self.retry_after.max(header);
        self
    }

    /// Whether the request may have been carried out although it failed.
    pub(crate) fn ambiguous(&self) -> bool {
        match self.stage {
            Stage::Timeout | Stage::Broken | Stage::Unreadable => true,
            Stage::Answered => self.status.is_some_and(|status| status >= 500),
            Stage::Login { .. } | Stage::Build | Stage::Connect => false,
        }
    }

    /// The `google.rpc.ErrorInfo` detail, if there is one.
    pub(crate) fn error_info(&self) -> Option<&Value> {
        self.details.iter().find(|detail| type_of(detail).ends_with("google.rpc.ErrorInfo"))
    }

    /// One word for the request log: the status, or why there is none.
    pub(crate) fn word(&self) -> String {
        match (self.stage, self.status) {
            (_, Some(status)) => status.to_string(),
            (Stage::Login { .. }, None) => "no-login".to_owned(),
            (Stage::Build, None) => "not-sent".to_owned(),
            (Stage::Connect, None) => "no-connection".to_owned(),
            (Stage::Timeout, None) => "timeout".to_owned(),
            (Stage::Broken | Stage::Answered, None) => "broken".to_owned(),
            (Stage::Unreadable, None) => "unreadable".to_owned(),
        }
    }
}

/// The `@type` of a detail, or nothing.
fn type_of(detail: &Value) -> &str {
    detail.get("@type").and_then(Value::as_str).unwrap_or_default()
}

/// A ProtoJSON duration (`"1.5s"`).
fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

/// The messages of an error and all of its sources, outermost first, repeated ones once.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let line = source.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_error_json_is_decoded() {
        let body = br#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED",
            "details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"2.5s"}]}}"#;
        let failure = Failure::answered(429, Some("1"), body);
        assert_eq!(failure.code.as_deref(), Some("RESOURCE_EXHAUSTED"));
        assert_eq!(failure.message, "slow down");
        assert_eq!(failure.retry_after, Some(Duration::from_millis(2500)));
        assert!(!failure.ambiguous());
    }

    #[test]
    fn html_of_a_proxy_is_an_answer_without_a_code() {
        let failure = Failure::answered(502, Some("3"), b"<html>Bad Gateway</html>");
        assert_eq!((failure.status, failure.code.as_deref()), (Some(502), None));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
        assert!(!failure.message.contains('<'), "markup is not a message");
        assert!(failure.ambiguous());
    }

    #[test]
    fn the_chain_says_every_cause_once() {
        let inner = std::io::Error::other("certificate expired");
        let outer = std::io::Error::other(inner);
        assert_eq!(chain(&outer), "certificate expired");
    }
}
