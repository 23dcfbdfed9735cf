//! Keys of what runs on this machine beside the sandbox.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Named;

/// What `deployer up` and `deployer apply` run on this machine beside the sandbox. Only for `target: sandbox`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct LocalKeys {
    /// Databases and caches, by a name for use in this file. They keep their data and ports in the folder `.deployer/sandbox`.
    pub(crate) services: Option<Named<LocalServiceKeys>>,
    /// Commands of this machine that run in place of the images of services, by their names in this file: the program and its
    /// arguments, started in the folder that holds `environments`, with `PORT`, variables and secrets as in Cloud Run.
    pub(crate) run: Option<Named<Vec<String>>>,
}

/// A server of this machine.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct LocalServiceKeys {
    /// What it is. PostgreSQL is taken from this machine, or fetched once and kept; Redis (or Valkey) has to be installed. Required.
    pub(crate) image: Option<LocalImage>,
    /// `postgres`: the database, which is made with the roles `owner` and `app`. Default: `main`.
    #[schemars(regex(pattern = r"^[a-z_][a-z0-9_]{0,62}$"))]
    #[schemars(extend("errorMessage" = "the name of a database: lower-case letters, digits and underscores, at most 63"))]
    pub(crate) database: Option<String>,
    /// Name in `secrets` of the secret that gets its URL: a new version whenever that changes. With `owner_url_secret` it is
    /// the URL of a role that may log in and owns nothing. Required.
    pub(crate) url_secret: Option<String>,
    /// `postgres`: name in `secrets` of the secret that gets the URL of the role that owns the database. Default: none.
    pub(crate) owner_url_secret: Option<String>,
    /// Scheme of the URLs, e.g. `postgresql+asyncpg`. Default: `postgresql` or `redis`.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9+.-]*$"))]
    #[schemars(extend("errorMessage" = "the scheme of a URL, without `://`"))]
    pub(crate) url_scheme: Option<String>,
}

/// What runs as a server of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LocalImage {
    Postgres,
    Redis,
}
