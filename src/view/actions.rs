//! What each action is called, counted as and coloured: the one place of the views that lists them all.

use super::style::Tone;
use crate::plan::{Action, Change, Plan};

/// How an action looks.
#[derive(Clone, Copy, Debug)]
pub struct Face {
    /// Stands before the change.
    pub sign: &'static str,
    pub tone: Tone,
    /// Objects that are made, changed and taken away.
    pub counts: [usize; 3],
    /// What drift calls it.
    pub drift: &'static str,
    /// Heading of the section in markdown; sections stand in the order of `rank`.
    pub heading: &'static str,
    /// How much a reviewer wants to see it: 0 comes first.
    pub rank: u8,
}

pub fn face(action: Action) -> Face {
    let new = |sign, tone, counts, drift, heading, rank| Face { sign, tone, counts, drift, heading, rank };
    match action {
        Action::Create => new("+", Tone::Added, [1, 0, 0], "missing", "To add", 4),
        Action::Update => new("~", Tone::Changed, [0, 1, 0], "differs", "To change", 2),
        Action::Restore => new("+", Tone::Added, [1, 0, 0], "deleted", "To restore", 3),
        Action::Replace => {
            new("-/+", Tone::Removed, [1, 0, 1], "differs", "To replace: deleted and made anew", 0)
        }
        Action::Delete => new("-", Tone::Removed, [0, 0, 1], "not declared", "To remove", 1),
    }
}

/// How many objects a plan makes, changes and takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub add: usize,
    pub change: usize,
    pub remove: usize,
}

impl Counts {
    pub fn of(plan: &Plan) -> Self {
        let mut counts = Self::default();
        plan.changes.iter().for_each(|change| counts.count(change));
        counts
    }

    /// One change more.
    pub fn count(&mut self, change: &Change) {
        let [add, change, remove] = face(change.action).counts;
        *self = self.plus(Self { add, change, remove });
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            add: self.add + more.add,
            change: self.change + more.change,
            remove: self.remove + more.remove,
        }
    }

    /// `1 to add, 0 to change, 2 to remove`
    pub fn in_words(self) -> String {
        let Self { add, change, remove } = self;
        format!("{add} to add, {change} to change, {remove} to remove")
    }
}

/// What drift calls a change.
pub fn drift_word(change: &Change) -> &'static str {
    if change.action == Action::Update && change.fields.is_empty() {
        return "not marked";
    }
    face(change.action).drift
}

/// Places where what exists is not as the YAML says: fields that differ, and objects too many or too few.
pub fn places(plan: &Plan) -> usize {
    plan.changes.iter().map(|change| change.fields.len().max(1)).sum()
}
