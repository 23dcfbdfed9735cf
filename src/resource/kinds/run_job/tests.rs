//! What is written is what is read, and what neither is nor touches a job's spec.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::RELEASE;
use super::live;
use super::spec::{READY, Spec};
use super::write;
use crate::resource::kinds::container::{ContainerSpec, VolumeSpec, VpcSpec};
use crate::resource::{Ownership, Place};

fn place() -> Place {
    Place {
        project: "p-1".into(),
        project_number: 12,
        region: "us-central1".into(),
        ownership: Ownership::new("shop", "dev"),
    }
}

/// The document that Google would hold after `spec` was written.
fn stored(mut doc: Value, spec: &Spec) -> Value {
    write::manage(&mut doc, spec, &place());
    doc["name"] = json!("projects/p-1/locations/us-central1/jobs/backup");
    doc["generation"] = json!("1");
    doc
}

prop_compose! {
    fn spec()(
        image in "[a-z]{1,8}",
        words in (prop::collection::vec("[a-z]{1,4}", 0..2), prop::collection::vec("[a-z]{1,4}", 0..3)),
        cpu in prop_oneof![Just("1"), Just("2")],
        env in prop::collection::btree_map("[A-Z]{1,6}", ".{0,5}", 0..4),
        variables in prop::collection::btree_map("S_[A-Z]{1,5}", "[a-z]{1,5}:[1-9]", 0..3),
        files in prop::collection::btree_map("/[a-z]{1,4}/k", "[a-z]{1,5}:latest", 0..3),
        volumes in prop::collection::btree_map("/tmp[a-z]{1,2}", Just("64Mi"), 0..2),
        (timeout, max_retries, tasks, parallelism) in (1_u32..9000, 0_u32..4, 1_u32..9, 0_u32..9),
        labels in prop::collection::btree_map("[a-z]{1,3}", "[a-z]{0,3}", 0..3),
        connector in prop::option::of("[a-z]{1,3}"),
    ) -> Spec {
        let vpc = connector.map(|connector| VpcSpec {
            connector: Some(connector), network: None, subnet: None, tags: Vec::new(), egress: "all-traffic".into(),
        });
        let container = ContainerSpec {
            image, command: words.0, args: words.1, cpu: cpu.into(), memory: "512Mi".into(), env,
            secrets: variables.into_iter().chain(files).collect(),
            volumes: volumes.into_iter().map(|(path, size)| (path, VolumeSpec { in_memory: size.into() })).collect(),
        };
        Spec {
            container, service_account: "job@p-1.iam.gserviceaccount.com".into(), timeout: format!("{timeout}s"),
            max_retries, tasks, parallelism, execution_environment: "gen2".into(), labels, vpc,
            other_containers: std::collections::BTreeMap::new(), readiness: READY.into(), failed_release: None,
        }
    }
}

#[test]
fn only_a_newest_execution_that_failed_is_of_a_failed_release() {
    let read = |status: &str, annotation: &str| {
        let doc = json!({
            "name": "x", "latestCreatedExecution": {"completionStatus": status},
            "template": {"annotations": {annotation: "f00"}, "template": {"containers": [{"image": "i"}]}},
        });
        live::spec(&doc).unwrap().failed_release
    };
    assert_eq!(read("EXECUTION_FAILED", RELEASE).as_deref(), Some("f00"));
    assert_eq!(read("EXECUTION_CANCELLED", RELEASE).as_deref(), Some("f00"));
    for (status, annotation) in
        [("EXECUTION_SUCCEEDED", RELEASE), ("EXECUTION_RUNNING", RELEASE), ("EXECUTION_FAILED", "team")]
    {
        assert_eq!(read(status, annotation), None, "{status} {annotation}");
    }
}

