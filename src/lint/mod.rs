//! Lints of workflows and Dockerfiles, written by hand or not: what GitHub and Docker take, and nobody wants.
//!
//! `files` finds them, `workflow` and `dockerfile` judge one each, `conditions` says which conditions can never hold. Reads files
//! and nothing else.

mod conditions;
mod dockerfile;
mod files;
mod globs;
mod image;
mod workflow;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::diagnostic::sort_and_dedup;
use crate::config::model::Location;
use crate::config::{Accepted, Diagnostic, Texts};

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default)]
pub struct Linted {
    /// Relative to the repository, sorted.
    pub files: Vec<PathBuf>,
    /// In the order of files and lines, without what is accepted.
    pub findings: Vec<Diagnostic>,
    pub sources: Texts,
}

impl Linted {
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Diagnostic::is_error)
    }
}

/// The top of the git repository around `folder`, or `folder` itself outside of one: where GitHub looks for workflows.
pub fn repository_around(folder: &Path) -> PathBuf {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.ancestors().find(|above| above.join(".git").exists()).unwrap_or(&folder).to_owned()
}

/// Judges the workflows, actions and Dockerfiles of `repository`; with `wanted`, those of them that are in one of these paths.
pub fn lint(repository: &Path, wanted: &[PathBuf], accepted: &[Accepted]) -> Linted {
    let mut linted = Linted::default();
    for (path, kind) in files::all(repository) {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| path.starts_with(wanted)) {
            continue;
        }
        match files::read(&repository.join(&path)) {
            Ok(text) => {
                let found = match kind {
                    files::Kind::Workflow => workflow::judge(&text),
                    files::Kind::Dockerfile => dockerfile::judge(&text),
                };
                linted.findings.extend(found.into_iter().map(|finding| finding.in_file(&path)));
                linted.sources.insert(path.clone(), text);
            }
            Err(why) => linted.findings.push(unreadable(&path, &why)),
        }
        linted.files.push(path);
    }
    accept(&mut linted, accepted, wanted.is_empty());
    sort_and_dedup(&mut linted.findings);
    linted
}

fn unreadable(path: &Path, why: &str) -> Diagnostic {
    let place = Location { file: path.to_owned(), line: 1, column: 1 };
    Diagnostic::error("unreadable-file", format!("`{}` cannot be read: {why}", path.display())).at(place, 1)
}

/// A finding in a file that is not named yet.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Line and column from 1, and the characters that are meant.
    at: (u32, u32, u32),
    diagnostic: Diagnostic,
}

impl Found {
    fn new(at: (u32, u32, u32), diagnostic: Diagnostic) -> Self {
        Self { at, diagnostic }
    }

    fn in_file(self, file: &Path) -> Diagnostic {
        let (line, column, length) = self.at;
        self.diagnostic.at(Location { file: file.to_owned(), line, column }, length)
    }
}

