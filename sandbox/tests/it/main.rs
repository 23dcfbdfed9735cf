//! The sandbox over HTTP: what only shows on the wire.

// The lints allow it in tests, but do not see that the functions of `support` are such.
#![allow(clippy::unwrap_used)]

mod artifacts;
mod faults;
mod persistence;
mod pushed;
mod registry;
mod support;
mod time;
mod tokens;
mod wire;
