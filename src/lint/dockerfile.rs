//! Dockerfiles: who runs in the image, what it is made from, and what stays in it.

use std::collections::BTreeMap;

use super::{Found, image};
use crate::config::Diagnostic;

/// One instruction with its line.
#[derive(Clone, Debug)]
struct Instruction {
    word: String,
    /// What follows, in one line.
    rest: String,
    line: u32,
    /// Characters of its first line.
    length: u32,
}

impl Instruction {
    fn found(&self, diagnostic: Diagnostic) -> Found {
        Found::new((self.line, 1, self.length), diagnostic)
    }
}

/// One `FROM` and what follows it.
struct Stage<'a> {
    from: &'a Instruction,
    image: String,
    name: Option<String>,
    instructions: Vec<&'a Instruction>,
}

/// All findings in the text of a Dockerfile.
pub(super) fn judge(text: &str) -> Vec<Found> {
    let instructions = instructions(text);
    let stages = stages(&instructions);
    let mut found: Vec<_> =
        stages.iter().enumerate().filter_map(|(at, stage)| base(stage, &stages[..at])).collect();
    found.extend(root(&stages));
    found.extend(instructions.iter().filter_map(secret));
    if let Some(last) = stages.last() {
        found.extend(last.instructions.iter().copied().filter_map(shell_form));
    }
    found.sort_by_key(|found| found.at);
    found
}

/// Lines joined at their `\`; comments and the bodies of here-documents left out.
fn instructions(text: &str) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut open: Option<Instruction> = None;
    let mut document: Option<String> = None;
    for (at, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim();
        if let Some(end) = &document {
            if trimmed == end {
                document = None;
            }
            continue;
        }
        if trimmed.starts_with('#') || (trimmed.is_empty() && open.is_none()) {
            continue;
        }
        let (piece, goes_on) = match trimmed.strip_suffix('\\') {
            Some(piece) => (piece, true),
            None => (trimmed, false),
        };
        let instruction = open.get_or_insert_with(|| Instruction {
            word: String::new(),
            rest: String::new(),
            line: at,
            length: u32::try_from(line.trim_end().chars().count()).unwrap_or(u32::MAX),
        });
        instruction.rest.push_str(piece);
        instruction.rest.push(' ');
        if goes_on {
            continue;
        }
        if let Some(mut done) = open.take() {
            document = here_document(&done.rest);
            let (word, rest) =
                done.rest.trim().split_once(char::is_whitespace).unwrap_or((done.rest.trim(), ""));
            (done.word, done.rest) = (word.to_ascii_uppercase(), rest.trim().to_owned());
            found.push(done);
        }
    }
    found
}

/// The word that ends the here-document which a line begins.
fn here_document(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("<<")?;
    let word: String = rest
        .trim_start_matches('-')
        .trim_start_matches(['"', '\''])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

fn stages(instructions: &[Instruction]) -> Vec<Stage<'_>> {
    let mut defaults: BTreeMap<String, String> = BTreeMap::new();
    let mut stages: Vec<Stage<'_>> = Vec::new();
    for instruction in instructions {
        if instruction.word == "FROM" {
            let mut words = instruction.rest.split_whitespace().filter(|word| !word.starts_with("--"));
            let image = filled(words.next().unwrap_or_default(), &defaults);
            let named = words.next().is_some_and(|word| word.eq_ignore_ascii_case("as"));
            let name = words.next().filter(|_| named).map(str::to_ascii_lowercase);
            stages.push(Stage { from: instruction, image, name, instructions: Vec::new() });
        } else if let Some(stage) = stages.last_mut() {
            stage.instructions.push(instruction);
        } else if let ("ARG", Some((name, value))) =
            (instruction.word.as_str(), instruction.rest.split_once('='))
        {
            defaults.insert(name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned());
        }
    }
    stages
}

