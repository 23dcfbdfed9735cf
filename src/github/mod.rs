//! The only code that reaches GitHub: one comment on the pull request of a run of GitHub Actions.
//!
//! `run` is what the run says about itself, `client` sends requests, `comment` finds, writes and rewrites the comment.

mod client;
mod comment;
mod error;
mod run;

pub use comment::{Action, Key, LIMIT, Posted, post};
pub use error::GithubError;
pub use run::{PullRequest, Run};
