//! What changed moments ago, and the patience that follows from it.
//!
//! Google needs minutes until an enabled API answers and a grant holds everywhere. Only errors that such a
//! change explains are waited out: one of our own, or an API that Service Usage lists as enabled although it
//! still refuses. All others are reported at once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::client::Gcp;
use super::error::{ErrorKind, GcpError};

/// How long a change of ours may take to be known everywhere. IAM typically needs two minutes and can need
/// more than seven (Google's "access change propagation").
const PATIENCE: Duration = Duration::from_mins(10);

/// What was changed by this process, and what Service Usage says.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    apis: Mutex<BTreeSet<String>>,
    granted: Mutex<Option<Duration>>,
}

impl Gcp {
    pub(crate) fn note_enabled(&self, apis: impl IntoIterator<Item = String>) {
        self.fresh().apis.lock().unwrap_or_else(PoisonError::into_inner).extend(apis);
    }

    pub(crate) fn note_granted(&self) {
        *self.fresh().granted.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.now());
    }

    /// Whether the error is what is to be expected after something that this process just did.
    pub(crate) fn will_pass(&self, error: &GcpError) -> bool {
        match &error.kind {
            ErrorKind::ServiceDisabled { api } => {
                self.fresh().apis.lock().unwrap_or_else(PoisonError::into_inner).contains(api)
            }
            _ => false,
        }
    }

    /// Whether this process granted something moments ago, so that a refusal may only mean that it is not known yet.
    pub fn granted_lately(&self) -> bool {
        let granted = *self.fresh().granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.is_some_and(|at| self.now().saturating_sub(at) < PATIENCE)
    }

    /// Whether a revision failed for want of access that this process granted moments ago. Cloud Run never
    /// tries such a revision again: it takes another one.
    pub fn access_is_on_its_way(&self, error: &GcpError) -> bool {
        let ErrorKind::RevisionFailed { reason } = &error.kind else { return false };
        // The same reason stands for a version that does not exist, which no waiting mends.
        reason == "SECRETS_ACCESS_CHECK_FAILED"
            && error.message.contains("Permission denied")
            && self.granted_lately()
    }
}
