//! What holds without database, network and clock: the rules for slugs, e-mail addresses, passwords, roles and credentials.

pub mod api_key;
pub mod email;
pub mod password;
pub mod platform;
pub mod role;
pub mod slug;
pub mod token;

use std::fmt;

use serde_json::{Value, json};

/// Why a text is no valid value of a domain type. The text is for the caller of the API, in pydantic's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// The kind of the violation, as in the `type` of a 422 answer.
    pub kind: &'static str,
    /// One sentence.
    pub message: String,
    /// The rule that was violated, as in the `ctx` of a 422 answer.
    pub context: Value,
}

impl Invalid {
    pub(crate) fn new(kind: &'static str, message: impl fmt::Display, context: Value) -> Self {
        Self { kind, message: message.to_string(), context }
    }

    pub(crate) fn value(message: impl fmt::Display) -> Self {
        // FastAPI writes the error object in there as an empty one.
        Self::new("value_error", format_args!("Value error, {message}"), json!({"error": {}}))
    }

    pub(crate) fn too_short(least: usize) -> Self {
        let unit = if least == 1 { "character" } else { "characters" };
        let message = format_args!("String should have at least {least} {unit}");
        Self::new("string_too_short", message, json!({"min_length": least}))
    }

    pub(crate) fn too_long(most: usize) -> Self {
        let message = format_args!("String should have at most {most} characters");
        Self::new("string_too_long", message, json!({"max_length": most}))
    }
}

/// Refuses what PostgreSQL cannot store in a text.
pub(crate) fn without_nul(text: &str) -> Result<(), Invalid> {
    if text.contains('\0') { Err(Invalid::value("NUL characters are not allowed")) } else { Ok(()) }
}
