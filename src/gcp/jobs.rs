//! Cloud Run jobs, by Cloud Run v2: what differs from services in the calls of `objects`.

use google_cloud_run_v2::client::Jobs;
use google_cloud_run_v2::model::Job;
use serde_json::Value;

use super::api::{Api, Method};
use super::client::Gcp;
use super::error::GcpError;
use super::failure::Failure;
use super::objects::Object;
use super::official::failure;
use super::operation::Operation;
use super::settling::{NOT_OURS, operation};

impl Object for Job {
    const NOUN: &'static str = "job";
    const COLLECTION: &'static str = "jobs";
    const LIST: Method = Method::read(Api::Run, "GET", "run.projects.locations.jobs.list");
    const GET: Method = Method::read(Api::Run, "GET", "run.projects.locations.jobs.get");
    const CREATE: Method = Method::write(Api::Run, "POST", "run.projects.locations.jobs.create");
    const PATCH: Method = Method::write(Api::Run, "PATCH", "run.projects.locations.jobs.patch");
    const DELETE: Method = Method::write(Api::Run, "DELETE", "run.projects.locations.jobs.delete");
    type Client = Jobs;

    async fn client(gcp: &Gcp) -> Result<&Jobs, GcpError> {
        gcp.jobs_client().await
    }

    fn name(&mut self) -> &mut String {
        &mut self.name
    }

    fn writable(mut doc: Value) -> Value {
        if let Value::Object(fields) = &mut doc {
            fields.retain(|field, _| field == "etag" || !NOT_OURS.contains(&field.as_str()));
        }
        doc
    }

    async fn send_list(
        gcp: &Gcp,
        client: &Jobs,
        parent: &str,
        token: &str,
    ) -> Result<(Vec<Self>, String), Failure> {
        let request = client.list_jobs().set_parent(parent).set_page_token(token);
        let page = gcp.signed(request).send().await.map_err(failure)?;
        Ok((page.jobs, page.next_page_token))
    }

    async fn send_get(gcp: &Gcp, client: &Jobs, name: &str) -> Result<Self, Failure> {
        gcp.signed(client.get_job().set_name(name)).send().await.map_err(failure)
    }

    async fn send_create(
        &self,
        gcp: &Gcp,
        client: &Jobs,
        (parent, id): (&str, &str),
        validate_only: bool,
    ) -> Result<Operation, Failure> {
        let request = client
            .create_job()
            .set_parent(parent)
            .set_job_id(id)
            .set_job(self.clone())
            .set_validate_only(validate_only);
        operation(gcp.signed(request).send().await)
    }

    /// The method knows no mask: what is not in the document goes.
    async fn send_patch(
        &self,
        gcp: &Gcp,
        client: &Jobs,
        _: &[&str],
        validate_only: bool,
    ) -> Result<Operation, Failure> {
        let request = client.update_job().set_job(self.clone()).set_validate_only(validate_only);
        operation(gcp.signed(request).send().await)
    }

    async fn send_delete(gcp: &Gcp, client: &Jobs, name: &str, etag: &str) -> Result<Operation, Failure> {
        operation(gcp.signed(client.delete_job().set_name(name).set_etag(etag)).send().await)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gcp::error::ErrorKind;
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
        let jobs = server.gcp().await.list_objects::<Job>("p", "l").await.unwrap();
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
        server.gcp().await.patch_object::<Job>(NAME, doc, &[]).await.unwrap();
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
        gcp.check_create_object::<Job>("p", "l", "backup", wanted.clone()).await.unwrap();
        let error = gcp.check_patch_object::<Job>(NAME, wanted, &[]).await.unwrap_err();
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
        let error =
            server.gcp().await.patch_object::<Job>(NAME, live("CONDITION_SUCCEEDED"), &[]).await.unwrap_err();
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
        server.gcp().await.create_object::<Job>("p", "l", "backup", wanted).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_gone_is_deleted() {
        let server = Server::serve(|_| Answer::json(404, refusal(404, "NOT_FOUND"))).await;
        let gcp = server.gcp().await;
        gcp.delete_object::<Job>(NAME, Some("\"2\"")).await.unwrap();
        assert_eq!(gcp.object::<Job>(NAME).await.unwrap(), None);
    }
}
