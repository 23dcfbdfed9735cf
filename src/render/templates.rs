//! The templates: built in, each replaced by the file of the same name in the user's folder `templates`.
//!
//! Written in Tera's language with other signs (`<{ value }>`, `<% if %>`, `<# comment #>`), because `${{ }}` belongs to GitHub. A name
//! that has no value is an error, nothing is escaped by itself, and `yaml` is the filter for texts that the user wrote.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use tera::{Context, Delimiters, ErrorKind, Kwargs, ReportError, State, Tera};

use crate::config::did_you_mean;

/// The folder of templates, beside `environments`.
pub const FOLDER: &str = "templates";

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../templates/", $name)))),*]
    };
}

/// Name and text of every template, without those of the user.
const BUILT_IN: &[(&str, &str)] = built_in![
    "docker/dockerignore",
    "docker/labels.part",
    "docker/python-uv.Dockerfile",
    "docker/rust.Dockerfile",
    "workflows/ci.yml",
    "workflows/deploy.yml",
    "workflows/drift.yml",
    "workflows/migrate.yml",
    "workflows/on.part.yml",
    "workflows/plan.yml",
    "workflows/release.yml",
    "workflows/rollback.yml",
    "workflows/scan.yml",
    "workflows/sign-in.part.yml",
    "workflows/suites.part.yml",
];

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not parse, or names what there is not.
    #[error("{FOLDER}/{template}:{line}:{column}: {message}")]
    Wrong {
        template: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong, and which variables there are where one is not known.
        message: String,
    },
    /// Something about it that has no place.
    #[error("{FOLDER}/{template}: {message}")]
    Unusable { template: String, message: String },
    /// The user's own cannot be read.
    #[error("{FOLDER}/{template} cannot be read: {message}")]
    Unreadable { template: String, message: String },
}

/// All templates, parsed.
#[derive(Debug)]
pub struct Templates {
    engine: Tera,
    /// Files of the user's folder that look like templates and replace none, each with the name that may be meant.
    strays: Vec<(String, Option<String>)>,
}

impl Templates {
    /// The built-in templates, each replaced by the user's own in `root`.
    ///
    /// Fails for one that cannot be read or does not parse.
    pub fn of(root: &Path) -> Result<Self, TemplateError> {
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        let mut own = BTreeMap::new();
        for name in &names {
            match fs::read_to_string(root.join(FOLDER).join(name)) {
                Ok(text) => drop(own.insert(*name, text.replace("\r\n", "\n"))),
                Err(error) if absent(&error) => {}
                Err(error) => {
                    let (template, message) = ((*name).to_owned(), error.to_string());
                    return Err(TemplateError::Unreadable { template, message });
                }
            }
        }
        let texts = BUILT_IN.iter().map(|(name, text)| (*name, own.get(name).map_or(*text, String::as_str)));
        Ok(Self { engine: engine(texts)?, strays: strays(root, &names) })
    }

    /// The text that a template makes of what it may name.
    pub fn render(&self, name: &str, context: &impl Serialize) -> Result<String, TemplateError> {
        let context = Context::from_serialize(context).map_err(|error| told(name, &error))?;
        self.engine.render(name, &context).map_err(|error| told(name, &error))
    }

