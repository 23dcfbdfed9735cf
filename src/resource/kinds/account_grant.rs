//! Who may act as a service account: the repository's workflows as the accounts of CI, and CI's account that deploys
//! as those that services and jobs run as.

use super::grants::{self, Spec};
use super::identity_provider::BY_REPOSITORY;
use super::service_account::{self, ServiceAccount};
use crate::config::Environment;
use crate::gcp::{Gcp, GcpError, PolicyOf};
use crate::resource::{
    Address, Consequence, Declared, Facts, Kind, Layer, Observed, Owner, Place, Scope, Settle, Undeclared,
    Verbs,
};

pub struct AccountGrant;

/// Lets identities of a pool become the account.
const WORKFLOWS: &str = "roles/iam.workloadIdentityUser";
/// Lets a service be deployed that runs as the account.
const USER: &str = "roles/iam.serviceAccountUser";
/// Lets the account prove to a service of ours who it is.
const OPEN_ID: &str = "roles/iam.serviceAccountOpenIdTokenCreator";

fn policy(project: &str, account: &str) -> PolicyOf {
    PolicyOf::ServiceAccount(service_account::email(account, project))
}

impl Kind for AccountGrant {
    const NAME: &'static str = "account_grant";
    const API: &'static str = ServiceAccount::API;
    const LAYER: Layer = Layer::Foundation;
    const VIEWER: &'static str = "roles/iam.securityReviewer";
    const VERBS: Verbs = Verbs { create: "grant", update: "update", delete: "revoke" };
    const UNDECLARED: Undeclared = Undeclared::Delete;
    const GRANTED_ON: Option<&'static str> = Some(ServiceAccount::NAME);
    type Spec = Spec;

    fn declare(env: &Environment, facts: &Facts) -> Vec<Declared<Spec>> {
        let Some(github) = &env.github else { return Vec::new() };
        let Some(identity) = &github.identity else { return Vec::new() };
        let project = &env.project.id;
        let mut found = Vec::new();
        let mut declare = |on: &str, role: &str, member: &str, key: &str| {
            let spec = Spec::new(on, role, member);
            found.push(Declared::new(spec.name(project), format!("github.identity.{key}"), spec));
        };
        let repository =
            grants::identities(facts.project_number, &identity.pool, BY_REPOSITORY, &github.repository_id);
        for (key, account) in [("plan", &identity.plan), ("deploy", &identity.deploy)] {
            if let Some(account) = account {
                declare(account, WORKFLOWS, &repository, key);
            }
        }
        if let Some(deploy) = &identity.deploy {
            let member = service_account::member(deploy, project);
            declare(deploy, OPEN_ID, &member, "deploy");
            for account in service_account::run_time(env).into_keys() {
                declare(account, USER, &member, "deploy");
            }
        }
        found
    }

    fn references(_: &str, spec: &Spec) -> Vec<Address> {
        std::iter::once(Address::of::<ServiceAccount>(&spec.on)).chain(spec.referred()).collect()
    }

    fn part_of(_: &str, spec: &Spec) -> Option<Address> {
        Some(Address::of::<ServiceAccount>(&spec.on))
    }

    fn stands_for(observed: &Observed<Spec>, facts: &Facts) -> Option<(String, String)> {
        observed.spec.stands_for(facts)
    }

    fn serves_another(observed: &Observed<Spec>, facts: &Facts) -> bool {
        observed.spec.serves_another(facts)
    }

    fn consequences(before: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        Spec::consequences(before, after)
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let project = &scope.project;
        let objects = scope.names::<ServiceAccount>().map(|id| (id.to_owned(), policy(project, id)));
        grants::observe(gcp, project, objects).await
    }

    fn owner(observed: &Observed<Spec>, facts: &Facts) -> Owner {
        observed.spec.owner(facts)
    }

    async fn create(gcp: &Gcp, place: &Place, _: &str, spec: &Spec) -> Result<Settle, GcpError> {
        gcp.edit_policy(&policy(&place.project, &spec.on), &[spec.triple()], &[]).await?;
        Ok(Settle::Done)
    }

    async fn delete(gcp: &Gcp, place: &Place, _: &str, spec: &Spec) -> Result<Settle, GcpError> {
        gcp.edit_policy(&policy(&place.project, &spec.on), &[], &[spec.triple()]).await?;
        Ok(Settle::Done)
    }
}
