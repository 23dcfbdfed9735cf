//! Who may use a repository. The YAML grants it to nobody, since roles in the project say it: what is found of ours or of
//! the public is revoked.

use super::grants::{self, Spec};
use super::repository::{self, Repository};
use crate::config::Environment;
use crate::gcp::{Gcp, GcpError, PolicyOf};
use crate::resource::{
    Address, Consequence, Declared, Facts, Kind, Layer, Observed, Owner, Place, Scope, Settle, Undeclared,
    Verbs,
};

pub struct RepositoryGrant;

fn policy(project: &str, region: &str, name: &str) -> PolicyOf {
    PolicyOf::Repository(repository::full_name(project, region, name))
}

impl Kind for RepositoryGrant {
    const NAME: &'static str = "repository_grant";
    const API: &'static str = Repository::API;
    const LAYER: Layer = Layer::Foundation;
    const REGIONAL: bool = true;
    const VIEWER: &'static str = "roles/iam.securityReviewer";
    const VERBS: Verbs = Verbs { create: "grant", update: "update", delete: "revoke" };
    const UNDECLARED: Undeclared = Undeclared::Delete;
    const GRANTED_ON: Option<&'static str> = Some(Repository::NAME);
    type Spec = Spec;

    fn declare(_: &Environment, _: &Facts) -> Vec<Declared<Spec>> {
        Vec::new()
    }

    fn references(_: &str, spec: &Spec) -> Vec<Address> {
        vec![Address::of::<Repository>(&spec.on)]
    }

    fn part_of(_: &str, spec: &Spec) -> Option<Address> {
        Some(Address::of::<Repository>(&spec.on))
    }

    fn consequences(before: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        Spec::consequences(before, after)
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let of = |name: &str| policy(&scope.project, &scope.region, name);
        let objects = scope.names::<Repository>().map(|name| (name.to_owned(), of(name)));
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
