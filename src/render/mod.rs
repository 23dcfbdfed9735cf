//! Files that the repository needs, from its YAML and from templates: one way, pure. What is on disk is looked at in [`files`].
//!
//! The same environments and the same templates give the same bytes: nothing here knows the time, git or the network.

mod actions;
mod dockerfiles;
pub mod files;
mod marks;
mod templates;
mod workflows;

use serde::Serialize;

use crate::config::Environment;

pub use templates::{TemplateError, Templates};

/// One file as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Relative to the folder that holds `environments`, with slashes.
    pub path: String,
    /// The template that it was made from, relative to the folder `templates`.
    pub template: String,
    /// The whole text. Where the form of the file has comments, one of the first lines is the mark of [`marks`].
    pub text: String,
}

/// All files of the system that these environments are of, sorted by path.
///
/// Fails when a template cannot be used, which only one of the user's own can bring about.
pub fn render(environments: &[Environment], templates: &Templates) -> Result<Vec<Rendered>, TemplateError> {
    let mut rendered = workflows::render(environments, templates)?;
    rendered.extend(dockerfiles::render(environments, templates)?);
    rendered.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(rendered)
}

/// The file at `path`, from a template and what that may name.
pub(crate) fn rendered(
    path: String,
    template: &str,
    context: &impl Serialize,
    templates: &Templates,
) -> Result<Rendered, TemplateError> {
    let body = tidy(&templates.render(template, context)?);
    let text = marks::marked(&path, template, &body);
    Ok(Rendered { path, template: template.to_owned(), text })
}

/// Without what templates leave behind: blank lines in a row, between a key and what is under it or at an end, and spaces
/// at ends of lines.
fn tidy(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len());
    let mut blank = false;
    let mut above = "";
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() {
            blank = !tidied.is_empty();
            continue;
        }
        if blank && !(above.ends_with(':') && indent(line) > indent(above)) {
            tidied.push('\n');
        }
        blank = false;
        above = line;
        tidied.push_str(line);
        tidied.push('\n');
    }
    tidied
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_of_templates_are_tidied_away() {
        assert_eq!(tidy("\n\na:\n\n  b  \n\n\n\n  c:\n\nd\n\n"), "a:\n  b\n\n  c:\n\nd\n");
    }
}
