//! Volumes and where containers mount them.

use super::super::access::{int, list, text};
use super::super::violations::Violations;
use super::super::{names, quantity};
use serde_json::Value;
use std::collections::BTreeSet;

const KINDS: [&str; 6] = ["secret", "cloudSqlInstance", "emptyDir", "nfs", "gcs", "filestore"];

/// Checks the volumes of a template and the mounts of its containers.
pub(super) fn check(template: &Value, found: &mut Violations) {
    let mut seen = BTreeSet::new();
    for (index, volume) in list(template, "volumes").iter().enumerate() {
        let at = format!("template.volumes[{index}]");
        let name = text(volume, "name");
        found.check(names::is_dns_label(name), format!("{at}.name"), "The volume needs a name: a DNS label.");
        found.check(seen.insert(name), format!("{at}.name"), "The volume's name is not unique.");
        check_volume(template, volume, &at, found);
    }
    for (index, container) in list(template, "containers").iter().enumerate() {
        check_mounts(template, container, &format!("template.containers[{index}].volumeMounts"), found);
    }
}

fn check_volume(template: &Value, volume: &Value, at: &str, found: &mut Violations) {
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| volume.get(*kind).is_some()).collect();
    found.check(kinds.len() == 1, at, "A volume must have exactly one source.");
    if let Some(secret) = volume.get("secret") {
        check_secret(secret, &format!("{at}.secret"), found);
    }
    let first_generation = text(template, "executionEnvironment") == "EXECUTION_ENVIRONMENT_GEN1";
    found.check(
        !first_generation || !kinds.iter().any(|kind| matches!(*kind, "nfs" | "gcs" | "filestore")),
        at,
        "Network file systems need the second generation execution environment.",
    );
    for instance in list(&volume["cloudSqlInstance"], "instances") {
        // The project's ID may have a domain in front: `example.com:project:region:instance`.
        let parts = instance.as_str().unwrap_or_default().split(':').filter(|part| !part.is_empty()).count();
        found.check(
            matches!(parts, 3 | 4),
            format!("{at}.cloudSqlInstance.instances"),
            "An instance is named PROJECT:REGION:INSTANCE.",
        );
    }
    let limit = text(&volume["emptyDir"], "sizeLimit");
    found.check(
        limit.is_empty() || quantity::bytes(limit).is_some(),
        format!("{at}.emptyDir.sizeLimit"),
        "The limit must be a quantity such as 64Mi.",
    );
    for (kind, field) in [("gcs", "bucket"), ("nfs", "server"), ("nfs", "path"), ("filestore", "volume")] {
        if let Some(source) = volume.get(kind) {
            found.check(
                !text(source, field).is_empty(),
                format!("{at}.{kind}.{field}"),
                "The field is required.",
            );
        }
    }
}

fn check_secret(secret: &Value, at: &str, found: &mut Violations) {
    found.check(
        names::is_secret(text(secret, "secret")),
        format!("{at}.secret"),
        "A secret is required, as its id or as projects/PROJECT/secrets/SECRET.",
    );
    let mode = int(secret, "defaultMode");
    found.check(
        (0..=0o777).contains(&mode),
        format!("{at}.defaultMode"),
        "The mode must be between 0000 and 0777.",
    );
    let mut paths = BTreeSet::new();
    for (index, item) in list(secret, "items").iter().enumerate() {
        let path = text(item, "path");
        let relative = !path.is_empty() && !path.starts_with('/') && path.split('/').all(|part| part != "..");
        found.check(
            relative,
            format!("{at}.items[{index}].path"),
            "The path must be relative and must not contain `..`.",
        );
        let version = text(item, "version");
        found.check(
            version.is_empty() || names::is_secret_version(version),
            format!("{at}.items[{index}].version"),
            "The version must be a number, an alias or `latest`.",
        );
        found.check(paths.insert(path), format!("{at}.items[{index}].path"), "The path is not unique.");
        found.check(
            (0..=0o777).contains(&int(item, "mode")),
            format!("{at}.items[{index}].mode"),
            "The mode must be between 01 and 0777.",
        );
    }
}

