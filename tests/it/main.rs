//! The integration tests: the built binary and the library against a sandbox of their own. One binary, because
//! linking takes longer than running.

// Clippy knows the functions that are tests, not those that tests call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod action;
mod agent_army;
mod architecture;
mod bad_input;
mod bad_releases;
mod blows;
mod build;
mod clients;
mod comments;
mod conformance;
mod crash;
mod destroying;
mod docs;
mod doors;
mod examples;
mod executions;
mod faults;
mod identity;
mod images;
mod jobs;
mod lints;
mod no_leaks;
mod oracle;
mod properties;
mod proxy;
mod races;
mod rates;
mod render;
mod rig;
mod rollback;
mod saved_plans;
mod scenarios;
mod sharing;
mod support;
mod tenants;
mod up;
mod workflow_steps;
