//! The I/O of a rollout: looks, asks, waits, shifts and records as `rollout` says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::Failure;
use super::rollout::{Asked, Gates, Seen, Step, TRIES, begin, next, seen};
use super::smoke::{Versions, healthy, passed};
use crate::apply::execution::{Said, migrate};
use crate::gcp::{Gcp, GcpError, LogSource, Visit, Visited};
use crate::plan::{Health, Release, Smoke};
use crate::resource::Place;
use crate::resource::kinds::run_service::{self, releases};

/// Seconds that an answer about health may take.
const HEALTH_LIMIT: Duration = Duration::from_secs(10);

/// Between two tries of a check elsewhere.
const PAUSE: Duration = Duration::from_secs(1);

/// Lines of its log that tell how a candidate failed.
const LINES: usize = 10;

/// A release on its way.
pub(super) struct Rollout<'a> {
    pub(super) gcp: &'a Gcp,
    pub(super) place: &'a Place,
    pub(super) release: &'a Release,
    /// Cloud Run's name of the service.
    pub(super) service: &'a str,
    /// Short name of the revision.
    pub(super) revision: &'a str,
}

/// Where the traffic is while a revision is judged, and where it goes back to.
pub(super) struct Held {
    /// Nothing when the revision is the first one of its service that could serve.
    targets: Vec<Value>,
    /// The revision has all traffic already: as the first one, or since a run was cut off, or since somebody sent it there.
    serves: bool,
}

impl Held {
    fn is_first(&self) -> bool {
        self.targets.is_empty()
    }
}

/// What is asked, and when.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    /// When the revision is there.
    First,
    /// Once everybody may call the service, which the plan lets them do after the revision was made.
    Opened,
}

/// How it ended.
pub(super) enum Ended {
    /// It serves; what nobody judged is told.
    Served(Vec<String>),
    /// It serves, and is judged once everybody may call it.
    Unjudged(Held, Vec<String>),
    /// It does not, and what served before does.
    Returned(Failure),
    /// It does not, and there was nothing before it.
    Refused(Failure),
}

