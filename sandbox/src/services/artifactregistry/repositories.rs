//! Repositories and their policies. Making and deleting one takes an operation; changing one does not.

use serde_json::{Map, Value, json};

use super::names;
use super::{ArtifactEffect, ID, PACKAGES, REPOSITORIES, TAGS, Target, VERSIONS};
use super::{find, lists, policies, pushed, remove_below, rules, start_operation};
use crate::call::{Call, Handler};
use crate::error::{Answer, Status};
use crate::iam;
use crate::schema::{self, Shape};
use crate::services::serviceusage;
use crate::world::World;

/// Fields that cannot be changed. Of the key the document says so; format and mode decide what the content is.
const IMMUTABLE: [&str; 3] = ["format", "kmsKeyName", "mode"];

const SCANNING_API: &str = "containerscanning.googleapis.com";

pub(super) fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("artifactregistry.projects.locations.repositories.create", create),
        ("artifactregistry.projects.locations.repositories.get", get),
        ("artifactregistry.projects.locations.repositories.list", list),
        ("artifactregistry.projects.locations.repositories.patch", patch),
        ("artifactregistry.projects.locations.repositories.delete", delete),
        ("artifactregistry.projects.locations.repositories.getIamPolicy", get_policy),
        ("artifactregistry.projects.locations.repositories.setIamPolicy", set_policy),
        ("artifactregistry.projects.locations.repositories.testIamPermissions", test_permissions),
    ]
}

fn create(world: &mut World, call: &Call) -> Answer {
    names::check_location(call.var("locations"))?;
    let id = call.query.str("repositoryId").unwrap_or_default();
    if !names::is_repository_id(id) {
        return Err(Status::invalid(
            "repository_id",
            format!(
                "The repository ID '{id}' is not valid: 1 to 63 lower-case letters, digits and hyphens, a letter \
                 first, no hyphen last."
            ),
        ));
    }
    let name = names::repository_at(&call.project, call.var("locations"), id);
    check_new(world, &name)?;
    let mut repository = call.body.clone();
    if repository.get("mode").is_none() {
        if repository["disallowUnspecifiedMode"] == true {
            return Err(Status::invalid("repository.mode", "The mode of the repository is required."));
        }
        repository["mode"] = json!("STANDARD_REPOSITORY");
    }
    settle(&mut repository)?;
    repository["name"] = json!(name);
    repository[ID] = json!(world.next_id());
    Ok(start_operation(world, &name, ArtifactEffect::CreateRepository { repository }))
}

fn check_new(world: &World, name: &str) -> Result<(), Status> {
    if world.doc(REPOSITORIES, name).is_none() {
        return Ok(());
    }
    Err(Status::already_exists(format!("The repository {name} already exists.")))
}

/// The end of a creation: only now the repository is there. Of two that ran at once, the later one fails.
pub(super) fn make(world: &mut World, repository: &Value) -> Answer {
    let name = repository["name"].as_str().unwrap_or_default();
    check_new(world, name)?;
    let mut repository = repository.clone();
    let now = world.now();
    repository["createTime"] = json!(now);
    repository["updateTime"] = json!(now);
    world.put(REPOSITORIES, name, repository.clone());
    Ok(shown(world, &repository))
}

/// Takes a repository, what is in it and its policy away.
pub(super) fn remove(world: &mut World, name: &str) {
    for collection in [TAGS, VERSIONS, PACKAGES] {
        remove_below(world, collection, name);
    }
    pushed::remove_blobs(world, name);
    world.forget_policies(name);
    world.remove(REPOSITORIES, name);
}

/// Fills in defaults, checks the rules, and drops what proto3 does not tell apart from absent.
fn settle(repository: &mut Value) -> Result<(), Status> {
    if let Some(policies) = repository.get_mut("cleanupPolicies") {
        policies::fill(policies);
    }
    rules::check(repository)?;
    let is_default = |value: &Value| *value == json!(false) || value.as_str().is_some_and(str::is_empty);
    if let Some(fields) = repository.as_object_mut() {
        for message in ["dockerConfig", "mavenConfig"] {
            if let Some(config) = fields.get_mut(message).and_then(Value::as_object_mut) {
                config.retain(|_, value| !is_default(value));
            }
        }
        fields.retain(|key, value| {
            let is_map = matches!(key.as_str(), "labels" | "cleanupPolicies");
            let is_empty = is_map && value.as_object().is_some_and(Map::is_empty);
            !is_default(value) && !is_empty
        });
    }
    Ok(())
}

/// What a client sees of a stored repository.
fn shown(world: &World, stored: &Value) -> Value {
    let mut view = super::view(stored);
    let name = stored["name"].as_str().unwrap_or_default();
    let format = stored["format"].as_str().unwrap_or_default();
    view["registryUri"] = json!(names::registry(name, format));
    view["satisfiesPzi"] = json!(true);
    view["vulnerabilityScanningConfig"] = scanning(world, name, stored);
    let size = size(world, name);
    // A size of nothing is the default of its type, and so it does not show.
    if size > 0 {
        view["sizeBytes"] = json!(size.to_string());
    }
    view
}

/// The bytes of everything in a repository.
fn size(world: &World, name: &str) -> u64 {
    let sizes = world.list(VERSIONS, &format!("{name}/")).filter_map(|(_, version)| {
        version.pointer("/metadata/imageSizeBytes")?.as_str()?.parse::<u64>().ok()
    });
    sizes.sum()
}

