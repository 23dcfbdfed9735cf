//! Text from files and from Google in markdown, so that it can be nothing but text: no table, fence, tag or
//! mention begins or ends with it.

use std::fmt::Write as _;

use crate::view::common::Names;
use crate::view::style::printable;

/// Without width: between it and `@` there is no mention.
const NOTHING: &str = "&#8203;";

/// One line without anything that steers a terminal.
pub fn one_line(text: &str) -> String {
    printable(text).replace('\n', "\\n")
}

/// At most `limit` characters of a name.
pub fn clipped(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit).collect();
    format!("{kept}...")
}

/// A code span: GitHub shows it as it is and finds no mention in it.
pub fn code(text: &str) -> String {
    let text = one_line(text);
    if text.trim().is_empty() {
        return "(empty)".to_owned();
    }
    let ticks = "`".repeat(longest_run(&text) + 1);
    let at_edge = |c| text.starts_with(c) || text.ends_with(c);
    let pad = if at_edge('`') || at_edge(' ') { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// Names as code spans, and how many there are besides.
pub fn codes(names: &Names<'_>) -> String {
    let words = names.named.iter().map(|name| code(name)).chain(names.rest());
    words.collect::<Vec<_>>().join(", ")
}

/// A code span in a cell of a table, whose bars would end it.
pub fn cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// Text for the inside of an HTML element.
pub fn html(text: &str) -> String {
    one_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A sentence, in which what stands between backticks and looks like a URL becomes code.
pub fn prose(text: &str) -> String {
    let lines: Vec<_> = printable(text.trim()).lines().map(line).collect();
    lines.join("<br>")
}

fn line(text: &str) -> String {
    if text.matches('`').count() % 2 == 1 {
        return words(text);
    }
    let mut line = String::new();
    for (at, piece) in text.split('`').enumerate() {
        match (at % 2, piece) {
            (0, "") if at > 0 => line.push(' '),
            (0, piece) => line.push_str(&words(piece)),
            (_, piece) => line.push_str(&code(piece)),
        }
    }
    line.trim_end().to_owned()
}

fn words(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(word).collect()
}

fn word(text: &str) -> String {
    if !text.contains("://") || text.contains('`') {
        return escaped(text);
    }
    let core = text.trim_end().trim_end_matches(['.', ',', ';', ':', ')']);
    format!("{}{}", code(core), escaped(&text[core.len()..]))
}

/// One word, with the blank behind it.
fn escaped(text: &str) -> String {
    let mut shown = String::new();
    let mut before: Option<char> = None;
    let only_signs = text.trim_end().chars().all(|c| matches!(c, '+' | '-' | '='));
    let digits_before = text.starts_with(|c: char| c.is_ascii_digit());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let in_word = before.is_some_and(char::is_alphanumeric);
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '@' if !in_word => {
                let _ = write!(shown, "@{NOTHING}");
            }
            '#' => {
                let _ = write!(shown, "\\#{NOTHING}");
            }
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' | '!' => shown.extend(['\\', c]),
            // What would begin a list or underline a heading.
            '+' | '-' | '=' if before.is_none() && only_signs => shown.extend(['\\', c]),
            '.' | ')' if digits_before && rest.peek().is_none_or(|c| c.is_whitespace()) => {
                shown.extend(['\\', c]);
            }
            c => shown.push(c),
        }
        before = Some(c);
    }
    shown
}

/// A block of code in which lines with `-` and `+` have their colours.
pub fn diff_block(lines: &[String]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| one_line(line).trim_end().to_owned()).collect();
    let longest = lines.iter().map(|line| longest_run(line)).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    let body = lines.iter().fold(String::new(), |text, line| text + line + "\n");
    format!("{fence}diff\n{body}{fence}\n")
}

/// What can be opened: a line that is always seen, already in HTML, and what is under it.
pub fn details(summary: &str, body: &str) -> String {
    format!("\n<details><summary>{summary}</summary>\n\n{body}\n</details>\n\n")
}

/// The longest row of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_span_holds_any_text() {
        assert_eq!(code("secret/a"), "`secret/a`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`x`"), "`` `x` ``");
        assert_eq!(code("two\nlines"), "`two\\nlines`");
        assert_eq!(code(""), "(empty)");
        assert_eq!(cell("a|b"), "`a\\|b`");
    }

    #[test]
    fn a_sentence_cannot_bring_its_own_markup() {
        assert_eq!(prose("<b>*x* [a](b) | </details>"), "&lt;b&gt;\\*x\\* \\[a\\](b) \\| &lt;/details&gt;");
        assert_eq!(prose("- x"), "\\- x");
        assert_eq!(prose("use --adopt"), "use --adopt");
        assert_eq!(prose("1. x"), "1\\. x");
        assert_eq!(prose("# x\n## y"), "\\#&#8203; x<br>\\#&#8203;\\#&#8203; y");
    }

    #[test]
    fn nobody_is_mentioned_and_no_issue_is_linked() {
        assert_eq!(prose("ask @octocat about #12"), "ask @&#8203;octocat about \\#&#8203;12");
        assert_eq!(prose("api@p.iam.gserviceaccount.com"), "api@p.iam.gserviceaccount.com");
    }

    #[test]
    fn commands_and_urls_of_a_sentence_are_code() {
        assert_eq!(prose("run `deployer apply dev` again"), "run `deployer apply dev` again");
        assert_eq!(prose("see https://x.y/a_b, then"), "see `https://x.y/a_b`, then");
        assert_eq!(prose("an `odd one"), "an \\`odd one");
        assert_eq!(prose("`a``b` c"), "`a` `b` c");
    }

    #[test]
    fn a_block_is_longer_fenced_than_what_it_holds() {
        assert_eq!(diff_block(&["+ ```".into(), "- a\nb".into()]), "````diff\n+ ```\n- a\\nb\n````\n");
    }
}
