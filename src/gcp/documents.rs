//! Documents of the official model types as canonical ProtoJSON, and back.
//!
//! The crates serialise enums as numbers. Names are put in their place by field, with the crates' own enum types;
//! a number that no name is known for stays, so that it round-trips.

use google_cloud_run_v2::model as run;
use google_cloud_secretmanager_v1::model as secretmanager;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ErrorKind, GcpError};

/// A table from field and number to the name of an enum value.
type Names = fn(&str, i32) -> Option<String>;

/// A Cloud Run message with the names of its enum values.
pub(crate) fn of_run<T: Serialize>(doing: &str, message: &T) -> Result<Value, GcpError> {
    named(doing, message, run_name)
}

/// A Secret Manager message with the names of its enum values.
pub(crate) fn of_secrets<T: Serialize>(doing: &str, message: &T) -> Result<Value, GcpError> {
    named(doing, message, secret_name)
}

/// Reads a document into a model type. The error says where the document does not fit.
pub(crate) fn read<T: DeserializeOwned>(doing: &str, document: Value) -> Result<T, GcpError> {
    serde_path_to_error::deserialize(document).map_err(|error| {
        let message = format!("the document does not fit Google's type at `{}`", error.path());
        GcpError::new(doing, ErrorKind::Unreadable, message).with_source(error.into_inner())
    })
}

/// Says which element of a list could not be read, after the official client refused the whole list.
///
/// `items` are the raw documents of a second, untyped read; `None` when all of them fit now.
pub(crate) fn unreadable<T: DeserializeOwned>(doing: &str, items: Vec<Value>) -> Option<GcpError> {
    items.into_iter().find_map(|item| {
        let name = item.get("name").and_then(Value::as_str).unwrap_or("an object without a name").to_owned();
        serde_path_to_error::deserialize::<_, T>(item).err().map(|error| {
            let message = format!("{name} cannot be read at `{}`", error.path());
            GcpError::new(doing, ErrorKind::Unreadable, message)
                .with_source(error.into_inner())
                .with_hint("this deployer may be older than what Google answers: look for a newer version")
        })
    })
}

/// Whether every value of `sent` is in `live`, which may hold more. Lists have to agree element by element.
pub(crate) fn contains(live: &Value, sent: &Value) -> bool {
    match (live, sent) {
        (Value::Object(live), Value::Object(sent)) => {
            sent.iter().all(|(key, value)| live.get(key).is_some_and(|found| contains(found, value)))
        }
        (Value::Array(live), Value::Array(sent)) => {
            live.len() == sent.len() && live.iter().zip(sent).all(|(live, sent)| contains(live, sent))
        }
        _ => live == sent,
    }
}

fn named<T: Serialize>(doing: &str, message: &T, names: Names) -> Result<Value, GcpError> {
    let mut document = serde_json::to_value(message).map_err(|error| {
        GcpError::new(doing, ErrorKind::Unreadable, "Google's answer cannot be written as JSON")
            .with_source(error)
    })?;
    put_names(&mut document, names);
    Ok(document)
}

fn put_names(value: &mut Value, names: Names) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
                match number.and_then(|number| names(key, number)) {
                    Some(name) => *value = Value::String(name),
                    None => put_names(value, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| put_names(item, names)),
        _ => {}
    }
}

