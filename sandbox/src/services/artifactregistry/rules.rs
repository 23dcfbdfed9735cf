//! What Artifact Registry accepts as a repository.

use serde_json::Value;

use super::policies;
use crate::error::Status;

/// `Repository.labels`: "up to 64 entries", of keys and values "no longer than 63 characters".
const MAX_LABELS: usize = 64;
const MAX_LABEL: usize = 63;

/// Configurations that only one format has.
const OF_FORMAT: [(&str, &str); 2] = [("dockerConfig", "DOCKER"), ("mavenConfig", "MAVEN")];
/// Configurations that one mode has, and needs.
const OF_MODE: [(&str, &str); 2] =
    [("remoteRepositoryConfig", "REMOTE_REPOSITORY"), ("virtualRepositoryConfig", "VIRTUAL_REPOSITORY")];

/// Every rule about the content of a repository, new or changed. Defaults are filled in already.
///
/// # Errors
/// 400 that names the field.
pub(super) fn check(repository: &Value) -> Result<(), Status> {
    let text = |key: &str| repository[key].as_str().unwrap_or_default();
    if text("format").is_empty() {
        return Err(Status::invalid("repository.format", "The format of the repository is required."));
    }
    for (field, format) in OF_FORMAT {
        if repository.get(field).is_some() && text("format") != format {
            return Err(wrong(field, &format!("is of {format} repositories only")));
        }
    }
    for (field, mode) in OF_MODE {
        match (repository.get(field).is_some(), text("mode") == mode) {
            (true, false) => return Err(wrong(field, &format!("is of the mode {mode} only"))),
            (false, true) => return Err(wrong(field, &format!("is required by the mode {mode}"))),
            _ => {}
        }
    }
    check_labels(&repository["labels"])?;
    check_key(text("kmsKeyName"))?;
    policies::check(&repository["cleanupPolicies"])
}

fn wrong(field: &str, what: &str) -> Status {
    let field = crate::protojson::snake_case(field);
    Status::invalid(&format!("repository.{field}"), format!("The field {field} {what}."))
}

fn check_labels(labels: &Value) -> Result<(), Status> {
    let Some(labels) = labels.as_object() else { return Ok(()) };
    if labels.len() > MAX_LABELS {
        return Err(Status::invalid(
            "repository.labels",
            format!("At most {MAX_LABELS} labels are allowed."),
        ));
    }
    let fits = |text: &str| {
        text.len() <= MAX_LABEL
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
    };
    for (key, value) in labels {
        let value = value.as_str().unwrap_or_default();
        if !key.starts_with(|first: char| first.is_ascii_lowercase()) || !fits(key) || !fits(value) {
            return Err(Status::invalid(
                "repository.labels",
                format!(
                    "Label '{key}: {value}' does not fit: lower-case letters, digits, '_' and '-', at most 63, \
                     a letter first in the key."
                ),
            ));
        }
    }
    Ok(())
}

/// `Repository.kmsKeyName`: `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
fn check_key(name: &str) -> Result<(), Status> {
    let parts: Vec<&str> = name.split('/').collect();
    let is_key = matches!(parts[..], ["projects", _, "locations", _, "keyRings", _, "cryptoKeys", _])
        && parts.iter().all(|part| !part.is_empty());
    if name.is_empty() || is_key {
        return Ok(());
    }
    Err(Status::invalid("repository.kms_key_name", format!("'{name}' is not the name of a key.")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(change: &Value) -> String {
        let mut repository = json!({"format": "DOCKER", "mode": "STANDARD_REPOSITORY"});
        for (key, value) in change.as_object().unwrap() {
            repository[key.as_str()] = value.clone();
        }
        match check(&repository) {
            Ok(()) => String::new(),
            Err(status) => status.details[0]["fieldViolations"][0]["field"].as_str().unwrap().to_owned(),
        }
    }

    #[test]
    fn the_format_is_required() {
        assert_eq!(field(&json!({"format": ""})), "repository.format");
        assert_eq!(field(&json!({})), "");
    }

    #[test]
    fn configurations_belong_to_their_format_and_mode() {
        assert_eq!(field(&json!({"dockerConfig": {}})), "");
        assert_eq!(field(&json!({"dockerConfig": {}, "format": "NPM"})), "repository.docker_config");
        assert_eq!(field(&json!({"mavenConfig": {}})), "repository.maven_config");
        assert_eq!(field(&json!({"mode": "REMOTE_REPOSITORY"})), "repository.remote_repository_config");
        assert_eq!(field(&json!({"virtualRepositoryConfig": {}})), "repository.virtual_repository_config");
    }

    #[test]
    fn labels_have_their_letters_and_length() {
        assert_eq!(field(&json!({"labels": {"managed-by": "deployer", "e_1": ""}})), "");
        for bad in [json!({"A": "b"}), json!({"1a": "b"}), json!({"a": "B"}), json!({"a": "b".repeat(64)})] {
            assert_eq!(field(&json!({"labels": bad})), "repository.labels");
        }
        let many: serde_json::Map<String, Value> = (0..65).map(|n| (format!("a{n}"), json!("b"))).collect();
        assert_eq!(field(&json!({"labels": many})), "repository.labels");
    }

    #[test]
    fn a_key_has_its_full_name() {
        let name = "projects/p/locations/us/keyRings/r/cryptoKeys/k";
        assert_eq!(field(&json!({"kmsKeyName": name})), "");
        assert_eq!(field(&json!({"kmsKeyName": "k"})), "repository.kms_key_name");
    }
}
