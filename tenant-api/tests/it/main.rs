//! The integration tests: the API against a real PostgreSQL and Redis.

// Clippy knows the functions that are tests, not those that tests call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod architecture;
mod commands;
mod contract;
mod credentials;
#[cfg(feature = "dev")]
mod dev;
mod fuzz;
mod harness;
mod isolation;
mod key_values;
mod management;
mod matrix;
mod outages;
mod process;
mod provisioning;
mod row_security;
mod servers;
mod slow_clients;
mod trouble;
mod wire;
