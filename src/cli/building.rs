//! From a service with `build` to its image in the registry: finds out whether it is there, and if not builds and pushes it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use super::session::{Selection, Session};
use super::{CliError, carrying_out};
use crate::build::{self, BuildError, Docker, Meta, Prepared};
use crate::config::Environment;
use crate::config::model::{Build, Builder, CargoBuild, Service, Target};
use crate::gcp::{ErrorKind, Gcp, Push, Tag};
use crate::resource::kinds::images;
use crate::resource::kinds::repository::Repository;
use crate::resource::kinds::run_service::{self, RunService};
use crate::resource::{Address, Layer};
use crate::view::{BuildRow, Out};

/// A service whose image is built, with what it is built from.
pub struct Buildable<'a> {
    pub key: &'a str,
    service: &'a Service,
    build: &'a Build,
    prepared: Prepared,
}

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> Self {
        Self::User { message: error.message, hints: error.hints }
    }
}

/// Reads what the services of `env` with these keys are built from, those without a `build` left out.
pub fn prepared<'a>(
    env: &'a Environment,
    root: &Path,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<Vec<Buildable<'a>>, CliError> {
    let mut found = Vec::new();
    for (key, service) in env.services.iter().filter(|(key, _)| wanted(key)) {
        let Some(build) = &service.build else { continue };
        let port = service.main.port.unwrap_or_default();
        let prepared = build::prepare(root, build, port).map_err(|error| of(key, error))?;
        found.push(Buildable { key, service, build, prepared });
    }
    Ok(found)
}

/// Says which service an error is about.
fn of(key: &str, error: BuildError) -> CliError {
    CliError::User { message: format!("`{key}` cannot be built: {}", error.message), hints: error.hints }
}

/// The services whose images a plan takes by what they are made from: on a sandbox all that nothing else says an image
/// for. Elsewhere a release says which image it is.
pub fn planned<'a>(session: &'a Session, selection: &Selection) -> Result<Vec<Buildable<'a>>, CliError> {
    let env = &session.env;
    if env.target != Target::Sandbox || selection.tag.is_some() {
        return Ok(Vec::new());
    }
    let given = |key: &str| selection.images.iter().any(|(service, _)| service == key);
    prepared(env, &session.root, |key| !given(key))
}

