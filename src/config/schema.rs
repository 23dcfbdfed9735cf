//! The keys of the YAML as types: the one place where a key and its documentation stand.
//!
//! The JSON Schema for editors, the reference in the documentation and the check of every file are all made
//! from these types. Nothing is required here, because an overlay says only what differs; what must be there
//! in the end is checked after merging. Defaults are given last, by [`super::resolve`].

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A scalar that the user may write as a number or as text; kept as text.
macro_rules! number_or_text {
    ($(#[$meta:meta])* $name:ident, $schema:tt) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match Value::deserialize(deserializer)? {
                    Value::String(text) => Ok(Self(text)),
                    Value::Number(number) => Ok(Self(number.to_string())),
                    _ => Err(serde::de::Error::custom("expected a number or text")),
                }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

mod build;
mod foundation;
mod jobs;
mod local;
mod pipeline;
mod rollout;

pub(crate) use build::{BaseImage, BasesKeys, BuildKeys, Builder, ImageTagsKeys, Template};
pub(crate) use foundation::{GithubKeys, IdentityKeys, RegistryKeys, TenantsKeys};
pub(crate) use jobs::{JobCommon, JobKeys, MigrationKeys};
pub(crate) use local::{LocalImage, LocalKeys, LocalServiceKeys};
pub(crate) use pipeline::{
    CiKeys, OnKeys, OnWord, OneOrMore, PullRequestKeys, PushKeys, SuiteKeys, SuiteServiceKeys, TriggerKeys,
    WorkflowKeys, WorkflowRun,
};
pub(crate) use rollout::{Expect, HealthKeys, RolloutKeys, SmokeKeys, Status};

/// A map whose entries may be `null`, which removes what a file below has said.
pub(crate) type Named<T> = IndexMap<String, Option<T>>;

/// One file of `environments/`: the base, an overlay (the environment's own file), or an included part.
///
/// An overlay is merged over the base: maps merge, scalars and lists replace, `null` removes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct File {
    /// Version of this format.
    pub(crate) deployer: Option<Version>,
    /// Name of the environment; the same as the file's name without `.yaml`.
    #[expect(dead_code, reason = "obeyed while merging; here for its schema")]
    pub(crate) environment: Option<String>,
    /// Name of the system that all environments belong to; labels everything that deployer makes. Required.
    #[schemars(regex(pattern = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"))]
    #[schemars(extend("errorMessage" = "lower-case letters, digits and dashes, starting with a letter, at most 40 characters"))]
    pub(crate) system: Option<String>,
    /// Where to deploy to. `google` is the default; `sandbox` is an emulator on this machine that needs no account.
    pub(crate) target: Option<Target>,
    /// The Google Cloud project. Required.
    pub(crate) project: Option<ProjectKeys>,
    /// Google Cloud region of everything regional, e.g. `us-central1`. Required.
    #[schemars(regex(pattern = r"^[a-z]+(-[a-z]+)+[0-9]+$"))]
    #[schemars(extend("errorMessage" = "a region such as us-central1 or europe-west1"))]
    pub(crate) region: Option<String>,
    /// How names are made.
    pub(crate) naming: Option<Naming>,
    /// Values of your own for `${vars.NAME}`.
    #[expect(dead_code, reason = "obeyed while merging; here for its schema")]
    pub(crate) vars: Option<Named<String>>,
    /// APIs to enable beyond those that the declared objects need, e.g. `vision.googleapis.com`.
    pub(crate) apis: Option<Vec<Api>>,
    /// Further files to merge before this one, as patterns relative to this file's folder, e.g. `services/*.yaml`.
    #[expect(dead_code, reason = "obeyed while merging; here for its schema")]
    pub(crate) include: Option<Vec<String>>,
    /// Keys that every service takes over unless it says otherwise.
    #[expect(dead_code, reason = "obeyed while merging; here for its schema")]
    pub(crate) defaults: Option<ServiceKeys>,
    /// Named sets of service keys; a service takes one over with `class: NAME`.
    #[expect(dead_code, reason = "obeyed while merging; here for its schema")]
    pub(crate) classes: Option<Named<ServiceKeys>>,
    /// The Docker repository for the system's own images, in the environment's region and project.
    pub(crate) registry: Option<RegistryKeys>,
    /// Tags of the system's own images.
    pub(crate) image_tags: Option<ImageTagsKeys>,
    /// The catalogue of secrets: a name for use in this file, and the secret in Secret Manager that it stands for.
    pub(crate) secrets: Option<Named<SecretKeys>>,
    /// Customers with secrets, a schema and runs of jobs of their own.
    pub(crate) tenants: Option<TenantsKeys>,
    /// Cloud Run services by a name for use in this file.
    pub(crate) services: Option<Named<ServiceKeys>>,
    /// Cloud Run jobs by a name for use in this file.
    pub(crate) jobs: Option<Named<JobKeys>>,
    /// Jobs that run before new revisions get traffic, by a name that no job has. One that fails stops the deployment.
    pub(crate) migrations: Option<Named<MigrationKeys>>,
    /// What runs on this machine beside the sandbox. Only for `target: sandbox`.
    pub(crate) local: Option<LocalKeys>,
    /// How new revisions of all services get traffic.
    pub(crate) rollout: Option<RolloutKeys>,
    /// Checks of new revisions before they get traffic, by name, in this order.
    pub(crate) smoke: Option<Named<SmokeKeys>>,
    /// The GitHub repository of the system, and how its workflows sign in.
    pub(crate) github: Option<GithubKeys>,
    /// What GitHub tests, and which deployer its workflows use.
    pub(crate) ci: Option<CiKeys>,
    /// How plans are shown.
    pub(crate) plan: Option<PlanKeys>,
    /// Findings that are accepted.
    pub(crate) lint: Option<LintKeys>,
}

/// Version of the format.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum Version {
    #[serde(rename = "v1")]
    V1,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    Google,
    Sandbox,
}

