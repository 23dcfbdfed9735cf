//! The store in Redis, which all instances share.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, ready};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands as _, Client, RedisError, Script};

use super::{KeyValue, KvError, Result, Subscription};

/// Longest wait for an answer or a connection. A frozen Redis must not freeze requests.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Keys looked at in one step of a walk.
const STEP: usize = 500;

/// A counter and its time belong together: without this a crash in between would leave a counter for ever.
const COUNT: &str = "local n = redis.call('INCR', KEYS[1]) \
                     if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end \
                     return n";

/// One connection that all requests share, made again by itself when it breaks. Subscriptions have connections of their own.
pub struct Redis {
    client: Client,
    connection: ConnectionManager,
    count: Script,
}

impl Redis {
    /// Checks the address; connects when first used.
    pub fn open(url: &str) -> Result<Self> {
        let client = Client::open(url).map_err(|error| failed(&error))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(100));
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config)
            .map_err(|error| failed(&error))?;
        Ok(Self { client, connection, count: Script::new(COUNT) })
    }
}

fn failed(error: &RedisError) -> KvError {
    KvError(crate::error_chain(error))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Bounds a whole operation, connecting and trying again included.
async fn in_time<T>(work: impl Future<Output = std::result::Result<T, RedisError>>) -> Result<T> {
    match tokio::time::timeout(2 * TIMEOUT, work).await {
        Ok(done) => done.map_err(|error| failed(&error)),
        Err(_) => Err(KvError("no answer in time".to_owned())),
    }
}

impl KeyValue for Redis {
    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        let mut connection = self.connection.clone();
        Box::pin(in_time(async move { redis::cmd("PING").query_async::<()>(&mut connection).await }))
    }

    fn get(&self, key: String) -> BoxFuture<'_, Result<Option<String>>> {
        let mut connection = self.connection.clone();
        Box::pin(in_time(async move { connection.get(key).await }))
    }

    fn set(&self, key: String, value: String, ttl: Option<Duration>) -> BoxFuture<'_, Result<()>> {
        let mut connection = self.connection.clone();
        Box::pin(in_time(async move {
            match ttl {
                Some(ttl) => connection.pset_ex(key, value, milliseconds(ttl)).await,
                None => connection.set(key, value).await,
            }
        }))
    }

    fn delete(&self, key: String) -> BoxFuture<'_, Result<bool>> {
        let mut connection = self.connection.clone();
        Box::pin(in_time(async move { connection.del(key).await }))
    }

    fn exists(&self, key: String) -> BoxFuture<'_, Result<bool>> {
        let mut connection = self.connection.clone();
        Box::pin(in_time(async move { connection.exists(key).await }))
    }

    fn expire(&self, key: String, ttl: Duration) -> BoxFuture<'_, Result<bool>> {
        let mut connection = self.connection.clone();
        let time = i64::try_from(milliseconds(ttl)).unwrap_or(i64::MAX);
        Box::pin(in_time(async move { connection.pexpire(key, time).await }))
    }

    fn count(&self, key: String, window: Duration) -> BoxFuture<'_, Result<u64>> {
        let mut connection = self.connection.clone();
        Box::pin(in_time(async move {
            self.count.key(key).arg(milliseconds(window)).invoke_async(&mut connection).await
        }))
    }

    fn remaining(&self, key: String) -> BoxFuture<'_, Result<Option<Duration>>> {
        let mut connection = self.connection.clone();
        Box::pin(in_time(async move {
            // Negative: no such key, or one without an end.
            let left: i64 = connection.pttl(key).await?;
            Ok(u64::try_from(left).ok().map(Duration::from_millis))
        }))
    }

    fn keys(&self, prefix: String, pattern: String) -> BoxFuture<'_, Result<Vec<String>>> {
        let mut connection = self.connection.clone();
        Box::pin(async move {
            let pattern = format!("{}{pattern}", escaped(&prefix));
            let (mut cursor, mut keys) = (0_u64, Vec::new());
            loop {
                let step = redis::cmd("SCAN")
                    .arg(cursor)
                    .arg("MATCH")
                    .arg(&pattern)
                    .arg("COUNT")
                    .arg(STEP)
                    .to_owned();
                let (next, found): (u64, Vec<String>) = in_time(step.query_async(&mut connection)).await?;
                keys.extend(found);
                cursor = next;
                if cursor == 0 {
                    // A walk may meet a key twice.
                    keys.sort_unstable();
                    keys.dedup();
                    return Ok(keys);
                }
            }
        })
    }

    fn hash_set(&self, key: String, field: String, value: String) -> BoxFuture<'_, Result<bool>> {
        let mut connection = self.connection.clone();
        Box::pin(in_time(async move { connection.hset(key, field, value).await }))
    }

    fn hash_get(&self, key: String, field: String) -> BoxFuture<'_, Result<Option<String>>> {
        let mut connection = self.connection.clone();
        Box::pin(in_time(async move { connection.hget(key, field).await }))
    }

    fn hash_get_all(&self, key: String) -> BoxFuture<'_, Result<BTreeMap<String, String>>> {
        let mut connection = self.connection.clone();
        Box::pin(in_time(async move { connection.hgetall(key).await }))
    }

    fn publish(&self, channel: String, message: String) -> BoxFuture<'_, Result<u64>> {
        let mut connection = self.connection.clone();
        Box::pin(in_time(async move { connection.publish(channel, message).await }))
    }

    fn subscribe(&self, channel: String) -> BoxFuture<'_, Result<Subscription>> {
        Box::pin(async move {
            let subscribed = in_time(async {
                let mut connection = self.client.get_async_pubsub().await?;
                connection.subscribe(channel).await?;
                Ok(connection)
            });
            // What is no text was not published here.
            let messages = subscribed.await?.into_on_message();
            Ok(Subscription::new(messages.filter_map(|message| ready(message.get_payload().ok()))))
        })
    }
}

/// A text that Redis' patterns take literally.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut done, c| {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            done.push('\\');
        }
        done.push(c);
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_literally() {
        assert_eq!(escaped("t:*[a]"), "t:\\*\\[a\\]");
    }
}
