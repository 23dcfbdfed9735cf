//! What a release of a service goes through beyond the writes of its change: data of the plan, because apply never
//! reads the YAML.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::resource::Address;

/// How one service is released. Apply obeys it when the service's change makes a revision or moves traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The service, which is one of the plan's changes.
    pub service: Address,
    /// Where the service answers, without a slash at its end; absent where its name is too long to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The commit that is released, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
    /// Jobs to run before the new revision is made, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<Migration>,
    /// What the candidate has to answer; absent: that Cloud Run calls it ready is all that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Checks of the candidate, in this order, once it is healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smoke: Vec<Smoke>,
    /// Why no request of ours can reach it, where that is known: health and smoke are not judged then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
    /// E-mail address of the account that calls the service while not everybody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
}

/// A job that runs before a new revision is made. A failure ends the release before anything of the service changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The job, which exists or is made by an earlier change of the plan.
    pub job: Address,
    /// Its key in the YAML, e.g. `migrations.shared`.
    pub source: String,
    /// Jobs of this release that must have succeeded first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Address>,
}

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
    /// `GET`, `POST`, `PUT`, `DELETE` or `HEAD`.
    pub method: String,
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
    /// Longest time until the whole answer is there, in seconds.
    pub max_time: u32,
}
