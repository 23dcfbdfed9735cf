//! Cleanup policies: which are accepted, and which versions they match.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::error::Status;

/// Most policies of a repository (cloud.google.com/artifact-registry/docs/repositories/cleanup-policy-overview).
const MAX_POLICIES: usize = 10;

/// `Repository.cleanupPolicies`: ids "must ... be under 128 characters in length".
const MAX_ID: usize = 127;

/// Fills in what Google fills in: the id from the key of the map, and the tag state of a condition.
pub(super) fn fill(policies: &mut Value) {
    for (id, policy) in policies.as_object_mut().into_iter().flatten() {
        if policy["id"].as_str().is_none_or(str::is_empty) {
            policy["id"] = json!(id);
        }
        if let Some(condition) =
            policy.get_mut("condition").filter(|condition| condition["tagState"].is_null())
        {
            condition["tagState"] = json!("ANY");
        }
    }
}

/// Every rule about the policies of a repository.
pub(super) fn check(policies: &Value) -> Result<(), Status> {
    let Some(policies) = policies.as_object() else { return Ok(()) };
    if policies.len() > MAX_POLICIES {
        return Err(Status::invalid(
            "repository.cleanup_policies",
            format!("At most {MAX_POLICIES} cleanup policies are allowed."),
        ));
    }
    for (id, policy) in policies {
        if let Some((field, message)) = problem(id, policy) {
            let at = format!("repository.cleanup_policies[\"{id}\"]{field}");
            return Err(Status::invalid(&at, format!("Cleanup policy '{id}': {message}.")));
        }
    }
    Ok(())
}

/// The first problem of a policy: where, and what.
fn problem(id: &str, policy: &Value) -> Option<(&'static str, &'static str)> {
    let action = policy["action"].as_str().unwrap_or_default();
    let recent = policy.get("mostRecentVersions");
    let condition = policy.get("condition");
    if id.is_empty() || id.chars().count() > MAX_ID {
        return Some(("", "the id must have 1 to 127 characters"));
    }
    if policy["id"] != json!(id) {
        return Some((".id", "the id must be the key of the map"));
    }
    if action.is_empty() {
        return Some((".action", "the action is required"));
    }
    match (condition, recent) {
        (None, None) => Some(("", "a condition or most recent versions are required")),
        (Some(_), Some(_)) => Some(("", "a condition and most recent versions exclude each other")),
        (None, Some(_)) if action != "KEEP" => {
            Some((".most_recent_versions", "most recent versions can only be kept"))
        }
        (None, Some(recent)) if recent["keepCount"].as_i64().unwrap_or(0) < 1 => {
            Some((".most_recent_versions.keep_count", "at least one version must be kept"))
        }
        (None, Some(_)) => None,
        (Some(condition), None) => problem_of_age(condition),
    }
}

fn problem_of_age(condition: &Value) -> Option<(&'static str, &'static str)> {
    let wrong =
        |key: &str| condition.get(key).is_some_and(|age| span(age).is_none_or(|span| !span.is_positive()));
    if wrong("olderThan") {
        return Some((".condition.older_than", "the duration must be positive"));
    }
    wrong("newerThan").then_some((".condition.newer_than", "the duration must be positive"))
}

/// A ProtoJSON duration, `90s`.
fn span(duration: &Value) -> Option<SignedDuration> {
    let seconds: f64 = duration.as_str()?.strip_suffix('s')?.parse().ok()?;
    SignedDuration::try_from_secs_f64(seconds).ok()
}

/// What policies look at in a version.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    /// As people write it, with slashes.
    pub(super) package: &'a str,
    /// The version's id: a digest.
    pub(super) version: &'a str,
    pub(super) tags: &'a [String],
    pub(super) uploaded: Timestamp,
    /// How many versions of the same package are newer.
    pub(super) newer: usize,
}

/// The id of the policy that deletes the version, when one does and none keeps it: keeping goes first.
pub(super) fn deleted_by<'a>(
    policies: &'a Value,
    version: &Candidate<'_>,
    now: Timestamp,
) -> Option<&'a str> {
    let mut deleting = None;
    for (id, policy) in policies.as_object().into_iter().flatten().filter(|(_, p)| matches(p, version, now)) {
        if policy["action"] == "KEEP" {
            return None;
        }
        deleting = deleting.or(Some(id.as_str()));
    }
    deleting
}

