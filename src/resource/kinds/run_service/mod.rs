//! Cloud Run services (run v2): shape, image and traffic. Who may call one is `run_grant`.

mod live;
mod metrics;
pub mod release;
pub mod releases;
pub mod revisions;
mod spec;
#[cfg(test)]
mod tests;
mod v2;
mod write;

use serde_json::{Value, json};

pub use spec::Spec;
pub use write::{all_traffic_to, serving, with_candidate};

use releases::{Outcome, Record};

use super::container::{self, documents};
use super::{project_grant, secret, secret_grant, service_account};
use crate::config::{Environment, host};
use crate::gcp::{ErrorKind, Gcp, GcpError, Service};
use crate::resource::{
    Address, Answers, Consequence, Declared, Edit, Facts, FieldPolicy, Kind, Layer, Observed, Place,
    RunningImage, Scope, Settle,
};

pub struct RunService;

/// Tag of the revision that is being released: it is reached at a URL of its own and gets no traffic by that.
pub const TAG: &str = "candidate";

/// Most characters of a service's name and a tag together (Cloud Run, "Setting tags").
pub const SERVICE_AND_TAG: usize = 46;

/// How often a write of a release is made anew because somebody else wrote in between.
const AMENDS: usize = 5;

/// `projects/P/locations/R/services/NAME`.
pub fn full_name(project: &str, region: &str, service: &str) -> String {
    format!("projects/{project}/locations/{region}/services/{service}")
}

/// Fields of the service itself; all others belong to the template, so changing them makes a revision.
const SERVICE_FIELDS: [&str; 4] = ["min_instances", "ingress", "access", "labels"];

impl Kind for RunService {
    const NAME: &'static str = "run_service";
    const API: &'static str = "run.googleapis.com";
    const LAYER: Layer = Layer::Release;
    const RESTARTS: bool = true;
    const SERVER_CHECK: bool = true;
    const REGIONAL: bool = true;
    const VIEWER: &'static str = "roles/run.viewer";
    type Spec = Spec;

    fn declare(env: &Environment, facts: &Facts) -> Vec<Declared<Spec>> {
        env.services.iter().map(|(key, service)| spec::declare(env, facts, key, service)).collect()
    }

    fn references(_: &str, spec: &Spec) -> Vec<Address> {
        let mut needs = container::needs(&spec.service_account, spec.secret_ids(), spec.images());
        needs.extend(spec.migrations.iter().cloned());
        needs
    }

    fn answers(place: &Place, name: &str) -> Answers {
        if host::label(name, place.project_number).len() > host::MAX_LABEL {
            return Answers::Unpredictable;
        }
        Answers::At(host::url(name, place.project_number, &place.region))
    }

    /// The spec shows the newest template. As long as an older revision serves, that one's account and secrets
    /// are needed too.
    fn uses_unseen(spec: &Spec) -> &'static [&'static str] {
        const KINDS: [&str; 4] = [
            secret_grant::SecretGrant::NAME,
            secret::Secret::NAME,
            service_account::ServiceAccount::NAME,
            project_grant::ProjectGrant::NAME,
        ];
        if spec.traffic == spec::NEWEST_SERVES { &[] } else { &KINDS }
    }

    fn field_policy(pointer: &str) -> FieldPolicy {
        let field = pointer.trim_start_matches('/').split('/').next().unwrap_or_default();
        match field {
            "traffic" | "last_release" => FieldPolicy::Traffic,
            "image_replaces" => FieldPolicy::Record,
            "last_trouble" | "gated" | "migrations" => FieldPolicy::Unseen,
            "v2" if !pointer.starts_with("/v2/template.") => FieldPolicy::InPlace,
            field if SERVICE_FIELDS.contains(&field) => FieldPolicy::InPlace,
            _ => FieldPolicy::Revision,
        }
    }

    fn consequences(before: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        let open = |spec: Option<&Spec>| spec.is_some_and(|spec| spec.access.is_some());
        let mut found = Vec::new();
        match (open(before), open(after)) {
            (false, true) => found.push(Consequence::AccessWidened),
            (true, false) => found.push(Consequence::AccessNarrowed),
            _ => {}
        }
        match (before, after) {
            (None, Some(_)) => found.push(Consequence::NewRevision),
            (Some(_), None) => found.push(Consequence::Irreversible),
            _ => {}
        }
        found
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        documents::observe::<Self, Service>(gcp, scope, live::spec).await
    }

    fn contribute(observed: &[Observed<Spec>], facts: &mut Facts) {
        facts.images.extend(observed.iter().map(|service| (service.name.clone(), runs(&service.spec))));
        facts.troubled.extend(
            observed
                .iter()
                .filter_map(|service| Some((service.name.clone(), service.spec.last_trouble.clone()?))),
        );
    }

    async fn create(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let mut doc = first(name, spec, place);
        let revision = revision(&doc).to_owned();
        let mut record = begun(gcp, &revision, spec);
        if !spec.gated {
            // Where nothing more is asked it serves as soon as it is ready: that saves a write.
            record.outcome = Outcome::Serving;
        }
        releases::put(&mut doc, record);
        let created = gcp.create_object::<Service>(&place.project, &place.region, name, doc).await;
        let full_name = full_name(&place.project, &place.region, name);
        Ok(rollout(name, ready(gcp, &full_name, name, &revision, created).await?))
    }

    async fn update(gcp: &Gcp, place: &Place, edit: Edit<'_, Spec>) -> Result<Settle, GcpError> {
        let full_name = full_name(&place.project, &place.region, edit.name);
        let (live, doc) = edited(gcp, place, &full_name, &edit).await?;
        if doc == live {
            return Ok(rollout(edit.name, newest(&live).unwrap_or_default().to_owned())); // only the traffic is to move
        }
        let (body, mask) = write::patch(&live, &doc);
        let patched = gcp.patch_object::<Service>(&full_name, body, &mask).await;
        if touches(&edit, FieldPolicy::Revision) {
            return Ok(rollout(edit.name, ready(gcp, &full_name, edit.name, revision(&doc), patched).await?));
        }
        let newest = newest(&patched?).unwrap_or_default().to_owned();
        if touches(&edit, FieldPolicy::Traffic) { Ok(rollout(edit.name, newest)) } else { Ok(Settle::Done) }
    }

    async fn delete(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let full_name = full_name(&place.project, &place.region, name);
        // How its last release ended says nothing about what is deleted.
        let is_planned = |live: &_| Ok(live::spec(live)?.with_record_of(spec) == *spec);
        documents::delete::<Service>(gcp, place, &full_name, is_planned).await?;
        Ok(Settle::Done)
    }

    async fn check_create(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<(), GcpError> {
        gcp.check_create_object::<Service>(&place.project, &place.region, name, first(name, spec, place))
            .await
    }

    async fn check_update(gcp: &Gcp, place: &Place, edit: Edit<'_, Spec>) -> Result<(), GcpError> {
        let full_name = full_name(&place.project, &place.region, edit.name);
        let (live, doc) = edited(gcp, place, &full_name, &edit).await?;
        let (body, mask) = write::patch(&live, &doc);
        if mask.is_empty() {
            Ok(())
        } else {
            gcp.check_patch_object::<Service>(&full_name, body, &mask).await
        }
    }
}

