//! One file per kind of resource; [`super::registry`] lists them.

pub mod account_grant;
pub mod api;
mod container;
mod grants;
pub mod identity_pool;
pub mod identity_provider;
pub mod image_tag;
pub mod images;
pub mod job_grant;
mod labels;
pub mod project_grant;
pub mod repository;
pub mod repository_grant;
pub mod run_grant;
pub mod run_job;
pub mod run_service;
pub mod secret;
pub mod secret_grant;
pub mod secret_value;
pub mod service_account;
