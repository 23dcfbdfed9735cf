//! A small line diff, for values of several lines and for whole files.

use std::fmt::Write as _;

/// One line of a diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    Same(&'a str),
    Added(&'a str),
    Removed(&'a str),
    /// Unchanged lines that are left out, as their number.
    Gap(usize),
}

/// Unchanged lines that are shown around a change.
const CONTEXT: usize = 2;

/// Above this many cells the table of the longest common subsequence is not worth its memory.
const MAX_CELLS: usize = 250_000;

/// The lines that turn `old` into `new`, with a little context.
pub fn diff<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let mut lines: Vec<_> = old[..head].iter().map(|line| Line::Same(line)).collect();
    lines.extend(middle(&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]));
    lines.extend(old_rest[old_rest.len() - tail..].iter().map(|line| Line::Same(line)));
    fold(&lines)
}

/// The longest common subsequence keeps its lines, everything else is removed and added.
fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let columns = new.len() + 1;
    if (old.len() + 1) * columns > MAX_CELLS {
        let removed = old.iter().map(|line| Line::Removed(line));
        return removed.chain(new.iter().map(|line| Line::Added(line))).collect();
    }
    // common[i * columns + j]: length of the common subsequence of old[i..] and new[j..]
    let mut common = vec![0_usize; (old.len() + 1) * columns];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * columns + j] = if old[i] == new[j] {
                common[(i + 1) * columns + j + 1] + 1
            } else {
                common[(i + 1) * columns + j].max(common[i * columns + j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && common[(i + 1) * columns + j] >= common[i * columns + j + 1])
        {
            lines.push(Line::Removed(old[i]));
            i += 1;
        } else {
            lines.push(Line::Added(new[j]));
            j += 1;
        }
    }
    lines
}

/// Leaves out what is far from any change.
fn fold<'a>(lines: &[Line<'a>]) -> Vec<Line<'a>> {
    let near = |index: usize| {
        let around = &lines[index.saturating_sub(CONTEXT)..(index + CONTEXT + 1).min(lines.len())];
        around.iter().any(|line| !matches!(line, Line::Same(_)))
    };
    let mut folded = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        match (near(index), folded.last_mut()) {
            (true, _) => folded.push(*line),
            (false, Some(Line::Gap(count))) => *count += 1,
            (false, _) => folded.push(Line::Gap(1)),
        }
    }
    folded
}

/// A unified diff of two texts, as `git apply` takes it; empty when they are equal.
pub fn unified(path: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let mut text = format!("--- a/{path}\n+++ b/{path}\n");
    let (mut above, mut below) = (1, 1);
    let mut hunk = Vec::new();
    for line in diff(old, new) {
        match line {
            Line::Gap(count) => {
                write_hunk(&mut text, (above, below), &hunk);
                above += count_of(&hunk, '+') + count;
                below += count_of(&hunk, '-') + count;
                hunk.clear();
            }
            Line::Same(line) => hunk.push(format!(" {line}")),
            Line::Added(line) => hunk.push(format!("+{line}")),
            Line::Removed(line) => hunk.push(format!("-{line}")),
        }
    }
    write_hunk(&mut text, (above, below), &hunk);
    text
}

/// Lines of a hunk without those of one sign: those of one side.
fn count_of(hunk: &[String], without: char) -> usize {
    hunk.iter().filter(|line| !line.starts_with(without)).count()
}

/// One hunk that begins at these lines of both sides.
fn write_hunk(text: &mut String, (above, below): (usize, usize), hunk: &[String]) {
    if hunk.is_empty() {
        return;
    }
    let (left, right) = (count_of(hunk, '+'), count_of(hunk, '-'));
    // A side without lines is named by the line before it.
    let (above, below) = (above - usize::from(left == 0), below - usize::from(right == 0));
    let _ = writeln!(text, "@@ -{above},{left} +{below},{right} @@");
    for line in hunk {
        let _ = writeln!(text, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_unified_diff_says_where_its_hunks_are() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n";
        let new = "1\n2\n3\n5\n6\n7\n8\n9\nten\n";
        insta::assert_snapshot!(unified("b.yml", old, new), @r"
        --- a/b.yml
        +++ b/b.yml
        @@ -2,5 +2,4 @@
         2
         3
        -4
         5
         6
        @@ -8,3 +7,3 @@
         8
         9
        -10
        +ten
        ");
        assert_eq!(unified("x", "", "new\n"), "--- a/x\n+++ b/x\n@@ -0,0 +1,1 @@\n+new\n");
        assert_eq!(unified("x", "same\n", "same\n"), "");
    }

    #[test]
    fn only_what_changed_and_its_surroundings_are_shown() {
        let old = "1\n2\n3\n4\n5\n6";
        let new = "1\n2\n3\nfour\n5\n6";
        assert_eq!(
            diff(old, new),
            [
                Line::Gap(1),
                Line::Same("2"),
                Line::Same("3"),
                Line::Removed("4"),
                Line::Added("four"),
                Line::Same("5"),
                Line::Same("6"),
            ]
        );
    }

    #[test]
    fn texts_too_large_to_compare_are_replaced() {
        let old: String = (0..600).map(|n| format!("a{n}")).collect::<Vec<_>>().join("\n");
        let new: String = (0..600).map(|n| format!("b{n}")).collect::<Vec<_>>().join("\n");
        let lines = diff(&old, &new);
        assert_eq!(lines.len(), 1200);
        assert_eq!((lines[0], lines[600]), (Line::Removed("a0"), Line::Added("b0")));
    }

    proptest! {
        #[test]
        fn the_kept_and_added_lines_are_the_new_text(old in "[ab\n]{0,24}", new in "[ab\n]{0,24}") {
            let (old_lines, new_lines): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
            let lines = middle(&old_lines, &new_lines);
            let kept = |wanted: fn(&Line<'_>) -> bool| {
                let text = lines.iter().filter(|line| wanted(line)).map(|line| match line {
                    Line::Same(text) | Line::Added(text) | Line::Removed(text) => *text,
                    Line::Gap(_) => "",
                });
                text.map(str::to_owned).collect::<Vec<_>>()
            };
            prop_assert_eq!(kept(|line| !matches!(line, Line::Removed(_))), new_lines);
            prop_assert_eq!(kept(|line| !matches!(line, Line::Added(_))), old_lines);
        }
    }
}
