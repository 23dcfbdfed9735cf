//! Cloud Run jobs, by Cloud Run v2.
//!
//! Create, change and delete wait for their operation and answer the job as it is then.

use google_cloud_run_v2::model::Job;
use serde_json::Value;

use super::api::{Api, Method};
use super::client::{Call, Gcp};
use super::documents::{of_run, read, unreadable};
use super::error::{ErrorKind, GcpError};
use super::official::failure;
use super::operation::Operation;
use super::rest::Request;
use super::settling::{NOT_OURS, Object, found, operation, sent, short};

const LIST: Method = Method::read(Api::Run, "GET", "run.projects.locations.jobs.list");
const GET: Method = Method::read(Api::Run, "GET", "run.projects.locations.jobs.get");
const CREATE: Method = Method::write(Api::Run, "POST", "run.projects.locations.jobs.create");
const PATCH: Method = Method::write(Api::Run, "PATCH", "run.projects.locations.jobs.patch");
const DELETE: Method = Method::write(Api::Run, "DELETE", "run.projects.locations.jobs.delete");

impl Gcp {
    /// All jobs of a region, as canonical documents.
    pub async fn list_jobs(&self, project: &str, region: &str) -> Result<Vec<Value>, GcpError> {
        let doing = format!("list the jobs of {project} in {region}");
        let parent = format!("projects/{project}/locations/{region}");
        let call = Call { method: &LIST, doing: &doing, resource: &parent };
        let client = self.jobs_client().await?;
        let (mut jobs, mut token) = (Vec::new(), String::new());
        loop {
            let page = || {
                let request = client.list_jobs().set_parent(&parent).set_page_token(&token);
                async { self.signed(request).send().await.map_err(failure) }
            };
            let answer = match self.call(&call, page).await {
                Err(error) if error.kind == ErrorKind::Unreadable => {
                    return Err(self.unreadable_job(&call).await.unwrap_or(error));
                }
                other => other?,
            };
            for job in &answer.jobs {
                jobs.push(of_run(&doing, job)?);
            }
            if answer.next_page_token.is_empty() {
                return Ok(jobs);
            }
            token = answer.next_page_token;
        }
    }

    /// A job by its resource name; `None` when there is none.
    pub async fn job(&self, name: &str) -> Result<Option<Value>, GcpError> {
        let doing = format!("read job {}", short(name));
        let client = self.jobs_client().await?;
        let call = Call { method: &GET, doing: &doing, resource: name };
        let get = || async { self.signed(client.get_job().set_name(name)).send().await.map_err(failure) };
        found(&doing, self.call(&call, get).await)
    }

