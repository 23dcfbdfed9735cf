//! The examples: each README is followed line by line, and leaves nothing to do in any environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::support::{Workplace, repository};

fn examples() -> Vec<PathBuf> {
    // A folder without `environments` is what trying a branch left behind, which git ignores.
    let mut found: Vec<_> = fs::read_dir(repository().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("environments").is_dir())
        .collect();
    found.sort();
    assert!(found.len() >= 2, "{found:?}");
    found
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            // What trying the example by hand leaves behind.
            if entry.file_name() != ".deployer" {
                copy(&entry.path(), &target)?;
            }
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Makes the folder a repository with one commit, as an example is in one: image tags name the commit.
fn commit(folder: &Path) {
    for arguments in [&["init", "-q"][..], &["commit", "-q", "--allow-empty", "-m", "start"]] {
        let author = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
        let done = Command::new("git").arg("-C").arg(folder).args(author).args(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
}

/// Commands of the code blocks, each with the lines that it is said to print.
fn script(readme: &str) -> Vec<(&str, Vec<&str>)> {
    let mut steps: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut fenced = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
        } else if let Some(command) = line.strip_prefix("$ deployer ") {
            steps.push((command, Vec::new()));
        } else {
            steps.last_mut().expect("a code block begins with a command").1.push(line);
        }
    }
    steps
}

async fn follow(example: &Path) {
    let readme = fs::read_to_string(example.join("README.md"))
        .unwrap_or_else(|error| panic!("{}: README.md: {error}", example.display()));
    let place = Workplace::empty();
    copy(example, place.root()).unwrap();
    commit(place.root());
    let mut settled = Vec::new();
    for (command, expected) in script(&readme) {
        let done = place.deployer(command).ok().await;
        for line in expected {
            assert!(
                done.stdout.lines().any(|printed| printed == line),
                "deployer {command}: {}",
                done.stdout
            );
            if line.starts_with("No changes. ") {
                settled.extend(command.split_whitespace().nth(1).map(str::to_owned));
            }
        }
    }
    settled.sort();
    let mut environments: Vec<_> = fs::read_dir(example.join("environments"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "base")
        .collect();
    environments.sort();
    assert_eq!(settled, environments, "{}: a second plan of each is empty", example.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_an_example_work_as_written_and_leave_nothing_to_do() {
    for example in examples() {
        follow(&example).await;
    }
}
