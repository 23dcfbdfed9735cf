//! What the integration tests share: a folder to work in, a sandbox, and a way to run the binary.

// Each file of tests uses its own part of this.
#![allow(dead_code, unused_imports)]

mod cloud;
mod github;
mod run;
mod workplace;

pub use cloud::{
    Cloud, Recorded, account_path, job_path, project_path, repository_path, secret_path, service_path,
};
pub use github::{BOT, Github};
pub use run::{Done, Run, signal};
pub use workplace::{ENVIRONMENTS, Workplace, repository};

/// The base.yaml of a system `shop`: the lines that each such file begins with, and the rest.
macro_rules! shop {
    ($rest:literal) => {
        concat!(
            "deployer: v1\nenvironment: base\nsystem: shop\n",
            "project: {id: agent-army-example, number: \"123456789012\"}\nregion: us-central1\n",
            $rest
        )
    };
}
pub(crate) use shop;

/// The project that the repository's environments name, and its number.
pub const PROJECT: &str = "agent-army-example";
/// `project.number` of the same.
pub const PROJECT_NUMBER: u64 = 123_456_789_012;
/// `region` of the same.
pub const REGION: &str = "us-central1";
