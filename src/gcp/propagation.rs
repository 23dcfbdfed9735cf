//! What this process changed moments ago, and the patience that follows from it.
//!
//! Google needs minutes until an enabled API answers and a grant holds everywhere. Only errors that such a
//! change of our own explains are waited out; all others are reported at once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::client::Gcp;
use super::error::{ErrorKind, GcpError};
use super::readiness;

/// How long a change of ours may take to be known everywhere. IAM typically needs two minutes and can need
/// more than seven (Google's "access change propagation").
const PATIENCE: Duration = Duration::from_mins(10);

/// What was changed by this process.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    apis: Mutex<BTreeSet<String>>,
    granted: Mutex<Option<Duration>>,
}

/// Pauses that grow, up to a deadline.
#[derive(Debug)]
pub struct Patience<'a> {
    gcp: &'a Gcp,
    started: Duration,
    next: Duration,
}

impl Patience<'_> {
    /// Waits a little; an error once it has been going on for too long.
    pub async fn pause(&mut self, what_for: &str) -> Result<(), GcpError> {
        let waited = self.gcp.now().saturating_sub(self.started);
        if waited >= PATIENCE {
            let minutes = PATIENCE.as_secs() / 60;
            return Err(GcpError::new(
                format!("wait for {what_for}"),
                ErrorKind::Timeout,
                format!("it did not happen within {minutes} minutes; it may still do so"),
            )
            .with_hint("look at what became of it with `deployer plan`, then apply again"));
        }
        tracing::info!(target: "deployer::wait", seconds = waited.as_secs(), "waiting for {what_for}");
        self.gcp.sleep(self.next).await;
        let longest = Duration::from_millis(if self.gcp.is_loopback() { 100 } else { 10_000 });
        self.next = self.next.saturating_mul(2).min(longest);
        Ok(())
    }
}

impl Gcp {
    /// A new, unspent patience.
    pub fn patience(&self) -> Patience<'_> {
        let first = Duration::from_millis(if self.is_loopback() { 5 } else { 1000 });
        Patience { gcp: self, started: self.now(), next: first }
    }

    pub(crate) fn note_enabled(&self, apis: &[String]) {
        self.fresh().apis.lock().unwrap_or_else(PoisonError::into_inner).extend(apis.iter().cloned());
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

    /// Whether a revision failed for want of access that this process granted moments ago. Cloud Run never
    /// tries such a revision again: it takes another one.
    pub fn access_is_on_its_way(&self, error: &GcpError) -> bool {
        let ErrorKind::RevisionFailed { reason } = &error.kind else { return false };
        let granted = *self.fresh().granted.lock().unwrap_or_else(PoisonError::into_inner);
        reason == "SECRETS_ACCESS_CHECK_FAILED"
            && granted.is_some_and(|at| self.now().saturating_sub(at) < PATIENCE)
    }

    /// A service once Cloud Run has finished working on it; `None` when it is gone.
    pub async fn settled_service(&self, name: &str) -> Result<Option<Value>, GcpError> {
        let mut patience = self.patience();
        loop {
            match self.service(name).await? {
                Some(service) if readiness::is_reconciling(&service) => {
                    let short = name.rsplit('/').next().unwrap_or(name);
                    patience.pause(&format!("service {short}, which is being changed")).await?;
                }
                settled => return Ok(settled),
            }
        }
    }
}

impl GcpError {
    /// A live object that cannot be read.
    pub fn unreadable(object: impl std::fmt::Display, why: impl Into<String>) -> Self {
        Self::new(format!("read {object}"), ErrorKind::Unreadable, why)
    }

    /// An object that is not what it was when the plan was made.
    pub fn moved(object: &str) -> Self {
        Self::new(
            format!("change {object}"),
            ErrorKind::Conflict,
            "it is not what it was when the plan was made: someone else changed it",
        )
        .with_hint("plan again, and look at what changed")
    }

    /// A revision that must not get traffic.
    pub fn revision_failed(revision: &str, why: &str) -> Self {
        let reason = why.split(':').next().unwrap_or_default().to_owned();
        Self::new(format!("take revision {revision} into service"), ErrorKind::RevisionFailed { reason }, why)
    }
}
