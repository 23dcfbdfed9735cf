//! What a request needs: the permissions of its method, and those that depend on what it asks for.

use serde_json::Value;

use super::{Need, methods};
use crate::call::Call;
use crate::services::{iam as accounts, iamcredentials, logging, run};
use crate::world::World;

const ACT_AS: &str = "iam.serviceAccounts.actAs";

/// Everything that the caller of this request must have.
pub(super) fn needs(world: &World, call: &Call) -> Vec<Need> {
    if let Some(delegate) = iamcredentials::first_delegate(call) {
        let resource = account_name(world, call, delegate);
        return vec![Need::new("iam.serviceAccounts.implicitDelegation", resource)];
    }
    if let Some(projects) = logging::projects(world, call) {
        let permissions = methods::permissions(&call.method.key).unwrap_or_default();
        let need = |project: String| {
            permissions.iter().map(move |name| Need::new(name, format!("projects/{project}")))
        };
        return projects.into_iter().flat_map(need).collect();
    }
    let resource = subject(&call.resource);
    let mut needs: Vec<Need> = match methods::permissions(&call.method.key) {
        Some(permissions) => permissions.iter().map(|name| Need::new(name, resource)).collect(),
        // Nobody knows what it needs, so nobody has it.
        None => vec![Need::new(&call.method.key, resource)],
    };
    needs.extend(needs_of_run(world, call));
    needs
}

/// The resource itself; for a method of a collection, such as create and list, what the collection is in.
fn subject(resource: &str) -> &str {
    if resource.split('/').count().is_multiple_of(2) {
        return resource;
    }
    resource.rsplit_once('/').map_or(resource, |(parent, _)| parent)
}

/// Running something as an account takes `iam.serviceAccounts.actAs` on the account.
fn needs_of_run(world: &World, call: &Call) -> Vec<Need> {
    let Some(method) = call.method.key.strip_prefix("run.projects.locations.") else { return Vec::new() };
    let (kind, pointer) = match method {
        "services.create" | "services.patch" => ("services", "/template/serviceAccount"),
        "jobs.create" | "jobs.patch" => ("jobs", "/template/template/serviceAccount"),
        "jobs.run" if has_overrides(&call.body) => {
            return vec![Need::new("run.jobs.runWithOverrides", subject(&call.resource))];
        }
        _ => return Vec::new(),
    };
    let account = account_to_be(world, call, pointer);
    let mut needs = vec![Need::new(ACT_AS, account_name(world, call, &account))];
    if call.query.flag("allowMissing").unwrap_or(false) {
        let location = call.resource.split('/').take(4).collect::<Vec<_>>().join("/");
        needs.push(Need::new(&format!("run.{kind}.create"), location));
    }
    needs
}

fn has_overrides(body: &Value) -> bool {
    body.get("overrides").and_then(Value::as_object).is_some_and(|overrides| !overrides.is_empty())
}

/// The account that runs what is written here: the one in the body, the one that an update mask leaves alone, or the
/// project's default one.
fn account_to_be(world: &World, call: &Call, pointer: &str) -> String {
    let masked = call.query.str("updateMask").is_some_and(|mask| !mask.split(',').any(covers_account));
    let stored = world.doc(run::SERVICES, &call.resource);
    let doc = if masked { stored } else { Some(&call.body) };
    let said = doc.and_then(|doc| doc.pointer(pointer)).and_then(Value::as_str).unwrap_or_default();
    if said.is_empty() { compute_account(world, &call.project) } else { said.to_owned() }
}

fn covers_account(path: &str) -> bool {
    ["*", "template", "template.serviceAccount"].contains(&path)
}

/// The account that Cloud Run takes when none is named.
fn compute_account(world: &World, project: &str) -> String {
    format!("{}{COMPUTE}", world.project_number(project))
}

const COMPUTE: &str = "-compute@developer.gserviceaccount.com";

/// The ID of the project whose default compute account has this address.
fn project_with_compute_account(world: &World, email: &str) -> Option<String> {
    world.project_with_number(email.strip_suffix(COMPUTE)?.parse().ok()?)
}

/// The name that the account's policy is kept by; an account of nowhere is looked for in the call's project.
fn account_name(world: &World, call: &Call, account: &str) -> String {
    let project = accounts::project_of(world, account)
        .or_else(|| project_with_compute_account(world, account))
        .unwrap_or_else(|| call.project.clone());
    format!("projects/{project}/serviceAccounts/{account}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::call::{Caller, Query};
    use crate::testing::world;

    /// What the caller of a method on a resource needs, with this query and body.
    fn permissions_of(
        key: &str,
        resource: &str,
        query: &[(&str, &str)],
        body: Value,
    ) -> Vec<(String, String)> {
        let mut world = world();
        world.use_project("agent-army-dev").unwrap();
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
        let call = Call {
            method: crate::methods::all().iter().find(|method| method.key == key).unwrap(),
            path: BTreeMap::new(),
            resource: resource.to_owned(),
            query: Query(query.collect()),
            body,
            project: "agent-army-dev".into(),
            caller: Caller::account("a@agent-army-dev.iam.gserviceaccount.com"),
        };
        needs(&world, &call).into_iter().map(|need| (need.permission, need.resource)).collect()
    }

    const LOCATION: &str = "projects/agent-army-dev/locations/us-central1";

    fn pair(permission: &str, resource: impl Into<String>) -> (String, String) {
        (permission.to_owned(), resource.into())
    }

    #[test]
    fn a_job_takes_act_as_on_the_account_of_its_tasks() {
        let account = "jobs@agent-army-dev.iam.gserviceaccount.com";
        let body = json!({"template": {"template": {"serviceAccount": account}}});
        let collection = format!("{LOCATION}/jobs");
        assert_eq!(
            permissions_of("run.projects.locations.jobs.create", &collection, &[], body),
            [
                pair("run.jobs.create", LOCATION),
                pair(ACT_AS, format!("projects/agent-army-dev/serviceAccounts/{account}")),
            ]
        );
    }

    #[test]
    fn running_a_job_with_overrides_takes_a_permission_more() {
        let (key, job) = ("run.projects.locations.jobs.run", format!("{LOCATION}/jobs/migrate"));
        let plain = permissions_of(key, &job, &[], json!({"overrides": {}}));
        assert_eq!(plain, [pair("run.jobs.run", job.as_str())]);
        let overridden = permissions_of(key, &job, &[], json!({"overrides": {"taskCount": 2}}));
        assert_eq!(overridden, [plain[0].clone(), pair("run.jobs.runWithOverrides", job.as_str())]);
    }

    #[test]
    fn an_update_that_may_create_takes_the_permission_to_create() {
        let service = format!("{LOCATION}/services/api");
        let key = "run.projects.locations.services.patch";
        let found = permissions_of(key, &service, &[("allowMissing", "true")], json!({}));
        assert!(found.contains(&pair("run.services.create", LOCATION)), "{found:?}");
        let found = permissions_of(key, &service, &[], json!({}));
        assert!(!found.contains(&pair("run.services.create", LOCATION)), "{found:?}");
    }

    #[test]
    fn a_collection_stands_for_what_it_is_in() {
        assert_eq!(subject("projects/p/secrets"), "projects/p");
        assert_eq!(subject("projects/p/secrets/s"), "projects/p/secrets/s");
        assert_eq!(subject("projects/p"), "projects/p");
    }
}