/// The tags by which a plan finds the images of these services, by service key.
pub fn tags(found: &[Buildable<'_>]) -> BTreeMap<String, String> {
    found.iter().map(|each| (each.key.to_owned(), each.prepared.source.tag())).collect()
}

/// On a sandbox: builds what `apply` is about to need and is not there. Before anything is pushed the repository is made.
pub async fn missing(session: &Session, selection: &Selection, out: &Out) -> Result<(), CliError> {
    let mut missing = Vec::new();
    for each in planned(session, selection)? {
        let address = Address::of::<RunService>(&each.service.name);
        let left_out = selection.exclude.contains(&address)
            || !(selection.target.is_empty() || selection.target.contains(&address))
            || selection.layer == Some(Layer::Foundation);
        let gcp = &session.connection.gcp;
        if left_out || gcp.image_digest(&each.source_image()).await?.is_some() {
            continue;
        }
        let running = run_service::running_image(gcp, &session.place().await?, &each.service.name).await?;
        if !images::runs_given(&session.env, each.service, running.as_ref()) {
            missing.push(each);
        }
    }
    let Some(registry) = session.env.registry.as_ref().filter(|_| !missing.is_empty()) else { return Ok(()) };
    let address = Address::of::<Repository>(&registry.repository);
    let selection = Selection { target: vec![address], ..Selection::default() };
    let first = session.plan(&selection).await?;
    if !first.is_empty() {
        out.status(&format!("Making the repository {}, which images are pushed to.", registry.repository));
        carrying_out::prepared(&session.connection, &first, out).await?;
    }
    for each in missing {
        let row = each.built(session, &[], false, out).await?;
        out.status(&row.line());
    }
    Ok(())
}

impl Buildable<'_> {
    /// The image without tag and digest.
    fn image(&self) -> &str {
        &self.service.main.image
    }

    /// The image by what it is made from.
    fn source_image(&self) -> String {
        format!("{}:{}", self.image(), self.prepared.source.tag())
    }

    /// Makes sure that the image is in the registry and bears these tags; builds it when it is not there, or when `force` says so.
    pub async fn built(
        &self,
        session: &Session,
        tags: &[String],
        force: bool,
        out: &Out,
    ) -> Result<BuildRow, CliError> {
        let started = Instant::now();
        let gcp = &session.connection.gcp;
        let source = self.prepared.source.tag();
        let there = if force { None } else { gcp.image_digest(&self.source_image()).await? };
        let (digest, outcome) = if let Some(digest) = there {
            self.tag(session, &digest, tags).await?;
            (digest, None)
        } else {
            self.check_repository(session).await?;
            out.status(&format!("Building {} ...", self.key));
            let all: Vec<_> = std::iter::once(source.clone()).chain(tags.iter().cloned()).collect();
            let made = self.make(session, &all, out).await?;
            (made.digest, Some(made.size))
        };
        let tags = std::iter::once(source).chain(tags.iter().cloned()).collect();
        Ok(BuildRow {
            service: self.key.to_owned(),
            image: self.image().to_owned(),
            digest,
            tags,
            built: outcome.is_some(),
            size: outcome.flatten().map(|size| size.whole),
            sent: outcome.flatten().map(|size| size.sent),
            milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    async fn make(&self, session: &Session, tags: &[String], out: &Out) -> Result<Made, CliError> {
        let env = &session.env;
        let repository =
            env.github.as_ref().map(|github| format!("https://github.com/{}", github.repository));
        let listener = |line: &str| out.status(line);
        match &self.build.builder {
            Builder::Cargo(cargo) => {
                self.make_with_cargo(session, cargo, repository.as_deref(), tags, &listener).await
            }
            Builder::Docker(docker) => {
                let gcp = &session.connection.gcp;
                let references: Vec<_> =
                    tags.iter().map(|tag| gcp.image_address(&format!("{}:{tag}", self.image()))).collect();
                let made_from = (build::SOURCE_LABEL.to_owned(), self.prepared.source.digest.clone());
                let labels = repository.map(|url| ("org.opencontainers.image.source".to_owned(), url));
                let labels = labels.into_iter().chain([made_from]).collect();
                let docker = Docker {
                    build: docker,
                    context: &self.prepared.context,
                    references: &references,
                    labels: &labels,
                };
                session.connection.interrupts.writing();
                let digest = build::buildx(&docker, &listener).map_err(|error| of(self.key, error))?;
                Ok(Made { digest, size: None })
            }
        }
    }

    async fn make_with_cargo(
        &self,
        session: &Session,
        cargo: &CargoBuild,
        repository: Option<&str>,
        tags: &[String],
        listener: build::Listener<'_>,
    ) -> Result<Made, CliError> {
        let gcp = &session.connection.gcp;
        let Prepared { source, context, program } = &self.prepared;
        let Some(program) = program else {
            return Err(CliError::user(format!("`{}` has no binary to build", self.key)));
        };
        let base = match &cargo.base {
            Some(base) => Some(gcp.base_image(base).await?),
            None => None,
        };
        let binary =
            build::compile(cargo, program, context, listener).map_err(|error| of(self.key, error))?;
        let port = self.service.main.port.unwrap_or_default();
        let meta = Meta { program, source, port, repository };
        let image = build::assemble(&binary, &meta, base.as_ref()).map_err(|error| of(self.key, error))?;
        let push = Push {
            image: self.image(),
            blobs: &image.blobs,
            base_layers: &image.base_layers,
            base: cargo.base.as_deref(),
            manifest: &image.manifest,
            tags,
        };
        session.connection.interrupts.writing();
        let sent = gcp.push_image(&push).await?;
        Ok(Made { digest: image.manifest.digest, size: Some(Size { whole: image.size, sent }) })
    }

    /// Lets further tags point to an image that is there.
    async fn tag(&self, session: &Session, digest: &str, tags: &[String]) -> Result<(), CliError> {
        let (env, gcp) = (&session.env, &session.connection.gcp);
        let Some((repository, own)) = repository(env).zip(images::own(env, self.image())) else {
            return Ok(());
        };
        for tag in tags {
            let tag = Tag { repository: &repository, package: &own.package, tag };
            match gcp.tagged(tag).await? {
                Some(points_to) if points_to == digest => {}
                Some(_) => gcp.move_tag(tag, digest).await?,
                None => gcp.create_tag(tag, digest).await?,
            }
        }
        Ok(())
    }

    /// Fails early where there is nothing to push to: compiling takes longer than asking.
    async fn check_repository(&self, session: &Session) -> Result<(), CliError> {
        let env = &session.env;
        let Some(name) = repository(env) else { return Ok(()) };
        if exists(&session.connection.gcp, &name).await? {
            return Ok(());
        }
        let id = name.rsplit('/').next().unwrap_or(&name);
        let message =
            format!("there is no repository `{id}` in {} to push the image of `{}` to", env.region, self.key);
        let command =
            [vec![env.name.clone(), "--layer foundation".to_owned()], session.reach.clone()].concat();
        Err(CliError::user(message).hint(format!("make it: deployer apply {}", command.join(" "))))
    }
}

/// Where its API is not enabled there is none either.
async fn exists(gcp: &Gcp, repository: &str) -> Result<bool, CliError> {
    match gcp.repository(repository).await {
        Ok(found) => Ok(found.is_some()),
        Err(error) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The resource name of the system's own repository.
fn repository(env: &Environment) -> Option<String> {
    let id = &env.registry.as_ref()?.repository;
    Some(format!("projects/{}/locations/{}/repositories/{id}", env.project.id, env.region))
}

/// An image that was built and pushed.
struct Made {
    digest: String,
    /// Docker does not tell.
    size: Option<Size>,
}

/// Bytes of an image, and those that were sent.
#[derive(Clone, Copy)]
struct Size {
    whole: u64,
    sent: u64,
}
