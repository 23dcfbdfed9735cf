//! IAM v1 providers of workload identity pools.

use serde_json::Value;

use super::federation::{self, Kind};
use super::{mapping, pools};
use crate::call::{Call, Handler};
use crate::error::{Answer, Status};
use crate::world::World;

/// What `updateMask` may name; fields of `oidc` and the like also one by one.
const MUTABLE: [&str; 10] = [
    "actorProviders",
    "attributeCondition",
    "attributeMapping",
    "aws",
    "description",
    "disabled",
    "displayName",
    "oidc",
    "saml",
    "x509",
];

pub(super) fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("iam.projects.locations.workloadIdentityPools.providers.create", create),
        ("iam.projects.locations.workloadIdentityPools.providers.get", get),
        ("iam.projects.locations.workloadIdentityPools.providers.list", list),
        ("iam.projects.locations.workloadIdentityPools.providers.patch", patch),
        ("iam.projects.locations.workloadIdentityPools.providers.delete", delete),
        ("iam.projects.locations.workloadIdentityPools.providers.undelete", undelete),
    ]
}

fn create(world: &mut World, call: &Call) -> Answer {
    let pool = pools::of_provider(world, call)?;
    if pool["mode"] == "TRUST_DOMAIN" {
        return Err(Status::failed_precondition("A pool of mode TRUST_DOMAIN has no providers."));
    }
    let id = call.query.str("workloadIdentityPoolProviderId").unwrap_or_default();
    federation::check_id(id, "workload_identity_pool_provider_id")?;
    let provider = federation::chosen(&call.body, &MUTABLE);
    check(&provider)?;
    federation::create(world, Kind::Provider, call, id, &provider)
}

fn get(world: &mut World, call: &Call) -> Answer {
    federation::check_location(call)?;
    federation::show(world, Kind::Provider, call)
}

/// At most 50 unless more are asked for, and 100 at most. Also of a deleted pool.
fn list(world: &mut World, call: &Call) -> Answer {
    federation::check_location(call)?;
    let pool = call.resource.split('/').take(6).collect::<Vec<_>>().join("/");
    federation::find(world, Kind::Pool, &pool)?;
    federation::list(world, Kind::Provider, call, 50, 100)
}

fn patch(world: &mut World, call: &Call) -> Answer {
    pools::of_provider(world, call)?;
    let current = federation::find_active(world, Kind::Provider, &call.resource)?;
    let set = federation::masked(&current, call, &MUTABLE, &mapping::SOURCES)?;
    let wanted = federation::changed(&current, &set);
    check(&wanted)?;
    if source(&current) != source(&wanted) {
        return Err(Status::invalid("update_mask", "The type of a provider cannot be changed."));
    }
    Ok(federation::start(world, Kind::Provider, call, &call.resource, set))
}

fn delete(world: &mut World, call: &Call) -> Answer {
    pools::of_provider(world, call)?;
    federation::delete(world, Kind::Provider, call)
}

fn undelete(world: &mut World, call: &Call) -> Answer {
    pools::of_provider(world, call)?;
    federation::undelete(world, Kind::Provider, call)
}

fn check(provider: &Value) -> Result<(), Status> {
    federation::check_texts(provider)?;
    mapping::check(provider)
}

/// Which kind of identity provider it is.
fn source(provider: &Value) -> Option<&'static str> {
    mapping::SOURCES.into_iter().find(|source| provider[*source].is_object())
}

#[cfg(test)]
mod tests;
