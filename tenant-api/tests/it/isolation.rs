//! No tenant reaches another one's data: through the API, and through the database with the API's own role.

use serde_json::{Value, json};
use sqlx::Executor as _;

use crate::harness::{Api, Login, Tenant, pool_of, send};

async fn two() -> (Api, (Tenant, Login), (Tenant, Login)) {
    let api = Api::start().await;
    let (one, two) = (api.tenant("one").await, api.tenant("two").await);
    let first = api.login(&one, "a@one.example", "admin").await;
    let second = api.login(&two, "b@two.example", "admin").await;
    (api, (one, first), (two, second))
}

#[tokio::test]
async fn ids_of_another_tenant_are_not_found() {
    let (api, (_, first), (_, second)) = two().await;
    let (key, _) = api.api_key(&second).await;
    let (user, none) = (second.user, Value::Null);
    let routes = [
        ("GET", format!("/api/v1/users/{user}"), none.clone()),
        ("PATCH", format!("/api/v1/users/{user}"), json!({"is_active": false})),
        ("PUT", format!("/api/v1/users/{user}/password"), json!({"password": "a stolen password"})),
        ("DELETE", format!("/api/v1/auth/api-keys/{key}"), none.clone()),
    ];
    for (method, path, body) in routes {
        api.call(&first.access, method, &path, &body).await.expect(404);
    }
    for path in ["/api/v1/users", "/api/v1/auth/api-keys?all=true"] {
        let list = api.call(&first.access, "GET", path, &none).await.expect(200).body.to_string();
        assert!(!list.contains(&user.to_string()) && !list.contains("two.example"), "{list}");
    }
    api.call(&second.access, "GET", "/api/v1/auth/me", &none).await.expect(200);
}

#[tokio::test]
async fn contradicting_credentials_are_forbidden_on_every_route() {
    let (api, (one, first), (two, second)) = two().await;
    let (_, key_one) = api.api_key(&first).await;
    let (_, key_two) = api.api_key(&second).await;
    let id = first.user;
    let routes = [
        ("GET", "/api/v1/auth/me".to_owned()),
        ("GET", "/api/v1/auth/api-keys".to_owned()),
        ("POST", "/api/v1/auth/api-keys".to_owned()),
        ("DELETE", format!("/api/v1/auth/api-keys/{id}")),
        ("POST", "/api/v1/auth/logout".to_owned()),
        ("POST", "/api/v1/auth/password".to_owned()),
        ("GET", "/api/v1/users".to_owned()),
        ("POST", "/api/v1/users".to_owned()),
        ("GET", format!("/api/v1/users/{id}")),
        ("PATCH", format!("/api/v1/users/{id}")),
        ("PUT", format!("/api/v1/users/{id}/password")),
    ];
    for (method, path) in routes {
        let request = || api.request(method, &path);
        for other in [two.id.to_string(), "nonsense".to_owned()] {
            let answer =
                send(request().bearer_auth(&first.access).header("X-Tenant-ID", &other)).await.expect(403);
            assert_eq!(answer.detail(), "Token tenant does not match request tenant context");
            send(request().header("X-API-Key", &key_one).header("X-Tenant-ID", &other)).await.expect(403);
        }
        send(request().bearer_auth(&first.access).header("X-API-Key", &key_two)).await.expect(403);
    }
    let same = api
        .request("GET", "/api/v1/auth/me")
        .bearer_auth(&first.access)
        .header("X-Tenant-ID", one.id.to_string());
    send(same).await.expect(200);
}

#[tokio::test]
async fn logging_in_with_the_token_of_another_tenant_is_forbidden() {
    let (api, (_, first), (two, _)) = two().await;
    let body = json!({"email": "b@two.example", "password": crate::harness::PASSWORD});
    let request =
        api.request("POST", "/api/v1/auth/login").json(&body).header("X-Tenant-ID", two.id.to_string());
    send(request.bearer_auth(&first.access)).await.expect(403);
}

#[tokio::test]
async fn the_run_time_role_sees_no_row_without_a_tenant_and_only_its_own_with_one() {
    let (api, (one, first), (two, _)) = two().await;
    api.api_key(&first).await;
    let app = pool_of("app", &api.database).await;
    for (tenant, expected) in [(None, 0_i64), (Some(two.id), 0), (Some(one.id), 1)] {
        for table in ["users", "api_keys", "sessions"] {
            let mut transaction = app.begin().await.unwrap();
            if let Some(id) = tenant {
                let set = "SELECT set_config('app.current_tenant_id', $1, true)";
                sqlx::query(set).bind(id.to_string()).execute(&mut *transaction).await.unwrap();
            }
            let count = format!("SELECT count(*) FROM {}.{table}", one.schema);
            let (count,): (i64,) = sqlx::query_as(&count).fetch_one(&mut *transaction).await.unwrap();
            assert_eq!(count, expected, "{table} as {tenant:?}");
        }
    }
}

#[tokio::test]
async fn a_row_of_another_tenant_cannot_be_written() {
    let (api, (one, _), (two, _)) = two().await;
    let app = pool_of("app", &api.database).await;
    let mut transaction = app.begin().await.unwrap();
    let set = "SELECT set_config('app.current_tenant_id', $1, true)";
    sqlx::query(set).bind(one.id.to_string()).execute(&mut *transaction).await.unwrap();
    let insert =
        format!("INSERT INTO {}.users (tenant_id, email) VALUES ('{}', 'x@y.com')", one.schema, two.id);
    let error = transaction.execute(insert.as_str()).await.unwrap_err();
    assert!(error.to_string().contains("row-level security"), "{error}");
}

#[tokio::test]
async fn the_run_time_role_can_change_no_schema_and_no_audit() {
    let (api, (one, _), _) = two().await;
    let app = pool_of("app", &api.database).await;
    let schema = &one.schema;
    for statement in [
        format!("ALTER TABLE {schema}.users DISABLE ROW LEVEL SECURITY"),
        format!("DROP POLICY tenant_isolation ON {schema}.users"),
        format!("CREATE TABLE {schema}.mine (id int)"),
        format!("DROP SCHEMA {schema} CASCADE"),
        format!("DELETE FROM {schema}.audit_log"),
        format!("DELETE FROM {schema}.users"),
        "UPDATE shared.tenants SET is_active = true".to_owned(),
        "SELECT * FROM shared.audit_log".to_owned(),
        "CREATE SCHEMA another".to_owned(),
    ] {
        let error = app.execute(statement.as_str()).await.unwrap_err().to_string();
        assert!(
            error.contains("permission denied") || error.contains("must be owner"),
            "{statement}: {error}"
        );
    }
}

#[tokio::test]
async fn no_connection_remembers_the_tenant_of_the_request_before() {
    let (api, (_, first), (_, second)) = two().await;
    for _ in 0..10 {
        let mine = api.call(&first.access, "GET", "/api/v1/users", &Value::Null).await.expect(200);
        let theirs = api.call(&second.access, "GET", "/api/v1/users", &Value::Null).await.expect(200);
        assert_eq!(mine.body[0]["email"], "a@one.example");
        assert_eq!(theirs.body[0]["email"], "b@two.example");
        assert_eq!((mine.body.as_array().unwrap().len(), theirs.body.as_array().unwrap().len()), (1, 1));
    }
}
