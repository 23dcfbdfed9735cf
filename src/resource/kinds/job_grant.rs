//! Who may run a Cloud Run job. The YAML grants it to nobody: what is found of ours or of the public is revoked.

use super::grants::Grant;
use super::run_job::{self, RunJob};
use crate::gcp::PolicyOf;
use crate::resource::{Kind, Layer};

pub struct JobGrant;

impl Grant for JobGrant {
    const NAME: &'static str = "job_grant";
    const API: &'static str = RunJob::API;
    const LAYER: Layer = Layer::Release;
    const REGIONAL: bool = true;
    const VIEWER: &'static str = "roles/run.viewer";
    const ON: Option<&'static str> = Some(RunJob::NAME);

    fn policy(project: &str, region: &str, job: &str) -> PolicyOf {
        PolicyOf::RunJob(run_job::full_name(project, region, job))
    }
}
