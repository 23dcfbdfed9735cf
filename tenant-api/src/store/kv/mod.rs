//! Counters, marks and short-lived values: in Redis, or in this process where there is none.
//!
//! Keys of tenants are only made by [`TenantKeys`], so that no tenant's key can be reached without its scope.

mod glob;
mod memory;
mod redis;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use uuid::Uuid;

use super::unit::TenantScope;
use crate::domain::platform::PlatformAdmin;
use crate::settings::Settings;

pub use memory::Memory;
pub use redis::Redis;

/// Why the store did not do what was asked. Its text may name hosts: for logs only.
#[derive(Debug, thiserror::Error)]
#[error("the key-value store does not answer: {0}")]
pub struct KvError(pub String);

pub type Result<T> = std::result::Result<T, KvError>;

/// The operations. Every one ends in time, whatever the server does.
pub trait KeyValue: Send + Sync {
    fn ping(&self) -> BoxFuture<'_, Result<()>>;
    fn get(&self, key: String) -> BoxFuture<'_, Result<Option<String>>>;
    /// Without `ttl` the value stays.
    fn set(&self, key: String, value: String, ttl: Option<Duration>) -> BoxFuture<'_, Result<()>>;
    /// Returns whether there was such a key.
    fn delete(&self, key: String) -> BoxFuture<'_, Result<bool>>;
    fn exists(&self, key: String) -> BoxFuture<'_, Result<bool>>;
    /// Gives a key this much time from now. Returns whether there is such a key.
    fn expire(&self, key: String, ttl: Duration) -> BoxFuture<'_, Result<bool>>;
    /// Adds one, and returns the sum. The first one starts the time after which the counter is gone.
    fn count(&self, key: String, window: Duration) -> BoxFuture<'_, Result<u64>>;
    /// Time that a key has left; `None` if it does not exist or stays.
    fn remaining(&self, key: String) -> BoxFuture<'_, Result<Option<Duration>>>;
    /// All keys that begin with exactly `prefix` and go on with the pattern, in order. Walks in steps and never blocks the server.
    fn keys(&self, prefix: String, pattern: String) -> BoxFuture<'_, Result<Vec<String>>>;
    /// Returns whether the field is new.
    fn hash_set(&self, key: String, field: String, value: String) -> BoxFuture<'_, Result<bool>>;
    fn hash_get(&self, key: String, field: String) -> BoxFuture<'_, Result<Option<String>>>;
    /// Empty if there is no such hash.
    fn hash_get_all(&self, key: String) -> BoxFuture<'_, Result<BTreeMap<String, String>>>;
    /// Returns how many subscribers got the message.
    fn publish(&self, channel: String, message: String) -> BoxFuture<'_, Result<u64>>;
    /// Messages that are published after this is done.
    fn subscribe(&self, channel: String) -> BoxFuture<'_, Result<Subscription>>;
}

/// Messages of one channel as they come in. Nothing is kept for a subscriber that is not there.
pub struct Subscription(BoxStream<'static, String>);

impl Subscription {
    fn new(messages: impl Stream<Item = String> + Send + 'static) -> Self {
        Self(messages.boxed())
    }

    /// Waits for the next message, however long that takes. `None` if the connection is lost: what was published since then is too.
    pub async fn next(&mut self) -> Option<String> {
        self.0.next().await
    }
}

/// Opens the store that the settings name. Redis is connected when it is first needed.
pub fn open(settings: &Settings) -> Result<Arc<dyn KeyValue>> {
    match &settings.redis_url {
        Some(url) => Ok(Arc::new(Redis::open(url)?)),
        None => Ok(Arc::new(Memory::default())),
    }
}

/// The keys and channels of one tenant, `t:{tenant_id}:{key}`.
#[derive(Clone)]
pub struct TenantKeys {
    store: Arc<dyn KeyValue>,
    prefix: String,
}

impl TenantKeys {
    pub fn new(store: &Arc<dyn KeyValue>, scope: &TenantScope) -> Self {
        Self { store: Arc::clone(store), prefix: format!("t:{}:", scope.id()) }
    }

    /// The keys of any tenant, for those who manage tenants: one that was deleted has no scope any more.
    pub fn of_any(store: &Arc<dyn KeyValue>, _: PlatformAdmin, tenant: Uuid) -> Self {
        Self { store: Arc::clone(store), prefix: format!("t:{tenant}:") }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub async fn get(&self, key: &str) -> Result<Option<String>> {
        self.store.get(self.key(key)).await
    }

    pub async fn set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<()> {
        self.store.set(self.key(key), value.to_owned(), ttl).await
    }

    pub async fn delete(&self, key: &str) -> Result<bool> {
        self.store.delete(self.key(key)).await
    }

    pub async fn exists(&self, key: &str) -> Result<bool> {
        self.store.exists(self.key(key)).await
    }

    pub async fn expire(&self, key: &str, ttl: Duration) -> Result<bool> {
        self.store.expire(self.key(key), ttl).await
    }

    pub async fn count(&self, key: &str, window: Duration) -> Result<u64> {
        self.store.count(self.key(key), window).await
    }

    pub async fn remaining(&self, key: &str) -> Result<Option<Duration>> {
        self.store.remaining(self.key(key)).await
    }

    /// The tenant's keys with this pattern of Redis (`*`, `?`, `[a-z]`, `\\`), without the tenant's prefix, in order. Whatever the
    /// pattern, the prefix before it is taken literally.
    pub async fn keys(&self, pattern: &str) -> Result<Vec<String>> {
        let keys = self.store.keys(self.prefix.clone(), pattern.to_owned()).await?;
        Ok(keys.into_iter().filter_map(|key| key.strip_prefix(&self.prefix).map(str::to_owned)).collect())
    }

    pub async fn hset(&self, key: &str, field: &str, value: &str) -> Result<bool> {
        self.store.hash_set(self.key(key), field.to_owned(), value.to_owned()).await
    }

    pub async fn hget(&self, key: &str, field: &str) -> Result<Option<String>> {
        self.store.hash_get(self.key(key), field.to_owned()).await
    }

    pub async fn hgetall(&self, key: &str) -> Result<BTreeMap<String, String>> {
        self.store.hash_get_all(self.key(key)).await
    }

    /// Publishes on the tenant's channel of this name. Returns how many subscribers got the message.
    pub async fn publish(&self, channel: &str, message: &str) -> Result<u64> {
        self.store.publish(self.key(channel), message.to_owned()).await
    }

    pub async fn subscribe(&self, channel: &str) -> Result<Subscription> {
        self.store.subscribe(self.key(channel)).await
    }

    /// Forgets everything of the tenant.
    pub async fn clear(&self) -> Result<()> {
        for key in self.keys("*").await? {
            self.delete(&key).await?;
        }
        Ok(())
    }
}
