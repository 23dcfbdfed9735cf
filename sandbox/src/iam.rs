//! IAM policies of every resource: one store, one set of rules, grants that take a while to be in force.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::call::Call;
use crate::error::{Answer, Status};
use crate::services::iam as accounts;
use crate::world::World;

/// Documents by the relative name of the resource.
pub(crate) const POLICIES: &str = "iam.policies";

/// The etag of a resource that never had a policy.
const EMPTY_ETAG: &str = "ACAB";

/// `Policy.bindings`: "up to 1,500 principals" in all bindings together.
const MAX_PRINCIPALS: usize = 1500;

/// One binding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    pub role: String,
    #[serde(default)]
    pub members: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Value>,
}

/// A policy as it is stored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Policy {
    #[serde(default)]
    pub bindings: Vec<Binding>,
    /// Base64 of bytes that change with each write.
    #[serde(default)]
    pub etag: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_configs: Option<Value>,
    /// Grants that are not in force yet: `role member` to the request from which on they are.
    #[serde(default)]
    pub pending: BTreeMap<String, u64>,
}

/// One member's part in a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant<'a> {
    pub(crate) role: &'a str,
    pub(crate) member: &'a str,
    /// The expression of the condition.
    pub(crate) condition: Option<&'a str>,
}

fn grant_key(role: &str, member: &str) -> String {
    format!("{role} {member}")
}

impl Policy {
    fn has_conditions(&self) -> bool {
        self.bindings.iter().any(|binding| binding.condition.is_some())
    }

    fn grants(&self) -> impl Iterator<Item = (&str, &str)> {
        self.bindings
            .iter()
            .flat_map(|binding| binding.members.iter().map(|member| (binding.role.as_str(), member.as_str())))
    }

    /// The grants that are in force at this request.
    pub(crate) fn in_force(&self, tick: u64) -> impl Iterator<Item = Grant<'_>> {
        self.bindings.iter().flat_map(move |binding| {
            let condition = binding.condition.as_ref();
            let condition = condition.map(|condition| condition["expression"].as_str().unwrap_or_default());
            let role = binding.role.as_str();
            let members = binding.members.iter().map(String::as_str);
            members
                .filter(move |member| {
                    self.pending.get(&grant_key(role, member)).is_none_or(|from| *from <= tick)
                })
                .map(move |member| Grant { role, member, condition })
        })
    }

    /// What a client sees that asked for `version`: below 3 a conditional binding shows as a role of a made-up name,
    /// `ROLE_withcond_HASH`, without its condition.
    fn view(&self, version: i64) -> Value {
        let shown: Vec<Binding> = self
            .bindings
            .iter()
            .map(|binding| if version >= 3 { binding.clone() } else { without_condition(binding) })
            .collect();
        let mut view = json!({ "etag": if self.etag.is_empty() { EMPTY_ETAG } else { &self.etag } });
        if !self.etag.is_empty() {
            view["version"] = json!(if version >= 3 && self.has_conditions() { 3 } else { 1 });
        }
        if !shown.is_empty() {
            view["bindings"] = json!(shown);
        }
        if let Some(configs) = &self.audit_configs {
            view["auditConfigs"] = configs.clone();
        }
        view
    }
}

fn without_condition(binding: &Binding) -> Binding {
    let Some(condition) = &binding.condition else { return binding.clone() };
    let hash = sha2::Sha256::digest(condition.to_string().as_bytes());
    let hash = hash.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    Binding {
        role: format!("{}_withcond_{hash:020x}", binding.role),
        members: binding.members.clone(),
        condition: None,
    }
}

impl World {
    /// The policy of a resource, by its relative name (`projects/p/secrets/s`); empty when it never had one.
    pub fn policy(&self, resource: &str) -> Policy {
        self.doc(POLICIES, resource)
            .and_then(|doc| serde_json::from_value(doc.clone()).ok())
            .unwrap_or_default()
    }

    /// Forgets the policies of a deleted resource and of everything below it.
    pub fn forget_policies(&mut self, resource: &str) {
        let below = format!("{resource}/");
        let names: Vec<String> = self
            .list(POLICIES, resource)
            .map(|(name, _)| name.to_owned())
            .filter(|name| name == resource || name.starts_with(&below))
            .collect();
        for name in names {
            self.remove(POLICIES, &name);
        }
    }

    /// Rewrites a member in every policy, as happens when a service account is deleted or undeleted.
    pub(crate) fn rename_member(&mut self, from: &str, to: &str) {
        let names: Vec<String> = self.list(POLICIES, "").map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let mut policy = self.policy(&name);
            let mut touched = false;
            for member in policy.bindings.iter_mut().flat_map(|binding| &mut binding.members) {
                if member == from {
                    to.clone_into(member);
                    touched = true;
                }
            }
            if touched {
                policy.etag = policy_etag(self);
                store(self, &name, &policy);
            }
        }
    }
}