    /// Creates a job and waits until it is ready to be run.
    pub async fn create_job(
        &self,
        project: &str,
        region: &str,
        id: &str,
        doc: Value,
    ) -> Result<Value, GcpError> {
        let doing = format!("create job {id}");
        let parent = format!("projects/{project}/locations/{region}");
        let name = format!("{parent}/jobs/{id}");
        let job = new_job(&doing, doc)?;
        match self.send_new_job(&doing, &parent, id, &job, false).await {
            Ok(operation) => self.settle(Object::Job, &doing, &name, operation).await,
            // A lost attempt of ours, or another run of the same plan: what is as it was to be made is made.
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                self.settle_as_sent(Object::Job, &doing, &name, &sent(&doing, &job, &[])?, error).await
            }
            Err(error) => Err(error),
        }
    }

    /// Lets Cloud Run check `create_job` (`validateOnly`); nothing is created.
    pub async fn check_create_job(
        &self,
        project: &str,
        region: &str,
        id: &str,
        doc: Value,
    ) -> Result<(), GcpError> {
        let doing = format!("check whether job {id} can be created");
        let parent = format!("projects/{project}/locations/{region}");
        let job = new_job(&doing, doc)?;
        // There is nothing to wait for: the answer is the verdict.
        self.send_new_job(&doing, &parent, id, &job, true).await?.into_response(&doing).map(drop)
    }

    async fn send_new_job(
        &self,
        doing: &str,
        parent: &str,
        id: &str,
        job: &Job,
        validate_only: bool,
    ) -> Result<Operation, GcpError> {
        let client = self.jobs_client().await?;
        let name = format!("{parent}/jobs/{id}");
        let call = Call { method: &CREATE, doing, resource: &name };
        self.call(&call, || {
            let request = client
                .create_job()
                .set_parent(parent)
                .set_job_id(id)
                .set_job(job.clone())
                .set_validate_only(validate_only);
            async { operation(self.signed(request).send().await) }
        })
        .await
    }

    /// Changes a job and waits until it is ready to be run. `doc` is the whole job with the etag that was read: the
    /// method knows no mask, so that what is not in it goes.
    pub async fn patch_job(&self, name: &str, doc: Value) -> Result<Value, GcpError> {
        let doing = format!("change job {}", short(name));
        let job = changed_job(&doing, name, doc)?;
        match self.send_changed_job(&doing, &job, false).await {
            Ok(operation) => self.settle(Object::Job, &doing, name, operation).await,
            Err(error) if error.ambiguous && error.kind == ErrorKind::Conflict => {
                self.settle_as_sent(Object::Job, &doing, name, &sent(&doing, &job, &[])?, error).await
            }
            Err(error) => Err(error),
        }
    }

    /// Lets Cloud Run check `patch_job` (`validateOnly`); nothing is changed.
    pub async fn check_patch_job(&self, name: &str, doc: Value) -> Result<(), GcpError> {
        let doing = format!("check whether job {} can be changed", short(name));
        let job = changed_job(&doing, name, doc)?;
        self.send_changed_job(&doing, &job, true).await?.into_response(&doing).map(drop)
    }

    async fn send_changed_job(
        &self,
        doing: &str,
        job: &Job,
        validate_only: bool,
    ) -> Result<Operation, GcpError> {
        let client = self.jobs_client().await?;
        let call = Call { method: &PATCH, doing, resource: &job.name };
        self.call(&call, || {
            let request = client.update_job().set_job(job.clone()).set_validate_only(validate_only);
            async { operation(self.signed(request).send().await) }
        })
        .await
    }

    /// Deletes a job with all its executions; one that is not there is fine.
    pub async fn delete_job(&self, name: &str, etag: Option<&str>) -> Result<(), GcpError> {
        let doing = format!("delete job {}", short(name));
        let client = self.jobs_client().await?;
        let call = Call { method: &DELETE, doing: &doing, resource: name };
        let started = self
            .call(&call, || {
                let request = client.delete_job().set_name(name).set_etag(etag.unwrap_or_default());
                async { operation(self.signed(request).send().await) }
            })
            .await;
        let operation = match started {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let ended = self.wait_for_run(&doing, operation).await?;
        match ended.into_response(&doing) {
            Err(error) if self.job(name).await?.is_some() => Err(error),
            _ => Ok(()),
        }
    }

    /// A job once Cloud Run is done with what it is doing to it, ready or not; `None` when there is none.
    pub async fn settled_job(&self, name: &str) -> Result<Option<Value>, GcpError> {
        self.settled(Object::Job, &format!("wait for job {}", short(name)), name).await
    }

    /// Reads the list once more without types, to name what the official client could not read.
    async fn unreadable_job(&self, call: &Call<'_>) -> Option<GcpError> {
        let request = || Request::new(&LIST, format!("v2/{}/jobs", call.resource));
        let items = self.rest_list::<Value>(call.doing, request, "jobs").await.ok()?;
        unreadable::<Job>(call.doing, items)
    }
}

/// A job as it is sent to be created: its name stands in the request.
fn new_job(doing: &str, doc: Value) -> Result<Job, GcpError> {
    let mut job: Job = read(doing, doc)?;
    job.name.clear();
    Ok(job)
}

