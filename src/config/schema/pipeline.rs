//! Keys of what GitHub runs: suites of tests, and workflows.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Named;

/// What GitHub tests, and which deployer its workflows use. A single suite stands here directly, several in `suites`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct CiKeys {
    /// The action of deployer: `OWNER/REPOSITORY@COMMIT` with all 40 digits of the commit, or `./` in the repository that has the
    /// action. Required by workflows that run deployer.
    #[schemars(regex(pattern = r"^(\./|[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+@[0-9a-f]{40})$"))]
    #[schemars(extend("errorMessage" = "`OWNER/REPOSITORY@` and the 40 hexadecimal digits of a commit, or `./`: a tag or a branch can be moved"))]
    pub(crate) deployer: Option<String>,
    /// Suites by name, each a job of its own; then none may stand directly under `ci`.
    pub(crate) suites: Option<Named<SuiteKeys>>,
    #[serde(flatten)]
    pub(crate) suite: SuiteKeys,
}

/// Steps that have to succeed, in a job of their own.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) struct SuiteKeys {
    /// Files that the suite is about, as patterns such as `services/api/**`. Without a change to one of them a workflow with
    /// `matrix: changed` leaves it out. Default: all.
    pub(crate) paths: Option<Vec<String>>,
    /// Folder that the steps run in, relative to the repository. Default: its root.
    pub(crate) working_directory: Option<String>,
    /// Tools to install first: `uv`, `python`, `node` or `rust`, each with `@VERSION` for a certain one, e.g. `python@3.12`. Default: none.
    pub(crate) setup: Option<Vec<SetupTool>>,
    /// Containers that run beside the steps, by the name of their host. Default: none.
    pub(crate) services: Option<Named<SuiteServiceKeys>>,
    /// Environment variables of the steps. Never a secret: they stand in the workflow.
    pub(crate) env: Option<Named<String>>,
    /// Commands, one after the other. Required.
    pub(crate) steps: Option<Vec<String>>,
    /// Time after which the job is given up, `1m` to `6h`. Default: `30m`.
    pub(crate) timeout: Option<SuiteTime>,
}

/// A tool and perhaps its version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct SetupTool(
    #[schemars(regex(pattern = r"^(uv|python|node|rust)(@[0-9][0-9A-Za-z.-]*)?$"))]
    #[schemars(extend("errorMessage" = "`uv`, `python`, `node` or `rust`, and perhaps `@` and a version, e.g. python@3.12"))]
    pub(crate) String,
);

/// A container beside the steps of a suite.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) struct SuiteServiceKeys {
    /// Its image, e.g. `postgres:16`, or better with its digest. Required.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"))]
    #[schemars(extend("errorMessage" = "an image reference such as postgres:16"))]
    pub(crate) image: Option<String>,
    /// Its environment variables. Never a secret: they stand in the workflow.
    pub(crate) env: Option<Named<String>>,
    /// Ports as `HOST:CONTAINER`.
    pub(crate) ports: Option<Vec<PortPair>>,
    /// Command in the container that succeeds once it is ready; the steps wait for it. Default: they do not.
    #[schemars(regex(pattern = r#"^[^"`$\\]+$"#))]
    #[schemars(extend("errorMessage" = "a command without quotes, dollar signs and backslashes, e.g. pg_isready"))]
    pub(crate) health: Option<String>,
}

/// Two ports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct PortPair(
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,4}:[1-9][0-9]{0,4}$"))]
    #[schemars(extend("errorMessage" = "two ports as HOST:CONTAINER, e.g. 5432:5432"))]
    pub(crate) String,
);

number_or_text!(
    /// How long a job may take.
    SuiteTime,
    {
        "type": "string",
        "pattern": r"^[1-9][0-9]{0,4}(s|m|h)$",
        "errorMessage": "a time such as 30m or 1h"
    }
);

