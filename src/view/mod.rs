//! What people and programs see: the only code that prints. Views decide nothing.
//!
//! `out` knows where output goes; `human`, `report` and `errors` write for people; `json` and `report` write
//! for programs, as `docs/plan-json.md` says; `markdown` writes for pull requests; `progress` and `trace` tell what happens meanwhile.

mod actions;
mod builds;
mod comments;
mod common;
mod errors;
mod executions;
mod fields;
mod grouping;
mod human;
mod json;
mod lines;
mod lints;
mod local;
mod logs;
mod markdown;
mod out;
mod outcomes;
mod outputs;
pub mod problems;
mod progress;
mod redact;
mod releases;
mod rendering;
mod report;
mod rollbacks;
mod rows;
mod runner;
mod secrets;
mod settings;
mod status;
pub mod style;
mod table;
mod tenants;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod trace;
mod validation;
mod verbs;

pub use builds::{BuildAnswer, BuildRow};
pub use comments::{CommentAnswer, comment_text};
pub use errors::{error_human, error_json, error_line, refusals};
pub use executions::{JobLines, MigrationRow, MigrationState, MigrationsAnswer, RunAnswer};
pub use grouping::Detail;
pub use human::{drift_human, plan_human};
pub use json::{drift_json, plan_json};
pub use logs::LogsAnswer;
pub use markdown::{drift_markdown, error_markdown, plan_markdown, report_markdown};
pub use out::{Answer, Format, Out};
pub use progress::Progress;
pub use rendering::{FileOutcome, RenderAnswer, RenderRow};
pub use report::{report_human, report_json};
pub use rollbacks::{CandidateRow, RollbackAnswer, RolledBack};
pub use status::{Drift, Released, ServiceStatus, Serving, StatusAnswer, Trouble};
pub use style::{Color, Style};
pub use tenants::{TenantEdit, TenantRow, TenantSecret};
pub use trace::start_tracing;
