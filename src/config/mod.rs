//! YAML in, [`Environment`] out. Reads files and nothing else: no network, no clock, no process environment.

pub mod diagnostic;
pub mod model;
mod json_schema;
mod parse;
mod schema;
mod tree;

pub use diagnostic::{Diagnostic, Problems, Severity, Texts};
pub use json_schema::json_schema;
pub use model::Environment;
