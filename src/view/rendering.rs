//! The answer of `render`: what became of each file, and the diffs of those that are not as they would be rendered.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::json::{FORMAT_VERSION, set};
use super::lines::unified;
use super::markdown::rendering_markdown;
use super::style::{Style, Tone, counted, printable};
use super::{Format, Out};

/// What became of a file, or how it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOutcome {
    Created,
    Updated,
    Unchanged,
    /// It was rendered before and is asked for no more.
    Removed,
    /// The same, but somebody has changed it: from now on it is theirs.
    Kept,
    /// Writing it would take away what somebody has written.
    Refused,
    /// Not written, because another one was refused.
    Skipped,
    /// Only with `--check`.
    Missing,
    /// Only with `--check`.
    Differs,
    /// Only with `--check`: asked for no more, and still there.
    Left,
}

impl FileOutcome {
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
            Self::Kept => "kept",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::Left => "left",
        }
    }

    /// The file is not as it has to be.
    pub fn differs(self) -> bool {
        matches!(self, Self::Missing | Self::Differs | Self::Left)
    }

    fn tone(self) -> Tone {
        match self {
            Self::Created => Tone::Added,
            Self::Updated => Tone::Changed,
            Self::Removed => Tone::Removed,
            Self::Refused | Self::Missing | Self::Differs | Self::Left => Tone::Error,
            Self::Unchanged | Self::Kept | Self::Skipped => Tone::Faint,
        }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderRow {
    /// Relative to the folder that holds `environments`.
    pub path: String,
    /// The template that it is made from; `None` for what is rendered no more.
    pub template: Option<String>,
    pub outcome: FileOutcome,
    /// Somebody has changed it since it was rendered.
    pub by_hand: bool,
    /// The text on disk and the text that would be rendered, where a diff is to be shown.
    pub change: Option<(String, String)>,
}

impl RenderRow {
    /// From what is on disk to what would be rendered.
    pub fn diff(&self) -> Option<String> {
        self.change.as_ref().map(|(before, after)| unified(&self.path, before, after))
    }

    /// Why it is not written, or what becomes of it.
    fn remark(&self) -> &'static str {
        match (self.outcome, self.by_hand) {
            (FileOutcome::Refused | FileOutcome::Differs, true) => "  changed by hand",
            (FileOutcome::Refused, false) => "  was not rendered by deployer",
            (FileOutcome::Kept, _) => "  rendered no more, changed by hand: it is yours now",
            (FileOutcome::Left, _) => "  rendered no more",
            _ => "",
        }
    }
}

/// What `deployer render` has done or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderAnswer {
    /// Nothing was to be written.
    pub check: bool,
    /// Nothing was written, because of at least one file.
    pub refused: bool,
    /// Sorted by path.
    pub files: Vec<RenderRow>,
    /// What is worth knowing beside that, a sentence each.
    pub remarks: Vec<String>,
}

impl RenderAnswer {
    /// What it comes to, in a sentence.
    pub fn summary(&self) -> String {
        let count =
            |wanted: fn(&FileOutcome) -> bool| self.files.iter().filter(|row| wanted(&row.outcome)).count();
        if self.files.is_empty() {
            return "Nothing is rendered: the YAML asks for no file. `github.workflows` asks for workflows."
                .into();
        }
        if self.refused {
            let refused = count(|outcome| *outcome == FileOutcome::Refused);
            return format!(
                "Nothing was written: {} would lose what somebody has written.",
                counted(refused, "file")
            );
        }
        let total = counted(self.files.len(), "file");
        match count(|outcome| outcome.differs()) {
            0 if self.check => format!("{total} as rendered."),
            0 => {
                let wrote = count(|outcome| {
                    matches!(outcome, FileOutcome::Created | FileOutcome::Updated | FileOutcome::Removed)
                });
                format!("{total}, {wrote} changed.")
            }
            differ => format!("{total}, {differ} not as rendered."),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        if self.refused {
            return Some(
                "move your change into the YAML or into `templates/`, or lose it with `deployer render --force`",
            );
        }
        let differ = self.files.iter().any(|row| row.outcome.differs());
        differ.then_some("`deployer render` writes them")
    }
}

impl Out {
    /// The answer of `render`.
    pub fn rendered(&self, answer: &RenderAnswer) {
        match self.format() {
            Format::Human => {
                self.text(&rendered_human(answer, self.style()));
                let notes = self.notes_style();
                self.note(
                    &answer
                        .remarks
                        .iter()
                        .map(|text| notes.labelled(Tone::Hint, "note", text))
                        .collect::<String>(),
                );
                if let Some(hint) = answer.hint() {
                    self.note(&notes.labelled(Tone::Hint, "hint", hint));
                }
            }
            Format::Markdown => self.markdown(&rendering_markdown(answer)),
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "check": answer.check,
                "files": answer.files.iter().map(row_json).collect::<Vec<_>>(),
                "remarks": answer.remarks,
            })),
        }
    }
}

fn rendered_human(answer: &RenderAnswer, style: &Style) -> String {
    let mut text = String::new();
    for row in &answer.files {
        let word = style.paint(row.outcome.tone(), row.outcome.word());
        let space = " ".repeat(9_usize.saturating_sub(row.outcome.word().len()));
        let _ = writeln!(text, "{word}{space}  {}{}", printable(&row.path), row.remark());
    }
    for diff in answer.files.iter().filter_map(RenderRow::diff) {
        text.push('\n');
        for line in printable(&diff).lines() {
            let tone = match line.chars().next() {
                Some('+') => Tone::Added,
                Some('-') => Tone::Removed,
                Some('@') => Tone::Faint,
                _ => Tone::Plain,
            };
            let _ = writeln!(text, "{}", style.paint(tone, line));
        }
    }
    let gap = if answer.files.is_empty() { "" } else { "\n" };
    let _ = writeln!(text, "{gap}{}", answer.summary());
    text
}

fn row_json(row: &RenderRow) -> Value {
    let RenderRow { path, template, outcome, by_hand, change: _ } = row;
    let mut document = json!({"path": path, "outcome": outcome.word(), "by_hand": by_hand});
    set(&mut document, "template", template.as_deref().map(Value::from));
    set(&mut document, "diff", row.diff().map(Value::from));
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, outcome: FileOutcome) -> RenderRow {
        let template = Some("workflows/ci.yml".into());
        RenderRow { path: path.into(), template, outcome, by_hand: false, change: None }
    }

    fn answer(files: Vec<RenderRow>) -> RenderAnswer {
        RenderAnswer { check: false, refused: false, files, remarks: Vec::new() }
    }

    #[test]
    fn every_file_is_told_and_then_what_it_comes_to() {
        let files = vec![row("a.yml", FileOutcome::Created), row("b.yml", FileOutcome::Unchanged)];
        insta::assert_snapshot!(rendered_human(&answer(files), &Style::PLAIN), @r"
        created    a.yml
        unchanged  b.yml

        2 files, 1 changed.
        ");
    }

    #[test]
    fn a_refusal_shows_what_would_be_lost() {
        let change = Some(("one\nmine\n".to_owned(), "one\n".to_owned()));
        let refused = RenderRow { by_hand: true, change, ..row("a.yml", FileOutcome::Refused) };
        let answer = RenderAnswer { refused: true, ..answer(vec![refused]) };
        insta::assert_snapshot!(rendered_human(&answer, &Style::PLAIN), @r"
        refused    a.yml  changed by hand

        --- a/a.yml
        +++ b/a.yml
        @@ -1,2 +1,1 @@
         one
        -mine

        Nothing was written: 1 file would lose what somebody has written.
        ");
    }
}
