//! Tokens, keys and passwords: how long they are good, and what ends them.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, PASSWORD, send};

const ME: &str = "/api/v1/auth/me";

#[tokio::test]
async fn a_refresh_token_used_twice_ends_the_login() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let login = api.login(&tenant, "a@b.com", "member").await;
    let next = api.try_refresh(tenant.id, &login.refresh).await.expect(200);
    let text = |name: &str| next.body[name].as_str().unwrap().to_owned();
    api.call(&text("access_token"), "GET", ME, &Value::Null).await.expect(200);
    api.try_refresh(tenant.id, &login.refresh).await.expect(401);
    api.try_refresh(tenant.id, &text("refresh_token")).await.expect(401);
    api.call(&text("access_token"), "GET", ME, &Value::Null).await.expect(401);
}

#[tokio::test]
async fn of_parallel_refreshes_one_wins() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let login = api.login(&tenant, "a@b.com", "member").await;
    let answers = join_all((0..6).map(|_| api.try_refresh(tenant.id, &login.refresh))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.status == 401));
}

#[tokio::test]
async fn a_refresh_token_of_another_tenant_is_refused() {
    let api = Api::start().await;
    let (one, two) = (api.tenant("one").await, api.tenant("two").await);
    let login = api.login(&one, "a@b.com", "member").await;
    api.try_refresh(two.id, &login.refresh).await.expect(401);
    api.try_refresh(one.id, &login.access).await.expect(401);
    api.try_refresh(one.id, &login.refresh).await.expect(200);
}

#[tokio::test]
async fn logging_out_ends_one_login_or_all() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let first = api.login(&tenant, "a@b.com", "member").await;
    let second = api.try_login(tenant.id, "a@b.com", PASSWORD).await.expect(200);
    let second = second.body["access_token"].as_str().unwrap();
    api.call(&first.access, "POST", "/api/v1/auth/logout", &Value::Null).await.expect(204);
    api.call(&first.access, "GET", ME, &Value::Null).await.expect(401);
    api.try_refresh(tenant.id, &first.refresh).await.expect(401);
    api.call(second, "GET", ME, &Value::Null).await.expect(200);
    api.call(second, "POST", "/api/v1/auth/logout?everywhere=true", &Value::Null).await.expect(204);
    api.call(second, "GET", ME, &Value::Null).await.expect(401);
}

#[tokio::test]
async fn spelling_an_address_differently_is_the_same_account() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    api.user(&tenant, "Ann.Lee@Acme.Example", "member").await;
    api.try_login(tenant.id, " ann.lee@ACME.example ", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_wrong_token_is_not_made_good_by_a_key() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let login = api.login(&tenant, "a@b.com", "member").await;
    let (_, key) = api.api_key(&login).await;
    send(api.request("GET", ME).bearer_auth("wrong").header("X-API-Key", &key)).await.expect(401);
    send(api.request("GET", ME).bearer_auth(&login.access).header("X-API-Key", &key)).await.expect(200);
}

#[tokio::test]
async fn a_revoked_or_expired_key_is_refused() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let login = api.login(&tenant, "a@b.com", "member").await;
    let (id, key) = api.api_key(&login).await;
    api.me_by_key(&key).await.expect(200);
    let list = api.call(&login.access, "GET", "/api/v1/auth/api-keys", &Value::Null).await.expect(200);
    assert!(list.body[0]["last_used_at"].is_string() && list.body[0].get("key").is_none());
    api.call(&login.access, "DELETE", &format!("/api/v1/auth/api-keys/{id}"), &Value::Null).await.expect(204);
    api.me_by_key(&key).await.expect(401);

    let body = json!({"name": "short", "expires_in_days": 1});
    let made = api.call(&login.access, "POST", "/api/v1/auth/api-keys", &body).await.expect(201);
    let key = made.body["key"].as_str().unwrap();
    api.me_by_key(key).await.expect(200);
    let admin = crate::harness::pool_of(crate::servers::SUPERUSER, &api.database).await;
    let past = format!("UPDATE {}.api_keys SET expires_at = now() - interval '1 second'", tenant.schema);
    sqlx::query(&past).execute(&admin).await.unwrap();
    api.me_by_key(key).await.expect(401);
}