/// Full name of a Google API.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Api(
    #[schemars(regex(pattern = r"^[a-z][a-z0-9-]*(\.[a-z0-9-]+)+$"))]
    #[schemars(extend("errorMessage" = "the API's full name, e.g. vision.googleapis.com"))]
    pub(crate) String,
);

/// The Google Cloud project that an environment lives in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ProjectKeys {
    /// Id of the project. Required. With `example` or `your-` in it, it is a stand-in that only the sandbox accepts.
    #[schemars(regex(pattern = r"^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$"))]
    #[schemars(extend("errorMessage" = "a project id: 6 to 30 lower-case letters, digits and dashes, starting with a letter"))]
    pub(crate) id: Option<String>,
    /// Number of the project; asked from Google when it is needed and not written here.
    pub(crate) number: Option<ProjectNumber>,
}

/// How names are made from the names in this file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Naming {
    /// Name of a service or account that sets no `name` of its own. Default: `${name}-${env}`.
    pub(crate) resource: Option<String>,
}

/// A secret of the catalogue. Its value never stands in a file: see `deployer secrets set`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct SecretKeys {
    /// Id of the secret in Secret Manager. Default: its name in this file.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,255}$"))]
    #[schemars(extend("errorMessage" = "letters, digits, dashes and underscores, at most 255"))]
    pub(crate) id: Option<String>,
    /// Make the first value by chance when there is none: `hex32` (64 hexadecimal digits), `base64` (32 bytes) or `uuid`.
    pub(crate) generate: Option<Generate>,
    /// Services are deployed without the secret while it has no value. Default: `false`.
    pub(crate) optional: Option<bool>,
    /// What the secret is for.
    pub(crate) description: Option<String>,
    /// Labels of the secret, beside those that deployer sets.
    pub(crate) labels: Option<Named<String>>,
    /// Regions that hold the value. Default: Google chooses. Cannot be changed once the secret exists.
    pub(crate) locations: Option<Vec<String>>,
    /// Deleting the secret is refused. Default: `true` in production, else `false`.
    pub(crate) protect: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Generate {
    Hex32,
    Base64,
    Uuid,
}

