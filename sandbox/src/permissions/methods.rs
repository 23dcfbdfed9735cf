//! Which permissions a method needs, from `data/permissions.tsv`.

use std::collections::HashMap;
use std::sync::OnceLock;

const TABLE: &str = include_str!("../../data/permissions.tsv");

/// The permissions of a method by its key (`Method::key`): none for a method that is open to everybody, and `None`
/// for one that is not in the table.
pub(super) fn permissions(key: &str) -> Option<&'static [&'static str]> {
    table().get(key).map(Vec::as_slice)
}

fn table() -> &'static HashMap<&'static str, Vec<&'static str>> {
    static METHODS: OnceLock<HashMap<&'static str, Vec<&'static str>>> = OnceLock::new();
    METHODS.get_or_init(|| {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        let rows = lines.filter_map(|line| line.split_once('\t'));
        rows.map(|(key, cell)| (key, cell.split(',').filter(|name| *name != "-").collect())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{methods, services};

    #[test]
    fn every_served_method_has_an_entry() {
        let missing: Vec<_> = services::routes()
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| permissions(key).is_none())
            .collect();
        assert!(missing.is_empty(), "add these to data/permissions.tsv: {missing:?}");
    }

    #[test]
    fn every_entry_is_a_documented_method_with_well_formed_permissions() {
        for (key, permissions) in table() {
            assert!(methods::all().iter().any(|method| method.key == *key), "{key}");
            assert!(permissions.iter().all(|name| name.split('.').count() == 3), "{key}");
        }
    }

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(table().len(), lines);
    }

    #[test]
    fn only_methods_without_a_resource_to_ask_about_are_open() {
        for (key, _) in table().iter().filter(|(_, permissions)| permissions.is_empty()) {
            let known = key.ends_with(".testIamPermissions")
                || key.contains(".testIamPermissions@")
                || key.starts_with("serviceusage.operations.")
                || key.starts_with("cloudresourcemanager.operations.")
                || ["cloudresourcemanager.projects.list", "cloudresourcemanager.projects.search@v3"]
                    .contains(key);
            assert!(known, "{key}");
        }
    }
}
