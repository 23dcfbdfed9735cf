//! The integration tests: the API against a real PostgreSQL and Redis.

// Clippy knows the functions that are tests, not those that tests call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod architecture;
mod commands;
mod contract;
mod credentials;
#[cfg(feature = "dev")]
mod dev;
mod harness;
mod isolation;
mod management;
mod outages;
mod process;
mod provisioning;
mod servers;
mod wire;
