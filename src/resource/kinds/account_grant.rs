//! Who may act as a service account: the repository's workflows as the accounts of CI, and CI's account that deploys
//! as those that services and jobs run as.

use super::grants::{self, Grant, Spec};
use super::identity_provider::BY_REPOSITORY;
use super::service_account::{self, ServiceAccount};
use crate::config::Environment;
use crate::gcp::PolicyOf;
use crate::resource::{Declared, Facts, Kind, Layer};

pub struct AccountGrant;

/// Lets identities of a pool become the account.
const WORKFLOWS: &str = "roles/iam.workloadIdentityUser";
/// Lets a service be deployed that runs as the account.
const USER: &str = "roles/iam.serviceAccountUser";
/// Lets the account prove to a service of ours who it is.
const OPEN_ID: &str = "roles/iam.serviceAccountOpenIdTokenCreator";

impl Grant for AccountGrant {
    const NAME: &'static str = "account_grant";
    const API: &'static str = ServiceAccount::API;
    const LAYER: Layer = Layer::Foundation;
    const VIEWER: &'static str = "roles/iam.securityReviewer";
    const TO_IDENTITIES: bool = true;
    const ON: Option<&'static str> = Some(ServiceAccount::NAME);

    fn policy(project: &str, _: &str, account: &str) -> PolicyOf {
        PolicyOf::ServiceAccount(service_account::email(account, project))
    }

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
}
