//! What Cloud Run's services and jobs have in common: their operations, and when what was written is settled.
//!
//! Where an operation ends with an error, the object is asked, and believed.

use google_cloud_wkt::Duration as WireDuration;
use serde::Serialize;
use serde_json::Value;

use super::api::{Api, Method};
use super::client::{Call, Gcp};
use super::documents::{contains, of_run, read};
use super::error::{ErrorKind, GcpError};
use super::failure::{Failure, Stage};
use super::objects::Object;
use super::official::failure;
use super::operation::Operation;
use super::readiness::{self, Verdict};

const WAIT: Method = Method::read(Api::Run, "POST", "run.projects.locations.operations.wait");

/// How long one `:wait` may hold its request open on Google's side, in seconds; our own loop goes on after it.
const HOLD: i64 = 5;

/// Top-level fields of a service or job that Google alone writes (`readOnly` in the discovery document), or that name
/// the version of the document. They say nothing about whether a change arrived.
pub(super) const NOT_OURS: &[&str] = &[
    "conditions",
    "createTime",
    "creator",
    "deleteTime",
    "etag",
    "executionCount",
    "expireTime",
    "generation",
    "lastModifier",
    "latestCreatedExecution",
    "latestCreatedRevision",
    "latestReadyRevision",
    "name",
    "observedGeneration",
    "reconciling",
    "satisfiesPzs",
    "terminalCondition",
    "trafficStatuses",
    "uid",
    "updateTime",
    "uri",
    "urls",
];

impl Gcp {
    /// Waits for an operation on an object, and answers the object or why it is not ready.
    pub(super) async fn settle<O: Object>(
        &self,
        doing: &str,
        name: &str,
        operation: Operation,
    ) -> Result<Value, GcpError> {
        let ended = self.wait_for_run(doing, operation).await?;
        match ended.into_response(doing) {
            Ok(response) if response.get("name").is_some() => of_run(doing, &read::<O>(doing, response)?),
            Ok(_) => self.object::<O>(name).await?.ok_or_else(|| gone::<O>(doing)),
            Err(error) => match self.object::<O>(name).await? {
                Some(live) => self.judge(doing, live, Some(error)).await,
                None => Err(error),
            },
        }
    }

    /// After a lost attempt: waits for the live object, if it is what was sent; else the error that came.
    pub(super) async fn settle_as_sent<O: Object>(
        &self,
        doing: &str,
        name: &str,
        sent: &Value,
        error: GcpError,
    ) -> Result<Value, GcpError> {
        let live = self.object::<O>(name).await?.unwrap_or_default();
        if !contains(&live, sent) {
            return Err(error);
        }
        let live = self.settled::<O>(doing, name).await?.ok_or_else(|| gone::<O>(doing))?;
        self.judge(doing, live, None).await
    }

    /// [`Gcp::settled_object`], as part of something else that is being done.
    pub(super) async fn settled<O: Object>(
        &self,
        doing: &str,
        name: &str,
    ) -> Result<Option<Value>, GcpError> {
        self.wait_until(doing, || async {
            Ok(match self.object::<O>(name).await? {
                Some(live) if readiness::is_reconciling(&live) => None,
                settled => Some(settled),
            })
        })
        .await
    }

    /// Believes the object: ready is fine whatever the operation said, and a failed revision is named.
    async fn judge(&self, doing: &str, live: Value, error: Option<GcpError>) -> Result<Value, GcpError> {
        match (readiness::verdict(&live), error) {
            (Verdict::Ready, _) | (Verdict::Unknown, None) => Ok(live),
            (Verdict::Unknown, Some(error)) => Err(error),
            (Verdict::Failed(condition), _) => {
                // A revision that cannot be read only makes the message poorer; a job has none.
                let revision = match readiness::candidate(&live) {
                    Some(name) => self.revision(&name).await.ok().flatten(),
                    None => None,
                };
                Err(readiness::failed(doing, &condition, revision.as_ref()))
            }
        }
    }

    /// Waits until an operation of Cloud Run is done.
    pub(super) async fn wait_for_run(
        &self,
        doing: &str,
        operation: Operation,
    ) -> Result<Operation, GcpError> {
        let client = self.services_client().await?;
        self.wait(doing, operation, |name| async move {
            let call = Call { method: &WAIT, doing, resource: &name };
            self.call(&call, || {
                let request =
                    client.wait_operation().set_name(&name).set_timeout(WireDuration::clamp(HOLD, 0));
                async { self::operation(self.signed(request).send().await) }
            })
            .await
        })
        .await
    }
}

fn gone<O: Object>(doing: &str) -> GcpError {
    let message = format!("the {} is gone, although nothing went wrong", O::NOUN);
    GcpError::new(doing, ErrorKind::NotFound, message)
}

/// The last part of a resource name, which is what people call it.
pub(super) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A document, or `None` for what is not there. The error of an unreadable one names it, since `doing` does.
pub(super) fn found<T: Serialize>(
    doing: &str,
    answer: Result<T, GcpError>,
) -> Result<Option<Value>, GcpError> {
    match answer {
        Ok(message) => of_run(doing, &message).map(Some),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Documents of what a parent has; none for one that is not there.
pub(super) fn listed_of_run<T: Serialize>(
    doing: &str,
    answer: Result<Vec<T>, GcpError>,
) -> Result<Vec<Value>, GcpError> {
    match answer {
        Ok(messages) => messages.iter().map(|message| of_run(doing, message)).collect(),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The official operation type as ours.
pub(super) fn operation<T: Serialize>(
    answer: Result<T, google_cloud_gax::error::Error>,
) -> Result<Operation, Failure> {
    let answer = answer.map_err(failure)?;
    serde_json::to_value(&answer).and_then(serde_json::from_value).map_err(|error| {
        let message = "the operation in Google's answer cannot be read";
        Failure::without_answer(Stage::Unreadable, message, Some(error.into()))
    })
}

/// What a write asked for: the fields of the mask, or all that are ours to write.
pub(super) fn sent<T: Serialize>(doing: &str, object: &T, mask: &[&str]) -> Result<Value, GcpError> {
    let mut document = of_run(doing, object)?;
    if let Value::Object(fields) = &mut document {
        fields.retain(|field, _| {
            !NOT_OURS.contains(&field.as_str()) && (mask.is_empty() || mask.contains(&field.as_str()))
        });
    }
    Ok(document)
}