fn store(world: &mut World, resource: &str, policy: &Policy) {
    if let Ok(doc) = serde_json::to_value(policy) {
        world.put(POLICIES, resource, doc);
    }
}

fn policy_etag(world: &mut World) -> String {
    let (id, noise) = (world.next_id(), world.random());
    STANDARD.encode([&[7_u8][..], &noise.to_be_bytes()[..3], &id.to_be_bytes()[..]].concat())
}

/// Moves the etag of a policy without changing it, as somebody else's write would.
pub(crate) fn touch(world: &mut World, resource: &str) {
    let mut policy = world.policy(resource);
    policy.etag = policy_etag(world);
    store(world, resource, &policy);
}

/// `getIamPolicy` by GET or POST; the caller has checked that the resource exists.
pub fn get_policy(world: &mut World, call: &Call, resource: &str) -> Answer {
    let in_body = call.body.pointer("/options/requestedPolicyVersion").and_then(Value::as_i64);
    let version = match in_body {
        Some(version) => version,
        None => call.query.int("options.requestedPolicyVersion")?.unwrap_or(0),
    };
    if ![0, 1, 3].contains(&version) {
        return Err(Status::invalid(
            "options.requested_policy_version",
            format!("Policy version {version} is not valid: 0, 1 and 3 are."),
        ));
    }
    Ok(world.policy(resource).view(version))
}

/// `setIamPolicy`; the caller has checked that the resource exists.
pub fn set_policy(world: &mut World, call: &Call, resource: &str) -> Answer {
    let Some(sent) = call.body.get("policy") else {
        return Err(Status::invalid("policy", "The policy is required."));
    };
    let old = world.policy(resource);
    check_etag(sent, &old)?;
    let mask = call.text("updateMask").unwrap_or("bindings,etag");
    let mut new = old.clone();
    if mask.split(',').any(|path| path == "bindings" || path == "*") {
        new.bindings = bindings_of(sent)?;
    }
    if mask.split(',').any(|path| path == "auditConfigs" || path == "*") {
        new.audit_configs = sent.get("auditConfigs").cloned();
    }
    check_version(sent, &new, &old)?;
    check_members(world, &new)?;
    check_deleted(&old, &new)?;
    new.pending = pending_grants(world, &old, &new);
    new.etag = policy_etag(world);
    store(world, resource, &new);
    Ok(new.view(3))
}

fn check_etag(sent: &Value, old: &Policy) -> Result<(), Status> {
    let Some(etag) = sent["etag"].as_str().filter(|etag| !etag.is_empty()) else { return Ok(()) };
    let current = if old.etag.is_empty() { EMPTY_ETAG } else { &old.etag };
    if etag == current {
        return Ok(());
    }
    Err(Status::aborted(
        "There were concurrent policy changes. Read the policy again and retry the whole read-modify-write.",
    ))
}

fn check_version(sent: &Value, new: &Policy, old: &Policy) -> Result<(), Status> {
    let version = sent["version"].as_i64().unwrap_or(0);
    if ![0, 1, 3].contains(&version) {
        return Err(Status::invalid(
            "policy.version",
            format!("Policy version {version} is not valid: 0, 1 and 3 are."),
        ));
    }
    if new.has_conditions() && version < 3 {
        return Err(Status::invalid("policy.version", "Bindings with a condition need policy version 3."));
    }
    // With the etag of a conditional policy, a lower version would silently lose the conditions.
    let with_etag = sent["etag"].as_str().is_some_and(|etag| !etag.is_empty());
    if with_etag && old.has_conditions() && version < 3 {
        return Err(Status::invalid(
            "policy.version",
            "The current policy has conditions: it can be replaced only with policy version 3.",
        ));
    }
    Ok(())
}

/// Bindings merged by role and condition, sorted by role, members sorted and without doubles.
fn bindings_of(sent: &Value) -> Result<Vec<Binding>, Status> {
    let mut merged: BTreeMap<(String, String), (BTreeSet<String>, Option<Value>)> = BTreeMap::new();
    for (index, binding) in sent["bindings"].as_array().into_iter().flatten().enumerate() {
        let role = binding["role"].as_str().unwrap_or_default();
        if !is_role(role) {
            return Err(Status::invalid(
                &format!("policy.bindings[{index}].role"),
                format!("Role ({role}) does not exist in the resource's hierarchy."),
            ));
        }
        let condition = binding.get("condition").filter(|condition| !condition.is_null()).cloned();
        if condition
            .as_ref()
            .is_some_and(|condition| condition["expression"].as_str().is_none_or(str::is_empty))
        {
            return Err(Status::invalid(
                &format!("policy.bindings[{index}].condition.expression"),
                "A condition needs an expression.",
            ));
        }
        let key = condition.as_ref().map(ToString::to_string).unwrap_or_default();
        let entry = merged.entry((role.to_owned(), key)).or_insert_with(|| (BTreeSet::new(), condition));
        for member in binding["members"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            entry.0.insert(normal_member(member));
        }
    }
    Ok(merged
        .into_iter()
        .filter(|(_, (members, _))| !members.is_empty())
        .map(|((role, _), (members, condition))| Binding {
            role,
            members: members.into_iter().collect(),
            condition,
        })
        .collect())
}

