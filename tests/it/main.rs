//! The integration tests: the built binary and the library against a sandbox of their own. One binary, because
//! linking takes longer than running.

mod architecture;
mod bad_input;
mod docs;
mod no_leaks;
mod scenarios;
mod support;
