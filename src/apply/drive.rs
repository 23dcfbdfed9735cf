//! The I/O of a rollout: looks, waits and shifts as `rollout` says.

use crate::apply::rollout::{Seen, Step, next, seen};
use crate::gcp::{Gcp, GcpError};
use crate::resource::Place;
use crate::resource::kinds::run_service;

/// Takes `revision` into service once it is ready.
pub(super) async fn roll_out(
    gcp: &Gcp,
    place: &Place,
    service: &str,
    revision: &str,
) -> Result<(), GcpError> {
    let service_name = run_service::full_name(&place.project, &place.region, service);
    let full_name = format!("{service_name}/revisions/{revision}");
    let mut wait = gcp.patience();
    let mut step = Step::Judge;
    loop {
        step = match step {
            Step::Judge => match next(seen(gcp.revision(&full_name).await?.as_ref())) {
                Step::Judge => {
                    wait.pause(&format!("{revision} to be ready")).await?;
                    Step::Judge
                }
                decided => decided,
            },
            Step::Shift => {
                gcp.tell(&format!("traffic to {revision}"));
                run_service::shift_traffic(gcp, place, service, revision).await?;
                next(Seen::Shifted)
            }
            Step::Done => return Ok(()),
            Step::Refuse(why) => return Err(GcpError::revision_failed(&full_name, &why)),
        };
    }
}
