//! deployer: plans and applies Google Cloud Run systems from YAML, without a state file.
//!
//! Data flows one way:
//!
//! ```text
//! environments/*.yaml -- config::load --> Environment
//! Google, or the sandbox -- registry.observe --> live objects -- registry.facts --> Facts
//! Environment + Facts -- registry.declare --> desired resources
//! desired + live -- plan::plan --> Plan -- view, or apply::apply --> Report
//! ```
//!
//! `planner` takes these steps up to the plan. `config`, `plan` and `resource`'s declarations are pure; `gcp` is the
//! only code that reaches Google; `apply` is the only writer; `view` is the only printer; `cli` holds a file for each
//! verb. `render` makes other files of the same YAML: what CI and builds need.

pub mod apply;
mod atomically;
pub mod build;
pub mod cli;
pub mod config;
pub mod error;
pub mod gcp;
pub mod github;
pub mod inventory;
pub mod lint;
pub mod local;
pub mod plan;
pub mod planner;
pub mod render;
pub mod resource;
pub mod view;
