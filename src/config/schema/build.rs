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
    /// `docker`: environment variables of this machine that are secrets of the build, by name. A step has one with
    /// `RUN --mount=type=secret,id=NAME,env=NAME`; it does not stay in the image. Default: none.
    pub(crate) secrets: Option<Vec<VariableName>>,
    /// `docker`: what `deployer render` makes the Dockerfile from, with a `.dockerignore` beside it: `rust` is a package of Cargo
    /// (`package`, `bin`, `profile`, `features` and `default_features` say which), with the targets `runtime` (the last one) and
    /// `ops` (with a shell and `apt_runtime`); `python-uv` is an app with a `uv.lock`, served by uvicorn. Default: none, the
    /// Dockerfile is your own.
    pub(crate) template: Option<Template>,
    /// `template: python-uv`: module and object that are served, e.g. `src.app.main:app`. Required there.
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*$"))]
    #[schemars(extend("errorMessage" = "a module and an object in it, e.g. src.app.main:app"))]
    pub(crate) app: Option<String>,
    /// `template`: the images that the file begins from.
    pub(crate) bases: Option<BasesKeys>,
    /// `template`: packages of Debian that building needs. Default: none.
    pub(crate) apt_build: Option<Vec<AptPackage>>,
    /// `template`: packages of Debian that running needs, e.g. `postgresql-client`; with `rust` they are in the target `ops`, which
    /// has `ca-certificates` too. Default: none.
    pub(crate) apt_runtime: Option<Vec<AptPackage>>,
}

/// Images that a rendered Dockerfile begins from, each with its tag, best with its digest too: `NAME:TAG@sha256:...`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct BasesKeys {
    /// What builds. Default: `rust:1.95-slim-bookworm` or `python:3.12-slim-bookworm`.
    pub(crate) build: Option<BaseImage>,
    /// What runs. Default: `gcr.io/distroless/cc-debian12:nonroot` or `python:3.12-slim-bookworm`.
    pub(crate) runtime: Option<BaseImage>,
    /// `rust`: what the target `ops` runs on, a Debian. Default: `debian:12-slim`.
    pub(crate) ops: Option<BaseImage>,
    /// `python-uv`: where uv is taken from. Default: `ghcr.io/astral-sh/uv:0.9`.
    pub(crate) uv: Option<BaseImage>,
}

/// What a Dockerfile is rendered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Template {
    Rust,
    PythonUv,
}

/// An image with a tag or a digest.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct BaseImage(
    #[schemars(regex(
        pattern = r"^[a-z0-9][A-Za-z0-9._/-]*(:[0-9]+/[A-Za-z0-9._/-]+)?(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha256:[0-9a-f]{64})?$"
    ))]
    #[schemars(extend("errorMessage" = "an image with its tag or digest, e.g. debian:12-slim"))]
    pub(crate) String,
);

/// Name of a package of Debian.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct AptPackage(
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9+.-]+$"))]
    #[schemars(extend("errorMessage" = "the name of a package of Debian"))]
    pub(crate) String,
);

/// Name of an environment variable.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct VariableName(
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    #[schemars(extend("errorMessage" = "the name of a variable: letters, digits and underscores"))]
    pub(crate) String,
);

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
