//! Secrets and their versions, by Secret Manager v1. Values go in, and never come out.

use google_cloud_secretmanager_v1::model::{Secret, SecretPayload, SecretVersion};
use google_cloud_wkt::FieldMask;
use serde_json::Value;

use super::api::{Api, Method};
use super::client::{Call, Gcp};
use super::documents::{contains, of_secrets, read, unreadable};
use super::error::{ErrorKind, GcpError};
use super::official::failure;
pub use super::payload::Payload;
use super::rest::Request;

const LIST: Method = Method::read(Api::SecretManager, "GET", "secretmanager.projects.secrets.list");
const GET: Method = Method::read(Api::SecretManager, "GET", "secretmanager.projects.secrets.get");
const CREATE: Method = Method::write(Api::SecretManager, "POST", "secretmanager.projects.secrets.create");
const PATCH: Method = Method::write(Api::SecretManager, "PATCH", "secretmanager.projects.secrets.patch");
const DELETE: Method = Method::write(Api::SecretManager, "DELETE", "secretmanager.projects.secrets.delete");
const ADD: Method = Method::once(Api::SecretManager, "POST", "secretmanager.projects.secrets.addVersion");
const DESTROY: Method =
    Method::write(Api::SecretManager, "POST", "secretmanager.projects.secrets.versions.destroy");
const VERSIONS: Method =
    Method::read(Api::SecretManager, "GET", "secretmanager.projects.secrets.versions.list");

/// The largest page of secrets and of versions (documented; larger values are cut to it).
const PAGE: i32 = 25_000;

/// How often a version is sent when it is not known whether it arrived.
const ADD_ROUNDS: u32 = 4;

/// A version of a secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Counts up from 1; numbers of destroyed versions are not used again.
    pub number: u64,
    /// `ENABLED`, `DISABLED` or `DESTROYED`.
    pub state: String,
    /// RFC 3339, if Google said it.
    pub create_time: Option<String>,
}

impl Gcp {
    /// All secrets of a project, as canonical documents.
    pub async fn list_secrets(&self, project: &str) -> Result<Vec<Value>, GcpError> {
        let doing = format!("list the secrets of {project}");
        let parent = format!("projects/{project}");
        let call = Call { method: &LIST, doing: &doing, resource: &parent };
        let client = self.secrets_client().await?;
        let page = |token: String| {
            let request = client.list_secrets().set_parent(&parent).set_page_size(PAGE).set_page_token(token);
            async move {
                let page = self.signed(request).send().await.map_err(failure)?;
                Ok((page.secrets, page.next_page_token))
            }
        };
        match self.all_pages(&call, page).await {
            Err(error) if error.kind == ErrorKind::Unreadable => {
                Err(self.unreadable_secret(&call).await.unwrap_or(error))
            }
            secrets => secrets?.iter().map(|secret| of_secrets(&doing, secret)).collect(),
        }
    }

