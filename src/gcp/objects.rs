//! The calls that Cloud Run has for its services and for its jobs alike: list, read, create, change, delete.
//!
//! Create, change and delete wait for their operation (`settling`) and answer the object as it is then.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api::Method;
use super::client::{Call, Gcp};
use super::documents::{of_run, read, unreadable};
use super::error::{ErrorKind, GcpError};
use super::failure::Failure;
use super::operation::Operation;
use super::rest::Request;
use super::settling::{found, sent, short};

/// What services and jobs differ in: words, methods, and the requests of the official clients. Each `send_` is one
/// attempt.
pub(crate) trait Object: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What people call one.
    const NOUN: &'static str;
    /// What names and lists call them.
    const COLLECTION: &'static str;
    const LIST: Method;
    const GET: Method;
    const CREATE: Method;
    const PATCH: Method;
    const DELETE: Method;
    type Client: Sync + 'static;

    fn client(gcp: &Gcp) -> impl Future<Output = Result<&Self::Client, GcpError>> + Send;

    /// Where the document has its resource name.
    fn name(&mut self) -> &mut String;

    /// What of a changed document is sent.
    fn writable(doc: Value) -> Value {
        doc
    }

    /// One page, and the token of the next one; empty after the last.
    fn send_list(
        gcp: &Gcp,
        client: &Self::Client,
        parent: &str,
        token: &str,
    ) -> impl Future<Output = Result<(Vec<Self>, String), Failure>> + Send;

    fn send_get(
        gcp: &Gcp,
        client: &Self::Client,
        name: &str,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;

    fn send_create(
        &self,
        gcp: &Gcp,
        client: &Self::Client,
        at: (&str, &str),
        validate_only: bool,
    ) -> impl Future<Output = Result<Operation, Failure>> + Send;

    /// `mask` names the top-level fields to write; none means all.
    fn send_patch(
        &self,
        gcp: &Gcp,
        client: &Self::Client,
        mask: &[&str],
        validate_only: bool,
    ) -> impl Future<Output = Result<Operation, Failure>> + Send;

    /// An empty `etag` asks for none.
    fn send_delete(
        gcp: &Gcp,
        client: &Self::Client,
        name: &str,
        etag: &str,
    ) -> impl Future<Output = Result<Operation, Failure>> + Send;
}

impl Gcp {
    /// All of a region, as canonical documents.
    pub(crate) async fn list_objects<O: Object>(
        &self,
        project: &str,
        region: &str,
    ) -> Result<Vec<Value>, GcpError> {
        let doing = format!("list the {} of {project} in {region}", O::COLLECTION);
        let parent = parent(project, region);
        let call = Call { method: &O::LIST, doing: &doing, resource: &parent };
        let client = O::client(self).await?;
        let page = |token: String| {
            let parent = &parent;
            async move { O::send_list(self, client, parent, &token).await }
        };
        match self.all_pages(&call, page).await {
            Err(error) if error.kind == ErrorKind::Unreadable => {
                Err(self.unreadable_object::<O>(&call).await.unwrap_or(error))
            }
            objects => objects?.iter().map(|object| of_run(&doing, object)).collect(),
        }
    }

    /// Reads the list once more without types, to name what the official client could not read.
    async fn unreadable_object<O: Object>(&self, call: &Call<'_>) -> Option<GcpError> {
        let request = || Request::new(&O::LIST, format!("v2/{}/{}", call.resource, O::COLLECTION));
        let items = self.rest_list::<Value>(call.doing, request, O::COLLECTION).await.ok()?;
        unreadable::<O>(call.doing, items)
    }

    /// One by its resource name; `None` when there is none.
    pub(crate) async fn object<O: Object>(&self, name: &str) -> Result<Option<Value>, GcpError> {
        let doing = format!("read {} {}", O::NOUN, short(name));
        let client = O::client(self).await?;
        let call = Call { method: &O::GET, doing: &doing, resource: name };
        found(&doing, self.call(&call, || O::send_get(self, client, name)).await)
    }

