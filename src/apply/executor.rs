//! Walks the waves of a plan with bounded concurrency and reports what became of each change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::stream::{self, StreamExt};

use super::drive::{self, Ended, Held, Rollout};
use super::{Event, Interrupt, Observer, Outcome, Report, Skipped};
use crate::gcp::{Gcp, GcpError};
use crate::plan::{Action, Change, Note, Plan, Release};
use crate::resource::erased::AnyKind;
use crate::resource::registry::Registry;
use crate::resource::{Address, Edit, Settle};

/// Changes of one wave that run side by side. Requests have a limit and a rate of their own.
const CONCURRENCY: usize = 16;

/// Applies `plan`. After a failure the changes that run are finished and no new wave is started.
pub async fn apply(
    registry: &Registry,
    gcp: &Gcp,
    plan: &Plan,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Report {
    let (served, unjudged) = (Mutex::default(), Mutex::default());
    let run = Run { registry, gcp, plan, observer, interrupt, served, unjudged };
    let mut outcomes: BTreeMap<Address, Outcome> = BTreeMap::new();
    let mut stopped = false;
    for wave in plan.changes.chunk_by(|a, b| a.wave == b.wave) {
        let verdicts: Vec<_> =
            wave.iter().map(|change| (change, run.skip(change, &outcomes, stopped))).collect();
        let mut ready = Vec::new();
        for (change, verdict) in verdicts {
            match verdict {
                Some(skipped) => {
                    outcomes.insert(change.address.clone(), Outcome::Skipped(skipped));
                }
                None => ready.push(change),
            }
        }
        let mut running =
            stream::iter(ready.iter().map(|change| run.change(change))).buffer_unordered(CONCURRENCY);
        loop {
            tokio::select! {
                next = running.next() => match next {
                    Some((address, outcome)) => {
                        stopped |= matches!(outcome, Outcome::Failed(_) | Outcome::RolledBack(_));
                        outcomes.insert(address, outcome);
                    }
                    None => break,
                },
                () = interrupt.insisted() => break,
            }
        }
        drop(running);
        for change in ready {
            outcomes.entry(change.address.clone()).or_insert(Outcome::Unknown);
        }
    }
    let in_order = plan.changes.iter().filter_map(|change| outcomes.remove_entry(&change.address)).collect();
    let Served { notes, revisions } = run.served.into_inner().unwrap_or_else(PoisonError::into_inner);
    Report { outcomes: in_order, interrupted: interrupt.requested(), notes, revisions }
}

/// What releases that passed leave to be told.
#[derive(Default)]
struct Served {
    notes: Vec<Note>,
    revisions: BTreeMap<Address, String>,
}

struct Run<'a> {
    registry: &'a Registry,
    gcp: &'a Gcp,
    plan: &'a Plan,
    observer: Arc<dyn Observer>,
    interrupt: &'a Interrupt,
    served: Mutex<Served>,
    /// Revisions that are judged once everybody may call them, by service.
    unjudged: Mutex<BTreeMap<Address, Unjudged>>,
}

struct Unjudged {
    service: String,
    revision: String,
    held: Held,
}

