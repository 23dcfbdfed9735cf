//! Environment variables, secrets and directories of one container.

use std::collections::BTreeMap;

use super::super::container::folder_of;
use super::super::diagnostic::Diagnostic;
use super::super::model::Container;
use super::super::tree::{Findings, join};
use super::at_key;

/// Longest value of a variable in bytes (`EnvVar.value` of Cloud Run's API v2).
const MAX_VALUE: usize = 32_768;

pub(super) fn check(path: &str, container: &Container, findings: &mut Findings) {
    for (name, value) in &container.env {
        let at = format!("{path}.env.{name}");
        check_name(&at, name, findings);
        if value.len() > MAX_VALUE {
            let message = format!(
                "the value of `{name}` has {} bytes, and at most {MAX_VALUE} are allowed",
                value.len()
            );
            at_key(&at, Diagnostic::error("env-name", message).label("too long"), findings);
        }
    }
    for name in container.secrets.keys() {
        let at = format!("{path}.secrets.{name}");
        check_name(&at, name, findings);
        if container.env.contains_key(name) {
            let diagnostic =
                Diagnostic::error("env-and-secret", format!("`{name}` is in `env` and in `secrets`"))
                    .label("twice")
                    .hint(format!("keep one; an overlay takes the other out with `{name}: null`"));
            at_key(&at, diagnostic, findings);
        }
    }
    check_folders(path, container, findings);
}

/// Variables that Cloud Run sets itself.
const SET_BY_CLOUD_RUN: [&str; 5] =
    ["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "CLOUD_RUN_TIMEOUT_SECONDS"];

fn check_name(path: &str, name: &str, findings: &mut Findings) {
    let diagnostic =
        if SET_BY_CLOUD_RUN.contains(&name) || name.starts_with("K_") || name.starts_with("X_GOOGLE_") {
            let hint = if name == "PORT" {
                "set `port` of the service: Cloud Run tells it to the container as PORT"
            } else {
                "take another name"
            };
            Diagnostic::error("reserved-env", format!("Cloud Run sets `{name}` itself"))
                .label("reserved")
                .hint(hint)
        } else if name.is_empty() || name.contains(['=', '\0']) || name.contains(char::is_whitespace) {
            Diagnostic::error("env-name", format!("`{name}` cannot be the name of a variable"))
                .label("not a name")
                .hint("letters, digits and underscores")
        } else {
            return;
        };
    at_key(path, diagnostic, findings);
}

/// Cloud Run mounts a secret as a folder of its own, over whatever is there.
fn check_folders(path: &str, container: &Container, findings: &mut Findings) {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (file, reference) in &container.files {
        let folder = folder_of(file);
        let at = at_file(path, file, &reference.alias, findings);
        if container.in_memory.contains_key(folder) {
            let message = format!("`{folder}` is a volume in memory, and a secret is mounted over it");
            let diagnostic = Diagnostic::error("secret-path", message)
                .label("the same folder")
                .hint("take another folder");
            at_key(&at, diagnostic, findings);
        }
        match taken.get(folder) {
            Some(first) if *first != reference.alias => {
                let message = format!(
                    "`{folder}` would hold two secrets, `{first}` and `{}`: the second hides the first",
                    reference.alias
                );
                let diagnostic = Diagnostic::error("secret-path", message)
                    .label("the same folder")
                    .hint("give each secret a folder for itself");
                at_key(&at, diagnostic, findings);
            }
            _ => {
                taken.insert(folder, &reference.alias);
            }
        }
    }
}

/// Where the file is written: under `secrets`, or by its short form under `secret_files`.
fn at_file(path: &str, file: &str, alias: &str, findings: &Findings) -> String {
    let long = format!("{path}.secrets.{file}");
    let short = file == format!("/secrets/{alias}/{alias}");
    if !findings.is_written(&long) && short { join(path, "secret_files") } else { long }
}