/// `${NAME}` and `$NAME` by the defaults of the arguments before the first stage; what has none stays as it is.
fn filled(text: &str, defaults: &BTreeMap<String, String>) -> String {
    // Longer names first: `$BASE_IMAGE` is not `$BASE` and `_IMAGE`.
    let mut names: Vec<_> = defaults.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    names.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value)
    })
}

/// The stage that another one is made from.
fn stage_of<'a, 'b>(image: &str, before: &'b [Stage<'a>]) -> Option<(usize, &'b Stage<'a>)> {
    let name = image.to_ascii_lowercase();
    before.iter().enumerate().rev().find(|(_, stage)| stage.name.as_deref() == Some(&name))
}

fn base(stage: &Stage<'_>, before: &[Stage<'_>]) -> Option<Found> {
    if stage.image == "scratch" || stage_of(&stage.image, before).is_some() {
        return None;
    }
    image::floating(&stage.image).map(|finding| stage.from.found(finding))
}

/// The user of the last stage, who is that of the stages below it where none is named.
fn root(stages: &[Stage<'_>]) -> Option<Found> {
    let (mut at, mut stage) = (stages.len().checked_sub(1)?, stages.last()?);
    let last = stage;
    loop {
        let user = stage.instructions.iter().rfind(|instruction| instruction.word == "USER");
        if let Some(instruction) = user {
            let name = instruction.rest.split(':').next().unwrap_or_default().trim();
            return matches!(name, "root" | "0")
                .then(|| instruction.found(as_root("the last `USER` is root")));
        }
        match stage_of(&stage.image, stages.get(..at).unwrap_or_default()) {
            Some((below, found)) => (at, stage) = (below, found),
            None => break,
        }
    }
    // Images that say in their name that they have another user.
    if stage.image.contains("nonroot") || stage.image.contains("unprivileged") {
        return None;
    }
    Some(last.from.found(as_root("no `USER` is named")))
}

fn as_root(why: &str) -> Diagnostic {
    let message = format!("{why}: whoever takes over the process is root in the container");
    Diagnostic::error("root-user", message)
        .label("runs as root")
        .hint("add `USER 65532:65532` (or a user of the image) to the last stage, after what needs root")
}

/// Names of values that nobody should find in an image.
fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "PRIVATE_KEY", "API_KEY", "CREDENTIALS"];
    let public = ["_FILE", "_PATH", "_URL", "_NAME", "_ID"];
    words.iter().any(|word| name.contains(word)) && !public.iter().any(|ending| name.ends_with(ending))
}

fn secret(instruction: &Instruction) -> Option<Found> {
    let message = match instruction.word.as_str() {
        "ENV" | "ARG" => {
            let names =
                instruction.rest.split_whitespace().map(|word| word.split('=').next().unwrap_or_default());
            let first =
                if instruction.word == "ENV" && !instruction.rest.contains('=') { 1 } else { usize::MAX };
            let name = names.take(first).find(|name| looks_secret(name))?;
            format!("`{name}` stays readable in the image, in its history and for everybody who pulls it")
        }
        "COPY" | "ADD" => {
            let sources: Vec<_> =
                instruction.rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
            let (_, sources) = sources.split_last()?;
            let file = |path: &&&str| {
                let name = path.rsplit('/').next().unwrap_or_default();
                let environment = name == ".env" || (name.starts_with(".env.") && !name.ends_with("example"));
                environment || name.starts_with("gha-creds-") || name == "credentials.json"
            };
            let path = sources.iter().find(file)?;
            format!("`{path}` holds secrets and is copied into the image, for everybody who pulls it")
        }
        _ => return None,
    };
    let diagnostic = Diagnostic::error("secret-in-image", message).label("stays in the image").hint(
        "while building take `RUN --mount=type=secret,id=NAME`; at run time take `secrets` of the YAML",
    );
    Some(instruction.found(diagnostic))
}

