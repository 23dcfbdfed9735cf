//! `deployer status ENV`: what serves, where, since when, and whether that is what the YAML and the service ask for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::session::{Reach, Session};
use super::{CliError, Exit, Global};
use crate::apply::rollout::{Seen, seen};
use crate::config::host;
use crate::config::model::Service as Declared;
use crate::gcp::{ErrorKind, Gcp, GcpError, Service};
use crate::resource::Place;
use crate::resource::kinds::run_service::revisions::{Revision, short};
use crate::resource::kinds::run_service::{self, releases};
use crate::view::{Drift, Out, Released, ServiceStatus, Serving, StatusAnswer, Trouble, error_line};

/// Show what serves, and what is off
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer status staging            URLs, revisions with their share of the traffic, images, ages
  deployer status staging --check    the same; exit 2 when something is off, for a job that tells somebody
  deployer status staging --output json
Off is: a service that is missing or not ready, traffic that is not where it was asked to be,
a difference from the YAML, and a sandbox that does not run.")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// End with exit code 2 when something is off
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let session = Session::open(&args.environment, global, &args.reach, out).await?;
    let looked = look(&session).await;
    session.close().await;
    let answer = looked?;
    out.status_of(&answer, Timestamp::now());
    Ok(if args.check && answer.is_off() { Exit::Pending } else { Exit::Fine })
}

async fn look(session: &Session) -> Result<StatusAnswer, CliError> {
    let (env, gcp) = (&session.env, &session.connection.gcp);
    let place = session.place().await?;
    let live = live(gcp, &place);
    let drift = async { Ok::<_, CliError>(session.plan_drift(None).await) };
    let ((services, revisions), drift) =
        futures::try_join!(async { live.await.map_err(CliError::from) }, drift)?;
    let services = env.services.iter().map(|(key, declared)| {
        let doc = services.iter().find(|doc| short(&doc["name"]) == declared.name);
        status(key, declared, doc, &revisions, &place)
    });
    Ok(StatusAnswer {
        environment: env.name.clone(),
        target: session.connection.target.clone(),
        not_running: session.on_own_sandbox().then(|| session.not_running()),
        sandbox: session.connection.elsewhere,
        services: services.collect(),
        drift: match drift {
            Ok(plan) => Drift::Known(plan.changes.len()),
            Err(error) => Drift::Unknown(error_line(&error)),
        },
    })
}

/// All services of the region and their revisions, in one round trip. There are none where Cloud Run is not enabled.
async fn live(gcp: &Gcp, place: &Place) -> Result<(Vec<Value>, BTreeMap<String, Value>), GcpError> {
    // `-` stands for all services (`revisions.list`).
    let all = run_service::full_name(&place.project, &place.region, "-");
    let services = gcp.list_objects::<Service>(&place.project, &place.region);
    let (services, revisions) = match futures::try_join!(services, gcp.revisions(&all)) {
        Err(error) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => (Vec::new(), Vec::new()),
        found => found?,
    };
    let named = revisions.into_iter().map(|doc| (short(&doc["name"]).to_owned(), doc));
    Ok((services, named.collect()))
}

fn status(
    key: &str,
    declared: &Declared,
    doc: Option<&Value>,
    revisions: &BTreeMap<String, Value>,
    place: &Place,
) -> ServiceStatus {
    let mut status = ServiceStatus {
        service: key.to_owned(),
        name: declared.name.clone(),
        url: host::url(&declared.name, place.project_number, &place.region),
        serving: Vec::new(),
        troubles: Vec::new(),
        released: None,
    };
    let Some(doc) = doc else {
        status.troubles.push(Trouble::Missing);
        return status;
    };
    if host::label(&declared.name, place.project_number).len() > host::MAX_LABEL {
        doc["uri"].as_str().unwrap_or_default().clone_into(&mut status.url);
    }
    status.serving = serving(doc, revisions);
    status.troubles = troubles(doc, &status.serving);
    status.released = releases::read(doc).into_iter().next().map(|record| Released {
        revision: record.revision,
        outcome: record.outcome.word().to_owned(),
        who: record.who,
        when: record.when,
        reason: record.reason,
    });
    status
}

