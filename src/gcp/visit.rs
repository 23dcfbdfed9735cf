//! Requests to the services themselves, as their callers make them: the one place that knows where a service's URL leads.
//!
//! On a loopback endpoint all of `https://HOST/path` is asked at `ENDPOINT/HOST/path`, where the sandbox has its front door.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::api::{Api, Method};
use super::client::Gcp;
use super::endpoint::Endpoint;
use super::error::{ErrorKind, GcpError};
use super::rest::Request;

const ID_TOKEN: Method =
    Method::read(Api::IamCredentials, "POST", "iamcredentials.projects.serviceAccounts.generateIdToken");

/// Cloud Run takes the token from here and leaves the container's own header alone.
const TOKEN_HEADER: &str = "x-serverless-authorization";

/// The sandbox's word for an answer that no container of the user's gave.
const STAND_IN: &str = "x-sandbox-stand-in";

/// Bytes of an answer that are kept.
const MOST: usize = 1024 * 1024;

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// `https://HOST`, without a slash at its end.
    pub url: &'a str,
    pub method: &'a str,
    /// With a slash in front.
    pub path: &'a str,
    pub headers: &'a BTreeMap<String, String>,
    pub body: Option<&'a str>,
    /// Identity token of the caller.
    pub token: Option<&'a str>,
    /// Until the whole answer is there.
    pub limit: Duration,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visited {
    pub status: u16,
    /// The first MiB of it.
    pub body: Vec<u8>,
    /// The sandbox answered in place of an image that it cannot run.
    pub stand_in: bool,
}

impl Gcp {
    /// Sends one request, once, and follows no redirection.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn visit(&self, visit: &Visit<'_>) -> Result<Visited, String> {
        let url = self.place_of(visit.url, visit.path);
        let method = reqwest::Method::from_bytes(visit.method.as_bytes())
            .map_err(|_| format!("{} is no HTTP method", visit.method))?;
        let mut request = self.http().request(method, url).timeout(visit.limit);
        for (name, value) in visit.headers {
            request = request.header(name, value);
        }
        if let Some(token) = visit.token {
            request = request.header(TOKEN_HEADER, format!("Bearer {token}"));
        }
        if let Some(body) = visit.body {
            request = request.body(body.to_owned());
        }
        let read = async {
            let mut answer = request.send().await?;
            let (status, stand_in) = (answer.status().as_u16(), answer.headers().contains_key(STAND_IN));
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                let room = MOST.saturating_sub(body.len());
                body.extend(chunk.iter().take(room));
            }
            Ok::<_, reqwest::Error>(Visited { status, body, stand_in })
        };
        let answer = read.await.map_err(|error| trouble(&error, visit.limit));
        tracing::debug!(target: "deployer::http", url = visit.url, path = visit.path, answer = ?answer.as_ref().map(|a| a.status), "visit");
        answer
    }

    /// Where `path` of a service with this URL is asked for.
    pub fn place_of(&self, url: &str, path: &str) -> String {
        match self.endpoint() {
            Endpoint::Base { url: base, loopback: true } => {
                let host = url.split_once("://").map_or(url, |(_, host)| host);
                format!("{base}/{host}{path}")
            }
            Endpoint::Base { .. } | Endpoint::Google => format!("{url}{path}"),
        }
    }

    /// Whether a URL leads to what it says: a loopback endpoint has Cloud Run's own hosts and no others.
    pub fn knows(&self, url: &str) -> bool {
        match self.endpoint() {
            Endpoint::Base { loopback: true, .. } => url.ends_with(".run.app"),
            Endpoint::Base { .. } | Endpoint::Google => true,
        }
    }

    /// An identity token of a service account (e-mail address) for a service with this URL.
    ///
    /// # Errors
    /// Where Google refuses it: the caller needs `roles/iam.serviceAccountOpenIdTokenCreator` on the account.
    pub async fn identity_token(&self, account: &str, audience: &str) -> Result<String, GcpError> {
        let doing = format!("get an identity token of {account}");
        let path = format!("v1/projects/-/serviceAccounts/{account}:generateIdToken");
        let body = json!({"audience": audience, "includeEmail": true});
        let answer = self.rest(&doing, Request::new(&ID_TOKEN, path).body(body)).await?;
        match answer.get("token").and_then(Value::as_str) {
            Some(token) => Ok(token.to_owned()),
            None => Err(GcpError::new(doing, ErrorKind::Unreadable, "the answer has no token")),
        }
    }
}

fn trouble(error: &reqwest::Error, limit: Duration) -> String {
    if error.is_timeout() {
        format!("no whole answer within {} s", limit.as_secs())
    } else if error.is_connect() {
        "no connection".to_owned()
    } else if error.is_builder() {
        "the request cannot be built: a header or the path is not valid".to_owned()
    } else {
        "the connection broke before the answer was complete".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcp::testserver::{Answer, Server};

    #[tokio::test]
    async fn a_service_is_asked_at_the_front_door_of_a_loopback_endpoint() {
        let server = Server::start(vec![Answer::json(503, json!({"a": 1}))]).await;
        let headers = BTreeMap::from([("x-a".to_owned(), "b".to_owned())]);
        let visit = Visit {
            url: "https://candidate---api-1.us-central1.run.app",
            method: "POST",
            path: "/x?y=1",
            headers: &headers,
            body: Some("{}"),
            token: Some("t"),
            limit: Duration::from_secs(5),
        };
        let answer = server.gcp().await.visit(&visit).await.unwrap();
        assert_eq!((answer.status, answer.stand_in), (503, false));
        assert_eq!(answer.body, br#"{"a":1}"#);
        let request = &server.requests()[0];
        assert_eq!(request.line(), "POST /candidate---api-1.us-central1.run.app/x");
        assert!(request.target.ends_with("?y=1"), "{}", request.target);
    }

    #[tokio::test]
    async fn a_token_is_for_the_service_that_is_asked() {
        let server = Server::start(vec![Answer::json(200, json!({"token": "abc"}))]).await;
        let gcp = server.gcp().await;
        assert_eq!(gcp.identity_token("ci@p.iam.gserviceaccount.com", "https://api").await.unwrap(), "abc");
        let request = &server.requests()[0];
        assert!(request.line().ends_with("/serviceAccounts/ci@p.iam.gserviceaccount.com:generateIdToken"));
        assert_eq!(request.json()["audience"], "https://api");
    }
}
