//! IAM v1 service accounts: created, changed, deleted for thirty days, and slow to become visible. Workload identity
//! pools are in `iam/pools.rs`, their providers in `iam/providers.rs`.

mod federation;
mod mapping;
mod pools;
mod providers;

pub use federation::Change;
pub(crate) use federation::{abandon, finish};

use serde_json::{Value, json};

use crate::call::{Call, Handler, page};
use crate::error::{Answer, Status};
use crate::iam;
use crate::projects;
use crate::world::World;

/// Documents by `projects/ID/serviceAccounts/EMAIL`: the account, and `visibleFrom`, a number of requests.
const COLLECTION: &str = "iam.serviceAccounts";
/// Deleted accounts by unique id, with `deletedAt`.
const DELETED: &str = "iam.deletedServiceAccounts";

/// The default quota of service accounts in a project.
const MAX_ACCOUNTS: usize = 100;
/// `ServiceAccount.displayName`: at most 100 UTF-8 bytes.
const MAX_DISPLAY_NAME: usize = 100;
/// `ServiceAccount.description`: at most 256 UTF-8 bytes.
const MAX_DESCRIPTION: usize = 256;
/// An account can be undeleted for thirty days.
const UNDELETE_DAYS: i64 = 30;

/// The methods served, by id.
pub fn routes() -> Vec<(&'static str, Handler)> {
    let mut routes: Vec<(&'static str, Handler)> = vec![
        ("iam.projects.serviceAccounts.create", create),
        ("iam.projects.serviceAccounts.get", get),
        ("iam.projects.serviceAccounts.list", list),
        ("iam.projects.serviceAccounts.patch", patch),
        ("iam.projects.serviceAccounts.update", update),
        ("iam.projects.serviceAccounts.delete", delete),
        ("iam.projects.serviceAccounts.undelete", undelete),
        ("iam.projects.serviceAccounts.enable", enable),
        ("iam.projects.serviceAccounts.disable", disable),
        ("iam.projects.serviceAccounts.getIamPolicy", get_policy),
        ("iam.projects.serviceAccounts.setIamPolicy", set_policy),
        ("iam.projects.serviceAccounts.testIamPermissions", test_permissions),
    ];
    routes.extend(pools::routes());
    routes.extend(providers::routes());
    routes
}

impl World {
    /// Whether a service account can run something or be granted something: an account of a sandbox project must
    /// have been created, Google's own accounts and those of other projects are taken to exist.
    pub fn service_account_exists(&self, email: &str) -> bool {
        match owner(email).filter(|project| self.doc(projects::COLLECTION, project).is_some()) {
            Some(project) => self.doc(COLLECTION, &key(project, email)).is_some(),
            None => true,
        }
    }
}

/// Like [`World::service_account_exists`], for members of policies: a new account is not known everywhere at once.
pub(crate) fn member_is_known(world: &World, email: &str) -> bool {
    match owner(email).filter(|project| world.doc(projects::COLLECTION, project).is_some()) {
        Some(project) => {
            world.doc(COLLECTION, &key(project, email)).is_some_and(|doc| is_visible(world, doc))
        }
        None => true,
    }
}

/// The ID of the project of an account, given by address or unique id.
pub(crate) fn project_of(world: &World, account: &str) -> Option<String> {
    if let Some(project) = owner(account) {
        return Some(project.to_owned());
    }
    with_unique_id(world, account)
        .or_else(|| world.doc(DELETED, account))
        .and_then(|doc| doc["projectId"].as_str())
        .map(str::to_owned)
}

/// The visible account of the call, by address or unique id; 404 when there is none.
pub(crate) fn account(world: &World, call: &Call) -> Result<Value, Status> {
    let name = find(world, call)?;
    world.doc(COLLECTION, &name).cloned().ok_or_else(|| missing(call))
}

/// The visible account with this address or unique id, whatever its project is.
pub(crate) fn anywhere(world: &World, account: &str) -> Option<Value> {
    let found = match owner(account) {
        Some(project) => world.doc(COLLECTION, &key(project, &account.to_lowercase())),
        None => with_unique_id(world, account),
    };
    found.filter(|doc| is_visible(world, doc)).cloned()
}

/// The account with this unique id that is not deleted.
pub(crate) fn with_unique_id<'a>(world: &'a World, unique: &str) -> Option<&'a Value> {
    world.list(COLLECTION, "").find(|(_, doc)| doc["uniqueId"] == unique).map(|(_, doc)| doc)
}

