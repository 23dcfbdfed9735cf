//! What Cloud Run refuses with 400 before it does anything. All checks look at a service whose defaults are
//! filled in already, so a rule about "at most" also holds for what was not sent.

mod container;
mod job;
mod probe;
mod resources;
mod volumes;

use super::access::{int, list, seconds, text};
use super::violations::Violations;
use super::{names, traffic};
use crate::error::Status;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) use job::{job, overrides};

/// What a template is of: containers of services and of jobs differ in a few rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workload {
    Service,
    Job,
}

/// Key prefixes that belong to Google in labels and annotations.
const RESERVED: [&str; 4] =
    ["run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev"];
/// Longest description in characters (`Service.description`).
const DESCRIPTION: usize = 512;
/// Longest request timeout in seconds.
const TIMEOUT: f64 = 3600.0;
/// Most requests at a time of one instance.
const CONCURRENCY: i64 = 1000;
/// Longest revision name (RFC 1035).
const REVISION: usize = 63;

/// Checks a service. `known` holds the names of the revisions that it has.
pub(super) fn service(service: &Value, id: &str, known: &BTreeSet<String>) -> Result<(), Status> {
    let mut found = Violations::default();
    let template = &service["template"];
    metadata(service, template, &mut found);
    found.check(
        text(service, "description").chars().count() <= DESCRIPTION,
        "description",
        "The description must not exceed 512 characters.",
    );
    scaling(&service["scaling"], "scaling", &mut found);
    scaling(&template["scaling"], "template.scaling", &mut found);
    check_template(template, id, &mut found);
    check_workload(template, Workload::Service, &mut found);
    traffic::check(service, id, known, &mut found);
    found.into_result()
}

fn check_template(template: &Value, id: &str, found: &mut Violations) {
    let revision = text(template, "revision");
    let ours = revision.strip_prefix(id).is_some_and(|rest| rest.len() > 1 && rest.starts_with('-'));
    found.check(
        revision.is_empty() || (ours && names::is_label(revision, REVISION)),
        "template.revision",
        format!("The revision name must start with `{id}-` and be a host label of at most 63 characters."),
    );
    let timeout = seconds(text(template, "timeout"));
    found.check(
        timeout.is_some_and(|timeout| timeout > 0.0 && timeout <= TIMEOUT),
        "template.timeout",
        "The timeout must be more than 0 and at most 3600 seconds.",
    );
    found.check(
        (1..=CONCURRENCY).contains(&int(template, "maxInstanceRequestConcurrency")),
        "template.maxInstanceRequestConcurrency",
        "The concurrency must be between 1 and 1000.",
    );
}

/// What tasks of jobs and revisions of services have in common.
fn check_workload(template: &Value, workload: Workload, found: &mut Violations) {
    let account = text(template, "serviceAccount");
    found.check(
        account.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.')),
        "template.serviceAccount",
        "The service account must be an email address.",
    );
    if let Some(access) = template.get("vpcAccess") {
        vpc_access(access, found);
    }
    container::check(template, workload, found);
    resources::check(template, workload, found);
    volumes::check(template, found);
}

fn metadata(owner: &Value, template: &Value, found: &mut Violations) {
    labels(owner, "labels", found);
    labels(template, "template.labels", found);
    annotations(owner, "annotations", found);
    annotations(template, "template.annotations", found);
}

fn vpc_access(access: &Value, found: &mut Violations) {
    let interfaces = list(access, "networkInterfaces");
    let connector = !text(access, "connector").is_empty();
    found.check(
        connector == interfaces.is_empty(),
        "template.vpcAccess",
        "Exactly one of connector and networkInterfaces must be set.",
    );
    found.check(
        interfaces.len() < 2,
        "template.vpcAccess.networkInterfaces",
        "Only a single network interface is supported.",
    );
    for interface in interfaces {
        found.check(
            !(text(interface, "network").is_empty() && text(interface, "subnetwork").is_empty()),
            "template.vpcAccess.networkInterfaces[0]",
            "At least one of network and subnetwork must be specified.",
        );
    }
}

