//! Providers of workload identity pools (IAM v1): which tokens of GitHub a pool takes.
//!
//! Everybody can have tokens of GitHub's issuer, so that the condition is what keeps strangers out. It compares the
//! numbers of repository and owner, which stay when names are changed, let go and taken by somebody else. GitHub's
//! claims are texts, so that the numbers stand in quotes.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::identity_pool::{
    DISPLAY_NAME, IdentityPool, description, first, owner, same_system, short_name, unmoved,
};
use crate::config::Environment;
use crate::config::model::Github;
use crate::gcp::{self, Gcp, GcpError, Identity};
use crate::resource::{
    Address, Consequence, Declared, Edit, Facts, Kind, Layer, Life, Observed, Owner, Place, Scope, Settle,
};

pub struct IdentityProvider;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// `displayName`, at most 32 characters.
    pub display_name: String,
    /// `oidc.issuerUri`; empty for a provider that takes no tokens of OpenID Connect.
    pub issuer: String,
    /// `oidc.allowedAudiences`; empty stands for the provider's own resource name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// `oidc.jwksJson`: keys that are taken instead of the issuer's. Whoever has them makes tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<String>,
    /// `attributeMapping`: what a token's claims are called in Google Cloud.
    pub mapping: BTreeMap<String, String>,
    /// `attributeCondition`: what must be true of a token.
    pub condition: String,
    /// Nobody gets a token through a disabled provider.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// Issuer of the tokens of GitHub's workflows (documented by GitHub).
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const DESCRIPTION: &str = "Tokens of workflows.";

/// The claim that identities are granted access by, and the attribute that it is mapped to.
pub(super) const BY_REPOSITORY: &str = "attribute.repository_id";

/// Claims that every token of a workflow has. A mapping of one that is absent would refuse the token.
const CLAIMS: [(&str, &str); 4] = [
    ("google.subject", "assertion.sub"),
    (BY_REPOSITORY, "assertion.repository_id"),
    ("attribute.repository_owner_id", "assertion.repository_owner_id"),
    ("attribute.ref", "assertion.ref"),
];

/// The provider of a repository. Both numbers, so that a repository that moves to another owner is shut out.
fn wanted(github: &Github) -> Spec {
    let condition = format!(
        "assertion.repository_id == '{}' && assertion.repository_owner_id == '{}'",
        github.repository_id, github.owner_id
    );
    Spec {
        display_name: DISPLAY_NAME.to_owned(),
        issuer: ISSUER.to_owned(),
        audiences: Vec::new(),
        keys: None,
        mapping: CLAIMS.iter().map(|(name, claim)| ((*name).to_owned(), (*claim).to_owned())).collect(),
        condition,
        disabled: false,
    }
}

/// `POOL/PROVIDER` as the name of the provider at Google.
fn identity(project: &str, name: &str) -> Identity {
    let (pool, provider) = name.split_once('/').unwrap_or((name, ""));
    Identity::Provider { project: project.to_owned(), pool: pool.to_owned(), provider: provider.to_owned() }
}

/// A field of a document, or its default where the answer leaves it out.
fn field<T: DeserializeOwned + Default>(doc: &Value, pointer: &str) -> Result<T, GcpError> {
    let Some(value) = doc.pointer(pointer) else { return Ok(T::default()) };
    let name = short_name(doc);
    T::deserialize(value)
        .map_err(|error| GcpError::unreadable(format!("identity provider {name}"), error.to_string()))
}

fn spec(doc: &Value) -> Result<Spec, GcpError> {
    Ok(Spec {
        display_name: field(doc, "/displayName")?,
        issuer: field(doc, "/oidc/issuerUri")?,
        audiences: field(doc, "/oidc/allowedAudiences")?,
        keys: field::<Option<String>>(doc, "/oidc/jwksJson")?.filter(|keys| !keys.is_empty()),
        mapping: field(doc, "/attributeMapping")?,
        condition: field(doc, "/attributeCondition")?,
        disabled: field(doc, "/disabled")?,
    })
}

/// All that a provider has; `oidc` as a whole, so that nothing of another one stays in it.
fn document(spec: &Spec, description: &str) -> Value {
    let mut oidc = json!({ "issuerUri": spec.issuer });
    if !spec.audiences.is_empty() {
        oidc["allowedAudiences"] = json!(spec.audiences);
    }
    if let Some(keys) = &spec.keys {
        oidc["jwksJson"] = json!(keys);
    }
    json!({
        "displayName": spec.display_name,
        "description": description,
        "disabled": spec.disabled,
        "attributeMapping": spec.mapping,
        "attributeCondition": spec.condition,
        "oidc": oidc,
    })
}

/// Providers of the pools that are declared here or bear the mark of a system.
async fn providers_of(gcp: &Gcp, project: &str, pool: &Value) -> Result<Vec<Observed<Spec>>, GcpError> {
    let name = short_name(pool);
    let docs = gcp.list_providers(project, name).await?;
    let observed = docs.iter().map(|doc| {
        // One that is not deleted itself is out of order all the same while its pool is.
        let deleted = gcp::is_deleted(doc) || gcp::is_deleted(pool);
        let life = if deleted { Life::SoftDeleted } else { Life::Present };
        let short = format!("{name}/{}", short_name(doc));
        Ok(Observed { life, ..Observed::new(short, spec(doc)?, owner(doc)) })
    });
    observed.collect()
}

