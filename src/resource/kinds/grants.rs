//! Grants on one object: what the kinds `*_grant` have in common, and the trait [`Grant`] of what they do not.
//!
//! A grant is one (role, member, condition) of an IAM policy. Grants are not objects: on anything that
//! deployer manages, an undeclared grant to one of our accounts or to the public is revoked, and grants to
//! other people are never touched.

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::identity_pool::IdentityPool;
use super::service_account::{self, ServiceAccount};
use crate::config::Environment;
use crate::gcp::{Gcp, GcpError, PolicyOf, Triple};
use crate::resource::{
    Address, Consequence, Declared, Facts, Kind, Layer, Observed, Owner, Place, Scope, Settle, Undeclared,
    UsedWith, Verbs,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Short name of the object that the grant is on.
    pub on: String,
    /// `roles/...`
    pub role: String,
    /// `serviceAccount:...`, `allUsers`, ...
    pub member: String,
    /// IAM condition, as the policy has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Value>,
}

const PUBLIC: [&str; 2] = ["allUsers", "allAuthenticatedUsers"];

/// Between the number of a project and the id of its pool, in the name of a set of identities.
const POOLS: &str = "/locations/global/workloadIdentityPools/";

/// The identities of a pool of the project that have this value of a mapped attribute.
pub fn identities(project_number: u64, pool: &str, attribute: &str, value: &str) -> String {
    format!("principalSet://iam.googleapis.com/projects/{project_number}{POOLS}{pool}/{attribute}/{value}")
}

impl Spec {
    pub fn new(on: &str, role: &str, member: &str) -> Self {
        Self { on: on.to_owned(), role: role.to_owned(), member: member.to_owned(), condition: None }
    }

    /// A short name that is unique on the object: `database-url:secretAccessor:api`.
    pub fn name(&self, project: &str) -> String {
        let role = match self.role.strip_prefix("roles/").unwrap_or(&self.role) {
            "run.invoker" => "invoker",
            "secretmanager.secretAccessor" => "secretAccessor",
            role => role,
        };
        let account = self.account(project).map(|id| match self.member.split_once("?uid=") {
            Some((_, uid)) => format!("deleted:{id}?uid={uid}"),
            None => id.to_owned(),
        });
        let short = account.or_else(|| {
            let (number, rest) = self.identities()?;
            Some(format!("principalSet:{number}/{rest}"))
        });
        let member = short.as_deref().unwrap_or(&self.member);
        let condition = self.condition.as_ref().map(|condition| {
            // Nothing keeps two conditions from having one title.
            let digest = hex::encode(&Sha256::digest(condition.to_string())[..2]);
            format!(":{}~{digest}", condition["title"].as_str().unwrap_or("conditional"))
        });
        format!("{}:{role}:{member}{}", self.on, condition.unwrap_or_default())
    }

    /// The id of the project's service account that the member is, or was before it was deleted.
    pub fn account(&self, project: &str) -> Option<&str> {
        let (id, domain) = self.account_and_domain()?;
        (service_account::email(id, project) == format!("{id}@{domain}")).then_some(id)
    }

    /// The halves of a service account's address. IAM keeps the members of a deleted account as
    /// `deleted:serviceAccount:ADDRESS?uid=NUMBER`.
    fn account_and_domain(&self) -> Option<(&str, &str)> {
        let member = self.member.strip_prefix("deleted:").unwrap_or(&self.member);
        let email = member.strip_prefix("serviceAccount:")?;
        email.split('?').next()?.split_once('@')
    }

    /// The project number, and then `POOL/ATTRIBUTE/VALUE`, of a member that is a set of identities of a pool.
    fn identities(&self) -> Option<(&str, &str)> {
        let place = self.member.strip_prefix("principalSet://iam.googleapis.com/projects/")?;
        place.split_once(POOLS)
    }

    /// The pool of identities of this project that the member is a set of.
    fn pool(&self, number: u64) -> Option<&str> {
        let (project, rest) = self.identities()?;
        rest.split('/').next().filter(|_| project == number.to_string())
    }

    /// The account or pool that the member is, as far as its text tells: in what is declared, it is of this project.
    pub fn referred(&self) -> Option<Address> {
        if let Some((_, rest)) = self.identities() {
            return Some(Address::of::<IdentityPool>(rest.split('/').next()?));
        }
        let email = self.member.strip_prefix("serviceAccount:")?;
        Some(Address::of::<ServiceAccount>(email.split_once('@')?.0))
    }

    pub fn public(&self) -> bool {
        PUBLIC.contains(&self.member.as_str())
    }

    /// Ours are grants to the public, to our accounts and to identities of our pools.
    pub fn owner(&self, facts: &Facts) -> Owner {
        let account = self
            .account_and_domain()
            .is_some_and(|(id, domain)| domain == facts.account_domain && facts.accounts.contains(id));
        let pool = self.pool(facts.project_number).is_some_and(|pool| facts.pools.contains(pool));
        if self.public() || account || pool { Owner::Ours } else { Owner::Foreign }
    }

