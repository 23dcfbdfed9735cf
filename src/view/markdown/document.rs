//! A markdown text that keeps to a size: what does not fit is counted, and nothing is cut in the middle.

use std::fmt::Write as _;

use super::text::{clipped, code, one_line};

/// Bytes of a text. A comment on GitHub takes 65,536 characters; the caller may add something of its own.
pub const LIMIT: usize = 60_000;

/// So many words are told for what was left out, the others are only counted.
const MAX_WORDS: usize = 12;

/// Characters of such a word.
const MAX_WORD: usize = 60;

/// Bytes for what was left out of one section: words of characters with up to four bytes, and the rest.
const RESERVE: usize = MAX_WORDS * (4 * MAX_WORD + 24) + 100;

/// One thing to be told.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is, for the count of what was left out, e.g. `grant secret_grant`.
    pub what: String,
    /// How many such things it tells.
    pub count: usize,
    /// Lower ones get their place first.
    pub rank: u8,
    /// Whole lines of markdown.
    pub short: String,
    /// The same with details, if there are any.
    pub full: Option<String>,
}

impl Item {
    /// `* TEXT`; the text must be markdown already.
    pub fn line(what: &str, rank: u8, text: &str) -> Self {
        Self { what: what.to_owned(), count: 1, rank, short: format!("* {text}\n"), full: None }
    }
}

/// Items under a heading.
#[derive(Clone, Debug)]
pub struct Section {
    /// Markdown of one line.
    pub heading: String,
    pub items: Vec<Item>,
}

impl Section {
    pub fn new(heading: impl Into<String>, items: Vec<Item>) -> Self {
        Self { heading: heading.into(), items }
    }

    fn heading(&self) -> String {
        format!("\n#### {}\n\n", self.heading)
    }
}

/// How an item is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Not,
    Short,
    Full,
}

/// The text: `head`, which must be short, and the sections with as much of their items as fits into `limit`.
pub fn assemble(head: &str, sections: &[Section], limit: usize) -> String {
    let sections: Vec<_> = sections.iter().filter(|section| !section.items.is_empty()).collect();
    let fixed = head.len() + sections.iter().map(|section| section.heading().len()).sum::<usize>();
    let whole: usize =
        sections.iter().flat_map(|section| &section.items).map(|item| size(item, Told::Full)).sum();
    let reserve = if fixed + whole > limit { RESERVE * sections.len() } else { 0 };
    let told = fitting(&sections, limit.saturating_sub(fixed + reserve));
    let mut text = head.to_owned();
    for (section, told) in sections.iter().zip(&told) {
        text.push_str(&section.heading());
        for (item, told) in section.items.iter().zip(told) {
            text.push_str(shown(item, *told));
        }
        text.push_str(&left_out(section, told));
    }
    tidy(&text)
}

fn shown(item: &Item, told: Told) -> &str {
    match told {
        Told::Not => "",
        Told::Short => &item.short,
        Told::Full => item.full.as_ref().unwrap_or(&item.short),
    }
}

fn size(item: &Item, told: Told) -> usize {
    shown(item, told).len()
}

/// Every item briefly before any item with details: those that tell of several things first, which are few and say the
/// most, then in the order of ranks.
fn fitting(sections: &[&Section], room: usize) -> Vec<Vec<Told>> {
    let mut told: Vec<Vec<_>> = sections.iter().map(|section| vec![Told::Not; section.items.len()]).collect();
    let mut order: Vec<_> = sections
        .iter()
        .zip(&mut told)
        .flat_map(|(section, told)| section.items.iter().zip(told.iter_mut()))
        .collect();
    order.sort_by_key(|(item, _)| (item.count == 1, item.rank));
    let mut used = 0;
    for (from, to) in [(Told::Not, Told::Short), (Told::Short, Told::Full)] {
        for (item, told) in order.iter_mut().filter(|(_, told)| **told == from) {
            let more = size(item, to).saturating_sub(size(item, from));
            if used + more <= room {
                used += more;
                **told = to;
            }
        }
    }
    told
}

/// `* and 117 more: 100 grant secret_grant, 17 create secret`
fn left_out(section: &Section, told: &[Told]) -> String {
    let mut words: Vec<(&str, usize)> = Vec::new();
    for (item, _) in section.items.iter().zip(told).filter(|(_, told)| **told == Told::Not) {
        match words.iter_mut().find(|(word, _)| *word == item.what) {
            Some((_, count)) => *count += item.count,
            None => words.push((&item.what, item.count)),
        }
    }
    let without = section.items.iter().zip(told);
    let without = without.filter(|(item, told)| **told == Told::Short && item.full.is_some()).count();
    let all: usize = words.iter().map(|(_, count)| count).sum();
    let mut text = String::new();
    if all > 0 {
        let named = words.iter().take(MAX_WORDS);
        let named = named.map(|(word, count)| {
            format!("{count} {}", code(&clipped(&one_line(word).replace('`', "'"), MAX_WORD - 6)))
        });
        let _ = write!(text, "* and {all} more: {}", named.collect::<Vec<_>>().join(", "));
        if words.len() > MAX_WORDS {
            text.push_str(", and others");
        }
        text.push('\n');
    }
    if without > 0 {
        let _ = writeln!(text, "* {without} of these without details, for which there is no room here");
    }
    text
}

/// No more than one empty line in a row outside of blocks of code.
fn tidy(text: &str) -> String {
    let mut tidied = String::new();
    let (mut fence, mut blank): (Option<&str>, bool) = (None, false);
    for line in text.lines() {
        match fence {
            None if line.starts_with("```") => fence = Some(line.trim_end_matches("diff")),
            Some(open) if line == open => fence = None,
            _ => {}
        }
        if fence.is_some() || !(line.is_empty() && blank) {
            tidied.push_str(line);
            tidied.push('\n');
        }
        blank = line.is_empty();
    }
    tidied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(what: &str, rank: u8, short: usize, full: usize) -> Item {
        let text = |length: usize| format!("{}\n", "x".repeat(length - 1));
        let full = (full > 0).then(|| text(full));
        Item { what: what.into(), count: 1, rank, short: text(short), full }
    }

    #[test]
    fn what_does_not_fit_is_counted_by_what_it_is() {
        let mut items: Vec<_> = (0..60).map(|_| item("grant secret_grant", 4, 100, 0)).collect();
        items.extend((0..3).map(|_| item("create secret", 4, 5_000, 0)));
        let text = assemble("# Head\n", &[Section::new("To add", items)], 10_000);
        assert!(text.len() <= 10_000);
        assert!(text.ends_with("* and 3 more: 3 `create secret`\n"), "{text}");
    }

    #[test]
    fn every_item_is_told_briefly_before_any_is_told_in_full() {
        let items = vec![item("a", 4, 10, 5_000), item("b", 4, 10, 6_000), item("c", 0, 10, 5_000)];
        let text = assemble("# Head\n", &[Section::new("S", items)], 10_000);
        let lengths: Vec<_> =
            text.lines().filter(|line| line.starts_with('x')).map(|line| line.len() + 1).collect();
        assert_eq!(lengths, [10, 10, 5_000]);
        assert!(text.contains("* 2 of these without details"));
    }

    #[test]
    fn empty_lines_within_a_block_of_code_stay() {
        assert_eq!(tidy("a\n\n\nb\n```diff\n\n\n```\n\n\n"), "a\n\nb\n```diff\n\n\n```\n\n");
    }
}
