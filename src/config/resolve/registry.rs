//! The registry: retention in numbers and seconds.

use super::super::model::Registry;
use super::super::scalars;
use super::super::schema::RegistryKeys;
use super::super::tree::Findings;
use super::{required, text_map};

pub(super) fn resolve(keys: RegistryKeys, findings: &mut Findings) -> Registry {
    let repository = required(
        keys.repository,
        "registry.repository",
        "repository: my-system",
        "the id of the repository",
        findings,
    );
    let retention = keys.retention.unwrap_or_default();
    Registry {
        repository,
        description: keys.description,
        labels: text_map(keys.labels),
        keep_last: retention.keep_last,
        delete_untagged_after: retention
            .delete_untagged_after
            .and_then(|age| scalars::seconds(&age.0))
            .map(u64::from),
        dry_run: retention.dry_run.unwrap_or(false),
        immutable_tags: keys.immutable_tags.unwrap_or(false),
        protect: keys.protect.unwrap_or(false),
    }
}
