//! What runs on this machine beside the sandbox (`local.services`): started, found, ended, and forgotten with the sandbox.
//!
//! Each server has a home in the folder `local` of the sandbox's state (`private_servers::Home`), where its data, its port
//! and its passwords stay. Whoever claims a home runs the server; others find it running. Nothing here talks to the
//! sandbox: that URLs become secrets is `crate::cli`'s doing, what was delivered is remembered by [`delivered`].

pub mod delivered;
#[cfg(unix)]
mod servers;
#[cfg(not(unix))]
#[path = "servers_nowhere.rs"]
mod servers;
pub mod started;

use std::path::{Path, PathBuf};

pub use servers::{Servers, forget};

use crate::gcp::Payload;

/// Why a server does not run, with what to do about it.
#[derive(Debug)]
pub struct LocalError {
    pub message: String,
    pub hints: Vec<String>,
}

/// The URL that a secret is to get.
#[derive(Debug)]
pub struct Delivery {
    /// The secret's name in the YAML.
    pub alias: String,
    pub url: Payload,
}

/// The folder of homes in the sandbox's state.
fn folder(state: &Path) -> PathBuf {
    state.join("local")
}

/// `url` with another scheme.
fn with_scheme(url: &str, scheme: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_is_replaced_and_the_rest_stays() {
        assert_eq!(
            with_scheme("postgres://a:b@h:1/d", "postgresql+asyncpg"),
            "postgresql+asyncpg://a:b@h:1/d"
        );
    }
}
