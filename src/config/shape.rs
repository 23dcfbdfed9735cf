//! Checks merged values against the schema, says in our words what is wrong, and takes the wrong parts out.
//!
//! What is left is well-formed, so that the later checks can look at all the rest of it: a user sees all
//! problems at once.

use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::Value;

use super::diagnostic::{Diagnostic, did_you_mean};
use super::json_schema;
use super::not_yet::Level;
use super::tree::{Findings, Part};

static SCHEMA: LazyLock<Value> = LazyLock::new(json_schema::without_null);
static VALIDATOR: LazyLock<Result<Validator, String>> =
    LazyLock::new(|| jsonschema::validator_for(&SCHEMA).map_err(|error| error.to_string()));

/// A part of the value that has to go: a key of the map at `path`, or the value itself.
struct Wrong {
    path: Vec<String>,
}

/// Reports everything in `value` that the schema does not allow, and removes it from `value`.
pub(crate) fn check(value: &mut Value, findings: &mut Findings) {
    let validator = match VALIDATOR.as_ref() {
        Ok(validator) => validator,
        Err(error) => {
            findings
                .diagnostics
                .push(Diagnostic::error("internal", format!("the schema is broken: {error}")));
            return;
        }
    };
    let mut wrong = Vec::new();
    for error in validator.iter_errors(value) {
        explain(&error, findings, &mut wrong);
    }
    // Items of lists from the back, so that the positions of the others stay right.
    wrong.sort_by_cached_key(|wrong| std::cmp::Reverse(natural(&wrong.path)));
    for wrong in wrong {
        findings.broken.insert(wrong.path.join("."));
        remove(value, &wrong.path);
    }
}

/// A path with its positions as numbers: 10 comes after 9.
fn natural(path: &[String]) -> Vec<(usize, String)> {
    path.iter().map(|key| (key.parse().unwrap_or(0), key.clone())).collect()
}

fn keys(error: &ValidationError<'_>) -> Vec<String> {
    error
        .instance_path()
        .as_str()
        .split('/')
        .skip(1)
        .map(|key| key.replace("~1", "/").replace("~0", "~"))
        .collect()
}

fn explain(error: &ValidationError<'_>, findings: &mut Findings, wrong: &mut Vec<Wrong>) {
    let path = keys(error);
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            for key in unexpected {
                let mut full = path.clone();
                full.push(key.clone());
                findings.add(Part::Key, &full.join("."), unknown_key(&path, key));
                wrong.push(Wrong { path: full });
            }
        }
        ValidationErrorKind::AnyOf { context } => {
            let branch = context
                .iter()
                .find(|errors| !errors.iter().any(|error| keys(error) == path && is_type(error)));
            let Some(errors) = branch else {
                findings.add(Part::Value, &path.join("."), wrong_value(&path, error));
                wrong.push(Wrong { path });
                return;
            };
            for error in errors {
                explain(error, findings, wrong);
            }
        }
        _ => {
            // What could not be filled in has been reported already.
            if !findings.broken.contains(&path.join(".")) {
                findings.add(Part::Value, &path.join("."), wrong_value(&path, error));
            }
            wrong.push(Wrong { path });
        }
    }
}

fn is_type(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), ValidationErrorKind::Type { .. })
}

/// A key that the map at `path` does not have.
fn unknown_key(path: &[String], key: &str) -> Diagnostic {
    let level = Level::of(path);
    if level.reserves(key) {
        return Diagnostic::error("not-supported-yet", format!("`{key}` is not supported yet"))
            .label("not supported yet")
            .hint("remove it; nothing would obey it");
    }
    let known = json_schema::keys_at(&SCHEMA, path);
    let diagnostic = Diagnostic::error("unknown-key", format!("there is no key `{key}` in {}", place(path)))
        .label("unknown key");
    if let Some(hint) = elsewhere(path, key) {
        return diagnostic.hint(hint);
    }
    match did_you_mean(key, known.iter().copied()) {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
        None => diagnostic.hint(format!("the keys here are: {}", known.join(", "))),
    }
}

