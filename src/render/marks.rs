//! The line that says that a file is rendered, and with a hash of all the rest whether somebody has written in it since.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::templates::FOLDER;

/// How a mark begins, after the sign of a comment.
const BEGIN: &str = "# Rendered by deployer from ";
const HASH: &str = "sha256:";

/// What a mark says about the file that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// All the rest is as it was rendered.
    Whole,
    /// Somebody has written in the file.
    Touched,
}

/// The text of a file with its mark: on the first line, or after the lines that have to be first. JSON has no comments.
pub(crate) fn marked(path: &str, template: &str, body: &str) -> String {
    if !takes_comments(path) {
        return body.to_owned();
    }
    let (first, rest) = body.split_at(directives(body));
    let hash = hash(body);
    let mark = format!(
        "{BEGIN}{FOLDER}/{template}: edit environments/*.yaml instead, then run `deployer render`. {HASH}{hash}\n"
    );
    format!("{first}{mark}{rest}")
}

/// What the mark of a text says; `None` where there is none.
pub(crate) fn mark(text: &str) -> Option<Mark> {
    let at = directives(text);
    let (first, rest) = text.split_at_checked(at)?;
    let (line, rest) = rest.split_once('\n').unwrap_or((rest, ""));
    let said = line.strip_prefix(BEGIN)?.rsplit_once(HASH)?.1.trim_end();
    let whole = hash(&format!("{first}{rest}")) == said;
    Some(if whole { Mark::Whole } else { Mark::Touched })
}

/// Hexadecimal SHA-256 of a text.
pub(crate) fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Half of the digest: enough to see an edit, which nobody is kept from.
fn hash(body: &str) -> String {
    digest(body).chars().take(32).collect()
}

fn takes_comments(path: &str) -> bool {
    Path::new(path).extension().is_none_or(|end| end != "json")
}

/// Bytes of the lines that mean nothing unless they are first: `#!`, and what Docker's parser reads (`# syntax=`).
fn directives(text: &str) -> usize {
    let is_directive = |line: &str| {
        let word = line.strip_prefix('#').map(str::trim_start).unwrap_or_default();
        line.starts_with("#!") || ["syntax=", "escape=", "check="].iter().any(|name| word.starts_with(name))
    };
    text.split_inclusive('\n').take_while(|line| is_directive(line)).map(str::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_an_edit_from_a_file_as_it_was_rendered() {
        let text = marked(".github/workflows/ci.yml", "workflows/ci.yml", "name: ci\non: push\n");
        assert!(text.starts_with("# Rendered by deployer from templates/workflows/ci.yml"), "{text}");
        assert_eq!(mark(&text), Some(Mark::Whole));
        assert_eq!(mark(&text.replace("push", "pull_request")), Some(Mark::Touched));
        assert_eq!(mark("name: ci\non: push\n"), None);
    }

    #[test]
    fn lines_that_have_to_be_first_stay_first() {
        let text = marked("Dockerfile", "docker/rust", "# syntax=docker/dockerfile:1\nFROM scratch\n");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines[0], lines[2]), ("# syntax=docker/dockerfile:1", "FROM scratch"));
        assert_eq!(mark(&text), Some(Mark::Whole));
        assert_eq!(mark(&text.replace("dockerfile:1", "dockerfile:2")), Some(Mark::Touched));
        let script = marked("run.sh", "run.sh", "#!/bin/sh\ntrue\n");
        assert!(script.starts_with("#!/bin/sh\n# Rendered"), "{script}");
    }

    #[test]
    fn json_stays_as_it_is() {
        assert_eq!(marked("board.json", "board.json", "{}\n"), "{}\n");
    }

    #[test]
    fn a_text_that_ends_within_its_mark_is_no_mistake() {
        assert_eq!(mark("# Rendered by deployer from x sha256:0"), Some(Mark::Touched));
        assert_eq!(mark(""), None);
    }
}
