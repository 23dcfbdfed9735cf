//! Executions of Cloud Run jobs and their tasks, by Cloud Run v2: starting one, and how it goes.

use google_cloud_run_v2::model::run_job_request::Overrides;
use google_cloud_run_v2::model::run_job_request::overrides::ContainerOverride;
use serde_json::Value;

use super::api::{Api, Method};
use super::client::{Call, Gcp};
use super::documents::of_run;
use super::error::{ErrorKind, GcpError};
use super::official::failure;
use super::settling::{found, listed_of_run, operation, short};

const RUN: Method = Method::once(Api::Run, "POST", "run.projects.locations.jobs.run");
const GET: Method = Method::read(Api::Run, "GET", "run.projects.locations.jobs.executions.get");
const LIST: Method = Method::read(Api::Run, "GET", "run.projects.locations.jobs.executions.list");
const TASKS: Method = Method::read(Api::Run, "GET", "run.projects.locations.jobs.executions.tasks.list");

/// What an execution does otherwise than its job says. Labels and the image cannot be overridden (`Overrides`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// In place of the container's arguments; `Some` of none clears them.
    pub args: Option<Vec<String>>,
    /// The etag of the job as it has to be; `None` runs it as it is.
    pub etag: Option<String>,
}

impl Gcp {
    /// Starts an execution of a job (resource name) and answers the execution's resource name; it then runs. Never sent a
    /// second time where the first may have taken effect: the error's [`GcpError::may_have_happened`] says so.
    pub async fn run_job(&self, job: &str, run: &Run) -> Result<String, GcpError> {
        let doing = format!("run job {}", short(job));
        let client = self.jobs_client().await?;
        let call = Call { method: &RUN, doing: &doing, resource: job };
        let send = || async {
            let request = client
                .run_job()
                .set_name(job)
                .set_etag(run.etag.as_deref().unwrap_or_default())
                .set_or_clear_overrides(run.args.as_deref().map(with_args));
            operation(self.signed(request).send().await)
        };
        let started = self.call(&call, send).await?;
        let named = started.metadata.as_ref().and_then(|execution| execution["name"].as_str());
        // An operation that has ended already may have nothing but its response.
        let named =
            named.or_else(|| started.response.as_ref().and_then(|execution| execution["name"].as_str()));
        if let Some(name) = named {
            return Ok(name.to_owned());
        }
        started.into_response(&doing)?;
        Err(GcpError::new(doing, ErrorKind::Unreadable, "Google's answer does not name the execution"))
    }

    /// An execution by its resource name; `None` when there is none.
    pub async fn execution(&self, name: &str) -> Result<Option<Value>, GcpError> {
        let doing = format!("read execution {}", short(name));
        let client = self.executions_client().await?;
        let call = Call { method: &GET, doing: &doing, resource: name };
        let get =
            || async { self.signed(client.get_execution().set_name(name)).send().await.map_err(failure) };
        found(&doing, self.call(&call, get).await)
    }

    /// All executions of a job (resource name), the newest first (`executions.list`: sorted by creation time, descending);
    /// none when there is no such job.
    pub async fn executions(&self, job: &str) -> Result<Vec<Value>, GcpError> {
        let doing = format!("list the executions of job {}", short(job));
        let client = self.executions_client().await?;
        let call = Call { method: &LIST, doing: &doing, resource: job };
        let page = |token: String| async move {
            let request = client.list_executions().set_parent(job).set_page_token(token);
            let page = self.signed(request).send().await.map_err(failure)?;
            Ok((page.executions, page.next_page_token))
        };
        listed_of_run(&doing, self.all_pages(&call, page).await)
    }

    /// All tasks of an execution (resource name).
    pub async fn tasks(&self, execution: &str) -> Result<Vec<Value>, GcpError> {
        let doing = format!("list the tasks of execution {}", short(execution));
        let client = self.tasks_client().await?;
        let call = Call { method: &TASKS, doing: &doing, resource: execution };
        let page = |token: String| async move {
            let request = client.list_tasks().set_parent(execution).set_page_token(token);
            let page = self.signed(request).send().await.map_err(failure)?;
            Ok((page.tasks, page.next_page_token))
        };
        self.all_pages(&call, page).await?.iter().map(|task| of_run(&doing, task)).collect()
    }
}

