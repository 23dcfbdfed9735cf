//! Tenants are made whole or not at all, and taken away the same way.

use futures::future::join_all;
use redis::AsyncCommands as _;
use serde_json::{Value, json};
use sqlx::Executor as _;

use crate::harness::{Api, PASSWORD, pool_of, send};
use crate::servers::SUPERUSER;

#[tokio::test]
async fn of_parallel_requests_for_one_slug_one_wins() {
    let api = Api::start().await;
    let body = json!({"slug": "acme", "name": "Acme"});
    let answers = join_all((0..8).map(|_| api.post("/api/v1/tenants", &body))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 409).count(), 7);
}

#[tokio::test]
async fn parallel_requests_for_different_slugs_all_win() {
    let api = Api::start().await;
    let slugs: Vec<String> = (0..8).map(|n| format!("tenant-{n}")).collect();
    join_all(slugs.iter().map(|slug| api.tenant(slug))).await;
}

#[tokio::test]
async fn an_empty_schema_is_used_and_one_with_tables_is_left_alone() {
    let api = Api::start().await;
    let owner = pool_of("owner", &api.database).await;
    owner
        .execute(
            "CREATE SCHEMA tenant_empty; CREATE SCHEMA tenant_full; CREATE TABLE tenant_full.users (a int)",
        )
        .await
        .unwrap();
    api.tenant("empty").await;
    api.post("/api/v1/tenants", &json!({"slug": "full", "name": "Full"})).await.expect(409);
    let admin = pool_of(SUPERUSER, &api.database).await;
    admin.execute("CREATE SCHEMA tenant_foreign").await.unwrap();
    api.post("/api/v1/tenants", &json!({"slug": "foreign", "name": "Foreign"})).await.expect(409);
    let listed = api.get("/api/v1/tenants").await.body.to_string();
    assert!(!listed.contains("tenant_full") && !listed.contains("tenant_foreign"), "{listed}");
}

#[tokio::test]
async fn a_provisioning_that_fails_leaves_nothing() {
    let api = Api::start().await;
    let owner = pool_of("owner", &api.database).await;
    // The registry row is the last thing that is made: refuse it.
    owner.execute("ALTER TABLE shared.tenants ADD CONSTRAINT no CHECK (slug <> 'broken')").await.unwrap();
    let request = api.request("POST", "/api/v1/tenants").json(&json!({"slug": "broken", "name": "B"}));
    assert_eq!(request.send().await.unwrap().status(), 500);
    let (left,): (i64,) = sqlx::query_as("SELECT count(*) FROM pg_namespace WHERE nspname = 'tenant_broken'")
        .fetch_one(&owner)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn an_inactive_tenant_is_shut_at_once_and_keeps_its_slug() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let login = api.login(&tenant, "a@b.com", "member").await;
    let (_, key) = api.api_key(&login).await;
    let path = format!("/api/v1/tenants/{}", tenant.id);
    send(api.request("POST", &format!("{path}/deactivate"))).await.expect(200);
    api.call(&login.access, "GET", "/api/v1/auth/me", &Value::Null).await.expect(401);
    api.me_by_key(&key).await.expect(401);
    api.try_login(tenant.id, "a@b.com", PASSWORD).await.expect(400);
    assert_eq!(api.get("/api/v1/tenants").await.body, json!([]));
    assert_eq!(api.get("/api/v1/tenants?include_inactive=true").await.body[0]["is_active"], false);
    api.post("/api/v1/tenants", &json!({"slug": "acme", "name": "Other"})).await.expect(409);
    send(api.request("POST", &format!("{path}/reactivate"))).await.expect(200);
    api.me_by_key(&key).await.expect(200);
}

#[tokio::test]
async fn deleting_needs_deactivating_first_and_leaves_nothing() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let login = api.login(&tenant, "a@b.com", "member").await;
    let (_, key) = api.api_key(&login).await;
    let path = format!("/api/v1/tenants/{}", tenant.id);
    send(api.request("DELETE", &path)).await.expect(409);
    send(api.request("POST", &format!("{path}/deactivate"))).await.expect(200);
    send(api.request("DELETE", &path)).await.expect(204);
    send(api.request("DELETE", &path)).await.expect(404);
    api.me_by_key(&key).await.expect(401);
    let owner = pool_of("owner", &api.database).await;
    let (left,): (i64,) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'tenant_acme') + (SELECT count(*) FROM shared.api_key_index)",
    )
    .fetch_one(&owner)
    .await
    .unwrap();
    assert_eq!(left, 0);
    let (actions,): (Vec<String>,) =
        sqlx::query_as("SELECT array_agg(action ORDER BY id) FROM shared.audit_log")
            .fetch_one(&owner)
            .await
            .unwrap();
    assert_eq!(actions, ["tenant.created", "tenant.deactivated", "tenant.deleted"]);
    api.tenant("acme").await;
}

