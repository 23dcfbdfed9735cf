//! How instances end, also when the sandbox does not end them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::stage::{FIXTURE, app, is_alive, stage, var, with};
use crate::support::EVENTUALLY;

/// A guard with `command` below it, the end of the pipe that it holds, and the process that it guards.
struct Guarded {
    guard: std::process::Child,
    report: tempfile::NamedTempFile,
}

impl Guarded {
    /// The command's first line of output is read and answered.
    fn start(grace: &str, memory: &str, command: &[&str], mode: &str) -> (Self, String) {
        let report = tempfile::NamedTempFile::new().unwrap();
        let mut guard = Command::new(FIXTURE);
        guard
            .args(["__sandbox-guard", grace, memory, "", ""])
            .arg(report.path())
            .args(command)
            .env("MODE", mode);
        let mut guard = guard.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(guard.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        (Self { guard, report }, line.trim().to_owned())
    }

    /// What the guard reports, once it has ended.
    fn end(mut self) -> serde_json::Value {
        // `wait` would close the pipe.
        let _pipe = self.guard.stdin.take();
        let began = std::time::Instant::now();
        while self.guard.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < EVENTUALLY, "the guard stays");
            std::thread::yield_now();
        }
        serde_json::from_str(&std::fs::read_to_string(self.report.path()).unwrap()).unwrap()
    }
}

/// Waits for a file of /proc to go.
fn until_gone(process: &str) {
    let began = std::time::Instant::now();
    while is_alive(process) {
        assert!(began.elapsed() < EVENTUALLY, "{process} stays");
        std::thread::yield_now();
    }
}

#[test]
fn a_closed_pipe_ends_the_process_with_sigterm() {
    let (mut guarded, line) = Guarded::start("60000", "0", &["/bin/sh", "-c", "echo $$; exec sleep 600"], "");
    assert!(is_alive(&line));
    drop(guarded.guard.stdin.take());
    assert_eq!(guarded.end(), json!({"signal": 15}));
    until_gone(&line);
}

#[test]
fn who_ignores_sigterm_is_killed_after_the_grace() {
    let script = "trap '' TERM; echo $$; while :; do sleep 600; done";
    let (mut guarded, line) = Guarded::start("50", "0", &["/bin/sh", "-c", script], "");
    drop(guarded.guard.stdin.take());
    assert_eq!(guarded.end(), json!({"signal": 9}));
    until_gone(&line);
}

#[test]
fn what_left_the_process_group_ends_too() {
    let (guarded, line) =
        Guarded::start("1000", "0", &["/bin/sh", "-c", "setsid sleep 600 & echo $!; exit 3"], "");
    assert_eq!(guarded.end(), json!({"exit": 3}));
    until_gone(&line);
}

#[test]
fn more_memory_than_the_limit_ends_the_process() {
    let (guarded, _) = Guarded::start("1000", "30000000", &[FIXTURE], "eat");
    assert!(guarded.end()["memory"].as_u64().unwrap() > 30_000_000);
}

#[tokio::test]
async fn a_request_that_needs_too_much_memory_ends_its_instance() {
    let stage = stage().await;
    let limits = json!({"limits": {"memory": "128Mi", "cpu": "500m"}, "cpuIdle": true});
    stage.serve("api", with(app("serve"), "resources", limits)).await;
    assert_eq!(stage.ask("api", "/eat/300").await.status(), 503);
    let said = stage.until_logged("severity=ERROR textPayload:\"memory limit of 128 MiB\"").await;
    assert_eq!(said["logName"], "projects/agent-army-dev/logs/run.googleapis.com%2Fvarlog%2Fsystem");
}

#[tokio::test]
async fn nothing_runs_after_the_sandbox_has_stopped() {
    let stage = stage().await;
    stage.serve("api", app("serve")).await;
    let revision = stage.latest("api").await;
    let port = stage.instances("api", &revision).await[0]["port"].as_u64().unwrap();
    let own = |port: u64| std::net::TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).is_ok();
    assert!(own(port));
    stage.client.sandbox.stop().await;
    assert!(!own(port));
}

/// A sandbox in a process of its own, that a test can kill: the fixture with `MODE=sandbox`.
#[test]
fn nothing_runs_after_the_sandbox_was_killed() {
    let mut sandbox = Command::new(FIXTURE).env("MODE", "sandbox").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(sandbox.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /pid HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let process = answer.rsplit("\r\n").next().unwrap().to_owned();
    assert!(is_alive(&process), "{answer}");
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    until_gone(&process);
    assert!(!Path::new(&format!("/proc/{process}/exe")).exists());
}

#[tokio::test]
async fn an_instance_whose_liveness_probe_fails_is_replaced() {
    let stage = stage().await;
    let probe = json!({"httpGet": {"path": "/health"}, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2});
    stage.serve("api", with(app("serve"), "livenessProbe", probe)).await;
    let revision = stage.latest("api").await;
    let before = stage.instances("api", &revision).await[0]["id"].clone();
    stage.text("api", "/sicken").await;
    stage.until_logged("textPayload:\"LIVENESS probe failed\"").await;
    stage.until_instances("api", &revision, 0).await;
    assert_eq!(stage.text("api", "/health").await, "fine");
    assert_ne!(stage.instances("api", &revision).await[0]["id"], before);
}

#[tokio::test]
async fn an_instance_that_is_not_ready_gets_no_requests() {
    let stage = stage().await;
    let probe = json!({"httpGet": {"path": "/health"}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1});
    let mut service = with(app("serve"), "readinessProbe", probe);
    service["template"]["scaling"] = json!({"maxInstanceCount": 1});
    service["launchStage"] = json!("BETA");
    stage.serve("api", service).await;
    let revision = stage.latest("api").await;
    stage.text("api", "/sicken").await;
    stage.until("api", &revision, |pool| pool["instances"][0]["ready"] == false).await;
    assert_eq!(stage.ask("api", "/").await.status(), 429);
    let instance = stage.instances("api", &revision).await.remove(0);
    stage.ask_instance(&instance, "/heal").await;
    stage.until("api", &revision, |pool| pool["instances"][0]["ready"] == true).await;
    assert_eq!(stage.text("api", "/health").await, "fine");
}

#[tokio::test]
async fn an_instance_that_ends_by_itself_is_replaced_on_the_next_request() {
    let stage = stage().await;
    stage.serve("api", var(app("serve"), "A", "b")).await;
    let revision = stage.latest("api").await;
    assert_eq!(stage.ask("api", "/exit/7").await.status(), 503);
    stage.until_logged("textPayload:\"The container exited with status 7\"").await;
    assert_eq!(stage.text("api", "/").await, revision);
}
