//! Labels: their spelling, and those that are not the user's.

use std::collections::BTreeMap;

use super::super::diagnostic::Diagnostic;
use super::super::model::Environment;
use super::super::tree::{Findings, join};
use super::{at_key, at_value};

/// Google allows 64 labels, and deployer sets three of them.
const MAX_LABELS: usize = 61;
const MAX_LENGTH: usize = 63;

pub(super) fn check_secrets(environment: &Environment, findings: &mut Findings) {
    // Those of tenants have one label, which deployer makes.
    for secret in environment.secrets.values().filter(|secret| secret.tenant.is_none()) {
        check(&join(&secret.path, "labels"), &secret.labels, findings);
    }
}

pub(super) fn check(path: &str, labels: &BTreeMap<String, String>, findings: &mut Findings) {
    if labels.len() > MAX_LABELS {
        let message = format!(
            "there are {} labels, and at most {MAX_LABELS} fit beside those of deployer",
            labels.len()
        );
        at_key(path, Diagnostic::error("label", message).label("too many"), findings);
    }
    for (key, value) in labels {
        check_key(&join(path, key), key, findings);
        if value.chars().count() > MAX_LENGTH || !value.chars().all(is_label_character) {
            let diagnostic = Diagnostic::error("label", format!("`{value}` cannot be the value of a label"))
                .label("not valid")
                .hint(format!("lower-case letters, digits, dashes and underscores, at most {MAX_LENGTH}"));
            at_value(&join(path, key), diagnostic, findings);
        }
    }
}

fn check_key(path: &str, key: &str, findings: &mut Findings) {
    let (message, hint) = if key == "managed-by" || key.starts_with("deployer-") {
        (format!("the label `{key}` is how deployer finds what it has made"), "take another name".to_owned())
    } else if key.starts_with("goog-") || key.contains("googleapis.com") || key.contains("knative.dev") {
        (format!("the label `{key}` is reserved by Google"), "take another name".to_owned())
    } else if !key.starts_with(char::is_lowercase)
        || !key.chars().all(is_label_character)
        || key.chars().count() > MAX_LENGTH
    {
        let hint = format!(
            "lower-case letters, digits, dashes and underscores, starting with a letter, at most {MAX_LENGTH}"
        );
        (format!("`{key}` cannot be the name of a label"), hint)
    } else {
        return;
    };
    at_key(path, Diagnostic::error("label", message).label("not this name").hint(hint), findings);
}

fn is_label_character(character: char) -> bool {
    character.is_lowercase() || character.is_numeric() || matches!(character, '-' | '_')
}
