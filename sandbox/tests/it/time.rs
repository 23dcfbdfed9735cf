//! The clock of the options: what depends on time follows it and nothing else.

use std::sync::Arc;
use std::time::Duration;

use gcp_sandbox::{ManualClock, Options};
use reqwest::Method;
use serde_json::Value;

use crate::support::{SECRETS, options, sandbox};

fn stopped() -> (ManualClock, Options) {
    let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap());
    let options = Options { clock: Some(Arc::new(clock.clone())), quotas: true, ..options() };
    (clock, options)
}

fn retry_delay(answer: &Value) -> &str {
    let details = answer["error"]["details"].as_array().unwrap();
    details.iter().find_map(|detail| detail["retryDelay"].as_str()).unwrap()
}

#[tokio::test]
async fn a_thousand_writes_stay_inside_a_quota_whose_minutes_pass_on_demand() {
    let (clock, options) = stopped();
    let client = sandbox(options).await;
    let mut waited = 0;
    for number in 0..1000 {
        let id = format!("s{number}");
        let (status, answer) = client.make_secret(&id).await;
        if status == 429 {
            assert_eq!(retry_delay(&answer), "60s");
            clock.advance(Duration::from_mins(1));
            waited += 1;
            assert_eq!(client.make_secret(&id).await.0, 200, "{id}");
        }
    }
    assert_eq!(waited, 1);
}

#[tokio::test]
async fn the_delay_is_what_is_left_of_the_window() {
    let (clock, options) = stopped();
    let client = sandbox(options).await;
    for _ in 0..600 {
        assert_eq!(client.get(SECRETS).await.0, 200);
    }
    clock.advance(Duration::from_secs(13));
    let (status, answer) = client.get(SECRETS).await;
    assert_eq!((status, retry_delay(&answer)), (429, "47s"));
    clock.advance(Duration::from_secs(46));
    assert_eq!(client.get(SECRETS).await.0, 429);
    clock.advance(Duration::from_secs(1));
    assert_eq!(client.get(SECRETS).await.0, 200);
}

#[tokio::test]
async fn timestamps_show_the_time_of_the_clock() {
    let (clock, options) = stopped();
    let client = sandbox(options).await;
    clock.advance(Duration::from_secs(90));
    let (_, secret) = client.make_secret("key").await;
    assert_eq!(secret["createTime"], "2026-01-01T00:01:30.000000Z");
}

#[tokio::test]
async fn what_was_deleted_can_come_back_for_thirty_days_only() {
    let (clock, options) = stopped();
    let client = sandbox(options).await;
    let accounts = "/v1/projects/agent-army-dev/serviceAccounts";
    let mut ids = Vec::new();
    for name in ["first-one", "second-one"] {
        let (_, account) = client.post(accounts, serde_json::json!({"accountId": name})).await;
        let unique = account["uniqueId"].as_str().unwrap().to_owned();
        for _ in 0..5 {
            client.get(accounts).await;
        }
        let (status, answer) = client.send(Method::DELETE, &format!("{accounts}/{unique}"), None).await;
        assert_eq!(status, 200, "{answer}");
        ids.push(unique);
    }
    let day = Duration::from_hours(24);
    clock.advance(day * 29);
    let undelete = |id: &str| format!("{accounts}/{id}:undelete");
    assert_eq!(client.post(&undelete(&ids[0]), serde_json::json!({})).await.0, 200);
    clock.advance(day * 2);
    assert_eq!(client.post(&undelete(&ids[1]), serde_json::json!({})).await.0, 404);
}