/// A Cloud Run service.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ServiceKeys {
    /// Cloud Run's name of the service, at most 49 characters. Default: `naming.resource`.
    pub(crate) name: Option<String>,
    /// Name of the class in `classes` whose keys this service takes over.
    #[expect(dead_code, reason = "obeyed while merging; here for its schema")]
    pub(crate) class: Option<String>,
    /// How its image is built. Default: it is not, and `image` names one that exists.
    pub(crate) build: Option<BuildKeys>,
    /// Port that the container listens on. Default: `8080`.
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) port: Option<u16>,
    /// Fewest instances, also while there are no requests. Default: `0`.
    #[schemars(range(min = 0, max = 1000))]
    pub(crate) min_instances: Option<u32>,
    /// Most instances. Default: `10`.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) max_instances: Option<u32>,
    /// Requests that one instance handles at a time. Default: `80`, and `1` when `cpu` is below 1.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) concurrency: Option<u32>,
    /// Longest time that a request may take. Default: `300s`.
    pub(crate) timeout: Option<Seconds>,
    /// `gen1` or `gen2`. Default: `gen2`, and `gen1` when `cpu` is below 1.
    pub(crate) execution_environment: Option<ExecutionEnvironment>,
    /// Requests of one client go to the same instance where possible. Default: `false`.
    pub(crate) session_affinity: Option<bool>,
    /// Networks that may reach the service. Default: `all`.
    pub(crate) ingress: Option<Ingress>,
    /// Everybody may call the service. Default: `false`. The short form of `access: public`.
    pub(crate) allow_unauthenticated: Option<bool>,
    /// Who may call the service: holders of `roles/run.invoker` (`private`), everybody by a grant to allUsers (`public`), or
    /// everybody because Cloud Run does not ask (`no_iam_check`). Default: `private`.
    pub(crate) access: Option<Access>,
    /// Run-time service account: its id, the part before the `@`. Default: the service's Cloud Run name. May be shared by services.
    pub(crate) service_account: Option<String>,
    /// Roles that the run-time account has in the project, e.g. `roles/cloudtrace.agent`. Default: none. What secrets need comes by itself.
    pub(crate) roles: Option<Vec<Role>>,
    /// Metrics in the format of Prometheus, which a sidecar of Google collects: for now `/metrics` on port 8080 every 30s, anything else is refused in the plan. Default: none are collected.
    pub(crate) metrics: Option<MetricsKeys>,
    /// Path that tells with 2xx or 3xx that the service is well. Default of `startup_probe` (for up to 240 seconds), of `liveness_probe`
    /// and of `rollout.health.path`; `readiness_probe` stays what it is. Default: none.
    #[schemars(regex(pattern = "^/"), extend("errorMessage" = "a path that starts with `/`"))]
    pub(crate) health: Option<String>,
    /// How new revisions get traffic; what is not said here is as in the file's own `rollout`.
    pub(crate) rollout: Option<RolloutKeys>,
    /// Deleting the service is refused. Default: `false`.
    pub(crate) protect: Option<bool>,
    /// Labels of the service, beside those that deployer sets.
    pub(crate) labels: Option<Named<String>>,
    /// Way into a VPC network.
    pub(crate) vpc: Option<VpcKeys>,
    /// Further containers of every instance, by name. They take the keys of a container, without `port`.
    pub(crate) sidecars: Option<Named<ContainerKeys>>,
    /// Merge patch (RFC 7396) on the service of Cloud Run's API v2, in its own camelCase, for what has no key here.
    /// `template.containers` and `template.volumes` are maps by name in it; the service's own container is `main`.
    pub(crate) v2: Option<IndexMap<String, Value>>,
    #[serde(flatten)]
    pub(crate) container: ContainerKeys,
}

