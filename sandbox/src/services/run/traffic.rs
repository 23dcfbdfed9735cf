//! Traffic: which revision gets what share, as asked for (`traffic`) and as it is (`trafficStatuses`).

use super::access::{int, list, set, text};
use super::names;
use super::violations::Violations;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) const LATEST: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";
const REVISION: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";

/// Checks the traffic of a service. A target may name a known revision or the one that is being made.
pub(super) fn check(service: &Value, id: &str, known: &BTreeSet<String>, found: &mut Violations) {
    let targets = list(service, "traffic");
    let coming = text(&service["template"], "revision");
    let mut sum = 0;
    let mut tags = BTreeSet::new();
    for (index, target) in targets.iter().enumerate() {
        let at = format!("traffic[{index}]");
        let percent = int(target, "percent");
        sum += percent;
        found.check((0..=100).contains(&percent), format!("{at}.percent"), "Must be between 0 and 100.");
        check_target(target, coming, known, &at, found);
        let tag = text(target, "tag");
        if !tag.is_empty() {
            found.check(tags.insert(tag), format!("{at}.tag"), format!("The tag {tag} is used twice."));
            check_tag(tag, id, &at, found);
        }
    }
    found.check(
        sum == 100,
        "traffic",
        format!("The percentages of all targets must sum up to 100, but give {sum}."),
    );
}

fn check_target(target: &Value, coming: &str, known: &BTreeSet<String>, at: &str, found: &mut Violations) {
    let revision = text(target, "revision");
    if text(target, "type") == LATEST {
        found.check(
            revision.is_empty(),
            format!("{at}.revision"),
            "A target of type LATEST must not name a revision.",
        );
    } else {
        let exists = !revision.is_empty() && (revision == coming || known.contains(revision));
        found.check(exists, format!("{at}.revision"), format!("Revision '{revision}' was not found."));
    }
}

fn check_tag(tag: &str, id: &str, at: &str, found: &mut Violations) {
    found.check(
        names::is_label(tag, names::TAG_AND_SERVICE),
        format!("{at}.tag"),
        "A tag has lower-case letters, digits and `-`, a letter first.",
    );
    found.check(
        tag.len() + id.len() <= names::TAG_AND_SERVICE,
        format!("{at}.tag"),
        "The tag and the service name together must not exceed 46 characters.",
    );
}

/// Statuses of the targets, with LATEST resolved to `latest_ready` (short name) and a URL for each tag.
///
/// # Errors
/// The name of the first revision that cannot serve, or `None` when LATEST has nothing to resolve to.
pub(super) fn resolve(
    targets: &[Value],
    latest_ready: Option<&str>,
    host: &str,
    can_serve: impl Fn(&str) -> bool,
) -> Result<Vec<Value>, Option<String>> {
    targets
        .iter()
        .map(|target| {
            let latest = text(target, "type") == LATEST;
            let revision = if latest { latest_ready.ok_or(None)? } else { text(target, "revision") };
            if !can_serve(revision) {
                return Err(Some(revision.to_owned()));
            }
            Ok(status(target, revision, host))
        })
        .collect()
}

fn status(target: &Value, revision: &str, host: &str) -> Value {
    let latest = text(target, "type") == LATEST;
    let mut status = json!({"type": if latest { LATEST } else { REVISION }, "revision": revision});
    let percent = int(target, "percent");
    if percent > 0 {
        set(&mut status, "percent", percent);
    }
    let tag = text(target, "tag");
    if !tag.is_empty() {
        set(&mut status, "tag", tag);
        set(&mut status, "uri", names::tag_url(tag, host));
    }
    status
}

/// The short names of the revisions that `statuses` keep alive: with a share or with a tag.
pub(super) fn addressed(statuses: &[Value]) -> BTreeSet<&str> {
    statuses
        .iter()
        .filter(|status| int(status, "percent") > 0 || !text(status, "tag").is_empty())
        .map(|status| text(status, "revision"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(traffic: &Value) -> Vec<String> {
        let service = json!({"traffic": traffic, "template": {"revision": "api-new"}});
        let mut found = Violations::default();
        check(&service, "api", &BTreeSet::from(["api-old".to_owned()]), &mut found);
        found.fields().into_iter().map(str::to_owned).collect()
    }

    fn to(revision: &str, percent: i64) -> Value {
        json!({"type": REVISION, "revision": revision, "percent": percent})
    }

    #[test]
    fn percentages_sum_up_to_a_hundred() {
        assert!(problems(&json!([to("api-old", 60), {"type": LATEST, "percent": 40}])).is_empty());
        assert_eq!(problems(&json!([to("api-old", 60)])), ["traffic"]);
        assert_eq!(
            problems(&json!([to("api-old", 150), to("api-new", -50)])),
            ["traffic[0].percent", "traffic[1].percent"]
        );
    }

    #[test]
    fn a_target_names_a_revision_that_exists_or_is_being_made() {
        assert!(problems(&json!([to("api-new", 100)])).is_empty());
        assert_eq!(problems(&json!([to("api-gone", 100)])), ["traffic[0].revision"]);
        assert_eq!(problems(&json!([{"type": REVISION, "percent": 100}])), ["traffic[0].revision"]);
        assert_eq!(
            problems(&json!([{"type": LATEST, "revision": "api-old", "percent": 100}])),
            ["traffic[0].revision"]
        );
    }

    #[test]
    fn tags_are_distinct_and_short() {
        let tagged = |first: &str, second: &str| {
            problems(&json!([{"type": LATEST, "percent": 100, "tag": first},
                            {"type": REVISION, "revision": "api-old", "tag": second}]))
        };
        assert!(tagged("blue", "green").is_empty());
        assert_eq!(tagged("blue", "blue"), ["traffic[1].tag"]);
        assert_eq!(tagged("Blue", "green"), ["traffic[0].tag"]);
        assert!(tagged(&"a".repeat(43), "green").is_empty());
        assert_eq!(tagged(&"a".repeat(44), "green"), ["traffic[0].tag"]);
    }

    #[test]
    fn latest_resolves_to_the_latest_ready_revision() {
        let targets = [json!({"type": LATEST, "percent": 100, "tag": "now"})];
        let statuses = resolve(&targets, Some("api-2"), "api-1.us-central1.run.app", |_| true).unwrap();
        assert_eq!(
            statuses,
            [json!({"type": LATEST, "revision": "api-2", "percent": 100, "tag": "now",
                    "uri": "https://now---api-1.us-central1.run.app"})]
        );
    }

    #[test]
    fn a_revision_that_is_not_ready_gets_no_traffic() {
        let outcome = resolve(&[to("api-2", 100)], Some("api-1"), "h", |revision| revision == "api-1");
        assert_eq!(outcome, Err(Some("api-2".to_owned())));
        assert_eq!(resolve(&[json!({"type": LATEST})], None, "h", |_| true), Err(None));
    }

    #[test]
    fn a_target_without_share_and_tag_keeps_nothing_alive() {
        let statuses = [to("a", 100), to("b", 0), json!({"revision": "c", "tag": "t"})];
        assert_eq!(addressed(&statuses), BTreeSet::from(["a", "c"]));
    }
}
