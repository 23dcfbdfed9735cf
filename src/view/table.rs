//! Lines with a place in the YAML at their end, aligned where there is room; and plain columns.

use std::fmt::Write as _;

use super::style::{Style, Tone, printable};

/// One line of the plan.
#[derive(Clone, Debug)]
pub struct Row {
    indent: usize,
    cells: Vec<(Tone, String)>,
    /// `file:line:column` of what asked for it.
    pub location: Option<String>,
}

impl Row {
    pub fn new(indent: usize) -> Self {
        Self { indent, cells: Vec::new(), location: None }
    }

    pub fn cell(&mut self, tone: Tone, text: &str) {
        self.cells.push((tone, text.to_owned()));
    }

    fn width(&self) -> usize {
        self.indent + self.cells.iter().map(|(_, text)| text.chars().count()).sum::<usize>()
    }
}

/// Space between the text and the locations.
const GUTTER: usize = 2;

/// Where lines do not wrap, the locations may begin this far to the right.
const MAX_COLUMN: usize = 100;

/// Puts the locations into one column. A line that reaches beyond that column keeps its location right
/// behind the text or, on a terminal that has no room for it, on the next line.
pub fn render(rows: &[Row], style: &Style) -> String {
    let column = column(rows, style);
    rows.iter().map(|row| line(row, column, style)).collect()
}

fn column(rows: &[Row], style: &Style) -> usize {
    let longest = rows.iter().filter_map(|row| row.location.as_deref()).map(|l| l.chars().count()).max();
    let limit = if style.wrap { style.width.saturating_sub(longest.unwrap_or(0)) } else { MAX_COLUMN };
    let texts = rows.iter().filter(|row| row.location.is_some()).map(|row| row.width() + GUTTER);
    texts.filter(|text| *text <= limit).max().unwrap_or(0)
}

fn line(row: &Row, column: usize, style: &Style) -> String {
    let painted: String = row.cells.iter().map(|(tone, text)| style.paint(*tone, text)).collect();
    let text = format!("{:indent$}{painted}", "", indent = row.indent);
    let Some(location) = &row.location else {
        return format!("{}\n", text.trim_end());
    };
    let location = printable(location);
    let used = row.width().max(column.saturating_sub(GUTTER)) + GUTTER;
    if style.wrap && used + location.chars().count() > style.width {
        let indent = row.indent + 4;
        return format!("{}\n{:indent$}{}\n", text.trim_end(), "", style.paint(Tone::Faint, &location));
    }
    let gap = used - row.width();
    format!("{text}{:gap$}{}\n", "", style.paint(Tone::Faint, &location))
}

/// What stands over a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// Words of ours, as in a sentence.
    Words(&'static str),
    /// A name from the YAML.
    Name(String),
}

/// A last row that is about the columns; `head` stands below the heads of the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foot {
    /// Words of ours, as in a sentence.
    pub head: &'static str,
    pub cells: Vec<String>,
}

/// Characters of the last column below which it is not broken on a terminal.
const MIN_LAST: usize = 16;

/// A list in columns as wide as their longest cell. On a terminal the last column is broken at words.
pub fn columns(heads: &[Head], rows: &[Vec<String>], foot: Option<&Foot>, style: &Style) -> String {
    let heads = heads.iter().map(|head| match head {
        Head::Words(words) => words.to_uppercase(),
        Head::Name(name) => printable(name),
    });
    let heads = heads.collect();
    let rows = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect());
    let foot = foot.map(|foot| {
        let cells = foot.cells.iter().map(|cell| printable(cell));
        std::iter::once(foot.head.to_uppercase()).chain(cells).collect()
    });
    let table: Vec<Vec<String>> = std::iter::once(heads).chain(rows).chain(foot).collect();
    let count = table.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| table.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let before = widths.iter().rev().skip(1).map(|width| width + GUTTER).sum::<usize>();
    let lines = table.iter().map(|row| {
        let mut padded = String::new();
        for (cell, width) in row.iter().zip(&widths).take(count.saturating_sub(1)) {
            let _ = write!(padded, "{cell:width$}{:GUTTER$}", "");
        }
        let last = row.get(count.saturating_sub(1)).map(String::as_str).unwrap_or_default();
        let fits = before + MIN_LAST <= style.width;
        let last = if fits { style.fill(last, before, before) } else { last.to_owned() };
        format!("{}\n", format!("{padded}{last}").trim_end())
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str, location: Option<&str>) -> Row {
        let mut row = Row::new(2);
        row.cell(Tone::Plain, text);
        row.location = location.map(str::to_owned);
        row
    }

    #[test]
    fn locations_stand_in_one_column() {
        let rows = [row("a", Some("x.yaml:1:1")), row("abcdef", Some("x.yaml:2:1")), row("no place", None)];
        insta::assert_snapshot!(render(&rows, &Style::PLAIN), @r"
          a       x.yaml:1:1
          abcdef  x.yaml:2:1
          no place
        ");
    }

    #[test]
    fn the_last_column_is_broken_where_a_terminal_ends() {
        let heads = ["Name", "Read by"].map(Head::Words);
        let rows = [vec!["key".to_owned(), "services.api, services.web".to_owned()]];
        let narrow = Style { color: false, width: 24, wrap: true };
        insta::assert_snapshot!(columns(&heads, &rows, None, &narrow), @r"
        NAME  READ BY
        key   services.api,
              services.web
        ");
        let foot = Foot { head: "Read by", cells: vec!["x".to_owned()] };
        assert!(columns(&heads, &rows, Some(&foot), &Style::PLAIN).ends_with("services.web\nREAD BY  x\n"));
    }

    #[test]
    fn one_long_line_does_not_move_the_others() {
        let long = "n".repeat(105);
        let rows = [row("a", Some("x.yaml:1:1")), row(&long, Some("x.yaml:2:1"))];
        let text = render(&rows, &Style::PLAIN);
        assert_eq!(text, format!("  a  x.yaml:1:1\n  {long}  x.yaml:2:1\n"));
    }

    #[test]
    fn a_location_without_room_goes_to_the_next_line_of_a_terminal() {
        let rows = [row("a name that is long", Some("x.yaml:2:1"))];
        let narrow = Style { color: false, width: 24, wrap: true };
        assert_eq!(render(&rows, &narrow), "  a name that is long\n      x.yaml:2:1\n");
    }
}
