//! YAML in, [`Environment`] out. Reads files and nothing else: no network, no clock, no process environment.

pub mod model;
pub mod units;

pub use model::Environment;
