//! Servers that stop, freeze and come back, and a proxy in between.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::Api;
use crate::servers;
use crate::wire::{Line, Wire};

const ME: &str = "/api/v1/auth/me";

#[tokio::test]
async fn tenants_stay_apart_behind_a_proxy_that_pools_transactions() {
    let api = Api::through(servers::pgbouncer().await.port()).await;
    let (one, two) = (api.tenant("one").await, api.tenant("two").await);
    let (first, second) =
        (api.login(&one, "a@one.example", "admin").await, api.login(&two, "b@two.example", "admin").await);
    let rounds = (0..20).map(async |_| {
        let none = Value::Null;
        let (mine, theirs) = tokio::join!(
            api.call(&first.access, "GET", "/api/v1/users", &none),
            api.call(&second.access, "GET", "/api/v1/users", &none),
        );
        assert_eq!(mine.expect(200).body[0]["email"], "a@one.example");
        assert_eq!(theirs.expect(200).body[0]["email"], "b@two.example");
    });
    join_all(rounds).await;
    let (_, key) = api.api_key(&first).await;
    api.me_by_key(&key).await.expect(200);
    let next = api.try_refresh(one.id, &first.refresh).await.expect(200);
    api.call(next.body["access_token"].as_str().unwrap(), "POST", "/api/v1/auth/logout", &Value::Null)
        .await
        .expect(204);
}

#[tokio::test]
async fn a_broken_database_connection_is_nobodys_error_once_the_database_is_back() {
    let wire = Wire::to(servers::postgres().await.port()).await;
    let api = Api::through(wire.port).await;
    let tenant = api.tenant("acme").await;
    let login = api.login(&tenant, "a@b.com", "member").await;
    let many = async || join_all((0..10).map(|_| api.call(&login.access, "GET", ME, &Value::Null))).await;
    // Each of them leaves a connection.
    many().await;
    wire.set(Line::Cut);
    let down = api.call(&login.access, "GET", ME, &Value::Null).await.expect(503);
    assert_eq!(down.body, json!({"detail": "Service temporarily unavailable"}));
    api.get("/health").await.expect(200);
    assert_eq!(api.get("/health/ready").await.expect(503).body["checks"]["database"], "error");
    wire.set(Line::Whole);
    let back = many().await;
    assert!(back.iter().all(|answer| answer.status == 200), "{back:?}");
}

#[tokio::test]
async fn a_restart_of_the_database_under_load_asks_for_patience_and_no_more() {
    let mut server = servers::start_postgres().await;
    let api = Api::of(&server).await;
    api.tenant("acme").await;
    // The one reads as the owner, the other as the role that serves requests.
    let both = async || {
        let (tenants, ready) = tokio::join!(api.get("/api/v1/tenants"), api.get("/health/ready"));
        [tenants.status, ready.status]
    };
    let many = async || join_all((0..8).map(|_| both())).await.concat();
    let (during_halt, halted) = tokio::join!(many(), server.halt());
    halted.unwrap();
    assert_eq!(both().await, [503, 503]);
    let (during_start, started) = tokio::join!(many(), server.restart());
    started.unwrap();
    for status in during_halt.into_iter().chain(during_start) {
        assert!([200, 503].contains(&status), "{status}");
    }
    assert_eq!(many().await, [200; 16]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_frozen_database_is_told_in_time() {
    let wire = Wire::to(servers::postgres().await.port()).await;
    let api = Api::through(wire.port).await;
    wire.set(Line::Frozen);
    let started = Instant::now();
    assert_eq!(api.get("/health/ready").await.expect(503).body["checks"]["database"], "error");
    // Not a measurement: without a limit of our own this would never end.
    assert!(started.elapsed() < Duration::from_secs(30));
    wire.set(Line::Whole);
    api.get("/health/ready").await.expect(200);
}

#[tokio::test]
async fn a_frozen_redis_holds_up_nobody() {
    let wire = Wire::to(servers::redis().await.port()).await;
    let url = servers::through(wire.port, &servers::redis().await.url());
    let api =
        Api::with(&[("REDIS_URL", &url), ("RATE_LIMIT_PER_MINUTE", "100000"), ("LOGIN_MAX_FAILURES", "5")])
            .await;
    let tenant = api.tenant("acme").await;
    api.get("/health/ready").await.expect(200);
    wire.set(Line::Frozen);
    let login = api.login(&tenant, "a@b.com", "member").await;
    api.call(&login.access, "GET", ME, &Value::Null).await.expect(200);
    let ready = api.get("/health/ready").await.expect(503);
    assert_eq!(
        (&ready.body["checks"]["redis"], &ready.body["checks"]["database"]),
        (&json!("error"), &json!("ok"))
    );
}
