//! The official crates for Cloud Run and Secret Manager: built on first use, without retries of their own.

use google_cloud_gax::error::Error as GaxError;
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_run_v2::client::{Executions, Jobs, Revisions, Services, Tasks};
use google_cloud_secretmanager_v1::client::SecretManagerService;
use serde_json::Value;

use super::api::Api;
use super::client::{Gcp, unbuildable};
use super::error::{ErrorKind, GcpError};
use super::failure::{Failure, Stage, chain};

/// Builds one official client with what all of them share.
macro_rules! client {
    ($gcp:expr, $cell:expr, $client:ty, $api:expr) => {
        $cell
            .get_or_try_init(|| async {
                <$client>::builder()
                    .with_endpoint($gcp.endpoint().of($api))
                    .with_credentials($gcp.credentials().clone())
                    .with_retry_policy(NeverRetry)
                    .with_attempt_timeout($gcp.limits().attempt)
                    .build()
                    .await
                    .map_err(|error| {
                        GcpError::new(
                            concat!("prepare the client ", stringify!($client)),
                            ErrorKind::Other,
                            chain(&error),
                        )
                    })
            })
            .await
    };
}

impl Gcp {
    pub(crate) async fn services_client(&self) -> Result<&Services, GcpError> {
        client!(self, self.services_cell(), Services, Api::Run)
    }

    pub(crate) async fn jobs_client(&self) -> Result<&Jobs, GcpError> {
        client!(self, self.jobs_cell(), Jobs, Api::Run)
    }

    pub(crate) async fn revisions_client(&self) -> Result<&Revisions, GcpError> {
        client!(self, self.revisions_cell(), Revisions, Api::Run)
    }

    pub(crate) async fn executions_client(&self) -> Result<&Executions, GcpError> {
        client!(self, self.executions_cell(), Executions, Api::Run)
    }

    pub(crate) async fn tasks_client(&self) -> Result<&Tasks, GcpError> {
        client!(self, self.tasks_cell(), Tasks, Api::Run)
    }

    pub(crate) async fn secrets_client(&self) -> Result<&SecretManagerService, GcpError> {
        client!(self, self.secrets_cell(), SecretManagerService, Api::SecretManager)
    }

    /// Names the caller: the crates have no client-wide user agent.
    pub(crate) fn signed<B: RequestOptionsBuilder>(&self, builder: B) -> B {
        builder.with_user_agent(self.user_agent())
    }
}

/// The failure that an official client's error stands for.
pub(crate) fn failure(error: GaxError) -> Failure {
    let header = error.http_headers().and_then(|headers| headers.get("retry-after"));
    let retry_after = header.and_then(|value| value.to_str().ok()).map(str::to_owned);
    if let Some(status) = error.status() {
        let code = status.code.name();
        let http = error.http_status_code().unwrap_or_else(|| http_status(code));
        let details: Vec<Value> =
            status.details.iter().filter_map(|detail| serde_json::to_value(detail).ok()).collect();
        return Failure::from_status(http, Some(code.to_owned()), status.message.clone(), details)
            .with_retry_after(retry_after.as_deref());
    }
    if let (Some(http), Some(body)) = (error.http_status_code(), error.http_payload()) {
        return Failure::answered(http, retry_after.as_deref(), body);
    }
    if error.is_binding() || error.is_serialization() {
        return unbuildable(chain(&error));
    }
    if error.is_authentication() {
        let transient = error.is_transient_and_before_rpc();
        return Failure::without_answer(Stage::Login { transient }, chain(&error), None);
    }
    let (stage, message) = if error.is_connect() {
        (Stage::Connect, "no connection to the server")
    } else if error.is_timeout() || error.is_exhausted() {
        (Stage::Timeout, "the server did not answer in time")
    } else if error.is_deserialization() {
        (Stage::Unreadable, "Google's answer cannot be read")
    } else {
        (Stage::Broken, "the connection broke before the answer was complete")
    };
    Failure::without_answer(stage, message, Some(error.into()))
}

/// The HTTP status that goes with a canonical code, for answers that came without one.
fn http_status(code: &str) -> u16 {
    match code {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "NOT_FOUND" => 404,
        "ALREADY_EXISTS" | "ABORTED" => 409,
        "RESOURCE_EXHAUSTED" => 429,
        "UNIMPLEMENTED" => 501,
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => 504,
        _ => 500,
    }
}
