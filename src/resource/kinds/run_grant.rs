//! Who may call a Cloud Run service: `allow_unauthenticated` grants `roles/run.invoker` to `allUsers`.

use super::grants::{Grant, Spec};
use super::run_service::{self, RunService};
use crate::config::Environment;
use crate::config::model::Access;
use crate::gcp::PolicyOf;
use crate::resource::{Address, Declared, Facts, Kind, Layer};

pub struct RunGrant;

const INVOKER: &str = "roles/run.invoker";

/// The grant that lets everybody call a service, by its Cloud Run name.
pub fn public(service: &str, project: &str) -> Address {
    Address { kind: <RunGrant as Grant>::NAME.to_owned(), name: everybody(service).name(project) }
}

fn everybody(service: &str) -> Spec {
    Spec::new(service, INVOKER, "allUsers")
}

impl Grant for RunGrant {
    const NAME: &'static str = "run_grant";
    const API: &'static str = "run.googleapis.com";
    const LAYER: Layer = Layer::Release;
    const REGIONAL: bool = true;
    const VIEWER: &'static str = "roles/run.viewer";
    /// A service that stays goes on serving those whom it serves.
    const STAYS_WITH_WHOLE: bool = true;
    const ON: Option<&'static str> = Some(RunService::NAME);

    fn policy(project: &str, region: &str, service: &str) -> PolicyOf {
        PolicyOf::RunService(run_service::full_name(project, region, service))
    }

    fn declare(env: &Environment, _: &Facts) -> Vec<Declared<Spec>> {
        let public = env.services.iter().filter(|(_, service)| service.access == Access::Public);
        let declared = public.map(|(key, service)| {
            let spec = everybody(&service.name);
            Declared::new(spec.name(&env.project.id), format!("services.{key}.allow_unauthenticated"), spec)
        });
        declared.collect()
    }
}
