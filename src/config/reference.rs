//! The reference of all keys as Markdown, made from the JSON Schema: nobody writes it twice.

use std::fmt::Write as _;

use serde_json::Value;

use super::json_schema::{self, keys_at, written_at};

/// The maps of the format: title, and a path that leads to one.
const MAPS: &[(&str, &[&str])] = &[
    ("A file", &[]),
    ("`project`", &["project"]),
    ("`naming`", &["naming"]),
    ("`registry`", &["registry"]),
    ("`registry.retention`", &["registry", "retention"]),
    ("`image_tags`", &["image_tags"]),
    ("`secrets.NAME`", &["secrets", "x"]),
    ("`tenants`", &["tenants"]),
    ("`tenants.list.SLUG`", &["tenants", "list", "x"]),
    ("`services.NAME`, `classes.NAME` and `defaults`", &["services", "x"]),
    ("`services.NAME.build`", &["services", "x", "build"]),
    ("`services.NAME.build.bases`", &["services", "x", "build", "bases"]),
    ("`services.NAME.vpc`", &["services", "x", "vpc"]),
    ("`services.NAME.metrics`", &["services", "x", "metrics"]),
    ("`services.NAME.volumes./PATH`", &["services", "x", "volumes", "x"]),
    ("`startup_probe`, `liveness_probe` and `readiness_probe`", &["services", "x", "startup_probe"]),
    ("`services.NAME.sidecars.NAME`", &["services", "x", "sidecars", "x"]),
    ("`jobs.NAME`", &["jobs", "x"]),
    ("`migrations.NAME`", &["migrations", "x"]),
    ("`local`", &["local"]),
    ("`local.services.NAME`", &["local", "services", "x"]),
    ("`rollout` and `services.NAME.rollout`", &["rollout"]),
    ("`rollout.health`", &["rollout", "health"]),
    ("`smoke.NAME`", &["smoke", "x"]),
    ("`github`", &["github"]),
    ("`github.identity`", &["github", "identity"]),
    ("`github.workflows.NAME`", &["github", "workflows", "x"]),
    ("`github.workflows.NAME.on`", &["github", "workflows", "x", "on"]),
    ("`github.workflows.NAME.on.push`", &["github", "workflows", "x", "on", "push"]),
    ("`github.workflows.NAME.on.pull_request`", &["github", "workflows", "x", "on", "pull_request"]),
    ("`ci`", &["ci"]),
    ("`ci.suites.NAME`", &["ci", "suites", "x"]),
    ("`ci.services.NAME` and `ci.suites.NAME.services.NAME`", &["ci", "services", "x"]),
    ("`plan`", &["plan"]),
    ("`lint`", &["lint"]),
];

/// All keys with their types and documentation, as Markdown tables.
pub fn reference() -> String {
    let schema = json_schema::without_null();
    let mut text = String::new();
    for (title, path) in MAPS {
        let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
        text.push_str(&format_map(&schema, title, &path));
    }
    text
}

fn format_map(schema: &Value, title: &str, path: &[String]) -> String {
    let mut text = format!("### {title}\n\n");
    if path.iter().any(|key| key == "sidecars") {
        text.push_str("The keys of a service that are about one container: ");
        let keys: Vec<String> = keys_at(schema, path).into_iter().map(|key| format!("`{key}`")).collect();
        text.push_str(&keys.join(", "));
        text.push_str(".\n\n");
        return text;
    }
    text.push_str("| key | value | meaning |\n| --- | --- | --- |\n");
    for key in keys_at(schema, path) {
        let mut full = path.to_vec();
        full.push(key.to_owned());
        let Some(written) = written_at(schema, &full) else { continue };
        let followed = json_schema::at(schema, &full).unwrap_or(written);
        let meaning = written.get("description").and_then(Value::as_str).unwrap_or_default();
        let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let _ = writeln!(text, "| `{key}` | {} | {meaning} |", kind(schema, followed));
    }
    text.push('\n');
    text
}

/// What a value looks like, in a few words.
fn kind(schema: &Value, here: &Value) -> String {
    if let Some(options) = here.get("enum").and_then(Value::as_array) {
        let options: Vec<String> =
            options.iter().filter_map(Value::as_str).map(|option| format!("`{option}`")).collect();
        return options.join(", ");
    }
    if let Some(only) = here.get("const").and_then(Value::as_str) {
        return format!("`{only}`");
    }
    if let Some(branches) = here.get("anyOf").and_then(Value::as_array) {
        let followed = branches.iter().filter_map(|branch| json_schema::follow(schema, branch));
        return followed.map(|branch| kind(schema, branch)).collect::<Vec<_>>().join(" or ");
    }
    let names: Vec<&str> = match here.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let words = names.into_iter().map(|name| match name {
        "string" => "text",
        "integer" | "number" => "number",
        "boolean" => "`true` or `false`",
        "array" => "list",
        "object" if here.get("additionalProperties").is_some_and(Value::is_object) => "map by name",
        "object" => "map",
        other => other,
    });
    let mut text = words.collect::<Vec<_>>().join(" or ");
    if let (Some(least), Some(most)) = (here.get("minimum"), here.get("maximum")) {
        let _ = write!(text, ", {least} to {most}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Between these lines of a document stands what is generated.
    const BEGIN: &str = "<!-- generated: UPDATE_DOCS=1 cargo test -p deployer config::reference -->\n";
    const END: &str = "<!-- end of generated -->\n";

    fn kept_is(path: &str, wanted: impl Fn(&str) -> String) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let wanted = wanted(&kept);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == wanted,
            "{} is out of date: run UPDATE_DOCS=1 cargo test -p deployer config::reference",
            path.display()
        );
    }

    #[test]
    fn the_documentation_shows_the_keys_that_there_are() {
        kept_is("docs/configuration.md", |kept| {
            let (before, rest) = kept.split_once(BEGIN).expect("the document has a generated part");
            let (_, after) = rest.split_once(END).expect("the generated part has an end");
            format!("{before}{BEGIN}\n{}{END}{after}", reference())
        });
    }

    #[test]
    fn the_schema_in_the_documentation_is_the_one_of_the_types() {
        kept_is("docs/deployer.schema.json", |_| format!("{:#}\n", crate::config::json_schema()));
    }

    #[test]
    fn every_key_of_the_reference_has_a_type_and_a_meaning() {
        for line in reference().lines().filter(|line| line.starts_with("| `")) {
            assert!(line.split(" | ").all(|cell| !cell.trim_matches(['|', ' ']).is_empty()), "{line}");
        }
    }

    #[test]
    fn every_lint_is_documented() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap();
        for rule in crate::config::lint::known() {
            let row = |line: &str| line.starts_with(&format!("| `{rule}` "));
            assert!(text.lines().any(row), "{rule}");
        }
    }

    #[test]
    fn the_examples_of_the_documentation_work() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut files = Vec::new();
        for block in text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
            let (name, _) = block.split_once('\n').unwrap();
            files.push((name.trim_start_matches("# environments/"), block));
        }
        let folder = crate::config::tests::folder(&files);
        let names = crate::config::names(folder.path()).unwrap();
        assert!(!names.is_empty());
        for name in names {
            let loaded = crate::config::load(folder.path(), &name, &crate::config::Inputs::default());
            assert!(loaded.is_ok(), "{loaded:#?}");
        }
    }
}
