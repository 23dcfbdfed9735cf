//! `updateMask` of services.patch: which fields of the service in the request replace those that are stored.

use super::access::{pick, set};
use crate::error::Status;
use serde_json::{Value, json};

/// Fields of a Service that a client can change (run.v2 document: those without "Output only").
pub(super) const MUTABLE: [&str; 19] = [
    "annotations",
    "binaryAuthorization",
    "buildConfig",
    "client",
    "clientVersion",
    "customAudiences",
    "defaultUriDisabled",
    "description",
    "functionalType",
    "iapEnabled",
    "ingress",
    "invokerIamDisabled",
    "labels",
    "launchStage",
    "multiRegionSettings",
    "scaling",
    "sshEnabled",
    "template",
    "traffic",
];

/// Fields that a mask may name without an effect: those that the server sets, and the precondition.
const IGNORED: [&str; 22] = [
    "conditions",
    "createTime",
    "creator",
    "deleteTime",
    "etag",
    "expireTime",
    "generation",
    "lastModifier",
    "latestCreatedRevision",
    "latestReadyRevision",
    "name",
    "observedGeneration",
    "reconciling",
    "satisfiesPzs",
    "terminalCondition",
    "threatDetectionEnabled",
    "trafficStatuses",
    "uid",
    "updateTime",
    "uri",
    "urls",
    "satisfiesPzi",
];

/// Messages below the service that a path can reach into, with their fields.
const NESTED: [(&str, &[&str]); 7] = [
    (
        "template",
        &[
            "ambientNetworking",
            "annotations",
            "client",
            "clientVersion",
            "containers",
            "encryptionKey",
            "encryptionKeyRevocationAction",
            "encryptionKeyShutdownDuration",
            "executionEnvironment",
            "gpuZonalRedundancyDisabled",
            "healthCheckDisabled",
            "labels",
            "maxInstanceRequestConcurrency",
            "nodeSelector",
            "revision",
            "sandboxes",
            "scaling",
            "serviceAccount",
            "serviceMesh",
            "sessionAffinity",
            "timeout",
            "volumes",
            "vpcAccess",
            "workloadIdentityConfig",
        ],
    ),
    (
        "template.scaling",
        &["concurrencyUtilization", "cpuUtilization", "maxInstanceCount", "minInstanceCount"],
    ),
    ("template.vpcAccess", &["connector", "egress", "networkInterfaces"]),
    ("template.nodeSelector", &["accelerator"]),
    ("template.serviceMesh", &["mesh"]),
    ("scaling", &["manualInstanceCount", "maxInstanceCount", "minInstanceCount", "scalingMode"]),
    ("binaryAuthorization", &["breakglassJustification", "policy", "useDefault"]),
];

/// String maps, whose keys a path can name.
const MAPS: [&str; 4] = ["labels", "annotations", "template.labels", "template.annotations"];

/// The mutable part of the service after a patch with `mask` (comma-separated
/// JSON names; `None` replaces everything).
///
/// # Errors
/// 400 for a path that names no field or goes through a list.
pub(super) fn apply(current: &Value, sent: &Value, mask: Option<&str>) -> Result<Value, Status> {
    let Some(mask) = mask.filter(|mask| *mask != "*") else { return Ok(pick(sent, &MUTABLE)) };
    let mut result = pick(current, &MUTABLE);
    for path in mask.split(',').map(str::trim).filter(|path| !path.is_empty()) {
        let steps: Vec<&str> = path.split('.').collect();
        check(&steps, path)?;
        if !IGNORED.contains(&steps[0]) {
            copy(&mut result, Some(sent), &steps);
        }
    }
    Ok(result)
}

fn check(steps: &[&str], path: &str) -> Result<(), Status> {
    let unknown = || {
        Status::invalid("update_mask", format!("The update mask names a field that does not exist: {path}"))
    };
    if !MUTABLE.contains(&steps[0]) && !IGNORED.contains(&steps[0]) {
        return Err(unknown());
    }
    for depth in 1..steps.len() {
        let owner = steps[..depth].join(".");
        if MAPS.contains(&owner.as_str()) {
            return if depth + 1 == steps.len() { Ok(()) } else { Err(unknown()) };
        }
        let fields = NESTED.iter().find(|(message, _)| *message == owner).ok_or_else(unknown)?.1;
        if !fields.contains(&steps[depth]) {
            return Err(unknown());
        }
    }
    Ok(())
}

/// Copies the field at `steps`; one that was not sent is taken out, so that it falls back to its default.
fn copy(into: &mut Value, from: Option<&Value>, steps: &[&str]) {
    let Some((step, rest)) = steps.split_first() else { return };
    let found = from.and_then(|from| from.get(*step));
    if rest.is_empty() {
        match (found, into.as_object_mut()) {
            (Some(found), Some(map)) => {
                map.insert((*step).to_owned(), found.clone());
            }
            (None, Some(map)) => {
                map.remove(*step);
            }
            _ => {}
        }
        return;
    }
    if into.get(*step).is_none() {
        if found.is_none() {
            return;
        }
        set(into, step, json!({}));
    }
    copy(&mut into[*step], found, rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Value {
        json!({"uid": "u", "description": "old", "labels": {"a": "1"}, "ingress": "INGRESS_TRAFFIC_ALL",
               "template": {"timeout": "300s", "scaling": {"maxInstanceCount": 5, "minInstanceCount": 1}}})
    }

    #[test]
    fn without_a_mask_everything_mutable_is_replaced() {
        let sent = json!({"description": "new", "uid": "forged", "template": {}});
        assert_eq!(apply(&stored(), &sent, None).unwrap(), json!({"description": "new", "template": {}}));
    }

    #[test]
    fn a_mask_changes_only_what_it_names() {
        let sent = json!({"description": "new", "labels": {"b": "2"}});
        let result = apply(&stored(), &sent, Some("description")).unwrap();
        assert_eq!((&result["description"], &result["labels"]), (&json!("new"), &json!({"a": "1"})));
    }

    #[test]
    fn a_named_field_that_was_not_sent_is_cleared() {
        assert_eq!(apply(&stored(), &json!({}), Some("description")).unwrap().get("description"), None);
    }

    #[test]
    fn nested_paths_and_keys_of_maps_are_understood() {
        let sent = json!({"template": {"scaling": {"maxInstanceCount": 9}}});
        let result = apply(&stored(), &sent, Some("template.scaling.maxInstanceCount")).unwrap();
        assert_eq!(result["template"]["scaling"], json!({"maxInstanceCount": 9, "minInstanceCount": 1}));
        let labelled = apply(&stored(), &json!({"labels": {"b_c": "2"}}), Some("labels.b_c")).unwrap();
        assert_eq!(labelled["labels"], json!({"a": "1", "b_c": "2"}));
    }

    #[test]
    fn what_the_server_sets_is_ignored() {
        let result = apply(&stored(), &json!({"uid": "forged"}), Some("uid,etag,trafficStatuses")).unwrap();
        assert_eq!(result, pick(&stored(), &MUTABLE));
    }

    #[test]
    fn unknown_paths_and_paths_through_lists_are_refused() {
        for path in
            ["memory", "template.memory", "template.containers.image", "traffic.percent", "labels.a.b"]
        {
            let status = apply(&stored(), &json!({}), Some(path)).unwrap_err();
            assert_eq!(status.details[0]["fieldViolations"][0]["field"], "update_mask", "{path}");
        }
    }
}
