//! `dev` from outside: what it prints works, and nothing of it stays.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::harness::signal;

/// Ends what `dev` prints before it serves.
const LAST: &str = "Ctrl-C stops it all";

struct Demo {
    child: Child,
    output: BufReader<ChildStdout>,
    welcome: String,
}

fn dev() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-api"));
    command.arg("dev").stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for name in ["ENVIRONMENT", "PORT", "REDIS_URL", "PLATFORM_ADMIN_TOKEN"] {
        command.env_remove(name);
    }
    command
}

/// Starts a demo, beside a database of somebody else that it must not look at, and reads what it prints.
async fn start() -> Demo {
    let mut command = dev();
    command.args(["--port", "0"]).env("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/theirs");
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut welcome = String::new();
    while !welcome.contains(LAST) {
        assert_ne!(output.read_line(&mut welcome).await.unwrap(), 0, "it ended: {welcome}");
    }
    Demo { child, output, welcome }
}

impl Demo {
    /// The rest of the line after `before`, up to a space.
    fn told(&self, before: &str) -> &str {
        let (_, after) = self.welcome.split_once(before).unwrap();
        after.split_whitespace().next().unwrap()
    }

    /// The indented lines, but for those of a program that may be absent.
    fn script(&self) -> String {
        let commands = self.welcome.lines().filter_map(|line| line.strip_prefix("  "));
        commands.filter(|line| !line.starts_with("psql")).collect::<Vec<_>>().join("\n")
    }
}

#[tokio::test]
async fn demo_works_as_it_says_and_leaves_nothing() {
    let mut demo = start().await;
    let base = demo.told("serves at ").trim_end_matches(',').to_owned();
    let login = reqwest::Client::new()
        .post(format!("{base}/api/v1/auth/login"))
        .header("X-Tenant-ID", demo.told("X-Tenant-ID: ").trim_end_matches('\''))
        .json(&serde_json::json!({"email": demo.told("user ").trim_end_matches(','), "password": demo.told("password ")}))
        .send()
        .await
        .unwrap();
    assert_eq!(login.status(), 200);
    let database: sqlx::postgres::PgConnectOptions = demo.told("psql ").parse().unwrap();
    assert!(TcpStream::connect((database.get_host(), database.get_port())).await.is_ok());

    signal(&demo.child, "INT").await;
    let mut rest = String::new();
    demo.output.read_to_string(&mut rest).await.unwrap();
    assert!(demo.child.wait().await.unwrap().success(), "{rest}");
    assert!(rest.contains("gone"), "{rest}");
    assert!(TcpStream::connect((database.get_host(), database.get_port())).await.is_err());
}

#[tokio::test]
async fn printed_commands_work_when_they_are_pasted() {
    if Command::new("curl").arg("--version").output().await.is_err() {
        eprintln!("not tested, no curl here: the commands that `dev` prints");
        return;
    }
    let demo = start().await;
    let output = Command::new("sh").args(["-c", &demo.script()]).output().await.unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    let emails: Vec<_> = answers.lines().map(|line| line.contains("admin@demo.example")).collect();
    assert_eq!(emails, [true, true, false], "by token, by key, and another tenant: {answers}");
    assert!(answers.contains("tenant_second"), "{answers}");
}

#[tokio::test]
async fn taken_port_is_told_before_a_database_is_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = dev().args(["--port", &port]).output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on port {port}")), "{said}");
    assert!(!said.contains("PostgreSQL"), "{said}");
}