/// The enum fields of Cloud Run's services, revisions, jobs and executions. No other field of these names is a
/// number (maps of the user hold strings only).
fn run_name(field: &str, number: i32) -> Option<String> {
    let owned = |name: Option<&str>| name.map(str::to_owned);
    match field {
        "launchStage" => owned(run::Service::new().set_launch_stage(number).launch_stage.name()),
        "ingress" => owned(run::IngressTraffic::from(number).name()),
        "type" => owned(run::TrafficTargetAllocationType::from(number).name()),
        "executionEnvironment" => owned(run::ExecutionEnvironment::from(number).name()),
        "encryptionKeyRevocationAction" => owned(run::EncryptionKeyRevocationAction::from(number).name()),
        "egress" => owned(run::vpc_access::VpcEgress::from(number).name()),
        "medium" => owned(run::empty_dir_volume_source::Medium::from(number).name()),
        "scalingMode" => owned(run::service_scaling::ScalingMode::from(number).name()),
        "state" => owned(run::condition::State::from(number).name()),
        "severity" => owned(run::condition::Severity::from(number).name()),
        "reason" => owned(run::condition::CommonReason::from(number).name()),
        "revisionReason" => owned(run::condition::RevisionReason::from(number).name()),
        "executionReason" => owned(run::condition::ExecutionReason::from(number).name()),
        "completionStatus" => owned(run::execution_reference::CompletionStatus::from(number).name()),
        _ => None,
    }
}

/// The enum fields of secrets and their versions.
fn secret_name(field: &str, number: i32) -> Option<String> {
    match field {
        "state" => secretmanager::secret_version::State::from(number).name().map(str::to_owned),
        "secretType" => secretmanager::secret::SecretType::from(number).name().map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn round_trip(document: Value) -> Value {
        let service: run::Service = read("read it", document).unwrap();
        of_run("write it", &service).unwrap()
    }

    #[test]
    fn enums_are_names_whether_they_came_as_numbers_or_names() {
        let names = json!({
            "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
            "launchStage": "BETA",
            "scaling": {"scalingMode": "MANUAL", "manualInstanceCount": 2},
            "terminalCondition": {"type": "Ready", "state": "CONDITION_FAILED", "severity": "ERROR",
                "revisionReason": "HEALTH_CHECK_CONTAINER_ERROR"},
            "traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": "a", "percent": 100}],
            "template": {
                "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
                "encryptionKeyRevocationAction": "PREVENT_NEW",
                "vpcAccess": {"egress": "PRIVATE_RANGES_ONLY"},
                "volumes": [{"name": "v", "emptyDir": {"medium": "MEMORY"}}]
            }
        });
        assert_eq!(round_trip(names.clone()), names);
        assert_eq!(round_trip(json!({"ingress": 2}))["ingress"], "INGRESS_TRAFFIC_INTERNAL_ONLY");
        assert_eq!(round_trip(json!({"launchStage": 4}))["launchStage"], "GA");
    }

    #[test]
    fn what_the_crate_does_not_know_round_trips() {
        let document = json!({
            "ingress": 99, "newField": {"deep": [1, "x"]},
            "template": {"containers": [{"image": "i", "novelty": true}]}, "generation": "9007199254740993"
        });
        assert_eq!(round_trip(document.clone()), document);
        assert_eq!(round_trip(json!({"ingress": "INGRESS_NEW"}))["ingress"], "INGRESS_NEW");
    }

    #[test]
    fn a_users_map_is_not_mistaken_for_an_enum() {
        let document = json!({"labels": {"type": "1", "state": "2"},
            "template": {"containers": [{"env": [{"name": "ingress", "value": "1"}]}]}});
        assert_eq!(round_trip(document.clone()), document);
    }

    #[test]
    fn the_object_that_cannot_be_read_is_named_with_the_place() {
        let items = vec![json!({"name": "good"}), json!({"name": "bad", "template": {"containers": 7}})];
        let error = unreadable::<run::Service>("list services", items).unwrap();
        assert_eq!(error.kind, ErrorKind::Unreadable);
        assert!(error.message.contains("bad") && error.message.contains("template.containers"), "{error}");
        assert!(unreadable::<run::Service>("list services", vec![json!({"name": "good"})]).is_none());
    }

    #[test]
    fn a_live_object_contains_what_was_sent_although_it_has_more() {
        let live = json!({"a": 1, "list": [{"x": 1, "extra": true}], "more": 2});
        assert!(contains(&live, &json!({"a": 1, "list": [{"x": 1}]})));
        assert!(!contains(&live, &json!({"a": 2})));
        assert!(!contains(&live, &json!({"list": []})));
        assert!(!contains(&live, &json!({"absent": null})));
    }
}