#[tokio::test]
async fn tenants_are_managed_with_the_platforms_token_only() {
    let token = "fedcba9876543210fedcba9876543210";
    let api = Api::with(&[("PLATFORM_ADMIN_TOKEN", token)]).await;
    let id = "6f1c1f3e-4b52-4c54-9d0e-3f1d6a2b9c10";
    let routes = [
        ("GET", "/api/v1/tenants".to_owned()),
        ("POST", "/api/v1/tenants".to_owned()),
        ("GET", format!("/api/v1/tenants/{id}")),
        ("PATCH", format!("/api/v1/tenants/{id}")),
        ("DELETE", format!("/api/v1/tenants/{id}")),
        ("POST", format!("/api/v1/tenants/{id}/deactivate")),
        ("POST", format!("/api/v1/tenants/{id}/reactivate")),
    ];
    for (method, path) in routes {
        let answer = send(api.request(method, &path)).await.expect(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        send(api.request(method, &path).bearer_auth("wrong")).await.expect(401);
    }
    api.call(token, "GET", "/api/v1/tenants", &Value::Null).await.expect(200);
}

#[tokio::test]
async fn production_describes_itself_to_nobody() {
    let token = "fedcba9876543210fedcba9876543210";
    let production =
        [("ENVIRONMENT", "production"), ("MIGRATE_ON_START", "true"), ("PASSWORD_HASH_COST", "12")];
    let api = Api::with(&[&production[..], &[("PLATFORM_ADMIN_TOKEN", token)]].concat()).await;
    for path in ["/openapi.json", "/docs", "/redoc"] {
        api.get(path).await.expect(404);
    }
    api.get("/api/v1/tenants").await.expect(401);
    api.call(token, "GET", "/api/v1/tenants", &Value::Null).await.expect(200);
}

#[tokio::test]
async fn outside_development_no_token_means_nobody() {
    let api = Api::with(&[("ENVIRONMENT", "staging"), ("MIGRATE_ON_START", "true")]).await;
    api.get("/api/v1/tenants").await.expect(401);
}

#[tokio::test]
async fn redis_knows_a_tenant_under_its_own_prefix_until_it_is_deleted() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let client = redis::Client::open(crate::servers::redis().await.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let key = format!("t:{}:initialized", tenant.id);
    let mark: Option<String> = connection.get(&key).await.unwrap();
    assert_eq!(mark.as_deref(), Some("true"));
    let () = connection.set(format!("t:{}:more*", tenant.id), "x").await.unwrap();
    let path = format!("/api/v1/tenants/{}", tenant.id);
    send(api.request("POST", &format!("{path}/deactivate"))).await.expect(200);
    send(api.request("DELETE", &path)).await.expect(204);
    let left: Vec<String> = connection.keys(format!("t:{}:*", tenant.id)).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_configuration_comes_back_as_it_was_given() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let path = format!("/api/v1/tenants/{}", tenant.id);
    let config = json!({"largest": f64::MAX, "smallest": f64::MIN_POSITIVE, "text": "\u{fe0f} \" \\", "deep": [[{"a": null}]]});
    let changed = send(api.request("PATCH", &path).json(&json!({"config": config}))).await.expect(200);
    assert_eq!(changed.body["config"], config);
    assert_eq!(api.get(&path).await.expect(200).body["config"], config);
    // Every request of the tenant reads it too.
    api.login(&tenant, "a@b.com", "member").await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_spoils_the_list_for_nobody() {
    let api = Api::start().await;
    api.tenant("acme").await;
    let owner = pool_of("owner", &api.database).await;
    for config in [r#"{"a": 1e999}"#, r#"{"a": "\u0000"}"#] {
        let write = format!("UPDATE shared.tenants SET config = '{config}'");
        owner.execute(write.as_str()).await.unwrap();
        assert_eq!(api.get("/api/v1/tenants").await.expect(200).body[0]["slug"], "acme");
    }
}
