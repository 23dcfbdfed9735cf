//! Apply while it runs: live lines on a terminal, one plain line for each finished change in a pipe.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Out;
use super::human::sign;
use super::style::{Tone, printable};
use crate::apply::{Event, Observer, Outcome};
use crate::plan::{Change, Plan};
use crate::resource::Address;

/// How often a live line turns and its seconds count up.
const TICK: Duration = Duration::from_millis(120);

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
        let mut waits: BTreeSet<&Address> = BTreeSet::new();
        for change in &plan.changes {
            // In the order of the plan, so that what is needed has been judged already.
            if change.blocked.is_some() || change.needs.iter().any(|need| waits.contains(need)) {
                waits.insert(&change.address);
            }
        }
        let runs = || plan.changes.iter().filter(|change| !waits.contains(&change.address));
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
        bar.set_prefix(format!("{:verb$}  {address}", change.verb, verb = self.columns.0));
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

    /// `[3/12] + create  secret/database-url-dev  1.2s`
    fn line(&self, change: &Change, outcome: &Outcome, took: Duration, count: usize) -> String {
        let style = self.out.notes_style();
        let (mark, tone) = sign(change.action);
        let (verb, address) = self.columns;
        let total = self.total.to_string();
        let head = format!("[{count:>width$}/{total}]", width = total.len());
        let (word, tone) = match outcome {
            Outcome::Applied => ("", tone),
            Outcome::Failed(_) => ("  failed", Tone::Error),
            Outcome::Skipped(_) => ("  skipped", Tone::Warning),
            Outcome::Unknown => ("  unknown", Tone::Warning),
        };
        format!(
            "{} {}  {:address$}  {}{}",
            style.paint(Tone::Faint, &head),
            style.paint(tone, &format!("{mark} {:verb$}", change.verb)),
            printable(&change.address.to_string()),
            style.paint(Tone::Faint, &seconds(took)),
            style.paint(tone, word),
        )
    }
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