    /// Creates one and waits until it is ready.
    pub(crate) async fn create_object<O: Object>(
        &self,
        project: &str,
        region: &str,
        id: &str,
        doc: Value,
    ) -> Result<Value, GcpError> {
        let doing = format!("create {} {id}", O::NOUN);
        let parent = parent(project, region);
        let name = format!("{parent}/{}/{id}", O::COLLECTION);
        let object = named::<O>(&doing, "", doc)?;
        match self.send_new(&doing, (&parent, id), &object, false).await {
            Ok(operation) => self.settle::<O>(&doing, &name, operation).await,
            // A lost attempt of ours, or another run of the same plan: what is as it was to be made is made.
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                self.settle_as_sent::<O>(&doing, &name, &sent(&doing, &object, &[])?, error).await
            }
            Err(error) => Err(error),
        }
    }

    /// Lets Cloud Run check `create_object` (`validateOnly`); nothing is created.
    pub(crate) async fn check_create_object<O: Object>(
        &self,
        project: &str,
        region: &str,
        id: &str,
        doc: Value,
    ) -> Result<(), GcpError> {
        let doing = format!("check whether {} {id} can be created", O::NOUN);
        let object = named::<O>(&doing, "", doc)?;
        // There is nothing to wait for: the answer is the verdict.
        self.send_new(&doing, (&parent(project, region), id), &object, true)
            .await?
            .into_response(&doing)
            .map(drop)
    }

    async fn send_new<O: Object>(
        &self,
        doing: &str,
        at: (&str, &str),
        object: &O,
        validate_only: bool,
    ) -> Result<Operation, GcpError> {
        let client = O::client(self).await?;
        let name = format!("{}/{}/{}", at.0, O::COLLECTION, at.1);
        let call = Call { method: &O::CREATE, doing, resource: &name };
        self.call(&call, || object.send_create(self, client, at, validate_only)).await
    }

    /// Changes one and waits until it is ready. `doc` has the etag that was read; `mask` names the top-level fields to
    /// write, none meaning all.
    pub(crate) async fn patch_object<O: Object>(
        &self,
        name: &str,
        doc: Value,
        mask: &[&str],
    ) -> Result<Value, GcpError> {
        let doing = format!("change {} {}", O::NOUN, short(name));
        let object = named::<O>(&doing, name, O::writable(doc))?;
        match self.send_changed(&doing, name, &object, mask, false).await {
            Ok(operation) => self.settle::<O>(&doing, name, operation).await,
            Err(error) if error.ambiguous && error.kind == ErrorKind::Conflict => {
                self.settle_as_sent::<O>(&doing, name, &sent(&doing, &object, mask)?, error).await
            }
            Err(error) => Err(error),
        }
    }

    /// Lets Cloud Run check `patch_object` (`validateOnly`); nothing is changed.
    pub(crate) async fn check_patch_object<O: Object>(
        &self,
        name: &str,
        doc: Value,
        mask: &[&str],
    ) -> Result<(), GcpError> {
        let doing = format!("check whether {} {} can be changed", O::NOUN, short(name));
        let object = named::<O>(&doing, name, O::writable(doc))?;
        self.send_changed(&doing, name, &object, mask, true).await?.into_response(&doing).map(drop)
    }

    async fn send_changed<O: Object>(
        &self,
        doing: &str,
        name: &str,
        object: &O,
        mask: &[&str],
        validate_only: bool,
    ) -> Result<Operation, GcpError> {
        let client = O::client(self).await?;
        let call = Call { method: &O::PATCH, doing, resource: name };
        self.call(&call, || object.send_patch(self, client, mask, validate_only)).await
    }

    /// Deletes one with all that is below it; one that is not there is fine.
    pub(crate) async fn delete_object<O: Object>(
        &self,
        name: &str,
        etag: Option<&str>,
    ) -> Result<(), GcpError> {
        let doing = format!("delete {} {}", O::NOUN, short(name));
        let client = O::client(self).await?;
        let call = Call { method: &O::DELETE, doing: &doing, resource: name };
        let etag = etag.unwrap_or_default();
        let started = self.call(&call, || O::send_delete(self, client, name, etag)).await;
        let operation = match started {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let ended = self.wait_for_run(&doing, operation).await?;
        match ended.into_response(&doing) {
            Err(error) if self.object::<O>(name).await?.is_some() => Err(error),
            _ => Ok(()),
        }
    }

    /// One once Cloud Run is done with what it is doing to it, ready or not; `None` when there is none.
    pub(crate) async fn settled_object<O: Object>(&self, name: &str) -> Result<Option<Value>, GcpError> {
        self.settled::<O>(&format!("wait for {} {}", O::NOUN, short(name)), name).await
    }
}

fn parent(project: &str, region: &str) -> String {
    format!("projects/{project}/locations/{region}")
}

/// An object as it is sent. One that is to be created has no name: that stands in the request.
fn named<O: Object>(doing: &str, name: &str, doc: Value) -> Result<O, GcpError> {
    let mut object: O = read(doing, doc)?;
    name.clone_into(object.name());
    Ok(object)
}
