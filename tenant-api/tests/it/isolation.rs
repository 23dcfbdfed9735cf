//! No tenant reaches another one's data through what the API leaves on connections and what its role may do. All routes and all
//! tables are gone through in `matrix.rs` and `row_security.rs`.

use serde_json::Value;
use sqlx::Executor as _;

use crate::harness::{Api, Login, Tenant, pool_of};

async fn two() -> (Api, (Tenant, Login), (Tenant, Login)) {
    let api = Api::start().await;
    let (one, two) = (api.tenant("one").await, api.tenant("two").await);
    let first = api.login(&one, "a@one.example", "admin").await;
    let second = api.login(&two, "b@two.example", "admin").await;
    (api, (one, first), (two, second))
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
