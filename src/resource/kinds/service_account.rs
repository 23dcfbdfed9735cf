//! Service accounts (IAM v1): the identities that services and jobs run as, and those that workflows of GitHub become.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Environment;
use crate::gcp::{Gcp, GcpError};
use crate::resource::{Declared, Edit, Facts, Kind, Layer, Observed, Owner, Ownership, Place, Scope, Settle};

pub struct ServiceAccount;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// `displayName`, at most 100 bytes.
    pub display_name: String,
}

/// Accounts have no labels: a mark at the end of the description says whose they are. This stands before it
/// where nobody wrote anything else.
const DESCRIPTION: &str = "Run-time identity.";

/// The e-mail address of an account of the project.
pub fn email(id: &str, project: &str) -> String {
    format!("{id}@{project}.iam.gserviceaccount.com")
}

/// A member of a policy that is an account of the project.
pub fn member(id: &str, project: &str) -> String {
    format!("serviceAccount:{}", email(id, project))
}

/// The ids of the accounts that services and jobs run as, each with the YAML path that asks for it first.
pub fn run_time(env: &Environment) -> BTreeMap<&str, String> {
    let services =
        env.services.iter().map(|(key, service)| (&service.service_account, format!("services.{key}")));
    let jobs = env.jobs.values().map(|job| (&job.service_account, job.path.clone()));
    let mut found = BTreeMap::new();
    for (id, path) in services.chain(jobs) {
        found.entry(id.as_str()).or_insert_with(|| format!("{path}.service_account"));
    }
    found
}

/// The same with the accounts that workflows of GitHub become.
pub fn declared(env: &Environment) -> BTreeMap<&str, String> {
    let mut found = run_time(env);
    let identity = env.github.as_ref().and_then(|github| github.identity.as_ref());
    if let Some(identity) = identity {
        for (role, id) in [("plan", &identity.plan), ("deploy", &identity.deploy)] {
            if let Some(id) = id {
                found.entry(id.as_str()).or_insert_with(|| format!("github.identity.{role}"));
            }
        }
    }
    found
}

impl Kind for ServiceAccount {
    const NAME: &'static str = "service_account";
    const API: &'static str = "iam.googleapis.com";
    const LAYER: Layer = Layer::Foundation;
    const VIEWER: &'static str = "roles/iam.serviceAccountViewer";
    type Spec = Spec;

    fn declare(env: &Environment, _: &Facts) -> Vec<Declared<Spec>> {
        let declared = declared(env).into_iter().map(|(id, source)| {
            // Nothing of who uses it: environments that share an account may use it for different services.
            let display_name = format!("{} {id}", env.system);
            Declared::new(id, source, Spec { display_name })
        });
        declared.collect()
    }

    fn intend(env: &Environment, facts: &mut Facts) {
        email("", &env.project.id).trim_start_matches('@').clone_into(&mut facts.account_domain);
        facts.accounts.extend(self::declared(env).into_keys().map(str::to_owned));
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let accounts = gcp.list_accounts(&scope.project).await?.into_iter();
        let observed = accounts.map(|account| {
            let owner = Ownership::owner_by_description(&account.description);
            Observed::new(account.account_id, Spec { display_name: account.display_name }, owner)
        });
        Ok(observed.collect())
    }

    fn contribute(observed: &[Observed<Spec>], facts: &mut Facts) {
        let ours = |owner: &Owner| matches!(owner, Owner::Marked(mark) if mark.includes(&facts.own));
        let ours: Vec<_> =
            observed.iter().filter(|account| ours(&account.owner)).map(|a| a.name.clone()).collect();
        facts.accounts.extend(ours);
        let elsewhere = observed.iter().filter(|account| {
            matches!(&account.owner, Owner::Marked(mark)
                if mark.system == facts.own.system && !mark.includes(&facts.own))
        });
        let elsewhere: Vec<_> = elsewhere.map(|account| account.name.clone()).collect();
        facts.accounts_elsewhere.extend(elsewhere);
    }

    async fn create(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let description = place.ownership.marked("", DESCRIPTION);
        gcp.create_account(&place.project, name, &spec.display_name, &description).await?;
        Ok(Settle::Done)
    }

    async fn update(gcp: &Gcp, place: &Place, edit: Edit<'_, Spec>) -> Result<Settle, GcpError> {
        let email = email(edit.name, &place.project);
        let live = gcp.account(&email).await?.ok_or_else(|| GcpError::moved(&email))?;
        if live.display_name != edit.before.display_name {
            return Err(GcpError::moved(&email));
        }
        let description = place.ownership.marked(&live.description, DESCRIPTION);
        gcp.patch_account(&email, &edit.after.display_name, &description).await?;
        Ok(Settle::Done)
    }

    async fn delete(gcp: &Gcp, place: &Place, name: &str, _: &Spec) -> Result<Settle, GcpError> {
        gcp.delete_account(&email(name, &place.project)).await?;
        Ok(Settle::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_about_an_account_stays_before_the_mark() {
        let ours = Ownership::new("shop", "dev");
        let once = ours.marked("Pays the bills.", DESCRIPTION);
        assert_eq!(once, "Pays the bills. [deployer shop/dev]");
        assert_eq!(ours.marked(&once, DESCRIPTION), once);
        assert_eq!(ours.marked("[deployer cafe/dev]", DESCRIPTION), "Run-time identity. [deployer shop/dev]");
        assert_eq!(ours.marked("", DESCRIPTION), "Run-time identity. [deployer shop/dev]");
    }
}
