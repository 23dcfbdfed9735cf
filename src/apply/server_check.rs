//! `plan --server-check`: Google checks what apply would send, and does none of it.

use futures::stream::{self, StreamExt};

use crate::gcp::{Gcp, GcpError};
use crate::plan::{Action, Change, Plan, Refusal};
use crate::resource::erased::AnyKind;
use crate::resource::registry::Registry;
use crate::resource::{Address, Edit};

/// Checks that run side by side.
const CONCURRENCY: usize = 16;

/// What became of the check of a plan, in the order of the plan.
#[derive(Debug, Default)]
pub struct Checked {
    /// How many changes Google would make.
    pub accepted: usize,
    /// What cannot be checked before others have been applied.
    pub early: Vec<Address>,
    pub refusals: Vec<Refusal>,
}

impl Checked {
    fn add(&mut self, change: &Change, verdict: Verdict) {
        match verdict {
            Verdict::Accepted => self.accepted += 1,
            Verdict::TooEarly => self.early.push(change.address.clone()),
            Verdict::Refused(error) => self.refusals.push(refusal(change, &error)),
        }
    }
}

/// What became of the check of one change.
enum Verdict {
    Accepted,
    Refused(GcpError),
    /// It cannot be checked before others have been applied.
    TooEarly,
}

/// Sends every change that can be checked, in the order of the plan. What Google checks for no kind of object
/// (`Kind::SERVER_CHECK`), and what waits for a person, is left out.
pub async fn check(registry: &Registry, gcp: &Gcp, plan: &Plan) -> Checked {
    let checked = plan.changes.iter().filter_map(|change| {
        let kind = registry.kind(&change.address.kind).filter(|kind| kind.server_check())?;
        let checkable = matches!(change.action, Action::Create | Action::Update) && change.blocked.is_none();
        checkable.then_some((kind, change))
    });
    let verdicts =
        checked.map(|(kind, change)| async move { (change, verdict(kind, gcp, plan, change).await) });
    let verdicts: Vec<_> = stream::iter(verdicts.collect::<Vec<_>>()).buffered(CONCURRENCY).collect().await;
    let mut checked = Checked::default();
    for (change, verdict) in verdicts {
        checked.add(change, verdict);
    }
    checked
}

async fn verdict(kind: &dyn AnyKind, gcp: &Gcp, plan: &Plan, change: &Change) -> Verdict {
    if !change.needs.is_empty() {
        return Verdict::TooEarly;
    }
    let place = &plan.place_of(change);
    let name = change.address.name.as_str();
    let sent = match (&change.before, &change.after) {
        (None, Some(after)) => kind.check_create(gcp, place, name, after).await,
        (Some(before), Some(after)) => {
            let edit = Edit { name, before, after, fields: &change.pointers() };
            kind.check_update(gcp, place, edit).await
        }
        (_, None) => Ok(()),
    };
    sent.map_or_else(Verdict::Refused, |()| Verdict::Accepted)
}

fn refusal(change: &Change, error: &GcpError) -> Refusal {
    let source = change.source.as_ref();
    let hint = match (error.hints.as_slice(), source) {
        ([], Some(source)) => format!("change `{}` in the YAML", source.path),
        (hints, _) => hints.join("; "),
    };
    let location = source.and_then(|source| source.location.clone());
    Refusal { address: change.address.clone(), why: error.to_string(), hint, location }
}