/// One container of an instance.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ContainerKeys {
    /// Container image, e.g. `us-docker.pkg.dev/cloudrun/container/hello`. Required, but for a service where there is a `registry`:
    /// there the default is `REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME` with the service's name in this file. A tag of an
    /// image in `registry` is planned as the digest that it points to; without one the first release needs `--tag` or `--image`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"))]
    #[schemars(extend("errorMessage" = "an image reference such as REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG"))]
    pub(crate) image: Option<String>,
    /// Entrypoint of the container. Default: the image's own.
    pub(crate) command: Option<Vec<String>>,
    /// Arguments of the entrypoint. Default: the image's own.
    pub(crate) args: Option<Vec<String>>,
    /// CPUs: `1`, `2`, `4`, `6`, `8`, or a part of one such as `0.5` or `500m`. Default: `1`.
    pub(crate) cpu: Option<Cpu>,
    /// Memory, e.g. `512Mi` or `2Gi`. Default: `512Mi`.
    pub(crate) memory: Option<Memory>,
    /// CPU is there only while a request is handled, and costs only then. Default: `true`.
    pub(crate) cpu_idle: Option<bool>,
    /// More CPU while an instance starts. Default: `false`.
    pub(crate) startup_cpu_boost: Option<bool>,
    /// Environment variables. Numbers and booleans become text. Secrets do not belong here but in `secrets`.
    pub(crate) env: Option<Named<String>>,
    /// Secrets as `NAME: alias[:version]` for an environment variable or `/path/to/file: alias[:version]` for a file.
    /// Without a version, the newest one at the time of the plan; `latest` is whatever is newest when an instance starts.
    pub(crate) secrets: Option<Named<String>>,
    /// Secrets as files: `x` or `x:version` is the file `/secrets/x/x`.
    pub(crate) secret_files: Option<Vec<String>>,
    /// Directories by absolute path.
    pub(crate) volumes: Option<Named<VolumeKeys>>,
    /// Tells when the container has started. Default: Cloud Run waits until the port accepts connections.
    pub(crate) startup_probe: Option<ProbeKeys>,
    /// Restarts a container that fails it. Default: none.
    pub(crate) liveness_probe: Option<ProbeKeys>,
    /// Keeps requests away from an instance that fails it. Default: none.
    pub(crate) readiness_probe: Option<ProbeKeys>,
    /// Names of sidecars that must have started before this container.
    pub(crate) depends_on: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExecutionEnvironment {
    Gen1,
    Gen2,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ingress {
    All,
    Internal,
    InternalAndCloudLoadBalancing,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Access {
    Private,
    Public,
    NoIamCheck,
}

/// Way into a VPC network: through a connector, or directly with `network` and `subnet`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct VpcKeys {
    /// Serverless VPC Access connector. Not together with `network`.
    pub(crate) connector: Option<String>,
    /// VPC network.
    pub(crate) network: Option<String>,
    /// Subnet of the network.
    pub(crate) subnet: Option<String>,
    /// Network tags of the instances.
    pub(crate) tags: Option<Vec<String>>,
    /// Traffic that goes through the network: `private-ranges-only` or `all-traffic`. Default: `private-ranges-only`.
    pub(crate) egress: Option<Egress>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum Egress {
    #[serde(rename = "private-ranges-only")]
    PrivateRangesOnly,
    #[serde(rename = "all-traffic")]
    AllTraffic,
    #[serde(rename = "PRIVATE_RANGES_ONLY")]
    PrivateRangesOnlyUpper,
    #[serde(rename = "ALL_TRAFFIC")]
    AllTrafficUpper,
}

/// Full name of a role.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Role(
    #[schemars(regex(pattern = r"^((projects|organizations)/[a-z0-9.:-]+/)?roles/[A-Za-z0-9_.]+$"))]
    #[schemars(extend("errorMessage" = "a role's full name, e.g. roles/cloudtrace.agent or projects/PROJECT/roles/NAME"))]
    pub(crate) String,
);

/// Where a service shows its metrics.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct MetricsKeys {
    /// Path of the metrics. Default: `/metrics`.
    #[schemars(regex(pattern = "^/"), extend("errorMessage" = "a path that starts with `/`"))]
    pub(crate) path: Option<String>,
    /// Port of the metrics. Default: the service's.
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) port: Option<u16>,
    /// Time between two collections, `5s` to `5m`. Default: `30s`.
    pub(crate) interval: Option<Seconds>,
}

