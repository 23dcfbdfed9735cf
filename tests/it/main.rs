//! Integration tests of the `deployer` binary and library against the sandbox, as one binary.

mod proxy;
mod support_b;