fn check_mounts(template: &Value, container: &Value, at: &str, found: &mut Violations) {
    let mut paths = BTreeSet::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let at = format!("{at}[{index}]");
        let name = text(mount, "name");
        let volume = list(template, "volumes").iter().find(|volume| text(volume, "name") == name);
        found.check(volume.is_some(), format!("{at}.name"), "No volume has this name.");
        let path = text(mount, "mountPath").trim_end_matches('/');
        if volume.is_some_and(|volume| volume.get("cloudSqlInstance").is_some()) {
            found.check(
                matches!(path, "" | "/cloudsql"),
                format!("{at}.mountPath"),
                "Cloud SQL volumes are mounted at /cloudsql.",
            );
        } else {
            check_path(path, &at, found);
        }
        // Two secrets in one directory would hide each other, so Cloud Run takes one volume per path.
        found.check(
            paths.insert(path),
            format!("{at}.mountPath"),
            "Another volume is mounted at the same path.",
        );
        let secret = volume.is_some_and(|volume| volume.get("secret").is_some());
        found.check(
            !secret || text(mount, "subPath").is_empty(),
            format!("{at}.subPath"),
            "subPath is not supported for secrets.",
        );
    }
}

fn check_path(path: &str, at: &str, found: &mut Violations) {
    let system = ["/dev", "/proc", "/sys"]
        .iter()
        .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    found.check(
        path.starts_with('/') && !path.contains(':') && !system,
        format!("{at}.mountPath"),
        "The mount path must be absolute, without `:`, and not below /dev, /proc or /sys.",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(volumes: &Value, mounts: &Value) -> Vec<String> {
        let template = json!({"volumes": volumes, "containers": [{"volumeMounts": mounts}]});
        let mut found = Violations::default();
        check(&template, &mut found);
        found.fields().into_iter().map(str::to_owned).collect()
    }

    fn secret(name: &str) -> Value {
        json!({"name": name, "secret": {"secret": "s", "defaultMode": 292}})
    }

    #[test]
    fn a_mount_needs_its_volume() {
        assert!(problems(&json!([secret("v")]), &json!([{"name": "v", "mountPath": "/s"}])).is_empty());
        assert_eq!(
            problems(&json!([]), &json!([{"name": "v", "mountPath": "/s"}])),
            ["template.containers[0].volumeMounts[0].name"]
        );
    }

    #[test]
    fn one_secret_per_directory() {
        let mounts = json!([{"name": "v", "mountPath": "/s"}, {"name": "w", "mountPath": "/s/"}]);
        assert_eq!(
            problems(&json!([secret("v"), secret("w")]), &mounts),
            ["template.containers[0].volumeMounts[1].mountPath"]
        );
    }

    #[test]
    fn volume_names_are_unique() {
        assert_eq!(problems(&json!([secret("v"), secret("v")]), &json!([])), ["template.volumes[1].name"]);
    }

    #[test]
    fn a_volume_has_one_source() {
        assert_eq!(problems(&json!([{"name": "v"}]), &json!([])), ["template.volumes[0]"]);
        let both = json!([{"name": "v", "emptyDir": {}, "secret": {"secret": "s"}}]);
        assert_eq!(problems(&both, &json!([])), ["template.volumes[0]"]);
    }

    #[test]
    fn sources_are_checked_by_their_form() {
        for (bad, field) in [
            (json!({"name": "v", "cloudSqlInstance": {"instances": ["db"]}}), "cloudSqlInstance.instances"),
            (json!({"name": "v", "emptyDir": {"sizeLimit": "much"}}), "emptyDir.sizeLimit"),
            (json!({"name": "v", "secret": {"secret": "a/b"}}), "secret.secret"),
            (json!({"name": "v", "gcs": {}}), "gcs.bucket"),
        ] {
            assert_eq!(problems(&json!([bad]), &json!([])), [format!("template.volumes[0].{field}")]);
        }
        let good = json!([{"name": "v", "cloudSqlInstance": {"instances": ["p:r:i"]}},
                          {"name": "w", "emptyDir": {"sizeLimit": "64Mi"}}]);
        assert!(problems(&good, &json!([])).is_empty());
    }

    #[test]
    fn items_need_distinct_relative_paths() {
        let volume = |items: Value| json!([{"name": "v", "secret": {"secret": "s", "items": items}}]);
        assert_eq!(
            problems(&volume(json!([{"path": "/a"}])), &json!([])),
            ["template.volumes[0].secret.items[0].path"]
        );
        assert_eq!(
            problems(&volume(json!([{"path": "a"}, {"path": "a"}])), &json!([])),
            ["template.volumes[0].secret.items[1].path"]
        );
    }

    #[test]
    fn system_directories_are_no_mount_paths() {
        for path in ["/proc", "/sys/x", "relative", "/a:b", ""] {
            let found = problems(&json!([secret("v")]), &json!([{"name": "v", "mountPath": path}]));
            assert_eq!(found, ["template.containers[0].volumeMounts[0].mountPath"], "{path}");
        }
        assert!(problems(&json!([secret("v")]), &json!([{"name": "v", "mountPath": "/device"}])).is_empty());
    }
}
