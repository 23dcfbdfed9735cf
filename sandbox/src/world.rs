//! The whole state of the sandbox: documents by collection and name, and what chance and time need.
//!
//! Handlers are synchronous functions on a `&mut World`. Every change is noted, so that the changes of one request
//! are either journalled together or taken back together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Apis;
use crate::clock::{Clock, SystemClock};
use crate::error::Status;
use crate::iam;
use crate::operations;
use crate::store::{Journal, Mutation, StoreError};
use crate::tokens::Tokens;

/// The counters, journalled beside the documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests so far.
    pub tick: u64,
    /// The last number that `next_id` gave.
    pub ids: u64,
    /// State of the generator of pseudo-random numbers.
    pub rng: u64,
}

/// An instant as Google writes it: RFC 3339 in UTC with microseconds and `Z`. Texts of this form sort by time.
pub fn written(instant: jiff::Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// A change that can be taken back.
struct Undo {
    collection: String,
    name: String,
    before: Option<Value>,
}

/// What a fault on demand does to the operation that the current call starts.
#[derive(Debug, Clone, Default)]
pub struct OperationFault {
    pub fails: Option<Status>,
    pub polls: Option<u64>,
}

/// The state.
pub struct World {
    docs: BTreeMap<String, BTreeMap<String, Value>>,
    counters: Counters,
    noted: Vec<Undo>,
    pub(crate) open_operations: BTreeSet<String>,
    pub(crate) operation_fault: OperationFault,
    /// Whether the etag of what the next call is about moves before it: a fault on demand.
    pub(crate) move_etag: bool,
    journal: Option<Journal>,
    clock: Arc<dyn Clock>,
    pub(crate) seeds: BTreeMap<String, u64>,
    pub(crate) apis: Apis,
    pub(crate) tokens: Tokens,
}

impl fmt::Debug for World {
    // Payloads of secrets are among the documents, so those stay out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl World {
    /// An empty world that forgets everything at the end.
    pub fn in_memory(seed: u64, apis: Apis) -> Self {
        Self {
            docs: BTreeMap::new(),
            counters: Counters { rng: seed, ..Counters::default() },
            noted: Vec::new(),
            open_operations: BTreeSet::new(),
            operation_fault: OperationFault::default(),
            move_etag: false,
            journal: None,
            clock: Arc::new(SystemClock),
            seeds: BTreeMap::new(),
            apis,
            tokens: Tokens::default(),
        }
    }

    /// The same world kept in `journal`, starting from what the journal holds.
    pub(crate) fn with_journal(mut self, mut journal: Journal) -> Self {
        let (docs, counters) = journal.take();
        self.docs = docs;
        if let Some(counters) = counters {
            self.counters = counters;
        }
        self.open_operations = operations::unfinished(&self);
        operations::forget_old(&mut self);
        self.journal = Some(journal);
        self
    }

    /// The same world with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A document by its full resource name.
    pub fn doc(&self, collection: &str, name: &str) -> Option<&Value> {
        self.docs.get(collection)?.get(name)
    }

    /// Stores a document.
    pub fn put(&mut self, collection: &str, name: &str, doc: Value) {
        let before = self.set(collection, name, Some(doc));
        self.noted.push(Undo { collection: collection.to_owned(), name: name.to_owned(), before });
    }

    /// Takes a document out.
    pub fn remove(&mut self, collection: &str, name: &str) -> Option<Value> {
        let before = self.set(collection, name, None)?;
        self.noted.push(Undo {
            collection: collection.to_owned(),
            name: name.to_owned(),
            before: Some(before.clone()),
        });
        Some(before)
    }

    /// The documents of a collection whose names start with `prefix`, sorted by name.
    pub fn list<'a>(
        &'a self,
        collection: &str,
        prefix: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let start = prefix.to_owned();
        self.docs
            .get(collection)
            .into_iter()
            .flat_map(move |docs| {
                let prefix = start.clone();
                docs.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded))
                    .take_while(move |(name, _)| name.starts_with(&prefix))
            })
            .map(|(name, doc)| (name.as_str(), doc))
    }

    /// The names of the collections that hold anything.
    pub(crate) fn collections(&self) -> impl Iterator<Item = &str> {
        self.docs.keys().map(String::as_str)
    }

    fn set(&mut self, collection: &str, name: &str, doc: Option<Value>) -> Option<Value> {
        if collection == operations::COLLECTION {
            if doc.as_ref().is_some_and(operations::is_open) {
                self.open_operations.insert(name.to_owned());
            } else {
                self.open_operations.remove(name);
            }
        }
        match doc {
            Some(doc) => self.docs.entry(collection.to_owned()).or_default().insert(name.to_owned(), doc),
            None => self.docs.get_mut(collection)?.remove(name),
        }
    }

    /// The time, as [`written`].
    pub fn now(&self) -> String {
        written(self.instant())
    }

    /// The time as an instant.
    pub fn instant(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// A number that no earlier call gave.
    pub fn next_id(&mut self) -> u64 {
        self.counters.ids += 1;
        self.counters.ids
    }

    /// A pseudo-random number of the seeded sequence (SplitMix64).
    pub fn random(&mut self) -> u64 {
        self.counters.rng = self.counters.rng.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.counters.rng;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A pseudo-random number from `low` to `high`, both included.
    pub fn random_between(&mut self, low: u64, high: u64) -> u64 {
        low + self.random() % (high.saturating_sub(low) + 1)
    }

    /// A pseudo-random UUID (version 4 layout).
    pub fn uuid(&mut self) -> String {
        let (high, low) = (self.random(), self.random());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff
        )
    }

    /// The number of requests so far.
    pub fn tick(&self) -> u64 {
        self.counters.tick
    }

    pub(crate) fn advance(&mut self) {
        self.counters.tick += 1;
    }

    /// An etag that no object had before: quoted base64 as Cloud Run and Secret Manager write theirs.
    pub fn fresh_etag(&mut self) -> String {
        let (id, noise) = (self.next_id(), self.random());
        let bytes = [id.to_be_bytes(), noise.to_be_bytes()].concat();
        format!("\"{}\"", base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    /// Runs `change`; takes back all it did when it fails, because a refused call changes nothing.
    pub fn attempt<T, E>(&mut self, change: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let mark = self.noted.len();
        let answer = change(self);
        if answer.is_err() {
            while self.noted.len() > mark
                && let Some(undo) = self.noted.pop()
            {
                self.set(&undo.collection, &undo.name, undo.before);
            }
        }
        answer
    }

    /// Journals what changed since the last call, as one line. Nothing is written when nothing changed.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        if self.noted.is_empty() {
            return Ok(());
        }
        let mut changed: BTreeSet<(String, String)> = BTreeSet::new();
        for undo in self.noted.drain(..) {
            changed.insert((undo.collection, undo.name));
        }
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let docs = &self.docs;
        let mutations: Vec<Mutation<'_>> = changed
            .iter()
            .map(|(collection, name)| Mutation {
                collection,
                name,
                doc: docs.get(collection).and_then(|docs| docs.get(name)),
            })
            .collect();
        journal.append(self.counters, &mutations)
    }

    /// Moves the etag of a document as somebody else's change would, wherever it is kept.
    pub(crate) fn touch(&mut self, name: &str) {
        let holders: Vec<String> = self
            .docs
            .iter()
            .filter(|(collection, _)| *collection != iam::POLICIES)
            .filter(|(_, docs)| docs.get(name).is_some_and(|doc| doc["etag"].is_string()))
            .map(|(collection, _)| collection.clone())
            .collect();
        for collection in holders {
            let etag = self.fresh_etag();
            if let Some(mut doc) = self.doc(&collection, name).cloned() {
                doc["etag"] = Value::String(etag);
                self.put(&collection, name, doc);
            }
        }
    }

    /// Forgets every document and token; projects come back at their next use.
    pub(crate) fn reset(&mut self) {
        self.tokens.forget();
        let names: Vec<(String, String)> = self
            .docs
            .iter()
            .flat_map(|(collection, docs)| docs.keys().map(|name| (collection.clone(), name.clone())))
            .collect();
        for (collection, name) in names {
            self.remove(&collection, &name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refused_change_leaves_nothing_behind() {
        let mut world = World::in_memory(1, Apis::All);
        world.put("things", "a", json!(1));
        let answer: Result<(), Status> = world.attempt(|world| {
            world.put("things", "a", json!(2));
            world.put("things", "b", json!(3));
            world.remove("things", "a");
            Err(Status::internal("no"))
        });
        assert!(answer.is_err());
        assert_eq!(world.doc("things", "a"), Some(&json!(1)));
        assert_eq!(world.doc("things", "b"), None);
    }

    #[test]
    fn lists_are_sorted_and_end_with_the_prefix() {
        let mut world = World::in_memory(1, Apis::All);
        for name in ["a/2", "a/1", "b/1"] {
            world.put("things", name, json!(name));
        }
        let names: Vec<_> = world.list("things", "a/").map(|(name, _)| name).collect();
        assert_eq!(names, ["a/1", "a/2"]);
    }

    #[test]
    fn the_same_seed_gives_the_same_chance() {
        let (mut one, mut two) = (World::in_memory(7, Apis::All), World::in_memory(7, Apis::All));
        assert_eq!(one.uuid(), two.uuid());
        assert_eq!(one.fresh_etag(), two.fresh_etag());
        assert_ne!(one.fresh_etag(), two.uuid());
    }
}
