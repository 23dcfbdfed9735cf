//! The `v2` patch: fields that have a key of their own are refused in it, so that each has one meaning.

use serde_json::Value;

use super::super::diagnostic::Diagnostic;
use super::super::model::Service;
use super::super::tree::{Findings, join};
use super::at_key;

/// Fields of the service and its template with the key that owns them; empty for those that nobody may set.
const OWNED: &[(&str, &str)] = &[
    ("name", "name"),
    ("labels", "labels"),
    ("annotations", ""),
    ("ingress", "ingress"),
    ("invokerIamDisabled", "access"),
    ("scaling.minInstanceCount", "min_instances"),
    ("traffic", ""),
    ("client", ""),
    ("clientVersion", ""),
    ("template.revision", ""),
    ("template.labels", "labels"),
    ("template.annotations", ""),
    ("template.scaling.minInstanceCount", "min_instances"),
    ("template.scaling.maxInstanceCount", "max_instances"),
    ("template.vpcAccess", "vpc"),
    ("template.timeout", "timeout"),
    ("template.serviceAccount", "service_account"),
    ("template.executionEnvironment", "execution_environment"),
    ("template.maxInstanceRequestConcurrency", "concurrency"),
    ("template.sessionAffinity", "session_affinity"),
];

/// The same inside of one container.
const OWNED_BY_CONTAINER: &[(&str, &str)] = &[
    ("name", ""),
    ("image", "image"),
    ("command", "command"),
    ("args", "args"),
    ("env", "env"),
    ("ports", "port"),
    ("dependsOn", "depends_on"),
    ("startupProbe", "startup_probe"),
    ("livenessProbe", "liveness_probe"),
    ("readinessProbe", "readiness_probe"),
    ("resources.cpuIdle", "cpu_idle"),
    ("resources.startupCpuBoost", "startup_cpu_boost"),
    ("resources.limits.cpu", "cpu"),
    ("resources.limits.memory", "memory"),
];

/// Fields that only Google writes (`Service` of Cloud Run's API v2).
const OUTPUT_ONLY: &[&str] = &[
    "uid",
    "generation",
    "createTime",
    "updateTime",
    "deleteTime",
    "expireTime",
    "creator",
    "lastModifier",
    "observedGeneration",
    "terminalCondition",
    "conditions",
    "latestReadyRevision",
    "latestCreatedRevision",
    "trafficStatuses",
    "uri",
    "urls",
    "reconciling",
    "etag",
    "satisfiesPzs",
    "threatDetectionEnabled",
];

pub(super) fn check(path: &str, key: &str, service: &Service, findings: &mut Findings) {
    let Some(fields) = &service.v2 else { return };
    let path = join(path, "v2");
    for (field, owner) in OWNED {
        refuse_owned(&path, fields, field, owner, findings);
    }
    for field in OUTPUT_ONLY {
        if fields.get(field).is_some() {
            let diagnostic =
                Diagnostic::error("v2", format!("only Google writes `{field}`")).label("output only");
            at_key(&join(&path, field), diagnostic.hint("remove it"), findings);
        }
    }
    check_spelling(&path, fields, findings);
    check_containers(&path, fields, key, service, findings);
    if fields.pointer("/template/volumes").is_some_and(Value::is_array) {
        let diagnostic = Diagnostic::error("v2", "`volumes` is a map by name here, not a list")
            .label("a list")
            .hint("write `volumes: {NAME: {gcs: ...}}`");
        at_key(&join(&path, "template.volumes"), diagnostic, findings);
    }
}

fn refuse_owned(path: &str, fields: &Value, field: &str, owner: &str, findings: &mut Findings) {
    refuse_flat_parents(path, fields, field, findings);
    let written = field.split('.').try_fold(fields, |value, key| value.get(key));
    if written.is_none() {
        return;
    }
    let name = field.rsplit('.').next().unwrap_or(field);
    let diagnostic = if owner.is_empty() {
        Diagnostic::error("v2", format!("`{name}` belongs to deployer"))
            .label("not yours to set")
            .hint("remove it")
    } else {
        let message = format!("`{name}` has a key of its own in a service, `{owner}`");
        Diagnostic::error("v2", message).label("not here").hint(format!("set `{owner}` of the service"))
    };
    at_key(&join(path, field), diagnostic, findings);
}

