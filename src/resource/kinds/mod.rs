//! One file per kind of resource; [`super::registry`] lists them.

pub mod api;
mod container;
mod grants;
mod labels;
pub mod run_grant;
pub mod run_job;
pub mod run_service;
pub mod secret;
pub mod secret_grant;
pub mod secret_value;
pub mod service_account;