    /// Whether the member is an account that another environment of the system has for itself.
    pub fn serves_another(&self, facts: &Facts) -> bool {
        self.account_and_domain().is_some_and(|(id, domain)| {
            domain == facts.account_domain && facts.accounts_elsewhere.contains(id)
        })
    }

    /// The name of the same grant without the condition that somebody put on it, and what to tell of it. deployer
    /// sets no conditions.
    pub fn stands_for(&self, facts: &Facts) -> Option<(String, String)> {
        let condition = self.condition.as_ref()?;
        let text = |key: &str| condition[key].as_str().unwrap_or("(none)").to_owned();
        let why = format!(
            "{} on {} has a condition that deployer did not set: `{}` ({}). It is left as it is; take the condition away \
             to let the grant hold always",
            self.role,
            self.on,
            text("title"),
            text("expression")
        );
        let project = facts.account_domain.strip_suffix(".iam.gserviceaccount.com").unwrap_or_default();
        Some((Self { condition: None, ..self.clone() }.name(project), why))
    }

    pub fn triple(&self) -> Triple {
        Triple { role: self.role.clone(), member: self.member.clone(), condition: self.condition.clone() }
    }

    pub fn consequences(before: Option<&Self>, after: Option<&Self>) -> Vec<Consequence> {
        match (before, after) {
            (None, Some(after)) if after.public() => vec![Consequence::AccessWidened],
            (Some(before), None) if before.member.starts_with("deleted:") => Vec::new(),
            (Some(_), None) => vec![Consequence::AccessNarrowed],
            _ => Vec::new(),
        }
    }
}

/// What kinds of grants differ in. The rest of such a kind is the same for all of them, see below.
pub trait Grant: Send + Sync + 'static {
    /// [`Kind::NAME`], like all constants that have the name of one there.
    const NAME: &'static str;
    const API: &'static str;
    const LAYER: Layer;
    const REGIONAL: bool = false;
    const VIEWER: &'static str;
    const STAYS_WITH_WHOLE: bool = false;
    /// The kind of what they are on; `None` for the project, which is no object of ours.
    const ON: Option<&'static str>;
    /// They are declared for accounts and identities, which have to be there first. One to another environment's account
    /// keeps what it is on shared.
    const TO_IDENTITIES: bool = false;

    /// The policy of what has this short name.
    fn policy(project: &str, region: &str, on: &str) -> PolicyOf;

    /// What the YAML grants: to nobody.
    fn declare(_env: &Environment, _facts: &Facts) -> Vec<Declared<Spec>> {
        Vec::new()
    }

    fn used_with(_spec: &Spec) -> Option<UsedWith> {
        None
    }

    fn owner(spec: &Spec, facts: &Facts) -> Owner {
        spec.owner(facts)
    }
}

impl<G: Grant> Kind for G {
    const NAME: &'static str = <G as Grant>::NAME;
    const API: &'static str = <G as Grant>::API;
    const LAYER: Layer = <G as Grant>::LAYER;
    const REGIONAL: bool = <G as Grant>::REGIONAL;
    const VIEWER: &'static str = <G as Grant>::VIEWER;
    const VERBS: Verbs = Verbs { create: "grant", update: "update", delete: "revoke" };
    const UNDECLARED: Undeclared = Undeclared::Delete;
    const GRANTED_ON: Option<&'static str> = G::ON;
    const STAYS_WITH_WHOLE: bool = <G as Grant>::STAYS_WITH_WHOLE;
    type Spec = Spec;

    fn declare(env: &Environment, facts: &Facts) -> Vec<Declared<Spec>> {
        <G as Grant>::declare(env, facts)
    }

    fn references(name: &str, spec: &Spec) -> Vec<Address> {
        let member = spec.referred().filter(|_| G::TO_IDENTITIES);
        Self::part_of(name, spec).into_iter().chain(member).collect()
    }

    fn part_of(_: &str, spec: &Spec) -> Option<Address> {
        G::ON.map(|kind| Address { kind: kind.to_owned(), name: spec.on.clone() })
    }

    fn used_with(_: &str, spec: &Spec) -> Option<UsedWith> {
        <G as Grant>::used_with(spec)
    }

    fn stands_for(observed: &Observed<Spec>, facts: &Facts) -> Option<(String, String)> {
        observed.spec.stands_for(facts)
    }

    fn serves_another(observed: &Observed<Spec>, facts: &Facts) -> bool {
        G::TO_IDENTITIES && observed.spec.serves_another(facts)
    }

    fn consequences(before: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        Spec::consequences(before, after)
    }