/// Whether images are scanned depends on the repository and on an API of the project.
fn scanning(world: &World, name: &str, stored: &Value) -> Value {
    let mut config = stored.get("vulnerabilityScanningConfig").cloned().unwrap_or_else(|| json!({}));
    let project = name.split('/').nth(1).unwrap_or_default();
    let (state, reason) = if stored["format"] != "DOCKER" {
        ("SCANNING_UNSUPPORTED", "Artifacts of this format are not scanned.".to_owned())
    } else if config["enablementConfig"] == "DISABLED" {
        ("SCANNING_DISABLED", "Scanning is off for this repository.".to_owned())
    } else if serviceusage::is_enabled(world, project, SCANNING_API) {
        config["lastEnableTime"] = stored["createTime"].clone();
        ("SCANNING_ACTIVE", String::new())
    } else {
        ("SCANNING_DISABLED", format!("API {SCANNING_API} is not enabled."))
    };
    config["enablementState"] = json!(state);
    if !reason.is_empty() {
        config["enablementStateReason"] = json!(reason);
    }
    config
}

fn get(world: &mut World, call: &Call) -> Answer {
    let stored = find(world, REPOSITORIES, &names::repository(call))?;
    Ok(shown(world, stored))
}

fn list(world: &mut World, call: &Call) -> Answer {
    names::check_location(call.var("locations"))?;
    let prefix = names::repository_at(&call.project, call.var("locations"), "");
    let all = world.list(REPOSITORIES, &prefix).map(|(_, stored)| shown(world, stored)).collect();
    lists::answer(all, "repositories", call, &["name"])
}

fn patch(world: &mut World, call: &Call) -> Answer {
    let name = names::repository(call);
    let stored = find(world, REPOSITORIES, &name)?.clone();
    let mut changed = stored.clone();
    for path in paths(call.query.str("updateMask"), &call.body) {
        apply(&mut changed, &call.body, &path)?;
    }
    if let Some(field) = IMMUTABLE.into_iter().find(|field| changed.get(field) != stored.get(field)) {
        return Err(Status::invalid(
            &format!("repository.{}", crate::protojson::snake_case(field)),
            format!("The field {field} of a repository cannot be changed."),
        ));
    }
    settle(&mut changed)?;
    changed["updateTime"] = json!(world.now());
    world.put(REPOSITORIES, &name, changed.clone());
    Ok(shown(world, &changed))
}

/// The paths of the mask. `*` means every field that can change; without a mask, what was sent is meant.
fn paths(mask: Option<&str>, sent: &Value) -> Vec<String> {
    let sent_fields = sent.as_object().into_iter().flat_map(Map::keys).cloned();
    match mask {
        Some("*") => {
            let fields = schema::of("artifactregistry.v1").and_then(|schema| schema.message("Repository"));
            let all = fields.into_iter().flat_map(std::collections::BTreeMap::keys).cloned();
            let fixed = |field: &String| IMMUTABLE.contains(&field.as_str());
            // What cannot change may be left out, but not be another.
            all.filter(|field| !fixed(field) || sent.get(field).is_some()).collect()
        }
        Some(mask) => mask.split(',').map(str::to_owned).collect(),
        None => sent_fields.collect(),
    }
}

/// Takes the field at `path` over from what was sent; one that was not sent is taken out.
fn apply(repository: &mut Value, sent: &Value, path: &str) -> Result<(), Status> {
    let steps: Vec<&str> = path.split('.').collect();
    match kind("Repository", &steps) {
        Some(Kind::Settable) => {
            copy(repository, Some(sent), &steps);
            Ok(())
        }
        Some(Kind::Ignored) => Ok(()),
        None => Err(Status::invalid(
            "update_mask",
            format!("The update mask names a field that does not exist: {path}"),
        )),
    }
}

enum Kind {
    Settable,
    /// The name, and what only the server sets: a mask may name it, to no effect.
    Ignored,
}

/// What a path means, by the schema; `None` when it leads nowhere.
fn kind(message: &str, steps: &[&str]) -> Option<Kind> {
    let (first, rest) = steps.split_first()?;
    let field = schema::of("artifactregistry.v1")?.message(message)?.get(*first)?;
    if field.output_only || (message == "Repository" && *first == "name") {
        return Some(Kind::Ignored);
    }
    match &field.shape {
        _ if rest.is_empty() => Some(Kind::Settable),
        Shape::Message(inner) => kind(inner, rest),
        Shape::Map(_) if rest.len() == 1 => Some(Kind::Settable),
        _ => None,
    }
}

fn copy(into: &mut Value, from: Option<&Value>, steps: &[&str]) {
    let Some((first, rest)) = steps.split_first() else { return };
    let sent = from.and_then(|from| from.get(*first));
    if rest.is_empty() {
        match (sent, into.as_object_mut()) {
            (Some(value), _) => into[*first] = value.clone(),
            (None, Some(fields)) => {
                fields.remove(*first);
            }
            (None, None) => {}
        }
        return;
    }
    if !into[*first].is_object() {
        into[*first] = json!({});
    }
    copy(&mut into[*first], sent, rest);
}

fn delete(world: &mut World, call: &Call) -> Answer {
    let target = Target::of(find(world, REPOSITORIES, &names::repository(call))?);
    let name = target.name.clone();
    Ok(start_operation(world, &name, ArtifactEffect::DeleteRepository { target }))
}

fn get_policy(world: &mut World, call: &Call) -> Answer {
    let name = names::repository(call);
    find(world, REPOSITORIES, &name)?;
    iam::get_policy(world, call, &name)
}

fn set_policy(world: &mut World, call: &Call) -> Answer {
    let name = names::repository(call);
    find(world, REPOSITORIES, &name)?;
    iam::set_policy(world, call, &name)
}

fn test_permissions(world: &mut World, call: &Call) -> Answer {
    find(world, REPOSITORIES, &names::repository(call))?;
    iam::test_permissions(call)
}
