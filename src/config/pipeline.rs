//! What GitHub runs, after defaults: suites of tests, and workflows. It belongs to the system, not to one environment.

use std::collections::BTreeMap;

use indexmap::IndexMap;

/// What GitHub tests, and which deployer its workflows use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ci {
    /// The action of deployer: `OWNER/REPOSITORY@COMMIT`, or `./`.
    pub deployer: Option<String>,
    /// Suites by name, in the order of the files; one that stands directly under `ci` is called `test`.
    pub suites: IndexMap<String, Suite>,
}

/// Steps that have to succeed, in a job of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Patterns of the files that it is about; empty for all.
    pub paths: Vec<String>,
    pub working_directory: Option<String>,
    pub setup: Vec<Setup>,
    /// Containers beside the steps, by the name of their host.
    pub services: IndexMap<String, SuiteService>,
    pub env: BTreeMap<String, String>,
    pub steps: Vec<String>,
    /// Seconds after which the job is given up.
    pub timeout: u32,
}

/// A tool that is installed first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    pub tool: Tool,
    /// `None`: what the runner has, or the newest.
    pub version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Uv,
    Python,
    Node,
    Rust,
}

/// A container beside the steps of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuiteService {
    pub image: String,
    pub env: BTreeMap<String, String>,
    /// `HOST:CONTAINER`.
    pub ports: Vec<String>,
    /// Command in the container that succeeds once it is ready.
    pub health: Option<String>,
}

/// A workflow of GitHub Actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    pub on: Triggers,
    pub run: Run,
    /// Names of environments as written, in this order; empty: all that are not on the sandbox.
    pub environments: Vec<String>,
    /// Names of suites; all of them where the files name none.
    pub suites: Vec<String>,
    /// Suites without a change are left out.
    pub changed: bool,
    /// Workflows whose suites have to succeed first.
    pub needs: Vec<String>,
    /// Packages of Cargo whose binaries are part of a release.
    pub binaries: Vec<String>,
    /// Group of runs that wait for each other.
    pub concurrency: Option<String>,
}

/// What a workflow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Ci,
    Plan,
    Deploy,
    Drift,
    Rollback,
    Migrate,
    Scan,
    Release,
}

impl Run {
    pub const ALL: [Self; 8] = [
        Self::Ci,
        Self::Plan,
        Self::Deploy,
        Self::Drift,
        Self::Rollback,
        Self::Migrate,
        Self::Scan,
        Self::Release,
    ];

    /// The word of the YAML.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ci => "ci",
            Self::Plan => "plan",
            Self::Deploy => "deploy",
            Self::Drift => "drift",
            Self::Rollback => "rollback",
            Self::Migrate => "migrate",
            Self::Scan => "scan",
            Self::Release => "release",
        }
    }

    /// It changes what is deployed.
    pub fn writes(self) -> bool {
        matches!(self, Self::Deploy | Self::Rollback | Self::Migrate)
    }

    /// It is about environments at Google.
    pub fn needs_environments(self) -> bool {
        !matches!(self, Self::Ci | Self::Release)
    }
}

/// What starts a workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Triggers {
    pub push: Option<Push>,
    pub pull_request: Option<PullRequest>,
    /// A time in the form of cron, in UTC.
    pub schedule: Option<String>,
    pub manual: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    pub branches: Vec<String>,
    pub tags: Vec<String>,
    pub paths: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullRequest {
    /// Empty: all.
    pub branches: Vec<String>,
    pub paths: Vec<String>,
}