/// A shell around the process gets its SIGTERM, and hands it on to nobody.
fn shell_form(instruction: &Instruction) -> Option<Found> {
    let starts = matches!(instruction.word.as_str(), "CMD" | "ENTRYPOINT");
    let rest = instruction.rest.trim();
    let replaced = rest.starts_with("exec ");
    if !starts || rest.is_empty() || rest.starts_with('[') || replaced {
        return None;
    }
    let message = format!(
        "`{}` in this form starts a shell, and SIGTERM reaches that alone: what runs is killed after ten seconds",
        instruction.word
    );
    let diagnostic = Diagnostic::warning("shell-form-command", message)
        .label("a shell in between")
        .hint(format!("{} [\"program\", \"argument\"], or let the shell `exec` it", instruction.word));
    Some(instruction.found(diagnostic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::testing::told;

    fn found(text: &str) -> String {
        told(&judge(text))
    }

    #[test]
    fn a_good_file_has_no_findings() {
        let text = "# syntax=docker/dockerfile:1\nARG BASE=debian:12-slim\nFROM rust:1.95 AS build\nRUN --mount=type=secret,id=token make \\\n  # why\n  all\nFROM ${BASE}\nCOPY --from=build /app /app\nUSER 65532\nENTRYPOINT [\"/app\"]\n";
        assert_eq!(found(text), "");
    }

    #[test]
    fn the_last_stage_has_a_user_that_is_not_root() {
        assert_eq!(found("FROM a:1\nUSER app\nFROM b:1\nCMD [\"x\"]\n"), "3:1 root-user \n");
        assert_eq!(found("FROM a:1\nUSER app\nUSER 0:0\n"), "3:1 root-user \n");
        assert_eq!(found("FROM a:1 AS base\nUSER app\nFROM base\nRUN x\n"), "");
        assert_eq!(found("FROM gcr.io/distroless/static:nonroot\n"), "");
        assert_eq!(found("FROM scratch\n"), "1:1 root-user \n");
    }

    #[test]
    fn bases_have_versions() {
        assert_eq!(found("FROM a\nUSER x\n"), "1:1 latest-tag \n");
        assert_eq!(
            found("FROM --platform=linux/amd64 a:latest AS one\nFROM one\nUSER x\n"),
            "1:1 latest-tag \n"
        );
        assert_eq!(found("ARG V=latest\nFROM a:${V}\nUSER x\n"), "2:1 latest-tag \n");
        assert_eq!(found("ARG V\nFROM a:${V}\nUSER x\n"), "");
    }

    #[test]
    fn secrets_do_not_stay_in_images() {
        let file = |line: &str| format!("FROM a:1\n{line}\nUSER x\n");
        for line in [
            "ARG NPM_TOKEN",
            "ENV DB_PASSWORD=x",
            "ENV API_KEY abc",
            "COPY .env /app/",
            "COPY a .env.prod /app/",
        ] {
            assert_eq!(found(&file(line)), "2:1 secret-in-image \n", "{line}");
        }
        for line in
            ["ENV TOKEN_URL=x", "COPY .env.example .", "ENV A PASSWORD", "COPY app .", "ARG VERSION=1"]
        {
            assert_eq!(found(&file(line)), "", "{line}");
        }
    }

    #[test]
    fn a_shell_around_the_process_is_told() {
        assert_eq!(found("FROM a:1\nUSER x\nCMD serve --port 1\n"), "3:1 shell-form-command? \n");
        assert_eq!(found("FROM a:1\nUSER x\nCMD exec serve\n"), "");
        assert_eq!(found("FROM a:1 AS b\nCMD serve\nFROM b\nUSER x\nCMD [\"serve\"]\n"), "");
    }

    #[test]
    fn here_documents_are_no_instructions() {
        assert_eq!(found("FROM a:1\nRUN <<EOF\nFROM b\nUSER root\nEOF\nUSER x\n"), "");
    }

    #[test]
    fn any_text_is_judged_without_harm() {
        for text in ["", "FROM", "FROM \\", "USER", "\\\n\\\n", "COPY", "<<", "FROM a AS", "ENV =", "\u{0}"] {
            judge(text);
        }
    }
}
