//! The one boundary where errors become a message, hints and an exit code.

use std::fmt::Write as _;

use crate::config::{EditError, Problems};
use crate::gcp::GcpError;
use crate::github::GithubError;
use crate::plan::{PlanError, Refusal};
use crate::resource::erased::SpecError;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Fine,
    /// 1: something failed, and has been reported.
    Failed,
    /// 2: changes are pending (`--detailed-exitcode`).
    Pending,
    /// 3: a release did not pass, and what served before it serves.
    RolledBack,
    /// 130: the user pressed Ctrl-C.
    Interrupted,
    /// The exit status of a job that was run.
    Job(u8),
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Failed => 1,
            Self::Pending => 2,
            Self::RolledBack => 3,
            Self::Interrupted => 130,
            Self::Job(status) => status,
        }
    }
}

/// Why a verb could not do its work.
#[derive(Debug)]
pub enum CliError {
    /// What the user asked for cannot be done as asked.
    User { message: String, hints: Vec<String> },
    /// The YAML is wrong; all of it is listed.
    Config(Problems),
    /// Google, or the sandbox, refused.
    Google(GcpError),
    /// There can be no plan.
    Plan(PlanError),
    /// Google would refuse some changes; each is told.
    Refused { message: String, refusals: Vec<Refusal> },
    /// The user pressed Ctrl-C.
    Interrupted {
        /// Something was being written at that time.
        perhaps_changed: bool,
    },
}

impl CliError {
    pub fn user(message: impl Into<String>) -> Self {
        Self::User { message: message.into(), hints: Vec::new() }
    }

    /// What the command ends with after it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Interrupted { .. } => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::User { hints, .. } = &mut self {
            hints.push(hint.into());
        }
        self
    }
}

impl From<Problems> for CliError {
    fn from(problems: Problems) -> Self {
        Self::Config(problems)
    }
}

impl From<EditError> for CliError {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Problems(problems) => Self::Config(problems),
            EditError::Refused { message, hints } => Self::User { message, hints },
            EditError::Unwritten { .. } => Self::user(chain(&error)),
        }
    }
}

impl From<GithubError> for CliError {
    fn from(error: GithubError) -> Self {
        Self::User { message: error.to_string(), hints: error.hints() }
    }
}

impl From<GcpError> for CliError {
    fn from(error: GcpError) -> Self {
        Self::Google(error)
    }
}

impl From<PlanError> for CliError {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<SpecError> for CliError {
    fn from(error: SpecError) -> Self {
        Self::Plan(error.into())
    }
}

impl From<gcp_sandbox::StartError> for CliError {
    fn from(error: gcp_sandbox::StartError) -> Self {
        Self::user(chain(&error))
    }
}

/// What is said of a Ctrl-C.
pub fn interrupted(perhaps_changed: bool) -> &'static str {
    if perhaps_changed {
        "interrupted: what was being written may be done or not"
    } else {
        "interrupted: nothing was changed"
    }
}

/// An error and all that caused it, on one line; causes that are said already are left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}
