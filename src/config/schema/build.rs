//! Keys of how a service's image is built, and of the tags that images get.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Named;

/// How `deployer build` makes the service's image. The service needs a `registry`, and its image lies there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct BuildKeys {
    /// What builds: `cargo` makes an image of one binary without Docker, `docker` runs `docker buildx build`. Required.
    pub(crate) builder: Option<Builder>,
    /// Folder that is built in, relative to the one that holds `environments`. Default: that folder.
    pub(crate) context: Option<String>,
    /// Files and folders that the image is made from, relative to `context`; what they do not change is not built again.
    /// Default: with `cargo` the package and the packages beside it that it depends on, with `docker` all of `context`.
    /// Of Cargo's own files, `Cargo.lock` and the workspace's `Cargo.toml` always count.
    pub(crate) paths: Option<Vec<String>>,
    /// `cargo`: the package. Default: the service's name in this file.
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_-]*$"))]
    #[schemars(extend("errorMessage" = "the name of a package: letters, digits, dashes and underscores"))]
    pub(crate) package: Option<String>,
    /// `cargo`: the binary. Default: the package's only one.
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_-]*$"))]
    #[schemars(extend("errorMessage" = "the name of a binary: letters, digits, dashes and underscores"))]
    pub(crate) bin: Option<String>,
    /// `cargo`: the profile. Default: `dev` in the environment `dev`, else `release`.
    #[schemars(regex(pattern = r"^[A-Za-z][A-Za-z0-9_-]*$"))]
    #[schemars(extend("errorMessage" = "the name of a profile, e.g. dev or release"))]
    pub(crate) profile: Option<String>,
    /// `cargo`: features to turn on. Default: the package's own.
    pub(crate) features: Option<Vec<Feature>>,
    /// `cargo`: the package's own features are on. Default: `true`.
    pub(crate) default_features: Option<bool>,
    /// `cargo`: image to put the binary on, by digest: `NAME@sha256:...`. Default: none, and then the binary is linked statically.
    #[schemars(regex(pattern = r"^[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}$"))]
    #[schemars(extend("errorMessage" = "an image by its digest, NAME@sha256: and 64 hexadecimal digits: a tag would be another image tomorrow"))]
    pub(crate) base: Option<String>,
    /// `docker`: the file to build, relative to `context`. Default: `Dockerfile`.
    pub(crate) dockerfile: Option<String>,
    /// `docker`: the stage to build. Default: the last one.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    #[schemars(extend("errorMessage" = "the name of a stage"))]
    pub(crate) target: Option<String>,
    /// `docker`: build arguments by name. They stay readable in the image: never a secret. Default: none.
    pub(crate) args: Option<Named<String>>,
}

/// What builds an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Builder {
    Cargo,
    Docker,
}

/// Name of a feature of a package.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Feature(
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_+./-]*$"))]
    #[schemars(extend("errorMessage" = "the name of a feature"))]
    pub(crate) String,
);

/// Tags that images get.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ImageTagsKeys {
    /// Tag that `deployer build` gives to every image, beside one for what it was made from; for people and for `--tag`,
    /// e.g. `${git.sha}`. Default: none.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"))]
    #[schemars(extend("errorMessage" = "a tag: letters, digits, dots, dashes and underscores, at most 128"))]
    pub(crate) deploy: Option<String>,
    /// Tag that follows the image that serves: it moves last, once a release has the traffic. It may not be the same as `deploy`.
    /// Default: none.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"))]
    #[schemars(extend("errorMessage" = "a tag: letters, digits, dots, dashes and underscores, at most 128"))]
    pub(crate) alias: Option<String>,
}