fn scaling(scaling: &Value, at: &str, found: &mut Violations) {
    let (least, most) = (int(scaling, "minInstanceCount"), int(scaling, "maxInstanceCount"));
    let manual = int(scaling, "manualInstanceCount");
    found.check(least >= 0, format!("{at}.minInstanceCount"), "The value must not be negative.");
    found.check(most >= 0, format!("{at}.maxInstanceCount"), "The value must not be negative.");
    found.check(manual >= 0, format!("{at}.manualInstanceCount"), "The value must not be negative.");
    found.check(
        most <= 0 || least <= most,
        format!("{at}.minInstanceCount"),
        "The minimum must not be greater than the maximum.",
    );
}

/// Labels follow Google Cloud's common rules: at most 64, keys and values of at most 63 characters in lower case.
fn labels(owner: &Value, at: &str, found: &mut Violations) {
    let Some(labels) = owner.get("labels").and_then(Value::as_object) else { return };
    found.check(labels.len() <= 64, at, "At most 64 labels are allowed.");
    for (key, value) in labels {
        if is_reserved(key) {
            found.add(format!("{at}.{key}"), "The key belongs to a namespace that Cloud Run reserves.");
            continue;
        }
        let starts = key.chars().next().is_some_and(char::is_alphabetic);
        found.check(
            starts && is_label_text(key),
            format!("{at}.{key}"),
            "Keys have 1 to 63 lower-case letters, digits, `_` and `-`, a letter first.",
        );
        found.check(
            is_label_text(value.as_str().unwrap_or_default()),
            format!("{at}.{key}"),
            "Values have at most 63 lower-case letters, digits, `_` and `-`.",
        );
    }
}

fn is_label_text(text: &str) -> bool {
    text.chars().count() <= 63
        && text
            .chars()
            .all(|letter| (letter.is_alphanumeric() && !letter.is_uppercase()) || matches!(letter, '_' | '-'))
}

