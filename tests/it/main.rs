//! The integration tests: the built binary and the library against a sandbox of their own. One binary, because
//! linking takes longer than running.

mod conformance;
mod crash;
mod faults;
mod oracle;
mod proxy;
mod races;
mod rig;
mod support;
