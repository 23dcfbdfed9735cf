//! Distils Google's discovery documents into the two tables that the sandbox is built with:
//! `methods.tsv` (every documented method) and `schemas.json` (the messages that the sandbox checks).
//!
//! Only facts are kept: names, paths, types, enum values. The wording of the documents is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Which messages go into `schemas.json`: documents, and a prefix of the method ids whose bodies matter.
const SCHEMAS: &[(&str, &str, &[&str])] = &[
    ("artifactregistry", "v1", &["artifactregistry.projects.locations."]),
    ("cloudresourcemanager", "v1", &["cloudresourcemanager.projects."]),
    ("cloudresourcemanager", "v3", &["cloudresourcemanager.projects."]),
    (
        "iam",
        "v1",
        &[
            "iam.projects.serviceAccounts.",
            "iam.projects.locations.workloadIdentityPools.",
            "iam.projects.roles.",
            "iam.roles.",
        ],
    ),
    ("iamcredentials", "v1", &["iamcredentials.projects.serviceAccounts.generate"]),
    ("run", "v2", &["run."]),
    ("secretmanager", "v1", &["secretmanager."]),
    ("serviceusage", "v1", &["serviceusage."]),
];

/// Parameters that every Google API takes; the sandbox knows them without a table.
const STANDARD: &str = "alt access_token callback fields key oauth_token prettyPrint quotaUser uploadType \
                        upload_protocol userIp $.xgafv";

type Messages = BTreeMap<String, BTreeMap<String, String>>;
type Enums = BTreeMap<String, BTreeMap<String, i64>>;

/// Writes `methods.tsv` and `schemas.json` into `out_dir` from the documents `NAME.VERSION.json` in `docs_dir`.
///
/// Numbers of enums are not in the documents: they are read from `enum_numbers`, a JSON object of
/// `api_version.Message.Enum` to name to number. Errors are one sentence naming the file.
pub fn run(docs_dir: &Path, enum_numbers: &Path, out_dir: &Path) -> Result<(), String> {
    let numbers = read_json(enum_numbers)?;
    let mut methods = String::from("#api\tversion\thost\tid\tverb\tpath\tquery\trequest\tresponse\n");
    let mut schemas = BTreeMap::new();
    for path in documents(docs_dir)? {
        let document = read_json(&path)?;
        let (Some(name), Some(version)) = (document["name"].as_str(), document["version"].as_str()) else {
            continue;
        };
        write_methods(&document, name, version, &mut methods);
        if let Some((_, _, prefixes)) = SCHEMAS.iter().find(|(api, v, _)| (*api, *v) == (name, version)) {
            let schema = distil(&document, name, version, prefixes, &numbers);
            schemas.insert(format!("{name}.{version}"), schema);
        }
    }
    write(&out_dir.join("methods.tsv"), &methods)?;
    write(&out_dir.join("schemas.json"), &render(&schemas))
}

fn documents(dir: &Path) -> Result<BTreeSet<std::path::PathBuf>, String> {
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect())
}

fn read_json(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Every method below `resource`, depth first.
fn methods_of<'a>(resource: &'a Value, found: &mut Vec<&'a Value>) {
    found.extend(resource["methods"].as_object().into_iter().flat_map(|methods| methods.values()));
    for child in resource["resources"].as_object().into_iter().flat_map(|children| children.values()) {
        methods_of(child, found);
    }
}

fn write_methods(document: &Value, api: &str, version: &str, out: &mut String) {
    let host = document["rootUrl"].as_str().unwrap_or_default();
    let host = host.trim_start_matches("https://").trim_end_matches('/');
    let base = document["servicePath"].as_str().unwrap_or_default();
    let mut methods = Vec::new();
    methods_of(document, &mut methods);
    methods.sort_by_key(|method| method["id"].as_str().unwrap_or_default());
    for method in methods {
        let text = |key: &str| method[key].as_str().unwrap_or_default();
        let path = method["flatPath"].as_str().unwrap_or_else(|| text("path"));
        let query = query_parameters(method);
        let body = |key: &str| short_name(method[key]["$ref"].as_str().unwrap_or_default());
        let (id, verb, request, response) =
            (text("id"), text("httpMethod"), body("request"), body("response"));
        // Writing into a String cannot fail.
        let _ = writeln!(
            out,
            "{api}\t{version}\t{host}\t{id}\t{verb}\t{base}{path}\t{query}\t{request}\t{response}"
        );
    }
}

