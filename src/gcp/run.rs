//! Cloud Run services, by Cloud Run v2: what differs from jobs in the calls of `objects`; and revisions.

use google_cloud_run_v2::client::Services;
use google_cloud_run_v2::model::Service;
use google_cloud_wkt::FieldMask;
use serde_json::Value;

use super::api::{Api, Method};
use super::client::{Call, Gcp};
use super::error::GcpError;
use super::failure::Failure;
use super::objects::Object;
use super::official::failure;
use super::operation::Operation;
use super::settling::{found, listed_of_run, operation, short};

const REVISIONS: Method = Method::read(Api::Run, "GET", "run.projects.locations.services.revisions.list");
const REVISION: Method = Method::read(Api::Run, "GET", "run.projects.locations.services.revisions.get");

impl Object for Service {
    const NOUN: &'static str = "service";
    const COLLECTION: &'static str = "services";
    const LIST: Method = Method::read(Api::Run, "GET", "run.projects.locations.services.list");
    const GET: Method = Method::read(Api::Run, "GET", "run.projects.locations.services.get");
    const CREATE: Method = Method::write(Api::Run, "POST", "run.projects.locations.services.create");
    const PATCH: Method = Method::write(Api::Run, "PATCH", "run.projects.locations.services.patch");
    const DELETE: Method = Method::write(Api::Run, "DELETE", "run.projects.locations.services.delete");
    type Client = Services;

    async fn client(gcp: &Gcp) -> Result<&Services, GcpError> {
        gcp.services_client().await
    }

    fn name(&mut self) -> &mut String {
        &mut self.name
    }

    async fn send_list(
        gcp: &Gcp,
        client: &Services,
        parent: &str,
        token: &str,
    ) -> Result<(Vec<Self>, String), Failure> {
        let request = client.list_services().set_parent(parent).set_page_token(token);
        let page = gcp.signed(request).send().await.map_err(failure)?;
        Ok((page.services, page.next_page_token))
    }

    async fn send_get(gcp: &Gcp, client: &Services, name: &str) -> Result<Self, Failure> {
        gcp.signed(client.get_service().set_name(name)).send().await.map_err(failure)
    }

    async fn send_create(
        &self,
        gcp: &Gcp,
        client: &Services,
        (parent, id): (&str, &str),
        validate_only: bool,
    ) -> Result<Operation, Failure> {
        let request = client
            .create_service()
            .set_parent(parent)
            .set_service_id(id)
            .set_service(self.clone())
            .set_validate_only(validate_only);
        operation(gcp.signed(request).send().await)
    }

    async fn send_patch(
        &self,
        gcp: &Gcp,
        client: &Services,
        mask: &[&str],
        validate_only: bool,
    ) -> Result<Operation, Failure> {
        let paths = (!mask.is_empty()).then(|| FieldMask::default().set_paths(mask.iter().copied()));
        let request = client
            .update_service()
            .set_service(self.clone())
            .set_or_clear_update_mask(paths)
            .set_validate_only(validate_only);
        operation(gcp.signed(request).send().await)
    }

    async fn send_delete(gcp: &Gcp, client: &Services, name: &str, etag: &str) -> Result<Operation, Failure> {
        operation(gcp.signed(client.delete_service().set_name(name).set_etag(etag)).send().await)
    }
}

impl Gcp {
    /// A revision by its resource name; `None` when there is none.
    pub async fn revision(&self, name: &str) -> Result<Option<Value>, GcpError> {
        let doing = format!("read revision {}", short(name));
        let client = self.revisions_client().await?;
        let call = Call { method: &REVISION, doing: &doing, resource: name };
        let get =
            || async { self.signed(client.get_revision().set_name(name)).send().await.map_err(failure) };
        found(&doing, self.call(&call, get).await)
    }

