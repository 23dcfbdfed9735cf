//! Apply while it runs: live lines on a terminal, one plain line for each finished change in a pipe.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Out;
use super::actions::face;
use super::grouping::waiting;
use super::style::{Style, Tone, printable};
use crate::apply::{Event, Observer, Outcome};
use crate::plan::{Change, Plan};
use crate::resource::Address;

/// How often a live line turns and its seconds count up.
const TICK: Duration = Duration::from_millis(120);

/// Columns of a live line around its name: the sign that turns, the time, and blanks.
const AROUND: usize = 16;

/// Shows what apply does, on standard error.
pub struct Progress {
    out: Out,
    /// Width of the verbs and of the addresses.
    columns: (usize, usize),
    total: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    finished: usize,
    running: BTreeMap<Address, ProgressBar>,
}

impl Progress {
    pub(super) fn new(out: Out, plan: &Plan) -> Self {
        let waits = waiting(plan);
        let runs = || plan.changes.iter().filter(|change| !waits.contains_key(&change.address));
        let verb = runs().map(|change| change.verb.len()).max().unwrap_or(0);
        let address =
            runs().map(|change| change.address.to_string().chars().count()).filter(|length| *length <= 52);
        Self {
            columns: (verb, address.max().unwrap_or(0)),
            total: runs().count(),
            state: Mutex::default(),
            out,
        }
    }

    /// Takes the live lines away; what is still running stays unfinished.
    pub fn finish(&self) {
        for bar in std::mem::take(&mut self.state().running).into_values() {
            bar.finish_and_clear();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self, change: &Change) {
        if !self.out.live() {
            return;
        }
        let bar = self.out.bars().add(ProgressBar::new_spinner());
        // A template of our own without mistakes; the default would do as well.
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {prefix}  {elapsed} {wide_msg}") {
            bar.set_style(style.tick_chars("-\\|/ "));
        }
        let address = printable(&change.address.to_string());
        let prefix = format!("{:verb$}  {address}", change.verb, verb = self.columns.0);
        bar.set_prefix(shortened(&prefix, self.out.notes_style().width.saturating_sub(AROUND)));
        bar.enable_steady_tick(TICK);
        self.state().running.insert(change.address.clone(), bar);
    }

    fn waiting(&self, change: &Change, text: &str) {
        if let Some(bar) = self.state().running.get(&change.address) {
            bar.set_message(printable(text));
        }
    }

    fn finished(&self, change: &Change, outcome: &Outcome, took: Duration) {
        let count = {
            let mut state = self.state();
            if let Some(bar) = state.running.remove(&change.address) {
                bar.finish_and_clear();
                self.out.bars().remove(&bar);
            }
            state.finished += 1;
            state.finished
        };
        self.out.status(&self.line(change, outcome, took, count));
    }

    /// `[3/12] + create  secret/database-url-dev  1.2s`; where a terminal has no room for that, without
    /// columns and broken between words.
    fn line(&self, change: &Change, outcome: &Outcome, took: Duration, count: usize) -> String {
        let style = self.out.notes_style();
        let face = face(change.action);
        let (verb, address) = self.columns;
        let total = self.total.to_string();
        let head = format!("[{count:>width$}/{total}]", width = total.len());
        let (word, tone) = match outcome {
            Outcome::Applied => ("", face.tone),
            Outcome::Failed(_) => ("failed", Tone::Error),
            Outcome::RolledBack(_) => ("rolled back", Tone::Error),
            Outcome::Skipped(_) => ("skipped", Tone::Warning),
            Outcome::Unknown => ("unknown", Tone::Warning),
        };
        let name = printable(&change.address.to_string());
        let pieces = [
            (Tone::Faint, head),
            (tone, format!("{} {:verb$}", face.sign, change.verb)),
            (Tone::Plain, format!(" {name:address$}")),
            (Tone::Faint, format!(" {}", seconds(took))),
            (tone, if word.is_empty() { String::new() } else { format!(" {word}") }),
        ];
        if style.wrap
            && pieces.iter().map(|(_, piece)| piece.chars().count() + 1).sum::<usize>() > style.width
        {
            return narrow(&pieces, style);
        }
        let painted: Vec<_> = pieces.iter().map(|(tone, piece)| style.paint(*tone, piece)).collect();
        painted.join(" ").trim_end().to_owned()
    }
}

/// The pieces in lines that the terminal does not break: between pieces, and in names behind `/` and `:`.
fn narrow(pieces: &[(Tone, String)], style: &Style) -> String {
    const INDENT: usize = 4;
    let (mut text, mut column) = (String::new(), 0);
    for (tone, piece) in pieces {
        for (at, part) in piece.trim().split_inclusive(['/', ':']).enumerate() {
            let length = part.chars().count();
            let space = usize::from(at == 0 && column > 0);
            if column > INDENT && column + space + length > style.width {
                text.push_str("\n    ");
                column = INDENT;
            } else if space == 1 {
                text.push(' ');
                column += 1;
            }
            text.push_str(&style.paint(*tone, part));
            column += length;
        }
    }
    text
}

/// At most `width` characters: a live line that wraps would not be taken away whole.
fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(3)).collect();
    format!("{kept}...")
}

/// `0.4s`, `12.0s`, `3m05s`
fn seconds(took: Duration) -> String {
    if took.as_secs() < 60 {
        return format!("{:.1}s", took.as_secs_f64());
    }
    format!("{}m{:02}s", took.as_secs() / 60, took.as_secs() % 60)
}

impl Observer for Progress {
    fn on(&self, event: Event<'_>) {
        match event {
            Event::Started(change) => self.started(change),
            Event::Waiting(change, text) => self.waiting(change, text),
            Event::Finished(change, outcome, took) => self.finished(change, outcome, took),
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("total", &self.total).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_breaks_a_finished_line_between_words() {
        let pieces = [
            (Tone::Faint, "[ 3/12]".to_owned()),
            (Tone::Added, "+ grant".to_owned()),
            (Tone::Plain, " secret_grant/database-url-dev:secretAccessor:api   ".to_owned()),
            (Tone::Faint, " 1.2s".to_owned()),
        ];
        let style = Style { width: 30, wrap: true, ..Style::PLAIN };
        insta::assert_snapshot!(narrow(&pieces, &style), @r"
        [ 3/12] + grant secret_grant/
            database-url-dev:
            secretAccessor:api 1.2s
        ");
    }

    #[test]
    fn a_live_line_is_no_wider_than_the_terminal() {
        assert_eq!(shortened("create  secret/a", 16), "create  secret/a");
        assert_eq!(shortened("create  secret/long", 16), "create  secre...");
    }
}
