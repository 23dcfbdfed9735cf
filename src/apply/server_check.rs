//! `plan --server-check`: Google checks what apply would send, and does none of it.

use futures::stream::{self, StreamExt};

use crate::gcp::{Gcp, GcpError};
use crate::plan::{Action, Change, Plan};
use crate::resource::Edit;
use crate::resource::erased::AnyKind;
use crate::resource::registry::Registry;

/// Checks that run side by side.
const CONCURRENCY: usize = 16;

/// What became of the check of one change.
#[derive(Debug)]
pub enum Verdict {
    Accepted,
    Refused(GcpError),
    /// It cannot be checked before others have been applied.
    TooEarly,
}

/// Sends every change that can be checked, in the order of the plan. What Google checks for no kind of object
/// (`Kind::SERVER_CHECK`), and what waits for a person, is left out.
pub async fn check<'a>(registry: &Registry, gcp: &Gcp, plan: &'a Plan) -> Vec<(&'a Change, Verdict)> {
    let checked = plan.changes.iter().filter_map(|change| {
        let kind = registry.kind(&change.address.kind).filter(|kind| kind.server_check())?;
        let checkable = matches!(change.action, Action::Create | Action::Update) && change.blocked.is_none();
        checkable.then_some((kind, change))
    });
    let verdicts =
        checked.map(|(kind, change)| async move { (change, verdict(kind, gcp, plan, change).await) });
    stream::iter(verdicts.collect::<Vec<_>>()).buffered(CONCURRENCY).collect().await
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
