//! What services say and which revisions serve, asked for again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::session::Session;
use crate::gcp::{Gcp, GcpError, LogEntry, LogSource, Service};
use crate::view::Out;

/// Time between two looks. On a sandbox they cost nothing.
const EVERY: Duration = Duration::from_millis(500);
/// An entry may come to light later than others of a later time.
const LATE: SignedDuration = SignedDuration::from_secs(5);

/// Services with their logs and revisions, and what was shown of them.
pub struct Watch {
    project: String,
    region: String,
    /// Cloud Run's names, with the keys in the YAML.
    services: BTreeMap<String, String>,
    since: Timestamp,
    shown: BTreeSet<(Timestamp, String)>,
    states: BTreeMap<String, String>,
    trouble: Option<String>,
}

impl Watch {
    /// Shows what is said from now on.
    pub fn new(session: &Session) -> Self {
        let env = &session.env;
        let services = env.services.iter().map(|(key, service)| (service.name.clone(), key.clone()));
        Self {
            project: env.project.id.clone(),
            region: env.region.clone(),
            services: services.collect(),
            since: Timestamp::now(),
            shown: BTreeSet::new(),
            states: BTreeMap::new(),
            trouble: None,
        }
    }

    /// Shows what is new, without end.
    pub async fn follow(&mut self, session: &Session, out: &Out) {
        let gcp = &session.connection.gcp;
        loop {
            let looked = self.look(gcp, out).await;
            // The same trouble is told once.
            let trouble = looked.err().map(|error| error.to_string());
            if trouble != self.trouble
                && let Some(trouble) = &trouble
            {
                out.warning(trouble);
            }
            self.trouble = trouble;
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn look(&mut self, gcp: &Gcp, out: &Out) -> Result<(), GcpError> {
        if self.services.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.services.keys().cloned().collect();
        for entry in self.entries(gcp, names).await? {
            let key = self.services.get(&entry.owner).map_or(entry.owner.as_str(), String::as_str);
            out.service_says(key, self.width(), &entry);
        }
        for live in gcp.list_objects::<Service>(&self.project, &self.region).await? {
            let name = live["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
            let Some((name, key)) = self.services.get_key_value(name) else { continue };
            let state = state(&live);
            if self.states.get(name) != Some(&state) {
                out.service_is(key, self.width(), &state);
                self.states.insert(name.clone(), state);
            }
        }
        Ok(())
    }

    /// The entries that were not shown yet.
    async fn entries(&mut self, gcp: &Gcp, names: Vec<String>) -> Result<Vec<LogEntry>, GcpError> {
        let source = LogSource::Services(names);
        let found = gcp.entries_since(&self.project, &self.region, &source, self.since).await?;
        let id = |entry: &LogEntry| (entry.time, entry.id.clone());
        let new: Vec<_> = found.into_iter().filter(|entry| !self.shown.contains(&id(entry))).collect();
        self.shown.extend(new.iter().map(id));
        if let Some(newest) = self.shown.last().map(|(time, _)| *time) {
            self.since = self.since.max(newest.saturating_sub(LATE).unwrap_or(newest));
            let since = self.since;
            self.shown.retain(|(time, _)| *time >= since);
        }
        Ok(new)
    }

    fn width(&self) -> usize {
        self.services.values().map(|key| key.chars().count()).max().unwrap_or_default()
    }
}

/// Which revisions serve, with their shares, and what is wrong, in a line.
fn state(service: &Value) -> String {
    let statuses = service["trafficStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let serving = statuses.iter().filter(|status| status["percent"].as_i64().unwrap_or_default() > 0);
    let shares = serving.map(|status| {
        let revision = status["revision"].as_str().unwrap_or("the newest revision");
        match status["percent"].as_i64() {
            Some(100) | None => format!("{revision} serves"),
            Some(share) => format!("{revision} serves {share} %"),
        }
    });
    let mut words: Vec<_> = shares.collect();
    if words.is_empty() {
        words.push("nothing serves".to_owned());
    }
    let condition = &service["terminalCondition"];
    if condition["state"] == "CONDITION_FAILED" {
        words.push(condition["message"].as_str().unwrap_or("it is not ready").to_owned());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn state_names_what_serves_and_what_is_wrong() {
        let status = |revision: &str, percent: i64| json!({"revision": revision, "percent": percent});
        let service = |statuses: Value| json!({"trafficStatuses": statuses});
        assert_eq!(state(&service(json!([status("a", 100), {"revision": "b", "tag": "t"}]))), "a serves");
        assert_eq!(
            state(&service(json!([status("a", 90), status("b", 10)]))),
            "a serves 90 %, b serves 10 %"
        );
        let failed = json!({"terminalCondition": {"state": "CONDITION_FAILED", "message": "no port"}});
        assert_eq!(state(&failed), "nothing serves, no port");
    }
}