/// Takes out what is accepted. Where everything was looked at, what accepts nothing is told.
fn accept(linted: &mut Linted, accepted: &[Accepted], complete: bool) {
    let mut used = BTreeSet::new();
    linted.findings.retain(|finding| {
        let Some(place) = &finding.location else { return true };
        let file = place.file.to_string_lossy().replace('\\', "/");
        let by = accepted.iter().position(|entry| {
            let rest = entry.path.strip_prefix(&file);
            let here = match rest.map(|rest| rest.strip_prefix(':')) {
                Some(None) => entry.path == file,
                Some(Some(key)) => finding.path == key || finding.path.starts_with(&format!("{key}.")),
                None => false,
            };
            entry.rule == finding.rule && here
        });
        used.extend(by);
        by.is_none()
    });
    let idle = accepted.iter().enumerate().filter(|(at, _)| complete && !used.contains(at));
    linted.findings.extend(idle.map(|(_, entry)| {
        let message = format!("nothing in `{}` is found by `{}`", entry.path, entry.rule);
        let idle = Diagnostic::warning("lint-allow", message).label("accepts nothing").hint("remove it");
        match &entry.location {
            Some(place) => idle.at(place.clone(), 1),
            None => idle,
        }
    }));
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Found;

    /// `LINE:COLUMN RULE PATH: MESSAGE` of each finding.
    pub(crate) fn told(found: &[Found]) -> String {
        let line = |found: &Found| {
            let (line, column, _) = found.at;
            let problem = &found.diagnostic;
            assert!(problem.hint.is_some() && !problem.label.is_empty(), "{problem:?}");
            let sign = if problem.is_error() { "" } else { "?" };
            format!("{line}:{column} {}{sign} {}\n", problem.rule, problem.path)
        };
        found.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const UNPINNED: &str = "on: push\npermissions: {}\njobs:\n  a:\n    runs-on: x\n    steps:\n      - uses: o/r@v1\n      - uses: o/s@v1\n";

    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            (".git/HEAD", ""),
            (".github/workflows/ci.yml", UNPINNED),
            ("app/Dockerfile", "FROM a:1\nUSER app\n"),
            ("target/Dockerfile", "FROM a\n"),
            ("vendored/.git/HEAD", ""),
            ("vendored/Dockerfile", "FROM a\n"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn entry(path: &str) -> Accepted {
        Accepted { rule: "unpinned-action".into(), path: path.into(), location: None }
    }

    fn rules(linted: &Linted) -> Vec<String> {
        let told = |found: &Diagnostic| match &found.location {
            Some(place) => format!("{place} {}", found.rule),
            None => found.rule.to_owned(),
        };
        linted.findings.iter().map(told).collect()
    }

    #[test]
    fn files_of_the_repository_are_judged_and_others_are_not() {
        let folder = repository();
        let linted = lint(folder.path(), &[], &[]);
        assert_eq!(linted.files, [".github/workflows/ci.yml", "app/Dockerfile"].map(PathBuf::from));
        assert_eq!(
            rules(&linted),
            [
                ".github/workflows/ci.yml:7:15 unpinned-action",
                ".github/workflows/ci.yml:8:15 unpinned-action"
            ]
        );
        assert!(lint(folder.path(), &["app".into()], &[]).findings.is_empty());
    }

    #[test]
    fn a_finding_is_accepted_by_its_file_or_its_key() {
        let folder = repository();
        let all = lint(folder.path(), &[], &[entry(".github/workflows/ci.yml")]);
        assert_eq!(rules(&all), Vec::<String>::new());
        let one = lint(folder.path(), &[], &[entry(".github/workflows/ci.yml:jobs.a.steps.1")]);
        assert_eq!(rules(&one), [".github/workflows/ci.yml:7:15 unpinned-action"]);
    }

    #[test]
    fn what_accepts_nothing_is_told_where_everything_was_looked_at() {
        let folder = repository();
        let idle = [entry(".github/workflows/ci.yml"), entry("gone.yml")];
        assert_eq!(rules(&lint(folder.path(), &[], &idle)), ["lint-allow"]);
        assert!(lint(folder.path(), &["app".into()], &idle).findings.is_empty());
    }

    #[test]
    fn every_rule_that_can_be_accepted_finds_something() {
        let workflow = "on: {push: {branches: [main]}, pull_request_target: null}\npermissions: write-all\njobs:\n  a:\n    if: secrets.X && github.ref == 'main'\n    container: node\n    steps:\n      - uses: actions/checkout@v4\n        with: {ref: \"${{ github.head_ref }}\"}\n      - run: deployer apply production ${{ inputs.x }}\n        env: {KEY: \"${{ secrets.GCP_SA_KEY }}\"}\n";
        let found = [workflow::judge(workflow), dockerfile::judge("FROM a\nARG TOKEN\nCMD x\n")].concat();
        let rules: BTreeSet<_> = found.iter().map(|found| found.diagnostic.rule).collect();
        assert_eq!(rules, crate::config::IN_FILES.into_iter().collect());
    }

    #[test]
    fn the_repository_is_found_from_below() {
        let folder = repository();
        let top = folder.path().canonicalize().unwrap();
        assert_eq!(repository_around(&folder.path().join("app")), top);
    }
}
