//! The serving process: how it starts, logs and stops.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::harness::{database, signal};

struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

/// Starts `serve` in staging, which logs JSON, and waits until it listens.
async fn start(mut variables: BTreeMap<String, String>) -> Process {
    variables.insert("ENVIRONMENT".into(), "staging".into());
    variables.insert("PORT".into(), "0".into());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-api"));
    command.arg("serve").env_clear().envs(&variables).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = loop {
        let line: Value =
            serde_json::from_str(&lines.next_line().await.unwrap().expect("it listens")).unwrap();
        if line["message"] == "listening" {
            break u16::try_from(line["port"].as_u64().unwrap()).unwrap();
        }
    };
    Process { child, lines, port }
}

#[tokio::test]
async fn requests_in_flight_are_answered_after_sigterm() {
    let (_, variables) = database().await;
    let mut process = start(variables).await;
    let mut stream = TcpStream::connect(("127.0.0.1", process.port)).await.unwrap();
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // The answer to another request shows that the server has read the first one's head by then.
    let mut other = TcpStream::connect(("127.0.0.1", process.port)).await.unwrap();
    other.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    other.read_u8().await.unwrap();
    signal(&process.child, "TERM").await;
    while !process.lines.next_line().await.unwrap().expect("it says that it stops").contains("\"stopping\"") {
    }
    stream.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(process.child.wait().await.unwrap().success());
    assert!(TcpStream::connect(("127.0.0.1", process.port)).await.is_err());
}

#[tokio::test]
async fn an_open_connection_brings_one_more_request_after_sigterm_and_is_told_that_it_was_the_last() {
    let (_, variables) = database().await;
    let mut process = start(variables).await;
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut stream = TcpStream::connect(("127.0.0.1", process.port)).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut first = Vec::new();
    while !first.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut first).await.unwrap(), 0);
    }
    assert!(!String::from_utf8_lossy(&first).contains("connection: close"));
    signal(&process.child, "TERM").await;
    while !process.lines.next_line().await.unwrap().expect("it says that it stops").contains("\"stopping\"") {
    }
    stream.write_all(request).await.unwrap();
    let mut last = String::new();
    stream.read_to_string(&mut last).await.unwrap();
    assert!(last.starts_with("HTTP/1.1 200") && last.contains("connection: close"), "{last}");
    assert!(process.child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_request_is_one_line_of_cloud_logging() {
    let (_, variables) = database().await;
    let mut process = start(variables).await;
    let url = format!("http://127.0.0.1:{}/health?secret=hunter2", process.port);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let answer = reqwest::Client::new()
        .get(url)
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .send()
        .await
        .unwrap();
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let line = loop {
        let line: Value = serde_json::from_str(&process.lines.next_line().await.unwrap().unwrap()).unwrap();
        if line["message"] == "request" {
            break line;
        }
    };
    assert_eq!((&line["severity"], &line["request_id"]), (&Value::from("INFO"), &Value::from(id)));
    assert_eq!(line["httpRequest"]["requestMethod"], "GET");
    assert_eq!(line["httpRequest"]["status"], 200);
    assert!(!line.to_string().contains("hunter2"), "{line}");
}

#[tokio::test]
async fn an_unmigrated_database_is_not_ready_and_not_touched() {
    let (_, variables) = database().await;
    let process = start(variables).await;
    let answer = reqwest::get(format!("http://127.0.0.1:{}/health/ready", process.port)).await.unwrap();
    assert_eq!(answer.status(), 503);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["checks"]["database_error"], "not migrated");
    let login = reqwest::Client::new()
        .post(format!("http://127.0.0.1:{}/api/v1/auth/login", process.port))
        .header("X-Tenant-ID", "6f1c1f3e-4b52-4c54-9d0e-3f1d6a2b9c10")
        .body(r#"{"email": "a@b.com", "password": "x"}"#);
    assert_eq!(login.send().await.unwrap().status(), 503);
}
