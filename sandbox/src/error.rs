//! `google.rpc.Status` as this crate's error: every refusal that a client can see is one of these.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a handler returns: the JSON document of the answer, or the status that Google would send.
pub type Answer = Result<Value, Status>;

/// The canonical codes of `google.rpc.Code` that REST APIs answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    Cancelled,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    Unauthenticated,
}

impl Code {
    /// Every code, for look-ups by number or name.
    pub const ALL: [Self; 14] = [
        Self::Cancelled,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::Unauthenticated,
    ];

    /// The HTTP status that `google/rpc/code.proto` maps the code to.
    pub fn http(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::Aborted | Self::AlreadyExists => 409,
            Self::ResourceExhausted => 429,
            Self::Cancelled => 499,
            Self::Internal => 500,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }

    /// The name on the wire, such as `INVALID_ARGUMENT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "CANCELLED",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The number in `google.rpc.Code`, as the `error.code` of an operation carries it.
    pub fn number(self) -> i32 {
        match self {
            Self::Cancelled => 1,
            Self::InvalidArgument => 3,
            Self::DeadlineExceeded => 4,
            Self::NotFound => 5,
            Self::AlreadyExists => 6,
            Self::PermissionDenied => 7,
            Self::ResourceExhausted => 8,
            Self::FailedPrecondition => 9,
            Self::Aborted => 10,
            Self::OutOfRange => 11,
            Self::Unimplemented => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::Unauthenticated => 16,
        }
    }

    /// The code with this `google.rpc.Code` number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|code| i64::from(code.number()) == number)
    }

    /// The code that an HTTP status stands for; the broadest one where several share it.
    pub fn from_http(status: u16) -> Self {
        match status {
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            409 => Self::Aborted,
            429 => Self::ResourceExhausted,
            499 => Self::Cancelled,
            501 => Self::Unimplemented,
            503 => Self::Unavailable,
            504 => Self::DeadlineExceeded,
            400..=499 => Self::InvalidArgument,
            _ => Self::Internal,
        }
    }
}

/// A refusal: code, message and the `google.rpc` detail messages (each with its `@type`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {message}", code.name())]
pub struct Status {
    pub code: Code,
    pub message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Value>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident),* $(,)?) => {
        $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Self::new(Code::$code, message) })*
    };
}

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    constructors! {
        /// 404 NOT_FOUND.
        not_found => NotFound,
        /// 409 ALREADY_EXISTS.
        already_exists => AlreadyExists,
        /// 409 ABORTED: a stale etag.
        aborted => Aborted,
        /// 400 FAILED_PRECONDITION.
        failed_precondition => FailedPrecondition,
        /// 400 INVALID_ARGUMENT without a field; see [`Status::invalid`] for one with a field.
        invalid_argument => InvalidArgument,
        /// 403 PERMISSION_DENIED.
        permission_denied => PermissionDenied,
        /// 429 RESOURCE_EXHAUSTED.
        resource_exhausted => ResourceExhausted,
        /// 501 UNIMPLEMENTED.
        unimplemented => Unimplemented,
        /// 503 UNAVAILABLE.
        unavailable => Unavailable,
        /// 500 INTERNAL.
        internal => Internal,
    }

    /// 400 INVALID_ARGUMENT with a `google.rpc.BadRequest` naming `field`.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let violation = json!({ "field": field, "description": message });
        Self::new(Code::InvalidArgument, message).with_detail(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [violation],
        }))
    }

    /// The same status with one more detail message.
    #[must_use]
    pub fn with_detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// The same status with a `google.rpc.ErrorInfo`.
    #[must_use]
    pub fn with_info(self, reason: &str, metadata: Value) -> Self {
        let mut info = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
        });
        info["metadata"] = metadata;
        self.with_detail(info)
    }

    /// The body of an HTTP answer: `{"error": {code, message, status, details}}`.
    pub fn to_http_body(&self) -> Value {
        let mut error = json!({
            "code": self.code.http(),
            "message": self.message,
            "status": self.code.name(),
        });
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details.clone());
        }
        json!({ "error": error })
    }

    /// The `error` of a finished operation: `google.rpc.Status` with the numeric code.
    pub fn to_rpc(&self) -> Value {
        let mut status = json!({ "code": self.code.number(), "message": self.message });
        if !self.details.is_empty() {
            status["details"] = Value::Array(self.details.clone());
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_number() {
        for code in Code::ALL {
            assert_eq!(Code::from_number(i64::from(code.number())), Some(code));
        }
        assert_eq!(Code::from_number(0), None);
    }

    #[test]
    fn a_bad_field_is_named_in_a_bad_request_detail() {
        let body = Status::invalid("service.template", "no such field").to_http_body();
        assert_eq!(body["error"]["code"], 400);
        assert_eq!(body["error"]["details"][0]["fieldViolations"][0]["field"], "service.template");
    }
}
