//! The store of a single process, for development: gone when it ends, and not shared with other instances.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::{KeyValue, Result};

/// Above this number what is over is cleared away before a new key comes in.
const SWEEP_AT: usize = 10_000;

struct Entry {
    value: String,
    until: Option<Instant>,
}

/// Values of this process.
#[derive(Default)]
pub struct Memory(Mutex<HashMap<String, Entry>>);

impl Memory {
    /// The entries, without this key's if its time is over.
    fn entries(&self, key: &str) -> MutexGuard<'_, HashMap<String, Entry>> {
        // A panic while holding the lock leaves no half-made entry: each change is one insert or remove.
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if entries.len() >= SWEEP_AT {
            entries.retain(|_, entry| !over(entry, now));
        }
        if entries.get(key).is_some_and(|entry| over(entry, now)) {
            entries.remove(key);
        }
        entries
    }
}

fn over(entry: &Entry, now: Instant) -> bool {
    entry.until.is_some_and(|until| until <= now)
}

impl KeyValue for Memory {
    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(ready(Ok(())))
    }

    fn get(&self, key: String) -> BoxFuture<'_, Result<Option<String>>> {
        let value = self.entries(&key).get(&key).map(|entry| entry.value.clone());
        Box::pin(ready(Ok(value)))
    }

    fn set(&self, key: String, value: String, ttl: Option<Duration>) -> BoxFuture<'_, Result<()>> {
        let until = ttl.map(|ttl| Instant::now() + ttl);
        self.entries(&key).insert(key, Entry { value, until });
        Box::pin(ready(Ok(())))
    }

    fn delete(&self, key: String) -> BoxFuture<'_, Result<bool>> {
        let there = self.entries(&key).remove(&key).is_some();
        Box::pin(ready(Ok(there)))
    }

    fn count(&self, key: String, window: Duration) -> BoxFuture<'_, Result<u64>> {
        let mut entries = self.entries(&key);
        let until = Instant::now() + window;
        let entry = entries.entry(key).or_insert_with(|| Entry { value: "0".to_owned(), until: Some(until) });
        let sum = entry.value.parse::<u64>().unwrap_or(0).saturating_add(1);
        entry.value = sum.to_string();
        Box::pin(ready(Ok(sum)))
    }

    fn remaining(&self, key: String) -> BoxFuture<'_, Result<Option<Duration>>> {
        let until = self.entries(&key).get(&key).and_then(|entry| entry.until);
        Box::pin(ready(Ok(until.map(|until| until.saturating_duration_since(Instant::now())))))
    }

    fn keys(&self, prefix: String) -> BoxFuture<'_, Result<Vec<String>>> {
        let now = Instant::now();
        let entries = self.entries(&prefix);
        let found = entries.iter().filter(|(key, entry)| key.starts_with(&prefix) && !over(entry, now));
        let mut keys: Vec<String> = found.map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        Box::pin(ready(Ok(keys)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_is_gone_after_its_time() {
        let store = Memory::default();
        store.set("a".into(), "1".into(), Some(Duration::ZERO)).await.unwrap();
        store.set("b".into(), "2".into(), None).await.unwrap();
        assert_eq!(store.get("a".into()).await.unwrap(), None);
        assert_eq!(store.get("b".into()).await.unwrap().as_deref(), Some("2"));
        assert_eq!(store.keys(String::new()).await.unwrap(), ["b"]);
    }

    #[tokio::test]
    async fn counting_starts_again_after_the_window() {
        let store = Memory::default();
        assert_eq!(store.count("n".into(), Duration::from_mins(1)).await.unwrap(), 1);
        assert_eq!(store.count("n".into(), Duration::from_mins(1)).await.unwrap(), 2);
        assert!(store.remaining("n".into()).await.unwrap().is_some());
        assert_eq!(store.count("z".into(), Duration::ZERO).await.unwrap(), 1);
        assert_eq!(store.count("z".into(), Duration::ZERO).await.unwrap(), 1);
    }
}
