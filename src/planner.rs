//! From an environment to a plan: observes everything at once, declares what should be, and compares. The one way in
//! which data flows; the parts are in `resource` and `plan`.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::config::Environment;
use crate::config::model::Target;
use crate::error::CliError;
use crate::gcp::{ErrorKind, Gcp};
use crate::plan::file::{Observed, Planned};
use crate::plan::sharing::{Sharing, peers};
use crate::plan::{self, PlanError};
use crate::resource::erased::Live;
use crate::resource::kinds::run_service;
use crate::resource::registry::Registry;
use crate::resource::{Address, Facts, Layer, Ownership, Place};

/// What is released, beside what the YAML says.
#[derive(Clone, Debug, Default)]
pub struct Release {
    /// By service key.
    pub images: BTreeMap<String, String>,
    pub tag: Option<String>,
    /// Tags of what images are made from, by service key: services whose image is built get that image.
    pub sources: BTreeMap<String, String>,
}

/// All that a plan is made from.
#[derive(Clone, Copy)]
pub struct Planner<'a> {
    pub registry: &'a Registry,
    pub gcp: &'a Gcp,
    pub env: &'a Environment,
    /// The other environments of the system: what they declare too is shared.
    pub others: &'a [Environment],
    /// `project.number` of the YAML, or what has been asked before.
    pub number: Option<u64>,
    /// `sandbox`, `google` or the endpoint, for the plan to say.
    pub target: &'a str,
}

impl Planner<'_> {
    /// Observes everything at once and compares it with what is declared. Fails where something cannot be seen, a change
    /// would be refused, or environments disagree about what they share.
    pub async fn plan(&self, release: Release, options: &plan::Options) -> Result<Planned, CliError> {
        let Self { registry, gcp, target, .. } = *self;
        let scope = registry.scope(self.env);
        let looked = async { Ok(registry.observe(gcp, &scope, options.layer).await?) };
        let (live, project_number) = futures::try_join!(looked, self.project_number())?;
        let observed = Observed::of(&live);
        let place = self.place_with(project_number);
        let release_only = options.layer == Some(Layer::Release);
        let facts = Facts { release_only, ..self.facts(project_number, release) };
        let known = registry.known(self.env, facts);
        let declare = |live: &[Live]| {
            let facts = registry.facts(live, known.clone())?;
            Ok::<_, CliError>((registry.declare(self.env, &facts)?, facts))
        };
        let (desired, _) = declare(&live)?;
        let live = plan::without_parts_of_replaced(registry, &desired, live, options)?;
        let (desired, facts) = declare(&live)?;
        let (sharing, refusals) = Sharing::of(registry, self.env, self.others, &facts)?;
        if !refusals.is_empty() {
            return Err(PlanError::Refused(refusals).into());
        }
        let sharing = sharing.seeing(registry, &live, &facts)?;
        let sharing = if options.purpose == plan::Purpose::Destroy { sharing.without_own() } else { sharing };
        let configuration = configuration(self.env, self.others);
        let releases = run_service::release::declare(self.env, &facts);
        let inputs = plan::Inputs {
            releases: &releases,
            place: &place,
            target,
            configuration: &configuration,
            sources: &self.env.sources,
            show_env: &self.env.show_env,
            facts: &facts,
            sharing: &sharing,
            desired: &desired,
            live: &live,
        };
        let plan = plan::plan(registry, &inputs, options)?;
        let observed = observed.behind(&plan, registry, &desired, options)?;
        Ok(Planned { scope, layer: options.layer, observed, plan })
    }

    /// The number of the project, from Resource Manager, or from the YAML where that API is not enabled yet.
    pub async fn project_number(&self) -> Result<u64, CliError> {
        let project = &self.env.project;
        match (self.gcp.project(&project.id).await, self.number) {
            (Ok(found), Some(number)) if found.number != number => Err(CliError::user(format!(
                "the project {} has the number {}, not {number}",
                project.id, found.number
            ))
            .hint("correct `project.number` in the YAML")),
            (Ok(found), _) => Ok(found.number),
            (Err(error), Some(number)) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => {
                Ok(number)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Where `address` is, with the mark that it gets: several environments may share it.
    pub async fn place_of(&self, address: &Address) -> Result<Place, CliError> {
        let place = self.place_with(self.project_number().await?);
        let facts = Facts { own: self.ownership(), ..Facts::default() };
        let (sharing, _) = Sharing::of(self.registry, self.env, self.others, &facts)?;
        Ok(Place { ownership: sharing.mark(address), ..place })
    }

    fn ownership(&self) -> Ownership {
        Ownership::new(&self.env.system, &self.env.name)
    }

    fn place_with(&self, project_number: u64) -> Place {
        Place {
            project: self.env.project.id.clone(),
            project_number,
            region: self.env.region.clone(),
            ownership: self.ownership(),
        }
    }

    fn facts(&self, project_number: u64, release: Release) -> Facts {
        Facts {
            own: self.ownership(),
            project_number,
            release_images: release.images,
            release_tag: release.tag,
            source_tags: release.sources,
            placeholders: self.env.target == Target::Sandbox,
            ..Facts::default()
        }
    }
}

/// Digest of all that the YAML says about where `env` lives: what other environments declare decides what is shared and
/// what may be deleted.
pub fn configuration(env: &Environment, others: &[Environment]) -> String {
    let mut digests: Vec<_> = peers(env, others).chain([env]).map(|env| (&env.name, &env.digest)).collect();
    digests.sort_unstable();
    let mut all = Sha256::new();
    for (name, digest) in digests {
        all.update(format!("{name} {digest}\n"));
    }
    hex::encode(all.finalize())
}