/// A directory of a container.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct VolumeKeys {
    /// An empty directory in memory with this size limit, e.g. `64Mi`. It counts as memory of the container. Required.
    pub(crate) in_memory: Option<Memory>,
}

/// A probe; text is the short form of `{path: TEXT}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ProbeKeys {
    Path(#[schemars(regex(pattern = "^/"))] String),
    Full(Box<ProbeFields>),
}

/// A probe. It has one of `path`, `tcp` and `grpc`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ProbeFields {
    /// Path of an HTTP request that must be answered with 2xx or 3xx.
    #[schemars(regex(pattern = "^/"), extend("errorMessage" = "a path that starts with `/`"))]
    pub(crate) path: Option<String>,
    /// `true`: the port must accept a connection.
    pub(crate) tcp: Option<bool>,
    /// `true`, or the name of a service, for gRPC's health check.
    pub(crate) grpc: Option<Grpc>,
    /// Port. Default: the container's.
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) port: Option<u16>,
    /// Seconds between the start of the container and the first probe. Default: `0`.
    #[schemars(range(min = 0, max = 3600))]
    pub(crate) initial_delay_seconds: Option<u32>,
    /// Seconds between probes. Default: `10`.
    #[schemars(range(min = 1, max = 3600))]
    pub(crate) period_seconds: Option<u32>,
    /// Seconds until a probe has failed. Default: `1`.
    #[schemars(range(min = 1, max = 3600))]
    pub(crate) timeout_seconds: Option<u32>,
    /// Failures in a row until the container has failed. Default: `3`.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) failure_threshold: Option<u32>,
}

/// How plans are shown.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct PlanKeys {
    /// Names of environment variables whose values may stand in plans as JSON and Markdown. Others are hidden there.
    pub(crate) show_env: Option<Vec<String>>,
}

/// Findings that are accepted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct LintKeys {
    /// Reasons by rule and path, e.g. `{cors-any: {services.api.env.CORS_ALLOWED_ORIGINS: "public API"}}`.
    pub(crate) allow: Option<Named<Named<String>>>,
}

number_or_text!(
    /// CPUs of a container.
    Cpu,
    {
        "type": ["number", "string"],
        "exclusiveMinimum": 0,
        "maximum": 8,
        "pattern": r"^([0-9]+(\.[0-9]{1,3})?|[0-9]{2,4}m)$",
        "errorMessage": "CPUs such as 1, 2, 0.5 or 500m"
    }
);
number_or_text!(
    /// An amount of memory.
    Memory,
    {
        "type": "string",
        "pattern": r"^[1-9][0-9]*(Ki|Mi|Gi)$",
        "errorMessage": "a size such as 512Mi or 2Gi"
    }
);
number_or_text!(
    /// A time of whole seconds.
    Seconds,
    {
        "type": ["integer", "string"],
        "minimum": 1,
        "maximum": 3600,
        "pattern": r"^[1-9][0-9]{0,5}(s|m|h)?$",
        "errorMessage": "a time such as 300, 300s, 5m or 1h"
    }
);
number_or_text!(
    /// Number of a project.
    ProjectNumber,
    {
        "type": ["integer", "string"],
        "minimum": 1,
        "pattern": r"^[1-9][0-9]{0,18}$",
        "errorMessage": "the project's number, digits only"
    }
);

/// `true` or the name of a gRPC service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grpc(pub(crate) Option<String>);

impl<'de> Deserialize<'de> for Grpc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(service) => Ok(Self(Some(service))),
            Value::Bool(true) => Ok(Self(None)),
            _ => Err(serde::de::Error::custom("expected `true` or the name of a gRPC service")),
        }
    }
}

impl JsonSchema for Grpc {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Grpc".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["boolean", "string"], "not": {"const": false}, "errorMessage": "`true` or the name of a gRPC service"})
    }
}
