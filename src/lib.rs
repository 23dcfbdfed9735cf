//! deployer
pub mod gcp;