/// What a new service is created from.
fn first(name: &str, spec: &Spec, place: &Place) -> Value {
    let mut doc = json!({});
    write::manage(&mut doc, spec, place, true);
    write::name_revision(&mut doc, name, "");
    doc["traffic"] = write::all_traffic_to(revision(&doc));
    doc
}

/// The service as it is, which has to be what the edit was made from, and as it is to be.
async fn edited(
    gcp: &Gcp,
    place: &Place,
    full_name: &str,
    edit: &Edit<'_, Spec>,
) -> Result<(Value, Value), GcpError> {
    let live = gcp.object::<Service>(full_name).await?.ok_or_else(|| GcpError::moved(full_name))?;
    if live::spec(&live)? != *edit.before {
        return Err(GcpError::moved(full_name));
    }
    let revises = touches(edit, FieldPolicy::Revision);
    let mut doc = live.clone();
    write::manage(&mut doc, edit.after, place, revises);
    if revises {
        write::name_revision(&mut doc, edit.name, live["generation"].as_str().unwrap_or_default());
        let revision = revision(&doc).to_owned();
        doc["traffic"] = write::hold_traffic(&live, edit.name, &revision);
        releases::put(&mut doc, begun(gcp, &revision, edit.after));
    }
    Ok((live, doc))
}

fn touches(edit: &Edit<'_, Spec>, policy: FieldPolicy) -> bool {
    edit.fields.iter().any(|pointer| RunService::field_policy(pointer) == policy)
}

/// The record of a release that begins.
fn begun(gcp: &Gcp, revision: &str, spec: &Spec) -> Record {
    let image = &spec.main.common.image;
    Record {
        revision: revision.to_owned(),
        digest: image.split_once('@').map_or(image.as_str(), |(_, digest)| digest).to_owned(),
        sha: None,
        who: gcp.actor().to_owned(),
        when: gcp.timestamp(),
        outcome: Outcome::Begun,
        reason: None,
        migrations: Vec::new(),
        breaking: Vec::new(),
        more: serde_json::Map::new(),
    }
}

/// The name of the newest revision once Cloud Run has made up its mind about it, whatever it is: the rollout judges. A
/// revision that failed only because access that was granted a moment ago is not known yet is tried again under another
/// name: Cloud Run never retries it.
async fn ready(
    gcp: &Gcp,
    full_name: &str,
    service: &str,
    first: &str,
    mut outcome: Result<Value, GcpError>,
) -> Result<String, GcpError> {
    let mut patience = gcp.patience();
    let mut revision = first.to_owned();
    for attempt in 2_u32.. {
        match outcome {
            Ok(_) => return Ok(revision),
            Err(error) if gcp.access_is_on_its_way(&error) => {
                patience.pause("granted access to take effect").await?;
            }
            Err(error) if matches!(error.kind, ErrorKind::RevisionFailed { .. }) => return Ok(revision),
            Err(error) => return Err(error),
        }
        let live = gcp.object::<Service>(full_name).await?.ok_or_else(|| GcpError::moved(full_name))?;
        let mut doc = live.clone();
        let next = write::renamed(first, attempt);
        doc["template"]["revision"] = next.as_str().into();
        doc["traffic"] = write::hold_traffic(&live, service, &next);
        releases::rename(&mut doc, &revision, &next);
        let (body, mask) = write::patch(&live, &doc);
        outcome = gcp.patch_object::<Service>(full_name, body, &mask).await;
        revision = next;
    }
    Ok(revision)
}