impl Kind for IdentityProvider {
    const NAME: &'static str = "identity_provider";
    const API: &'static str = IdentityPool::API;
    const LAYER: Layer = Layer::Foundation;
    const VIEWER: &'static str = IdentityPool::VIEWER;
    type Spec = Spec;

    fn declare(env: &Environment, _: &Facts) -> Vec<Declared<Spec>> {
        let github = env.github.as_ref();
        let declared = github.and_then(|github| Some((github, github.identity.as_ref()?)));
        let declared = declared.map(|(github, identity)| {
            let name = format!("{}/{}", identity.pool, identity.provider);
            Declared::new(name, "github.identity.provider", wanted(github))
        });
        declared.into_iter().collect()
    }

    fn references(name: &str, spec: &Spec) -> Vec<Address> {
        Self::part_of(name, spec).into_iter().collect()
    }

    fn part_of(name: &str, _: &Spec) -> Option<Address> {
        let (pool, _) = name.split_once('/')?;
        Some(Address::of::<IdentityPool>(pool))
    }

    fn consequences(_: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        if after.is_none() { vec![Consequence::AccessNarrowed] } else { Vec::new() }
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let pools = gcp.list_pools(&scope.project).await?;
        let watched = |pool: &&Value| {
            let declared = scope.names::<IdentityPool>().any(|name| name == short_name(pool));
            declared || matches!(owner(pool), Owner::Marked(_))
        };
        let each = pools.iter().filter(watched).map(|pool| providers_of(gcp, &scope.project, pool));
        Ok(try_join_all(each).await?.into_iter().flatten().collect())
    }

    async fn create(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let doc = document(spec, &description(place, &Value::Null, DESCRIPTION));
        gcp.create_identity(&identity(&place.project, name), &first(doc)).await?;
        Ok(Settle::Done)
    }

    async fn update(gcp: &Gcp, place: &Place, edit: Edit<'_, Spec>) -> Result<Settle, GcpError> {
        let of = identity(&place.project, edit.name);
        let as_before = |live: &Value| Ok(spec(live)? == *edit.before);
        let live = unmoved(gcp, &of, edit.name, as_before).await?;
        let live = live.ok_or_else(|| GcpError::moved(edit.name))?;
        gcp.patch_identity(&of, &document(edit.after, &description(place, &live, DESCRIPTION))).await?;
        Ok(Settle::Done)
    }

    async fn restore(gcp: &Gcp, place: &Place, edit: Edit<'_, Spec>) -> Result<Settle, GcpError> {
        gcp.undelete_identity(&identity(&place.project, edit.name)).await?;
        Self::update(gcp, place, edit).await
    }

    async fn delete(gcp: &Gcp, place: &Place, name: &str, before: &Spec) -> Result<Settle, GcpError> {
        let of = identity(&place.project, name);
        let as_before = |live: &Value| Ok(spec(live)? == *before && same_system(place, live));
        if unmoved(gcp, &of, name, as_before).await?.is_some() {
            gcp.delete_identity(&of).await?;
        }
        Ok(Settle::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn github() -> Github {
        let (repository_id, owner_id) = ("900000001".to_owned(), "900000002".to_owned());
        Github {
            repository: "octo-org/shop".into(),
            repository_id,
            owner_id,
            identity: None,
            workflows: indexmap::IndexMap::new(),
        }
    }

    #[test]
    fn tokens_are_taken_by_numbers_in_quotes() {
        insta::assert_snapshot!(
            wanted(&github()).condition,
            @"assertion.repository_id == '900000001' && assertion.repository_owner_id == '900000002'"
        );
    }

    #[test]
    fn every_claim_that_the_condition_or_a_grant_uses_is_mapped() {
        let spec = wanted(&github());
        let claims: Vec<_> = spec.mapping.values().map(String::as_str).collect();
        for claim in ["assertion.repository_id", "assertion.repository_owner_id"] {
            assert!(spec.condition.contains(claim) && claims.contains(&claim), "{claim}");
        }
        assert!(spec.mapping.contains_key(BY_REPOSITORY));
        assert!(spec.mapping.contains_key("google.subject"));
    }

    #[test]
    fn what_a_provider_shows_reads_back_as_it_was_written() {
        let spec_of = |doc: &Value| spec(doc).unwrap();
        assert_eq!(spec_of(&document(&wanted(&github()), "x")), wanted(&github()));
        let odd = Spec {
            audiences: vec!["https://a.example.com".into()],
            keys: Some("{}".into()),
            disabled: true,
            ..wanted(&github())
        };
        assert_eq!(spec_of(&document(&odd, "x")), odd);
        assert_eq!(spec_of(&json!({"aws": {"accountId": "1"}})).issuer, "");
        assert!(spec(&json!({"attributeMapping": [1]})).is_err());
    }

    #[test]
    fn a_provider_goes_with_its_pool() {
        let pool = IdentityProvider::part_of("github/actions", &wanted(&github())).unwrap();
        assert_eq!(pool.to_string(), "identity_pool/github");
        let of = identity("p", "github/actions");
        let expected =
            Identity::Provider { project: "p".into(), pool: "github".into(), provider: "actions".into() };
        assert_eq!(of, expected);
    }
}
