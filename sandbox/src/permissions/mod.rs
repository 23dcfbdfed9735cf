//! Who may do what. Asked for callers with a token that the sandbox issued; everybody else is owner of everything.
//!
//! A method needs the permissions that `data/permissions.tsv` names (`methods`), and some more by what is in its body
//! (`request`). A role holds those that `data/roles.txt` names (`roles`). A permission is granted by a policy of the
//! resource, of what the resource is in, or of its project, once the grant has reached everywhere.

mod condition;
mod methods;
mod request;
mod roles;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::call::Call;
use crate::error::Status;
use crate::services::iam as accounts;
use crate::world::World;

/// A permission and the resource that it is needed on, by its relative name with the project's ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) permission: String,
    pub(crate) resource: String,
}

impl Need {
    pub(crate) fn new(permission: &str, resource: impl Into<String>) -> Self {
        Self { permission: permission.to_owned(), resource: resource.into() }
    }
}

/// 403 PERMISSION_DENIED when the caller is an account that lacks a permission which the call needs.
pub(crate) fn authorise(world: &World, call: &Call) -> Result<(), Status> {
    let Some(account) = &call.caller.account else { return Ok(()) };
    let missing = request::needs(world, call).into_iter().find(|need| !world.may(account, need));
    missing.map_or(Ok(()), |need| Err(denied(&need)))
}

/// The refusal in Google's form: an `ErrorInfo` with the permission and the resource, both also in the message.
pub(crate) fn denied(need: &Need) -> Status {
    let Need { permission, resource } = need;
    let message = format!("Permission '{permission}' denied on resource '{resource}' (or it may not exist).");
    Status::permission_denied(message).with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED",
        "domain": "iam.googleapis.com",
        "metadata": { "permission": permission, "resource": resource },
    }))
}

/// Takes out of an answer of `testIamPermissions` what the caller does not have.
pub(crate) fn narrow(world: &World, call: &Call, answer: &mut Value) {
    let Some(account) = &call.caller.account else { return };
    if !call.method.id.ends_with(".testIamPermissions") {
        return;
    }
    let Some(permissions) = answer.get_mut("permissions").and_then(Value::as_array_mut) else { return };
    permissions.retain(|permission| {
        world.may(account, &Need::new(permission.as_str().unwrap_or_default(), &call.resource))
    });
    if permissions.is_empty() {
        *answer = json!({});
    }
}

impl World {
    /// Whether the service account with this address has the permission by now.
    pub(crate) fn may(&self, account: &str, need: &Need) -> bool {
        let member = format!("serviceAccount:{account}");
        self.is_granted(&need.resource, &member, |role| roles::holds(role, &need.permission))
    }

    /// Whether `member` has `role`, or one that holds all of its permissions, on the resource or on what it is in by
    /// now; new grants need a few requests first. A conditional grant counts when its condition holds now.
    pub fn has_role(&self, resource: &str, role: &str, member: &str) -> bool {
        self.is_granted(resource, member, |granted| granted == role || roles::covers(granted, role))
    }

    fn is_granted(&self, resource: &str, member: &str, suits: impl Fn(&str) -> bool) -> bool {
        let resource = accounts::policy_name(self, resource);
        let asked = condition::Asked::new(self, &resource);
        let members = [member, "allUsers", "allAuthenticatedUsers"];
        places(&resource).any(|place| {
            self.policy(place).in_force(self.tick()).any(|grant| {
                members.contains(&grant.member)
                    && suits(grant.role)
                    && grant.condition.is_none_or(|condition| asked.fulfils(condition))
            })
        })
    }
}

/// The names of the resource and of everything that it is in: `projects/p`, `projects/p/secrets/s`, ...
fn places(resource: &str) -> impl Iterator<Item = &str> {
    let ends = resource.match_indices('/').map(|(at, _)| at).chain([resource.len()]);
    ends.skip(1).step_by(2).map(|end| &resource[..end])
}
