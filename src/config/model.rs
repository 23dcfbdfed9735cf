//! What the YAML means: the [`Environment`] after overlays, interpolation and defaults.
//!
//! Everything downstream (declare, plan, apply) reads these types and never the files. Sizes, times and
//! names are already in one canonical spelling here, so that two spellings of one value never differ in a plan.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use super::pipeline::{Ci, Workflow};
use super::rollout::{Health, Smoke};

/// One environment of a system, complete and checked.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `dev`, `staging`, `production`: the name of the overlay file.
    pub name: String,
    /// The system that all environments of this folder belong to.
    pub system: String,
    pub project: Project,
    /// Google Cloud region, e.g. `us-central1`.
    pub region: String,
    pub target: Target,
    /// APIs that the user asks for beyond those that the declared objects need, e.g. `vision.googleapis.com`.
    pub apis: Vec<String>,
    /// Where the system's own images live.
    pub registry: Option<Registry>,
    /// Tag that follows the image that serves (`image_tags.alias`).
    pub alias_tag: Option<String>,
    /// Checks of new revisions, in the order of the files.
    pub smoke: Vec<Smoke>,
    /// Tag that `deployer build` gives to every image (`image_tags.deploy`).
    pub deploy_tag: Option<String>,
    /// Secrets by alias, in the order of the files; those of tenants follow, by `SLUG/NAME`.
    pub secrets: IndexMap<String, Secret>,
    /// Tenants by slug, in the order of the files.
    pub tenants: IndexMap<String, Tenant>,
    /// Services by key, in the order of the files.
    pub services: IndexMap<String, Service>,
    /// Jobs and migrations by key, in the order of the files; `KEY/SLUG` for each tenant of one with `for_each: tenants`.
    pub jobs: IndexMap<String, Job>,
    pub github: Option<Github>,
    pub ci: Ci,
    /// What runs on this machine beside the sandbox; nothing elsewhere.
    pub local: Local,
    /// Names of plain environment variables whose values JSON and Markdown may show (`plan.show_env`).
    pub show_env: Vec<String>,
    /// Where each key of the merged configuration was written.
    pub sources: Sources,
    /// Hex SHA-256 of the merged, interpolated configuration: what a saved plan is bound to.
    pub digest: String,
}

impl Environment {
    /// `REGION-docker.pkg.dev/PROJECT/REPOSITORY`, where the system's own images live; `None` without a registry.
    pub fn registry_prefix(&self) -> Option<String> {
        let registry = self.registry.as_ref()?;
        Some(registry.prefix(&self.region, &self.project.id))
    }
}

#[derive(Clone, Debug)]
pub struct Project {
    pub id: String,
    /// The project's number, from the YAML or given to `load`; `None` when neither has it.
    pub number: Option<u64>,
    /// The id is a stand-in (`example`, `your-`): fine for the sandbox, refused by Google targets.
    pub placeholder: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Google,
    Sandbox,
}

/// A Docker repository of Artifact Registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Id of the repository.
    pub repository: String,
    pub description: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Newest versions of each image that no cleanup deletes.
    pub keep_last: Option<u32>,
    /// Age in seconds at which an image without a tag is deleted.
    pub delete_untagged_after: Option<u64>,
    /// Cleanup only logs what it would delete (`cleanupPolicyDryRun`).
    pub dry_run: bool,
    /// A tag that exists cannot be moved (`dockerConfig.immutableTags`).
    pub immutable_tags: bool,
    /// Deleting it is refused.
    pub protect: bool,
}

impl Registry {
    /// `REGION-docker.pkg.dev/PROJECT/REPOSITORY`. The colon of a project under a domain is a slash in image names.
    pub(crate) fn prefix(&self, region: &str, project: &str) -> String {
        format!("{region}-docker.pkg.dev/{}/{}", project.replacen(':', "/", 1), self.repository)
    }
}

/// What runs on this machine beside the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Databases and caches by key, in the order of the files.
    pub servers: IndexMap<String, LocalServer>,
    /// Programs with their arguments that run in place of the images of services, by service key.
    pub commands: BTreeMap<String, Vec<String>>,
}

