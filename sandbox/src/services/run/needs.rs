//! What a revision needs from elsewhere before it can start: its image, its service account, its secrets.

use super::access::{list, text};
use super::condition::Failure;
use super::image;
use crate::services::secretmanager::Reference;
use crate::world::World;
use serde_json::Value;
use std::collections::BTreeSet;

const ACCESSOR: &str = "roles/secretmanager.secretAccessor";

/// Checks a revision as Cloud Run does when it deploys it. The first problem is the reason.
pub(super) fn check(world: &World, project: &str, revision: &Value) -> Result<(), Failure> {
    check_account(world, revision)?;
    for container in list(revision, "containers") {
        check_image(world, text(container, "image"))?;
    }
    for (secret, version) in references(revision) {
        check_secret(world, project, text(revision, "serviceAccount"), &secret, &version)?;
    }
    Ok(())
}

fn check_image(world: &World, reference: &str) -> Result<(), Failure> {
    if image::is_missing(world, reference) {
        return Err(Failure::new("CONTAINER_MISSING", format!("Image '{reference}' not found.")));
    }
    Ok(())
}

/// (secret, version) pairs of the environment and of the volumes, each once.
fn references(revision: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for container in list(revision, "containers") {
        for variable in list(container, "env") {
            if let Some(reference) = variable.pointer("/valueSource/secretKeyRef") {
                found.insert((text(reference, "secret").to_owned(), text(reference, "version").to_owned()));
            }
        }
    }
    for secret in list(revision, "volumes").iter().filter_map(|volume| volume.get("secret")) {
        let items = list(secret, "items");
        let name = text(secret, "secret");
        if items.is_empty() {
            found.insert((name.to_owned(), "latest".to_owned()));
        }
        found.extend(items.iter().map(|item| (name.to_owned(), text(item, "version").to_owned())));
    }
    found
}

fn check_account(world: &World, revision: &Value) -> Result<(), Failure> {
    let account = text(revision, "serviceAccount");
    if world.service_account_exists(account) {
        return Ok(());
    }
    Err(Failure::new("UNKNOWN", format!("Service account '{account}' does not exist.")))
}

/// `named` is `SECRET` or `projects/PROJECT/secrets/SECRET`, with a project's ID or number.
fn check_secret(
    world: &World,
    project: &str,
    account: &str,
    named: &str,
    version: &str,
) -> Result<(), Failure> {
    let (owner, id) = owner_of(world, project, named);
    let name = format!("projects/{owner}/secrets/{id}");
    let shown = format!("projects/{}/secrets/{id}/versions/{version}", world.project_number(&owner));
    let found = world.secret_version(&name, version);
    let granted = world.has_role(&name, ACCESSOR, &format!("serviceAccount:{account}"));
    let message = match found {
        Reference::NoSecret => format!("Secret {shown} was not found."),
        _ if !granted => format!(
            "Permission denied on secret: {shown} for Revision service account {account}. The service account \
             must be granted the 'Secret Manager Secret Accessor' role ({ACCESSOR}) on the secret, its project \
             or above."
        ),
        Reference::NoVersion => format!("Secret {shown} was not found."),
        Reference::NotEnabled => format!("Secret version {shown} is disabled or destroyed."),
        Reference::Enabled(_) => return Ok(()),
    };
    Err(Failure::new("SECRETS_ACCESS_CHECK_FAILED", message))
}

pub(super) fn owner_of<'a>(world: &World, project: &str, named: &'a str) -> (String, &'a str) {
    let parts: Vec<&str> = named.split('/').collect();
    let ["projects", owner, "secrets", id] = parts[..] else { return (project.to_owned(), named) };
    let by_number = owner.parse().ok().and_then(|number| world.project_with_number(number));
    (by_number.unwrap_or_else(|| owner.to_owned()), id)
}
