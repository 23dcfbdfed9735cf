//! The sandbox over HTTP: what only shows on the wire.

mod faults;
mod persistence;
mod support;
mod wire;