    /// A secret by its resource name, without its value; `None` when there is none.
    pub async fn secret(&self, name: &str) -> Result<Option<Value>, GcpError> {
        match self.secret_document(&format!("read secret {}", short(name)), name).await {
            Ok(document) => Ok(Some(document)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn secret_document(&self, doing: &str, name: &str) -> Result<Value, GcpError> {
        let client = self.secrets_client().await?;
        let call = Call { method: &GET, doing, resource: name };
        let get = || async { self.signed(client.get_secret().set_name(name)).send().await.map_err(failure) };
        of_secrets(doing, &self.call(&call, get).await?)
    }

    /// Creates a secret without a value. `doc` is the secret; its replication cannot be changed later.
    pub async fn create_secret(&self, project: &str, id: &str, doc: Value) -> Result<Value, GcpError> {
        let doing = format!("create secret {id}");
        let (parent, name) = (format!("projects/{project}"), format!("projects/{project}/secrets/{id}"));
        let secret: Secret = read(&doing, doc)?;
        let sent = of_secrets(&doing, &secret)?;
        let client = self.secrets_client().await?;
        let call = Call { method: &CREATE, doing: &doing, resource: &name };
        let created = self
            .call(&call, || {
                let request =
                    client.create_secret().set_parent(&parent).set_secret_id(id).set_secret(secret.clone());
                async { self.signed(request).send().await.map_err(failure) }
            })
            .await;
        match created {
            Ok(secret) => of_secrets(&doing, &secret),
            // A lost attempt of ours, or another run of the same plan: what is as it was to be made is made.
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                self.as_sent(&doing, &name, &sent, error).await
            }
            Err(error) => Err(error),
        }
    }

    /// Changes the fields that `mask` names (`labels`, `annotations`, ...), guarded by the etag where one is given.
    pub async fn patch_secret(
        &self,
        name: &str,
        doc: Value,
        mask: &[&str],
        etag: Option<&str>,
    ) -> Result<Value, GcpError> {
        let doing = format!("change secret {}", short(name));
        let mut secret: Secret = read(&doing, doc)?;
        name.clone_into(&mut secret.name);
        etag.unwrap_or_default().clone_into(&mut secret.etag);
        let sent = masked(of_secrets(&doing, &secret)?, mask);
        let mask = FieldMask::default().set_paths(mask.iter().copied());
        let client = self.secrets_client().await?;
        let call = Call { method: &PATCH, doing: &doing, resource: name };
        let changed = self
            .call(&call, || {
                let request = client.update_secret().set_secret(secret.clone()).set_update_mask(mask.clone());
                async { self.signed(request).send().await.map_err(failure) }
            })
            .await;
        match changed {
            Ok(secret) => of_secrets(&doing, &secret),
            Err(error) if error.ambiguous && error.kind == ErrorKind::Conflict => {
                self.as_sent(&doing, name, &sent, error).await
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a secret with all its versions, for good; one that is not there is fine.
    pub async fn delete_secret(&self, name: &str, etag: Option<&str>) -> Result<(), GcpError> {
        let doing = format!("delete secret {}", short(name));
        let client = self.secrets_client().await?;
        let call = Call { method: &DELETE, doing: &doing, resource: name };
        let deleted = self
            .call(&call, || {
                let request = client.delete_secret().set_name(name).set_etag(etag.unwrap_or_default());
                async { self.signed(request).send().await.map_err(failure) }
            })
            .await;
        match deleted {
            Err(error) if error.kind != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The versions of a secret, newest first; `None` when there is no such secret.
    pub async fn list_versions(&self, name: &str) -> Result<Option<Vec<Version>>, GcpError> {
        let doing = format!("list the versions of secret {}", short(name));
        let call = Call { method: &VERSIONS, doing: &doing, resource: name };
        let client = self.secrets_client().await?;
        let page = |token: String| {
            let request =
                client.list_secret_versions().set_parent(name).set_page_size(PAGE).set_page_token(token);
            async move {
                let page = self.signed(request).send().await.map_err(failure)?;
                Ok((page.versions, page.next_page_token))
            }
        };
        let versions = match self.all_pages(&call, page).await {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            versions => versions?,
        };
        let versions = versions.iter().map(|version| version_of(&doing, version));
        let mut versions: Vec<Version> = versions.collect::<Result<_, _>>()?;
        versions.sort_by_key(|version| std::cmp::Reverse(version.number));
        Ok(Some(versions))
    }

    /// Adds a version and answers its number.
    ///
    /// `expected` is the number that the plan counted on. Adding is not idempotent: when an attempt gets lost, the
    /// versions are listed, and if `expected` is there, it is taken for ours.
    pub async fn add_version(&self, name: &str, payload: Payload, expected: u64) -> Result<u64, GcpError> {
        let doing = format!("add a version to secret {}", short(name));
        let mut round = 1;
        loop {
            let error = match self.send_version(&doing, name, &payload).await {
                Ok(version) => return confirmed(&doing, &version),
                Err(error) => error,
            };
            if !error.ambiguous || round >= ADD_ROUNDS {
                return Err(wiped(error, &payload));
            }
            let versions = self.list_versions(name).await?.unwrap_or_default();
            if versions.iter().any(|version| version.number == expected) {
                return Ok(expected);
            }
            round += 1;
        }
    }

    /// Destroys the payload of one version for good; its number stays taken.
    pub async fn destroy_version(&self, name: &str, number: u64) -> Result<(), GcpError> {
        let doing = format!("destroy version {number} of secret {}", short(name));
        let client = self.secrets_client().await?;
        let call = Call { method: &DESTROY, doing: &doing, resource: name };
        self.call(&call, || {
            let request = client.destroy_secret_version().set_name(format!("{name}/versions/{number}"));
            async { self.signed(request).send().await.map_err(failure) }
        })
        .await?;
        Ok(())
    }

    async fn send_version(
        &self,
        doing: &str,
        name: &str,
        payload: &Payload,
    ) -> Result<SecretVersion, GcpError> {
        let client = self.secrets_client().await?;
        let call = Call { method: &ADD, doing, resource: name };
        self.call(&call, || {
            let payload =
                SecretPayload::new().set_data(payload.expose().to_vec()).set_data_crc32c(payload.crc32c());
            let request = client.add_secret_version().set_parent(name).set_payload(payload);
            async { self.signed(request).send().await.map_err(failure) }
        })
        .await
    }

    /// After a lost attempt: the live secret, if it is what was sent; else the error that came.
    async fn as_sent(
        &self,
        doing: &str,
        name: &str,
        sent: &Value,
        error: GcpError,
    ) -> Result<Value, GcpError> {
        let live = self.secret_document(doing, name).await?;
        if contains(&live, sent) { Ok(live) } else { Err(error) }
    }

    /// Reads the list once more without types, to name what the official client could not read.
    async fn unreadable_secret(&self, call: &Call<'_>) -> Option<GcpError> {
        let request = || {
            Request::new(&LIST, format!("v1/{}/secrets", call.resource)).query("pageSize", PAGE.to_string())
        };
        let items = self.rest_list::<Value>(call.doing, request, "secrets").await.ok()?;
        unreadable::<Secret>(call.doing, items)
    }
}

/// The last part of a resource name, which is what people call it.
fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Only the fields of the mask.
fn masked(mut document: Value, mask: &[&str]) -> Value {
    if let Value::Object(fields) = &mut document {
        fields.retain(|field, _| mask.contains(&field.as_str()));
    }
    document
}

fn version_of(doing: &str, version: &SecretVersion) -> Result<Version, GcpError> {
    let document = of_secrets(doing, version)?;
    let text = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(Version {
        number: number_of(doing, &version.name)?,
        state: text("state").unwrap_or_else(|| "STATE_UNSPECIFIED".to_owned()),
        create_time: text("createTime"),
    })
}

fn number_of(doing: &str, name: &str) -> Result<u64, GcpError> {
    short(name).parse().map_err(|_| {
        GcpError::new(doing, ErrorKind::Unreadable, format!("`{name}` does not end in a version number"))
    })
}

/// The number of a version whose value arrived intact.
fn confirmed(doing: &str, version: &SecretVersion) -> Result<u64, GcpError> {
    if !version.client_specified_payload_checksum {
        let message = format!("Secret Manager did not confirm the checksum of {}", version.name);
        return Err(GcpError::new(doing, ErrorKind::Other, message)
            .with_hint("the value may have been damaged on its way: set it again"));
    }
    number_of(doing, &version.name)
}

/// Google may repeat what it refuses: an error must not carry the value on.
fn wiped(error: GcpError, payload: &Payload) -> GcpError {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(payload.expose());
    let clear = String::from_utf8_lossy(payload.expose());
    // Shorter texts than this are in many messages by chance.
    let shown = |text: &str| text.len() >= 4 && error.message.contains(text);
    if shown(&encoded) || shown(&clear) {
        error.with_message(
            "Secret Manager refused the value, and repeated it in its answer, which is not shown",
        )
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gcp::testserver::{Answer, Server, refusal};

    const NAME: &str = "projects/p/secrets/jwt";

    fn version(number: u64) -> Value {
        json!({"name": format!("projects/1/secrets/jwt/versions/{number}"), "state": "ENABLED",
            "createTime": "2026-01-02T03:04:05Z", "clientSpecifiedPayloadChecksum": true})
    }

    fn payload() -> Payload {
        Payload::new(b"hunter2".to_vec())
    }

    #[tokio::test]
    async fn a_version_carries_its_checksum_and_answers_its_number() {
        let server = Server::start(vec![Answer::json(200, version(3))]).await;
        assert_eq!(server.gcp().await.add_version(NAME, payload(), 3).await.unwrap(), 3);
        let request = &server.requests()[0];
        assert_eq!(request.line(), format!("POST /secretmanager.googleapis.com/v1/{NAME}:addVersion"));
        let sent = &request.json()["payload"];
        assert_eq!(sent["data"], "aHVudGVyMg==");
        assert_eq!(sent["dataCrc32c"], crc32c::crc32c(b"hunter2").to_string());
    }

    #[tokio::test]
    async fn a_lost_version_that_arrived_is_not_sent_again() {
        let server = Server::start(vec![
            Answer::Drop,
            Answer::json(200, json!({"versions": [version(3), version(2)]})),
        ])
        .await;
        assert_eq!(server.gcp().await.add_version(NAME, payload(), 3).await.unwrap(), 3);
        assert_eq!(server.requests().iter().filter(|request| request.verb == "POST").count(), 1);
    }

    #[tokio::test]
    async fn a_lost_version_that_did_not_arrive_is_sent_again() {
        let server = Server::start(vec![
            Answer::json(503, refusal(503, "UNAVAILABLE")),
            Answer::json(200, json!({"versions": [version(2)]})),
            Answer::json(200, version(3)),
        ])
        .await;
        assert_eq!(server.gcp().await.add_version(NAME, payload(), 3).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn an_unconfirmed_checksum_is_an_error() {
        let mut answer = version(3);
        answer.as_object_mut().unwrap().remove("clientSpecifiedPayloadChecksum");
        let server = Server::start(vec![Answer::json(200, answer)]).await;
        let error = server.gcp().await.add_version(NAME, payload(), 3).await.unwrap_err();
        assert!(error.message.contains("did not confirm the checksum"), "{error}");
    }

    #[tokio::test]
    async fn a_refusal_that_repeats_the_value_is_not_passed_on() {
        let body =
            json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "bad: aHVudGVyMg=="}});
        let server = Server::start(vec![Answer::json(400, body)]).await;
        let error = server.gcp().await.add_version(NAME, payload(), 3).await.unwrap_err();
        let everything = format!("{error} {error:?}");
        assert!(!everything.contains("aHVudGVyMg") && !everything.contains("hunter2"), "{everything}");
    }

    #[tokio::test]
    async fn versions_come_newest_first_and_a_missing_secret_has_none() {
        let server = Server::start(vec![
            Answer::json(200, json!({"versions": [version(2), version(10)], "nextPageToken": "t"})),
            Answer::json(200, json!({"versions": [version(1)]})),
            Answer::json(404, refusal(404, "NOT_FOUND")),
        ])
        .await;
        let gcp = server.gcp().await;
        let versions = gcp.list_versions(NAME).await.unwrap().unwrap();
        assert_eq!(versions.iter().map(|version| version.number).collect::<Vec<_>>(), [10, 2, 1]);
        assert_eq!(versions[0].state, "ENABLED");
        assert_eq!(versions[0].create_time.as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(gcp.list_versions(NAME).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_patch_that_arrived_before_it_got_lost_is_done() {
        let live =
            json!({"name": NAME, "labels": {"a": "b"}, "etag": "\"2\"", "replication": {"automatic": {}}});
        let server = Server::start(vec![
            Answer::Drop,
            Answer::json(
                400,
                json!({"error": {"code": 400, "status": "FAILED_PRECONDITION", "message": "etag"}}),
            ),
            Answer::json(200, live.clone()),
        ])
        .await;
        let doc = json!({"labels": {"a": "b"}, "replication": {"automatic": {}}});
        let answer = server.gcp().await.patch_secret(NAME, doc, &["labels"], Some("\"1\"")).await.unwrap();
        assert_eq!(answer, live);
        let request = &server.requests()[1];
        assert!(request.target.contains("updateMask=labels"), "{}", request.target);
        assert_eq!(request.json()["etag"], "\"1\"");
    }

    #[tokio::test]
    async fn a_stale_etag_is_a_conflict() {
        let stale =
            json!({"error": {"code": 400, "status": "FAILED_PRECONDITION", "message": "etag mismatch"}});
        let server = Server::start(vec![Answer::json(400, stale)]).await;
        let doc = json!({"labels": {"a": "b"}});
        let error = server.gcp().await.patch_secret(NAME, doc, &["labels"], Some("x")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_read_is_named() {
        let list = json!({"secrets": [{"name": "projects/1/secrets/ok"}, {"name": "projects/1/secrets/odd", "labels": 7}]});
        let server = Server::start(vec![Answer::json(200, list.clone()), Answer::json(200, list)]).await;
        let error = server.gcp().await.list_secrets("p").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreadable);
        assert!(
            error.message.contains("projects/1/secrets/odd") && error.message.contains("labels"),
            "{error}"
        );
    }
}
