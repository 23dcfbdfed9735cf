//! Workload identity pools and their providers, by IAM v1. Google's crates have no client for them.
//!
//! Both have the same life: every change is an operation, there are no etags, and what is deleted stays for thirty days
//! under its name and can be brought back.

use serde_json::Value;

use super::api::{Api, Method};
use super::client::Gcp;
use super::error::{ErrorKind, GcpError};
use super::operation::Operation;
use super::rest::Request;

/// The methods of one of the two.
struct Methods {
    list: Method,
    get: Method,
    create: Method,
    patch: Method,
    delete: Method,
    undelete: Method,
    operation: Method,
    /// The query parameter that gives a new one its id.
    id: &'static str,
    /// The key of its lists.
    items: &'static str,
    /// The largest page (documented).
    page: &'static str,
}

macro_rules! methods {
    ($collection:literal, $id:literal, $items:literal, $page:literal) => {
        Methods {
            list: Method::read(Api::Federation, "GET", concat!($collection, ".list")),
            get: Method::read(Api::Federation, "GET", concat!($collection, ".get")),
            create: Method::write(Api::Federation, "POST", concat!($collection, ".create")),
            patch: Method::write(Api::Federation, "PATCH", concat!($collection, ".patch")),
            delete: Method::write(Api::Federation, "DELETE", concat!($collection, ".delete")),
            undelete: Method::write(Api::Federation, "POST", concat!($collection, ".undelete")),
            operation: Method::read(Api::Federation, "GET", concat!($collection, ".operations.get")),
            id: $id,
            items: $items,
            page: $page,
        }
    };
}

static POOLS: Methods = methods!(
    "iam.projects.locations.workloadIdentityPools",
    "workloadIdentityPoolId",
    "workloadIdentityPools",
    "1000"
);
static PROVIDERS: Methods = methods!(
    "iam.projects.locations.workloadIdentityPools.providers",
    "workloadIdentityPoolProviderId",
    "workloadIdentityPoolProviders",
    "100"
);

/// A pool, or a provider in it, by the ids of its project, its pool and itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A workload identity pool.
    Pool { project: String, pool: String },
    /// A provider of a workload identity pool.
    Provider { project: String, pool: String, provider: String },
}

impl Identity {
    fn methods(&self) -> &'static Methods {
        match self {
            Self::Pool { .. } => &POOLS,
            Self::Provider { .. } => &PROVIDERS,
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Pool { pool, .. } => pool,
            Self::Provider { provider, .. } => provider,
        }
    }

    /// Version and resource name of what it is in, with the collection.
    fn collection(&self) -> String {
        match self {
            Self::Pool { project, .. } => pools(project),
            Self::Provider { project, pool, .. } => providers(project, pool),
        }
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.id())
    }

    /// What people call it.
    fn described(&self) -> String {
        match self {
            Self::Pool { pool, .. } => format!("identity pool {pool}"),
            Self::Provider { pool, provider, .. } => format!("identity provider {pool}/{provider}"),
        }
    }
}

/// Pools are in no region.
fn pools(project: &str) -> String {
    format!("v1/projects/{project}/locations/global/workloadIdentityPools")
}

fn providers(project: &str, pool: &str) -> String {
    format!("{}/{pool}/providers", pools(project))
}

/// Whether a pool or provider is deleted and can still be brought back (`state`).
pub fn is_deleted(doc: &Value) -> bool {
    doc["state"] == "DELETED"
}

impl Gcp {
    /// All pools of a project, deleted ones too.
    pub async fn list_pools(&self, project: &str) -> Result<Vec<Value>, GcpError> {
        self.list_identities(&format!("list the identity pools of {project}"), &pools(project), &POOLS).await
    }