/// A job as it is sent to be changed, without what Google alone writes.
fn changed_job(doing: &str, name: &str, mut doc: Value) -> Result<Job, GcpError> {
    if let Value::Object(fields) = &mut doc {
        fields.retain(|field, _| field == "etag" || !NOT_OURS.contains(&field.as_str()));
    }
    let mut job: Job = read(doing, doc)?;
    name.clone_into(&mut job.name);
    Ok(job)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gcp::testserver::{Answer, Server, refusal};

    const NAME: &str = "projects/p/locations/l/jobs/backup";

    fn live(state: &str) -> Value {
        json!({
            "name": NAME, "generation": "2", "observedGeneration": "2", "etag": "\"2\"", "executionCount": 3,
            "latestCreatedExecution": {"name": "backup-x", "completionStatus": 1},
            "template": {"taskCount": 1, "template": {"containers": [{"image": "i"}], "maxRetries": 0}},
            "terminalCondition": {"type": "Ready", "state": state, "reason": 12, "message": "Permission denied"}
        })
    }

    fn ended(outcome: &str, value: &Value) -> Answer {
        Answer::json(
            200,
            json!({"name": "projects/p/locations/l/operations/o", "done": true, outcome: value}),
        )
    }

    #[tokio::test]
    async fn jobs_are_listed_over_all_pages() {
        let server = Server::start(vec![
            Answer::json(200, json!({"jobs": [live("CONDITION_SUCCEEDED")], "nextPageToken": "2"})),
            Answer::json(200, json!({"jobs": [{"name": "b"}]})),
        ])
        .await;
        let jobs = server.gcp().await.list_jobs("p", "l").await.unwrap();
        assert_eq!((jobs.len(), &jobs[0]["template"]["template"]["maxRetries"]), (2, &json!(0)));
        assert_eq!(jobs[0]["latestCreatedExecution"]["completionStatus"], "EXECUTION_SUCCEEDED");
    }

    #[tokio::test]
    async fn a_change_sends_the_whole_job_with_the_etag_and_nothing_that_google_alone_writes() {
        let mut answer = live("CONDITION_SUCCEEDED");
        answer["@type"] = json!("type.googleapis.com/google.cloud.run.v2.Job");
        let server = Server::start(vec![ended("response", &answer)]).await;
        let mut doc = live("CONDITION_SUCCEEDED");
        doc["template"]["novelty"] = json!(true);
        server.gcp().await.patch_job(NAME, doc).await.unwrap();
        let request = &server.requests()[0];
        assert_eq!(request.line(), format!("PATCH /run.googleapis.com/v2/{NAME}"));
        let body = request.json();
        assert_eq!((&body["etag"], &body["template"]["novelty"]), (&json!("\"2\""), &json!(true)));
        assert_eq!((body.get("executionCount"), body.get("latestCreatedExecution")), (None, None));
    }

    #[tokio::test]
    async fn a_check_is_sent_once_and_waits_for_nothing() {
        let started = Answer::json(200, json!({"name": "projects/p/locations/l/operations/o"}));
        let server = Server::start(vec![started, Answer::json(400, refusal(400, "INVALID_ARGUMENT"))]).await;
        let gcp = server.gcp().await;
        let wanted = json!({"template": {"template": {"containers": [{"image": "i"}]}}});
        gcp.check_create_job("p", "l", "backup", wanted.clone()).await.unwrap();
        let error = gcp.check_patch_job(NAME, wanted).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        assert!(requests.iter().all(|seen| seen.target.contains("validateOnly=true")), "{requests:?}");
    }

    #[tokio::test]
    async fn a_job_that_is_not_ready_is_explained_by_its_own_condition() {
        let server = Server::start(vec![
            ended("error", &json!({"code": 7, "message": "no"})),
            Answer::json(200, live("CONDITION_FAILED")),
        ])
        .await;
        let error = server.gcp().await.patch_job(NAME, live("CONDITION_SUCCEEDED")).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::RevisionFailed { .. }), "{error:?}");
        assert!(error.to_string().contains("change job backup: it did not become ready"), "{error}");
    }

    #[tokio::test]
    async fn a_lost_create_that_took_effect_is_ours() {
        let found = live("CONDITION_SUCCEEDED");
        let server = Server::start(vec![
            Answer::Drop,
            Answer::json(409, refusal(409, "ALREADY_EXISTS")),
            Answer::json(200, found.clone()),
            Answer::json(200, found),
        ])
        .await;
        let wanted = json!({"template": {"template": {"containers": [{"image": "i"}]}}});
        server.gcp().await.create_job("p", "l", "backup", wanted).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_gone_is_deleted() {
        let server = Server::serve(|_| Answer::json(404, refusal(404, "NOT_FOUND"))).await;
        let gcp = server.gcp().await;
        gcp.delete_job(NAME, Some("\"2\"")).await.unwrap();
        assert_eq!(gcp.job(NAME).await.unwrap(), None);
    }
}
