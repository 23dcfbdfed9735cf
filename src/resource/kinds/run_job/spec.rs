//! The spec of a job in the words of the YAML, and how the YAML declares it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Environment;
use crate::config::model;
use crate::resource::kinds::container::{ContainerSpec, Findings, VpcSpec, vpc};
use crate::resource::kinds::{images, service_account};
use crate::resource::{Declared, Facts};

/// Everything about a job that deployer manages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    #[serde(flatten)]
    pub container: ContainerSpec,
    /// E-mail address of the run-time identity.
    pub service_account: String,
    /// `600s`, for one attempt of a task.
    pub timeout: String,
    /// Further attempts of a task that failed.
    pub max_retries: u32,
    /// Tasks of an execution.
    pub tasks: u32,
    /// Tasks that run at the same time; 0 for as many as Cloud Run can (`parallelism` of the document is not set).
    pub parallelism: u32,
    pub execution_environment: String,
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<VpcSpec>,
    /// Images of further containers that somebody added, by name: the YAML has no word for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other_containers: BTreeMap<String, String>,
    /// `ready`, or why Cloud Run would not run it. How its executions went does not matter.
    pub readiness: String,
    /// The release (digest in hexadecimal) for which its newest execution failed. That is no difference to the YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_release: Option<String>,
}

impl Spec {
    /// The same job if its executions had gone as the other one's.
    #[must_use]
    pub fn with_executions_of(self, other: &Self) -> Self {
        Self { failed_release: other.failed_release.clone(), ..self }
    }
}

pub const READY: &str = "ready";

/// What the YAML asks for, with secret versions and the image filled in from the facts.
pub fn declare(env: &Environment, facts: &Facts, job: &model::Job) -> Declared<Spec> {
    let mut findings = Findings::new(env, facts);
    let mut container = findings.container(&job.container);
    let chosen = images::of_job(env, facts, job);
    container.image = chosen.image;
    findings.block(chosen.unbuilt);
    let spec = Spec {
        container,
        service_account: service_account::email(&job.service_account, &env.project.id),
        timeout: format!("{}s", job.timeout),
        max_retries: job.max_retries,
        tasks: job.tasks,
        parallelism: job.parallelism,
        execution_environment: job.execution_environment.clone(),
        labels: job.labels.clone(),
        vpc: job.vpc.as_ref().map(vpc),
        other_containers: BTreeMap::new(),
        readiness: READY.to_owned(),
        failed_release: None,
    };
    let declared = Declared { refused: chosen.refused, ..Declared::new(&job.name, &job.path, spec) };
    findings.tell(declared.protected(job.protect))
}
