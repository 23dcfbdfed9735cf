//! An emulator of Google Cloud's REST APIs on loopback, as strict and as noisy as Google.
//!
//! A request goes from `server` (HTTP) through `routing` (which documented method is it?), `protojson` (is the body
//! what the method takes?) and `dispatch` (is the API enabled, is quota left?) to a handler in `services`, which works
//! on the `World`. What the handler changed is journalled by `store` before the answer leaves.

pub mod call;
pub mod dispatch;
pub mod error;
pub mod iam;
pub mod methods;
pub mod operations;
pub mod projects;
pub mod protojson;
pub mod routing;
pub mod schema;
pub mod services;
pub mod store;
pub mod world;
#[cfg(test)]
pub(crate) mod testing;

/// Which APIs a project has when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Apis {
    /// The few that a new project has; everything else has to be enabled.
    #[default]
    Default,
    /// Everything is enabled from the start.
    All,
}