/// The image that a service runs; `None` where it does not exist, or Cloud Run is not enabled.
///
/// # Errors
/// Where that cannot be read.
pub async fn running_image(
    gcp: &Gcp,
    place: &Place,
    service: &str,
) -> Result<Option<RunningImage>, GcpError> {
    let full_name = full_name(&place.project, &place.region, service);
    match gcp.object::<Service>(&full_name).await {
        Err(error) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => Ok(None),
        found => found?.map(|doc| live::spec(&doc).map(|spec| runs(&spec))).transpose(),
    }
}

fn runs(spec: &Spec) -> RunningImage {
    RunningImage { image: spec.main.common.image.clone(), instead_of: spec.image_replaces.clone() }
}

/// The document of a service; an error when there is none.
pub async fn document(gcp: &Gcp, place: &Place, service: &str) -> Result<Value, GcpError> {
    let full_name = full_name(&place.project, &place.region, service);
    gcp.object::<Service>(&full_name).await?.ok_or_else(|| GcpError::moved(&full_name))
}

/// Changes traffic and records of a service, which make no revision: reads it, lets `change` say what is to be, and writes
/// that unless it is so already. Starts anew where somebody else wrote in between. Answers the service as it is then.
///
/// # Errors
/// Those of `change`, and of Google. That the newest revision is not ready is none: it does not concern the write.
pub async fn amend(
    gcp: &Gcp,
    place: &Place,
    service: &str,
    change: impl Fn(&mut Value) -> Result<(), GcpError> + Send + Sync,
) -> Result<Value, GcpError> {
    let full_name = full_name(&place.project, &place.region, service);
    for again in 1.. {
        let live = document(gcp, place, service).await?;
        let mut doc = live.clone();
        change(&mut doc)?;
        let (body, mask) = write::patch(&live, &doc);
        if mask.is_empty() {
            return Ok(live);
        }
        match gcp.patch_object::<Service>(&full_name, body, &mask).await {
            Err(error) if error.kind == ErrorKind::Conflict && again < AMENDS => {}
            Err(error) if matches!(error.kind, ErrorKind::RevisionFailed { .. }) => break,
            other => return other,
        }
    }
    document(gcp, place, service).await
}

/// The service as it would be with all traffic at one of its revisions, by name.
pub fn with_all_traffic(live: &Value, revision: &str) -> Value {
    let mut doc = live.clone();
    doc["traffic"] = write::all_traffic_to(revision);
    doc
}

/// Writes what differs between a service as it was read and as it is to be; traffic and annotations make no revision. That
/// the newest revision is not ready does not concern it.
///
/// # Errors
/// [`ErrorKind::Conflict`] when it changed since it was read.
pub async fn rewrite(gcp: &Gcp, live: &Value, doc: &Value) -> Result<(), GcpError> {
    let name = live["name"].as_str().unwrap_or_default();
    let (body, mask) = write::patch(live, doc);
    match gcp.patch_object::<Service>(name, body, &mask).await {
        Err(error) if matches!(error.kind, ErrorKind::RevisionFailed { .. }) => Ok(()),
        other => other.map(drop),
    }
}

/// Whether the service sends everything to one of its revisions, and is asked to.
pub fn serves_only(doc: &Value, revision: &str) -> bool {
    live::serves_only(doc, revision)
}

/// Sends all traffic of a service to one of its revisions, by name, and says in its record that it serves.
///
/// # Errors
/// When there is a newer revision: another run made it meanwhile, and taking the traffic back from it would undo that run.
pub async fn shift_traffic(
    gcp: &Gcp,
    place: &Place,
    service: &str,
    revision: &str,
    record: impl Fn(&mut Value) + Send + Sync,
) -> Result<Value, GcpError> {
    amend(gcp, place, service, |doc| {
        if newest(doc) != Some(revision) {
            return Err(GcpError::moved(doc["name"].as_str().unwrap_or(service)));
        }
        if !live::serves_only(doc, revision) {
            doc["traffic"] = write::all_traffic_to(revision);
        }
        record(doc);
        Ok(())
    })
    .await
}

fn rollout(service: &str, revision: String) -> Settle {
    Settle::Rollout { service: service.to_owned(), revision }
}

/// Short name of the newest revision.
pub fn newest(doc: &Value) -> Option<&str> {
    Some(revisions::short(&doc["latestCreatedRevision"])).filter(|name| !name.is_empty())
}

fn revision(doc: &Value) -> &str {
    doc["template"]["revision"].as_str().unwrap_or_default()
}
