//! Waiting: one loop with a total deadline for the long-running operations of all APIs.

use std::time::Duration;

use serde_json::Value;

use super::client::Gcp;
use super::error::{ErrorKind, GcpError};
use super::rest::parse;

/// How long an operation may take in all.
const DEADLINE: Duration = Duration::from_mins(15);

/// The state of a `google.longrunning.Operation`.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) done: bool,
    pub(crate) error: Option<Status>,
    pub(crate) response: Option<Value>,
    /// What the operation is about, as far as it is known by now.
    pub(crate) metadata: Option<Value>,
}

/// The `google.rpc.Status` that an operation ended with.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) code: i32,
    pub(crate) message: String,
}

impl Operation {
    pub(crate) fn read(doing: &str, value: Value) -> Result<Self, GcpError> {
        parse(doing, value)
    }

    /// The response without its type, or the error of the operation.
    pub(crate) fn into_response(self, doing: &str) -> Result<Value, GcpError> {
        if let Some(Status { code, message }) = self.error {
            return Err(GcpError::new(doing, ErrorKind::OperationFailed { code }, message));
        }
        let mut response = self.response.unwrap_or_default();
        if let Value::Object(fields) = &mut response {
            fields.remove("@type");
        }
        Ok(response)
    }
}

/// What takes less is over before anybody wonders.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// The pauses between polls.
#[derive(Debug, Clone, Copy)]
struct Pace {
    next: Duration,
    longest: Duration,
}

impl Pace {
    fn new(loopback: bool) -> Self {
        let (first, longest) = if loopback { (10, 200) } else { (200, 5000) };
        Self { next: Duration::from_millis(first), longest: Duration::from_millis(longest) }
    }

    fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.mul_f64(1.6).min(self.longest);
        pause
    }
}

/// A bounded wait for something whose progress the caller looks at itself.
#[derive(Debug)]
pub struct Patience {
    gcp: Gcp,
    pace: Pace,
    started: Duration,
    deadline: Duration,
}

impl Patience {
    /// The same without an end of its own, for what ends by itself.
    #[must_use]
    pub fn endless(self) -> Self {
        Self { deadline: Duration::MAX, ..self }
    }

    /// Waits until it is time to look again; an error once fifteen minutes have passed since the wait began.
    /// `what` completes "wait for".
    pub async fn pause(&mut self, what: &str) -> Result<(), GcpError> {
        let waited = self.gcp.now().saturating_sub(self.started);
        if waited >= self.deadline {
            return Err(overdue(&format!("wait for {what}"), None));
        }
        if waited >= WORTH_TELLING {
            self.gcp.tell(&format!("waiting for {what}"));
        }
        self.gcp.sleep(self.pace.pause()).await;
        Ok(())
    }
}

impl Gcp {
    /// Begins a bounded wait: the pauses grow, as between polls of an operation.
    pub fn patience(&self) -> Patience {
        let pace = Pace::new(self.is_loopback());
        Patience { gcp: self.clone(), pace, started: self.now(), deadline: DEADLINE }
    }

    /// Polls an operation until it is done. What the operation ended with is in the answer, not an error here.
    pub(crate) async fn wait<F, Fut>(
        &self,
        doing: &str,
        operation: Operation,
        poll: F,
    ) -> Result<Operation, GcpError>
    where
        F: Fn(String) -> Fut,
        Fut: Future<Output = Result<Operation, GcpError>>,
    {
        if operation.done {
            return Ok(operation);
        }
        let name = operation.name;
        self.wait_until(doing, || async {
            let now = poll(name.clone()).await?;
            Ok(now.done.then_some(now))
        })
        .await
    }

    /// Polls until there is an answer, at growing intervals, at most fifteen minutes. Passing troubles of a poll
    /// are survived: what is waited for goes on without us.
    pub(crate) async fn wait_until<T, F, Fut>(&self, doing: &str, poll: F) -> Result<T, GcpError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Option<T>, GcpError>>,
    {
        let started = self.now();
        let mut pace = Pace::new(self.is_loopback());
        loop {
            self.sleep(pace.pause()).await;
            let waited = self.now().saturating_sub(started);
            let trouble = match poll().await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => None,
                Err(error) if error.is_passing() => Some(error),
                Err(error) => return Err(error),
            };
            if waited >= WORTH_TELLING {
                self.tell(&waiting(doing));
            }
            if waited >= DEADLINE {
                return Err(overdue(doing, trouble));
            }
        }
    }
}

/// What is told meanwhile. What is "wait for X" for an error is no work of Google's.
fn waiting(doing: &str) -> String {
    match doing.strip_prefix("wait for ") {
        Some(what) => format!("waiting for {what}"),
        None => format!("waiting for Google to {doing}"),
    }
}

fn overdue(doing: &str, trouble: Option<GcpError>) -> GcpError {
    let minutes = DEADLINE.as_secs() / 60;
    let message = format!("it did not come to an end within {minutes} minutes; it may still do so");
    let error = GcpError::new(doing, ErrorKind::Timeout, message)
        .with_hint("look at what became of it with `deployer plan`, then apply again");
    match trouble {
        Some(trouble) => error.with_source(trouble),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_slows_down_to_its_limit() {
        let mut pace = Pace::new(false);
        let pauses: Vec<_> = (0..10).map(|_| pace.pause().as_millis()).collect();
        assert_eq!(pauses[..3], [200, 320, 512]);
        assert_eq!(pauses[9], 5000);
    }

    #[test]
    fn waiting_is_told_once() {
        assert_eq!(waiting("create service api"), "waiting for Google to create service api");
        assert_eq!(waiting("wait for service api"), "waiting for service api");
    }

    #[test]
    fn an_operations_error_is_its_answer() {
        let operation =
            Operation { error: Some(Status { code: 9, message: "no".into() }), ..Default::default() };
        let error = operation.into_response("do it").unwrap_err();
        assert_eq!(error.kind, ErrorKind::OperationFailed { code: 9 });
        assert_eq!(error.to_string(), "cannot do it: no");
    }
}
