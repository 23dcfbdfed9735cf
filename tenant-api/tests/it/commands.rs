//! The program from outside: its commands, what they print and how they end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use sqlx::Executor as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use uuid::Uuid;

use crate::harness::{Api, database, pool_of};
use crate::servers::{self, SUPERUSER};

async fn run(variables: &BTreeMap<String, String>, words: &[&str]) -> Output {
    run_in(PathBuf::from(env!("CARGO_TARGET_TMPDIR")), variables, words).await
}

async fn run_in(folder: PathBuf, variables: &BTreeMap<String, String>, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-api"));
    command.current_dir(folder);
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

/// Takes a tenant's schema back to what its first migration made.
fn first_version(schema: &str) -> String {
    format!(
        "ALTER TABLE {schema}.api_keys DROP COLUMN expires_at; ALTER TABLE {schema}.users DROP COLUMN email_folded; \
         DROP TABLE {schema}.sessions, {schema}.audit_log; DELETE FROM {schema}.schema_version WHERE version > 1"
    )
}

#[tokio::test]
async fn one_broken_schema_stops_no_other_and_is_named() {
    let (name, variables) = database().await;
    let owner = pool_of("owner", &name).await;
    for n in 0..12 {
        let slug = format!("tenant-{n}");
        let made = run(&variables, &["provision", "--slug", &slug, "--name", "T"]).await;
        assert!(made.status.success(), "{}", text(&made));
        owner.execute(first_version(&format!("tenant_tenant_{n}")).as_str()).await.unwrap();
    }
    // What is in the way of a step, and a step that is not ours.
    owner.execute("CREATE TABLE tenant_tenant_3.sessions (a int)").await.unwrap();
    owner.execute("UPDATE tenant_tenant_7.schema_version SET checksum = 'other'").await.unwrap();
    let first = run(&variables, &["migrate", "--all"]).await;
    let said = text(&first);
    assert_eq!(first.status.code(), Some(1), "{said}");
    assert!(said.contains("2 of 12"), "{said}");
    assert!(said.contains("`tenant_tenant_3`: step 0002_sessions_and_audit failed"), "{said}");
    assert!(said.contains("already exists"), "{said}");
    assert!(said.contains("`tenant_tenant_7`: step 1 is not the one"), "{said}");
    assert_eq!(said.matches(": version 2, 0002_sessions_and_audit").count(), 10, "{said}");
    // Nothing of the broken one was changed.
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'tenant_tenant_3' AND column_name = 'expires_at'";
    let (left,): (i64,) = sqlx::query_as(columns).fetch_one(&owner).await.unwrap();
    assert_eq!(left, 0);

    owner.execute("DROP TABLE tenant_tenant_3.sessions").await.unwrap();
    let second = run(&variables, &["migrate", "--all"]).await;
    let said = text(&second);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("tenant_tenant_3: version 2, 0002_sessions_and_audit"), "{said}");
    assert!(said.contains("1 of 12") && said.contains("tenant_tenant_7"), "{said}");
    assert_eq!(said.matches("nothing to do").count(), 11, "{said}");
}