    /// One policy is read for each object, all at once.
    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let on = G::ON.map_or_else(|| vec![scope.project.as_str()], |kind| scope.names_of(kind).collect());
        let each = on.into_iter().map(|on| granted(gcp, G::policy(&scope.project, &scope.region, on), on));
        let grants = try_join_all(each).await?.into_iter().flatten();
        Ok(grants.map(|spec| Observed::new(spec.name(&scope.project), spec, Owner::Foreign)).collect())
    }

    fn owner(observed: &Observed<Spec>, facts: &Facts) -> Owner {
        <G as Grant>::owner(&observed.spec, facts)
    }

    async fn create(gcp: &Gcp, place: &Place, _: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let policy = G::policy(&place.project, &place.region, &spec.on);
        gcp.edit_policy(&policy, &[spec.triple()], &[]).await?;
        Ok(Settle::Done)
    }

    async fn delete(gcp: &Gcp, place: &Place, _: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let policy = G::policy(&place.project, &place.region, &spec.on);
        gcp.edit_policy(&policy, &[], &[spec.triple()]).await?;
        Ok(Settle::Done)
    }
}

/// All that a policy grants; nothing where what it is on is not there.
async fn granted(gcp: &Gcp, of: PolicyOf, on: &str) -> Result<Vec<Spec>, GcpError> {
    let bindings = gcp.policy(&of).await?.map(|policy| policy.bindings).unwrap_or_default();
    let grants = bindings.into_iter().flat_map(|binding| {
        let (role, condition) = (binding.role, binding.condition);
        let spec = move |member| Spec {
            on: on.to_owned(),
            role: role.clone(),
            member,
            condition: condition.clone(),
        };
        binding.members.into_iter().map(spec)
    });
    Ok(grants.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_for_our_accounts_and_whole_for_others() {
        let ours = Spec::new(
            "db",
            "roles/secretmanager.secretAccessor",
            "serviceAccount:api@p-1.iam.gserviceaccount.com",
        );
        assert_eq!(ours.name("p-1"), "db:secretAccessor:api");
        assert_eq!(ours.name("other"), "db:secretAccessor:serviceAccount:api@p-1.iam.gserviceaccount.com");
        assert_eq!(Spec::new("api", "roles/run.invoker", "allUsers").name("p-1"), "api:invoker:allUsers");
    }

    #[test]
    fn roles_of_different_apis_and_pools_of_different_projects_have_names_of_their_own() {
        let of_role = |role: &str| Spec::new("p-1", role, "allUsers").name("p-1");
        let roles =
            ["roles/viewer", "roles/run.viewer", "roles/secretmanager.viewer", "projects/p-1/roles/viewer"];
        let names: std::collections::BTreeSet<_> = roles.into_iter().map(of_role).collect();
        assert_eq!(names.len(), roles.len(), "{names:?}");
        let pool = |number| identities(number, "github", "attribute.repository_id", "9");
        let name = |number| Spec::new("ci", "roles/iam.workloadIdentityUser", &pool(number)).name("p-1");
        assert_eq!(name(1), "ci:iam.workloadIdentityUser:principalSet:1/github/attribute.repository_id/9");
        assert_ne!(name(1), name(2));
    }

    #[test]
    fn what_a_member_is_has_to_be_there_first() {
        let referred = |member: &str| Spec::new("x", "roles/x", member).referred().map(|a| a.to_string());
        let pool = identities(1, "github", "attribute.repository_id", "9");
        assert_eq!(referred(&pool).as_deref(), Some("identity_pool/github"));
        let account = referred("serviceAccount:api@p-1.iam.gserviceaccount.com");
        assert_eq!(account.as_deref(), Some("service_account/api"));
        assert_eq!(referred("allUsers"), None);
    }

    #[test]
    fn grants_under_conditions_of_one_title_have_names_of_their_own() {
        let under = |expression: &str| Spec {
            condition: Some(serde_json::json!({"title": "t", "expression": expression})),
            ..Spec::new("db", "roles/x", "allUsers")
        };
        assert_ne!(under("a").name("p-1"), under("b").name("p-1"));
        assert!(under("a").name("p-1").starts_with("db:x:allUsers:t~"));
    }

    #[test]
    fn grants_to_the_public_and_to_our_accounts_are_ours_and_others_are_not() {
        let mut facts = Facts { account_domain: "p-1.iam.gserviceaccount.com".into(), ..Facts::default() };
        facts.accounts.insert("api".into());
        facts.pools.insert("github".into());
        facts.project_number = 1;
        let owner = |member: &str| Spec::new("db", "roles/x", member).owner(&facts);
        assert_eq!(owner("allUsers"), Owner::Ours);
        assert_eq!(owner("serviceAccount:api@p-1.iam.gserviceaccount.com"), Owner::Ours);
        assert_eq!(owner("serviceAccount:api@p-2.iam.gserviceaccount.com"), Owner::Foreign);
        assert_eq!(owner("serviceAccount:other@p-1.iam.gserviceaccount.com"), Owner::Foreign);
        assert_eq!(owner("user:ann@example.com"), Owner::Foreign);
        assert_eq!(owner(&identities(1, "github", "group", "g")), Owner::Ours);
        assert_eq!(owner(&identities(2, "github", "group", "g")), Owner::Foreign);
        assert_eq!(owner(&identities(1, "gitlab", "group", "g")), Owner::Foreign);
    }
}
