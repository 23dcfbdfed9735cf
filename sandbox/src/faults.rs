//! Faults on demand: the n-th matching call fails, is delayed, loses its connection, or meets a stale etag.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::error::{Code, Status};
use crate::methods::Method;

/// Which calls a fault is about; everything that is given has to fit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Pattern over the method id; `*` stands for anything.
    pub method: Option<String>,
    /// Part of the path, or a pattern with `*` over the whole path.
    pub path: Option<String>,
    /// Only calls that change something, or only calls that do not.
    pub writes: Option<bool>,
}

/// Before the call has its effect, or after it, just before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    #[default]
    Before,
    After,
}

/// A fault as it is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// The first matching call that it strikes, from 1; `None` strikes every one.
    #[serde(default)]
    pub nth: Option<u64>,
    /// How many calls in a row it strikes: 1 where `nth` is given, else without end.
    #[serde(default)]
    pub times: Option<u64>,
    #[serde(default)]
    pub when: When,
    #[serde(rename = "do")]
    pub action: Asked,
}

/// What is to happen, one of these.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    status: Option<u16>,
    message: Option<String>,
    details: Vec<Value>,
    html: bool,
    #[serde(alias = "retryAfter")]
    retry_after: Option<u64>,
    drop: bool,
    #[serde(alias = "delayMs")]
    delay_ms: Option<u64>,
    #[serde(alias = "staleEtag")]
    stale_etag: bool,
    quota: bool,
    hang: bool,
    #[serde(alias = "operationFails")]
    operation_fails: Option<OperationFails>,
    #[serde(alias = "slowOperation")]
    slow_operation: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationFails {
    code: i64,
    message: String,
}

/// What happens to a struck call.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Fail(Failure),
    Drop,
    Delay(Duration),
    StaleEtag,
    /// No answer until the fault is deleted.
    Hang,
    OperationFails(Status),
    /// The operation takes so many polls.
    SlowOperation(u64),
}

/// An error answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub http: u16,
    pub status: Status,
    /// A page of HTML, as front ends answer, in place of JSON.
    pub html: bool,
    /// Seconds for the `Retry-After` header.
    pub retry_after: Option<u64>,
}

impl Asked {
    fn action(&self) -> Result<Action, String> {
        let mut found = Vec::new();
        if let Some(http) = self.status {
            found.push(Action::Fail(self.failure(http)?));
        }
        if self.drop {
            found.push(Action::Drop);
        }
        found.extend(self.delay_ms.map(|ms| Action::Delay(Duration::from_millis(ms))));
        if self.stale_etag {
            found.push(Action::StaleEtag);
        }
        if self.quota {
            found.push(Action::Fail(out_of_quota(self.retry_after)));
        }
        if self.hang {
            found.push(Action::Hang);
        }
        if let Some(fails) = &self.operation_fails {
            let code = Code::from_number(fails.code).ok_or("`operation_fails.code` is no google.rpc code")?;
            found.push(Action::OperationFails(Status::new(code, fails.message.clone())));
        }
        found.extend(self.slow_operation.map(Action::SlowOperation));
        match (found.pop(), found.is_empty()) {
            (Some(action), true) => Ok(action),
            _ => Err("`do` needs exactly one of status, drop, delay_ms, stale_etag, quota, hang, operation_fails, \
                      slow_operation"
                .to_owned()),
        }
    }

    fn failure(&self, http: u16) -> Result<Failure, String> {
        if !(400..=599).contains(&http) {
            return Err(format!("`status` must be an error, not {http}"));
        }
        let message = self.message.clone().unwrap_or_else(|| format!("Fault on demand: {http}."));
        let mut status = Status::new(Code::from_http(http), message);
        status.details.clone_from(&self.details);
        Ok(Failure { http, status, html: self.html, retry_after: self.retry_after })
    }
}

fn out_of_quota(retry_after: Option<u64>) -> Failure {
    let status = quota_status("Quota exceeded: fault on demand.", "sandbox", retry_after.unwrap_or(1));
    Failure { http: 429, status, html: false, retry_after }
}

/// 429 with when to retry and what ran out.
pub(crate) fn quota_status(message: &str, subject: &str, seconds: u64) -> Status {
    Status::resource_exhausted(message)
        .with_detail(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{seconds}s"),
        }))
        .with_detail(json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{ "subject": subject, "description": message }],
        }))
}

struct Fault {
    id: u64,
    spec: Spec,
    action: Action,
    seen: u64,
    fired: u64,
    hits: watch::Sender<u64>,
}

/// A call that a fault strikes.
#[derive(Debug, Clone)]
pub struct Strike {
    pub id: u64,
    pub action: Action,
    pub when: When,
}

/// What `GET /__sandbox/faults/ID` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls that matched.
    pub seen: u64,
    /// Calls that were struck.
    pub hits: u64,
}

/// The faults in force.
#[derive(Default)]
pub struct Faults {
    faults: Vec<Fault>,
    last: u64,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").field("count", &self.faults.len()).finish_non_exhaustive()
    }
}