/// A workflow of GitHub Actions, rendered to `.github/workflows/NAME.yml`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct WorkflowKeys {
    /// What starts it: `manual`, or a map of several. Required.
    pub(crate) on: Option<OnKeys>,
    /// What it does. Default: what its name says, and `deploy` with `deploy`.
    pub(crate) run: Option<WorkflowRun>,
    /// `deploy`: the environments, each after the one before it. All that are on one registry get the same image.
    pub(crate) deploy: Option<Vec<String>>,
    /// `plan`, `drift`, `rollback`, `migrate` and `scan`: the environments. Default: all that are not on the sandbox.
    pub(crate) environments: Option<Vec<String>>,
    /// `ci`: the suites. Default: all.
    pub(crate) suites: Option<Vec<String>>,
    /// `ci`: `changed` leaves out suites none of whose `paths` has changed. Default: all suites run.
    pub(crate) matrix: Option<WorkflowMatrix>,
    /// `deploy` and `release`: workflows with `run: ci` whose suites have to succeed first, in the same run. Default: none.
    pub(crate) needs: Option<OneOrMore>,
    /// `release`: packages of Cargo whose binaries of the same name become part of the release, for Linux (x86-64 and arm64) and
    /// macOS, with checksums, an SBOM and attestations of both. Default: none.
    pub(crate) binaries: Option<Vec<PackageName>>,
    /// Group of runs that wait for each other, here and in other workflows. Default: the workflow's name. What writes is never
    /// cancelled, and waits in a group of its environment besides: one release, rollback or migration at a time.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"))]
    #[schemars(extend("errorMessage" = "letters, digits, dashes and underscores, at most 63"))]
    pub(crate) concurrency: Option<String>,
}

/// Name of a package of Cargo.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct PackageName(
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_-]*$"))]
    #[schemars(extend("errorMessage" = "the name of a package: letters, digits, dashes and underscores"))]
    pub(crate) String,
);

/// A name, or a list of names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// What a workflow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WorkflowRun {
    Ci,
    Plan,
    Deploy,
    Drift,
    Rollback,
    Migrate,
    Scan,
    Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WorkflowMatrix {
    Changed,
}

/// What starts a workflow, in one word.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(extend("errorMessage" = "`manual`, or a map such as {push: [main]}"))]
pub(crate) enum OnWord {
    Manual,
}

/// What starts a workflow; `manual` is the short form of `{manual: true}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OnKeys {
    Word(OnWord),
    Full(Box<TriggerKeys>),
}

/// What starts a workflow.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct TriggerKeys {
    /// Pushes: to these branches, or a map.
    pub(crate) push: Option<PushKeys>,
    /// Pull requests into these branches, or a map.
    pub(crate) pull_request: Option<PullRequestKeys>,
    /// A time in the form of cron, in UTC: minute, hour, day of the month, month, day of the week.
    pub(crate) schedule: Option<String>,
    /// A person may start it. What it asks for follows from what it does. Default: `false`; those that run `deploy`, `rollback` or `migrate` can always be started by hand.
    pub(crate) manual: Option<bool>,
}

/// Pushes; a list is the short form of `{branches: LIST}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum PushKeys {
    Branches(Vec<String>),
    Full(Box<PushFields>),
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct PushFields {
    /// Branches, as names or patterns.
    pub(crate) branches: Option<Vec<String>>,
    /// Tags, as names or patterns, e.g. `v*`.
    pub(crate) tags: Option<Vec<String>>,
    /// Only where one of these files has changed, as patterns.
    pub(crate) paths: Option<Vec<String>>,
}

/// Pull requests; a list is the short form of `{branches: LIST}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum PullRequestKeys {
    Branches(Vec<String>),
    Full(Box<PullRequestFields>),
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct PullRequestFields {
    /// Branches that they go into, as names or patterns. Default: all.
    pub(crate) branches: Option<Vec<String>>,
    /// Only where one of these files has changed, as patterns.
    pub(crate) paths: Option<Vec<String>>,
}
