//! The files of a repository that are judged: workflows, actions, Dockerfiles.

use std::path::{Path, PathBuf};

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;
/// Deepest folder that is looked into, and most entries in all.
const MAX_FOLDERS: usize = 10;
const MAX_ENTRIES: usize = 200_000;

/// Folders that hold what nobody wrote here, and templates, whose values are filled in elsewhere.
const SKIPPED: [&str; 6] = ["target", "node_modules", "venv", "vendor", "dist", "templates"];

/// How a file is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A workflow, or an action with steps.
    Workflow,
    Dockerfile,
}

/// All of them with their paths relative to `repository`, sorted. Links are not followed, other repositories not entered.
pub(super) fn all(repository: &Path) -> Vec<(PathBuf, Kind)> {
    let mut found = Vec::new();
    let mut left = MAX_ENTRIES;
    collect(repository, Path::new(""), 0, &mut left, &mut found);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn collect(
    repository: &Path,
    folder: &Path,
    depth: usize,
    left: &mut usize,
    found: &mut Vec<(PathBuf, Kind)>,
) {
    let Ok(entries) = std::fs::read_dir(repository.join(folder)) else { return };
    for entry in entries.flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let Ok(kind) = entry.file_type() else { continue };
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = folder.join(&name);
        if kind.is_dir() {
            if depth < MAX_FOLDERS && is_entered(&name, &entry.path()) {
                collect(repository, &path, depth + 1, left, found);
            }
        } else if kind.is_file()
            && let Some(kind) = kind_of(folder, &name)
        {
            found.push((path, kind));
        }
    }
}

fn is_entered(name: &str, path: &Path) -> bool {
    let hidden = name.starts_with('.') && name != ".github" && name != ".devcontainer";
    !hidden && !SKIPPED.contains(&name) && !path.join(".git").exists()
}

fn kind_of(folder: &Path, name: &str) -> Option<Kind> {
    let lower = name.to_ascii_lowercase();
    let ending = lower.rsplit_once('.').map(|(_, ending)| ending);
    let yaml = matches!(ending, Some("yml" | "yaml"));
    if yaml && (folder == Path::new(".github/workflows") || lower.starts_with("action.")) {
        return Some(Kind::Workflow);
    }
    let docker = lower == "dockerfile" || lower.starts_with("dockerfile.") || ending == Some("dockerfile");
    (docker && ending != Some("dockerignore")).then_some(Kind::Dockerfile)
}

/// The text of a file, or why there is none.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_BYTES {
        return Err(format!("it has {length} bytes, and at most {MAX_BYTES} are read"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        let of = |path: &str| {
            let path = Path::new(path);
            kind_of(path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap())
        };
        for path in ["Dockerfile", "app/Dockerfile.dev", "ops.Dockerfile", "dockerfile"] {
            assert_eq!(of(path), Some(Kind::Dockerfile), "{path}");
        }
        for path in [".github/workflows/a.yml", "action.yml", "tools/action.yaml"] {
            assert_eq!(of(path), Some(Kind::Workflow), "{path}");
        }
        for path in ["Dockerfile.dockerignore", "docs/a.yml", ".github/dependabot.yml", "Dockerfiles.md"] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