/// A server of this machine, and the secrets that get its URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalServer {
    pub program: LocalProgram,
    /// Alias of the secret that gets its URL.
    pub url_secret: String,
    /// Scheme of its URLs, without `://`.
    pub url_scheme: String,
}

impl LocalServer {
    /// Alias of the secret that gets the URL of the role that owns the database.
    pub fn owner_url_secret(&self) -> Option<&str> {
        match &self.program {
            LocalProgram::Postgres { owner_url_secret, .. } => owner_url_secret.as_deref(),
            LocalProgram::Redis => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalProgram {
    Postgres {
        database: String,
        /// See [`LocalServer::owner_url_secret`]. Without one, `url_secret` gets the owner's URL.
        owner_url_secret: Option<String>,
    },
    Redis,
}

impl Local {
    /// Aliases of the secrets that get URLs.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.servers
            .values()
            .flat_map(|server| std::iter::once(server.url_secret.as_str()).chain(server.owner_url_secret()))
    }
}

/// A customer that has secrets, a schema and runs of jobs of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its key in `tenants.list`, which names are made from.
    pub slug: String,
    /// Its name for people; the slug when the files say none.
    pub name: String,
    /// Its schema in the database.
    pub schema: Option<String>,
}

/// The identity of a GitHub repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Github {
    /// `OWNER/NAME`.
    pub repository: String,
    /// The repository's number in digits; empty without an identity that needs it.
    pub repository_id: String,
    /// The owner's number in digits; empty without an identity that needs it.
    pub owner_id: String,
    pub identity: Option<Identity>,
    /// Workflows by name, in the order of the files.
    pub workflows: IndexMap<String, Workflow>,
}

/// How workflows of the repository sign in to Google without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Id of the workload identity pool.
    pub pool: String,
    /// Id of the provider in the pool.
    pub provider: String,
    /// Id of the service account that plans: it reads.
    pub plan: Option<String>,
    /// Id of the service account that applies the release layer.
    pub deploy: Option<String>,
}

/// A secret of the catalogue or of a tenant: the container, not its value.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Where it is declared in the YAML, e.g. `secrets.database-url`, or `tenants.secrets` for a tenant's.
    pub path: String,
    /// Secret Manager's id of the secret.
    pub id: String,
    /// How its first value is made when it has none.
    pub generate: Option<Generate>,
    /// A service that references it is deployed without it while it has no value.
    pub optional: bool,
    pub description: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Regions of a user-managed replication; empty means automatic replication. Immutable at Google.
    pub locations: Vec<String>,
    /// Slug of the tenant that it belongs to; `None` for the catalogue.
    pub tenant: Option<String>,
    /// Keys of the services whose accounts read it at run time, beside those that reference it.
    pub readers: Vec<String>,
    /// Deleting it is refused.
    pub protect: bool,
}

/// How to make a random first value (all from the operating system's generator).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Generate {
    /// 32 random bytes as 64 hexadecimal digits.
    Hex32,
    /// 32 random bytes as URL-safe base64 without padding.
    Base64,
    /// A random (version 4) UUID.
    Uuid,
}

#[derive(Clone, Debug)]
pub struct Service {
    /// Cloud Run's name of the service, e.g. `agent-army-api-staging`.
    pub name: String,
    /// Id (the part before the `@`) of the run-time service account.
    pub service_account: String,
    /// Roles of the run-time account in the project, e.g. `roles/cloudtrace.agent`.
    pub roles: Vec<String>,
    /// `scaling.minInstanceCount` of the service.
    pub min_instances: u32,
    /// `template.scaling.maxInstanceCount`.
    pub max_instances: u32,
    /// Requests that one instance handles at a time.
    pub concurrency: u32,
    /// Request timeout in seconds.
    pub timeout: u32,
    /// `gen1` or `gen2`.
    pub execution_environment: String,
    pub session_affinity: bool,
    /// `all`, `internal` or `internal-and-cloud-load-balancing` (gcloud's words).
    pub ingress: String,
    pub access: Access,
    pub labels: BTreeMap<String, String>,
    pub vpc: Option<Vpc>,
    /// The container that receives requests; its key in messages is the service's own path.
    pub main: Container,
    /// Further containers by name.
    pub sidecars: IndexMap<String, Container>,
    /// What Managed Service for Prometheus collects.
    pub metrics: Option<Metrics>,
    /// How its image is built; then the image lies in the system's own registry, without tag and digest.
    pub build: Option<Build>,
    /// What a new revision has to answer before it gets traffic.
    pub health: Option<Health>,
    /// Deleting it is refused.
    pub protect: bool,
    /// Merge patch (RFC 7396) on the v2 Service, camelCase; `template.containers` and `template.volumes` are maps by name.
    pub v2: Option<Value>,
}