    /// All providers of a pool, deleted ones too; none when there is no such pool.
    pub async fn list_providers(&self, project: &str, pool: &str) -> Result<Vec<Value>, GcpError> {
        let doing = format!("list the identity providers of pool {pool}");
        match self.list_identities(&doing, &providers(project, pool), &PROVIDERS).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    async fn list_identities(
        &self,
        doing: &str,
        path: &str,
        methods: &'static Methods,
    ) -> Result<Vec<Value>, GcpError> {
        let request = || {
            let request = Request::new(&methods.list, path.to_owned()).query("pageSize", methods.page);
            request.query("showDeleted", "true")
        };
        self.rest_list(doing, request, methods.items).await
    }

    /// A pool or provider, deleted ones too; `None` when there is none.
    pub async fn identity(&self, of: &Identity) -> Result<Option<Value>, GcpError> {
        let doing = format!("read {}", of.described());
        match self.rest(&doing, Request::new(&of.methods().get, of.path())).await {
            Ok(doc) => Ok(Some(doc)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a pool or provider and waits until it is there. Should an attempt get lost after it took effect, what
    /// it made is recognised by `body`; what was deleted a while ago under that name has moved.
    pub async fn create_identity(&self, of: &Identity, body: &Value) -> Result<(), GcpError> {
        let doing = format!("create {}", of.described());
        let request = Request::new(&of.methods().create, of.collection());
        let request = request.query(of.methods().id, of.id()).body(body.clone());
        match self.identity_operation(&doing, of, request).await {
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                // What is being made takes its name before it can be seen.
                let found = self.wait_until(&doing, || self.identity(of)).await?;
                let fields = body.as_object().into_iter().flatten();
                let same = fields.into_iter().all(|(key, value)| found.get(key) == Some(value));
                match is_deleted(&found) {
                    true => Err(GcpError::moved(of.id())),
                    false if same => Ok(()),
                    false => Err(error),
                }
            }
            other => other,
        }
    }

    /// Sets the fields that `body` has and waits until they are set.
    pub async fn patch_identity(&self, of: &Identity, body: &Value) -> Result<(), GcpError> {
        let doing = format!("change {}", of.described());
        let mask: Vec<_> = body.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let request = Request::new(&of.methods().patch, of.path()).query("updateMask", mask.join(","));
        self.identity_operation(&doing, of, request.body(body.clone())).await
    }

    /// Deletes a pool or provider and waits until it is gone; one that is gone or was never there is fine.
    pub async fn delete_identity(&self, of: &Identity) -> Result<(), GcpError> {
        let doing = format!("delete {}", of.described());
        let request = Request::new(&of.methods().delete, of.path());
        match self.identity_operation(&doing, of, request).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) => self.unless_so_already(of, true, error).await,
            Ok(()) => Ok(()),
        }
    }

    /// Brings a deleted pool or provider back and waits until it is there; one that is back already is fine.
    pub async fn undelete_identity(&self, of: &Identity) -> Result<(), GcpError> {
        let doing = format!("restore {}", of.described());
        let request = Request::new(&of.methods().undelete, format!("{}:undelete", of.path()));
        match self.identity_operation(&doing, of, request.body(Value::Object(serde_json::Map::new()))).await {
            Err(error) => self.unless_so_already(of, false, error).await,
            Ok(()) => Ok(()),
        }
    }

    /// An attempt that got lost may have done it: the next one is then refused.
    async fn unless_so_already(&self, of: &Identity, deleted: bool, error: GcpError) -> Result<(), GcpError> {
        let refused = matches!(error.kind, ErrorKind::FailedPrecondition | ErrorKind::InvalidArgument);
        if refused && self.identity(of).await?.is_some_and(|doc| is_deleted(&doc) == deleted) {
            return Ok(());
        }
        Err(error)
    }

    async fn identity_operation(&self, doing: &str, of: &Identity, request: Request) -> Result<(), GcpError> {
        let started = Operation::read(doing, self.rest(doing, request).await?)?;
        let poll = |name: String| async move {
            let request = Request::new(&of.methods().operation, format!("v1/{name}"));
            Operation::read(doing, self.rest(doing, request).await?)
        };
        self.wait(doing, started, poll).await?.into_response(doing)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gcp::testserver::{Answer, Server, refusal};

    fn pool() -> Identity {
        Identity::Pool { project: "p".into(), pool: "github".into() }
    }

    fn body() -> Value {
        json!({"displayName": "D", "description": "mark"})
    }

    fn done() -> Answer {
        Answer::json(200, json!({"name": "o", "done": true, "response": {}}))
    }

    fn taken() -> Answer {
        Answer::json(409, refusal(409, "ALREADY_EXISTS"))
    }

    fn shown(state: &str, description: &str) -> Answer {
        Answer::json(200, json!({"displayName": "D", "description": description, "state": state}))
    }

    #[tokio::test]
    async fn a_new_pool_is_waited_for() {
        let name = "projects/1/locations/global/workloadIdentityPools/github/operations/x";
        let server = Server::start(vec![Answer::json(200, json!({"name": name})), done()]).await;
        server.gcp().await.create_identity(&pool(), &body()).await.unwrap();
        let requests = server.requests();
        let create = "/iam.googleapis.com/v1/projects/p/locations/global/workloadIdentityPools?workloadIdentityPoolId=github";
        assert_eq!(requests[0].target, create);
        assert_eq!(requests[0].json(), body());
        assert_eq!(requests[1].line(), format!("GET /iam.googleapis.com/v1/{name}"));
    }

    #[tokio::test]
    async fn a_pool_made_by_a_lost_attempt_is_ours_once_it_can_be_seen() {
        let unseen = Answer::json(404, refusal(404, "NOT_FOUND"));
        let server = Server::start(vec![Answer::Drop, taken(), unseen, shown("ACTIVE", "mark")]).await;
        server.gcp().await.create_identity(&pool(), &body()).await.unwrap();
    }

    #[tokio::test]
    async fn a_pool_of_others_or_one_deleted_meanwhile_is_not_taken_for_ours() {
        let server = Server::start(vec![taken(), shown("ACTIVE", "theirs")]).await;
        let error = server.gcp().await.create_identity(&pool(), &body()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists);
        let server = Server::start(vec![taken(), shown("DELETED", "mark")]).await;
        let error = server.gcp().await.create_identity(&pool(), &body()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
    }

    #[tokio::test]
    async fn a_change_names_its_fields_and_a_failed_operation_is_an_error() {
        let failed = json!({"name": "o", "done": true, "error": {"code": 3, "message": "bad condition"}});
        let server = Server::start(vec![Answer::json(200, failed)]).await;
        let of =
            Identity::Provider { project: "p".into(), pool: "github".into(), provider: "actions".into() };
        let error = server.gcp().await.patch_identity(&of, &body()).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot change identity provider github/actions: bad condition");
        let target = &server.requests()[0].target;
        assert!(
            target.ends_with("/github/providers/actions?updateMask=description%2CdisplayName"),
            "{target}"
        );
    }

    #[tokio::test]
    async fn what_a_lost_attempt_deleted_or_restored_is_done() {
        let refused = || Answer::json(400, refusal(400, "FAILED_PRECONDITION"));
        let server = Server::start(vec![Answer::Drop, refused(), shown("DELETED", "mark")]).await;
        server.gcp().await.delete_identity(&pool()).await.unwrap();
        let server = Server::start(vec![Answer::Drop, refused(), shown("ACTIVE", "mark")]).await;
        server.gcp().await.undelete_identity(&pool()).await.unwrap();
        let server = Server::start(vec![refused(), shown("DELETED", "mark")]).await;
        let error = server.gcp().await.undelete_identity(&pool()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::FailedPrecondition);
    }

    #[tokio::test]
    async fn a_pool_that_is_not_there_has_no_providers() {
        let server = Server::start(vec![Answer::json(404, refusal(404, "NOT_FOUND"))]).await;
        assert!(server.gcp().await.list_providers("p", "github").await.unwrap().is_empty());
        let target = &server.requests()[0].target;
        assert!(target.ends_with("/github/providers?pageSize=100&showDeleted=true"), "{target}");
    }
}