/// The targets that get requests, and those that have a tag, as they are in effect.
fn serving(doc: &Value, revisions: &BTreeMap<String, Value>) -> Vec<Serving> {
    let targets = doc["trafficStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let newest = short(&doc["latestReadyRevision"]);
    let serving = targets.iter().map(|target| {
        let named = short(&target["revision"]);
        let revision = if named.is_empty() { newest } else { named };
        let found = revisions.get(revision);
        let Revision { image, created, .. } = Revision::read(found.unwrap_or(&Value::Null));
        Serving {
            revision: revision.to_owned(),
            percent: target["percent"].as_u64().unwrap_or(0),
            tag: target["tag"].as_str().filter(|tag| !tag.is_empty()).map(str::to_owned),
            image,
            sha: releases::of(doc, revision).and_then(|record| record.sha),
            created,
            ready: seen(found) == Seen::Ready,
        }
    });
    serving.collect()
}

fn troubles(doc: &Value, serving: &[Serving]) -> Vec<Trouble> {
    let mut found = Vec::new();
    let conditions = doc["conditions"].as_array().into_iter().flatten().chain([&doc["terminalCondition"]]);
    for condition in conditions.filter(|condition| condition["state"] == "CONDITION_FAILED") {
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        let reason = ["revisionReason", "reason"].iter().find_map(|key| condition[key].as_str());
        let trouble = Trouble::Condition {
            kind: text("type"),
            reason: reason.unwrap_or_default().to_owned(),
            message: text("message"),
        };
        if !found.contains(&trouble) {
            found.push(trouble);
        }
    }
    if doc["reconciling"] == true {
        found.push(Trouble::Reconciling);
    }
    let (desired, effective) = (shares(&doc["traffic"], doc), shares(&doc["trafficStatuses"], doc));
    if desired != effective {
        found.push(Trouble::Traffic { desired: told(&desired), effective: told(&effective) });
    }
    let unfit = serving.iter().filter(|serving| serving.percent > 0 && !serving.ready);
    found.extend(unfit.map(|serving| Trouble::Unready { revision: serving.revision.clone() }));
    found
}

/// Percent by revision. What names none is the newest one that is ready.
fn shares(targets: &Value, doc: &Value) -> BTreeMap<String, u64> {
    let mut shares = BTreeMap::new();
    for target in targets.as_array().into_iter().flatten() {
        let named = short(&target["revision"]);
        let revision = if named.is_empty() { short(&doc["latestReadyRevision"]) } else { named };
        let percent = target["percent"].as_u64().unwrap_or(0);
        if percent > 0 {
            *shares.entry(revision.to_owned()).or_insert(0) += percent;
        }
    }
    shares
}

fn told(shares: &BTreeMap<String, u64>) -> String {
    let shares: Vec<_> = shares.iter().map(|(revision, percent)| format!("{percent}% {revision}")).collect();
    if shares.is_empty() { "nothing".to_owned() } else { shares.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(desired: &Value, effective: &Value) -> Value {
        json!({"latestReadyRevision": "x/revisions/api-2", "traffic": desired, "trafficStatuses": effective,
            "terminalCondition": {"type": "Ready", "state": "CONDITION_SUCCEEDED"}})
    }

    #[test]
    fn traffic_that_is_not_where_it_was_asked_to_be_is_a_trouble() {
        let one = json!([{"revision": "api-1", "percent": 100}]);
        let two = json!([{"revision": "api-2", "percent": 100}, {"revision": "api-1", "tag": "candidate"}]);
        assert_eq!(troubles(&service(&one, &one), &[]), []);
        let traffic = Trouble::Traffic { desired: "100% api-2".into(), effective: "100% api-1".into() };
        assert_eq!(troubles(&service(&two, &one), &[]), [traffic]);
        let latest = json!([{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]);
        assert_eq!(troubles(&service(&latest, &two), &[]), [], "the latest one is meant");
    }

    #[test]
    fn a_failed_condition_is_told_once() {
        let failed = json!({"type": "Ready", "state": "CONDITION_FAILED", "reason": "SECRETS_ACCESS_CHECK_FAILED", "message": "m"});
        let none = json!([]);
        let mut doc = service(&none, &none);
        doc["conditions"] = json!([failed]);
        doc["terminalCondition"] = failed;
        let reason = "SECRETS_ACCESS_CHECK_FAILED".to_owned();
        let trouble = Trouble::Condition { kind: "Ready".into(), reason, message: "m".into() };
        assert_eq!(troubles(&doc, &[]), [trouble]);
    }

    #[test]
    fn a_revision_that_serves_and_is_not_ready_is_a_trouble() {
        let one = json!([{"revision": "api-1", "percent": 100}]);
        let doc = service(&one, &one);
        let failed = json!({"conditions": [{"type": "Ready", "state": "CONDITION_FAILED"}]});
        let revisions = BTreeMap::from([("api-1".to_owned(), failed)]);
        let serving = serving(&doc, &revisions);
        assert_eq!(troubles(&doc, &serving), [Trouble::Unready { revision: "api-1".into() }]);
    }
}
