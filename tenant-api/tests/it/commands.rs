//! The program from outside: its commands, what they print and how they end.

use std::collections::BTreeMap;
use std::process::Output;

use sqlx::Executor as _;
use tokio::process::Command;

use crate::harness::{Api, database, pool_of};
use crate::servers::{self, SUPERUSER};

async fn run(variables: &BTreeMap<String, String>, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-api"));
    command.args(words).env_clear().envs(variables).kill_on_drop(true);
    command.output().await.unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn migrating_twice_at_once_migrates_once() {
    let (_, variables) = database().await;
    let (one, two) = tokio::join!(run(&variables, &["migrate"]), run(&variables, &["migrate", "--all"]));
    assert!(one.status.success() && two.status.success(), "{}{}", text(&one), text(&two));
    let both = text(&one) + &text(&two);
    assert_eq!(both.matches("0001_registry").count(), 1, "{both}");
    assert_eq!(both.matches("nothing to do").count(), 1, "{both}");
}

#[tokio::test]
async fn provisioning_with_an_admin_works_and_fails_the_second_time() {
    let (name, variables) = database().await;
    let words = ["provision", "--slug", "acme", "--name", "Acme", "--admin-email", "a@acme.example"];
    let without = run(&variables, &words).await;
    assert_eq!(without.status.code(), Some(2), "{}", text(&without));
    let alone = ["provision", "--slug", "acme", "--name", "Acme", "--admin-password", "a long password"];
    assert_eq!(run(&variables, &alone).await.status.code(), Some(2));
    let mut with = variables.clone();
    with.insert("ADMIN_PASSWORD".into(), "a long password".into());
    let done = run(&with, &words).await;
    assert!(done.status.success(), "{}", text(&done));
    assert!(
        text(&done).contains("Admin user created") && text(&done).contains("tenant_acme"),
        "{}",
        text(&done)
    );
    let admin = pool_of(SUPERUSER, &name).await;
    let (row,): (String,) =
        sqlx::query_as("SELECT name || ' ' || role FROM tenant_acme.users").fetch_one(&admin).await.unwrap();
    assert_eq!(row, "Admin (Acme) admin");
    let again = run(&with, &words).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("already exists"), "{}", text(&again));
    let long = "x".repeat(200);
    let words = ["provision", "--slug", "long", "--name", &long, "--admin-email", "a@acme.example"];
    let long = run(&with, &words).await;
    assert!(long.status.success(), "{}", text(&long));
}

#[tokio::test]
async fn a_role_that_may_become_the_owner_does_not_serve_production() {
    let (name, mut variables) = database().await;
    variables.insert("DATABASE_URL".into(), servers::url(servers::postgres().await, "member", &name));
    variables.insert("PASSWORD_HASH_COST".into(), "12".into());
    variables.insert("ENVIRONMENT".into(), "production".into());
    assert!(run(&variables, &["migrate"]).await.status.success());
    for words in [&["serve", "--port", "0"][..], &["doctor"]] {
        let refused = run(&variables, words).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused).contains("could switch row-level security off"), "{}", text(&refused));
    }
}

#[tokio::test]
async fn a_tenant_without_a_schema_does_not_keep_the_others_from_being_served() {
    let (name, variables) = database().await;
    assert!(run(&variables, &["migrate"]).await.status.success());
    let owner = pool_of("owner", &name).await;
    let ghost =
        "INSERT INTO shared.tenants (slug, name, schema_name) VALUES ('ghost', 'Ghost', 'tenant_ghost')";
    owner.execute(ghost).await.unwrap();
    let api = Api::on(name, variables, &[]).await;
    let tenant = api.tenant("acme").await;
    api.login(&tenant, "a@b.com", "member").await;
}

#[tokio::test]
async fn doctor_finds_what_is_broken() {
    let (name, variables) = database().await;
    let never = run(&variables, &["doctor"]).await;
    assert!(!never.status.success() && text(&never).contains("never migrated"), "{}", text(&never));
    assert!(run(&variables, &["provision", "--slug", "acme", "--name", "Acme"]).await.status.success());
    let fine = run(&variables, &["doctor"]).await;
    assert!(fine.status.success(), "{}", text(&fine));
    let owner = pool_of("owner", &name).await;
    for (sabotage, repair, said) in [
        (
            "ALTER TABLE tenant_acme.users NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE tenant_acme.users FORCE ROW LEVEL SECURITY",
            "does not force",
        ),
        (
            "ALTER TABLE tenant_acme.api_keys DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE tenant_acme.api_keys ENABLE ROW LEVEL SECURITY",
            "switched off",
        ),
        (
            "CREATE POLICY open ON tenant_acme.users USING (true)",
            "DROP POLICY open ON tenant_acme.users",
            "policy `open`",
        ),
        ("CREATE TABLE tenant_acme.notes (a int)", "DROP TABLE tenant_acme.notes", "table `notes`"),
        (
            "CREATE MATERIALIZED VIEW tenant_acme.copy AS SELECT 1 AS a",
            "DROP MATERIALIZED VIEW tenant_acme.copy",
            "table `copy`",
        ),
        (
            "ALTER POLICY tenant_isolation ON tenant_acme.users TO owner",
            "ALTER POLICY tenant_isolation ON tenant_acme.users TO public",
            "policy `tenant_isolation`",
        ),
        (
            "GRANT UPDATE ON shared.tenants TO app",
            "REVOKE UPDATE ON shared.tenants FROM app",
            "may change table `tenants`",
        ),
        (
            "ALTER TABLE tenant_acme.sessions RENAME TO logins",
            "ALTER TABLE tenant_acme.logins RENAME TO sessions",
            "table `sessions` is missing",
        ),
    ] {
        owner.execute(sabotage).await.unwrap();
        let found = run(&variables, &["doctor"]).await;
        assert!(!found.status.success() && text(&found).contains(said), "{sabotage}: {}", text(&found));
        owner.execute(repair).await.unwrap();
        assert!(run(&variables, &["doctor"]).await.status.success(), "{repair}");
    }
}

#[tokio::test]
async fn a_role_that_row_level_security_does_not_bind_may_not_serve() {
    for role in [SUPERUSER, "bypasser"] {
        let (name, mut variables) = database().await;
        variables.insert("DATABASE_URL".into(), servers::url(servers::postgres().await, role, &name));
        let refused = run(&variables, &["serve", "--port", "0"]).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused).contains("tenants would not be isolated"), "{}", text(&refused));
    }
}

#[tokio::test]
async fn wrong_settings_and_an_unreachable_database_end_the_program() {
    let (_, mut variables) = database().await;
    variables.insert("ENVIRONMENT".into(), "testing".into());
    variables.insert("PORT".into(), "many".into());
    let refused = run(&variables, &["serve"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("`ENVIRONMENT`") && text(&refused).contains("`PORT`"),
        "{}",
        text(&refused)
    );
    let nowhere = format!("postgresql://app@127.0.0.1:{}/none", servers::free_port());
    let variables = BTreeMap::from([("DATABASE_URL".to_owned(), nowhere)]);
    let refused = run(&variables, &["serve", "--port", "0"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
}
