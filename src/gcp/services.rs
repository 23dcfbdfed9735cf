//! Which APIs a project has enabled, by Service Usage v1.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Api, Method};
use super::client::Gcp;
use super::error::{ErrorKind, GcpError};
use super::operation::Operation;
use super::rest::Request;

const LIST: Method = Method::read(Api::ServiceUsage, "GET", "serviceusage.services.list");
const ENABLE: Method = Method::write(Api::ServiceUsage, "POST", "serviceusage.services.batchEnable");
const OPERATION: Method = Method::read(Api::ServiceUsage, "GET", "serviceusage.operations.get");

/// The most services that `batchEnable` takes, and the largest page of `list` (both documented).
const BATCH: usize = 20;
const PAGE: &str = "200";

#[derive(Deserialize)]
struct Wire {
    name: String,
}

impl Gcp {
    /// The names of all enabled APIs, such as `run.googleapis.com`. From now on a refusal by one of them because it
    /// were disabled is taken for what it is: the news has not reached it yet.
    pub async fn enabled_apis(&self, project: &str) -> Result<BTreeSet<String>, GcpError> {
        let doing = format!("list the enabled APIs of {project}");
        let request = || {
            Request::new(&LIST, format!("v1/projects/{project}/services"))
                .query("filter", "state:ENABLED")
                .query("pageSize", PAGE)
        };
        let services: Vec<Wire> = self.rest_list(&doing, request, "services").await?;
        let name = |wire: Wire| wire.name.rsplit('/').next().unwrap_or_default().to_owned();
        let enabled: BTreeSet<String> = services.into_iter().map(name).collect();
        self.note_enabled(enabled.iter().cloned());
        Ok(enabled)
    }

    /// Enables APIs, at most twenty a request, and waits until Google says that it is done. Calls to an API that
    /// was just enabled may still be refused for some minutes.
    pub async fn enable_apis(&self, project: &str, apis: &[String]) -> Result<(), GcpError> {
        for batch in apis.chunks(BATCH) {
            let doing = format!("enable {} in {project}", batch.join(", "));
            let request = Request::new(&ENABLE, format!("v1/projects/{project}/services:batchEnable"))
                .body(json!({ "serviceIds": batch }));
            let started = Operation::read(&doing, self.rest(&doing, request).await?)?;
            let poll = |name: String| {
                let doing = &doing;
                async move {
                    let request = Request::new(&OPERATION, format!("v1/{name}"));
                    Operation::read(doing, self.rest(doing, request).await?)
                }
            };
            let ended = self.wait(&doing, started, poll).await?;
            refuse_failures(&doing, &ended.into_response(&doing)?)?;
            self.note_enabled(batch.iter().cloned());
        }
        Ok(())
    }
}

/// An operation may succeed and name services that could not be enabled.
fn refuse_failures(doing: &str, response: &Value) -> Result<(), GcpError> {
    let failures = response.get("failures").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let text = |failure: &Value, key: &str| {
        failure.get(key).and_then(Value::as_str).unwrap_or("without an explanation").to_owned()
    };
    let lines: Vec<String> = failures
        .iter()
        .map(|failure| format!("{}: {}", text(failure, "serviceId"), text(failure, "errorMessage")))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    Err(GcpError::new(doing, ErrorKind::FailedPrecondition, lines.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcp::testserver::{Answer, Server};

    #[tokio::test]
    async fn all_pages_are_read() {
        let page = |name: &str, next: &str| {
            Answer::json(
                200,
                json!({"services": [{"name": format!("projects/1/services/{name}")}], "nextPageToken": next}),
            )
        };
        let server =
            Server::start(vec![page("run.googleapis.com", "t 2"), page("iam.googleapis.com", "")]).await;
        let apis = server.gcp().await.enabled_apis("p").await.unwrap();
        assert_eq!(apis.into_iter().collect::<Vec<_>>(), ["iam.googleapis.com", "run.googleapis.com"]);
        let requests = server.requests();
        assert!(requests[0].target.contains("filter=state%3AENABLED&pageSize=200"), "{}", requests[0].target);
        assert!(requests[1].target.contains("pageToken=t+2"), "{}", requests[1].target);
    }

    #[tokio::test]
    async fn twenty_one_apis_take_two_requests_and_one_takes_a_batch_too() {
        let done = || Answer::json(200, json!({"name": "operations/noop", "done": true, "response": {}}));
        let server = Server::start(vec![done(), done()]).await;
        let apis: Vec<String> = (0..21).map(|n| format!("a{n}.googleapis.com")).collect();
        server.gcp().await.enable_apis("p", &apis).await.unwrap();
        let requests = server.requests();
        assert_eq!(requests[0].json()["serviceIds"].as_array().unwrap().len(), 20);
        assert_eq!(requests[1].json(), json!({"serviceIds": ["a20.googleapis.com"]}));
        assert!(requests[1].target.ends_with("/v1/projects/p/services:batchEnable"));
    }

    #[tokio::test]
    async fn the_operation_is_waited_for_through_passing_troubles() {
        let server = Server::start(vec![
            Answer::json(200, json!({"name": "operations/x"})),
            Answer::json(200, json!({"name": "operations/x"})),
            Answer::html(502),
            Answer::json(200, json!({"name": "operations/x", "done": true, "response": {"@type": "t"}})),
        ])
        .await;
        server.gcp().await.enable_apis("p", &["run.googleapis.com".into()]).await.unwrap();
        assert_eq!(server.requests()[3].line(), "GET /serviceusage.googleapis.com/v1/operations/x");
    }

    #[tokio::test]
    async fn a_service_that_was_left_out_is_an_error() {
        let response =
            json!({"failures": [{"serviceId": "x.googleapis.com", "errorMessage": "not allowed"}]});
        let server =
            Server::start(vec![Answer::json(200, json!({"name": "o", "done": true, "response": response}))])
                .await;
        let error = server.gcp().await.enable_apis("p", &["x.googleapis.com".into()]).await.unwrap_err();
        assert!(error.message.contains("x.googleapis.com: not allowed"), "{error}");
    }
}
