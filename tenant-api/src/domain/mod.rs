//! What holds without database, network and clock: the rules for slugs, e-mail addresses, passwords, roles and credentials.

pub mod api_key;
pub mod email;
pub mod password;
pub mod platform;
pub mod role;
pub mod slug;
pub mod token;

use std::fmt;

/// Why a text is no valid value of a domain type. The text is for the caller of the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// The kind of the violation, as in the `type` of a 422 answer.
    pub kind: &'static str,
    /// One sentence without a full stop.
    pub message: String,
}

impl Invalid {
    pub(crate) fn new(kind: &'static str, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    pub(crate) fn value(message: impl fmt::Display) -> Self {
        Self::new("value_error", format_args!("Value error, {message}"))
    }
}

/// Refuses what PostgreSQL cannot store in a text.
pub(crate) fn without_nul(text: &str) -> Result<(), Invalid> {
    if text.contains('\0') { Err(Invalid::value("NUL characters are not allowed")) } else { Ok(()) }
}