fn with_args(args: &[String]) -> Overrides {
    let container = ContainerOverride::new().set_args(args.iter().cloned()).set_clear_args(args.is_empty());
    Overrides::new().set_container_overrides([container])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gcp::testserver::{Answer, Server, refusal};

    const JOB: &str = "projects/p/locations/l/jobs/migrate";
    const NAME: &str = "projects/p/locations/l/jobs/migrate/executions/migrate-x";

    fn started() -> Answer {
        let metadata = json!({"@type": "type.googleapis.com/google.cloud.run.v2.Execution", "name": NAME});
        Answer::json(200, json!({"name": "projects/p/locations/l/operations/o", "metadata": metadata}))
    }

    #[tokio::test]
    async fn starting_a_job_answers_its_execution_and_waits_for_nothing() {
        let server = Server::start(vec![started()]).await;
        let run = Run { args: Some(vec!["--all".into()]), etag: Some("\"7\"".into()) };
        assert_eq!(server.gcp().await.run_job(JOB, &run).await.unwrap(), NAME);
        let request = &server.requests()[0];
        assert_eq!(request.line(), format!("POST /run.googleapis.com/v2/{JOB}:run"));
        assert_eq!(request.json()["etag"], "\"7\"");
        assert_eq!(request.json()["overrides"]["containerOverrides"][0]["args"], json!(["--all"]));
    }

    #[tokio::test]
    async fn no_arguments_are_sent_as_none_and_no_override_as_nothing() {
        let server = Server::start(vec![started(), started()]).await;
        let gcp = server.gcp().await;
        gcp.run_job(JOB, &Run { args: Some(Vec::new()), etag: None }).await.unwrap();
        gcp.run_job(JOB, &Run::default()).await.unwrap();
        let requests = server.requests();
        assert_eq!(requests[0].json()["overrides"]["containerOverrides"][0]["clearArgs"], true);
        assert_eq!(requests[1].json().get("overrides"), None);
    }

    #[tokio::test]
    async fn a_start_that_may_have_happened_is_not_sent_again() {
        let server = Server::start(vec![Answer::json(503, refusal(503, "UNAVAILABLE")), started()]).await;
        let error = server.gcp().await.run_job(JOB, &Run::default()).await.unwrap_err();
        assert!(error.may_have_happened(), "{error:?}");
        assert_eq!(server.requests().len(), 1);
        let server = Server::start(vec![Answer::json(409, refusal(409, "ABORTED"))]).await;
        let error = server.gcp().await.run_job(JOB, &Run::default()).await.unwrap_err();
        assert!(!error.may_have_happened() && error.kind == ErrorKind::Conflict, "{error:?}");
    }

    #[tokio::test]
    async fn executions_and_tasks_are_listed_over_all_pages_with_names_of_enums() {
        let done = json!({"type": "Completed", "state": 4});
        let server = Server::start(vec![
            Answer::json(
                200,
                json!({"executions": [{"name": NAME, "conditions": [done]}], "nextPageToken": "2"}),
            ),
            Answer::json(200, json!({"executions": [{"name": "b"}]})),
            Answer::json(200, json!({"tasks": [{"name": "t", "lastAttemptResult": {"exitCode": 4}}]})),
            Answer::json(404, refusal(404, "NOT_FOUND")),
        ])
        .await;
        let gcp = server.gcp().await;
        let executions = gcp.executions(JOB).await.unwrap();
        assert_eq!(
            (executions.len(), &executions[0]["conditions"][0]["state"]),
            (2, &json!("CONDITION_SUCCEEDED"))
        );
        assert_eq!(gcp.tasks(NAME).await.unwrap()[0]["lastAttemptResult"]["exitCode"], 4);
        assert!(gcp.executions(JOB).await.unwrap().is_empty(), "a job that is not there has none");
    }
}
