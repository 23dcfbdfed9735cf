//! Plans and applies Google Cloud Run systems from YAML, without a state file.

pub mod config;