/// Runs the migrations of a release, in their order; what one of them says is told as what is waited for, and the last of
/// it again when it fails.
pub(super) async fn migrations(gcp: &Gcp, place: &Place, release: &Release) -> Result<(), Failure> {
    for migration in &release.migrations {
        let job = &migration.job.name;
        gcp.tell(&format!("migration {job}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (told, name, heard) = (gcp.clone(), job.clone(), Arc::clone(&lines));
        let said: Said = Arc::new(move |entry| {
            told.tell(&format!("{name}: {}", entry.text));
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(entry.text.clone());
        });
        migrate(gcp, place, job, &migration.digest, false, &said).await.map_err(|error| {
            let mut log = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
            log.drain(..log.len().saturating_sub(LINES));
            Failure { log, ..Failure::from(error) }
        })?;
    }
    Ok(())
}

impl Rollout<'_> {
    /// Takes the revision into service once it has passed what the release asks of it now.
    pub(super) async fn run(&self) -> Result<Ended, GcpError> {
        let held = self.held().await?;
        let nowhere = Visitor { door: None, url: String::new(), notes: Vec::new() };
        Ok(match self.walk(Time::First, Step::Judge, nowhere, &held).await? {
            Ended::Served(notes) if self.release.after_opening => Ended::Unjudged(held, notes),
            ended => ended,
        })
    }

    async fn held(&self) -> Result<Held, GcpError> {
        let before = run_service::document(self.gcp, self.place, self.service).await?;
        let targets = run_service::serving(&before);
        if !targets.iter().all(|target| target["revision"] == self.revision) {
            return Ok(Held { targets, serves: false });
        }
        let good = |record: &releases::Record| {
            record.revision != self.revision && record.outcome == releases::Outcome::Serving
        };
        let Some(record) = releases::read(&before).into_iter().find(good) else {
            return Ok(Held { targets: Vec::new(), serves: true });
        };
        let fit = self.seen(&record.revision).await? == Seen::Ready;
        let targets = if fit { run_service::all_traffic_to(&record.revision) } else { Value::Null };
        Ok(Held { targets: targets.as_array().cloned().unwrap_or_default(), serves: true })
    }

    /// Asks what could not be asked before everybody may call the service. `held` is what served before it was released.
    pub(super) async fn opened(&self, held: &Held) -> Result<Ended, GcpError> {
        let doc = run_service::document(self.gcp, self.place, self.service).await?;
        let visitor = Visitor { door: None, url: url(&doc), notes: Vec::new() };
        self.walk(Time::Opened, begin(self.gates(Time::Opened).0), visitor, held).await
    }

    /// Goes from step to step until nothing follows.
    async fn walk(
        &self,
        time: Time,
        mut step: Step,
        mut visitor: Visitor,
        held: &Held,
    ) -> Result<Ended, GcpError> {
        let (gates, mut notes) = self.gates(time);
        let mut wait = self.gcp.patience();
        let (mut ready, mut shifted) = (time == Time::Opened, None);
        let mut candidate = String::new();
        let why = loop {
            let saw = match &step {
                Step::Judge => {
                    let saw = self.seen(self.revision).await?;
                    match saw {
                        Seen::Pending => wait.pause(&format!("{} to be ready", self.revision)).await?,
                        Seen::Ready => {
                            ready = true;
                            wait = self.gcp.patience();
                            if gates.health.is_some() || gates.checks > 0 {
                                let doc = self.at_its_own_url(held).await?;
                                visitor = self.visitor(&doc, held.serves).await?;
                                candidate.clone_from(&visitor.url);
                            }
                        }
                        _ => {}
                    }
                    saw
                }
                Step::Probe { good, left } => self.probed(&visitor, gates, (*good, *left)).await,
                Step::Check(index) => self.checked(&visitor, *index).await,
                Step::Shift => {
                    shifted = Some(self.shift(time).await?);
                    Seen::Shifted
                }
                Step::Verify { .. } => {
                    let doc = match shifted.take() {
                        Some(doc) => doc,
                        None => run_service::document(self.gcp, self.place, self.service).await?,
                    };
                    if run_service::serves_only(&doc, self.revision) {
                        visitor.url = url(&doc);
                        Seen::Ready
                    } else {
                        wait.pause(&format!("all traffic to reach {}", self.revision)).await?;
                        Seen::Pending
                    }
                }
                Step::Confirm { left } => self.probed(&visitor, gates, (0, *left)).await,
                Step::Elsewhere { index, left } => self.checked_elsewhere(*index, *left).await,
                Step::Done => {
                    notes.extend(visitor.notes);
                    return Ok(Ended::Served(notes));
                }
                Step::Refuse(why) | Step::Return(why) => break why.clone(),
            };
            if saw == Seen::StandIn && visitor.notes.is_empty() {
                visitor.notes.push(NOT_JUDGED_STAND_IN.to_owned());
            }
            step = next(gates, &step, saw);
        };
        self.fail(&why, held, ready).await?;
        Ok(self.ended(&why, held, time, &candidate).await)
    }

    /// What has to be passed now as far as it can be asked; what of it cannot ever.
    fn gates(&self, time: Time) -> (Gates, Vec<String>) {
        let release = self.release;
        let health = release.health.as_ref();
        let health = health
            .map(|health| Asked { attempts: health.attempts.max(1), successes: health.successes.max(1) });
        let mut gates = Gates { health, checks: release.own_checks().count(), elsewhere: 0 };
        let mut notes = Vec::new();
        if (time == Time::Opened) != release.waits_for_the_public() {
            gates = Gates::default();
        } else if gates != Gates::default()
            && let Some(why) = self.out_of_reach(time)
        {
            gates = Gates::default();
            notes.push(format!("health and smoke of {} were not judged: {why}", self.service));
        }
        if (time == Time::Opened) == release.after_opening {
            gates.elsewhere = self.elsewhere().count();
            let unknown = release.checks_elsewhere().filter(|smoke| !self.is_known(smoke));
            notes.extend(unknown.map(|smoke| {
                let url = smoke.url.as_deref().unwrap_or_default();
                format!("smoke.{} was not judged: the sandbox does not know {url}", smoke.name)
            }));
            let compares = release.versions.is_empty().then_some(&release.smoke);
            let asked = |smoke: &&Smoke| smoke.url.is_some() || self.out_of_reach(time).is_none();
            let compares = compares.into_iter().flatten().filter(|smoke| smoke.version.is_some());
            let compares = compares.filter(asked);
            notes.extend(compares.map(|smoke| {
                let why = "no tag of the image tells which version it is";
                format!("the version that smoke.{} asks for was not compared: {why}", smoke.name)
            }));
        }
        (gates, notes)
    }

    /// Why nobody can ask the service itself.
    fn out_of_reach(&self, time: Time) -> Option<String> {
        let Release { unreachable, open, caller, .. } = self.release;
        if unreachable.is_some() {
            return unreachable.clone();
        }
        let nobody =
            "nobody may call it yet, and there is no account to call it with (`github.identity.deploy`)";
        (time == Time::First && !open && caller.is_none()).then(|| nobody.to_owned())
    }

    /// The checks elsewhere that can be made.
    fn elsewhere(&self) -> impl Iterator<Item = &Smoke> {
        self.release.checks_elsewhere().filter(|smoke| self.is_known(smoke))
    }

    /// A sandbox knows the hosts of its own services and no others.
    fn is_known(&self, smoke: &Smoke) -> bool {
        smoke.url.as_deref().is_some_and(|url| self.gcp.knows(url))
    }

    /// What a revision (short name) says about itself.
    async fn seen(&self, revision: &str) -> Result<Seen, GcpError> {
        let service = run_service::full_name(&self.place.project, &self.place.region, self.service);
        let name = format!("{service}/revisions/{revision}");
        Ok(seen(self.gcp.revision(&name).await?.as_ref()))
    }

    /// The service with the candidate behind its tag. One that has all traffic already is asked where that goes.
    async fn at_its_own_url(&self, held: &Held) -> Result<Value, GcpError> {
        if held.serves {
            return run_service::document(self.gcp, self.place, self.service).await;
        }
        run_service::amend(self.gcp, self.place, self.service, |doc| {
            if tagged(doc, self.revision).is_none() {
                doc["traffic"] =
                    run_service::with_candidate(held.targets.clone(), self.service, self.revision);
            }
            Ok(())
        })
        .await
    }

    /// Where and as whom the candidate is asked.
    async fn visitor(&self, doc: &Value, serves: bool) -> Result<Visitor, GcpError> {
        let url = if serves { Some(url(doc)) } else { tagged(doc, self.revision).map(str::to_owned) };
        let url = url.filter(|url| !url.is_empty()).ok_or_else(|| {
            GcpError::unreadable(format!("the URL of {}", self.revision), "Cloud Run does not tell it")
        })?;
        let door = match &self.release.caller {
            Some(caller) if !self.release.open => Some(self.token(caller, &self::url(doc)).await?),
            _ => None,
        };
        Ok(Visitor { door, url, notes: Vec::new() })
    }

    async fn token(&self, caller: &str, audience: &str) -> Result<String, GcpError> {
        let mut patience = self.gcp.patience();
        loop {
            match self.gcp.identity_token(caller, audience).await {
                Err(error) if error.is_refusal() && self.gcp.granted_lately() => {
                    patience.pause("granted access to take effect").await?;
                }
                other => return other,
            }
        }
    }

    /// One request for its health, after a pause unless it is the first one.
    async fn probed(&self, visitor: &Visitor, gates: Gates, (good, left): (u32, u32)) -> Seen {
        let Some(health) = &self.release.health else { return Seen::Good };
        if gates.health.is_some_and(|asked| left < asked.attempts) {
            self.gcp.rest_a_while(Duration::from_secs(health.interval.into())).await;
        }
        let Health { path, successes, .. } = health;
        self.gcp.tell(&format!("health of {}: GET {path} ({good} of {successes})", self.revision));
        let (headers, limit) = (BTreeMap::new(), HEALTH_LIMIT);
        let visit = visitor.visit("GET", path, &headers, None, limit);
        self.verdict(&visit, visitor, |answer| healthy(path, answer)).await
    }

    async fn checked(&self, visitor: &Visitor, index: usize) -> Seen {
        let Some(smoke) = self.release.own_checks().nth(index) else { return Seen::Good };
        self.asked(visitor, smoke).await
    }

    /// A check at a URL that is not the service's: nobody's token is sent there.
    async fn checked_elsewhere(&self, index: usize, left: u32) -> Seen {
        let Some(smoke) = self.elsewhere().nth(index) else { return Seen::Good };
        if left < TRIES {
            self.gcp.rest_a_while(PAUSE).await;
        }
        let url = smoke.url.clone().unwrap_or_default();
        self.asked(&Visitor { door: None, url, notes: Vec::new() }, smoke).await
    }

    async fn asked(&self, visitor: &Visitor, smoke: &Smoke) -> Seen {
        self.gcp.tell(&format!("smoke of {}: {}", self.revision, smoke.name));
        let limit = Duration::from_secs(smoke.max_time.into());
        let visit = visitor.visit(&smoke.method, &smoke.path, &smoke.headers, smoke.body.as_deref(), limit);
        let versions = Versions { tags: &self.release.versions, revision: self.revision };
        self.verdict(&visit, visitor, |answer| passed(smoke, versions, answer)).await
    }

    /// Asks, and judges the answer. While the right to call is on its way, a refusal is none of the candidate's.
    async fn verdict(
        &self,
        visit: &Visit<'_>,
        visitor: &Visitor,
        judge: impl Fn(Result<Visited, String>) -> Result<(), String>,
    ) -> Seen {
        let mut patience = self.gcp.patience();
        loop {
            let answer = self.gcp.visit(visit).await;
            let refused = answer.as_ref().is_ok_and(|answer| matches!(answer.status, 401 | 403));
            if refused
                && (visitor.door.is_some() || self.release.after_opening)
                && self.gcp.granted_lately()
                && patience.pause("granted access to take effect").await.is_ok()
            {
                continue;
            }
            if answer.as_ref().is_ok_and(|answer| answer.stand_in) {
                return Seen::StandIn;
            }
            return match judge(answer) {
                Ok(()) => Seen::Good,
                Err(why) => Seen::Bad(why),
            };
        }
    }

    /// Sends the traffic to it. It is on record as what serves once nothing is left to ask: a run that is cut off before
    /// that is gone on with.
    async fn shift(&self, time: Time) -> Result<Value, GcpError> {
        self.gcp.tell(&format!("traffic to {}", self.revision));
        let serves = time == Time::Opened || !self.release.after_opening;
        run_service::shift_traffic(self.gcp, self.place, self.service, self.revision, |doc| {
            releases::amend(doc, self.revision, |record| {
                if serves {
                    record.outcome = releases::Outcome::Serving;
                    record.reason = None;
                }
                self.describe(record);
            });
        })
        .await
    }

    /// What was released, and what ran before it.
    fn describe(&self, record: &mut releases::Record) {
        let Release { sha, migrations, .. } = self.release;
        record.sha.clone_from(sha);
        record.migrations = migrations.iter().map(|migration| migration.job.name.clone()).collect();
        let breaking = migrations.iter().filter(|migration| !migration.backward_compatible);
        record.breaking = breaking.map(|migration| migration.job.name.clone()).collect();
    }

    /// Gives the traffic back to whom it was taken from, and records why. The candidate stays behind its tag, where it can
    /// be looked at; one that never became ready answers nobody, and its tag would stand in the way of every later write.
    async fn fail(&self, why: &str, held: &Held, ready: bool) -> Result<(), GcpError> {
        self.gcp.tell(&format!("{} is not released", self.revision));
        run_service::amend(self.gcp, self.place, self.service, |doc| {
            if !held.is_first() && run_service::newest(doc) == Some(self.revision) {
                let held = held.targets.clone();
                doc["traffic"] = if ready {
                    run_service::with_candidate(held, self.service, self.revision)
                } else {
                    held.into()
                };
            }
            // The migrations ran, whatever came of the rest.
            releases::amend(doc, self.revision, |record| self.describe(record));
            releases::conclude(doc, self.revision, &releases::Outcome::Failed, Some(why));
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn ended(&self, why: &str, held: &Held, time: Time, candidate: &str) -> Ended {
        let served: Vec<_> = held.targets.iter().filter_map(|target| target["revision"].as_str()).collect();
        let stays = if held.is_first() {
            "it is the first one of its service, so that there is nothing to go back to".to_owned()
        } else if held.serves {
            format!("{} serves again", served.join(" and "))
        } else {
            format!("{} serves as before", served.join(" and "))
        };
        let mut hints: Vec<String> = way_out(why).map(str::to_owned).into_iter().collect();
        if !held.serves && !candidate.is_empty() {
            hints.push(format!("it can be looked at without traffic: {}", self.gcp.place_of(candidate, "/")));
        }
        let why = why.trim_end_matches('.');
        let message = match time {
            Time::First => format!("{} is not released: {why}; {stays}", self.revision),
            Time::Opened => format!(
                "everybody may call {}, and {} is not well: {why}; {stays}",
                self.service, self.revision
            ),
        };
        if time == Time::Opened && held.is_first() {
            hints.push("mend it and apply again: that revision is asked before it gets traffic".to_owned());
            hints.push(
                "or let nobody in until then: take its public access out of the YAML, and apply".to_owned(),
            );
        }
        let failure = Failure { message, hints, log: self.last_lines().await };
        if held.is_first() { Ended::Refused(failure) } else { Ended::Returned(failure) }
    }

    /// What the candidate said last. That nobody may read it makes the report poorer and no other.
    async fn last_lines(&self) -> Vec<String> {
        let (service, revision) = (self.service.to_owned(), self.revision.to_owned());
        let source = LogSource::Revision { service, revision };
        let entries = self.gcp.last_entries(&self.place.project, &self.place.region, &source, LINES).await;
        let lines = entries.unwrap_or_default();
        lines.iter().flat_map(|entry| entry.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

const NOT_JUDGED_STAND_IN: &str =
    "health and smoke were not judged: the sandbox cannot run the image, and a stand-in answered";

/// How a candidate is asked.
struct Visitor {
    /// Identity token of the caller, where not everybody may call.
    door: Option<String>,
    url: String,
    notes: Vec<String>,
}

impl Visitor {
    fn visit<'a>(
        &'a self,
        method: &'a str,
        path: &'a str,
        headers: &'a BTreeMap<String, String>,
        body: Option<&'a str>,
        limit: Duration,
    ) -> Visit<'a> {
        Visit { url: &self.url, method, path, headers, body, token: self.door.as_deref(), limit }
    }
}

fn url(doc: &Value) -> String {
    doc["uri"].as_str().unwrap_or_default().trim_end_matches('/').to_owned()
}

/// The URL of the revision behind its tag, once traffic and its status agree on it.
fn tagged<'a>(doc: &'a Value, revision: &str) -> Option<&'a str> {
    let of = |targets: &'a Value| {
        let targets = targets.as_array().map(Vec::as_slice).unwrap_or_default().iter();
        let mut tagged = targets.filter(|target| target["tag"] == run_service::TAG);
        tagged.find(|target| {
            target["revision"].as_str().and_then(|name| name.rsplit('/').next()) == Some(revision)
        })
    };
    of(&doc["traffic"])?;
    of(&doc["trafficStatuses"])?["uri"].as_str()
}

/// What to do about one of Cloud Run's reasons.
fn way_out(why: &str) -> Option<&'static str> {
    let ways = [
        (
            "HEALTH_CHECK_CONTAINER_ERROR",
            "the container has to listen on the port in PORT and pass its startup probe: see `port`, `startup_probe` and its last lines",
        ),
        ("CONTAINER_MISSING", "push the image, or name one that is there with `image`, --image or --tag"),
        (
            "CONTAINER_PERMISSION_DENIED",
            "let Cloud Run's service agent read the repository (roles/artifactregistry.reader)",
        ),
        (
            "SECRETS_ACCESS_CHECK_FAILED",
            "see which secret has no value, or may not be read: deployer secrets list ENV",
        ),
    ];
    ways.into_iter().find(|(reason, _)| why.contains(reason)).map(|(_, way)| way)
}