/// `name:type` of each query parameter, comma separated; `[]` marks repeated ones.
fn query_parameters(method: &Value) -> String {
    let mut names = Vec::new();
    for (name, parameter) in method["parameters"].as_object().into_iter().flatten() {
        if parameter["location"] != "query" || STANDARD.split_whitespace().any(|known| known == name) {
            continue;
        }
        let repeated = if parameter["repeated"] == true { "[]" } else { "" };
        let kind = if parameter.get("enum").is_some() { "enum" } else { scalar(parameter) };
        names.push(format!("{name}:{repeated}{kind}"));
    }
    names.sort();
    names.join(",")
}

fn short_name(name: &str) -> &str {
    name.strip_prefix("GoogleCloudRunV2").filter(|rest| !rest.is_empty()).unwrap_or(name)
}

/// The closure of messages that the chosen methods take and give.
fn distil(
    document: &Value,
    api: &str,
    version: &str,
    prefixes: &[&str],
    numbers: &Value,
) -> (Messages, Enums) {
    let mut methods = Vec::new();
    methods_of(document, &mut methods);
    let mut queue: Vec<String> = Vec::new();
    for method in methods {
        let id = method["id"].as_str().unwrap_or_default();
        if prefixes.iter().any(|prefix| id.starts_with(prefix)) {
            queue.extend(method["request"]["$ref"].as_str().map(str::to_owned));
            queue.extend(method["response"]["$ref"].as_str().map(str::to_owned));
        }
    }
    let (mut messages, mut enums) = (Messages::new(), Enums::new());
    while let Some(name) = queue.pop() {
        if messages.contains_key(short_name(&name)) {
            continue;
        }
        let mut fields = BTreeMap::new();
        for (field, shape) in document["schemas"][&name]["properties"].as_object().into_iter().flatten() {
            let key = format!("{}.{field}", short_name(&name));
            let mut kind = kind_of(shape, &key, &mut queue);
            if let Some(values) = enum_values(shape) {
                enums.insert(key, numbered(&values, api, version, numbers));
            }
            let said = shape["description"].as_str().unwrap_or_default();
            if shape["readOnly"] == true || said.starts_with("Output only.") {
                kind.push('-');
            } else if said.starts_with("Required.") || said.starts_with("REQUIRED:") {
                kind.push('!');
            }
            fields.insert(field.clone(), kind);
        }
        messages.insert(short_name(&name).to_owned(), fields);
    }
    (messages, enums)
}

/// `[]` and `{}` in front for lists and maps, then a scalar, `enum:KEY` or a message's name.
fn kind_of(shape: &Value, key: &str, queue: &mut Vec<String>) -> String {
    if let Some(message) = shape["$ref"].as_str() {
        queue.push(message.to_owned());
        return short_name(message).to_owned();
    }
    if shape.get("enum").is_some() {
        return format!("enum:{key}");
    }
    match shape["type"].as_str() {
        Some("array") => format!("[]{}", kind_of(&shape["items"], key, queue)),
        Some("object") if shape.get("additionalProperties").is_some() => {
            format!("{{}}{}", kind_of(&shape["additionalProperties"], key, queue))
        }
        _ => scalar(shape).to_owned(),
    }
}

fn scalar(shape: &Value) -> &'static str {
    match (shape["type"].as_str().unwrap_or("any"), shape["format"].as_str().unwrap_or_default()) {
        ("string", "int64") => "int64",
        ("string", "uint64") => "uint64",
        ("string", "byte") => "bytes",
        ("string", "google-datetime" | "date-time") => "timestamp",
        ("string", "google-duration") => "duration",
        ("string", "google-fieldmask") => "mask",
        ("string", _) => "string",
        ("boolean", _) => "bool",
        ("integer", "uint32") => "uint32",
        ("integer", _) => "int32",
        ("number", _) => "double",
        _ => "any",
    }
}