proptest! {
    #[test]
    fn what_was_written_is_what_is_observed(spec in spec()) {
        prop_assert_eq!(live::spec(&stored(json!({}), &spec)).unwrap(), spec);
    }

    #[test]
    fn a_spec_laid_over_another_replaces_it(before in spec(), after in spec()) {
        let doc = stored(stored(json!({}), &before), &after);
        prop_assert_eq!(live::spec(&doc).unwrap(), after);
    }

    #[test]
    fn fields_that_nobody_manages_stay(before in spec(), after in spec()) {
        let mut doc = stored(json!({}), &before);
        doc["binaryAuthorization"] = json!({"useDefault": true});
        doc["template"]["annotations"] = json!({"team": "red"});
        doc["template"]["template"]["nodeSelector"] = json!({"accelerator": "nvidia-l4"});
        doc["template"]["template"]["containers"][0]["workingDir"] = json!("/srv");
        doc["template"]["template"]["volumes"] = json!([{"name": "share", "nfs": {"server": "10.0.0.2"}}]);
        doc["template"]["template"]["containers"][0]["volumeMounts"] = json!([{"name": "share", "mountPath": "/s"}]);
        let doc = stored(doc, &after);
        prop_assert_eq!(&doc["binaryAuthorization"]["useDefault"], true);
        prop_assert_eq!(&doc["template"]["annotations"]["team"], "red");
        let task = &doc["template"]["template"];
        prop_assert_eq!(&task["nodeSelector"]["accelerator"], "nvidia-l4");
        prop_assert_eq!(&task["containers"][0]["workingDir"], "/srv");
        prop_assert_eq!(&task["volumes"][0]["name"], "share");
        prop_assert_eq!(&task["containers"][0]["volumeMounts"][0]["mountPath"], "/s");
    }
}

fn bare() -> Value {
    json!({"name": "projects/p/locations/r/jobs/backup", "generation": "4",
        "template": {"template": {"containers": [{"image": "a"}]}}})
}

#[test]
fn defaults_of_cloud_run_are_those_of_the_document() {
    let spec = live::spec(&bare()).unwrap();
    assert_eq!((spec.max_retries, spec.tasks, spec.parallelism), (3, 1, 0));
    assert_eq!((spec.timeout.as_str(), spec.execution_environment.as_str()), ("600s", "gen2"));
}

#[test]
fn how_executions_went_is_no_difference() {
    let before = live::spec(&bare()).unwrap();
    let mut doc = bare();
    doc["executionCount"] = json!(7);
    doc["latestCreatedExecution"] = json!({"name": "backup-x", "completionStatus": "EXECUTION_FAILED"});
    doc["terminalCondition"] =
        json!({"type": "Ready", "state": "CONDITION_FAILED", "executionReason": "NON_ZERO_EXIT_CODE"});
    assert_eq!(live::spec(&doc).unwrap(), before);
    doc["terminalCondition"] = json!({"state": "CONDITION_FAILED", "reason": "SECRETS_ACCESS_CHECK_FAILED"});
    assert_eq!(live::spec(&doc).unwrap().readiness, "failed (SECRETS_ACCESS_CHECK_FAILED)");
}

#[test]
fn a_container_that_somebody_added_is_seen_and_goes() {
    let mut doc = bare();
    let more = json!({"name": "miner", "image": "m"});
    doc["template"]["template"]["containers"].as_array_mut().unwrap().push(more);
    let spec = live::spec(&doc).unwrap();
    assert_eq!(spec.other_containers["miner"], "m");
    let wanted = Spec { other_containers: std::collections::BTreeMap::new(), ..spec };
    assert_eq!(live::spec(&stored(doc, &wanted)).unwrap(), wanted);
}

#[test]
fn writing_a_job_never_starts_it() {
    let mut doc = bare();
    doc["startExecutionToken"] = json!("now");
    let spec = live::spec(&doc).unwrap();
    assert_eq!(stored(doc.clone(), &spec).get("startExecutionToken"), None);
    write::look_again(&mut doc);
    assert_eq!(doc.get("startExecutionToken"), None);
    assert_eq!(doc["template"]["annotations"]["deployer/attempt"], "4");
    assert_eq!(live::spec(&doc).unwrap(), spec);
}

#[test]
fn a_job_that_cannot_be_read_is_an_error_that_names_it() {
    let odd = json!({"name": "projects/p/locations/r/jobs/odd", "template": {}});
    let error = live::spec(&odd).unwrap_err();
    assert!(error.to_string().contains("jobs/odd"), "{error}");
}
