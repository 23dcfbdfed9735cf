//! Every message as a user sees it: each `testdata/NAME.yaml` is a folder of bad files, `NAME.txt` what `validate` says.
//!
//! A file of test data holds several files, each after a line `### PATH`. `UPDATE_GOLDEN=1` writes the answers anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::tests::folder;
use super::{Inputs, lint, validate};
use crate::view::problems::render;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/testdata")
}

fn cases() -> Vec<(PathBuf, String)> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(data())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    cases.sort();
    cases.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

fn files(text: &str) -> Vec<(&str, &str)> {
    let sections = text.split("### ").skip(1);
    sections
        .map(|section| section.split_once('\n').unwrap())
        .map(|(name, text)| (name.trim(), text))
        .collect()
}

fn said(text: &str) -> String {
    let folder = folder(&files(text));
    match validate(folder.path(), &[], &Inputs::default()) {
        Ok(checked) => render(&checked.diagnostics(), &checked.sources, false, 120),
        Err(problems) => render(&problems.diagnostics, &problems.sources, false, 120),
    }
}

#[test]
fn every_bad_file_gets_the_answer_that_is_kept() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut changed = Vec::new();
    for (path, text) in cases() {
        let answer = path.with_extension("txt");
        let said = said(&text);
        if update {
            std::fs::write(&answer, &said).unwrap();
        }
        let kept = std::fs::read_to_string(&answer).unwrap_or_default();
        if kept != said {
            changed.push(format!("== {}\n{said}", path.file_name().unwrap().to_string_lossy()));
        }
    }
    assert!(changed.is_empty(), "run with UPDATE_GOLDEN=1 and read the difference:\n{}", changed.join("\n"));
}

#[test]
fn every_lint_is_shown_by_a_case() {
    let shown: BTreeSet<String> = cases().iter().map(|(_, text)| said(text)).collect();
    for rule in lint::LINTS {
        assert!(shown.iter().any(|text| text.contains(&format!("[{rule}]"))), "{rule}");
    }
}

#[test]
fn every_problem_has_a_place_or_is_about_a_whole_file() {
    for (path, text) in cases() {
        let folder = folder(&files(&text));
        for problem in validate(folder.path(), &[], &Inputs::default())
            .map(|checked| checked.diagnostics())
            .unwrap_or_default()
        {
            let whole = ["no-base", "no-environments", "encoding", "file-too-large"].contains(&problem.rule);
            assert!(whole || problem.location.is_some(), "{}: {problem:?}", path.display());
            assert!(!problem.message.ends_with('.'), "{}", problem.message);
        }
    }
}
