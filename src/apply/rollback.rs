//! Rollback: which revisions of a service could serve again, which one served before, and the way back to it.
//!
//! Everything that is decided is decided from two reads: the service, which keeps the records of its releases, and its
//! revisions.

use serde_json::Value;

use super::rollout::{Seen, seen};
use crate::gcp::{ErrorKind, Gcp, GcpError, Service};
use crate::resource::kinds::images;
use crate::resource::kinds::run_service::releases::{self, Outcome, Record};
use crate::resource::kinds::run_service::revisions::{Revision, short};
use crate::resource::kinds::run_service::{self};

/// A revision that a rollback could lead to, or has to pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub revision: Revision,
    /// Of its release, where there is one.
    pub record: Option<Record>,
    pub fitness: Fitness,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// It gets requests, so many of a hundred.
    Serving(u64),
    /// It could: it is ready, or was and was retired.
    Good,
    /// Why it could not.
    Bad(String),
}

/// Why nothing is rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub message: String,
    pub hints: Vec<String>,
}

/// All revisions, those that got the traffic last first: in the order of their releases, then by age.
pub fn candidates(service: &Value, revisions: &[Value]) -> Vec<Candidate> {
    let records = releases::read(service);
    let percent = |name: &str| {
        let targets = service["trafficStatuses"].as_array().into_iter().flatten();
        let of = targets.filter(|target| {
            let named = short(&target["revision"]);
            let revision = if named.is_empty() { short(&service["latestReadyRevision"]) } else { named };
            revision == name
        });
        of.filter_map(|target| target["percent"].as_u64()).sum::<u64>()
    };
    let mut found: Vec<_> = revisions
        .iter()
        .map(|doc| {
            let revision = Revision::read(doc);
            let record = records.iter().find(|record| record.revision == revision.name).cloned();
            let fitness = match (percent(&revision.name), seen(Some(doc))) {
                (percent @ 1.., _) => Fitness::Serving(percent),
                (_, Seen::Ready) => Fitness::Good,
                (_, Seen::Failed(why)) => Fitness::Bad(why),
                _ => Fitness::Bad("it is not ready".to_owned()),
            };
            Candidate { revision, record, fitness }
        })
        .collect();
    let age = |one: &Candidate, other: &Candidate| other.revision.created.cmp(&one.revision.created);
    found.sort_by(age);
    // A release may make a revision that exists serve again, and its record is then the newest.
    let place = |candidate: &Candidate| {
        records.iter().position(|record| record.revision == candidate.revision.name).unwrap_or(usize::MAX)
    };
    found.sort_by_key(place);
    found
}

/// The candidate that a rollback leads to: `wanted`, or the one that served before those that serve now.
///
/// # Errors
/// Why there is none, with those that could be named.
pub fn choose<'a>(candidates: &'a [Candidate], wanted: Option<&str>) -> Result<&'a Candidate, Refusal> {
    let chosen = match wanted {
        Some(name) => candidates
            .iter()
            .find(|candidate| candidate.revision.name == name)
            .ok_or_else(|| refused(candidates, &format!("there is no revision {name}")))?,
        None => before(candidates)?,
    };
    let name = &chosen.revision.name;
    match &chosen.fitness {
        Fitness::Serving(100) => Err(refused(candidates, &format!("{name} serves already"))),
        Fitness::Good | Fitness::Serving(_) => Ok(chosen),
        Fitness::Bad(why) => Err(refused(candidates, &format!("{name} cannot serve: {why}"))),
    }
}

fn before(candidates: &[Candidate]) -> Result<&Candidate, Refusal> {
    let serves = |candidate: &Candidate| matches!(candidate.fitness, Fitness::Serving(_));
    let Some(at) = candidates.iter().position(serves) else {
        return Err(refused(candidates, "nothing serves, so that nothing served before"));
    };
    // Somebody, or a release that failed, has gone back already: the one before that is hardly what is meant.
    let undone = candidates.iter().take(at).find(|candidate| {
        let outcome = candidate.record.as_ref().map(|record| &record.outcome);
        matches!(outcome, Some(Outcome::RolledBack | Outcome::Failed))
    });
    if let (Some(undone), Some(now)) = (undone, candidates.get(at)) {
        let (undone, now) = (&undone.revision.name, &now.revision.name);
        return Err(refused(candidates, &format!("{undone} was taken back already, and {now} serves")));
    }
    let fits = |candidate: &&Candidate| {
        candidate.fitness == Fitness::Good
            && candidate.record.as_ref().is_none_or(|record| record.outcome == Outcome::Serving)
    };
    let earlier = candidates.iter().skip(at + 1).find(fits);
    earlier.ok_or_else(|| refused(candidates, "no revision served before that could serve again"))
}

