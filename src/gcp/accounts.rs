//! Service accounts, by IAM v1.

use serde::Deserialize;
use serde_json::json;

use super::api::{Api, Method};
use super::client::Gcp;
use super::error::{ErrorKind, GcpError};
use super::rest::{Request, parse};

const LIST: Method = Method::read(Api::Iam, "GET", "iam.projects.serviceAccounts.list");
const GET: Method = Method::read(Api::Iam, "GET", "iam.projects.serviceAccounts.get");
const CREATE: Method = Method::write(Api::Iam, "POST", "iam.projects.serviceAccounts.create");
const PATCH: Method = Method::write(Api::Iam, "PATCH", "iam.projects.serviceAccounts.patch");
const DELETE: Method = Method::write(Api::Iam, "DELETE", "iam.projects.serviceAccounts.delete");

/// The largest page of `serviceAccounts.list` (documented).
const PAGE: &str = "100";

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The address, which names it everywhere.
    pub email: String,
    /// The part of the address before the `@`.
    #[serde(skip)]
    pub account_id: String,
    /// At most 100 characters.
    #[serde(default)]
    pub display_name: String,
    /// At most 256 bytes.
    #[serde(default)]
    pub description: String,
    /// A disabled account cannot be used by anything that runs.
    #[serde(default)]
    pub disabled: bool,
    /// Google's number for it: an account of the same name made after a deletion has another one.
    #[serde(default)]
    pub unique_id: String,
}

impl Account {
    fn with_id(mut self) -> Self {
        self.account_id = self.email.split('@').next().unwrap_or_default().to_owned();
        self
    }
}

/// The resource name of an account: with its project where the address tells it, else with the wildcard.
pub(crate) fn resource(email: &str) -> String {
    let domain = email.split_once('@').map_or("", |(_, domain)| domain);
    let project = domain.strip_suffix(".iam.gserviceaccount.com").filter(|project| !project.contains('.'));
    format!("projects/{}/serviceAccounts/{email}", project.unwrap_or("-"))
}

impl Gcp {
    /// All service accounts of a project.
    pub async fn list_accounts(&self, project: &str) -> Result<Vec<Account>, GcpError> {
        let doing = format!("list the service accounts of {project}");
        let request =
            || Request::new(&LIST, format!("v1/projects/{project}/serviceAccounts")).query("pageSize", PAGE);
        let accounts: Vec<Account> = self.rest_list(&doing, request, "accounts").await?;
        Ok(accounts.into_iter().map(Account::with_id).collect())
    }

    /// An account by its address; `None` when there is none.
    pub async fn account(&self, email: &str) -> Result<Option<Account>, GcpError> {
        let doing = format!("read service account {email}");
        match self.rest(&doing, Request::new(&GET, format!("v1/{}", resource(email)))).await {
            Ok(answer) => Ok(Some(parse::<Account>(&doing, answer)?.with_id())),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an account. Should an attempt get lost after it took effect, the account is recognised as ours.
    pub async fn create_account(
        &self,
        project: &str,
        id: &str,
        display_name: &str,
        description: &str,
    ) -> Result<Account, GcpError> {
        let doing = format!("create service account {id}");
        let request = Request::new(&CREATE, format!("v1/projects/{project}/serviceAccounts")).body(json!({
            "accountId": id,
            "serviceAccount": { "displayName": display_name, "description": description },
        }));
        match self.rest(&doing, request).await {
            Ok(answer) => Ok(parse::<Account>(&doing, answer)?.with_id()),
            // A lost attempt of ours, or another run of the same plan: what is as it was to be made is made.
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                let name = resource(&format!("{id}@{project}.iam.gserviceaccount.com"));
                let answer = self.rest(&doing, Request::new(&GET, format!("v1/{name}"))).await?;
                let found = parse::<Account>(&doing, answer)?.with_id();
                let ours = found.display_name == display_name && found.description == description;
                if ours { Ok(found) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Sets display name and description.
    pub async fn patch_account(
        &self,
        email: &str,
        display_name: &str,
        description: &str,
    ) -> Result<Account, GcpError> {
        let doing = format!("change service account {email}");
        let request = Request::new(&PATCH, format!("v1/{}", resource(email))).body(json!({
            "serviceAccount": { "displayName": display_name, "description": description },
            "updateMask": "displayName,description",
        }));
        Ok(parse::<Account>(&doing, self.rest(&doing, request).await?)?.with_id())
    }

    /// Deletes an account; one that is not there is fine. Google keeps it for thirty days.
    pub async fn delete_account(&self, email: &str) -> Result<(), GcpError> {
        let doing = format!("delete service account {email}");
        match self.rest(&doing, Request::new(&DELETE, format!("v1/{}", resource(email)))).await {
            Err(error) if error.kind != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcp::testserver::{Answer, Server, refusal};

    const EMAIL: &str = "api@agents.iam.gserviceaccount.com";

    fn wire(description: &str) -> serde_json::Value {
        json!({"name": "n", "email": EMAIL, "displayName": "Api", "description": description, "uniqueId": "7"})
    }

    #[test]
    fn the_project_comes_from_the_address_where_it_tells_it() {
        assert_eq!(resource(EMAIL), format!("projects/agents/serviceAccounts/{EMAIL}"));
        let odd = "api@proj.example.com.iam.gserviceaccount.com";
        assert_eq!(resource(odd), format!("projects/-/serviceAccounts/{odd}"));
        let compute = "1-compute@developer.gserviceaccount.com";
        assert_eq!(resource(compute), format!("projects/-/serviceAccounts/{compute}"));
    }

    #[tokio::test]
    async fn an_account_made_by_a_lost_attempt_is_ours() {
        let server = Server::start(vec![
            Answer::Drop,
            Answer::json(409, refusal(409, "ALREADY_EXISTS")),
            Answer::json(200, wire("mark")),
        ])
        .await;
        let account = server.gcp().await.create_account("agents", "api", "Api", "mark").await.unwrap();
        assert_eq!((account.account_id.as_str(), account.unique_id.as_str()), ("api", "7"));
        let body = server.requests()[1].json();
        assert_eq!(body["accountId"], "api");
        assert_eq!(body["serviceAccount"], json!({"displayName": "Api", "description": "mark"}));
    }

    #[tokio::test]
    async fn an_account_of_others_is_not_taken_for_ours() {
        let server = Server::start(vec![
            Answer::Drop,
            Answer::json(409, refusal(409, "ALREADY_EXISTS")),
            Answer::json(200, wire("theirs")),
        ])
        .await;
        let error = server.gcp().await.create_account("agents", "api", "Api", "mark").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists);

        let server = Server::start(vec![
            Answer::json(409, refusal(409, "ALREADY_EXISTS")),
            Answer::json(200, wire("mark")),
        ])
        .await;
        server.gcp().await.create_account("agents", "api", "Api", "mark").await.unwrap();
    }

    #[tokio::test]
    async fn a_patch_names_its_fields_in_the_body() {
        let server = Server::start(vec![Answer::json(200, wire("new"))]).await;
        server.gcp().await.patch_account(EMAIL, "Api", "new").await.unwrap();
        let request = &server.requests()[0];
        assert_eq!(
            request.line(),
            format!("PATCH /iam.googleapis.com/v1/projects/agents/serviceAccounts/{EMAIL}")
        );
        assert_eq!(request.json()["updateMask"], "displayName,description");
    }

    #[tokio::test]
    async fn deleting_what_is_not_there_is_done() {
        let server = Server::start(vec![Answer::json(404, refusal(404, "NOT_FOUND"))]).await;
        server.gcp().await.delete_account(EMAIL).await.unwrap();
    }
}
