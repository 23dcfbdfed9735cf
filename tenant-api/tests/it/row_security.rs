//! Row-level security of every table that the catalog knows, with the roles that the API connects as.

use serde_json::Value;
use sqlx::{Executor as _, PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::harness::{Api, Tenant, pool_of};

const SET: &str = "SELECT set_config('app.current_tenant_id', $1, true)";

/// The one table of a tenant's schema without row-level security.
const VERSION: &str = "schema_version";

/// Two tenants, each with rows in every table.
async fn two() -> (Api, Tenant, Tenant) {
    let api = Api::start().await;
    let (one, two) = (api.tenant("one").await, api.tenant("two").await);
    for tenant in [&one, &two] {
        let login = api.login(tenant, "a@b.com", "admin").await;
        api.api_key(&login).await;
        api.call(&login.access, "GET", "/api/v1/auth/me", &Value::Null).await.expect(200);
    }
    (api, one, two)
}

async fn tables(pool: &PgPool, schema: &str) -> Vec<String> {
    let listed = "SELECT relname::text FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p') ORDER BY 1";
    let rows: Vec<(String,)> = sqlx::query_as(listed).bind(schema).fetch_all(pool).await.unwrap();
    rows.into_iter().map(|(name,)| format!("{schema}.{name}")).collect()
}

/// All tables of a tenant but the one with the version of its schema, which has no rows of anybody.
async fn tables_with_rows(pool: &PgPool, schema: &str) -> Vec<String> {
    let version = format!("{schema}.{VERSION}");
    tables(pool, schema).await.into_iter().filter(|table| *table != version).collect()
}

async fn as_tenant(pool: &PgPool, tenant: Option<Uuid>) -> Transaction<'static, Postgres> {
    let mut transaction = pool.begin().await.unwrap();
    if let Some(id) = tenant {
        sqlx::query(SET).bind(id.to_string()).execute(&mut *transaction).await.unwrap();
    }
    transaction
}

/// Rows that a statement changes; none where the role may not run it at all.
async fn changed(pool: &PgPool, tenant: Option<Uuid>, statement: &str) -> u64 {
    match as_tenant(pool, tenant).await.execute(statement).await {
        Ok(done) => done.rows_affected(),
        Err(error) if error.to_string().contains("permission denied") => 0,
        Err(error) => panic!("{statement}: {error}"),
    }
}

#[tokio::test]
async fn rows_of_every_table_are_seen_by_their_tenant_only() {
    let (api, one, two) = two().await;
    for role in ["app", "owner"] {
        let pool = pool_of(role, &api.database).await;
        let tables = tables_with_rows(&pool, &one.schema).await;
        assert!(tables.len() >= 4, "{tables:?}");
        for table in tables {
            let count = format!("SELECT count(*) FROM {table}");
            let seen = async |tenant| {
                let mut transaction = as_tenant(&pool, tenant).await;
                let (count,): (i64,) = sqlx::query_as(&count).fetch_one(&mut *transaction).await.unwrap();
                count
            };
            assert_eq!((seen(None).await, seen(Some(two.id)).await), (0, 0), "{table} as {role}");
            // Otherwise the table was empty and this shows nothing.
            assert!(seen(Some(one.id)).await > 0, "{table}: the test makes no row of it");
        }
    }
}

