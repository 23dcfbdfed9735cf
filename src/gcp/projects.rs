//! Projects, by Cloud Resource Manager v3.

use serde::Deserialize;

use super::api::{Api, Method};
use super::client::Gcp;
use super::error::{ErrorKind, GcpError};
use super::rest::{Request, parse};

const GET: Method = Method::read(Api::ResourceManager, "GET", "cloudresourcemanager.projects.get");

/// A project of Google Cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The id that people chose (`projectId`).
    pub id: String,
    /// The number that Google chose (in `name`: `projects/NUMBER`).
    pub number: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    name: String,
    #[serde(default)]
    project_id: String,
    #[serde(default)]
    state: String,
}

impl Gcp {
    /// Reads a project: one request. A project that is being deleted is `FailedPrecondition`.
    pub async fn project(&self, id: &str) -> Result<Project, GcpError> {
        let doing = format!("read project {id}");
        let answer =
            self.rest(&doing, Request::new(&GET, format!("v3/projects/{id}"))).await.map_err(unseen)?;
        let wire: Wire = parse(&doing, answer)?;
        if wire.state == "DELETE_REQUESTED" {
            return Err(GcpError::new(doing, ErrorKind::FailedPrecondition, "the project is being deleted"));
        }
        let number = wire.name.strip_prefix("projects/").and_then(|number| number.parse().ok());
        match number {
            Some(number) => Ok(Project { id: wire.project_id, number }),
            None => Err(GcpError::new(
                doing,
                ErrorKind::Unreadable,
                format!("`{}` is not the name of a project", wire.name),
            )),
        }
    }
}

/// Google answers 403 for a project that does not exist, so that both readings are said.
fn unseen(error: GcpError) -> GcpError {
    if matches!(error.kind, ErrorKind::PermissionDenied | ErrorKind::NotFound) {
        error.with_hint("check the project id in the environment file: Google does not tell a project that is not there from one that you may not see")
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gcp::testserver::{Answer, Server};

    #[tokio::test]
    async fn the_number_is_read_from_the_name() {
        let server = Server::start(vec![Answer::json(
            200,
            json!({"name": "projects/42", "projectId": "agents", "state": "ACTIVE", "etag": "x"}),
        )])
        .await;
        let project = server.gcp().await.project("agents").await.unwrap();
        assert_eq!(project, Project { id: "agents".into(), number: 42 });
        assert_eq!(
            server.requests()[0].line(),
            "GET /cloudresourcemanager.googleapis.com/v3/projects/agents"
        );
    }

    #[tokio::test]
    async fn a_project_that_is_not_seen_gets_both_explanations() {
        let refusal = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no"}});
        let server = Server::start(vec![Answer::json(403, refusal)]).await;
        let error = server.gcp().await.project("agents").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::PermissionDenied);
        assert!(error.hints.iter().any(|hint| hint.contains("check the project id")), "{error:?}");
    }
}
