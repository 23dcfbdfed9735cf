//! How text is shown: colour, width, wrapping, and the removal of what could steer a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style as Ansi};
use clap::ValueEnum;

/// When to use colour. `auto` follows the terminal, `NO_COLOR` and `CLICOLOR_FORCE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// Width in columns where nobody says how wide it is.
pub const PIPED_WIDTH: usize = 100;

/// What a piece of text means; its colour follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Strong,
    Faint,
    Added,
    Changed,
    Removed,
    Error,
    Warning,
    Hint,
}

/// The properties of the place where text ends up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Escape codes may be used.
    pub color: bool,
    /// Columns.
    pub width: usize,
    /// Long lines are broken at words; never in a pipe, where the reader may be `grep`.
    pub wrap: bool,
}

impl Style {
    /// For pipes and files: no colour, no wrapping.
    pub const PLAIN: Self = Self { color: false, width: PIPED_WIDTH, wrap: false };

    /// `text` in the colour of its meaning. Nothing may depend on the colour alone.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let ansi = match tone {
            _ if !self.color || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Strong => Ansi::new().bold(),
            Tone::Faint => Ansi::new().dimmed(),
            Tone::Added => AnsiColor::Green.on_default(),
            Tone::Changed | Tone::Warning => AnsiColor::Yellow.on_default(),
            Tone::Removed => AnsiColor::Red.on_default(),
            Tone::Error => AnsiColor::Red.on_default().bold(),
            Tone::Hint => AnsiColor::Cyan.on_default(),
        };
        format!("{ansi}{text}{ansi:#}")
    }

    /// `head: text`, the head in `tone`, further lines indented.
    pub fn labelled(&self, tone: Tone, head: &str, text: &str) -> String {
        let body = self.fill(&printable(text), head.len() + 2, 2);
        format!("{}: {}\n", self.paint(tone, head), body)
    }

    /// Breaks `text` at words where lines wrap. The first line has `used` columns already; the following
    /// ones, and those that the text brings itself, are indented by `indent`.
    pub fn fill(&self, text: &str, used: usize, indent: usize) -> String {
        let mut filled = String::new();
        let mut column = used;
        for (number, line) in text.trim_end().split('\n').enumerate() {
            if number > 0 {
                let _ = write!(filled, "\n{:indent$}", "");
                column = indent;
            }
            if !self.wrap {
                filled.push_str(line.trim_end());
                continue;
            }
            let mut first = true;
            for word in line.split(' ') {
                let length = word.chars().count();
                if !first && column + 1 + length > self.width && column > indent {
                    let _ = write!(filled, "\n{:indent$}{word}", "");
                    column = indent + length;
                } else {
                    let space = if first { "" } else { " " };
                    let _ = write!(filled, "{space}{word}");
                    column += space.len() + length;
                }
                first = false;
            }
        }
        filled
    }
}

/// `text` without characters that steer a terminal or turn the direction of writing: they are shown as
/// their escapes. Names and messages come from files and from the network.
pub fn printable(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return text.to_owned();
    }
    text.chars().fold(String::new(), |mut shown, c| {
        if steers(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        shown
    })
}

/// `1 change`, `2 changes`.
pub fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_there_are_no_escape_codes() {
        for tone in [Tone::Strong, Tone::Faint, Tone::Added, Tone::Error, Tone::Hint] {
            assert_eq!(Style::PLAIN.paint(tone, "text"), "text");
        }
        assert_eq!(Style { color: true, ..Style::PLAIN }.paint(Tone::Added, "x"), "\u{1b}[32mx\u{1b}[0m");
    }

    #[test]
    fn prose_wraps_at_words_on_a_terminal_and_not_in_a_pipe() {
        let narrow = Style { color: false, width: 20, wrap: true };
        assert_eq!(
            narrow.labelled(Tone::Hint, "hint", "put the old value back or not"),
            "hint: put the old\n  value back or not\n"
        );
        assert_eq!(Style::PLAIN.fill("put the old value back", 0, 2), "put the old value back");
    }

    #[test]
    fn a_word_longer_than_the_line_stays_whole() {
        let narrow = Style { color: false, width: 10, wrap: true };
        assert_eq!(
            narrow.fill("see https://example.com/long now", 0, 2),
            "see\n  https://example.com/long\n  now"
        );
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\rc\nd"), "a\\u{1b}[2Jb\\rc\nd");
        assert_eq!(printable("ab\u{202e}cd"), "ab\\u{202e}cd");
        assert_eq!(printable("caf\u{e9}"), "caf\u{e9}");
    }
}
