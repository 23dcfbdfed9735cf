//! IAM v1 workload identity pools.
//!
//! While a pool is deleted its providers stay as they are and can be read, but nothing in it can be changed; with the
//! pool they come back, and with it they go for good.

use serde_json::Value;

use super::federation::{self, Kind};
use crate::call::{Call, Handler};
use crate::error::{Answer, Status};
use crate::iam;
use crate::world::World;

/// What `updateMask` may name; `mode` is immutable.
const MUTABLE: [&str; 5] =
    ["description", "disabled", "displayName", "inlineCertificateIssuanceConfig", "inlineTrustConfig"];

pub(super) fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("iam.projects.locations.workloadIdentityPools.create", create),
        ("iam.projects.locations.workloadIdentityPools.get", get),
        ("iam.projects.locations.workloadIdentityPools.list", list),
        ("iam.projects.locations.workloadIdentityPools.patch", patch),
        ("iam.projects.locations.workloadIdentityPools.delete", delete),
        ("iam.projects.locations.workloadIdentityPools.undelete", undelete),
        ("iam.projects.locations.workloadIdentityPools.getIamPolicy", get_policy),
        ("iam.projects.locations.workloadIdentityPools.setIamPolicy", set_policy),
        ("iam.projects.locations.workloadIdentityPools.testIamPermissions", test_permissions),
    ]
}

fn create(world: &mut World, call: &Call) -> Answer {
    federation::check_location(call)?;
    let id = call.query.str("workloadIdentityPoolId").unwrap_or_default();
    federation::check_id(id, "workload_identity_pool_id")?;
    federation::check_texts(&call.body)?;
    if call.text("mode") == Some("SYSTEM_TRUST_DOMAIN") {
        return Err(Status::invalid("mode", "Pools of mode SYSTEM_TRUST_DOMAIN are made by Google only."));
    }
    let fields: Vec<&str> = MUTABLE.into_iter().chain(["mode"]).collect();
    federation::create(world, Kind::Pool, call, id, &federation::chosen(&call.body, &fields))
}

fn get(world: &mut World, call: &Call) -> Answer {
    federation::check_location(call)?;
    federation::show(world, Kind::Pool, call)
}

/// At most 50 unless more are asked for, and 1000 at most.
fn list(world: &mut World, call: &Call) -> Answer {
    federation::check_location(call)?;
    federation::list(world, Kind::Pool, call, 50, 1000)
}

fn patch(world: &mut World, call: &Call) -> Answer {
    let current = federation::find_active(world, Kind::Pool, &call.resource)?;
    let set = federation::masked(&current, call, &MUTABLE, &[])?;
    federation::check_texts(&federation::changed(&current, &set))?;
    Ok(federation::start(world, Kind::Pool, call, &call.resource, set))
}

fn delete(world: &mut World, call: &Call) -> Answer {
    federation::delete(world, Kind::Pool, call)
}

fn undelete(world: &mut World, call: &Call) -> Answer {
    federation::undelete(world, Kind::Pool, call)
}

fn get_policy(world: &mut World, call: &Call) -> Answer {
    federation::find(world, Kind::Pool, &call.resource)?;
    iam::get_policy(world, call, &call.resource)
}

fn set_policy(world: &mut World, call: &Call) -> Answer {
    federation::find_active(world, Kind::Pool, &call.resource)?;
    iam::set_policy(world, call, &call.resource)
}

fn test_permissions(world: &mut World, call: &Call) -> Answer {
    federation::find(world, Kind::Pool, &call.resource)?;
    iam::test_permissions(call)
}

/// The pool that the call is in, for a call that changes something in it.
pub(super) fn of_provider(world: &mut World, call: &Call) -> Result<Value, Status> {
    federation::check_location(call)?;
    let name = call.resource.split('/').take(6).collect::<Vec<_>>().join("/");
    federation::find_active(world, Kind::Pool, &name)
}

#[cfg(test)]
pub(super) mod tests;