/// How an image is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    pub builder: Builder,
    /// Folder that is built in, relative to the one that holds `environments`.
    pub context: String,
    /// Files and folders that the image is made from, relative to `context`; `None`: the builder knows them.
    pub paths: Option<Vec<String>>,
}

/// What builds an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Builder {
    Cargo(CargoBuild),
    Docker(Box<DockerBuild>),
}

/// An image of one binary, made without Docker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CargoBuild {
    pub package: String,
    /// `None`: the package's only one.
    pub bin: Option<String>,
    pub profile: String,
    pub features: Vec<String>,
    /// The package's own features are on.
    pub default_features: bool,
    /// `NAME@sha256:...`; without one the binary is linked statically.
    pub base: Option<String>,
}

/// An image that `docker buildx build` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerBuild {
    /// Relative to the context.
    pub dockerfile: String,
    /// `None`: the last stage.
    pub target: Option<String>,
    pub args: BTreeMap<String, String>,
    /// Variables of this machine that are secrets of the build.
    pub secrets: Vec<String>,
    /// What `dockerfile` is rendered from; `None`: it is the user's own.
    pub recipe: Option<Recipe>,
}

impl DockerBuild {
    /// The Dockerfile, relative to the folder that holds `environments`.
    pub fn path_in(&self, context: &str) -> String {
        let parts = context.split('/').chain(self.dockerfile.split('/'));
        parts.filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
    }
}

/// What a Dockerfile is rendered from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    pub language: Language,
    pub bases: Bases,
    /// Packages of Debian.
    pub apt_build: Vec<String>,
    pub apt_runtime: Vec<String>,
    pub secrets: Vec<String>,
}

/// What is built, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Language {
    Rust {
        package: String,
        bin: String,
        profile: String,
        features: Vec<String>,
        default_features: bool,
    },
    /// `MODULE:OBJECT`
    PythonUv {
        app: String,
    },
}

/// Images that a Dockerfile begins from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bases {
    pub build: String,
    pub runtime: String,
    /// Rust alone.
    pub ops: String,
    /// Python alone.
    pub uv: String,
}

/// Where a service shows its metrics in the format of Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub path: String,
    pub port: u16,
    /// Seconds between two collections.
    pub interval: u32,
}

impl Metrics {
    /// Name and size of the container that collects them.
    pub const COLLECTOR: &str = "collector";
    pub const CPU: &str = "250m";
    pub const MEMORY: &str = "256Mi";
}

/// A Cloud Run job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Cloud Run's name of the job, e.g. `backup-staging`.
    pub name: String,
    /// Where it is declared in the YAML, e.g. `jobs.backup` or `migrations.shared`, also for the job of one tenant.
    pub path: String,
    /// Key of the service whose image it borrows; `None` when it has an image of its own.
    pub service: Option<String>,
    /// Key of the service that it has variables, secrets, account and network from, whoever its image is from.
    pub lender: Option<String>,
    /// Id (the part before the `@`) of the run-time service account.
    pub service_account: String,
    /// Its one container; what it borrows from its service is in it already.
    pub container: Container,
    /// Seconds that one attempt of a task may take.
    pub timeout: u32,
    /// Further attempts of a task that failed.
    pub max_retries: u32,
    /// Tasks of an execution.
    pub tasks: u32,
    /// Tasks that run at the same time.
    pub parallelism: u32,
    /// Nothing but `deployer run` starts it.
    pub manual: bool,
    /// It runs before new revisions get traffic.
    pub migration: bool,
    /// What served before it ran can serve after it; a rollback past one that says no is refused.
    pub backward_compatible: bool,
    /// Keys in `Environment::jobs` of the migrations that must have succeeded first.
    pub needs: Vec<String>,
    /// Keys of the services whose new revisions wait for this migration; empty for other jobs.
    pub before: Vec<String>,
    /// Slug of the tenant that it is for.
    pub tenant: Option<String>,
    /// Names of the arguments that each run is given.
    pub args_from: Vec<String>,
    /// All arguments in the spelling of the format, `${args.NAME}` for what a run is given and `$$` for a dollar sign.
    /// Empty when `args_from` is; `container.args` has those without a placeholder.
    pub args_template: Vec<String>,
    pub vpc: Option<Vpc>,
    /// Always `gen2`: jobs have no other.
    pub execution_environment: String,
    pub labels: BTreeMap<String, String>,
    /// Deleting it is refused.
    pub protect: bool,
}