/// Annotations follow Kubernetes' rules for keys: an optional DNS prefix and a name of at most 63 characters.
fn annotations(owner: &Value, at: &str, found: &mut Violations) {
    let Some(annotations) = owner.get("annotations").and_then(Value::as_object) else { return };
    let mut size = 0;
    for (key, value) in annotations {
        size += key.len() + value.as_str().map_or(0, str::len);
        if is_reserved(key) {
            found.add(format!("{at}.{key}"), "The key belongs to a namespace that Cloud Run reserves.");
            continue;
        }
        let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
        let word = |text: &str, longest: usize| {
            text.len() <= longest
                && text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
                && text.ends_with(|letter: char| letter.is_ascii_alphanumeric())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        found.check(
            (prefix.is_empty() || word(prefix, 253)) && word(name, 63),
            format!("{at}.{key}"),
            "The key must be a qualified name.",
        );
    }
    found.check(size <= 256 * 1024, at, "Annotations must not exceed 256 KiB together.");
}

fn is_reserved(key: &str) -> bool {
    let prefix = key.split_once('/').map_or(key, |(prefix, _)| prefix);
    RESERVED.iter().any(|reserved| {
        prefix.strip_suffix(reserved).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::super::defaults;
    use super::*;
    use serde_json::json;

    fn problems(changes: Value) -> Vec<String> {
        let mut doc = json!({"template": {"containers": [{"image": "nginx"}]}});
        merge(&mut doc, changes);
        defaults::fill_service(&mut doc, 1);
        match service(&doc, "api", &BTreeSet::from(["api-00001-abc".to_owned()])) {
            Ok(()) => Vec::new(),
            Err(status) => status.details[0]["fieldViolations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|violation| violation["field"].as_str().unwrap().to_owned())
                .collect(),
        }
    }

    fn merge(doc: &mut Value, changes: Value) {
        match (doc, changes) {
            (Value::Object(doc), Value::Object(changes)) => {
                for (key, value) in changes {
                    merge(doc.entry(key).or_insert(Value::Null), value);
                }
            }
            (doc, changes) => *doc = changes,
        }
    }

    #[test]
    fn a_bare_service_is_taken() {
        assert!(problems(json!({})).is_empty());
    }

    #[test]
    fn reserved_namespaces_are_refused_in_labels_and_annotations() {
        for key in ["run.googleapis.com/x", "serving.knative.dev/x", "x.cloud.googleapis.com/y"] {
            assert_eq!(problems(json!({"labels": {key: "1"}})), [format!("labels.{key}")]);
            assert_eq!(problems(json!({"annotations": {key: "1"}})), [format!("annotations.{key}")]);
            let in_template = problems(json!({"template": {"labels": {key: "1"}}}));
            assert_eq!(in_template, [format!("template.labels.{key}")]);
        }
        assert!(problems(json!({"annotations": {"deployer/releases": "[]"}})).is_empty());
    }

    #[test]
    fn labels_are_lower_case() {
        assert!(problems(json!({"labels": {"team_1": "a-b", "empty": ""}})).is_empty());
        for (key, value) in [("Team", "a"), ("1team", "a"), ("team", "A"), ("a.b", "a")] {
            assert_eq!(problems(json!({"labels": {key: value}})), [format!("labels.{key}")]);
        }
    }

    #[test]
    fn a_revision_name_starts_with_the_service() {
        assert!(problems(json!({"template": {"revision": "api-v1"}})).is_empty());
        for bad in ["v1", "api", "api-", "apix-1", "api-V1", "api-v1-", "other-api-1"] {
            assert_eq!(problems(json!({"template": {"revision": bad}})), ["template.revision"], "{bad}");
        }
        let long = format!("api-{}", "a".repeat(60));
        assert_eq!(problems(json!({"template": {"revision": long}})), ["template.revision"]);
    }

    #[test]
    fn a_timeout_is_at_most_an_hour() {
        assert!(problems(json!({"template": {"timeout": "3600s"}})).is_empty());
        assert_eq!(problems(json!({"template": {"timeout": "3601s"}})), ["template.timeout"]);
    }

    #[test]
    fn concurrency_is_at_most_a_thousand() {
        let with = |number: i64| problems(json!({"template": {"maxInstanceRequestConcurrency": number}}));
        assert!(with(1000).is_empty());
        assert_eq!(with(1001), ["template.maxInstanceRequestConcurrency"]);
        assert_eq!(with(-1), ["template.maxInstanceRequestConcurrency"]);
    }

    #[test]
    fn minimum_is_at_most_maximum() {
        let both = json!({"minInstanceCount": 5, "maxInstanceCount": 3});
        assert_eq!(problems(json!({"scaling": both})), ["scaling.minInstanceCount"]);
        assert_eq!(problems(json!({"template": {"scaling": both}})), ["template.scaling.minInstanceCount"]);
        assert!(problems(json!({"scaling": {"minInstanceCount": 5}})).is_empty());
    }

    #[test]
    fn a_network_is_reached_in_one_way() {
        let both = json!({"connector": "c", "networkInterfaces": [{"network": "n"}]});
        assert_eq!(problems(json!({"template": {"vpcAccess": both}})), ["template.vpcAccess"]);
        let neither = json!({"egress": "ALL_TRAFFIC"});
        assert_eq!(problems(json!({"template": {"vpcAccess": neither}})), ["template.vpcAccess"]);
        let nameless = json!({"networkInterfaces": [{"tags": ["a"]}]});
        let expected = ["template.vpcAccess.networkInterfaces[0]"];
        assert_eq!(problems(json!({"template": {"vpcAccess": nameless}})), expected);
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let found = problems(json!({"description": "x".repeat(513),
            "template": {"timeout": "0.0s", "containers": [{"image": ""}]}}));
        assert_eq!(found, ["description", "template.timeout", "template.containers[0].image"]);
    }
}
