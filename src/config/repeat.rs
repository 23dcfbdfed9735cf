//! Jobs before names are filled in: they take over what they borrow from their service, and those of tenants are repeated.
//!
//! A repeated job stands in the tree as `KEY/SLUG`. While there are no tenants it is kept once, as `KEY/`: its text is
//! checked, and no job comes of it.

use super::interpolate::{Piece, pieces};
use super::merge::lay_over;
use super::tree::{Entry, Map, Node, Tree};

/// The maps of a file that hold jobs.
pub(crate) const MAPS: [&str; 2] = ["jobs", "migrations"];
/// Keys that a job borrows whole unless it has its own.
const WHOLE: [&str; 2] = ["secret_files", "vpc"];

/// Key of a job and slug of its tenant; the slug is empty while there are no tenants.
pub(crate) fn split(key: &str) -> (&str, Option<&str>) {
    key.rsplit_once('/').map_or((key, None), |(key, slug)| (key, Some(slug)))
}

/// Gives every job the variables, secrets and network of its service, below what it says itself.
pub(crate) fn borrow_from_services(root: &mut Node) {
    let Some(services) = root.get("services").and_then(Node::as_map).cloned() else { return };
    for map in MAPS {
        let jobs =
            root.as_map_mut().and_then(|root| root.get_mut(map)).and_then(|jobs| jobs.node.as_map_mut());
        for job in jobs.into_iter().flat_map(Map::values_mut) {
            let service = job.node.get("service").and_then(Node::as_text).and_then(|name| services.get(name));
            let service = service.and_then(|service| service.node.as_map()).cloned();
            if let (Some(service), Some(job)) = (service, job.node.as_map_mut()) {
                borrow_from(&service, job);
            }
        }
    }
}

fn borrow_from(service: &Map, job: &mut Map) {
    let own_env = names_set(job.get("env"));
    let own_secrets = names_set(job.get("secrets"));
    for (key, other) in [("env", own_secrets), ("secrets", own_env)] {
        let Some(borrowed) = service.get(key) else { continue };
        let mut borrowed = borrowed.clone();
        // One name is a variable or a secret: what the job makes of it takes the service's other form away.
        if let Some(names) = borrowed.node.as_map_mut() {
            names.retain(|name, _| !other.contains(name));
        }
        if let Some(own) = job.shift_remove(key) {
            borrowed.key = own.key;
            lay_over(&mut borrowed.node, own.node);
        }
        job.insert(key.to_owned(), borrowed);
    }
    for key in WHOLE {
        if let (Some(borrowed), false) = (service.get(key), job.contains_key(key)) {
            job.insert(key.to_owned(), borrowed.clone());
        }
    }
}

fn names_set(map: Option<&Entry>) -> Vec<String> {
    let entries = map.and_then(|map| map.node.as_map()).into_iter().flatten();
    entries.filter(|(_, entry)| entry.node.value != Tree::Null).map(|(name, _)| name.clone()).collect()
}

/// Repeats jobs with `for_each: tenants`, and gives each tenant the schema that all have by one rule.
pub(crate) fn for_tenants(root: &mut Node) {
    spread_schema(root);
    let list = root.get("tenants").and_then(|tenants| tenants.get("list")).and_then(Node::as_map);
    let slugs: Vec<String> = list.into_iter().flat_map(|list| list.keys().cloned()).collect();
    for map in MAPS {
        let jobs =
            root.as_map_mut().and_then(|root| root.get_mut(map)).and_then(|jobs| jobs.node.as_map_mut());
        if let Some(jobs) = jobs {
            let written = std::mem::take(jobs);
            jobs.extend(written.into_iter().flat_map(|(key, job)| repeated(key, job, &slugs)));
        }
    }
}

fn spread_schema(root: &mut Node) {
    let Some(tenants) = root.as_map_mut().and_then(|root| root.get_mut("tenants")?.node.as_map_mut()) else {
        return;
    };
    let Some(schema) = tenants.get("schema").cloned() else { return };
    let list = tenants.get_mut("list").and_then(|list| list.node.as_map_mut());
    for tenant in list.into_iter().flat_map(Map::values_mut).filter_map(|tenant| tenant.node.as_map_mut()) {
        tenant.entry("schema".to_owned()).or_insert_with(|| schema.clone());
    }
}

fn repeated(key: String, mut job: Entry, slugs: &[String]) -> Vec<(String, Entry)> {
    if job.node.get("for_each").and_then(Node::as_text) != Some("tenants") {
        return vec![(key, job)];
    }
    name_after_tenant(&mut job);
    if slugs.is_empty() {
        return vec![(format!("{key}/"), job)];
    }
    slugs.iter().map(|slug| (format!("{key}/{slug}"), job.clone())).collect()
}

/// A `name` that all tenants would share gets the slug at its end.
fn name_after_tenant(job: &mut Entry) {
    let Some(name) = job.node.as_map_mut().and_then(|job| job.get_mut("name")) else { return };
    if let Tree::Text(text) = &mut name.node.value {
        let of_tenant = |piece: &Piece<'_>| matches!(piece, Piece::Name(name) if name.starts_with("tenant."));
        if !pieces(text).is_ok_and(|pieces| pieces.iter().any(of_tenant)) {
            text.push_str("-${tenant.slug}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::super::tree::to_json;
    use super::*;

    fn expanded(text: &str) -> serde_json::Value {
        let mut root = parse(text, 0).unwrap();
        borrow_from_services(&mut root);
        for_tenants(&mut root);
        to_json(&root)
    }

    #[test]
    fn what_a_job_says_wins_over_its_service_name_by_name() {
        let root = expanded(
            "services: {api: {env: {A: a, B: b, D: d}, secrets: {C: c}, vpc: {network: n}}}\njobs: {x: {service: api, env: {B: own, C: plain}, secrets: {D: d-secret}}}\n",
        );
        let job = &root["jobs"]["x"];
        assert_eq!(job["env"], serde_json::json!({"A": "a", "B": "own", "C": "plain"}));
        assert_eq!(job["secrets"], serde_json::json!({"D": "d-secret"}));
        assert_eq!(job["vpc"]["network"], "n");
    }

    #[test]
    fn a_job_of_tenants_is_repeated_in_their_order() {
        let text = "tenants: {list: {b: {}, a: {}}}\njobs: {x: {for_each: tenants, name: n}, y: {}}\n";
        let mut root = parse(text, 0).unwrap();
        for_tenants(&mut root);
        let jobs = root.get("jobs").unwrap();
        assert_eq!(jobs.as_map().unwrap().keys().collect::<Vec<_>>(), ["x/b", "x/a", "y"]);
        let name = jobs.get("x/a").unwrap().get("name").unwrap();
        assert_eq!(name.as_text(), Some("n-${tenant.slug}"));
    }

    #[test]
    fn a_job_of_no_tenants_is_kept_to_be_checked() {
        let root = expanded("migrations: {x: {for_each: tenants, name: \"n-${ tenant.slug }\"}}\n");
        assert_eq!(root["migrations"]["x/"]["name"], "n-${ tenant.slug }");
        assert_eq!(split("x/"), ("x", Some("")));
    }
}
