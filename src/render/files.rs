//! Rendered files beside those on disk: what is missing, old, somebody else's, or not rendered any more.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Rendered;
use super::marks::{self, Mark};
use crate::atomically;

/// Where it is written down which files are rendered: for those without comments, and for those that are not rendered any more.
const RECORD: &str = ".deployer/rendered.json";

/// How a file on disk compares with the one that is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it has to be.
    Current,
    /// Not there.
    Missing,
    /// As it was rendered from other templates or another YAML.
    Old,
    /// Rendered, and changed by hand since.
    Touched,
    /// There, and not rendered by deployer.
    Foreign,
    /// As it was rendered, and rendered no more.
    Left,
    /// Changed by hand, and rendered no more.
    LeftTouched,
}

/// One file, as it is and as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Relative to the folder that holds `environments`, with slashes.
    pub path: String,
    /// The template that it is made from; `None` for what is rendered no more.
    pub template: Option<String>,
    pub standing: Standing,
    /// What is on disk.
    pub before: Option<String>,
    /// What has to be there; `None` for what is rendered no more.
    pub after: Option<String>,
}

/// Why files cannot be compared or written.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` cannot be {verb}: {source}")]
pub struct FileError {
    path: String,
    verb: &'static str,
    source: io::Error,
}

/// What is known of earlier renderings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// SHA-256 in hexadecimal of each file as it was rendered.
    files: BTreeMap<String, String>,
}

/// Compares everything that is rendered, and everything that was, with what is on disk in `root`; sorted by path.
pub fn judge(root: &Path, rendered: &[Rendered]) -> Result<Vec<Judged>, FileError> {
    let record = read_record(root)?;
    let mut judged = Vec::new();
    for file in rendered {
        let before = read(root, &file.path)?;
        let standing = standing(before.as_deref(), &file.text, record.files.get(&file.path));
        let (template, after) = (Some(file.template.clone()), Some(file.text.clone()));
        judged.push(Judged { path: file.path.clone(), template, standing, before, after });
    }
    for (path, digest) in &record.files {
        if rendered.iter().any(|file| file.path == *path) || !is_inside(path) {
            continue;
        }
        let Some(before) = read(root, path)? else { continue };
        let whole = marks::digest(&before) == *digest || marks::mark(&before) == Some(Mark::Whole);
        let standing = if whole { Standing::Left } else { Standing::LeftTouched };
        judged.push(Judged {
            path: path.clone(),
            template: None,
            standing,
            before: Some(before),
            after: None,
        });
    }
    judged.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(judged)
}

/// Makes the files as they have to be: what differs is written, what is rendered no more is removed. With `force` that counts
/// for what was changed by hand too; without it, such a file that is rendered no more stays.
///
/// What is not among `judged` stays on record as it is.
pub fn write(root: &Path, judged: &[Judged], force: bool) -> Result<(), FileError> {
    let before = read_record(root)?;
    let mut record = before.clone();
    for file in judged {
        match (&file.after, file.standing) {
            (Some(text), standing) => {
                if standing != Standing::Current {
                    let written = atomically::write(&on_disk(root, &file.path), text.as_bytes());
                    written.map_err(|source| failed(&file.path, "written", source))?;
                }
                record.files.insert(file.path.clone(), marks::digest(text));
            }
            (None, standing) => {
                if standing == Standing::Left || force {
                    let removed = fs::remove_file(on_disk(root, &file.path));
                    removed.map_err(|source| failed(&file.path, "removed", source))?;
                }
                record.files.remove(&file.path);
            }
        }
    }
    if record == before {
        return Ok(());
    }
    let text =
        serde_json::to_string_pretty(&record).map_err(|error| failed(RECORD, "written", error.into()))?;
    atomically::write(&on_disk(root, RECORD), format!("{text}\n").as_bytes())
        .map_err(|source| failed(RECORD, "written", source))
}

fn standing(before: Option<&str>, wanted: &str, recorded: Option<&String>) -> Standing {
    let Some(before) = before else { return Standing::Missing };
    if before == wanted {
        return Standing::Current;
    }
    let known = recorded.map(|digest| marks::digest(before) == *digest);
    match (marks::mark(before), known) {
        (Some(Mark::Whole), _) | (None, Some(true)) => Standing::Old,
        (Some(Mark::Touched), _) | (None, Some(false)) => Standing::Touched,
        (None, None) => Standing::Foreign,
    }
}

/// The text of a file, with the line ends that are rendered; `None` where there is none.
fn read(root: &Path, path: &str) -> Result<Option<String>, FileError> {
    match fs::read(on_disk(root, path)) {
        // What is no text was not rendered, and is never equal to what is.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(failed(path, "read", source)),
    }
}

fn read_record(root: &Path) -> Result<Record, FileError> {
    let Some(text) = read(root, RECORD)? else { return Ok(Record::default()) };
    serde_json::from_str(&text).map_err(|error| failed(RECORD, "read", error.into()))
}