fn refused(candidates: &[Candidate], why: &str) -> Refusal {
    let good: Vec<_> = candidates
        .iter()
        .filter(|candidate| candidate.fitness == Fitness::Good)
        .map(|candidate| candidate.revision.name.as_str())
        .collect();
    let hint = match good.as_slice() {
        [] => "no revision could serve instead; release one: deployer apply".to_owned(),
        good => format!("these could serve: {}; name one with --to", good.join(", ")),
    };
    Refusal { message: why.to_owned(), hints: vec![hint] }
}

/// Names of the jobs that ran as migrations after the release of `to`, up to what serves now; nothing is known of
/// releases without a record.
pub fn migrations_between(candidates: &[Candidate], to: &str) -> Vec<String> {
    distinct(since(candidates, to).flat_map(|record| &record.migrations))
}

/// Those of them after which `to` cannot serve, as it was when they ran: the YAML may say something else by now.
pub fn breaking_between(candidates: &[Candidate], to: &str) -> Vec<String> {
    distinct(since(candidates, to).flat_map(|record| &record.breaking))
}

/// The records of what was released after `to`.
fn since<'a>(candidates: &'a [Candidate], to: &'a str) -> impl Iterator<Item = &'a Record> {
    let later = candidates.iter().take_while(move |candidate| candidate.revision.name != to);
    later.filter_map(|candidate| candidate.record.as_ref())
}

fn distinct<'a>(jobs: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for job in jobs {
        if !found.contains(job) {
            found.push(job.clone());
        }
    }
    found
}

/// Whether the image of a revision is where it was pulled from. Images of other projects, and those without a digest, are
/// not looked for; nor are those that may not be seen.
pub async fn image_is_there(gcp: &Gcp, project: &str, image: &str) -> Result<bool, GcpError> {
    let Some(found) = images::locate(image).filter(|found| found.project == project) else { return Ok(true) };
    match gcp.has_image(&found.repository, &found.package, &found.digest).await {
        Err(error)
            if matches!(error.kind, ErrorKind::PermissionDenied | ErrorKind::ServiceDisabled { .. }) =>
        {
            Ok(true)
        }
        other => other,
    }
}

/// Sends all traffic to `to` and records it, in one write over the service as it was read; then waits until the traffic
/// is there.
///
/// # Errors
/// [`ErrorKind::Conflict`] when somebody else changed the service meanwhile.
pub async fn shift(gcp: &Gcp, live: &Value, candidates: &[Candidate], to: &str) -> Result<(), GcpError> {
    let name = live["name"].as_str().unwrap_or_default();
    let mut doc = run_service::with_all_traffic(live, to);
    record(&mut doc, candidates, to, &format!("by {} at {}", gcp.actor(), gcp.timestamp()));
    run_service::rewrite(gcp, live, &doc).await?;
    let mut patience = gcp.patience();
    loop {
        let doc = gcp.object::<Service>(name).await?.ok_or_else(|| GcpError::moved(name))?;
        if run_service::serves_only(&doc, to) {
            return Ok(());
        }
        patience.pause(&format!("all traffic to reach {to}")).await?;
    }
}

/// Says of what served that it was rolled back, and of `to` that it serves. What served without a record gets one, so
/// that the next plan knows why the traffic is where it is.
fn record(doc: &mut Value, candidates: &[Candidate], to: &str, reason: &str) {
    let serving = candidates.iter().filter(|candidate| matches!(candidate.fitness, Fitness::Serving(_)));
    for from in serving.filter(|candidate| candidate.revision.name != to) {
        if from.record.is_none() {
            releases::put(doc, unrecorded(&from.revision));
        }
        releases::conclude(doc, &from.revision.name, &Outcome::RolledBack, Some(reason));
    }
    releases::conclude(doc, to, &Outcome::Serving, None);
}

