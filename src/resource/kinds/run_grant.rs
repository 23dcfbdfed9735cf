//! Who may call a Cloud Run service: `allow_unauthenticated` grants `roles/run.invoker` to `allUsers`.

use super::grants::{self, Spec};
use super::run_service::{self, RunService};
use crate::config::Environment;
use crate::config::model::Access;
use crate::gcp::{Gcp, GcpError, PolicyOf};
use crate::resource::{
    Address, Consequence, Declared, Facts, Kind, Layer, Observed, Owner, Place, Scope, Settle, Undeclared,
    Verbs,
};

pub struct RunGrant;

const INVOKER: &str = "roles/run.invoker";

fn policy(project: &str, region: &str, service: &str) -> PolicyOf {
    PolicyOf::RunService(run_service::full_name(project, region, service))
}

impl Kind for RunGrant {
    const NAME: &'static str = "run_grant";
    const API: &'static str = "run.googleapis.com";
    const LAYER: Layer = Layer::Release;
    const REGIONAL: bool = true;
    const VIEWER: &'static str = "roles/run.viewer";
    const VERBS: Verbs = Verbs { create: "grant", update: "update", delete: "revoke" };
    const UNDECLARED: Undeclared = Undeclared::Delete;
    const GRANTED_ON: Option<&'static str> = Some(RunService::NAME);
    /// A service that stays goes on serving those whom it serves.
    const STAYS_WITH_WHOLE: bool = true;
    type Spec = Spec;

    fn declare(env: &Environment, _: &Facts) -> Vec<Declared<Spec>> {
        let public = env.services.iter().filter(|(_, service)| service.access == Access::Public);
        let declared = public.map(|(key, service)| {
            let spec = Spec::new(&service.name, INVOKER, "allUsers");
            Declared::new(spec.name(&env.project.id), format!("services.{key}.allow_unauthenticated"), spec)
        });
        declared.collect()
    }

    fn references(_: &str, spec: &Spec) -> Vec<Address> {
        vec![Address::of::<RunService>(&spec.on)]
    }

    fn part_of(_: &str, spec: &Spec) -> Option<Address> {
        Some(Address::of::<RunService>(&spec.on))
    }

    fn stands_for(observed: &Observed<Spec>, facts: &Facts) -> Option<(String, String)> {
        observed.spec.stands_for(facts)
    }

    fn consequences(before: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        Spec::consequences(before, after)
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let of = |name: &str| policy(&scope.project, &scope.region, name);
        let objects = scope.names::<RunService>().map(|name| (name.to_owned(), of(name)));
        grants::observe(gcp, &scope.project, objects).await
    }

    fn owner(observed: &Observed<Spec>, facts: &Facts) -> Owner {
        observed.spec.owner(facts)
    }

    async fn create(gcp: &Gcp, place: &Place, _: &str, spec: &Spec) -> Result<Settle, GcpError> {
        gcp.edit_policy(&policy(&place.project, &place.region, &spec.on), &[spec.triple()], &[]).await?;
        Ok(Settle::Done)
    }

    async fn delete(gcp: &Gcp, place: &Place, _: &str, spec: &Spec) -> Result<Settle, GcpError> {
        gcp.edit_policy(&policy(&place.project, &place.region, &spec.on), &[], &[spec.triple()]).await?;
        Ok(Settle::Done)
    }
}