#[tokio::test]
async fn a_new_password_ends_all_logins() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let login = api.login(&tenant, "a@b.com", "member").await;
    let body = |current: &str| json!({"current_password": current, "new_password": "another long password"});
    api.call(&login.access, "POST", "/api/v1/auth/password", &body("wrong")).await.expect(401);
    api.call(&login.access, "POST", "/api/v1/auth/password", &body(PASSWORD)).await.expect(204);
    api.call(&login.access, "GET", ME, &Value::Null).await.expect(401);
    api.try_login(tenant.id, "a@b.com", PASSWORD).await.expect(401);
    api.try_login(tenant.id, "a@b.com", "another long password").await.expect(200);
}

#[tokio::test]
async fn an_account_is_locked_after_failed_logins_and_others_are_not() {
    let api = Api::with(&[("LOGIN_MAX_FAILURES", "3")]).await;
    let tenant = api.tenant("acme").await;
    api.user(&tenant, "a@b.com", "member").await;
    api.user(&tenant, "c@d.com", "member").await;
    for _ in 0..3 {
        api.try_login(tenant.id, "a@b.com", "wrong").await.expect(401);
    }
    let locked = api.try_login(tenant.id, "A@b.com", PASSWORD).await.expect(429);
    assert!(locked.header("retry-after").unwrap().parse::<u64>().unwrap() > 1);
    for _ in 0..5 {
        api.try_login(tenant.id, "c@d.com", PASSWORD).await.expect(200);
    }
}

/// A login that is said to come through proxies.
async fn login_through(
    api: &Api,
    tenant: uuid::Uuid,
    forwarded: &str,
    email: &str,
    password: &str,
) -> Answer {
    let request = api.request("POST", "/api/v1/auth/login").header("X-Tenant-ID", tenant.to_string());
    let request = request.header("X-Forwarded-For", forwarded);
    send(request.json(&json!({"email": email, "password": password}))).await
}

#[tokio::test]
async fn an_address_that_failed_too_often_is_refused_whatever_account_it_tries() {
    let api = Api::with(&[("LOGIN_MAX_FAILURES_PER_ADDRESS", "3"), ("TRUSTED_PROXIES", "1")]).await;
    let (one, two) = (api.tenant("one").await, api.tenant("two").await);
    api.user(&one, "a@b.com", "member").await;
    api.user(&two, "a@b.com", "member").await;
    for n in 0..3 {
        // Logging in meanwhile makes nothing good, and counts for nothing.
        login_through(&api, one.id, "9.9.9.9", "a@b.com", PASSWORD).await.expect(200);
        // What the caller itself puts before is not believed.
        let forwarded = format!("10.0.0.{n}, 9.9.9.9");
        login_through(&api, one.id, &forwarded, &format!("x{n}@b.com"), "wrong").await.expect(401);
    }
    let refused = login_through(&api, one.id, "8.8.8.8, 9.9.9.9", "a@b.com", PASSWORD).await.expect(429);
    assert_eq!(refused.detail(), "Too many failed logins");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 1);
    login_through(&api, one.id, "9.9.9.9, 8.8.8.8", "a@b.com", PASSWORD).await.expect(200);
    login_through(&api, two.id, "9.9.9.9", "a@b.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn without_trusted_proxies_the_connection_says_who_calls() {
    let api = Api::with(&[("LOGIN_MAX_FAILURES_PER_ADDRESS", "3")]).await;
    let tenant = api.tenant("acme").await;
    api.user(&tenant, "a@b.com", "member").await;
    for n in 0..3 {
        let forwarded = format!("10.0.0.{n}");
        login_through(&api, tenant.id, &forwarded, &format!("x{n}@b.com"), "wrong").await.expect(401);
    }
    login_through(&api, tenant.id, "10.0.0.9", "a@b.com", PASSWORD).await.expect(429);
}