impl Run<'_> {
    /// Why a change must not be started.
    fn skip(&self, change: &Change, outcomes: &BTreeMap<Address, Outcome>, stopped: bool) -> Option<Skipped> {
        if let Some(why) = &change.blocked {
            return Some(Skipped::Blocked(why.clone()));
        }
        let applied = |need: &&Address| matches!(outcomes.get(need), Some(Outcome::Applied));
        if let Some(need) = change.needs.iter().find(|need| !applied(need)) {
            return Some(Skipped::Needs(need.clone()));
        }
        if self.interrupt.requested() {
            return Some(Skipped::Interrupted);
        }
        stopped.then_some(Skipped::Stopped)
    }

    async fn change(&self, change: &Change) -> (Address, Outcome) {
        if self.interrupt.requested() {
            return (change.address.clone(), Outcome::Skipped(Skipped::Interrupted));
        }
        let started = Instant::now();
        self.observer.on(Event::Started(change));
        let outcome = match self.carry_out(change).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(error.into()),
        };
        self.observer.on(Event::Finished(change, &outcome, started.elapsed()));
        (change.address.clone(), outcome)
    }

    async fn carry_out(&self, change: &Change) -> Result<Outcome, GcpError> {
        let kind = self.registry.kind(&change.address.kind).ok_or_else(|| {
            GcpError::unreadable(change.address.to_string(), "this version does not know its kind".to_owned())
        })?;
        let gcp = &self.gcp_that_tells(change);
        let release = self.plan.release(&change.address);
        if let Some(release) = release
            && let Err(failure) = drive::migrations(gcp, &self.plan.place, release).await
        {
            return Ok(Outcome::Failed(failure));
        }
        let Settle::Rollout { service, revision } = self.effect(gcp, kind, change).await? else {
            return self.opened(gcp, change).await;
        };
        let plain = Release::plain(change.address.clone());
        let release = release.unwrap_or(&plain);
        let (place, name, short) = (&self.plan.place, &service, &revision);
        let rollout = Rollout { gcp, place, release, service: name, revision: short };
        let ended = match rollout.run().await? {
            Ended::Unjudged(held, notes) => {
                let unjudged = Unjudged { service: service.clone(), revision: revision.clone(), held };
                let mut all = self.unjudged.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(change.address.clone(), unjudged);
                Ended::Served(notes)
            }
            ended => ended,
        };
        Ok(self.outcome(ended, &release.service, &revision))
    }

    /// The end of a change that may have let everybody call a service: what waited for that is judged now.
    async fn opened(&self, gcp: &Gcp, change: &Change) -> Result<Outcome, GcpError> {
        let opens =
            |release: &&Release| release.after_opening && release.opened_by.as_ref() == Some(&change.address);
        let Some(release) = self.plan.releases.iter().find(opens) else { return Ok(Outcome::Applied) };
        let unjudged = self.unjudged.lock().unwrap_or_else(PoisonError::into_inner).remove(&release.service);
        let Some(Unjudged { service, revision, held }) = unjudged else { return Ok(Outcome::Applied) };
        let (place, service, revision) = (&self.plan.place, &service, &revision);
        let ended = Rollout { gcp, place, release, service, revision }.opened(&held).await?;
        Ok(self.outcome(ended, &release.service, revision))
    }

    /// Notes are told of the service that was released.
    fn outcome(&self, ended: Ended, service: &Address, revision: &str) -> Outcome {
        match ended {
            Ended::Returned(failure) => {
                // One that was judged late was told as serving before.
                let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
                served.revisions.remove(service);
                Outcome::RolledBack(failure)
            }
            Ended::Refused(failure) => Outcome::Failed(failure),
            Ended::Served(notes) | Ended::Unjudged(_, notes) => {
                let notes = notes.into_iter().map(|text| Note { address: service.clone(), text });
                let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
                served.notes.extend(notes);
                served.revisions.insert(service.clone(), revision.to_owned());
                Outcome::Applied
            }
        }
    }

    /// What the client waits for while it works on a change is told of that change.
    fn gcp_that_tells(&self, change: &Change) -> Gcp {
        let (observer, change) = (Arc::clone(&self.observer), change.clone());
        self.gcp.telling(Arc::new(move |text: &str| observer.on(Event::Waiting(&change, text))))
    }

    async fn effect(&self, gcp: &Gcp, kind: &dyn AnyKind, change: &Change) -> Result<Settle, GcpError> {
        let place = &self.plan.place_of(change);
        let name = change.address.name.as_str();
        match (change.action, &change.before, &change.after) {
            (Action::Create, _, Some(after)) => kind.create(gcp, place, name, after).await,
            (Action::Update | Action::Restore, Some(before), Some(after)) => {
                let fields = change.pointers();
                let edit = Edit { name, before, after, fields: &fields };
                match change.action {
                    Action::Restore => kind.restore(gcp, place, edit).await,
                    _ => kind.update(gcp, place, edit).await,
                }
            }
            (Action::Replace, Some(before), Some(after)) => {
                kind.delete(gcp, place, name, before).await?;
                kind.create(gcp, place, name, after).await
            }
            (Action::Delete, Some(before), _) => kind.delete(gcp, place, name, before).await,
            _ => Err(GcpError::unreadable(
                change.address.to_string(),
                "the plan lacks the state before or after the change".to_owned(),
            )),
        }
    }
}