/// What holds a field of the format can only be a map: anything else, `null` too, would take that field away.
fn refuse_flat_parents(path: &str, fields: &Value, field: &str, findings: &mut Findings) {
    for (end, _) in field.match_indices('.') {
        let parent = &field[..end];
        let written = parent.split('.').try_fold(fields, |value, key| value.get(key));
        if written.is_some_and(|value| !value.is_object()) {
            let name = parent.rsplit('.').next().unwrap_or(parent);
            let diagnostic =
                Diagnostic::error("v2", format!("`{name}` is a map here: it holds what the format sets"))
                    .label("not a map")
                    .hint("write only the fields in it that are to change");
            at_key(&join(path, parent), diagnostic, findings);
            return;
        }
    }
}

/// The patch is in Google's camelCase; words of the format would be unknown fields at Google.
fn check_spelling(path: &str, fields: &Value, findings: &mut Findings) {
    for (at, key) in keys_with_underscore("", fields) {
        let diagnostic = Diagnostic::error("v2", format!("`{key}` is not spelled as Google's API does"))
            .label("camelCase here")
            .hint(format!("write `{}`", camel_case(&key)));
        at_key(&join(path, &at), diagnostic, findings);
    }
}

/// Keys of the service, its template and their settings; below, keys may be names that the user chooses.
fn keys_with_underscore(path: &str, value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (key, inner) in value.as_object().into_iter().flatten() {
        let at = join(path, key);
        if key.contains('_') {
            found.push((at, key.clone()));
        } else if key == "template" {
            found.extend(keys_with_underscore(&at, inner));
        }
    }
    found
}

fn camel_case(key: &str) -> String {
    let mut words = key.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        camel.push_str(letters.as_str());
    }
    camel
}

fn check_containers(path: &str, fields: &Value, key: &str, service: &Service, findings: &mut Findings) {
    let Some(containers) = fields.pointer("/template/containers") else { return };
    let path = join(path, "template.containers");
    let Some(containers) = containers.as_object() else {
        let diagnostic = Diagnostic::error("v2", "`containers` is a map by name here, not a list")
            .label("not a map")
            .hint("write `containers: {main: {...}}`; `main` is the service's own container");
        at_key(&path, diagnostic, findings);
        return;
    };
    for (name, container) in containers {
        let path = join(&path, name);
        let model =
            if name == "main" || name == key { Some(&service.main) } else { service.sidecars.get(name) };
        let Some(model) = model else {
            let diagnostic = Diagnostic::error("v2", format!("the service has no container `{name}`"))
                .label("unknown container")
                .hint("`main` is the service's own one; others are made with `sidecars`");
            at_key(&path, diagnostic, findings);
            continue;
        };
        if !container.is_object() {
            let diagnostic = Diagnostic::error("v2", format!("`{name}` is a map here: a container"));
            at_key(
                &path,
                diagnostic.label("not a map").hint("write only the fields that are to change"),
                findings,
            );
            continue;
        }
        for (field, owner) in OWNED_BY_CONTAINER {
            refuse_owned(&path, container, field, owner, findings);
        }
        let mounts = !model.files.is_empty() || !model.in_memory.is_empty();
        if mounts && container.get("volumeMounts").is_some() {
            let diagnostic = Diagnostic::error(
                "v2",
                "`volumeMounts` would replace those of the container's secret files and volumes",
            )
            .label("replaces others")
            .hint("use secrets as environment variables in this container, or mount everything in `v2`");
            at_key(&join(&path, "volumeMounts"), diagnostic, findings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snake_case_is_turned_into_googles_spelling() {
        assert_eq!(camel_case("custom_audiences"), "customAudiences");
        assert_eq!(camel_case("encryption_key_revocation_action"), "encryptionKeyRevocationAction");
    }
}