/// Addresses are compared without case, and stored in lower case.
fn normal_member(member: &str) -> String {
    match member.split_once(':') {
        Some((kind @ ("user" | "serviceAccount" | "group" | "domain"), name)) => {
            format!("{kind}:{}", name.to_lowercase())
        }
        _ => member.to_owned(),
    }
}

fn is_role(role: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte))
    };
    match role.split('/').collect::<Vec<_>>().as_slice() {
        ["roles", name] => is_name(name),
        ["projects" | "organizations", parent, "roles", name] => !parent.is_empty() && is_name(name),
        _ => false,
    }
}

fn check_members(world: &World, policy: &Policy) -> Result<(), Status> {
    if policy.grants().count() > MAX_PRINCIPALS {
        return Err(Status::invalid(
            "policy.bindings",
            format!("The policy has more than {MAX_PRINCIPALS} principals."),
        ));
    }
    for (_, member) in policy.grants() {
        check_member(world, member)?;
    }
    Ok(())
}

fn check_member(world: &World, member: &str) -> Result<(), Status> {
    let invalid = || {
        Err(Status::invalid(
            "policy.bindings.members",
            format!("Invalid member: '{member}' is not a known form."),
        ))
    };
    if matches!(member, "allUsers" | "allAuthenticatedUsers") {
        return Ok(());
    }
    let Some((kind, name)) = member.split_once(':') else { return invalid() };
    let is_mail =
        name.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'));
    match kind {
        "user" | "group" if is_mail => Ok(()),
        "domain" if name.contains('.') && !name.contains('@') => Ok(()),
        "principal" | "principalSet" if name.starts_with("//") => Ok(()),
        "deleted" if name.contains("?uid=") => Ok(()),
        "projectOwner" | "projectEditor" | "projectViewer" if !name.is_empty() => Ok(()),
        // A workload identity of a cluster: `PROJECT.svc.id.goog[namespace/name]`.
        "serviceAccount" if name.contains(".svc.id.goog[") => Ok(()),
        "serviceAccount" if is_mail => {
            if accounts::member_is_known(world, name) {
                Ok(())
            } else {
                Err(Status::invalid_argument(format!("Service account {name} does not exist.")))
            }
        }
        _ => invalid(),
    }
}

/// A principal cannot be granted anything new while the policy still names a deleted one of the same name.
fn check_deleted(old: &Policy, new: &Policy) -> Result<(), Status> {
    let before: BTreeSet<(&str, &str)> = old.grants().collect();
    for (_, member) in new.grants().filter(|grant| !before.contains(grant)) {
        let stale = new.grants().map(|(_, stale)| stale).find(|stale| {
            stale
                .strip_prefix("deleted:")
                .and_then(|rest| rest.split_once("?uid="))
                .is_some_and(|(name, _)| name == member)
        });
        if let Some(stale) = stale {
            return Err(Status::invalid(
                "policy.bindings.members",
                format!(
                    "'{member}' cannot be added while the policy has '{stale}': remove the deleted member first."
                ),
            ));
        }
    }
    Ok(())
}

/// From which request on each new grant is in force; grants that were there keep what they had.
fn pending_grants(world: &mut World, old: &Policy, new: &Policy) -> BTreeMap<String, u64> {
    let before: BTreeSet<String> = old.grants().map(|(role, member)| grant_key(role, member)).collect();
    let mut pending = BTreeMap::new();
    for (role, member) in new.grants() {
        let key = grant_key(role, member);
        let from = if before.contains(&key) {
            old.pending.get(&key).copied()
        } else {
            Some(world.tick() + world.random_between(1, 4))
        };
        if let Some(from) = from.filter(|from| *from > world.tick()) {
            pending.insert(key, from);
        }
    }
    pending
}

/// `testIamPermissions` for an owner, who has what it asks about; `permissions` takes out what others have not.
pub fn test_permissions(call: &Call) -> Answer {
    let asked = call.body["permissions"].as_array().cloned().unwrap_or_default();
    if asked.is_empty() {
        return Ok(json!({}));
    }
    for permission in &asked {
        let name = permission.as_str().unwrap_or_default();
        if name.contains('*') || name.split('.').count() < 3 {
            return Err(Status::invalid("permissions", format!("Permission {name} is not valid.")));
        }
    }
    Ok(json!({ "permissions": asked }))
}

#[cfg(test)]
mod tests;