fn unrecorded(revision: &Revision) -> Record {
    let digest = revision.image.split_once('@').map_or(revision.image.as_str(), |(_, digest)| digest);
    Record {
        revision: revision.name.clone(),
        digest: digest.to_owned(),
        sha: None,
        who: "unknown".to_owned(),
        when: revision.created.clone(),
        outcome: Outcome::Serving,
        reason: None,
        migrations: Vec::new(),
        breaking: Vec::new(),
        more: serde_json::Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn revision(name: &str, minute: u32, ready: &str) -> Value {
        let mut condition = json!({"type": "Ready", "state": ready, "message": "m"});
        if ready == "RETIRED" {
            condition = json!({"type": "Ready", "state": "CONDITION_FAILED", "revisionReason": "RETIRED"});
        }
        json!({"name": format!("x/revisions/{name}"), "createTime": format!("2026-11-21T10:{minute:02}:00Z"),
            "containers": [{"image": format!("i@sha256:{name}")}], "conditions": [condition]})
    }

    const READY: &str = "CONDITION_SUCCEEDED";

    fn record_of(name: &str, outcome: &str, migrations: &[&str]) -> Value {
        json!({"revision": name, "digest": "d", "who": "w", "when": "t", "outcome": outcome, "migrations": migrations})
    }

    /// A service with four revisions, of which `serving` gets all requests.
    fn found(serving: &str, records: &[Value]) -> (Value, Vec<Candidate>) {
        let service = json!({
            "annotations": {releases::ANNOTATION: Value::from(records.to_vec()).to_string()},
            "trafficStatuses": [{"revision": serving, "percent": 100}, {"revision": "api-4", "tag": "candidate"}],
        });
        let revisions = [
            revision("api-1", 1, "RETIRED"),
            revision("api-3", 3, READY),
            revision("api-2", 2, READY),
            revision("api-4", 4, "CONDITION_FAILED"),
        ];
        let candidates = candidates(&service, &revisions);
        (service, candidates)
    }

    fn chosen(serving: &str, records: &[Value], wanted: Option<&str>) -> Result<String, Refusal> {
        choose(&found(serving, records).1, wanted).map(|candidate| candidate.revision.name.clone())
    }

    #[test]
    fn the_default_is_what_served_before_by_the_records_and_without_them_by_age() {
        assert_eq!(chosen("api-3", &[], None).unwrap(), "api-2");
        // api-2 never served.
        let records = [
            record_of("api-3", "serving", &[]),
            record_of("api-2", "failed", &[]),
            record_of("api-1", "serving", &[]),
        ];
        assert_eq!(chosen("api-3", &records, None).unwrap(), "api-1");
        // api-1 was released again after api-2.
        let records = [
            record_of("api-3", "serving", &[]),
            record_of("api-1", "serving", &[]),
            record_of("api-2", "serving", &[]),
        ];
        assert_eq!(chosen("api-3", &records, None).unwrap(), "api-1");
    }

    #[test]
    fn a_second_rollback_has_to_say_where_it_leads() {
        let records = [
            record_of("api-3", "rolled_back", &[]),
            record_of("api-2", "serving", &[]),
            record_of("api-1", "serving", &[]),
        ];
        let refusal = chosen("api-2", &records, None).unwrap_err();
        assert_eq!(refusal.message, "api-3 was taken back already, and api-2 serves");
        assert_eq!(refusal.hints, ["these could serve: api-3, api-1; name one with --to"]);
        assert_eq!(chosen("api-2", &records, Some("api-1")).unwrap(), "api-1");
        assert_eq!(chosen("api-2", &records, Some("api-3")).unwrap(), "api-3", "and forward again");
    }

    #[test]
    fn what_cannot_serve_is_refused_and_what_can_is_listed() {
        let missing = chosen("api-3", &[], Some("api-9")).unwrap_err();
        assert_eq!(missing.message, "there is no revision api-9");
        assert_eq!(missing.hints, ["these could serve: api-2, api-1; name one with --to"]);
        let failed = chosen("api-3", &[], Some("api-4")).unwrap_err();
        assert!(failed.message.starts_with("api-4 cannot serve: "), "{failed:?}");
        assert_eq!(chosen("api-3", &[], Some("api-3")).unwrap_err().message, "api-3 serves already");
        assert_eq!(choose(&[], None).unwrap_err().message, "nothing serves, so that nothing served before");
    }

    #[test]
    fn migrations_of_all_releases_after_the_target_lie_between() {
        let records = [
            record_of("api-3", "serving", &["shared", "each"]),
            record_of("api-2", "serving", &["shared"]),
            record_of("api-1", "serving", &["first"]),
        ];
        let (_, candidates) = found("api-3", &records);
        assert_eq!(migrations_between(&candidates, "api-1"), ["shared", "each"]);
        assert_eq!(migrations_between(&candidates, "api-3"), Vec::<String>::new());
    }

    #[test]
    fn what_a_migration_broke_is_on_record() {
        let mut second = record_of("api-2", "serving", &["shared", "each"]);
        second["breaking"] = json!(["each"]);
        let records =
            [record_of("api-3", "serving", &["shared"]), second, record_of("api-1", "serving", &[])];
        let (_, candidates) = found("api-3", &records);
        assert_eq!(breaking_between(&candidates, "api-1"), ["each"]);
        assert_eq!(breaking_between(&candidates, "api-2"), Vec::<String>::new());
    }

    #[test]
    fn both_ends_of_a_rollback_are_on_record() {
        let (mut service, candidates) = found("api-3", &[record_of("api-2", "serving", &[])]);
        record(&mut service, &candidates, "api-2", "by ada at noon");
        let from = releases::of(&service, "api-3").unwrap();
        assert_eq!((from.outcome, from.reason.as_deref()), (Outcome::RolledBack, Some("by ada at noon")));
        assert_eq!(from.digest, "sha256:api-3");
        assert_eq!(releases::of(&service, "api-2").unwrap().outcome, Outcome::Serving);
    }
}