    /// All revisions of a service (resource name), in no order that means something; none when there is no such service.
    pub async fn revisions(&self, service: &str) -> Result<Vec<Value>, GcpError> {
        let doing = format!("list the revisions of service {}", short(service));
        let client = self.revisions_client().await?;
        let call = Call { method: &REVISIONS, doing: &doing, resource: service };
        let page = |token: String| async move {
            let request = client.list_revisions().set_parent(service).set_page_token(token);
            let page = self.signed(request).send().await.map_err(failure)?;
            Ok((page.revisions, page.next_page_token))
        };
        listed_of_run(&doing, self.all_pages(&call, page).await)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gcp::error::ErrorKind;
    use crate::gcp::testserver::{Answer, Server, refusal};

    const NAME: &str = "projects/p/locations/l/services/api";

    /// A live service as it comes over the wire: this client asks for enums as numbers.
    fn live(state: &str) -> Value {
        json!({
            "name": NAME, "generation": "2", "observedGeneration": "2", "ingress": 1, "etag": "\"2\"",
            "latestCreatedRevision": format!("{NAME}/revisions/api-2"),
            "template": {"containers": [{"image": "i", "resources": {"cpuIdle": true}}], "timeout": "300s"},
            "terminalCondition": {"type": "Ready", "state": state, "message": "m"}
        })
    }

    fn wanted() -> Value {
        json!({"ingress": "INGRESS_TRAFFIC_ALL", "template": {"containers": [{"image": "i"}]}})
    }

    fn started() -> Answer {
        Answer::json(200, json!({"name": "projects/p/locations/l/operations/o"}))
    }

    fn ended(outcome: &str, value: &Value) -> Answer {
        Answer::json(
            200,
            json!({"name": "projects/p/locations/l/operations/o", "done": true, outcome: value}),
        )
    }

    fn response(mut service: Value) -> Answer {
        service["@type"] = json!("type.googleapis.com/google.cloud.run.v2.Service");
        ended("response", &service)
    }

    #[tokio::test]
    async fn services_are_listed_over_all_pages_with_names_of_enums() {
        let server = Server::start(vec![
            Answer::json(200, json!({"services": [live("CONDITION_SUCCEEDED")], "nextPageToken": "2"})),
            Answer::json(200, json!({"services": [{"name": "b"}]})),
        ])
        .await;
        let services = server.gcp().await.list_objects::<Service>("p", "l").await.unwrap();
        assert_eq!(services.len(), 2);
        assert_eq!(services[0]["ingress"], "INGRESS_TRAFFIC_ALL");
        assert_eq!(services[0]["generation"], "2");
        assert_eq!(services[0]["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
        let requests = server.requests();
        assert_eq!(requests[1].line(), "GET /run.googleapis.com/v2/projects/p/locations/l/services");
        assert!(requests[1].target.contains("pageToken=2"), "{}", requests[1].target);
    }

    #[tokio::test]
    async fn creating_waits_for_the_operation_and_answers_the_service() {
        let server = Server::start(vec![started(), started(), response(live("CONDITION_SUCCEEDED"))]).await;
        let service = server.gcp().await.create_object::<Service>("p", "l", "api", wanted()).await.unwrap();
        assert_eq!(service["ingress"], "INGRESS_TRAFFIC_ALL");
        assert_eq!(service.get("@type"), None);
        let requests = server.requests();
        assert!(requests[0].target.contains("serviceId=api"), "{}", requests[0].target);
        assert_eq!(
            requests[2].line(),
            "POST /run.googleapis.com/v2/projects/p/locations/l/operations/o:wait"
        );
        assert_eq!(requests[2].json()["timeout"], "5s");
        assert_eq!(server.sleeper.slept().len(), 2);
    }

    #[tokio::test]
    async fn a_check_is_sent_once_and_waits_for_nothing() {
        let server =
            Server::start(vec![started(), Answer::json(400, refusal(400, "INVALID_ARGUMENT"))]).await;
        let gcp = server.gcp().await;
        gcp.check_create_object::<Service>("p", "l", "api", wanted()).await.unwrap();
        let error = gcp.check_patch_object::<Service>(NAME, wanted(), &["template"]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        assert!(requests.iter().all(|seen| seen.target.contains("validateOnly=true")), "{requests:?}");
    }

    #[tokio::test]
    async fn a_failed_operation_is_explained_by_the_revision() {
        let revision = json!({"name": format!("{NAME}/revisions/api-2"), "conditions": [{"type": "Ready",
            "state": "CONDITION_FAILED", "revisionReason": "HEALTH_CHECK_CONTAINER_ERROR", "message": "no port"}]});
        let server = Server::start(vec![
            ended("error", &json!({"code": 9, "message": "bad"})),
            Answer::json(200, live("CONDITION_FAILED")),
            Answer::json(200, revision),
        ])
        .await;
        let error = server.gcp().await.create_object::<Service>("p", "l", "api", wanted()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::RevisionFailed { reason: "HEALTH_CHECK_CONTAINER_ERROR".into() });
        assert!(error.message.contains("api-2") && error.message.contains("no port"), "{error}");
    }

    #[tokio::test]
    async fn a_ready_service_is_believed_over_a_failed_operation() {
        let failed = || ended("error", &json!({"code": 4, "message": "took too long"}));
        let server = Server::start(vec![failed(), Answer::json(200, live("CONDITION_SUCCEEDED"))]).await;
        assert!(server.gcp().await.patch_object::<Service>(NAME, wanted(), &[]).await.is_ok());

        let server = Server::start(vec![failed(), Answer::json(404, refusal(404, "NOT_FOUND"))]).await;
        let error = server.gcp().await.patch_object::<Service>(NAME, wanted(), &[]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::OperationFailed { code: 4 });
    }

    #[tokio::test]
    async fn a_lost_create_that_took_effect_is_ours() {
        let lost = |found: Value| {
            vec![
                Answer::Drop,
                Answer::json(409, refusal(409, "ALREADY_EXISTS")),
                Answer::json(200, found.clone()),
                Answer::json(200, found),
            ]
        };
        let server = Server::start(lost(live("CONDITION_SUCCEEDED"))).await;
        assert!(server.gcp().await.create_object::<Service>("p", "l", "api", wanted()).await.is_ok());

        let mut other = live("CONDITION_SUCCEEDED");
        other["template"]["containers"][0]["image"] = json!("theirs");
        let server = Server::start(lost(other)).await;
        let error = server.gcp().await.create_object::<Service>("p", "l", "api", wanted()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists);
    }

    #[tokio::test]
    async fn a_lost_patch_that_took_effect_is_waited_for() {
        let mut working = live("CONDITION_RECONCILING");
        working["reconciling"] = json!(true);
        let server = Server::start(vec![
            Answer::json(504, refusal(504, "DEADLINE_EXCEEDED")),
            Answer::json(409, refusal(409, "ABORTED")),
            Answer::json(200, working.clone()),
            Answer::json(200, working),
            Answer::json(200, live("CONDITION_SUCCEEDED")),
        ])
        .await;
        let mut doc = wanted();
        doc["etag"] = json!("\"1\"");
        let service = server.gcp().await.patch_object::<Service>(NAME, doc, &["template"]).await.unwrap();
        assert_eq!(service["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
        let request = &server.requests()[1];
        assert!(request.target.contains("updateMask=template"), "{}", request.target);
        assert_eq!(request.json()["etag"], "\"1\"");
    }

    #[tokio::test]
    async fn a_stale_etag_is_a_conflict_and_is_sent_once() {
        let server = Server::start(vec![Answer::json(409, refusal(409, "ABORTED"))]).await;
        let error = server.gcp().await.patch_object::<Service>(NAME, wanted(), &[]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert_eq!(server.requests().len(), 1);
    }

    #[tokio::test]
    async fn deleting_waits_and_what_is_gone_is_deleted() {
        let server = Server::start(vec![
            started(),
            response(live("CONDITION_SUCCEEDED")),
            Answer::json(404, refusal(404, "NOT_FOUND")),
        ])
        .await;
        let gcp = server.gcp().await;
        gcp.delete_object::<Service>(NAME, Some("\"2\"")).await.unwrap();
        assert!(server.requests()[0].target.contains("etag=%222%22"), "{}", server.requests()[0].target);
        gcp.delete_object::<Service>(NAME, None).await.unwrap();
    }

    #[tokio::test]
    async fn a_service_that_cannot_be_read_is_named() {
        let mut odd = live("CONDITION_SUCCEEDED");
        odd["template"]["containers"] = json!("none");
        let list = json!({"services": [odd.clone()]});
        let server = Server::start(vec![
            Answer::json(200, list.clone()),
            Answer::json(200, list),
            Answer::json(200, odd),
        ])
        .await;
        let gcp = server.gcp().await;
        let error = gcp.list_objects::<Service>("p", "l").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreadable);
        assert!(error.message.contains(NAME) && error.message.contains("template.containers"), "{error}");
        let error = gcp.object::<Service>(NAME).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreadable);
        assert!(error.to_string().contains("api"), "{error}");
    }

    #[tokio::test]
    async fn revisions_are_listed_over_all_pages() {
        let ready = json!({"type": "Ready", "state": 4});
        let server = Server::start(vec![
            Answer::json(
                200,
                json!({"revisions": [{"name": "a", "conditions": [ready]}], "nextPageToken": "2"}),
            ),
            Answer::json(200, json!({"revisions": [{"name": "b"}]})),
        ])
        .await;
        let revisions = server.gcp().await.revisions(NAME).await.unwrap();
        assert_eq!(revisions.len(), 2);
        assert_eq!(revisions[0]["conditions"][0]["state"], "CONDITION_SUCCEEDED");
        let line = format!("GET /run.googleapis.com/v2/{NAME}/revisions");
        assert_eq!(server.requests()[1].line(), line);
    }

    #[tokio::test]
    async fn what_is_not_there_is_none() {
        let server = Server::serve(|_| Answer::json(404, refusal(404, "NOT_FOUND"))).await;
        let gcp = server.gcp().await;
        assert_eq!(gcp.object::<Service>(NAME).await.unwrap(), None);
        assert_eq!(gcp.revision(&format!("{NAME}/revisions/api-2")).await.unwrap(), None);
        assert_eq!(gcp.settled_object::<Service>(NAME).await.unwrap(), None);
    }
}
