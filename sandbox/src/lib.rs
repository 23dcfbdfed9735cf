//! An emulator of Google Cloud's REST APIs on loopback, as strict and as noisy as Google.
//!
//! A request goes from `server` (HTTP, faults, quotas) through `routing` (which documented method is it?) to
//! `dispatch`, which asks `protojson` whether the body is what the method takes, Service Usage whether the API is
//! enabled and `permissions` whether the caller may, and calls a handler in `services` on the `World`. What the
//! handler changed is journalled by `store` before the answer leaves. To serve one more method, write a handler, name it in its
//! module's `routes()`, and put its permissions into `data/permissions.tsv`. Pushes and pulls of images, `/v2/`, go from
//! `server` to `registry`.

pub mod call;
pub mod clock;
mod control;
pub mod dispatch;
pub mod error;
pub mod faults;
pub mod iam;
pub mod methods;
pub mod operations;
mod permissions;
pub mod projects;
pub mod protojson;
pub mod quotas;
mod registry;
pub mod routing;
pub mod schema;
mod server;
pub mod services;
mod start;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
mod tokens;
mod wire;
pub mod world;

pub use clock::{Clock, ManualClock};
pub use projects::ProjectSeed;
pub use start::{Apis, Options, Sandbox, StartError, reset, start};
pub use store::{Holder, holder};
