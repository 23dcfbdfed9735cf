//! The only code that reaches Google, and the sandbox with the same code.
//!
//! Every request, whichever transport carries it, goes through `client::Gcp::call`: budget, send, log, judge,
//! repeat. Cloud Run and Secret Manager are spoken through Google's official crates, everything else (and IAM
//! policies of all APIs, which must round-trip to the byte) through one thin transport in `rest`.
//! Documents cross this boundary as canonical ProtoJSON: names for enums, strings for 64-bit integers.

mod accounts;
mod api;
mod auth;
mod client;
mod documents;
mod endpoint;
mod error;
mod executions;
mod failure;
mod hints;
mod identities;
mod jobs;
mod logging;
mod objects;
mod official;
mod operation;
mod payload;
pub mod policy;
mod projects;
mod propagation;
mod rate;
mod readiness;
mod registry;
mod repositories;
mod rest;
mod retry;
mod run;
#[cfg(test)]
mod sandbox_tests;
pub mod secrets;
mod services;
mod settling;
mod sleeper;
#[cfg(test)]
mod testserver;
mod turns;
mod visit;

pub use accounts::Account;
pub use client::{Gcp, Options, Progress, RequestCount};
pub use error::{ErrorKind, GcpError};
pub use executions::Run;
pub(crate) use google_cloud_run_v2::model::{Job, Service};
pub use identities::{Identity, is_deleted};
pub use logging::{LogEntry, LogSource, Tail};
pub(crate) use objects::Object as RunObject;
pub use operation::Patience;
pub use payload::Payload;
pub use policy::{Binding, Policy, PolicyOf, Triple};
pub use projects::Project;
pub use registry::{BaseImage, Blob, Descriptor, Push, PushedManifest};
pub use repositories::{Image, Tag};
pub use secrets::Version;
pub use sleeper::{RealSleeper, Sleeper};
pub use visit::{Visit, Visited};