/// Who may call a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Only members that hold `roles/run.invoker`.
    Private,
    /// `allUsers` holds `roles/run.invoker`.
    Public,
    /// `invokerIamDisabled`: Cloud Run does not ask who calls.
    NoIamCheck,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// Serverless VPC Access connector (exclusive with the network fields).
    pub connector: Option<String>,
    pub network: Option<String>,
    pub subnet: Option<String>,
    pub tags: Vec<String>,
    /// `private-ranges-only` or `all-traffic`.
    pub egress: String,
}

#[derive(Clone, Debug)]
pub struct Container {
    pub image: String,
    /// Entrypoint; empty means the image's own.
    pub command: Vec<String>,
    pub args: Vec<String>,
    /// The port that receives requests; `None` for sidecars.
    pub port: Option<u16>,
    /// Canonical CPU: `1`, `2`, `500m`.
    pub cpu: String,
    /// Canonical memory: the largest of `Ki`, `Mi`, `Gi` that divides it, e.g. `512Mi`, `1Gi`.
    pub memory: String,
    /// CPU is throttled outside of requests (`resources.cpuIdle`).
    pub cpu_idle: bool,
    pub startup_cpu_boost: bool,
    pub env: BTreeMap<String, String>,
    /// Environment variables that come from a secret, by variable name.
    pub secrets: BTreeMap<String, SecretRef>,
    /// Files that come from a secret, by absolute path.
    pub files: BTreeMap<String, SecretRef>,
    /// In-memory directories by absolute path, with their size limit in canonical form.
    pub in_memory: BTreeMap<String, String>,
    pub startup_probe: Option<Probe>,
    pub liveness_probe: Option<Probe>,
    pub readiness_probe: Option<Probe>,
    /// Names of containers that must have started first.
    pub depends_on: Vec<String>,
}

/// `alias`, `alias:7` or `alias:latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// Key in `Environment::secrets`.
    pub alias: String,
    /// A written version (`7`, `latest`, a version alias); `None` is pinned to the newest enabled one when planning.
    pub version: Option<String>,
}

/// One probe; times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub action: ProbeAction,
    pub initial_delay_seconds: u32,
    pub timeout_seconds: u32,
    pub period_seconds: u32,
    pub failure_threshold: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAction {
    /// HTTP GET of the path on the port (`None`: the container's port).
    Http {
        path: String,
        port: Option<u16>,
    },
    Tcp {
        port: Option<u16>,
    },
    Grpc {
        service: Option<String>,
        port: Option<u16>,
    },
}

/// Where the keys of the merged configuration were written, by dotted path (`services.api.memory`).
#[derive(Clone, Debug, Default)]
pub struct Sources {
    by_path: BTreeMap<String, Location>,
}

/// A place in a file; line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Relative to the folder that holds `environments/`.
    pub file: PathBuf,
    pub line: u32,
    pub column: u32,
}

impl Sources {
    pub fn insert(&mut self, path: String, location: Location) {
        self.by_path.insert(path, location);
    }

    /// The place of `path`, or of its nearest ancestor that was written.
    pub fn find(&self, path: &str) -> Option<&Location> {
        let mut path = path;
        loop {
            if let Some(location) = self.by_path.get(path) {
                return Some(location);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}
