//! Cloud Run jobs (run v2), migrations and the jobs of tenants among them: their shape. Nothing here runs one.

mod live;
mod spec;
#[cfg(test)]
mod tests;
mod write;

use serde_json::{Value, json};

pub use spec::Spec;
pub use write::mark_executions;

use super::container::{self, documents};
use crate::config::Environment;
use crate::gcp::{Gcp, GcpError, Job};
use crate::resource::{
    Address, Consequence, Declared, Edit, Facts, FieldPolicy, Kind, Layer, Observed, Place, Scope, Settle,
};

pub struct RunJob;

/// Annotation of the executions of a job with the release (digest in hexadecimal) that they are run for.
pub const RELEASE: &str = "deployer/release";

/// `projects/P/locations/R/jobs/NAME`.
pub fn full_name(project: &str, region: &str, job: &str) -> String {
    format!("projects/{project}/locations/{region}/jobs/{job}")
}

impl Kind for RunJob {
    const NAME: &'static str = "run_job";
    const API: &'static str = "run.googleapis.com";
    const LAYER: Layer = Layer::Release;
    const SERVER_CHECK: bool = true;
    const REGIONAL: bool = true;
    const VIEWER: &'static str = "roles/run.viewer";
    type Spec = Spec;

    fn declare(env: &Environment, facts: &Facts) -> Vec<Declared<Spec>> {
        env.jobs.values().map(|job| spec::declare(env, facts, job)).collect()
    }

    fn references(_: &str, spec: &Spec) -> Vec<Address> {
        let image = std::iter::once(spec.container.image.as_str());
        container::needs(&spec.service_account, spec.container.secret_ids(), image)
    }

    fn field_policy(pointer: &str) -> FieldPolicy {
        if pointer == "/failed_release" { FieldPolicy::Unseen } else { FieldPolicy::InPlace }
    }

    fn consequences(_: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        // The record of its executions goes with a job.
        if after.is_none() { vec![Consequence::Irreversible] } else { Vec::new() }
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        documents::observe::<Self, Job>(gcp, scope, live::spec).await
    }

    fn contribute(observed: &[Observed<Spec>], facts: &mut Facts) {
        let images = observed.iter().map(|job| (job.name.clone(), job.spec.container.image.clone()));
        facts.job_images.extend(images);
        let failed =
            observed.iter().filter_map(|job| Some((job.name.clone(), job.spec.failed_release.clone()?)));
        facts.failed_migrations.extend(failed);
    }

    async fn create(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let created = gcp.create_object::<Job>(&place.project, &place.region, name, first(spec, place)).await;
        ready(gcp, &full_name(&place.project, &place.region, name), created).await
    }

    async fn update(gcp: &Gcp, place: &Place, edit: Edit<'_, Spec>) -> Result<Settle, GcpError> {
        let full_name = full_name(&place.project, &place.region, edit.name);
        let doc = edited(gcp, place, &full_name, &edit).await?;
        let patched = gcp.patch_object::<Job>(&full_name, doc, &[]).await;
        ready(gcp, &full_name, patched).await
    }

    async fn delete(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let full_name = full_name(&place.project, &place.region, name);
        let is_planned = |live: &_| Ok(live::spec(live)?.with_executions_of(spec) == *spec);
        documents::delete::<Job>(gcp, place, &full_name, is_planned).await?;
        Ok(Settle::Done)
    }

    async fn check_create(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<(), GcpError> {
        gcp.check_create_object::<Job>(&place.project, &place.region, name, first(spec, place)).await
    }

    async fn check_update(gcp: &Gcp, place: &Place, edit: Edit<'_, Spec>) -> Result<(), GcpError> {
        let full_name = full_name(&place.project, &place.region, edit.name);
        let doc = edited(gcp, place, &full_name, &edit).await?;
        gcp.check_patch_object::<Job>(&full_name, doc, &[]).await
    }
}

/// What a new job is created from.
fn first(spec: &Spec, place: &Place) -> Value {
    let mut doc = json!({});
    write::manage(&mut doc, spec, place);
    doc
}

/// The job as it is to be, made from the live one, which has to be what the edit was made from.
async fn edited(gcp: &Gcp, place: &Place, full_name: &str, edit: &Edit<'_, Spec>) -> Result<Value, GcpError> {
    let mut doc = gcp.object::<Job>(full_name).await?.ok_or_else(|| GcpError::moved(full_name))?;
    if live::spec(&doc)?.with_executions_of(edit.before) != *edit.before {
        return Err(GcpError::moved(full_name));
    }
    write::manage(&mut doc, edit.after, place);
    if edit.before.readiness != edit.after.readiness {
        write::look_again(&mut doc);
    }
    Ok(doc)
}

/// Waits until a job that was written is ready. One that failed only because access that was granted a moment ago is
/// not known yet is written again: Cloud Run looks at a job when it changes.
async fn ready(gcp: &Gcp, full_name: &str, mut outcome: Result<Value, GcpError>) -> Result<Settle, GcpError> {
    let mut patience = gcp.patience();
    loop {
        match outcome {
            Err(error) if gcp.access_is_on_its_way(&error) => {
                patience.pause("granted access to take effect").await?;
            }
            other => return other.map(|_| Settle::Done),
        }
        let mut doc = gcp.object::<Job>(full_name).await?.ok_or_else(|| GcpError::moved(full_name))?;
        write::look_again(&mut doc);
        outcome = gcp.patch_object::<Job>(full_name, doc, &[]).await;
    }
}
