//! What services and jobs have in common: containers with their variables, secrets and directories, and the network.

mod declare;
pub(super) mod documents;
pub(super) mod live;
pub(super) mod write;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub(super) use declare::{Findings, sorted, vpc};

use super::{secret, secret_grant, secret_value, service_account};
use crate::resource::Address;

/// A container as services and jobs know it. What only those that receive requests have is added by `run_service`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub image: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub cpu: String,
    pub memory: String,
    pub env: BTreeMap<String, String>,
    /// `SECRET:VERSION` by variable name or, with a leading `/`, by file path.
    pub secrets: BTreeMap<String, String>,
    pub volumes: BTreeMap<String, VolumeSpec>,
}

impl ContainerSpec {
    /// Ids of the secrets that it uses, with repetitions.
    pub fn secret_ids(&self) -> impl Iterator<Item = &str> {
        self.secrets.values().filter_map(|reference| reference.rsplit_once(':').map(|(id, _)| id))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Size limit.
    pub in_memory: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    pub tags: Vec<String>,
    pub egress: String,
}

/// What must exist before containers can run as the account with the address `email` and use these secrets.
pub(super) fn needs<'a>(
    email: &str,
    secrets: impl Iterator<Item = &'a str>,
    images: impl Iterator<Item = &'a str>,
) -> Vec<Address> {
    let account = email.split('@').next().unwrap_or_default();
    let project = email.split(['@', '.']).nth(1).unwrap_or_default();
    let mut found = vec![Address::of::<service_account::ServiceAccount>(account)];
    let secrets: BTreeSet<_> = secrets.collect();
    for id in secrets {
        let grant = secret_grant::accessor(id, account, project);
        found.push(Address::of::<secret::Secret>(id));
        found.push(Address::of::<secret_value::SecretValue>(id));
        found.push(Address::of::<secret_grant::SecretGrant>(grant.name(project)));
    }
    let repositories: BTreeSet<_> = images.filter_map(super::images::repository).collect();
    found.extend(repositories);
    found
}
