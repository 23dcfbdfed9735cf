//! What Secret Manager accepts: ids, labels, annotations, aliases, filters.

use serde_json::{Value, json};

use crate::error::Status;
use crate::world::timestamp;

/// `Secret.labels`: "No more than 64 labels can be assigned to a given resource."
const MAX_LABELS: usize = 64;
/// `Secret.annotations`: "The total size of annotation keys and values must be less than 16KiB."
const MAX_ANNOTATIONS: usize = 16 * 1024;
/// `Secret.versionAliases`: "No more than 50 aliases can be assigned to a given secret."
const MAX_ALIASES: usize = 50;

/// `CreateSecretRequest.secretId`: 1 to 255 letters, digits, hyphens and underscores.
pub(super) fn is_secret_id(id: &str) -> bool {
    (1..=255).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// `Secret.replication` is required for a global secret: automatic, or user-managed with replicas.
pub(super) fn check_replication(replication: &Value) -> Result<(), Status> {
    let automatic = replication.get("automatic").is_some();
    let managed = replication.get("userManaged");
    match (automatic, managed) {
        (true, None) => Ok(()),
        (false, Some(managed)) => {
            let places: Vec<&str> = managed["replicas"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|r| r["location"].as_str())
                .collect();
            if places.is_empty() {
                return Err(Status::invalid(
                    "secret.replication.user_managed.replicas",
                    "A replica is required.",
                ));
            }
            Ok(())
        }
        (true, Some(_)) => {
            Err(Status::invalid("secret.replication", "Only one kind of replication can be chosen."))
        }
        (false, None) => {
            Err(Status::invalid("secret.replication", "The replication of the secret is required."))
        }
    }
}

/// Everything about a secret that has a limit, whatever the request that brought it.
pub(super) fn check_secret(secret: &Value) -> Result<(), Status> {
    check_labels(&secret["labels"])?;
    check_annotations(&secret["annotations"])?;
    check_alias_names(&secret["versionAliases"])?;
    check_rotation(secret)?;
    if let Some(ttl) = secret.get("versionDestroyTtl")
        && seconds(ttl).is_none_or(|seconds| seconds < 24 * 3600)
    {
        return Err(Status::invalid("secret.version_destroy_ttl", "The ttl must be at least 24 hours."));
    }
    Ok(())
}

fn entries(map: &Value) -> impl Iterator<Item = (&str, &str)> {
    map.as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

fn check_labels(labels: &Value) -> Result<(), Status> {
    let fits = |text: &str| {
        text.chars().count() <= 63
            && text.len() <= 128
            && text
                .chars()
                .all(|c| (c.is_alphabetic() && !c.is_uppercase()) || c.is_numeric() || "_-".contains(c))
    };
    if entries(labels).count() > MAX_LABELS {
        return Err(Status::invalid("secret.labels", format!("At most {MAX_LABELS} labels are allowed.")));
    }
    for (key, value) in entries(labels) {
        let starts = key.chars().next().is_some_and(|first| first.is_alphabetic() && !first.is_uppercase());
        if !starts || !fits(key) || !fits(value) {
            return Err(Status::invalid(
                "secret.labels",
                format!(
                    "Label '{key}: {value}' does not fit: lower-case letters, digits, '_' and '-', at most 63."
                ),
            ));
        }
    }
    Ok(())
}

fn check_annotations(annotations: &Value) -> Result<(), Status> {
    let size: usize = entries(annotations).map(|(key, value)| key.len() + value.len()).sum();
    if size >= MAX_ANNOTATIONS {
        return Err(Status::invalid("secret.annotations", "Annotations must be less than 16 KiB in all."));
    }
    for (key, _) in entries(annotations) {
        let edge = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric());
        let inside = key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        if key.len() > 63 || !edge(key.chars().next()) || !edge(key.chars().last()) || !inside {
            return Err(Status::invalid(
                "secret.annotations",
                format!("Annotation key '{key}' is not valid."),
            ));
        }
    }
    Ok(())
}

fn check_alias_names(aliases: &Value) -> Result<(), Status> {
    let Some(aliases) = aliases.as_object() else { return Ok(()) };
    if aliases.len() > MAX_ALIASES {
        return Err(Status::invalid(
            "secret.version_aliases",
            format!("At most {MAX_ALIASES} aliases are allowed."),
        ));
    }
    for alias in aliases.keys() {
        let starts = alias.starts_with(|first: char| first.is_ascii_alphabetic());
        let inside = alias.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !starts || !inside || alias.len() > 63 || alias == "latest" {
            return Err(Status::invalid("secret.version_aliases", format!("Alias '{alias}' is not valid.")));
        }
    }
    Ok(())
}

fn check_rotation(secret: &Value) -> Result<(), Status> {
    let Some(rotation) = secret.get("rotation").and_then(Value::as_object).filter(|r| !r.is_empty()) else {
        return Ok(());
    };
    if secret["topics"].as_array().is_none_or(Vec::is_empty) {
        return Err(Status::invalid("secret.rotation", "A rotation needs topics to publish to."));
    }
    if rotation.contains_key("rotationPeriod") && !rotation.contains_key("nextRotationTime") {
        return Err(Status::invalid(
            "secret.rotation.next_rotation_time",
            "A rotation period needs a next rotation time.",
        ));
    }
    Ok(())
}

fn seconds(duration: &Value) -> Option<i64> {
    duration.as_str()?.strip_suffix('s')?.split('.').next()?.parse().ok()
}

/// The instant that lies a positive ProtoJSON duration after `start`, RFC 3339.
pub(super) fn after(start: jiff::Timestamp, duration: &Value) -> Option<String> {
    let seconds = seconds(duration).filter(|seconds| *seconds > 0)?;
    let instant = start.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()?;
    Some(timestamp(instant))
}

/// A list filter: `labels.k=v`, `labels.k:*`, `name:x`, `state:ENABLED`, joined by AND or blanks.
pub(super) struct Filter(Vec<(String, bool, String)>);

impl Filter {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for term in text.unwrap_or("").split_whitespace().filter(|term| *term != "AND") {
            let refused = || Status::invalid("filter", format!("The sandbox cannot filter by '{term}'."));
            let at = term.find([':', '=']).ok_or_else(refused)?;
            let (key, value) = (&term[..at], term[at + 1..].trim_matches('"'));
            if !(key == "name" || key == "state" || key.starts_with("labels.")) || value.is_empty() {
                return Err(refused());
            }
            terms.push((key.to_owned(), term[at..].starts_with('='), value.to_owned()));
        }
        Ok(Self(terms))
    }

    /// Whether a document fulfils every term. `name` is compared with the last segment, too.
    pub(super) fn matches(&self, doc: &Value) -> bool {
        self.0.iter().all(|(key, exact, wanted)| {
            if let Some(label) = key.strip_prefix("labels.") {
                let held = &doc["labels"][label];
                return if wanted == "*" { held.is_string() } else { *held == json!(wanted) };
            }
            let held = doc[key.as_str()].as_str().unwrap_or_default();
            if key == "name" && !exact {
                return held.contains(wanted.as_str());
            }
            held == wanted || held.rsplit('/').next() == Some(wanted)
        })
    }
}
