//! The table of every method that Google's discovery documents name, served by the sandbox or not.
//!
//! The table is generated (`cargo xtask discovery`) into `data/methods.tsv`.

use std::sync::OnceLock;

const TABLE: &str = include_str!("../data/methods.tsv");

/// The version whose method ids stand alone; other versions of the API write theirs as `ID@VERSION`.
const PRIMARY: &[(&str, &str)] = &[("run", "v2"), ("logging", "v2"), ("monitoring", "v3")];

/// One documented method.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// `run`, `secretmanager`, ...
    pub api: &'static str,
    /// `v2`
    pub version: &'static str,
    /// `run.googleapis.com`
    pub host: &'static str,
    /// The discovery id, such as `run.projects.locations.services.create`; two versions may share one.
    pub id: &'static str,
    /// The id, with `@VERSION` behind it when the version is not the API's first one: what `routes()` name.
    pub key: String,
    /// `GET`, `POST`, ...
    pub verb: &'static str,
    /// The template, such as `v2/projects/{projectsId}/locations/{locationsId}/services`.
    pub template: &'static str,
    /// Query parameters with their kinds, `[]` in front for repeated ones.
    pub query: Vec<(&'static str, &'static str)>,
    /// The message of the body, empty for none.
    pub request: &'static str,
    /// The message of the answer.
    pub response: &'static str,
    /// Whether it changes anything.
    pub write: bool,
}

impl Method {
    /// The API as `schemas.json` names it: `run.v2`.
    pub fn schema(&self) -> String {
        format!("{}.{}", self.api, self.version)
    }
}

/// Every documented method.
pub fn all() -> &'static [Method] {
    static METHODS: OnceLock<Vec<Method>> = OnceLock::new();
    METHODS.get_or_init(|| TABLE.lines().filter_map(parse).collect())
}

fn parse(line: &'static str) -> Option<Method> {
    if line.starts_with('#') {
        return None;
    }
    let mut cells = line.split('\t');
    let mut cell = || cells.next();
    let (api, version, host, id) = (cell()?, cell()?, cell()?, cell()?);
    let (verb, template, query) = (cell()?, cell()?, cell()?);
    let (request, response) = (cell()?, cell()?);
    let primary = PRIMARY.iter().find(|(name, _)| *name == api).map_or("v1", |(_, version)| version);
    let key = if version == primary { id.to_owned() } else { format!("{id}@{version}") };
    let query = query.split(',').filter_map(|parameter| parameter.split_once(':')).collect();
    let write = changes(verb, id);
    Some(Method { api, version, host, id, key, verb, template, query, request, response, write })
}

fn changes(verb: &str, id: &str) -> bool {
    const READS: [&str; 10] = [
        "getIamPolicy",
        "testIamPermissions",
        "wait",
        "search",
        "queryTestablePermissions",
        "queryGrantableRoles",
        "getAncestry",
        "getEffectiveOrgPolicy",
        "generateAccessToken",
        "generateIdToken",
    ];
    if id == "logging.entries.list" {
        return false;
    }
    let last = id.rsplit('.').next().unwrap_or(id);
    verb != "GET" && !READS.contains(&last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_key(key: &str) -> &'static Method {
        all().iter().find(|method| method.key == key).unwrap()
    }

    #[test]
    fn versions_that_share_an_id_have_keys_of_their_own() {
        assert_eq!(by_key("run.projects.locations.services.create").version, "v2");
        assert_eq!(by_key("cloudresourcemanager.projects.get").version, "v1");
        assert_eq!(by_key("cloudresourcemanager.projects.get@v3").version, "v3");
    }

    #[test]
    fn asking_for_a_policy_by_post_is_no_write() {
        assert!(!by_key("iam.projects.serviceAccounts.getIamPolicy").write);
        assert!(!by_key("run.projects.locations.operations.wait").write);
        assert!(by_key("iam.projects.serviceAccounts.setIamPolicy").write);
    }

    #[test]
    fn issuing_a_token_is_no_write() {
        assert!(!by_key("iamcredentials.projects.serviceAccounts.generateAccessToken").write);
    }

    #[test]
    fn keys_are_unique() {
        let mut keys: Vec<_> = all().iter().map(|method| &method.key).collect();
        let before = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), before);
    }
}