#[tokio::test]
async fn an_address_that_is_refused_locks_no_account() {
    let limits =
        [("LOGIN_MAX_FAILURES_PER_ADDRESS", "2"), ("LOGIN_MAX_FAILURES", "4"), ("TRUSTED_PROXIES", "1")];
    let api = Api::with(&limits).await;
    let tenant = api.tenant("acme").await;
    api.user(&tenant, "a@b.com", "member").await;
    for _ in 0..2 {
        login_through(&api, tenant.id, "9.9.9.9", "a@b.com", "wrong").await.expect(401);
    }
    for _ in 0..5 {
        login_through(&api, tenant.id, "9.9.9.9", "a@b.com", "wrong").await.expect(429);
    }
    login_through(&api, tenant.id, "8.8.8.8", "a@b.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn requests_above_a_tenants_limit_are_refused_and_other_tenants_go_on() {
    let api = Api::with(&[("RATE_LIMIT_PER_MINUTE", "3")]).await;
    let (one, two) = (api.tenant("one").await, api.tenant("two").await);
    let (first, second) =
        (api.login(&one, "a@b.com", "member").await, api.login(&two, "a@b.com", "member").await);
    for _ in 0..3 {
        api.call(&first.access, "GET", ME, &Value::Null).await.expect(200);
    }
    api.call(&first.access, "GET", ME, &Value::Null).await.expect(429);
    api.call(&second.access, "GET", ME, &Value::Null).await.expect(200);
    let more = json!({"config": {"rate_limit_per_minute": 1000}});
    send(api.request("PATCH", &format!("/api/v1/tenants/{}", one.id)).json(&more)).await.expect(200);
    api.call(&first.access, "GET", ME, &Value::Null).await.expect(200);
}

/// Signs claims with the API's secret, as a leaked secret or a tool of the original platform would.
fn signed(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

#[tokio::test]
async fn what_a_token_claims_is_checked_against_the_database() {
    let api = Api::start().await;
    let (one, two) = (api.tenant("one").await, api.tenant("two").await);
    let ann = api.login(&one, "ann@one.example", "member").await;
    let bob = api.login(&two, "bob@two.example", "admin").await;
    let expires = tenant_api::domain::token::now() + 60;
    let claims = |user: uuid::Uuid, tenant: uuid::Uuid, slug: &str| {
        json!({"sub": user, "tenant_id": tenant, "tenant_slug": slug, "email": "x@y.com", "role": "admin", "iat": 0,
            "exp": expires, "type": "access"})
    };
    let mut without_slug = claims(ann.user, one.id, "one");
    without_slug.as_object_mut().unwrap().remove("tenant_slug");
    let me = api.call(&signed(&claims(ann.user, one.id, "one")), "GET", ME, &Value::Null).await.expect(200);
    assert_eq!((&me.body["role"], &me.body["email"]), (&json!("member"), &json!("ann@one.example")));
    // What names no tenant whole needs the header, which must not contradict it.
    api.call(&signed(&without_slug), "GET", ME, &Value::Null).await.expect(401);
    for (header, status) in [(one.id, 200), (two.id, 403)] {
        let request = api.request("GET", ME).bearer_auth(signed(&without_slug));
        send(request.header("X-Tenant-ID", header.to_string())).await.expect(status);
    }
    let mut ended_session = claims(ann.user, one.id, "one");
    ended_session["sid"] = json!(uuid::Uuid::new_v4());
    for bad in [
        claims(ann.user, one.id, "two"),
        claims(ann.user, one.id, "one\"; DROP SCHEMA tenant_one"),
        claims(ann.user, two.id, "two"),
        claims(bob.user, one.id, "one"),
        claims(ann.user, uuid::Uuid::new_v4(), "one"),
        ended_session,
    ] {
        api.call(&signed(&bad), "GET", ME, &Value::Null).await.expect(401);
    }
}

#[tokio::test]
async fn a_token_of_an_inactive_tenant_opens_no_other_one() {
    let api = Api::start().await;
    let (one, two) = (api.tenant("one").await, api.tenant("two").await);
    let login = api.login(&one, "a@b.com", "member").await;
    send(api.request("POST", &format!("/api/v1/tenants/{}/deactivate", one.id))).await.expect(200);
    let request = api.request("GET", ME).bearer_auth(&login.access).header("X-Tenant-ID", two.id.to_string());
    send(request).await.expect(403);
}
