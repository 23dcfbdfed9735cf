//! Destroying an environment.
