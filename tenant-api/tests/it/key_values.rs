//! The key-value store: the same rules in the process and in a real Redis, and no operation that waits for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all};
use tenant_api::domain::platform::PlatformAdmin;
use tenant_api::store::kv::{KeyValue, Memory, Redis, TenantKeys};
use uuid::Uuid;

use crate::servers;
use crate::wire::{Line, Wire};

const HOUR: Duration = Duration::from_hours(1);

/// Both stores; nobody else has the keys of a new tenant.
async fn stores() -> [Arc<dyn KeyValue>; 2] {
    [Arc::new(Memory::default()), Arc::new(Redis::open(&servers::redis().await.url()).unwrap())]
}

fn tenant(store: &Arc<dyn KeyValue>) -> TenantKeys {
    TenantKeys::of_any(store, PlatformAdmin::operator(), Uuid::new_v4())
}

/// Handles of a new tenant, one for each store.
async fn tenants() -> [TenantKeys; 2] {
    stores().await.map(|store| tenant(&store))
}

/// Waits until the time of a key is over.
async fn gone(keys: &TenantKeys, key: &str) {
    let started = Instant::now();
    while keys.exists(key).await.unwrap() {
        assert!(started.elapsed() < Duration::from_mins(1), "{key} stays");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_value_is_there_until_it_is_deleted() {
    for keys in tenants().await {
        assert_eq!((keys.get("a").await.unwrap(), keys.exists("a").await.unwrap()), (None, false));
        keys.set("a", "1", None).await.unwrap();
        keys.set("a", "2\0\u{1f600}", None).await.unwrap();
        assert_eq!(keys.get("a").await.unwrap().as_deref(), Some("2\0\u{1f600}"));
        assert!(keys.exists("a").await.unwrap());
        assert_eq!(keys.remaining("a").await.unwrap(), None);
        assert!(keys.delete("a").await.unwrap());
        assert!(!keys.delete("a").await.unwrap());
        assert_eq!(keys.get("a").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_time_ends_values_and_hashes() {
    let blink = Duration::from_millis(1);
    for keys in tenants().await {
        keys.set("a", "1", Some(HOUR)).await.unwrap();
        assert!(keys.remaining("a").await.unwrap().unwrap() <= HOUR);
        keys.set("b", "1", Some(blink)).await.unwrap();
        keys.hset("c", "f", "1").await.unwrap();
        assert!(keys.expire("c", HOUR).await.unwrap());
        assert!(keys.remaining("c").await.unwrap().is_some());
        assert!(keys.expire("c", blink).await.unwrap());
        gone(&keys, "b").await;
        gone(&keys, "c").await;
        assert!(!keys.expire("c", HOUR).await.unwrap());
        assert!(keys.hgetall("c").await.unwrap().is_empty());
        assert_eq!(keys.keys("*").await.unwrap(), ["a"]);
        // Setting again without a time keeps for ever.
        keys.set("a", "2", None).await.unwrap();
        assert_eq!(keys.remaining("a").await.unwrap(), None);
    }
}

#[tokio::test]
async fn counting_keeps_the_time_of_the_first() {
    for keys in tenants().await {
        assert_eq!(keys.count("n", HOUR).await.unwrap(), 1);
        assert_eq!(keys.count("n", Duration::from_millis(1)).await.unwrap(), 2);
        assert!(keys.remaining("n").await.unwrap().unwrap() > Duration::from_mins(1));
        assert_eq!(keys.get("n").await.unwrap().as_deref(), Some("2"));
        assert_eq!(keys.count("z", Duration::from_millis(1)).await.unwrap(), 1);
        gone(&keys, "z").await;
        assert_eq!(keys.count("z", HOUR).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn hashes_have_fields() {
    for keys in tenants().await {
        assert_eq!(keys.hget("h", "a").await.unwrap(), None);
        assert!(keys.hset("h", "a", "1").await.unwrap());
        assert!(!keys.hset("h", "a", "2").await.unwrap());
        assert!(keys.hset("h", "b", "").await.unwrap());
        assert_eq!(keys.hget("h", "a").await.unwrap().as_deref(), Some("2"));
        assert_eq!(keys.hget("h", "c").await.unwrap(), None);
        let all = [("a", "2"), ("b", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(keys.hgetall("h").await.unwrap(), all.into_iter().collect());
    }
}

#[tokio::test]
async fn what_is_of_another_kind_is_an_error() {
    for keys in tenants().await {
        keys.hset("h", "a", "1").await.unwrap();
        keys.set("t", "text", None).await.unwrap();
        assert!(keys.get("h").await.is_err() && keys.count("h", HOUR).await.is_err());
        assert!(keys.hget("t", "a").await.is_err() && keys.hgetall("t").await.is_err());
        assert!(keys.hset("t", "a", "1").await.is_err() && keys.count("t", HOUR).await.is_err());
        keys.set("h", "text now", None).await.unwrap();
        assert_eq!(keys.get("h").await.unwrap().as_deref(), Some("text now"));
    }
}

#[tokio::test]
async fn patterns_find_the_same_keys_in_both() {
    let names = ["a", "ab", "abc", "b:1", "b:2", "b:x", "a*", "a?", "a[b]", "a\\b", "\u{fc}", "-", "^", "]"];
    let patterns = [
        "*", "", "a", "a*", "?", "??", "*c", "a*c", "b:[12]", "b:[^12]", "b:[0-9]", "b:[9-0]", "[^a]*",
        "a\\*", "a\\?", "a\\[b\\]", "a[[]b]", "a\\\\b", "*b*", "**", "[", "[a", "[]", "[\\]]", "[\\^]", "\\",
        "a\\", "[a-", "[--^]", "b:?", "*[x]", "nothing",
    ];
    let [process, redis] = tenants().await;
    for keys in [&process, &redis] {
        for name in names {
            keys.set(name, "1", None).await.unwrap();
        }
    }
    let mut found = 0;
    for pattern in patterns {
        let (here, there) = (process.keys(pattern).await.unwrap(), redis.keys(pattern).await.unwrap());
        assert_eq!(here, there, "{pattern}");
        found += here.len();
    }
    assert!(found > 50, "{found}");
}

#[tokio::test]
async fn no_pattern_and_no_name_reaches_another_tenant() {
    for store in stores().await {
        let (mine, theirs) = (tenant(&store), tenant(&store));
        theirs.set("secret", "1", None).await.unwrap();
        theirs.hset("hash", "secret", "1").await.unwrap();
        mine.set("own", "1", None).await.unwrap();
        for pattern in
            ["*", "?*", "*secret", "[^o]*", "../*", "*:*", "\n*", "*\0*", "]*", "\\*", "t:*", "*t:*", ""]
        {
            let found = mine.keys(pattern).await.unwrap();
            assert!(found.iter().all(|key| key == "own"), "{pattern}: {found:?}");
        }
        for name in ["secret", "*", "*:secret", "../secret", "hash"] {
            assert_eq!(mine.get(name).await.unwrap(), None);
            assert!(!mine.exists(name).await.unwrap() && !mine.delete(name).await.unwrap());
            assert!(!mine.expire(name, HOUR).await.unwrap() && mine.hgetall(name).await.unwrap().is_empty());
        }
        mine.clear().await.unwrap();
        assert!(mine.keys("*").await.unwrap().is_empty());
        assert_eq!(theirs.keys("*").await.unwrap(), ["hash", "secret"]);
    }
}

#[tokio::test]
async fn messages_reach_the_subscribers_of_the_tenant_only() {
    for store in stores().await {
        let (mine, theirs) = (tenant(&store), tenant(&store));
        assert_eq!(mine.publish("news", "too early").await.unwrap(), 0);
        let (mut first, mut second) =
            (mine.subscribe("news").await.unwrap(), mine.subscribe("news").await.unwrap());
        let (mut starred, mut other) =
            (mine.subscribe("*").await.unwrap(), theirs.subscribe("news").await.unwrap());
        assert_eq!(mine.publish("news", "one").await.unwrap(), 2);
        assert_eq!(mine.publish("news", "two").await.unwrap(), 2);
        assert_eq!(theirs.publish("news", "theirs").await.unwrap(), 1);
        assert_eq!(mine.publish("*", "starred").await.unwrap(), 1);
        for subscription in [&mut first, &mut second] {
            assert_eq!(subscription.next().await.as_deref(), Some("one"));
            assert_eq!(subscription.next().await.as_deref(), Some("two"));
        }
        assert_eq!(other.next().await.as_deref(), Some("theirs"));
        assert_eq!(starred.next().await.as_deref(), Some("starred"));
    }
}

#[tokio::test]
async fn redis_has_the_names_of_the_contract() {
    let [_, store] = stores().await;
    let id = Uuid::new_v4();
    let keys = TenantKeys::of_any(&store, PlatformAdmin::operator(), id);
    let mut news = keys.subscribe("news").await.unwrap();
    keys.hset("hash", "a", "1").await.unwrap();
    let client = redis::Client::open(servers::redis().await.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let (channel, hash) = (format!("t:{id}:news"), format!("t:{id}:hash"));
    let heard: u64 = redis::cmd("PUBLISH").arg(channel).arg("x").query_async(&mut connection).await.unwrap();
    assert_eq!((heard, news.next().await.as_deref()), (1, Some("x")));
    let value: String = redis::cmd("HGET").arg(hash).arg("a").query_async(&mut connection).await.unwrap();
    assert_eq!(value, "1");
}

#[tokio::test]
async fn no_operation_waits_for_a_frozen_redis() {
    let wire = Wire::to(servers::redis().await.port()).await;
    let url = servers::through(wire.port, &servers::redis().await.url());
    let store: Arc<dyn KeyValue> = Arc::new(Redis::open(&url).unwrap());
    let keys = tenant(&store);
    keys.set("a", "1", None).await.unwrap();
    wire.set(Line::Frozen);
    let operations: [(&str, BoxFuture<'_, bool>); 14] = [
        ("ping", Box::pin(async { store.ping().await.is_err() })),
        ("get", Box::pin(async { keys.get("a").await.is_err() })),
        ("set", Box::pin(async { keys.set("a", "2", Some(HOUR)).await.is_err() })),
        ("delete", Box::pin(async { keys.delete("a").await.is_err() })),
        ("exists", Box::pin(async { keys.exists("a").await.is_err() })),
        ("expire", Box::pin(async { keys.expire("a", HOUR).await.is_err() })),
        ("count", Box::pin(async { keys.count("n", HOUR).await.is_err() })),
        ("remaining", Box::pin(async { keys.remaining("a").await.is_err() })),
        ("keys", Box::pin(async { keys.keys("*").await.is_err() })),
        ("hset", Box::pin(async { keys.hset("h", "a", "1").await.is_err() })),
        ("hget", Box::pin(async { keys.hget("h", "a").await.is_err() })),
        ("hgetall", Box::pin(async { keys.hgetall("h").await.is_err() })),
        ("publish", Box::pin(async { keys.publish("c", "m").await.is_err() })),
        ("subscribe", Box::pin(async { keys.subscribe("c").await.is_err() })),
    ];
    let started = Instant::now();
    let ended = operations.map(|(name, operation)| async move { assert!(operation.await, "{name}") });
    join_all(ended).await;
    // Not a measurement: without limits of our own this would never end.
    assert!(started.elapsed() < Duration::from_secs(30));
    wire.set(Line::Whole);
}