/// A key that exists, but under another name or in another place.
fn elsewhere(path: &[String], key: &str) -> Option<String> {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    if matches!(parts.as_slice(), [.., "sidecars", _]) {
        return match key {
            "port" | "ports" => {
                Some("a sidecar receives no requests: only the service's own container has a port".into())
            }
            "name" => Some("a sidecar's name is its key in `sidecars`".into()),
            _ => None,
        };
    }
    if matches!(parts.as_slice(), ["jobs" | "migrations", _]) {
        match key {
            "args" => return Some("arguments are the words of `command` after its first".into()),
            "needs" | "before" => return Some(format!("only a migration has `{key}`")),
            "manual" | "args_from" | "tasks" | "parallelism" => {
                return Some(format!("only a job has `{key}`"));
            }
            "retries" => return Some("it is called `max_retries` here".into()),
            _ => {}
        }
    }
    let renamed = match key {
        "project_id" => "project: {id: ...}",
        "project_number" => "project: {number: ...}",
        "environment_variables" | "env_vars" | "set_env_vars" | "envs" => "env",
        "set_secrets" => "secrets",
        "min" | "min_scale" => "min_instances",
        "max" | "max_scale" => "max_instances",
        "vpc_connector" | "vpc_egress" => "vpc: {connector: ..., egress: ...}",
        "public" => "access: public",
        "containers" => "sidecars",
        "resources" | "limits" => "cpu and memory",
        "healthcheck" | "health_check" => "liveness_probe",
        _ => "",
    };
    if !renamed.is_empty() {
        return Some(format!("it is called `{renamed}` here"));
    }
    let service = ["services".to_owned(), "x".to_owned()];
    if path.is_empty() && json_schema::keys_at(&SCHEMA, &service).contains(&key) {
        return Some(format!("`{key}` belongs into a service (`services.NAME.{key}`) or into `defaults`"));
    }
    if Level::of(path) == Level::Service && json_schema::keys_at(&SCHEMA, &[]).contains(&key) {
        return Some(format!("`{key}` belongs to the file, not to a service"));
    }
    None
}

/// What the map at `path` is called in a message.
fn place(path: &[String]) -> String {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [] => "an environment file".into(),
        ["defaults"] | ["services" | "classes", _] => "a service".into(),
        ["secrets", _] => "a secret".into(),
        ["tenants", "list", _] => "a tenant".into(),
        ["jobs", _] => "a job".into(),
        ["migrations", _] => "a migration".into(),
        [.., "sidecars", _] => "a sidecar".into(),
        [.., "startup_probe" | "liveness_probe" | "readiness_probe"] => "a probe".into(),
        [.., "volumes", _] => "a volume".into(),
        [.., key] => format!("`{key}`"),
    }
}

/// A value that is not what its key wants.
fn wrong_value(path: &[String], error: &ValidationError<'_>) -> Diagnostic {
    let key = name_of(path);
    let shown = shown(error.instance());
    let expected = expected(path);
    match error.kind() {
        ValidationErrorKind::Type { kind } => {
            let wanted = expected.clone().unwrap_or_else(|| types(kind));
            let diagnostic = Diagnostic::error(
                "wrong-type",
                format!("`{key}` is {wanted}, and this is {}", kind_of(error.instance())),
            )
            .label(format!("expected {wanted}"));
            match type_hint(path, kind, error.instance()) {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            }
        }
        ValidationErrorKind::AnyOf { .. } => {
            let wanted = "text or a map";
            Diagnostic::error(
                "wrong-type",
                format!("`{key}` is {wanted}, and this is {}", kind_of(error.instance())),
            )
            .label(format!("expected {wanted}"))
        }
        ValidationErrorKind::Enum { options } => one_of(&key, &shown, options),
        ValidationErrorKind::Constant { expected_value } => {
            one_of(&key, &shown, &Value::Array(vec![(**expected_value).clone()]))
        }
        ValidationErrorKind::Minimum { limit } | ValidationErrorKind::ExclusiveMinimum { limit } => {
            Diagnostic::error("out-of-range", format!("`{key}` is at least {limit}, and this is {shown}"))
                .label("too small")
        }
        ValidationErrorKind::Maximum { limit } | ValidationErrorKind::ExclusiveMaximum { limit } => {
            Diagnostic::error("out-of-range", format!("`{key}` is at most {limit}, and this is {shown}"))
                .label("too large")
        }
        _ => {
            let wanted = expected.unwrap_or_else(|| "spelled otherwise".into());
            let diagnostic =
                Diagnostic::error("wrong-value", format!("{shown} is no valid `{key}`")).label("not valid");
            match spelling(&key, error.instance()) {
                Some(meant) => diagnostic.hint(format!("did you mean `{meant}`? `{key}` is {wanted}")),
                None => diagnostic.hint(format!("`{key}` is {wanted}")),
            }
        }
    }
}

