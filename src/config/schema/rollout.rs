//! Keys of what a new revision has to show before it gets traffic.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Named, Seconds};

/// How new revisions get traffic.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct RolloutKeys {
    /// What a new revision has to answer before it gets traffic. Default: nothing, unless there is a `path` or the service's `health`.
    pub(crate) health: Option<HealthKeys>,
}

/// Requests to a new revision while it has no traffic.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct HealthKeys {
    /// Path of a request that must be answered with 2xx or 3xx. Default: the service's `health`.
    #[schemars(regex(pattern = "^/"), extend("errorMessage" = "a path that starts with `/`"))]
    pub(crate) path: Option<String>,
    /// Most requests; after them the release has failed. Default: `10`.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) attempts: Option<u32>,
    /// Time between two requests, `1s` to `1m`. Default: `1s`.
    pub(crate) interval: Option<Seconds>,
    /// Good answers in a row that it takes. Default: `3`.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) successes: Option<u32>,
}

/// A check of a new revision before it gets traffic: one request, and what its answer has to be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct SmokeKeys {
    /// Service that is asked. Default: the only one.
    pub(crate) service: Option<String>,
    /// Asked instead of the service's own URL, without a token: `https://HOST`, such as its domain or what stands in front of it. It is
    /// asked once the traffic is there, some times for as long as it fails; then the traffic goes back.
    #[schemars(regex(pattern = "^https?://[^/?#\\s]+$"), extend("errorMessage" = "`https://HOST` and no path: that is what `get` says"))]
    pub(crate) url: Option<String>,
    /// Path of a GET request. Default, without `post` and its like: the service's `health`.
    #[schemars(regex(pattern = "^/"), extend("errorMessage" = "a path that starts with `/`"))]
    pub(crate) get: Option<String>,
    /// Path of a HEAD request.
    #[schemars(regex(pattern = "^/"), extend("errorMessage" = "a path that starts with `/`"))]
    pub(crate) head: Option<String>,
    /// Path of a POST request.
    #[schemars(regex(pattern = "^/"), extend("errorMessage" = "a path that starts with `/`"))]
    pub(crate) post: Option<String>,
    /// Path of a PUT request.
    #[schemars(regex(pattern = "^/"), extend("errorMessage" = "a path that starts with `/`"))]
    pub(crate) put: Option<String>,
    /// Path of a DELETE request.
    #[schemars(regex(pattern = "^/"), extend("errorMessage" = "a path that starts with `/`"))]
    pub(crate) delete: Option<String>,
    /// Headers of the request. Never a secret: they stand in plans.
    pub(crate) headers: Option<Named<String>>,
    /// Body of the request: text, or anything else to be sent as JSON. Never a secret.
    #[schemars(extend("type" = ["string", "number", "boolean", "object", "array"]))]
    pub(crate) body: Option<Value>,
    /// Status of the answer, or a list of those that will do. Default: `200`.
    pub(crate) expect: Option<Expect>,
    /// What the answer has to have in it as JSON: objects may have more fields.
    #[schemars(extend("type" = ["string", "number", "boolean", "object", "array"]))]
    pub(crate) json: Option<Value>,
    /// Text that the answer has to have in it.
    pub(crate) text: Option<String>,
    /// Field of the JSON answer, `version` or `build.commit`, that has to tell what is released: a tag of the image (`v1.2.3`,
    /// `1.2.3`), its commit or the first seven or more digits of that, or the revision's name (`K_REVISION`). `.` is all of a plain text.
    #[schemars(length(min = 1))]
    pub(crate) version: Option<String>,
    /// Longest time until the whole answer is there, `1s` to `1m`. Default: `10s`.
    pub(crate) max_time: Option<Seconds>,
}

/// One status or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Expect {
    One(Status),
    Any(Vec<Status>),
}

/// Status of an HTTP answer.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Status(
    #[schemars(range(min = 100, max = 599), extend("errorMessage" = "a status such as 200"))] pub(crate) u16,
);
