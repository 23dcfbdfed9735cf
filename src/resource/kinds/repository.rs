//! Docker repositories (Artifact Registry v1), with policies of cleanup that keep what serves.
//!
//! A repository has labels and no annotations, so that nothing remembers which labels the YAML once named: labels that
//! it does not name stay, whoever wrote them. Of the cleanup policies those with our ids are ours, others stay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::image_tag;
use crate::config::Environment;
use crate::config::model;
use crate::gcp::{Gcp, GcpError};
use crate::resource::{
    Consequence, Declared, Edit, Facts, FieldPolicy, Kind, Layer, Observed, Ownership, Place, Scope, Settle,
};

pub struct Repository;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `docker`; immutable.
    pub format: String,
    /// `standard`: it holds images of its own, and does not pass on those of others; immutable.
    pub mode: String,
    pub retention: Retention,
    /// `dockerConfig.immutableTags`
    pub immutable_tags: bool,
}

/// The cleanup policies with our ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// What bears a tag of `image_tag` is never deleted.
    pub keep_serving: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u32>,
    /// `7d`, see [`age`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_untagged_after: Option<String>,
    /// `cleanupPolicyDryRun`
    pub dry_run: bool,
    /// Policies with our ids that somebody made to say something else, as JSON.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub altered: BTreeMap<String, String>,
}

const KEEP_SERVING: &str = "keep-serving";
const KEEP_LAST: &str = "keep-last";
const DELETE_UNTAGGED: &str = "delete-untagged";

/// What an update may change.
const MASK: [&str; 5] = ["description", "labels", "cleanupPolicies", "cleanupPolicyDryRun", "dockerConfig"];

/// `projects/P/locations/R/repositories/ID`.
pub fn full_name(project: &str, region: &str, id: &str) -> String {
    format!("projects/{project}/locations/{region}/repositories/{id}")
}

