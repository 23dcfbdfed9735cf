//! The servers themselves, real ones: that they serve, and above all that they go.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use private_servers::{Home, Options, PgBouncer, PoolMode, Postgres, Redis};
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long enough for any machine; what is waited for comes much sooner, or never.
const EVENTUALLY: Duration = Duration::from_mins(1);
/// How long somebody who must not answer is given.
const SILENCE: Duration = Duration::from_millis(300);

async fn postgres() -> Postgres {
    Postgres::start(&Options::for_tests()).await.unwrap()
}

/// The first column of the first row, as text.
async fn ask(url: &str, query: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let answer = connection.fetch_one(query).await.unwrap().get(0);
    connection.close().await.unwrap();
    answer
}

async fn tell(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(statement).await.unwrap();
}

/// One command in Redis' line form, after logging in, and the first line of the answer.
async fn redis(server: &Redis, password: &str, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await?;
    stream.write_all(format!("AUTH {password}\r\n{command}\r\n").as_bytes()).await?;
    let mut lines = tokio::io::BufReader::new(stream).lines();
    lines.next_line().await?;
    Ok(lines.next_line().await?.unwrap_or_default())
}

/// Waits for what comes by itself.
async fn until(what: &str, happened: impl Fn() -> bool) {
    let mut looked = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !happened() {
            looked.tick().await;
        }
    };
    assert!(timeout(EVENTUALLY, waiting).await.is_ok(), "never happened: {what}");
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[tokio::test]
async fn two_start_at_once_and_share_what_is_made_once() {
    let cache = tempfile::tempdir().unwrap();
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..Options::for_tests() };
    let (one, other) = tokio::join!(Postgres::start(&options), Postgres::start(&options));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_ne!(one.port(), other.port());

    tell(&one.admin_url(), "CREATE DATABASE only_here").await;
    assert_eq!(ask(&one.admin_url(), "SELECT count(*)::text FROM pg_database").await, "4");
    assert_eq!(ask(&other.admin_url(), "SELECT count(*)::text FROM pg_database").await, "3");

    let names = fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    let databases = names.iter().filter(|name| name.starts_with("postgres--")).count();
    assert_eq!(databases, 1, "{names:?}");
    assert!(names.iter().all(|name| !name.starts_with('.')), "unfinished: {names:?}");
    one.stop().await.unwrap();
    other.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_knows_unicode_and_settings_of_the_caller() {
    let mut options = Options::for_tests();
    options.settings.push(("application_name".to_owned(), "täst".to_owned()));
    let server = Postgres::start(&options).await.unwrap();
    assert_eq!(ask(&server.admin_url(), "SHOW fsync").await, "off");
    assert_eq!(ask(&server.admin_url(), "SHOW server_encoding").await, "UTF8");
    assert_eq!(ask(&server.admin_url(), "SHOW max_connections").await, "200");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn stop_leaves_nothing() {
    let server = postgres().await;
    let (folder, port) = (server.path().to_owned(), server.port());
    assert!(folder.join("data/PG_VERSION").exists());
    server.stop().await.unwrap();
    assert!(!folder.exists());
    assert!(is_free(port));
}

#[tokio::test]
async fn dropped_server_goes_even_frozen() {
    let server = postgres().await;
    let (folder, port) = (server.path().to_owned(), server.port());
    server.freeze().unwrap();
    drop(server);
    until("the folder is gone", || !folder.exists()).await;
    until("the port is free", || is_free(port)).await;
}

#[tokio::test]
async fn strangers_are_asked_for_a_password() {
    let server = postgres().await;
    let error = PgConnection::connect(&server.url("postgres", "guessed", "postgres")).await.unwrap_err();
    let refused = error.as_database_error().unwrap().code();
    assert_eq!(refused.as_deref(), Some("28P01"), "{error}");
    let mode = fs::metadata(server.path()).unwrap().mode();
    assert_eq!(mode & 0o077, 0, "others can read the data");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn servers_never_run_as_root() {
    let server = postgres().await;
    let owner = fs::metadata(server.path().join("data/postmaster.pid")).unwrap().uid();
    assert_ne!(owner, 0);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn restart_keeps_port_and_data() {
    let mut server = postgres().await;
    let (url, port) = (server.admin_url(), server.port());
    tell(&url, "CREATE TABLE kept AS SELECT 'yes'::text AS answer").await;
    server.halt().await.unwrap();
    assert!(PgConnection::connect(&url).await.is_err());
    assert!(server.freeze().is_err());
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_eq!(ask(&url, "SELECT answer FROM kept").await, "yes");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn frozen_postgres_is_silent_until_it_is_thawed() {
    let server = postgres().await;
    let mut connection = PgConnection::connect(&server.admin_url()).await.unwrap();
    server.freeze().unwrap();
    // An open session and a new one: two processes.
    let mut pending = Box::pin(connection.fetch_one("SELECT 'late'::text"));
    assert!(timeout(SILENCE, &mut pending).await.is_err());
    assert!(timeout(SILENCE, PgConnection::connect(&server.admin_url())).await.is_err());
    server.thaw().unwrap();
    let row = timeout(EVENTUALLY, pending).await.unwrap().unwrap();
    assert_eq!(row.get::<String, _>(0), "late");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn broken_setting_is_told_with_the_words_of_the_server() {
    let settings = vec![("no_such_setting".to_owned(), "1".to_owned())];
    let error = Postgres::start(&Options { settings, ..Options::for_tests() }).await.unwrap_err();
    assert!(error.to_string().contains("unrecognized configuration parameter"), "{error}");
}

#[tokio::test]
async fn redis_serves_freezes_and_forgets() {
    let mut server = Redis::start().await.unwrap();
    let password = server.password().to_owned();
    assert_eq!(redis(&server, &password, "SET key value").await.unwrap(), "+OK");
    assert!(redis(&server, "guessed", "GET key").await.unwrap().starts_with("-NOAUTH"));

    server.freeze().unwrap();
    assert!(timeout(SILENCE, redis(&server, &password, "GET key")).await.is_err());
    server.thaw().unwrap();
    assert_eq!(redis(&server, &password, "GET key").await.unwrap(), "$5");

    server.halt().await.unwrap();
    assert!(redis(&server, &password, "PING").await.is_err());
    server.restart().await.unwrap();
    assert_eq!(redis(&server, &password, "GET key").await.unwrap(), "$-1");

    let port = server.port();
    server.stop().await.unwrap();
    assert!(is_free(port));
}

#[tokio::test]
async fn transactions_of_two_clients_share_a_connection_behind_pgbouncer() {
    let server = postgres().await;
    let (admin, setup) =
        (server.admin_url(), "CREATE ROLE tenant LOGIN PASSWORD 'p/w'; CREATE DATABASE own OWNER tenant");
    for statement in setup.split("; ") {
        tell(&admin, statement).await;
    }
    let mut pool = PgBouncer::start(&server, PoolMode::Transaction, 1).await.unwrap();
    let url = pool.url("tenant", "p/w", "own");
    let (one, other) = tokio::join!(PgConnection::connect(&url), PgConnection::connect(&url));
    let mut processes = Vec::new();
    for mut connection in [one.unwrap(), other.unwrap()] {
        // Without parameters nothing is prepared: prepared statements belong to sessions, which do not exist here.
        let row = sqlx::raw_sql("SELECT pg_backend_pid()::text").fetch_one(&mut connection).await.unwrap();
        processes.push(row.get::<String, _>(0));
        connection.close().await.unwrap();
    }
    assert_eq!(processes.first(), processes.last());

    let wrong = PgConnection::connect(&pool.url("tenant", "guessed", "own")).await;
    assert!(wrong.is_err());
    pool.restart().await.unwrap();
    PgConnection::connect(&url).await.unwrap();
    pool.stop().await.unwrap();
    server.stop().await.unwrap();
}

/// Set for the program that is killed.
const HOLDS_SERVERS: &str = "HOLDS_SERVERS";

/// Starts servers, tells where they are, and never ends by itself.
async fn hold_servers() {
    let (postgres, redis) = (postgres().await, Redis::start().await.unwrap());
    let pool = PgBouncer::start(&postgres, PoolMode::Session, 1).await.unwrap();
    let ports = [postgres.port(), redis.port(), pool.port()].map(|port| port.to_string()).join(" ");
    println!("\nheld {} {ports}", postgres.path().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn killed_program_takes_its_servers_along() {
    if std::env::var_os(HOLDS_SERVERS).is_some() {
        return hold_servers().await;
    }
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_program_takes_its_servers_along", "--nocapture"])
        .env(HOLDS_SERVERS, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    let told = lines.find_map(|line| line.strip_prefix("held ").map(str::to_owned)).unwrap();
    let mut words = told.split(' ');
    let folder = PathBuf::from(words.next().unwrap());
    let ports: Vec<u16> = words.map(|port| port.parse().unwrap()).collect();
    assert!(folder.is_dir());
    assert!(ports.iter().all(|port| !is_free(*port)));

    program.kill().unwrap();
    program.wait().unwrap();
    until("the servers are gone", || ports.iter().all(|port| is_free(*port))).await;
    until("the folder is gone", || !Path::new(&folder).exists()).await;
}

/// A home in a folder that servers may not reach when they run as somebody else. What other tests start may hold its lock
/// for the moment between their fork and their program.
async fn home(folder: &Path) -> Home {
    let mut looked = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        loop {
            if let Some(home) = Home::claim(folder, "db").unwrap() {
                return home;
            }
            looked.tick().await;
        }
    };
    timeout(EVENTUALLY, waiting).await.unwrap()
}

#[tokio::test]
async fn what_a_home_keeps_is_there_at_the_same_place_in_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::for_tests();
    let (first, access) = Postgres::start_at(home(folder.path()).await, "shop", &options).await.unwrap();
    tell(&access.owner, "CREATE TABLE kept (word text)").await;
    tell(&access.owner, "INSERT INTO kept VALUES ('here')").await;
    assert_eq!(ask(&access.app, "SELECT current_user::text").await, "app");
    assert!(Home::claim(folder.path(), "db").unwrap().is_none(), "it is in use");
    first.stop().await.unwrap();

    let (second, again) = Postgres::start_at(home(folder.path()).await, "shop", &options).await.unwrap();
    assert_eq!((&again.owner, &again.app), (&access.owner, &access.app));
    assert_eq!(ask(&again.owner, "SELECT word FROM kept").await, "here");
    second.stop().await.unwrap();

    let (third, other) = Postgres::start_at(home(folder.path()).await, "more", &options).await.unwrap();
    assert_eq!(ask(&other.app, "SELECT current_database()::text").await, "more");
    assert_eq!(ask(&access.owner, "SELECT word FROM kept").await, "here");
    third.stop().await.unwrap();
    home(folder.path()).await.remove().unwrap();
}

#[tokio::test]
async fn role_that_serves_may_make_nothing_and_the_owner_may() {
    let folder = tempfile::tempdir().unwrap();
    let (server, access) =
        Postgres::start_at(home(folder.path()).await, "shop", &Options::for_tests()).await.unwrap();
    let mut app = PgConnection::connect(&access.app).await.unwrap();
    let refused = app.execute("CREATE SCHEMA mine").await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    tell(&access.owner, "CREATE SCHEMA mine").await;
    let said = "SELECT (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls)::text FROM pg_roles WHERE rolname = current_user";
    for url in [&access.app, &access.owner] {
        assert_eq!(ask(url, said).await, "false");
    }
    server.stop().await.unwrap();
    home(folder.path()).await.remove().unwrap();
}

#[tokio::test]
async fn dropped_server_leaves_its_home_and_gives_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let first = Redis::start_at(home(folder.path()).await).await.unwrap();
    let (port, url) = (first.port(), first.url());
    drop(first);
    let second = Redis::start_at(home(folder.path()).await).await.unwrap();
    assert_eq!((second.port(), second.url()), (port, url));
    second.stop().await.unwrap();
    home(folder.path()).await.remove().unwrap();
}

#[tokio::test]
async fn port_that_somebody_took_meanwhile_is_told_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let first = Redis::start_at(home(folder.path()).await).await.unwrap();
    let port = first.port();
    first.stop().await.unwrap();
    let somebody = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let error = Redis::start_at(home(folder.path()).await).await.unwrap_err();
    assert!(error.to_string().contains(&format!("port {port}, which Redis")), "{error}");
    let hint = error.hint().unwrap();
    let file = hint.split("remove ").nth(1).unwrap().split(" to take").next().unwrap();
    drop(somebody);
    fs::remove_file(file).unwrap();
    let other = Redis::start_at(home(folder.path()).await).await.unwrap();
    assert_ne!(other.port(), port);
    other.stop().await.unwrap();
    home(folder.path()).await.remove().unwrap();
}