/// The name that the policies of a resource are kept by: accounts have theirs by address, however they are named.
pub(crate) fn policy_name(world: &World, resource: &str) -> String {
    let Some((prefix, account)) = resource.split_once("/serviceAccounts/") else {
        return resource.to_owned();
    };
    let address = if account.contains('@') {
        account.to_lowercase()
    } else {
        let found = with_unique_id(world, account).and_then(|doc| doc["email"].as_str());
        found.unwrap_or(account).to_owned()
    };
    format!("{prefix}/serviceAccounts/{address}")
}

fn owner(email: &str) -> Option<&str> {
    email.split_once('@')?.1.strip_suffix(".iam.gserviceaccount.com")
}

fn key(project: &str, email: &str) -> String {
    format!("projects/{project}/serviceAccounts/{email}")
}

fn is_visible(world: &World, doc: &Value) -> bool {
    doc["visibleFrom"].as_u64().unwrap_or(0) <= world.tick()
}

fn view(doc: &Value) -> Value {
    let mut view = doc.clone();
    if let Some(fields) = view.as_object_mut() {
        fields.remove("visibleFrom");
        fields.remove("deletedAt");
        fields.retain(|_, value| value != "" && *value != false);
    }
    view
}

/// The name of the account that the call means, by address or unique id.
fn find(world: &World, call: &Call) -> Result<String, Status> {
    let account = call.var("serviceAccounts");
    let prefix = key(&call.project, "");
    let name = if account.contains('@') {
        let name = format!("{prefix}{}", account.to_lowercase());
        world.doc(COLLECTION, &name).map(|_| name)
    } else {
        let found = world.list(COLLECTION, &prefix).find(|(_, doc)| doc["uniqueId"] == account);
        found.map(|(name, _)| name.to_owned())
    };
    name.filter(|name| world.doc(COLLECTION, name).is_some_and(|doc| is_visible(world, doc)))
        .ok_or_else(|| missing(call))
}

fn missing(call: &Call) -> Status {
    let account = call.var("serviceAccounts");
    Status::not_found(format!("Unknown service account: {account}."))
}

