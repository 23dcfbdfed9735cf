//! Workload identity pools (IAM v1): where the workflows of GitHub become principals of Google Cloud.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::Environment;
use crate::gcp::{self, Gcp, GcpError, Identity};
use crate::resource::{
    Consequence, Declared, Edit, Facts, Kind, Layer, Life, Observed, Owner, Ownership, Place, Scope, Settle,
};

pub struct IdentityPool;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// `displayName`, at most 32 characters.
    pub display_name: String,
    /// Nobody gets a token through a disabled pool, and tokens that there are do not work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// At most 32 characters, so that no name of a repository is sure to fit.
pub(super) const DISPLAY_NAME: &str = "GitHub Actions";
const DESCRIPTION: &str = "Identities of workflows.";

/// The last part of a resource name.
pub(super) fn short_name(doc: &Value) -> &str {
    doc["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default()
}

/// Whose a pool or provider is: like accounts, they have no labels but a description.
pub(super) fn owner(doc: &Value) -> Owner {
    Ownership::owner_by_description(doc["description"].as_str().unwrap_or_default())
}

/// The description with our mark; what people wrote stays before it.
pub(super) fn description(place: &Place, live: &Value, default: &str) -> String {
    place.ownership.marked(live["description"].as_str().unwrap_or_default(), default)
}

/// Whether a live pool or provider is one of our system, and may be deleted in its name.
pub(super) fn same_system(place: &Place, doc: &Value) -> bool {
    matches!(owner(doc), Owner::Marked(mark) if mark.system == place.ownership.system)
}

/// What a pool or provider is created from: a new one is not disabled, and answers leave out what is false.
pub(super) fn first(mut doc: Value) -> Value {
    doc.as_object_mut().map(|fields| fields.remove("disabled"));
    doc
}

/// A live pool or provider that is `as_before`: an error if it is not, `None` where there is none or a deleted one.
pub(super) async fn unmoved(
    gcp: &Gcp,
    of: &Identity,
    name: &str,
    as_before: impl Fn(&Value) -> Result<bool, GcpError>,
) -> Result<Option<Value>, GcpError> {
    match gcp.identity(of).await?.filter(|live| !gcp::is_deleted(live)) {
        Some(live) if !as_before(&live)? => Err(GcpError::moved(name)),
        live => Ok(live),
    }
}

/// The pool that an environment declares.
pub fn declared(env: &Environment) -> Option<&str> {
    Some(&env.github.as_ref()?.identity.as_ref()?.pool)
}

fn identity(project: &str, pool: &str) -> Identity {
    Identity::Pool { project: project.to_owned(), pool: pool.to_owned() }
}

fn spec(doc: &Value) -> Spec {
    Spec {
        display_name: doc["displayName"].as_str().unwrap_or_default().to_owned(),
        disabled: doc["disabled"].as_bool().unwrap_or(false),
    }
}

fn document(spec: &Spec, description: &str) -> Value {
    json!({"displayName": spec.display_name, "description": description, "disabled": spec.disabled})
}

impl Kind for IdentityPool {
    const NAME: &'static str = "identity_pool";
    const API: &'static str = "iam.googleapis.com";
    const LAYER: Layer = Layer::Foundation;
    const VIEWER: &'static str = "roles/iam.workloadIdentityPoolViewer";
    type Spec = Spec;

    fn declare(env: &Environment, _: &Facts) -> Vec<Declared<Spec>> {
        let spec = Spec { display_name: DISPLAY_NAME.to_owned(), disabled: false };
        let pool = declared(env).map(|pool| Declared::new(pool, "github.identity.pool", spec));
        pool.into_iter().collect()
    }

    fn consequences(_: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        if after.is_none() { vec![Consequence::AccessNarrowed] } else { Vec::new() }
    }

    fn intend(env: &Environment, facts: &mut Facts) {
        facts.pools.extend(self::declared(env).map(str::to_owned));
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let docs = gcp.list_pools(&scope.project).await?;
        let observed = docs.iter().map(|doc| {
            let life = if gcp::is_deleted(doc) { Life::SoftDeleted } else { Life::Present };
            Observed { life, ..Observed::new(short_name(doc), spec(doc), owner(doc)) }
        });
        Ok(observed.collect())
    }

    /// Deleted ones too: what was granted to their identities holds again once they are back.
    fn contribute(observed: &[Observed<Spec>], facts: &mut Facts) {
        let ours = |owner: &Owner| matches!(owner, Owner::Marked(mark) if mark.includes(&facts.own));
        let ours: Vec<_> = observed.iter().filter(|pool| ours(&pool.owner)).map(|p| p.name.clone()).collect();
        facts.pools.extend(ours);
    }

    async fn create(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let doc = document(spec, &description(place, &Value::Null, DESCRIPTION));
        gcp.create_identity(&identity(&place.project, name), &first(doc)).await?;
        Ok(Settle::Done)
    }

    async fn update(gcp: &Gcp, place: &Place, edit: Edit<'_, Spec>) -> Result<Settle, GcpError> {
        let of = identity(&place.project, edit.name);
        let as_before = |live: &Value| Ok(spec(live) == *edit.before);
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
        let as_before = |live: &Value| Ok(spec(live) == *before && same_system(place, live));
        if unmoved(gcp, &of, name, as_before).await?.is_some() {
            gcp.delete_identity(&of).await?;
        }
        Ok(Settle::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_of_our_environments_are_facts_and_others_are_not() {
        let mut facts = Facts { own: Ownership::new("shop", "staging"), ..Facts::default() };
        let pool = |name: &str, description: &str, life| {
            let doc = json!({"description": description});
            Observed { life, ..Observed::new(name, spec(&doc), owner(&doc)) }
        };
        let pools = [
            pool("shared", "Workflows. [deployer shop/shared]", Life::Present),
            pool("deleted", "[deployer shop/staging]", Life::SoftDeleted),
            pool("elsewhere", "[deployer shop/production]", Life::Present),
            pool("theirs", "[deployer cafe/shared]", Life::Present),
            pool("nobody", "", Life::Present),
        ];
        IdentityPool::contribute(&pools, &mut facts);
        assert_eq!(facts.pools.into_iter().collect::<Vec<_>>(), ["deleted", "shared"]);
    }

    #[test]
    fn what_a_pool_shows_reads_back_as_it_was_written() {
        let off = Spec { display_name: "D".into(), disabled: true };
        assert_eq!(spec(&document(&off, "x")), off);
        assert_eq!(
            spec(&json!({"name": "n", "state": "ACTIVE"})),
            Spec { display_name: String::new(), disabled: false }
        );
    }
}
