//! The thin transport: JSON over reqwest, for the APIs that no official crate is used for.

use reqwest::Url;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api::Method;
use super::auth;
use super::client::{Call, Gcp, unbuildable};
use super::error::{ErrorKind, GcpError};
use super::failure::{Failure, Stage};

/// A request of the thin transport.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static Method,
    /// Version and resource without a leading slash: `v1/projects/p/serviceAccounts`.
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
}

impl Request {
    pub(crate) fn new(method: &'static Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body: None }
    }

    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

impl Gcp {
    /// Sends a request and reads its JSON answer; an empty body reads as an empty object.
    pub(crate) async fn rest(&self, doing: &str, request: Request) -> Result<Value, GcpError> {
        let call = Call { method: request.method, doing, resource: &request.path };
        self.call(&call, || self.send(&request)).await
    }

    /// Follows the pages of a list and collects what stands under `key`.
    pub(crate) async fn rest_list<T: DeserializeOwned>(
        &self,
        doing: &str,
        request: impl Fn() -> Request,
        key: &str,
    ) -> Result<Vec<T>, GcpError> {
        let mut items = Vec::new();
        let mut token = String::new();
        loop {
            let mut page = request();
            if !token.is_empty() {
                page = page.query("pageToken", token.clone());
            }
            let mut answer = self.rest(doing, page).await?;
            if let Some(list) = answer.get_mut(key).map(Value::take) {
                items.extend(parse::<Vec<T>>(doing, list)?);
            }
            match answer.get("nextPageToken").and_then(Value::as_str) {
                None | Some("") => return Ok(items),
                Some(next) => next.clone_into(&mut token),
            }
        }
    }

    async fn send(&self, request: &Request) -> Result<Value, Failure> {
        let url = self.url(request)?;
        let verb = reqwest::Method::from_bytes(request.method.verb.as_bytes())
            .map_err(|_| unbuildable(format!("{} is not an HTTP method", request.method.verb)))?;
        let mut builder = self.http().request(verb, url).headers(auth::headers(self.credentials()).await?);
        if let Some(body) = &request.body {
            builder = builder.json(body);
        }
        let answer = builder.send().await.map_err(broken)?;
        let status = answer.status();
        let retry_after =
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = answer.bytes().await.map_err(broken)?;
        if !status.is_success() {
            return Err(Failure::answered(status.as_u16(), retry_after.as_deref(), &bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("the answer is not JSON ({} bytes)", bytes.len());
            Failure::without_answer(Stage::Unreadable, message, Some(error.into()))
        })
    }

    fn url(&self, request: &Request) -> Result<Url, Failure> {
        let base = self.endpoint().of(request.method.api);
        let path = encode(&request.path)?;
        let mut url =
            Url::parse(&format!("{base}/{path}")).map_err(|error| unbuildable(error.to_string()))?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        Ok(url)
    }
}

/// Reads an answer into its type; what does not fit is an error that says where.
pub(crate) fn parse<T: DeserializeOwned>(doing: &str, value: Value) -> Result<T, GcpError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let message = format!("Google's answer cannot be read at `{}`", error.path());
        GcpError::new(doing, ErrorKind::Unreadable, message).with_source(error.into_inner())
    })
}

/// A failure below HTTP. reqwest's own text names the URL with its query, so that it is taken off.
pub(crate) fn broken(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let (stage, message) = if error.is_builder() {
        (Stage::Build, "the request cannot be built")
    } else if error.is_connect() {
        (Stage::Connect, "no connection to the server")
    } else if error.is_timeout() {
        (Stage::Timeout, "the server did not answer in time")
    } else {
        (Stage::Broken, "the connection broke before the answer was complete")
    };
    Failure::without_answer(stage, message, Some(error.into()))
}

/// Percent-encodes a path. Segments that a URL parser would resolve are refused: a name must not climb. The `%2F` of
/// Artifact Registry's names is a part of them (`Package.name`) and travels as it is.
fn encode(path: &str) -> Result<String, Failure> {
    let mut encoded = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if matches!(segment, "" | "." | "..") {
            return Err(unbuildable(format!("`{path}` is not a resource name")));
        }
        if index > 0 {
            encoded.push('/');
        }
        for (part, text) in segment.split("%2F").enumerate() {
            if part > 0 {
                encoded.push_str("%2F");
            }
            escape(text, &mut encoded);
        }
    }
    Ok(encoded)
}

fn escape(text: &str, encoded: &mut String) {
    for byte in text.bytes() {
        // Unreserved characters and the two that Google's names use.
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend(
                [byte >> 4, byte & 15].map(|half| char::from(b"0123456789ABCDEF"[usize::from(half)])),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_segment_by_segment() {
        let path = "v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:getIamPolicy";
        assert_eq!(encode(path).unwrap(), path);
        assert_eq!(encode("v1/projects/a?b#c d").unwrap(), "v1/projects/a%3Fb%23c%20d");
        assert_eq!(encode("v1/packages/web%2Fapi%3F/tags/a").unwrap(), "v1/packages/web%2Fapi%253F/tags/a");
    }

    #[test]
    fn a_name_cannot_climb_out_of_its_path() {
        for path in ["v1/projects/../secrets", "v1//x", "v1/projects/", "."] {
            assert_eq!(encode(path).unwrap_err().stage, Stage::Build, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_place() {
        #[derive(serde::Deserialize, Debug)]
        #[allow(dead_code)]
        struct Thing {
            number: Vec<u64>,
        }
        let error = parse::<Thing>("read it", serde_json::json!({"number": [1, "x"]})).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreadable);
        assert!(error.message.contains("number[1]"), "{error}");
    }
}
