//! What a new revision has to show before it gets traffic. Plans hold these types as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Requests that the candidate has to answer with 2xx or 3xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Path, with a slash in front.
    pub path: String,
    /// Most requests.
    pub attempts: u32,
    /// Seconds between two of them.
    pub interval: u32,
    /// Successes in a row that it takes.
    pub successes: u32,
}

/// One request to the candidate, and what its answer has to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smoke {
    /// Its key in the YAML.
    pub name: String,
    /// Key of the service that is asked.
    pub service: String,
    /// `GET`, `POST`, `PUT`, `DELETE` or `HEAD`.
    pub method: String,
    /// Asked instead of the service's own URL, and after the traffic moved: `https://HOST`, without a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Path, with a slash in front.
    pub path: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Any of these statuses will do.
    pub expect: Vec<u16>,
    /// The answer is JSON and has this in it: objects may have more fields, all else is equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// The answer has this text in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Where the answer tells what runs, which has to be what is released: the keys that lead to a field of its JSON, with
    /// dots between them, or `.` for all of an answer that is plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Longest time until the whole answer is there, in seconds.
    pub max_time: u32,
}

#[cfg(test)]
impl Smoke {
    /// A check of the service `api` that wants 200 for a GET of `/ready`, for tests.
    pub(crate) fn example(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            service: "api".to_owned(),
            method: "GET".to_owned(),
            url: None,
            path: "/ready".to_owned(),
            headers: BTreeMap::new(),
            body: None,
            expect: vec![200],
            json: None,
            text: None,
            version: None,
            max_time: 5,
        }
    }
}
