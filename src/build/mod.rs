//! Images of the system's own services: from sources to what a registry takes.
//!
//! The way of a build: what it is made from (`inputs`) -> a binary (`cargo`) -> proof that it runs without anything else
//! (`elf`) -> a layer (`layer`) -> an image (`oci`), which `gcp` pushes. With `builder: docker` all of it is one command
//! (`docker`). Nothing here reaches Google, and nothing prints.

mod cargo;
mod docker;
mod elf;
mod inputs;
mod layer;
mod oci;
mod workspace;

use std::path::{Path, PathBuf};

pub use cargo::compile;
pub use docker::{Docker, buildx};
pub use inputs::Source;
pub use oci::{Image, Meta, assemble};

use crate::config::model::{Build, Builder};

/// How the tags begin that say what an image was made from.
pub const SOURCE_TAG: &str = "src-";

/// Key of the label that says what an image was made from, by the whole digest: images have it that deployer built.
/// The sandbox has no stand-in for those.
pub const SOURCE_LABEL: &str = gcp_sandbox::runtime::BUILT;

/// Why an image cannot be built, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    pub message: String,
    pub hints: Vec<String>,
}

impl BuildError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new() }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Hears each line that a builder says.
pub type Listener<'a> = &'a (dyn Fn(&str) + Sync);

/// A build whose files have been found.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub source: Source,
    /// The folder that is built in.
    pub context: PathBuf,
    /// The binary, with `builder: cargo`.
    pub program: Option<Program>,
}

/// A binary of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub package: String,
    pub bin: String,
    /// Of the package.
    pub version: String,
    /// The root of the workspace.
    pub workspace: PathBuf,
}

/// Finds out what is to be built and from what, and builds nothing. `root` holds `environments`, `port` is the service's.
///
/// Reads every file that the image is made from.
pub fn prepare(root: &Path, build: &Build, port: u16) -> Result<Prepared, BuildError> {
    let context = root.join(&build.context);
    if !context.is_dir() {
        let message = format!("there is no folder `{}` to build in", build.context);
        return Err(BuildError::new(message)
            .hint("correct `build.context`, relative to the folder that holds `environments`"));
    }
    let (mut paths, program) = match &build.builder {
        Builder::Cargo(cargo) => {
            let workspace = workspace::read(&context)?;
            let program = workspace.program(cargo)?;
            let paths = if build.paths.is_none() { workspace.paths_of(&program.package) } else { Vec::new() };
            (workspace.always().into_iter().chain(paths).collect(), Some(program))
        }
        Builder::Docker(docker) => {
            let file = context.join(&docker.dockerfile);
            if !file.is_file() {
                let message = format!("there is no `{}` in `{}`", docker.dockerfile, build.context);
                return Err(BuildError::new(message).hint("correct `build.dockerfile`, or write the file"));
            }
            let whole = build.paths.is_none().then(|| inputs::Path::new("", &context));
            (whole.into_iter().chain([inputs::Path::new("dockerfile", &file)]).collect::<Vec<_>>(), None)
        }
    };
    for written in build.paths.iter().flatten() {
        paths.push(inputs::Path::new(written, &context.join(written)));
    }
    let source = inputs::digest(&build.builder, program.as_ref(), port, &paths)?;
    Ok(Prepared { source, context, program })
}