fn matches(policy: &Value, version: &Candidate<'_>, now: Timestamp) -> bool {
    if let Some(recent) = policy.get("mostRecentVersions") {
        let kept = recent["keepCount"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        return starts_with_any(version.package, &recent["packageNamePrefixes"]) && version.newer < kept;
    }
    let condition = &policy["condition"];
    let age = now.duration_since(version.uploaded);
    let limit = |key: &str| condition.get(key).and_then(span);
    tags_match(condition, version.tags)
        && starts_with_any(version.package, &condition["packageNamePrefixes"])
        && starts_with_any(version.version, &condition["versionNamePrefixes"])
        && limit("olderThan").is_none_or(|limit| age > limit)
        && limit("newerThan").is_none_or(|limit| age < limit)
}

/// Prefixes of tags are looked at for `TAGGED` only: users found that `ANY` ignores them
/// (stackoverflow.com/questions/78702774).
fn tags_match(condition: &Value, tags: &[String]) -> bool {
    match condition["tagState"].as_str() {
        Some("TAGGED") => tags.iter().any(|tag| starts_with_any(tag, &condition["tagPrefixes"])),
        Some("UNTAGGED") => tags.is_empty(),
        _ => true,
    }
}

/// Whether the text has one of the prefixes; no prefixes mean no condition.
fn starts_with_any(text: &str, prefixes: &Value) -> bool {
    match prefixes.as_array().map(Vec::as_slice) {
        None | Some([]) => true,
        Some(prefixes) => prefixes.iter().filter_map(Value::as_str).any(|prefix| text.starts_with(prefix)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(id: &str, policy: &Value) -> String {
        let mut policies = json!({ id: policy });
        fill(&mut policies);
        check(&policies).map_or_else(|status| status.message, |()| String::new())
    }

    #[test]
    fn a_policy_has_an_action_and_one_kind_of_condition() {
        let recent = json!({"keepCount": 5});
        assert_eq!(refused("a", &json!({"action": "KEEP", "mostRecentVersions": recent})), "");
        assert_eq!(refused("a", &json!({"action": "DELETE", "condition": {"olderThan": "86400s"}})), "");
        for (policy, what) in [
            (json!({"condition": {}}), "action"),
            (json!({"action": "KEEP"}), "required"),
            (json!({"action": "KEEP", "condition": {}, "mostRecentVersions": recent}), "exclude"),
            (json!({"action": "DELETE", "mostRecentVersions": recent}), "only be kept"),
            (json!({"action": "KEEP", "mostRecentVersions": {}}), "at least one"),
            (json!({"action": "KEEP", "condition": {}, "id": "b"}), "key of the map"),
            (json!({"action": "KEEP", "condition": {"olderThan": "0s"}}), "positive"),
            (json!({"action": "KEEP", "condition": {"newerThan": "-5s"}}), "positive"),
        ] {
            assert!(refused("a", &policy).contains(what), "{policy}");
        }
        assert!(!refused(&"a".repeat(128), &json!({"action": "KEEP", "condition": {}})).is_empty());
    }

    #[test]
    fn there_are_at_most_ten_policies() {
        let policies = |count: usize| {
            let entry = |n: usize| (format!("p{n}"), json!({"action": "KEEP", "condition": {}}));
            let mut policies = Value::Object((0..count).map(entry).collect());
            fill(&mut policies);
            policies
        };
        assert!(check(&policies(10)).is_ok());
        assert!(check(&policies(11)).is_err());
    }

    #[test]
    fn the_id_and_the_tag_state_are_filled_in() {
        let mut policies = json!({"old": {"action": "DELETE", "condition": {"olderThan": "5s"}}});
        fill(&mut policies);
        assert_eq!(policies["old"]["id"], "old");
        assert_eq!(policies["old"]["condition"]["tagState"], "ANY");
    }

    /// Which policy deletes a version of `web/api` that is 100 s old, the third newest.
    fn deletes(policies: &Value, tags: &[&str]) -> Option<String> {
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let (uploaded, now) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(100).unwrap());
        let version = Candidate { package: "web/api", version: "sha256:ab", tags: &tags, uploaded, newer: 2 };
        let mut policies = policies.clone();
        fill(&mut policies);
        deleted_by(&policies, &version, now).map(str::to_owned)
    }

    fn condition_matches(condition: &Value, tags: &[&str]) -> bool {
        deletes(&json!({"d": {"action": "DELETE", "condition": condition}}), tags).is_some()
    }

    #[test]
    fn every_part_of_a_condition_must_hold() {
        for (condition, fits) in [
            (json!({}), true),
            (json!({"olderThan": "99s"}), true),
            (json!({"olderThan": "100s"}), false),
            (json!({"newerThan": "101s"}), true),
            (json!({"newerThan": "99.5s"}), false),
            (json!({"packageNamePrefixes": ["x", "web/"]}), true),
            (json!({"packageNamePrefixes": ["api"]}), false),
            (json!({"versionNamePrefixes": ["sha256:a"]}), true),
            (json!({"versionNamePrefixes": ["sha256:b"]}), false),
            (json!({"olderThan": "50s", "packageNamePrefixes": ["api"]}), false),
        ] {
            assert_eq!(condition_matches(&condition, &["v1"]), fits, "{condition}");
        }
    }

    #[test]
    fn tag_prefixes_count_for_tagged_versions_only() {
        let tagged = json!({"tagState": "TAGGED", "tagPrefixes": ["release-"]});
        assert!(condition_matches(&tagged, &["x", "release-1"]));
        assert!(!condition_matches(&tagged, &["v1"]));
        assert!(!condition_matches(&json!({"tagState": "TAGGED"}), &[]));
        assert!(condition_matches(&json!({"tagState": "UNTAGGED"}), &[]));
        assert!(!condition_matches(&json!({"tagState": "UNTAGGED"}), &["v1"]));
        assert!(condition_matches(&json!({"tagPrefixes": ["release-"]}), &["v1"]));
    }

    #[test]
    fn keeping_beats_deleting() {
        let with = |keep: Value| json!({"a": {"action": "DELETE", "condition": {}}, "b": keep});
        let recent = |count: i64| with(json!({"action": "KEEP", "mostRecentVersions": {"keepCount": count}}));
        assert_eq!(deletes(&recent(3), &[]), None);
        assert_eq!(deletes(&recent(2), &[]).as_deref(), Some("a"));
        let keep = with(json!({"action": "KEEP", "condition": {"tagState": "TAGGED"}}));
        assert_eq!(deletes(&keep, &["v1"]), None);
        assert_eq!(deletes(&keep, &[]).as_deref(), Some("a"));
        let other = json!({"keepCount": 9, "packageNamePrefixes": ["db"]});
        assert!(deletes(&with(json!({"action": "KEEP", "mostRecentVersions": other})), &[]).is_some());
    }
}
