//! tenant-api: tenants, users, tokens and API keys over HTTP, each tenant isolated in a PostgreSQL schema with row-level security.
//!
//! Layers, each of which knows only those below it: `commands`, `http`, `service`, `store`, `domain`.

pub mod commands;
pub mod domain;
pub mod http;
pub mod service;
pub mod settings;
pub mod store;
pub mod telemetry;

use std::error::Error;

/// An error and its causes in one line. For logs and the command line, never for answers.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