    /// What stands in the user's folder, in a place for templates, and replaces none of them: a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let remark = |(name, meant): &(String, Option<String>)| {
            let meant = meant.as_ref().map(|meant| format!("; did you mean `{meant}`?"));
            format!("{FOLDER}/{name} replaces no template{}", meant.unwrap_or_default())
        };
        self.strays.iter().map(remark).collect()
    }

    /// Templates of a test.
    #[cfg(test)]
    pub(super) fn with(texts: &[(&str, &str)]) -> Result<Self, TemplateError> {
        Ok(Self { engine: engine(texts.iter().copied())?, strays: Vec::new() })
    }
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn engine<'t>(texts: impl Iterator<Item = (&'t str, &'t str)>) -> Result<Tera, TemplateError> {
    let mut engine = Tera::default();
    engine.autoescape_on(Vec::<&str>::new());
    let delimiters = Delimiters {
        block_start: "<%".into(),
        block_end: "%>".into(),
        variable_start: "<{".into(),
        variable_end: "}>".into(),
        comment_start: "<#".into(),
        comment_end: "#>".into(),
    };
    engine.set_delimiters(delimiters).map_err(|error| told("", &error))?;
    engine.register_filter("yaml", |text: &str, _: Kwargs, _: &State| quoted(text));
    // A part is put into a line of another template, which ends itself.
    let whole = |(name, text): (&'t str, &'t str)| {
        let is_part = name.contains(".part.");
        (name, if is_part { text.trim_end_matches('\n') } else { text })
    };
    let texts: Vec<_> = texts.map(whole).collect();
    let first = texts.first().map_or("", |(name, _)| name);
    engine.add_raw_templates(texts.iter().copied()).map_err(|error| told(first, &error))?;
    Ok(engine)
}

/// A text as a JSON string, which YAML reads too, whatever is in it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An error of Tera in our form. `name` is the template that was asked for, where the error has none of its own.
fn told(name: &str, error: &tera::Error) -> TemplateError {
    match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => placed(name, report),
        other => TemplateError::Unusable { template: name.to_owned(), message: other.to_string() },
    }
}

fn placed(name: &str, report: &ReportError) -> TemplateError {
    let template = if report.filename().is_empty() { name } else { report.filename() };
    TemplateError::Wrong {
        template: template.to_owned(),
        line: report.span().start_line,
        column: report.span().start_col + 1,
        message: report.message().trim_end_matches('.').to_owned(),
    }
}

/// Files beside the user's own templates that have no name of a template: most likely a slip.
fn strays(root: &Path, names: &[&str]) -> Vec<(String, Option<String>)> {
    let mut folders: Vec<&str> =
        names.iter().filter_map(|name| name.rsplit_once('/')).map(|(folder, _)| folder).collect();
    folders.dedup();
    let mut found = Vec::new();
    for folder in folders {
        let entries = fs::read_dir(root.join(FOLDER).join(folder)).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.path().is_file());
        for file in files.filter_map(|entry| entry.file_name().into_string().ok()) {
            let name = format!("{folder}/{file}");
            if !names.contains(&name.as_str()) {
                let meant = did_you_mean(&name, names.iter().copied()).map(str::to_owned);
                found.push((name, meant));
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(text: &str) -> Result<String, TemplateError> {
        Templates::with(&[("t.yml", text)])?.render("t.yml", &json!({"name": "a \"b\": c", "list": [1, 2]}))
    }

    #[test]
    fn every_template_that_is_built_in_parses() {
        let nowhere = tempfile::tempdir().unwrap();
        Templates::of(nowhere.path()).unwrap();
    }

    #[test]
    fn expressions_of_github_need_no_escape() {
        assert_eq!(
            rendered("run: ${{ github.sha }} [[ -n $X ]] <<EOF\n").unwrap(),
            "run: ${{ github.sha }} [[ -n $X ]] <<EOF\n"
        );
    }

    #[test]
    fn nothing_is_escaped_but_what_is_asked_for() {
        assert_eq!(rendered("<{ name }> <{ name | yaml }>").unwrap(), r#"a "b": c "a \"b\": c""#);
    }

    #[test]
    fn an_unknown_variable_is_told_with_its_place_and_with_what_there_is() {
        let error = rendered("one\n  two <{ nmae }>\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "templates/t.yml:2:10: Variable `nmae` is not defined. Available variables: list, name"
        );
    }

    #[test]
    fn a_template_that_does_not_parse_is_told_with_its_place() {
        let error = rendered("one\n<% if name %>\n").unwrap_err();
        let TemplateError::Wrong { template, line, .. } = &error else { panic!("{error:?}") };
        assert_eq!((template.as_str(), *line), ("t.yml", 3), "{error}");
    }
}
