//! A v2 Job as Google answers it, read as a [`Spec`]: executions and other noise have no field to go to.

use serde_json::Value;

use super::RELEASE;
use super::spec::{READY, Spec};
use crate::gcp::GcpError;
use crate::resource::kinds::container::live::{Reader, lower, number, seconds, text, vpc};
use crate::resource::kinds::labels;

/// Fails with the job's name when a field that Google always sends is not there.
pub fn spec(doc: &Value) -> Result<Spec, GcpError> {
    let reader = Reader::of(doc);
    let execution = &doc["template"];
    let task = &execution["template"];
    let containers = task["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some((container, others)) = containers.split_first() else {
        return Err(reader.missing("template.template.containers"));
    };
    let volumes = task["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let others = others.iter().map(|container| (text(&container["name"]), text(&container["image"])));
    Ok(Spec {
        container: reader.container(container, volumes)?,
        service_account: text(&task["serviceAccount"]),
        timeout: seconds(&task["timeout"]).unwrap_or_else(|| "600s".to_owned()),
        // What the official client does not find is absent, and Cloud Run then takes 3.
        max_retries: number(&task["maxRetries"]).unwrap_or(3),
        tasks: number(&execution["taskCount"]).unwrap_or(1),
        parallelism: number(&execution["parallelism"]).unwrap_or(0),
        execution_environment: lower(&task["executionEnvironment"], "EXECUTION_ENVIRONMENT_", "gen2"),
        labels: labels::read(doc, labels::RUN),
        vpc: vpc(&task["vpcAccess"]),
        other_containers: others.collect(),
        readiness: readiness(&doc["terminalCondition"]),
        failed_release: failed_release(doc),
    })
}

/// The release that the job is marked with, where its newest execution did not succeed.
fn failed_release(doc: &Value) -> Option<String> {
    let status = doc["latestCreatedExecution"]["completionStatus"].as_str()?;
    let failed = matches!(status, "EXECUTION_FAILED" | "EXECUTION_CANCELLED");
    let release = doc["template"]["annotations"][RELEASE].as_str();
    release.filter(|_| failed).map(str::to_owned)
}

/// A job that waits for an execution is unready when that fails: this says nothing about the job.
fn readiness(condition: &Value) -> String {
    if condition["state"] != "CONDITION_FAILED" || condition["executionReason"].is_string() {
        return READY.to_owned();
    }
    let reason = ["reason", "revisionReason"].iter().find_map(|key| condition[key].as_str());
    format!("failed ({})", reason.unwrap_or("no reason given"))
}