/// The key that a value belongs to: an item of a list belongs to the list's key.
fn name_of(path: &[String]) -> String {
    let named = path.iter().rev().find(|key| key.parse::<usize>().is_err());
    named.map_or_else(|| "the file".to_owned(), Clone::clone)
}

/// What the schema says that the value at `path` should look like.
fn expected(path: &[String]) -> Option<String> {
    let said = |schema: Option<&Value>| schema?.get("errorMessage")?.as_str().map(str::to_owned);
    said(json_schema::written_at(&SCHEMA, path)).or_else(|| said(json_schema::at(&SCHEMA, path)))
}

fn one_of(key: &str, shown: &str, options: &Value) -> Diagnostic {
    let options: Vec<&str> = options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let list = options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ");
    let written = shown.trim_matches('`');
    let diagnostic =
        Diagnostic::error("wrong-value", format!("{shown} is no valid `{key}`")).label("not valid");
    match did_you_mean(written, options.iter().copied()) {
        Some(meant) if options.len() > 1 => {
            diagnostic.hint(format!("did you mean `{meant}`? It is one of {list}"))
        }
        _ if options.len() == 1 => diagnostic.hint(format!("it is {list}")),
        _ => diagnostic.hint(format!("it is one of {list}")),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn types(kind: &TypeKind) -> String {
    let one = |json_type: JsonType| match json_type {
        JsonType::Array => "a list",
        JsonType::Boolean => "`true` or `false`",
        JsonType::Integer => "a whole number",
        JsonType::Null => "nothing",
        JsonType::Number => "a number",
        JsonType::Object => "a map",
        JsonType::String => "text",
    };
    match kind {
        TypeKind::Single(single) => one(*single).to_owned(),
        TypeKind::Multiple(several) => several.iter().map(one).collect::<Vec<_>>().join(" or "),
    }
}

fn type_hint(path: &[String], kind: &TypeKind, value: &Value) -> Option<String> {
    let TypeKind::Single(wanted) = kind else { return None };
    match (wanted, value) {
        (JsonType::Object, _) => {
            let keys = json_schema::keys_at(&SCHEMA, path);
            (1..10).contains(&keys.len()).then(|| format!("its keys are: {}", keys.join(", ")))
        }
        (JsonType::String, Value::Number(number)) => Some(format!("quote it: `\"{number}\"`")),
        (JsonType::String, Value::Bool(value)) => Some(format!("quote it: `\"{value}\"`")),
        (JsonType::Integer, Value::String(text)) if text.parse::<i64>().is_ok() => {
            Some(format!("without quotes: `{text}`"))
        }
        (JsonType::Boolean, Value::String(text)) => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some("write `true`".into()),
            "no" | "off" | "n" | "false" => Some("write `false`".into()),
            _ => None,
        },
        (JsonType::Array, Value::String(text)) => Some(format!("write `[{text}]`")),
        _ => None,
    }
}

/// Another spelling of the same amount that is common elsewhere.
fn spelling(key: &str, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    if key == "memory" || key == "in_memory" {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        let unit = text[digits.len()..].trim().to_lowercase();
        let unit = match unit.as_str() {
            "m" | "mb" | "mi" | "mib" => "Mi",
            "g" | "gb" | "gi" | "gib" => "Gi",
            "k" | "kb" | "ki" | "kib" => "Ki",
            _ => return None,
        };
        return (!digits.is_empty()).then(|| format!("{digits}{unit}"));
    }
    None
}

fn remove(value: &mut Value, path: &[String]) {
    let Some((last, parents)) = path.split_last() else {
        *value = Value::Object(serde_json::Map::new());
        return;
    };
    let mut here = value;
    for key in parents {
        let next = match here {
            Value::Object(map) => map.get_mut(key),
            Value::Array(items) => key.parse::<usize>().ok().and_then(|position| items.get_mut(position)),
            _ => None,
        };
        match next {
            Some(next) => here = next,
            None => return,
        }
    }
    match here {
        Value::Object(map) => {
            map.remove(last);
        }
        Value::Array(items) => {
            if let Ok(position) = last.parse::<usize>()
                && position < items.len()
            {
                items.remove(position);
            }
        }
        _ => {}
    }
}
