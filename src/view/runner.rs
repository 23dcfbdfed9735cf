//! What GitHub Actions reads from a step: annotations among its output, and the files of its outputs and of its summary.
//!
//! Only where `GITHUB_ACTIONS` is `true`. By GitHub's document of workflow commands.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::markdown::cut;
use crate::config::{Diagnostic, Severity};

/// Annotations of one severity that GitHub shows of a step.
const MAX_ANNOTATIONS: usize = 10;

/// Most bytes of a summary that one command writes. GitHub takes 1 MiB of a step.
const MAX_SUMMARY: usize = 1_000_000;

/// The runner above this process.
#[derive(Debug, Default)]
pub struct Runner {
    output: Option<PathBuf>,
    summary: Option<PathBuf>,
    /// The checkout, to which places of annotations are relative.
    workspace: Option<PathBuf>,
    /// From the checkout to the folder that places of problems are relative to.
    folder: Mutex<PathBuf>,
}

impl Runner {
    /// Reads the environment through `variable`; nothing outside of GitHub Actions.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        (set("GITHUB_ACTIONS")? == "true").then(|| Self {
            output: path("GITHUB_OUTPUT"),
            summary: path("GITHUB_STEP_SUMMARY"),
            workspace: path("GITHUB_WORKSPACE"),
            folder: Mutex::default(),
        })
    }

    /// Problems are told with places in `root` from now on.
    pub fn works_in(&self, root: &Path) {
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if let Some(workspace) = &self.workspace
            && let Ok(folder) = whole(root).strip_prefix(whole(workspace))
        {
            folder.clone_into(&mut self.folder.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// A line for each problem that GitHub would show, errors first.
    pub fn annotations(&self, problems: &[Diagnostic]) -> String {
        let of = |severity: Severity| problems.iter().filter(move |problem| problem.severity == severity);
        let shown =
            of(Severity::Error).take(MAX_ANNOTATIONS).chain(of(Severity::Warning).take(MAX_ANNOTATIONS));
        shown.map(|problem| self.annotation(problem)).collect()
    }

    fn annotation(&self, problem: &Diagnostic) -> String {
        let word = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut properties = Vec::new();
        if let Some(place) = &problem.location {
            let file = self.folder.lock().unwrap_or_else(PoisonError::into_inner).join(&place.file);
            let file = file.to_string_lossy().replace('\\', "/");
            let end = place.column.saturating_add(problem.length);
            properties.push(format!("file={}", property(&file)));
            properties.push(format!("line={},col={},endColumn={end}", place.line, place.column));
        }
        properties.push(format!("title={}", property(problem.rule)));
        let mut text = problem.message.clone();
        if let Some(hint) = &problem.hint {
            let _ = write!(text, "\nhint: {hint}");
        }
        format!("::{word} {}::{}\n", properties.join(","), data(&text))
    }

    /// A failure that has no place.
    pub fn failure(message: &str, hints: &[String]) -> String {
        let lines =
            std::iter::once(message.to_owned()).chain(hints.iter().map(|hint| format!("hint: {hint}")));
        format!("::error title=deployer::{}\n", data(&lines.collect::<Vec<_>>().join("\n")))
    }

    /// Adds outputs to the step. A value may have several lines.
    pub fn outputs(&self, outputs: &[(&str, String)]) -> io::Result<()> {
        let Some(path) = &self.output else { return Ok(()) };
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        append(path, &output_lines(outputs, &hex::encode(random)))
    }

    /// Adds markdown to the summary of the step.
    pub fn summary(&self, text: &str) -> io::Result<()> {
        let note = "*The rest does not fit into the summary of a step.*";
        match &self.summary {
            Some(path) => append(path, &format!("{}\n", cut(text, MAX_SUMMARY, note).trim_end())),
            None => Ok(()),
        }
    }
}

/// Nobody who does not know `random` can write a value that ends itself and begins another output.
fn output_lines(outputs: &[(&str, String)], random: &str) -> String {
    let end = format!("deployer_{random}");
    outputs.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}<<{end}\n{value}\n{end}");
        text
    })
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes())
}

/// The text of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Location;

    fn problem(severity: Severity, file: &str) -> Diagnostic {
        let place = Location { file: file.into(), line: 3, column: 5 };
        Diagnostic { severity, ..Diagnostic::error("unknown-key", "there is no key `memroy`").at(place, 6) }
    }

    #[test]
    fn a_problem_is_annotated_at_its_place_in_the_checkout() {
        let checkout = tempfile::tempdir().unwrap();
        let system = checkout.path().join("services/shop");
        std::fs::create_dir_all(&system).unwrap();
        let runner = Runner { workspace: Some(checkout.path().to_owned()), ..Runner::default() };
        runner.works_in(&system);
        let found = problem(Severity::Error, "environments/base.yaml").hint("did you mean\n`memory`?");
        assert_eq!(
            runner.annotations(&[found]),
            "::error file=services/shop/environments/base.yaml,line=3,col=5,endColumn=11,title=unknown-key::\
             there is no key `memroy`%0Ahint: did you mean%0A`memory`?\n"
        );
    }

    #[test]
    fn no_text_ends_its_command() {
        let mut found = problem(Severity::Warning, "a,b:c%.yaml");
        found.message = "x\n::error::y\r\n100%".into();
        assert_eq!(
            Runner::default().annotations(&[found]),
            "::warning file=a%2Cb%3Ac%25.yaml,line=3,col=5,endColumn=11,title=unknown-key::x%0A::error::y%0D%0A100%25\n"
        );
        assert_eq!(Runner::failure("a\nb", &["c".into()]), "::error title=deployer::a%0Ab%0Ahint: c\n");
    }

    #[test]
    fn errors_come_first_and_no_more_than_github_shows() {
        let mut all = vec![problem(Severity::Warning, "w.yaml"); 12];
        all.extend(vec![problem(Severity::Error, "e.yaml"); 12]);
        let text = Runner::default().annotations(&all);
        let words: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(words, [["::error"; 10], ["::warning"; 10]].concat());
    }

    #[test]
    fn a_value_of_several_lines_is_one_output() {
        let text = output_lines(&[("url", "a\nchanged=true".into()), ("changed", "false".into())], "r");
        assert_eq!(
            text,
            "url<<deployer_r\na\nchanged=true\ndeployer_r\nchanged<<deployer_r\nfalse\ndeployer_r\n"
        );
    }

    #[test]
    fn outside_of_actions_there_is_no_runner() {
        let with = |value: Option<&str>| {
            Runner::of(|name| value.filter(|_| name == "GITHUB_ACTIONS").map(str::to_owned))
        };
        assert!(with(None).is_none() && with(Some("false")).is_none() && with(Some("true")).is_some());
    }
}
