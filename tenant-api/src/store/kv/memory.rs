//! The store of a single process, for development: gone when it ends, and not shared with other instances.

use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream;
use tokio::sync::broadcast;

use super::{KeyValue, KvError, Result, Subscription, glob};

/// Above this number what is over is cleared away before a new key comes in.
const SWEEP_AT: usize = 10_000;

/// Messages that wait for a subscriber; of more it loses the oldest. Redis would end its connection.
const WAITING: usize = 1_000;

enum Value {
    Text(String),
    Hash(BTreeMap<String, String>),
}

struct Entry {
    value: Value,
    until: Option<Instant>,
}

/// Values of this process.
#[derive(Default)]
pub struct Memory {
    entries: Mutex<HashMap<String, Entry>>,
    channels: Mutex<HashMap<String, broadcast::Sender<String>>>,
}

type Entries<'a> = MutexGuard<'a, HashMap<String, Entry>>;

impl Memory {
    /// The entries, without this key's if its time is over.
    fn entries(&self, key: &str) -> Entries<'_> {
        // A panic while holding the lock leaves no half-made entry: each change is one insert or remove.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if entries.len() >= SWEEP_AT {
            entries.retain(|_, entry| !over(entry, now));
        }
        if entries.get(key).is_some_and(|entry| over(entry, now)) {
            entries.remove(key);
        }
        entries
    }

    /// The channels that somebody listens to.
    fn channels(&self) -> MutexGuard<'_, HashMap<String, broadcast::Sender<String>>> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|_, sender| sender.receiver_count() > 0);
        channels
    }

    /// What `read` finds in the hash at `key`; an empty one where there is none.
    fn hash<T: Send>(&self, key: &str, read: impl FnOnce(&BTreeMap<String, String>) -> T) -> Result<T> {
        match self.entries(key).get(key).map(|entry| &entry.value) {
            None => Ok(read(&BTreeMap::new())),
            Some(Value::Hash(fields)) => Ok(read(fields)),
            Some(Value::Text(_)) => Err(other_kind()),
        }
    }
}

fn over(entry: &Entry, now: Instant) -> bool {
    entry.until.is_some_and(|until| until <= now)
}

fn other_kind() -> KvError {
    KvError("the key holds a value of another kind".to_owned())
}

fn add_one(entries: &mut Entries<'_>, key: String, until: Instant) -> Result<u64> {
    let first = || Entry { value: Value::Text("0".to_owned()), until: Some(until) };
    let Value::Text(text) = &mut entries.entry(key).or_insert_with(first).value else {
        return Err(other_kind());
    };
    let sum = text.parse::<u64>().map_err(|_| other_kind())?.saturating_add(1);
    *text = sum.to_string();
    Ok(sum)
}

fn set_field(entries: &mut Entries<'_>, key: String, field: String, value: String) -> Result<bool> {
    let empty = || Entry { value: Value::Hash(BTreeMap::new()), until: None };
    match &mut entries.entry(key).or_insert_with(empty).value {
        Value::Hash(fields) => Ok(fields.insert(field, value).is_none()),
        Value::Text(_) => Err(other_kind()),
    }
}

impl KeyValue for Memory {
    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(ready(Ok(())))
    }

    fn get(&self, key: String) -> BoxFuture<'_, Result<Option<String>>> {
        let found = match self.entries(&key).get(&key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(Value::Hash(_)) => Err(other_kind()),
        };
        Box::pin(ready(found))
    }

    fn set(&self, key: String, value: String, ttl: Option<Duration>) -> BoxFuture<'_, Result<()>> {
        let until = ttl.map(|ttl| Instant::now() + ttl);
        self.entries(&key).insert(key, Entry { value: Value::Text(value), until });
        Box::pin(ready(Ok(())))
    }

    fn delete(&self, key: String) -> BoxFuture<'_, Result<bool>> {
        let there = self.entries(&key).remove(&key).is_some();
        Box::pin(ready(Ok(there)))
    }

    fn exists(&self, key: String) -> BoxFuture<'_, Result<bool>> {
        let there = self.entries(&key).contains_key(&key);
        Box::pin(ready(Ok(there)))
    }

    fn expire(&self, key: String, ttl: Duration) -> BoxFuture<'_, Result<bool>> {
        let until = Some(Instant::now() + ttl);
        let there = self.entries(&key).get_mut(&key).map(|entry| entry.until = until).is_some();
        Box::pin(ready(Ok(there)))
    }

    fn count(&self, key: String, window: Duration) -> BoxFuture<'_, Result<u64>> {
        let sum = add_one(&mut self.entries(&key), key, Instant::now() + window);
        Box::pin(ready(sum))
    }

    fn remaining(&self, key: String) -> BoxFuture<'_, Result<Option<Duration>>> {
        let until = self.entries(&key).get(&key).and_then(|entry| entry.until);
        Box::pin(ready(Ok(until.map(|until| until.saturating_duration_since(Instant::now())))))
    }

    fn keys(&self, prefix: String, pattern: String) -> BoxFuture<'_, Result<Vec<String>>> {
        let now = Instant::now();
        let entries = self.entries(&prefix);
        let fits = |key: &str| {
            key.strip_prefix(&prefix).is_some_and(|rest| glob::matches(pattern.as_bytes(), rest.as_bytes()))
        };
        let found = entries.iter().filter(|(key, entry)| fits(key) && !over(entry, now));
        let mut keys: Vec<String> = found.map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        Box::pin(ready(Ok(keys)))
    }

    fn hash_set(&self, key: String, field: String, value: String) -> BoxFuture<'_, Result<bool>> {
        let new = set_field(&mut self.entries(&key), key, field, value);
        Box::pin(ready(new))
    }

    fn hash_get(&self, key: String, field: String) -> BoxFuture<'_, Result<Option<String>>> {
        Box::pin(ready(self.hash(&key, |fields| fields.get(&field).cloned())))
    }

    fn hash_get_all(&self, key: String) -> BoxFuture<'_, Result<BTreeMap<String, String>>> {
        Box::pin(ready(self.hash(&key, Clone::clone)))
    }

    fn publish(&self, channel: String, message: String) -> BoxFuture<'_, Result<u64>> {
        // Nobody listens where sending fails.
        let heard = self.channels().get(&channel).map_or(0, |sender| sender.send(message).unwrap_or(0));
        Box::pin(ready(Ok(heard as u64)))
    }

    fn subscribe(&self, channel: String) -> BoxFuture<'_, Result<Subscription>> {
        let receiver = {
            let mut channels = self.channels();
            channels.entry(channel).or_insert_with(|| broadcast::channel(WAITING).0).subscribe()
        };
        let messages = stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(message) => return Some((message, receiver)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        Box::pin(ready(Ok(Subscription::new(messages))))
    }
}