#[tokio::test]
async fn rows_of_every_table_are_changed_by_their_tenant_only() {
    let (api, one, two) = two().await;
    for role in ["app", "owner"] {
        let pool = pool_of(role, &api.database).await;
        for table in tables_with_rows(&pool, &one.schema).await {
            for tenant in [None, Some(two.id)] {
                let update = format!("UPDATE {table} SET tenant_id = tenant_id");
                assert_eq!(changed(&pool, tenant, &update).await, 0, "{update} as {role}");
                assert_eq!(changed(&pool, tenant, &format!("DELETE FROM {table}")).await, 0, "{table}");
            }
            let away = format!("UPDATE {table} SET tenant_id = '{}'", two.id);
            let error = as_tenant(&pool, Some(one.id)).await.execute(away.as_str()).await.unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("row-level security") || error.contains("permission denied"),
                "{away} as {role}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn the_only_table_without_row_level_security_is_out_of_reach() {
    let (api, one, _) = two().await;
    let app = pool_of("app", &api.database).await;
    let unprotected = "SELECT relname::text FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity)";
    let rows: Vec<(String,)> = sqlx::query_as(unprotected).bind(&one.schema).fetch_all(&app).await.unwrap();
    assert_eq!(rows, [(VERSION.to_owned(),)]);
    for statement in ["SELECT * FROM", "DELETE FROM", "INSERT INTO", "UPDATE"] {
        let end = match statement {
            "INSERT INTO" => " DEFAULT VALUES",
            "UPDATE" => " SET version = 0",
            _ => "",
        };
        let statement = format!("{statement} {}.{VERSION}{end}", one.schema);
        let error = app.execute(statement.as_str()).await.unwrap_err().to_string();
        assert!(error.contains("permission denied"), "{statement}: {error}");
    }
}

#[tokio::test]
async fn tables_outside_the_tenants_hold_nothing_of_theirs_but_the_way_to_them() {
    let (api, ..) = two().await;
    let app = pool_of("app", &api.database).await;
    let mut readable = Vec::new();
    for table in tables(&app, "shared").await {
        if app.execute(format!("SELECT 1 FROM {table} LIMIT 1").as_str()).await.is_ok() {
            readable.push(table);
        }
    }
    assert_eq!(readable, ["shared.api_key_index", "shared.schema_version", "shared.tenants"]);
}

#[tokio::test]
async fn the_way_to_a_tenants_keys_is_changed_by_that_tenant_only() {
    let (api, one, two) = two().await;
    let app = pool_of("app", &api.database).await;
    let delete = format!("DELETE FROM shared.api_key_index WHERE tenant_id = '{}'", one.id);
    assert_eq!(changed(&app, None, &delete).await, 0);
    assert_eq!(changed(&app, Some(two.id), &delete).await, 0);
    assert_eq!(changed(&app, Some(one.id), &delete).await, 1);
    let insert = format!("INSERT INTO shared.api_key_index VALUES ('x', '{}', gen_random_uuid())", one.id);
    let refused = as_tenant(&app, Some(two.id)).await.execute(insert.as_str()).await.unwrap_err();
    assert!(refused.to_string().contains("row-level security"), "{refused}");
    assert_eq!(changed(&app, Some(one.id), &insert).await, 1);
    assert_eq!(changed(&app, Some(one.id), "UPDATE shared.api_key_index SET hash = 'y'").await, 0);
}

/// Row-level security lets an index find only what is compared without it: by another column each request would read all keys.
#[tokio::test]
async fn who_is_calling_is_found_without_reading_a_whole_table() {
    let (api, one, _) = two().await;
    let login = api.login(&one, "second@b.com", "member").await;
    let (_, key) = api.api_key(&login).await;
    let owner = pool_of("owner", &api.database).await;
    // The planner must have no other index to read from end to end.
    for index in ["api_keys_tenant_hash", "api_keys_tenant_id"] {
        owner.execute(format!("DROP INDEX {}.{index}", one.schema).as_str()).await.unwrap();
    }
    let app = pool_of("app", &api.database).await;
    let mut transaction = app.begin().await.unwrap();
    // These tables are small: reading them whole is what the planner would else prefer.
    transaction.execute("SET LOCAL enable_seqscan = off").await.unwrap();
    let by_key = format!("SELECT user_id FROM shared.caller_by_key(encode(sha256('{key}'), 'hex'))");
    let (user,): (Option<Uuid>,) = sqlx::query_as(&by_key).fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(user, Some(login.user));
    let by_token =
        format!("SELECT user_id FROM shared.caller_by_token('{}', '{}', NULL)", one.id, login.user);
    let (user,): (Option<Uuid>,) = sqlx::query_as(&by_token).fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(user, Some(login.user));
    let read_whole = "SELECT relname::text FROM pg_stat_xact_user_tables WHERE seq_scan > 0 AND relname IN ('api_keys', 'users', 'api_key_index', 'tenants')";
    let read: Vec<(String,)> = sqlx::query_as(read_whole).fetch_all(&mut *transaction).await.unwrap();
    assert_eq!(read, []);
}
