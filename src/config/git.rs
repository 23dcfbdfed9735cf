//! Reads commit, branch and tag from git, by running it, and only when a value is used.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The git repository around the configuration.
#[derive(Debug)]
pub(crate) struct Git {
    folder: Option<PathBuf>,
    read: RefCell<HashMap<String, Result<String, String>>>,
}

impl Git {
    pub(crate) fn around(folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), read: RefCell::default() }
    }

    /// No repository at all.
    #[cfg(test)]
    pub(crate) fn outside() -> Self {
        Self { folder: None, read: RefCell::default() }
    }

    /// The value called `what`: `sha`, `short_sha`, `branch`, `tag` or `version`; `None` for other words.
    ///
    /// The error is one line that says why git has no such value.
    pub(crate) fn read(&self, what: &str) -> Option<Result<String, String>> {
        let arguments: &[&str] = match what {
            "sha" => &["rev-parse", "HEAD"],
            "short_sha" => &["rev-parse", "--short", "HEAD"],
            "branch" => &["symbolic-ref", "--short", "HEAD"],
            "tag" => &["describe", "--tags", "--exact-match"],
            "version" => &["describe", "--tags", "--abbrev=0"],
            _ => return None,
        };
        if let Some(known) = self.read.borrow().get(what) {
            return Some(known.clone());
        }
        let mut value = self.run(arguments);
        if what == "version" {
            value = value.map(|tag| tag.strip_prefix('v').unwrap_or(&tag).to_owned());
        }
        self.read.borrow_mut().insert(what.to_owned(), value.clone());
        Some(value)
    }

    /// Names of the branches that this checkout knows: its own, and those of the place that it is from.
    ///
    /// The error is one line that says why git cannot tell.
    pub(crate) fn branches(&self) -> Result<Vec<String>, String> {
        let names = ["for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes"];
        let listed = self.run(&names)?;
        let name = |line: &str| {
            let remote = || line.strip_prefix("refs/remotes/")?.split_once('/').map(|(_, name)| name);
            line.strip_prefix("refs/heads/").or_else(remote).map(str::to_owned)
        };
        let mut branches: Vec<String> =
            listed.lines().filter_map(name).filter(|name| name != "HEAD").collect();
        branches.sort();
        branches.dedup();
        Ok(branches)
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let folder = self.folder.as_ref().ok_or("this is not a git repository")?;
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(arguments)
            .output()
            .map_err(|error| format!("git does not run ({error})"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said
            .lines()
            .find(|line| line.starts_with("fatal:"))
            .or(said.lines().next())
            .unwrap_or("git failed");
        Err(line.trim_start_matches("fatal:").trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_git_has_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let reason = Git::around(folder.path()).read("sha").unwrap().unwrap_err();
        assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    }

    #[test]
    fn unknown_words_are_not_asked() {
        assert_eq!(Git::outside().read("author"), None);
    }

    #[test]
    fn a_commit_and_its_tag_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let identity =
                ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
            let output = Command::new("git")
                .arg("-C")
                .arg(folder.path())
                .args(identity)
                .args(arguments)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        git(&["init", "-q", "-b", "trunk"]);
        git(&["commit", "-q", "--allow-empty", "-m", "one"]);
        git(&["tag", "v1.2.0"]);
        let read = Git::around(folder.path());
        assert_eq!(read.read("sha").unwrap().unwrap().len(), 40);
        assert_eq!(read.read("branch").unwrap().unwrap(), "trunk");
        git(&["update-ref", "refs/remotes/origin/feature/one", "HEAD"]);
        git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/feature/one"]);
        assert_eq!(read.branches().unwrap(), ["feature/one", "trunk"]);
        assert_eq!(read.read("tag").unwrap().unwrap(), "v1.2.0");
        assert_eq!(read.read("version").unwrap().unwrap(), "1.2.0");
    }
}
