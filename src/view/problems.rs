//! Problems of the configuration as text: where, what, the line itself, and what to do.

use std::path::Path;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::config::{Diagnostic, Severity, Texts};

/// The problems in the given order, each with its line of the file, and a last line that counts them.
///
/// `width` is that of the terminal in columns.
pub fn render(problems: &[Diagnostic], sources: &Texts, color: bool, width: usize) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(width);
    let mut text = String::new();
    for problem in problems {
        text.push_str(&one(problem, sources, &renderer));
        text.push_str("\n\n");
    }
    text.push_str(&count(problems));
    text
}

fn one(problem: &Diagnostic, sources: &Texts, renderer: &Renderer) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let message = visible(&problem.message);
    let title = level.primary_title(message).id(problem.rule);
    let place = problem.location.as_ref().and_then(|location| {
        let text = sources.text(&location.file)?;
        let span = span(text, location.line, location.column, problem.length)?;
        Some((location, text, span))
    });
    let placed = place.is_some();
    let mut group = match place {
        Some((location, text, span)) => {
            // The renderer counts columns itself; only the line is needed, and long files cost time.
            let (window, first_line, start) = window(text, location.line);
            let snippet = Snippet::source(window.to_owned())
                .line_start(first_line)
                .path(slashes(&location.file))
                .annotation(
                    AnnotationKind::Primary
                        .span(span.start - start..span.end - start)
                        .label(visible(&problem.label)),
                );
            title.element(snippet)
        }
        None => Group::with_title(title),
    };
    if !problem.path.is_empty() {
        group = group.element(Level::NOTE.with_name(Some("key")).message(visible(&problem.path)));
    }
    // What follows an empty line is text to copy: it keeps its own indentation.
    let hint = problem.hint.as_deref().map(|hint| hint.split_once("\n\n").unwrap_or((hint, "")));
    if let Some((hint, _)) = hint.filter(|_| placed) {
        group = group.element(Level::HELP.with_name(Some("hint")).message(visible(hint)));
    }
    let mut text = renderer.render(&[group]);
    if let Some((hint, _)) = hint.filter(|_| !placed) {
        // Without a source there is no gutter to stand in.
        text.push_str("\nhint: ");
        text.push_str(&visible(hint));
    }
    if let Some((_, example)) = hint.filter(|(_, example)| !example.is_empty()) {
        text.push_str("\n\n");
        text.push_str(&visible(example));
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// The line with one before and after it: its text, the number of its first line, and its first byte.
fn window(text: &str, line: u32) -> (&str, usize, usize) {
    let first = (line as usize).saturating_sub(2);
    let starts: Vec<usize> = std::iter::once(0)
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .skip(first)
        .take(4)
        .collect();
    let start = starts.first().copied().unwrap_or(0);
    let wanted = line as usize - first + 1;
    let end = starts.get(wanted).copied().unwrap_or(text.len());
    (&text[start..end], first + 1, start)
}

/// The bytes of `length` characters from a place, not beyond the end of its line.
fn span(text: &str, line: u32, column: u32, length: u32) -> Option<std::ops::Range<usize>> {
    let line_start = match line.checked_sub(1)? {
        0 => 0,
        before => text.match_indices('\n').nth(before as usize - 1)?.0 + 1,
    };
    let rest = text[line_start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
    let byte =
        |characters: u32| rest.char_indices().nth(characters as usize).map_or(rest.len(), |(at, _)| at);
    let start = byte(column.saturating_sub(1));
    let end = byte(column.saturating_sub(1).saturating_add(length));
    Some(line_start + start..line_start + end.max(start))
}

fn slashes(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

/// Text from a file without what could steer a terminal.
fn visible(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() && character != '\n' { '\u{fffd}' } else { character })
        .collect()
}

fn count(problems: &[Diagnostic]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let of = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, warnings) => format!("{}\n", of(warnings, "warning")),
        (errors, 0) => format!("{}\n", of(errors, "error")),
        (errors, warnings) => format!("{}, {}\n", of(errors, "error"), of(warnings, "warning")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Location;

    const TEXT: &str = "services:\n  api:\n    memroy: 512Mi\n    port: 80\n";

    fn problem(line: u32, column: u32, length: u32) -> Diagnostic {
        let location = Location { file: "environments/base.yaml".into(), line, column };
        Diagnostic::error("unknown-key", "there is no key `memroy` in a service")
            .path("services.api.memroy")
            .label("unknown key")
            .hint("did you mean `memory`?")
            .at(location, length)
    }

    fn texts() -> Texts {
        let mut texts = Texts::default();
        texts.insert("environments/base.yaml".into(), TEXT.into());
        texts
    }

    #[test]
    fn a_problem_shows_its_line_and_what_to_do() {
        let shown = render(&[problem(3, 5, 6)], &texts(), false, 100);
        insta::assert_snapshot!(shown, @r"
        error[unknown-key]: there is no key `memroy` in a service
         --> environments/base.yaml:3:5
          |
        3 |     memroy: 512Mi
          |     ^^^^^^ unknown key
          |
          = key: services.api.memroy
          = hint: did you mean `memory`?

        1 error
        ");
    }

    #[test]
    fn a_problem_without_a_place_is_shown_without_a_line() {
        let all = [Diagnostic::warning("x", "something").hint("first\n\n    second")];
        let shown = render(&all, &Texts::default(), false, 100);
        insta::assert_snapshot!(shown, @r"
        warning[x]: something
        hint: first

            second

        1 warning
        ");
    }

    #[test]
    fn places_beyond_the_text_do_no_harm() {
        for (line, column, length) in
            [(3, 500, 1), (4, 1, 900), (99, 1, 1), (5, 1, 1), (1, 0, 0), (u32::MAX, u32::MAX, u32::MAX)]
        {
            let shown = render(&[problem(line, column, length)], &texts(), false, 80);
            assert!(shown.contains("there is no key `memroy`"), "{line}:{column}");
        }
    }

    #[test]
    fn escape_codes_of_a_file_do_not_reach_the_terminal() {
        let mut bad = problem(3, 5, 6);
        bad.message = "a \u{1b}[2J b".into();
        assert!(!render(&[bad], &texts(), false, 80).contains('\u{1b}'));
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        assert!(render(&[problem(3, 5, 6)], &texts(), true, 80).contains('\u{1b}'));
        assert!(!render(&[problem(3, 5, 6)], &texts(), false, 80).contains('\u{1b}'));
    }

    #[test]
    fn characters_of_several_bytes_are_counted_as_one() {
        let text = "a: \u{e4}\u{f6}\u{fc} x\n";
        let range = span(text, 1, 4, 3).unwrap();
        assert_eq!(&text[range], "\u{e4}\u{f6}\u{fc}");
    }
}
