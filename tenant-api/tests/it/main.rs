//! The integration tests: the API against a real PostgreSQL and Redis.

mod commands;
mod contract;
mod credentials;
mod harness;
mod isolation;
mod management;
mod provisioning;
mod servers;