/// Seconds in the largest unit that divides them: `7d`, `36h`, `90m`, `45s`.
fn age(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    match units.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit)) {
        Some((unit, letter)) => format!("{}{letter}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// The seconds of what [`age`] says.
fn seconds(age: &str) -> Option<u64> {
    let (number, unit) = age.split_at_checked(age.len().checked_sub(1)?)?;
    let unit = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

fn keep_serving() -> Value {
    let condition = json!({"tagState": "TAGGED", "tagPrefixes": [image_tag::PREFIX]});
    json!({"id": KEEP_SERVING, "action": "KEEP", "condition": condition})
}

fn keep_last(count: u32) -> Value {
    json!({"id": KEEP_LAST, "action": "KEEP", "mostRecentVersions": {"keepCount": count}})
}

fn delete_untagged(age: &str) -> Value {
    let condition = json!({"tagState": "UNTAGGED", "olderThan": format!("{}s", seconds(age).unwrap_or(0))});
    json!({"id": DELETE_UNTAGGED, "action": "DELETE", "condition": condition})
}

impl Retention {
    fn policies(&self) -> Vec<(&'static str, Value)> {
        let serving = self.keep_serving.then(|| (KEEP_SERVING, keep_serving()));
        let last = self.keep_last.map(|count| (KEEP_LAST, keep_last(count)));
        let untagged =
            self.delete_untagged_after.as_deref().map(|age| (DELETE_UNTAGGED, delete_untagged(age)));
        [serving, last, untagged].into_iter().flatten().collect()
    }

    /// What the policies of a live repository say.
    fn read(doc: &Value) -> Self {
        let policies = &doc["cleanupPolicies"];
        let count = policies[KEEP_LAST]["mostRecentVersions"]["keepCount"].as_u64();
        let after = policies[DELETE_UNTAGGED]["condition"]["olderThan"].as_str();
        let after = after.and_then(|text| text.strip_suffix('s')?.parse().ok()).map(age);
        let mut found = Self {
            keep_serving: !policies[KEEP_SERVING].is_null(),
            keep_last: count.and_then(|count| u32::try_from(count).ok()),
            delete_untagged_after: after,
            dry_run: doc["cleanupPolicyDryRun"].as_bool().unwrap_or(false),
            altered: BTreeMap::new(),
        };
        let said: BTreeMap<_, _> = found.policies().into_iter().collect();
        for id in [KEEP_SERVING, KEEP_LAST, DELETE_UNTAGGED] {
            let live = &policies[id];
            if !live.is_null() && said.get(id) != Some(live) {
                found.altered.insert(id.to_owned(), live.to_string());
            }
        }
        found
    }
}

fn declared(registry: &model::Registry, facts: &Facts) -> Spec {
    let mut labels = facts.repository_labels.get(&registry.repository).cloned().unwrap_or_default();
    labels.extend(registry.labels.clone());
    Spec {
        description: registry.description.clone(),
        labels,
        format: "docker".to_owned(),
        mode: "standard".to_owned(),
        retention: Retention {
            keep_serving: true,
            keep_last: registry.keep_last,
            delete_untagged_after: registry.delete_untagged_after.map(age),
            dry_run: registry.dry_run,
            altered: BTreeMap::new(),
        },
        immutable_tags: registry.immutable_tags,
    }
}

fn observed(doc: &Value) -> Spec {
    let text = |key: &str| doc[key].as_str().unwrap_or_default();
    let marks = Ownership::default().labels().map(|(name, _)| name);
    let labels = doc["labels"].as_object().into_iter().flatten();
    let labels = labels.filter(|(name, _)| !marks.contains(&name.as_str()));
    Spec {
        description: Some(text("description")).filter(|text| !text.is_empty()).map(str::to_owned),
        labels: labels
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        format: text("format").to_ascii_lowercase(),
        mode: match text("mode").strip_suffix("_REPOSITORY") {
            Some(mode) => mode.to_ascii_lowercase(),
            // "The default value is STANDARD_REPOSITORY."
            None => "standard".to_owned(),
        },
        retention: Retention::read(doc),
        immutable_tags: doc["dockerConfig"]["immutableTags"].as_bool().unwrap_or(false),
    }
}

/// The fields of [`MASK`] laid over what is there. What is false or empty is left out, as in answers.
fn document(live: &Value, spec: &Spec, place: &Place) -> Value {
    let mut doc = Map::new();
    if let Some(description) = &spec.description {
        doc.insert("description".into(), json!(description));
    }
    let mut labels: Map<_, _> =
        spec.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    for (name, value) in place.ownership.labels() {
        labels.extend(value.map(|value| (name.to_owned(), json!(value))));
    }
    doc.insert("labels".into(), Value::Object(labels));
    let mut policies = live["cleanupPolicies"].as_object().cloned().unwrap_or_default();
    policies.retain(|id, _| ![KEEP_SERVING, KEEP_LAST, DELETE_UNTAGGED].contains(&id.as_str()));
    policies.extend(spec.retention.policies().into_iter().map(|(id, policy)| (id.to_owned(), policy)));
    doc.insert("cleanupPolicies".into(), Value::Object(policies));
    if spec.retention.dry_run {
        doc.insert("cleanupPolicyDryRun".into(), json!(true));
    }
    let mut docker = live["dockerConfig"].as_object().cloned().unwrap_or_default();
    docker.remove("immutableTags");
    if spec.immutable_tags {
        docker.insert("immutableTags".into(), json!(true));
    }
    if !docker.is_empty() {
        doc.insert("dockerConfig".into(), Value::Object(docker));
    }
    Value::Object(doc)
}

fn short_name(doc: &Value) -> &str {
    doc["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default()
}

impl Kind for Repository {
    const NAME: &'static str = "repository";
    const API: &'static str = "artifactregistry.googleapis.com";
    const LAYER: Layer = Layer::Foundation;
    const REGIONAL: bool = true;
    const VIEWER: &'static str = "roles/artifactregistry.reader";
    type Spec = Spec;

    fn declare(env: &Environment, facts: &Facts) -> Vec<Declared<Spec>> {
        let registry = env.registry.iter();
        registry
            .map(|registry| {
                Declared::new(&registry.repository, "registry", declared(registry, facts))
                    .protected(registry.protect)
            })
            .collect()
    }

    fn field_policy(pointer: &str) -> FieldPolicy {
        if ["/format", "/mode"].contains(&pointer) { FieldPolicy::Immutable } else { FieldPolicy::InPlace }
    }

    fn consequences(_: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        // Every image in it goes with it.
        if after.is_none() { vec![Consequence::Irreversible] } else { Vec::new() }
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let docs = gcp.list_repositories(&scope.project, &scope.region).await?;
        let observed = docs
            .iter()
            .map(|doc| Observed::new(short_name(doc), observed(doc), Ownership::owner_by_labels(doc)));
        Ok(observed.collect())
    }

    fn contribute(observed: &[Observed<Spec>], facts: &mut Facts) {
        let labels = observed.iter().map(|found| (found.name.clone(), found.spec.labels.clone()));
        facts.repository_labels.extend(labels);
    }

    async fn create(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let mut doc = document(&Value::Null, spec, place);
        doc["format"] = json!("DOCKER");
        doc["mode"] = json!("STANDARD_REPOSITORY");
        gcp.create_repository(&full_name(&place.project, &place.region, name), &doc).await?;
        Ok(Settle::Done)
    }

    /// Repositories have no etag: what was read a moment ago is compared, and written over.
    async fn update(gcp: &Gcp, place: &Place, edit: Edit<'_, Spec>) -> Result<Settle, GcpError> {
        let name = full_name(&place.project, &place.region, edit.name);
        let live = gcp.repository(&name).await?.ok_or_else(|| GcpError::moved(&name))?;
        if observed(&live) != *edit.before {
            return Err(GcpError::moved(&name));
        }
        gcp.patch_repository(&name, document(&live, edit.after, place), &MASK).await?;
        Ok(Settle::Done)
    }

    async fn delete(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let name = full_name(&place.project, &place.region, name);
        let Some(live) = gcp.repository(&name).await? else { return Ok(Settle::Done) };
        if observed(&live) != *spec || !place.ownership.same_system(&live) {
            return Err(GcpError::moved(&name));
        }
        gcp.delete_repository(&name).await?;
        Ok(Settle::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> model::Registry {
        model::Registry {
            repository: "shop".into(),
            description: Some("Images".into()),
            labels: BTreeMap::from([("team".into(), "red".into())]),
            keep_last: Some(10),
            delete_untagged_after: Some(7 * 86_400),
            dry_run: true,
            immutable_tags: true,
            protect: false,
        }
    }

    fn place() -> Place {
        let ownership = Ownership { protect: true, ..Ownership::new("shop", "dev") };
        Place { project: "p".into(), project_number: 1, region: "us-central1".into(), ownership }
    }

    /// The document that Google would hold after `spec` was laid over `live`.
    fn stored(live: &Value, spec: &Spec) -> Value {
        let mut doc = document(live, spec, &place());
        doc["format"] = json!("DOCKER");
        doc
    }

    #[test]
    fn what_was_written_is_what_is_observed() {
        let full = declared(&registry(), &Facts::default());
        let bare = model::Registry {
            description: None,
            labels: BTreeMap::new(),
            keep_last: None,
            delete_untagged_after: None,
            dry_run: false,
            immutable_tags: false,
            ..registry()
        };
        let bare = declared(&bare, &Facts::default());
        let first = stored(&Value::Null, &full);
        assert_eq!(observed(&first), full);
        assert_eq!(observed(&stored(&first, &bare)), bare);
        assert_eq!(observed(&stored(&Value::Null, &bare)), bare);
    }

    #[test]
    fn policies_of_others_stay() {
        let theirs = json!({"id": "theirs", "action": "KEEP", "condition": {"tagState": "ANY"}});
        let live = json!({"cleanupPolicies": {"theirs": theirs}, "dockerConfig": {"later": 1}});
        let spec = declared(&registry(), &Facts::default());
        let doc = stored(&live, &spec);
        assert_eq!(doc["cleanupPolicies"]["theirs"], theirs);
        assert_eq!(doc["dockerConfig"]["later"], 1);
        assert_eq!(observed(&doc), spec);
    }

    #[test]
    fn a_policy_of_ours_that_says_something_else_is_seen_and_mended() {
        let spec = declared(&registry(), &Facts::default());
        let mut doc = stored(&Value::Null, &spec);
        doc["cleanupPolicies"]["keep-serving"]["condition"]["tagPrefixes"] = json!(["x"]);
        let found = observed(&doc);
        assert!(found.retention.altered["keep-serving"].contains("\"x\""), "{found:?}");
        assert_eq!(observed(&stored(&doc, &spec)), spec);
    }

    #[test]
    fn labels_that_the_yaml_does_not_name_stay() {
        let mut facts = Facts::default();
        let doc = json!({"name": "projects/p/locations/l/repositories/shop", "format": "DOCKER",
            "labels": {"team": "blue", "cost": "7", "managed-by": "deployer"}});
        Repository::contribute(
            &[Observed::new("shop", observed(&doc), Ownership::owner_by_labels(&doc))],
            &mut facts,
        );
        let wanted = declared(&registry(), &facts);
        let expected = BTreeMap::from([("cost".into(), "7".into()), ("team".into(), "red".into())]);
        assert_eq!(wanted.labels, expected);
    }

    #[test]
    fn ages_are_told_in_their_largest_unit_and_read_back() {
        for (number, text) in
            [(604_800, "7d"), (129_600, "36h"), (5_400, "90m"), (45, "45s"), (0, "0s"), (86_401, "86401s")]
        {
            assert_eq!((age(number).as_str(), seconds(text)), (text, Some(number)));
        }
        assert_eq!((seconds(""), seconds("7w")), (None, None));
    }

    #[test]
    fn repositories_of_other_formats_are_read_without_complaint() {
        let found = observed(&json!({"format": "NPM", "mode": "REMOTE_REPOSITORY"}));
        assert_eq!((found.format.as_str(), found.mode.as_str()), ("npm", "remote"));
    }
}