fn is_account_id(id: &str) -> bool {
    (6..=30).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && !id.ends_with('-')
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn check_texts(account: &Value) -> Result<(), Status> {
    for (field, most) in [("displayName", MAX_DISPLAY_NAME), ("description", MAX_DESCRIPTION)] {
        if account[field].as_str().is_some_and(|text| text.len() > most) {
            let name = format!("service_account.{}", crate::protojson::snake_case(field));
            return Err(Status::invalid(&name, format!("The {field} must not be longer than {most} bytes.")));
        }
    }
    Ok(())
}

fn create(world: &mut World, call: &Call) -> Answer {
    let id = call.text("accountId").unwrap_or_default();
    if !is_account_id(id) {
        return Err(Status::invalid(
            "account_id",
            "The account ID must be 6 to 30 characters long: a lower-case letter, then lower-case letters, digits \
             and hyphens, no hyphen last.",
        ));
    }
    let project = &call.project;
    let email = format!("{id}@{project}.iam.gserviceaccount.com");
    let name = key(project, &email);
    if world.doc(COLLECTION, &name).is_some() {
        return Err(Status::already_exists(format!(
            "Service account {id} already exists within project projects/{project}."
        )));
    }
    if world.list(COLLECTION, &key(project, "")).count() >= MAX_ACCOUNTS {
        return Err(Status::resource_exhausted(format!(
            "The maximum number of service accounts on project {project} has been reached."
        )));
    }
    let sent = call.body.get("serviceAccount").cloned().unwrap_or_else(|| json!({}));
    check_texts(&sent)?;
    let unique = format!("1{:020}", world.random());
    let account = json!({
        "name": name,
        "projectId": project,
        "uniqueId": unique,
        "email": email,
        "displayName": sent["displayName"].as_str().unwrap_or_default(),
        "description": sent["description"].as_str().unwrap_or_default(),
        "etag": account_etag(world),
        "oauth2ClientId": unique,
        "visibleFrom": world.tick() + 1 + world.random_between(0, 2),
    });
    // The policy of an earlier account of that name is not the new one's.
    world.forget_policies(&name);
    world.put(COLLECTION, &name, account.clone());
    Ok(view(&account))
}

/// The etag of accounts is base64 without the quotes of other services' etags.
fn account_etag(world: &mut World) -> String {
    world.fresh_etag().trim_matches('"').to_owned()
}

fn get(world: &mut World, call: &Call) -> Answer {
    let name = find(world, call)?;
    Ok(world.doc(COLLECTION, &name).map_or(Value::Null, view))
}

fn list(world: &mut World, call: &Call) -> Answer {
    let views = world.list(COLLECTION, &key(&call.project, "")).map(|(_, doc)| view(doc));
    page(views.collect(), "accounts", call, 20, 100)
}

fn patch(world: &mut World, call: &Call) -> Answer {
    let Some(sent) = call.body.get("serviceAccount") else {
        return Err(Status::invalid("service_account", "The service account is required."));
    };
    let Some(mask) = call.text("updateMask") else {
        return Err(Status::invalid("update_mask", "The update mask is required."));
    };
    let paths: Vec<&str> = mask.split(',').collect();
    if let Some(path) = paths.iter().find(|path| !["displayName", "description", "etag"].contains(path)) {
        return Err(Status::invalid("update_mask", format!("'{path}' cannot be changed or does not exist.")));
    }
    change(world, call, sent, &paths)
}

/// PUT replaces what can be changed; the description stays when it is not sent.
fn update(world: &mut World, call: &Call) -> Answer {
    let sent = &call.body;
    let paths: &[&str] =
        if sent.get("description").is_some() { &["displayName", "description"] } else { &["displayName"] };
    change(world, call, sent, paths)
}

fn change(world: &mut World, call: &Call, sent: &Value, paths: &[&str]) -> Answer {
    check_texts(sent)?;
    let name = find(world, call)?;
    let mut account = world.doc(COLLECTION, &name).cloned().unwrap_or_default();
    if let Some(etag) = sent["etag"].as_str().filter(|etag| !etag.is_empty())
        && account["etag"] != etag
    {
        return Err(Status::aborted(
            "There were concurrent changes of the service account. Read it again and retry.",
        ));
    }
    for path in paths.iter().filter(|path| **path != "etag") {
        account[*path] = json!(sent[*path].as_str().unwrap_or_default());
    }
    account["etag"] = json!(account_etag(world));
    world.put(COLLECTION, &name, account.clone());
    Ok(view(&account))
}

fn delete(world: &mut World, call: &Call) -> Answer {
    let name = find(world, call)?;
    if let Some(mut account) = world.remove(COLLECTION, &name) {
        account["deletedAt"] = json!(world.instant().as_second());
        let (live, dead) = members(&account);
        world.put(DELETED, account["uniqueId"].as_str().unwrap_or_default(), account.clone());
        world.rename_member(&live, &dead);
    }
    Ok(json!({}))
}

/// How policies name the account while it lives, and once it is deleted.
fn members(account: &Value) -> (String, String) {
    let email = account["email"].as_str().unwrap_or_default();
    let unique = account["uniqueId"].as_str().unwrap_or_default();
    (format!("serviceAccount:{email}"), format!("deleted:serviceAccount:{email}?uid={unique}"))
}

fn undelete(world: &mut World, call: &Call) -> Answer {
    let account = call.var("serviceAccounts");
    let found = world
        .list(DELETED, "")
        .find(|(unique, doc)| {
            doc["projectId"] == call.project && (*unique == account || doc["email"] == account)
        })
        .map(|(unique, doc)| (unique.to_owned(), doc.clone()));
    let Some((unique, mut restored)) = found else { return Err(missing(call)) };
    let age = world.instant().as_second() - restored["deletedAt"].as_i64().unwrap_or(0);
    if age > UNDELETE_DAYS * 24 * 3600 {
        return Err(missing(call));
    }
    let name = restored["name"].as_str().unwrap_or_default().to_owned();
    if world.doc(COLLECTION, &name).is_some() {
        return Err(Status::failed_precondition(
            "A service account of the same name was created since: the deleted one cannot come back.",
        ));
    }
    if let Some(fields) = restored.as_object_mut() {
        fields.remove("deletedAt");
    }
    world.remove(DELETED, &unique);
    world.put(COLLECTION, &name, restored.clone());
    let (live, dead) = members(&restored);
    world.rename_member(&dead, &live);
    Ok(json!({ "restoredAccount": view(&restored) }))
}

fn enable(world: &mut World, call: &Call) -> Answer {
    set_disabled(world, call, false)
}

fn disable(world: &mut World, call: &Call) -> Answer {
    set_disabled(world, call, true)
}

fn set_disabled(world: &mut World, call: &Call, disabled: bool) -> Answer {
    let name = find(world, call)?;
    let mut account = world.doc(COLLECTION, &name).cloned().unwrap_or_default();
    account["disabled"] = json!(disabled);
    account["etag"] = json!(account_etag(world));
    world.put(COLLECTION, &name, account);
    Ok(json!({}))
}

fn get_policy(world: &mut World, call: &Call) -> Answer {
    let name = find(world, call)?;
    iam::get_policy(world, call, &name)
}

fn set_policy(world: &mut World, call: &Call) -> Answer {
    let name = find(world, call)?;
    iam::set_policy(world, call, &name)
}

fn test_permissions(world: &mut World, call: &Call) -> Answer {
    find(world, call)?;
    iam::test_permissions(call)
}

#[cfg(test)]
mod tests;
