//! What services say and which revisions serve, asked for again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::session::Session;
use crate::gcp::{Gcp, GcpError, LogSource, Service, Tail};
use crate::view::Out;

/// Time between two looks. On a sandbox they cost nothing.
const EVERY: Duration = Duration::from_millis(500);

/// Services and jobs with their logs and revisions, and what was shown of them.
pub struct Watch {
    project: String,
    region: String,
    /// Cloud Run's names of services, with the keys in the YAML.
    services: BTreeMap<String, String>,
    /// The same of services and jobs.
    keys: BTreeMap<String, String>,
    tails: Vec<Tail>,
    states: BTreeMap<String, String>,
    trouble: Option<String>,
}

impl Watch {
    /// Shows what is said from now on.
    pub fn new(session: &Session) -> Self {
        let env = &session.env;
        let services: BTreeMap<_, _> =
            env.services.iter().map(|(key, service)| (service.name.clone(), key.clone())).collect();
        let jobs: BTreeMap<_, _> =
            env.jobs.iter().map(|(key, job)| (job.name.clone(), key.clone())).collect();
        let names = |keys: &BTreeMap<String, String>| keys.keys().cloned().collect::<Vec<_>>();
        let sources = [LogSource::Services(names(&services)), LogSource::Jobs(names(&jobs))];
        let there = [!services.is_empty(), !jobs.is_empty()];
        let sources = sources.into_iter().zip(there).filter(|(_, there)| *there);
        let tails = sources.map(|(source, _)| Tail::new(source, Some(Timestamp::now()))).collect();
        let keys = services.clone().into_iter().chain(jobs).collect();
        Self {
            project: env.project.id.clone(),
            region: env.region.clone(),
            services,
            keys,
            tails,
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
        let width = self.keys.values().map(|key| key.chars().count()).max().unwrap_or_default();
        let mut entries = Vec::new();
        for tail in &mut self.tails {
            entries.extend(tail.news(gcp, &self.project, &self.region).await?);
        }
        entries.sort_by_key(|entry| entry.time);
        for entry in entries {
            let key = self.keys.get(&entry.owner).map_or(entry.owner.as_str(), String::as_str);
            out.says(key, width, &entry);
        }
        for live in gcp.list_objects::<Service>(&self.project, &self.region).await? {
            let name = live["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
            let Some((name, key)) = self.services.get_key_value(name) else { continue };
            let state = state(&live);
            if self.states.get(name) != Some(&state) {
                out.service_is(key, width, &state);
                self.states.insert(name.clone(), state);
            }
        }
        Ok(())
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