impl Faults {
    /// Adds a fault; the error is a sentence about what is wrong with the spec.
    pub fn add(&mut self, spec: Spec) -> Result<u64, String> {
        let action = spec.action.action()?;
        if spec.nth == Some(0) {
            return Err("`nth` counts from 1".to_owned());
        }
        self.last += 1;
        let (hits, _) = watch::channel(0);
        self.faults.push(Fault { id: self.last, spec, action, seen: 0, fired: 0, hits });
        Ok(self.last)
    }

    /// Counts the call for every fault that it matches; the first fault that is due strikes it.
    pub fn strike(&mut self, method: Option<&Method>, path: &str) -> Option<Strike> {
        let mut strike = None;
        for fault in self.faults.iter_mut().filter(|fault| fits(&fault.spec.matching, method, path)) {
            fault.seen += 1;
            let times = fault.spec.times.unwrap_or(if fault.spec.nth.is_some() { 1 } else { u64::MAX });
            if strike.is_none() && fault.seen >= fault.spec.nth.unwrap_or(1) && fault.fired < times {
                fault.fired += 1;
                strike = Some(Strike { id: fault.id, action: fault.action.clone(), when: fault.spec.when });
            }
        }
        strike
    }

    /// Notes that a strike takes place now; the receiver ends when the fault is deleted.
    pub fn hit(&self, id: u64) -> Option<watch::Receiver<u64>> {
        let fault = self.faults.iter().find(|fault| fault.id == id)?;
        fault.hits.send_modify(|hits| *hits += 1);
        Some(fault.hits.subscribe())
    }

    /// Follows the hits of a fault.
    pub fn watch(&self, id: u64) -> Option<watch::Receiver<u64>> {
        self.faults.iter().find(|fault| fault.id == id).map(|fault| fault.hits.subscribe())
    }

    /// The counts of a fault.
    pub fn counts(&self, id: u64) -> Option<Counts> {
        let fault = self.faults.iter().find(|fault| fault.id == id)?;
        Some(Counts { seen: fault.seen, hits: *fault.hits.borrow() })
    }

    /// Deletes one fault; false when there is none of that id.
    pub fn remove(&mut self, id: u64) -> bool {
        let before = self.faults.len();
        self.faults.retain(|fault| fault.id != id);
        self.faults.len() < before
    }

    /// Deletes all faults.
    pub fn clear(&mut self) {
        self.faults.clear();
    }
}

fn fits(wanted: &Match, method: Option<&Method>, path: &str) -> bool {
    let id = method.map_or("", |method| method.id);
    wanted.method.as_deref().is_none_or(|pattern| glob(pattern, id))
        && wanted
            .path
            .as_deref()
            .is_none_or(|part| if part.contains('*') { glob(part, path) } else { path.contains(part) })
        && wanted.writes.is_none_or(|writes| method.is_some_and(|method| method.write == writes))
}

/// `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods;

    fn spec(value: Value) -> Spec {
        serde_json::from_value(value).unwrap()
    }

    fn method(key: &str) -> &'static Method {
        methods::all().iter().find(|method| method.key == key).unwrap()
    }

    #[test]
    fn patterns_match_whole_ids() {
        assert!(glob("run.*.create", "run.projects.locations.services.create"));
        assert!(glob("*", "anything"));
        assert!(!glob("run.*.create", "run.projects.locations.services.createX"));
        assert!(!glob("run", "run.projects"));
    }

    #[test]
    fn the_nth_matching_call_is_struck_once() {
        let mut faults = Faults::default();
        faults.add(spec(json!({"match": {"writes": true}, "nth": 2, "do": {"status": 503}}))).unwrap();
        let write = method("secretmanager.projects.secrets.create");
        let read = method("secretmanager.projects.secrets.get");
        let mut struck = Vec::new();
        for call in [write, read, write, write] {
            struck.push(faults.strike(Some(call), "/x").is_some());
        }
        assert_eq!(struck, [false, false, true, false]);
    }

    #[test]
    fn without_nth_every_call_is_struck_up_to_times() {
        let mut faults = Faults::default();
        faults.add(spec(json!({"match": {"path": "/secrets"}, "times": 2, "do": {"drop": true}}))).unwrap();
        let struck = (0..3).filter(|_| faults.strike(None, "/v1/secrets/x").is_some()).count();
        assert_eq!(struck, 2);
    }

    #[test]
    fn a_fault_does_exactly_one_thing() {
        let mut faults = Faults::default();
        assert!(faults.add(spec(json!({"do": {}}))).is_err());
        assert!(faults.add(spec(json!({"do": {"drop": true, "hang": true}}))).is_err());
        assert!(faults.add(spec(json!({"do": {"status": 200}}))).is_err());
        assert!(faults.add(spec(json!({"do": {"operation_fails": {"code": 13, "message": "x"}}}))).is_ok());
    }
}