fn failed(path: &str, verb: &'static str, source: io::Error) -> FileError {
    FileError { path: path.to_owned(), verb, source }
}

fn on_disk(root: &Path, path: &str) -> PathBuf {
    root.join(path.split('/').collect::<PathBuf>())
}

/// A record is a file that anybody may write in: it must not name what lies outside of the folder.
fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn root(&self) -> &Path {
            self.0.path()
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.root().join(path)).unwrap()
        }

        fn standings(&self, rendered: &[Rendered]) -> Vec<(String, Standing)> {
            let judged = judge(self.root(), rendered).unwrap();
            judged.into_iter().map(|file| (file.path, file.standing)).collect()
        }

        fn standing(&self, rendered: &Rendered) -> Standing {
            let standings = self.standings(std::slice::from_ref(rendered));
            standings.into_iter().find(|(path, _)| *path == rendered.path).unwrap().1
        }

        fn render(&self, rendered: &[Rendered]) {
            write(self.root(), &judge(self.root(), rendered).unwrap(), false).unwrap();
        }
    }

    fn file(path: &str, body: &str) -> Rendered {
        let text = marks::marked(path, "t.yml", body);
        Rendered { path: path.to_owned(), template: "t.yml".to_owned(), text }
    }

    #[test]
    fn a_file_is_missing_then_current_then_old_when_its_template_changes() {
        let place = Place::new();
        let one = file("a/b.yml", "one\n");
        assert_eq!(place.standing(&one), Standing::Missing);
        place.render(std::slice::from_ref(&one));
        assert_eq!(place.standing(&one), Standing::Current);
        assert_eq!(place.standing(&file("a/b.yml", "two\n")), Standing::Old);
    }

    #[test]
    fn an_edit_by_hand_is_told_from_a_file_of_somebody_else() {
        let place = Place::new();
        let one = file("b.yml", "one\n");
        place.render(std::slice::from_ref(&one));
        fs::write(place.root().join("b.yml"), one.text.replace("one", "mine")).unwrap();
        assert_eq!(place.standing(&one), Standing::Touched);
        fs::write(place.root().join("c.yml"), "theirs\n").unwrap();
        assert_eq!(place.standing(&file("c.yml", "one\n")), Standing::Foreign);
    }

    #[test]
    fn json_is_judged_by_the_record() {
        let place = Place::new();
        place.render(&[file("a.json", "{}\n")]);
        let next = file("a.json", "{\"a\": 1}\n");
        assert_eq!(place.standing(&next), Standing::Old);
        fs::write(place.root().join("a.json"), "[]\n").unwrap();
        assert_eq!(place.standing(&next), Standing::Touched);
        fs::remove_file(place.root().join(RECORD)).unwrap();
        assert_eq!(place.standing(&next), Standing::Foreign);
        fs::write(place.root().join("a.json"), &next.text).unwrap();
        assert_eq!(place.standing(&next), Standing::Current);
    }

    #[test]
    fn what_is_rendered_no_more_is_removed_unless_somebody_changed_it() {
        let place = Place::new();
        let (one, two) = (file("1.yml", "one\n"), file("2.yml", "two\n"));
        place.render(&[one.clone(), two.clone()]);
        fs::write(place.root().join("2.yml"), format!("{}more\n", two.text)).unwrap();
        let left = [("1.yml".to_owned(), Standing::Left), ("2.yml".to_owned(), Standing::LeftTouched)];
        assert_eq!(place.standings(&[]), left);
        place.render(&[]);
        assert!(!place.root().join("1.yml").exists());
        assert!(place.read("2.yml").ends_with("more\n"));
        assert_eq!(place.standings(&[]), []);
    }

    #[test]
    fn a_record_cannot_name_files_outside() {
        let place = Place::new();
        let inside = place.root().join("inside");
        fs::create_dir_all(inside.join(".deployer")).unwrap();
        fs::write(place.root().join("x"), "x").unwrap();
        let digest = marks::digest("x");
        fs::write(inside.join(RECORD), format!("{{\"files\": {{\"../x\": \"{digest}\"}}}}")).unwrap();
        assert_eq!(judge(&inside, &[]).unwrap(), []);
    }

    #[test]
    fn line_ends_of_windows_are_no_edit() {
        let place = Place::new();
        let one = file("a.yml", "one\ntwo\n");
        fs::write(place.root().join("a.yml"), one.text.replace('\n', "\r\n")).unwrap();
        assert_eq!(place.standing(&one), Standing::Current);
    }

    #[test]
    fn the_record_is_written_when_it_changes_only() {
        let place = Place::new();
        let one = file("a.yml", "one\n");
        place.render(std::slice::from_ref(&one));
        let kept = place.read(RECORD);
        fs::remove_file(place.root().join(RECORD)).unwrap();
        place.render(std::slice::from_ref(&one));
        assert_eq!(place.read(RECORD), kept);
    }
}