fn enum_values(shape: &Value) -> Option<Vec<&str>> {
    let shape = if shape["type"] == "array" { &shape["items"] } else { shape };
    Some(shape.get("enum")?.as_array()?.iter().filter_map(Value::as_str).collect())
}

/// Numbers from the table entry of this API that fits best; `-1` where no entry has the name.
///
/// Documents may be ahead of the numbers, so an entry fits when at least half of it is among the values.
fn numbered(values: &[&str], api: &str, version: &str, numbers: &Value) -> BTreeMap<String, i64> {
    let own = format!("{api}_{version}.");
    let shared = |table: &Value| values.iter().filter(|value| table.get(**value).is_some()).count();
    let entries = || numbers.as_object().into_iter().flatten();
    let table = entries()
        .filter(|(name, _)| name.starts_with(&own))
        .map(|(_, table)| table)
        .filter(|table| table.as_object().is_some_and(|all| shared(table) * 2 >= all.len()))
        .max_by_key(|table| shared(table))
        .filter(|table| shared(table) > 0)
        // Enums that APIs share, such as launch stages, stand under a name of their own.
        .or_else(|| {
            entries()
                .map(|(_, table)| table)
                .filter(|table| shared(table) == values.len())
                .min_by_key(|table| table.as_object().map_or(0, serde_json::Map::len))
        });
    values
        .iter()
        .map(|value| {
            let number = table.and_then(|table| table[*value].as_i64()).unwrap_or(-1);
            ((*value).to_owned(), number)
        })
        .collect()
}

/// JSON with one message a line, so that a new revision of a document reads well in a diff.
fn render(schemas: &BTreeMap<String, (Messages, Enums)>) -> String {
    let mut out = String::from("{");
    for (index, (api, (messages, enums))) in schemas.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma}\n\"{api}\": {{\n\"messages\": {{{}\n}},", lines(messages));
        let _ = write!(out, "\n\"enums\": {{{}\n}}}}", lines(enums));
    }
    out.push_str("\n}\n");
    out
}

fn lines<V: std::fmt::Debug>(table: &BTreeMap<String, BTreeMap<String, V>>) -> String {
    let rows: Vec<String> = table
        .iter()
        .map(|(name, row)| {
            // Names and kinds are plain ASCII, for which Debug and JSON agree.
            let cells: Vec<String> = row.iter().map(|(key, value)| format!("{key:?}:{value:?}")).collect();
            format!("\n{name:?}: {{{}}}", cells.join(","))
        })
        .collect();
    rows.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_only_and_required_are_marked() {
        let document = serde_json::json!({
            "resources": {"things": {"methods": {"get": {
                "id": "x.things.get", "response": {"$ref": "Thing"}
            }}}},
            "schemas": {"Thing": {"properties": {
                "uid": {"type": "string", "readOnly": true},
                "size": {"type": "string", "format": "int64", "description": "Required. How many."},
                "parts": {"type": "array", "items": {"$ref": "Part"}},
                "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                "mode": {"type": "string", "enum": ["A", "B"]}
            }}, "Part": {"properties": {}}}
        });
        let numbers = serde_json::json!({"x_v1.Thing.Mode": {"A": 0, "B": 7}});
        let (messages, enums) = distil(&document, "x", "v1", &["x."], &numbers);
        let thing = &messages["Thing"];
        assert_eq!(thing["uid"], "string-");
        assert_eq!(thing["size"], "int64!");
        assert_eq!(thing["parts"], "[]Part");
        assert_eq!(thing["tags"], "{}string");
        assert_eq!(thing["mode"], "enum:Thing.mode");
        assert_eq!(enums["Thing.mode"]["B"], 7);
        assert!(messages.contains_key("Part"));
    }

    #[test]
    fn standard_parameters_stay_out_of_the_table() {
        let method = serde_json::json!({"parameters": {
            "alt": {"location": "query", "type": "string"},
            "pageSize": {"location": "query", "type": "integer", "format": "int32"},
            "name": {"location": "path", "type": "string"}
        }});
        assert_eq!(query_parameters(&method), "pageSize:int32");
    }
}