#[tokio::test]
async fn a_schema_that_somebody_holds_keeps_no_other_waiting() {
    let (name, variables) = database().await;
    let owner = pool_of("owner", &name).await;
    for slug in ["one", "two", "three"] {
        assert!(run(&variables, &["provision", "--slug", slug, "--name", "T"]).await.status.success());
        owner.execute(first_version(&format!("tenant_{slug}")).as_str()).await.unwrap();
    }
    let mut holder = owner.begin().await.unwrap();
    holder.execute("LOCK TABLE tenant_one.users").await.unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-api"));
    command.args(["migrate", "--all"]).env_clear().envs(&variables).kill_on_drop(true);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut done = Vec::new();
    while done.len() < 3 {
        let line = lines.next_line().await.unwrap().unwrap();
        done.push(line.split(':').next().unwrap().to_owned());
    }
    assert_eq!(done.remove(0), "shared");
    done.sort();
    assert_eq!(done, ["tenant_three", "tenant_two"]);
    holder.rollback().await.unwrap();
    let last = lines.next_line().await.unwrap().unwrap();
    assert!(last.starts_with("tenant_one: version 2, 0002"), "{last}");
    assert!(child.wait().await.unwrap().success());
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
        ("CREATE SCHEMA tenant_nobody", "DROP SCHEMA tenant_nobody", "tenant_nobody: belongs to no tenant"),
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
async fn doctor_looks_at_every_schema_also_behind_a_broken_one() {
    let (name, variables) = database().await;
    for slug in ["one", "two", "three", "four"] {
        assert!(run(&variables, &["provision", "--slug", slug, "--name", "T"]).await.status.success());
    }
    let owner = pool_of("owner", &name).await;
    let admin = pool_of(SUPERUSER, &name).await;
    for sabotage in [
        "UPDATE shared.schema_version SET version = version - 1",
        "UPDATE shared.tenants SET is_active = false WHERE slug = 'two'",
        "DROP TABLE tenant_one.schema_version",
        "DELETE FROM tenant_two.schema_version WHERE version > 1",
        "DROP POLICY tenant_isolation ON tenant_three.audit_log",
    ] {
        owner.execute(sabotage).await.unwrap();
    }
    for sabotage in [
        "ALTER TABLE shared.api_key_index OWNER TO app",
        "ALTER TABLE tenant_three.users OWNER TO app",
        "ALTER SCHEMA tenant_four OWNER TO app",
    ] {
        admin.execute(sabotage).await.unwrap();
    }
    let found = run(&variables, &["doctor"]).await;
    let said = text(&found);
    assert_eq!(found.status.code(), Some(1), "{said}");
    for problem in [
        "shared: has version 2, this program needs 3",
        "shared: table `api_key_index` belongs to the role that serves requests",
        "tenant_one: was never migrated",
        "tenant_two: has version 1, this program needs 2",
        "tenant_three: table `audit_log` has no policy",
        "tenant_three: table `users` belongs to the role that serves requests",
        "tenant_four: belongs to another role than the one of DATABASE_OWNER_URL",
    ] {
        assert!(said.contains(problem), "{problem}: {said}");
    }
    assert_eq!(said.matches("problem: ").count(), 7, "{said}");
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

/// A working directory with this `.env`.
fn folder(file: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(Uuid::new_v4().to_string());
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(".env"), file).unwrap();
    folder
}

#[tokio::test]
async fn a_file_in_the_working_directory_sets_what_the_environment_does_not() {
    let (_, variables) = database().await;
    let mut lines: Vec<String> = variables.iter().map(|(name, value)| format!("{name}='{value}'")).collect();
    lines.push("LOG_LEVEL=LOUD\nOPENAI_API_KEY=later\n".to_owned());
    let in_file = folder(&lines.join("\n"));
    let environment = BTreeMap::from([("LOG_LEVEL".to_owned(), "INFO".to_owned())]);
    for words in [&["migrate"][..], &["provision", "--slug", "acme", "--name", "Acme"], &["doctor"]] {
        let done = run_in(in_file.clone(), &environment, words).await;
        assert!(done.status.success(), "{words:?}: {}", text(&done));
    }
    std::fs::remove_dir_all(in_file).unwrap();
}

#[tokio::test]
async fn every_command_refuses_a_file_with_unknown_names() {
    let in_file = folder("SECRET_OF_SOMEBODY=hunter2\nhunter2\nPORT=many\n");
    let provision = ["provision", "--slug", "acme", "--name", "Acme"];
    let mut commands = vec![&["serve"][..], &["migrate"], &["doctor"], &provision];
    if cfg!(feature = "dev") {
        commands.push(&["dev"]);
    }
    for words in commands {
        let refused = run_in(in_file.clone(), &BTreeMap::new(), words).await;
        let said = text(&refused);
        assert_eq!(refused.status.code(), Some(1), "{words:?}: {said}");
        for problem in ["line 1: `SECRET_OF_SOMEBODY`", "line 2: ", "`PORT`"] {
            assert!(said.contains(problem), "{words:?}: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
    std::fs::remove_dir_all(in_file).unwrap();
}
