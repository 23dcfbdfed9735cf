//! Cleanup policies at work. Google's job runs about once a day; here it runs when the control endpoint says so.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::policies::{self, Candidate};
use super::{REPOSITORIES, VERSIONS, images, names, read_control, versions};
use crate::error::Answer;
use crate::world::World;

/// `POST /__sandbox/artifacts/cleanup`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// A project's ID; every project when not given.
    project: Option<String>,
}

/// Carries the policies out and answers `deleted` and `wouldDelete`: lists of `{name, uri, tags, policy}`, the second
/// one for repositories whose policies are on a dry run. Tagged versions stay where tags are immutable.
pub(crate) fn clean_up(world: &mut World, body: &[u8]) -> Answer {
    let request: Request = read_control(body)?;
    let prefix = request.project.map_or_else(String::new, |project| format!("projects/{project}/"));
    let repositories: Vec<Value> = world.list(REPOSITORIES, &prefix).map(|(_, doc)| doc.clone()).collect();
    let (mut deleted, mut would_delete) = (Vec::new(), Vec::new());
    for repository in repositories {
        let found = condemned(world, &repository);
        if repository["cleanupPolicyDryRun"] == true {
            would_delete.extend(found);
            continue;
        }
        for entry in &found {
            versions::remove(world, entry["name"].as_str().unwrap_or_default());
        }
        deleted.extend(found);
    }
    Ok(json!({ "deleted": deleted, "wouldDelete": would_delete }))
}

/// The versions of a repository that its policies delete.
fn condemned(world: &World, repository: &Value) -> Vec<Value> {
    let name = repository["name"].as_str().unwrap_or_default();
    let tags = images::tags_below(world, name);
    let now = world.instant();
    let mut found = Vec::new();
    for (package, versions) in newest_first(world, name) {
        for (newer, (version, uploaded)) in versions.iter().enumerate() {
            let tags = tags.get(version).map(Vec::as_slice).unwrap_or_default();
            let (package, id) = (package.as_str(), names::last(version));
            let candidate = Candidate { package, version: id, tags, uploaded: *uploaded, newer };
            let Some(policy) = policies::deleted_by(&repository["cleanupPolicies"], &candidate, now) else {
                continue;
            };
            if versions::check_untagged(world, version, true).is_ok() {
                let uri = images::uri(version);
                found.push(json!({ "name": version, "uri": uri, "tags": tags, "policy": policy }));
            }
        }
    }
    keep_listed(world, &mut found);
    found
}

/// What an index that stays lists, stays.
fn keep_listed(world: &World, found: &mut Vec<Value>) {
    loop {
        let going: Vec<String> =
            found.iter().filter_map(|entry| entry["name"].as_str().map(str::to_owned)).collect();
        found.retain(|entry| {
            let mut parents = versions::parents(world, entry["name"].as_str().unwrap_or_default());
            parents.all(|parent| going.iter().any(|name| name == parent))
        });
        if found.len() == going.len() {
            return;
        }
    }
}

/// Names of versions with the time of their upload, by the id of their package, newest first.
fn newest_first(world: &World, repository: &str) -> BTreeMap<String, Vec<(String, Timestamp)>> {
    let mut packages: BTreeMap<String, Vec<(String, Timestamp)>> = BTreeMap::new();
    for (name, doc) in world.list(VERSIONS, &format!("{repository}/")) {
        let uploaded = doc["createTime"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        packages.entry(names::id_of(names::parent(name))).or_default().push((name.to_owned(), uploaded));
    }
    for versions in packages.values_mut() {
        versions.sort_by(|(a, uploaded_a), (b, uploaded_b)| uploaded_b.cmp(uploaded_a).then(a.cmp(b)));
    }
    packages
}
