//! Finds and reads the files of `environments/`: encodings, sizes, includes.

use std::path::{Component, Path, PathBuf};

use super::diagnostic::{Diagnostic, Problems, did_you_mean};
use super::merge;
use super::parse;
use super::tree::{Findings, Node, Place, Tree};

/// The folder of the environments, relative to the root.
const FOLDER: &str = "environments";
const BASE: &str = "base.yaml";
/// Largest file that is read, in bytes. A service takes about one kilobyte.
const MAX_BYTES: u64 = 1024 * 1024;
/// Most files that one pattern may bring in, and deepest folder that is looked into.
const MAX_INCLUDED: usize = 1_000;
const MAX_FOLDERS: usize = 8;

/// The smallest pair of files that works, shown to whom has none.
pub(crate) const SMALLEST_BASE: &str = "\
deployer: v1
system: hello
target: sandbox
project: {id: my-project-id}
region: us-central1
services:
  web:
    image: us-docker.pkg.dev/cloudrun/container/hello
";
pub(crate) const SMALLEST_OVERLAY: &str = "\
deployer: v1
environment: dev
";

/// The environments that there are, sorted: every file in `environments/` but the base.
pub(crate) fn names(root: &Path) -> Result<Vec<String>, Problems> {
    let folder = root.join(FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(no_folder().into()),
        Err(error) => {
            return Err(Diagnostic::error(
                "unreadable-file",
                format!("the folder `{FOLDER}` cannot be read: {error}"),
            )
            .into());
        }
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| file != BASE && !file.starts_with('.'))
        .filter_map(|file| file.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

fn no_folder() -> Diagnostic {
    let indented =
        |text: &str| text.split_inclusive('\n').flat_map(|line| ["    ", line]).collect::<String>();
    Diagnostic::error("no-environments", "there is no folder `environments` here").hint(format!(
        "run deployer where it is, or name its parent with -C DIR; two files are enough to start:\n\n\
         environments/base.yaml\n{}\nenvironments/dev.yaml\n{}",
        indented(SMALLEST_BASE),
        indented(SMALLEST_OVERLAY)
    ))
}

/// Reads the base, what it includes, and the overlay of `environment`, and merges them. Nulls are still in the result.
///
/// `None` means that something could not be read; the reasons are in `findings`.
pub(crate) fn read_merged(root: &Path, environment: &str, findings: &mut Findings) -> Option<Node> {
    let names = match names(root) {
        Ok(names) => names,
        Err(problems) => {
            findings.diagnostics.extend(problems.diagnostics);
            return None;
        }
    };
    if !names.iter().any(|name| name == environment) {
        findings.diagnostics.push(unknown_environment(root, environment, &names));
        return None;
    }
    if !root.join(FOLDER).join(BASE).exists() {
        findings.diagnostics.push(
            Diagnostic::error(
                "no-base",
                "there is no `environments/base.yaml`, which every environment is laid over",
            )
            .hint("put what the environments share into it; `deployer: v1` alone is enough"),
        );
        return None;
    }
    let (base, overlay) = parts(root, environment, findings)?;
    let (mut base, overlay) = (laid_over(base)?, laid_over(overlay)?);
    let idle = merge::idle_nulls(&base, &overlay);
    merge::warn_idle_nulls(idle, findings);
    merge::lay_over(&mut base, overlay);
    Some(base)
}

fn unknown_environment(root: &Path, environment: &str, names: &[String]) -> Diagnostic {
    let diagnostic = if environment == "base" {
        Diagnostic::error("unknown-environment", "`base` is what the environments share, not an environment")
    } else {
        Diagnostic::error("unknown-environment", format!("there is no environment `{environment}`"))
    };
    if root.join(FOLDER).join(format!("{environment}.yml")).exists() {
        return diagnostic.hint(format!("rename `environments/{environment}.yml`: the ending is `.yaml`"));
    }
    if names.is_empty() {
        return diagnostic.hint(format!("there is none at all; make `environments/{environment}.yaml`:\n\n    deployer: v1\n    environment: {environment}"));
    }
    let list = names.join(", ");
    match did_you_mean(environment, names.iter().map(String::as_str)) {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`? There are: {list}")),
        None => diagnostic.hint(format!("there are: {list}")),
    }
}

/// The parts of an environment in the order in which they are laid over each other: those of the base and those of the
/// overlay, each with what the file includes before the file itself.
///
/// `None` means that something could not be read; the reasons are in `findings`.
pub(crate) fn parts(
    root: &Path,
    environment: &str,
    findings: &mut Findings,
) -> Option<(Vec<Node>, Vec<Node>)> {
    let file = |name: &str| PathBuf::from(FOLDER).join(format!("{name}.yaml"));
    // Both are read before either is given up, so that the problems of both are told.
    let base = read_with_includes(root, &file("base"), "base", findings);
    let overlay = read_with_includes(root, &file(environment), environment, findings);
    Some((base?, overlay?))
}

/// One file, after the files that it includes.
fn read_with_includes(root: &Path, file: &Path, name: &str, findings: &mut Findings) -> Option<Vec<Node>> {
    let mut node = read(root, file, findings)?;
    check_name(&node, name, findings);
    let patterns = take_includes(&mut node, findings);
    let mut parts = Vec::new();
    for (pattern, place) in patterns {
        let found = match matching(root, file.parent().unwrap_or(Path::new("")), &pattern) {
            Ok(found) => found,
            Err(message) => {
                let diagnostic = Diagnostic::error("include", message).path("include").label("not included");
                findings.add_at(Some(place), diagnostic);
                continue;
            }
        };
        for included in found {
            let mut part = read(root, &included, findings)?;
            refuse_in_part(&mut part, findings);
            parts.push(part);
        }
    }
    parts.push(node);
    Some(parts)
}

fn laid_over(parts: Vec<Node>) -> Option<Node> {
    parts.into_iter().reduce(|mut below, part| {
        merge::lay_over(&mut below, part);
        below
    })
}

fn check_name(node: &Node, expected: &str, findings: &mut Findings) {
    let Some(written) = node.get("environment") else { return };
    let Some(name) = written.as_text() else { return };
    if name != expected {
        let message = format!("the file is that of `{expected}` and says that it is `{name}`");
        let diagnostic = Diagnostic::error("environment-name", message)
            .path("environment")
            .label("another name")
            .hint(format!("write `environment: {expected}`, or rename the file"));
        findings.add_at(Some(written.place), diagnostic);
    }
}

/// Takes `include` out of the file; its patterns with their places.
fn take_includes(node: &mut Node, findings: &mut Findings) -> Vec<(String, Place)> {
    let Some(entry) = node.as_map_mut().and_then(|map| map.shift_remove("include")) else {
        return Vec::new();
    };
    match entry.node.value {
        Tree::List(items) => items
            .into_iter()
            .filter_map(|item| {
                let text = item.as_text().map(str::to_owned);
                if text.is_none() {
                    findings.add_at(Some(item.place), not_a_pattern(item.kind()));
                }
                Some((text?, item.place))
            })
            .collect(),
        Tree::Null => Vec::new(),
        _ => {
            findings.add_at(Some(entry.key), not_a_pattern(entry.node.kind()));
            Vec::new()
        }
    }
}

fn not_a_pattern(kind: &str) -> Diagnostic {
    Diagnostic::error("wrong-type", format!("`include` is a list of patterns, and this is {kind}"))
        .path("include")
        .label("expected a list of patterns")
        .hint("write `include: [services/*.yaml]`")
}

/// What only the file of an environment may say.
fn refuse_in_part(part: &mut Node, findings: &mut Findings) {
    for key in ["include", "environment", "target"] {
        if let Some(entry) = part.as_map_mut().and_then(|map| map.shift_remove(key)) {
            let diagnostic =
                Diagnostic::error("include", format!("`{key}` cannot stand in an included file"))
                    .path(key)
                    .label("not here")
                    .hint("write it in the base or in the environment's own file");
            findings.add_at(Some(entry.key), diagnostic);
        }
    }
}

/// The files below `folder` (relative to `root`) that `pattern` names, sorted.
fn matching(root: &Path, folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(pattern);
    if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!(
            "`{pattern}` leaves the folder `{FOLDER}`: a pattern is relative to it, without `..`"
        ));
    }
    let wanted: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if wanted.len() < 2 {
        return Err(format!(
            "`{pattern}` names files beside the environments, and each of those is an environment; put the parts into a folder, e.g. `services/*.yaml`"
        ));
    }
    let mut found = Vec::new();
    walk(&root.join(folder), &mut Vec::new(), &wanted, &mut found)
        .map_err(|error| format!("`{pattern}` cannot be looked up: {error}"))?;
    if found.is_empty() {
        return Err(format!("`{pattern}` names no file"));
    }
    if found.len() > MAX_INCLUDED {
        return Err(format!("`{pattern}` names {} files; at most {MAX_INCLUDED} are read", found.len()));
    }
    found.sort();
    Ok(found.into_iter().map(|file| folder.join(file)).collect())
}

fn walk(
    folder: &Path,
    inside: &mut Vec<String>,
    wanted: &[&str],
    found: &mut Vec<PathBuf>,
) -> std::io::Result<()> {
    if !folder.is_dir() || inside.len() > MAX_FOLDERS {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        inside.push(name);
        if entry.path().is_dir() {
            walk(&entry.path(), inside, wanted, found)?;
        } else if path_matches(inside, wanted) {
            found.push(inside.iter().collect());
        }
        inside.pop();
    }
    Ok(())
}

/// `**` stands for any number of folders, `*` and `?` for characters of one name.
fn path_matches(path: &[String], wanted: &[&str]) -> bool {
    match (path, wanted) {
        ([], []) => true,
        (_, ["**", rest @ ..]) => {
            path_matches(path, rest) || (!path.is_empty() && path_matches(&path[1..], wanted))
        }
        ([name, path @ ..], [pattern, rest @ ..]) => {
            let name: Vec<char> = name.chars().collect();
            let pattern: Vec<char> = pattern.chars().collect();
            name_matches(&name, &pattern) && path_matches(path, rest)
        }
        _ => false,
    }
}

fn name_matches(name: &[char], pattern: &[char]) -> bool {
    match (name, pattern) {
        ([], []) => true,
        (_, ['*', rest @ ..]) => {
            name_matches(name, rest) || (!name.is_empty() && name_matches(&name[1..], pattern))
        }
        ([_, name @ ..], ['?', rest @ ..]) => name_matches(name, rest),
        ([first, name @ ..], [wanted, rest @ ..]) => first == wanted && name_matches(name, rest),
        _ => false,
    }
}

/// One file as a tree; `None` with a finding when it cannot be read or is no map.
fn read(root: &Path, file: &Path, findings: &mut Findings) -> Option<Node> {
    let text = match findings
        .edited
        .text(file)
        .map_or_else(|| text_of(&root.join(file)), |text| Ok(text.to_owned()))
    {
        Ok(text) => text,
        Err((rule, message, hint)) => {
            let diagnostic = Diagnostic::error(rule, format!("`{}` {message}", file.display()));
            findings.diagnostics.push(diagnostic.hint(hint));
            return None;
        }
    };
    let number = findings.files.add(file.to_owned(), text.clone());
    let node = match parse::parse(&text, number) {
        Ok(node) => node,
        Err(refused) => {
            let (place, diagnostic) = *refused;
            findings.add_at(Some(place), diagnostic);
            return None;
        }
    };
    match node.value {
        Tree::Map(_) => Some(node),
        Tree::Null => {
            let diagnostic = Diagnostic::error("wrong-type", format!("`{}` is empty", file.display()));
            let diagnostic = diagnostic.label("nothing").hint("a file starts with `deployer: v1`");
            findings.add_at(Some(Place::start_of(number)), diagnostic);
            None
        }
        _ => {
            let message = format!("a file is a map of keys, and this is {}", node.kind());
            findings.add_at(Some(node.place), Diagnostic::error("wrong-type", message).label("not a key"));
            None
        }
    }
}

type Unreadable = (&'static str, String, &'static str);

/// The text of a file: UTF-8, with or without a byte order mark.
fn text_of(path: &Path) -> Result<String, Unreadable> {
    let unreadable = |error: std::io::Error| -> Unreadable {
        (
            "unreadable-file",
            format!("cannot be read: {error}"),
            "check that it is a file and that you may read it",
        )
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_BYTES {
        let message =
            format!("is {} KiB long; at most {} KiB are read", size.div_ceil(1024), MAX_BYTES / 1024);
        return Err(("file-too-large", message, "split it with `include: [services/*.yaml]`"));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    decode(&bytes)
}

fn decode(bytes: &[u8]) -> Result<String, Unreadable> {
    let save = "save it as UTF-8";
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(("encoding", "is UTF-16".into(), save));
    }
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    if bytes.contains(&0) {
        let message = "holds zero bytes: it is UTF-16 without a mark, or not a text".into();
        return Err(("encoding", message, save));
    }
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        let message = format!(
            "is not UTF-8: line {line} holds a byte that only other encodings have (Latin-1, Windows-1252)"
        );
        ("encoding", message, save)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(path: &str, pattern: &str) -> bool {
        let path: Vec<String> = path.split('/').map(str::to_owned).collect();
        path_matches(&path, &pattern.split('/').collect::<Vec<_>>())
    }

    #[test]
    fn patterns_stay_inside_of_a_folder_name() {
        assert!(matches("services/api.yaml", "services/*.yaml"));
        assert!(!matches("services/deep/api.yaml", "services/*.yaml"));
        assert!(matches("services/deep/api.yaml", "services/**/*.yaml"));
        assert!(matches("services/api.yaml", "services/**/*.yaml"));
        assert!(matches("services/a1.yaml", "services/a?.yaml"));
        assert!(!matches("services/api.yml", "services/*.yaml"));
    }

    #[test]
    fn encodings_are_told_apart() {
        assert_eq!(decode(b"\xEF\xBB\xBFa: 1"), Ok("a: 1".into()));
        assert_eq!(decode(&[0xFF, 0xFE, b'a', 0]).unwrap_err().1, "is UTF-16");
        assert!(decode(&[b'a', 0, b'b', 0]).unwrap_err().1.contains("zero bytes"));
        assert!(decode(b"a: 1\nb: \xE9\n").unwrap_err().1.contains("line 2"));
    }
}
