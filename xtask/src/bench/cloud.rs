//! A sandbox in a process of its own, and what it tells of the calls it got.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::chain::Span;

/// How long a sandbox may take to serve: it reads the state of a thousand services first, in a debug build.
const STARTS_WITHIN: Duration = Duration::from_mins(2);

/// A running `deployer sandbox`. Dropping it ends it: the state is safe at any moment.
#[derive(Debug)]
pub(super) struct Cloud {
    process: Child,
    address: SocketAddr,
}

/// What the sandbox was asked.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Number of calls by method id, errors included.
    pub(super) by_method: BTreeMap<String, usize>,
    /// Answers with a status of 400 or above, by status.
    pub(super) refused: BTreeMap<u64, usize>,
    /// Empty when the sandbox does not tell times.
    pub(super) spans: Vec<Span>,
}

impl Calls {
    pub(super) fn total(&self) -> usize {
        self.by_method.values().sum()
    }
}

impl Cloud {
    /// Starts a sandbox on the state folder and waits until it listens.
    pub(super) fn start(deployer: &Path, state: &Path, options: &[&str]) -> Result<Self, String> {
        let mut sandbox = Command::new(deployer);
        sandbox.args(["sandbox", "--port", "0", "--state"]).arg(state).args(options);
        Self::start_as(&mut sandbox, state)
    }

    /// The same with a command that starts one on the state folder.
    pub(super) fn start_as(command: &mut Command, state: &Path) -> Result<Self, String> {
        let published = state.join("address");
        // The one of a sandbox that was ended from outside is still there.
        let _ = std::fs::remove_file(&published);
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("the sandbox did not start: {error}"))?;
        match listening(&mut process, &published) {
            Ok(address) => Ok(Self { process, address }),
            Err(why) => {
                end(&mut process);
                Err(why)
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The calls since its start.
    pub(super) fn calls(&self) -> Result<Calls, String> {
        let body = get(self.address, "/__sandbox/calls")
            .map_err(|error| format!("the sandbox does not tell its calls: {error}"))?;
        let document: Value =
            serde_json::from_str(&body).map_err(|error| format!("the sandbox's list of calls: {error}"))?;
        Ok(tally(&document))
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn end(process: &mut Child) {
    // It may have ended by itself, which is as good.
    let _ = process.kill();
    let _ = process.wait();
}

/// The address that the sandbox publishes in its state folder once it listens.
fn listening(process: &mut Child, published: &Path) -> Result<SocketAddr, String> {
    let begun = Instant::now();
    while begun.elapsed() < STARTS_WITHIN {
        // Behind it stands that the sandbox keeps quotas.
        let text = std::fs::read_to_string(published).unwrap_or_default();
        if let Some(address) = text.split_whitespace().next().and_then(|word| word.parse().ok()) {
            return Ok(address);
        }
        if let Ok(Some(status)) = process.try_wait() {
            return Err(format!("the sandbox ended at once ({status})"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("the sandbox did not listen within {} s", STARTS_WITHIN.as_secs()))
}

/// GET over HTTP/1.0, whose answers are neither chunked nor kept alive.
fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").map_err(|error| error.to_string())?;
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without a head")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split_whitespace().nth(1) == Some("200") { Ok(body.to_owned()) } else { Err(status.to_owned()) }
}

fn tally(document: &Value) -> Calls {
    let mut calls = Calls::default();
    for call in document["calls"].as_array().into_iter().flatten() {
        let method = call["method"].as_str().or_else(|| call["path"].as_str()).unwrap_or("unknown");
        *calls.by_method.entry(method.to_owned()).or_default() += 1;
        if let Some(status) = call["status"].as_u64().filter(|status| *status >= 400) {
            *calls.refused.entry(status).or_default() += 1;
        }
        if let (Some(start), Some(end)) = (call["start_ms"].as_f64(), call["end_ms"].as_f64()) {
            calls.spans.push(Span { start, end });
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_are_counted_by_method_with_their_refusals_and_times() {
        let list = "run.projects.locations.services.list";
        let calls = tally(&json!({"calls": [
            {"seq": 1, "method": list, "path": "/v2/x", "status": 200, "start_ms": 0.5, "end_ms": 50.75},
            {"seq": 2, "method": list, "path": "/v2/x", "status": 429, "start_ms": 51, "end_ms": 52},
            {"seq": 3, "method": null, "path": "/v2/nowhere", "status": 404},
            {"seq": 4, "method": list, "path": "/v2/x", "status": null, "start_ms": 60}
        ]}));
        assert_eq!(calls.total(), 4);
        assert_eq!(calls.by_method[list], 3);
        assert_eq!(calls.by_method["/v2/nowhere"], 1);
        assert_eq!(calls.refused, BTreeMap::from([(404, 1), (429, 1)]));
        assert_eq!(calls.spans, [Span { start: 0.5, end: 50.75 }, Span { start: 51.0, end: 52.0 }]);
    }
}
