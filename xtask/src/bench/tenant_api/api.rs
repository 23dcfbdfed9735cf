//! The API as a process, and the servers that it needs.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use private_servers::{Options, Postgres, Redis};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::bench::client::{Connection, Request};
use crate::bench::process::succeed;

/// What manages tenants of the measured API, which ends with the measurement.
pub(super) const PLATFORM_TOKEN: &str = "bench-0123456789abcdef0123456789abcdef";
pub(super) const PASSWORD: &str = "correct horse battery";

/// The password of both roles on the private PostgreSQL.
const ROLE: &str = "bench";
const DATABASE: &str = "api";

/// Longest wait for the first answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Clock ticks in a second of `/proc/PID/stat`: part of the kernel's interface on Linux, whatever its own clock is.
const TICKS: f64 = 100.0;

/// PostgreSQL with both roles and an empty database, and Redis.
pub(super) struct Backends {
    postgres: Postgres,
    redis: Redis,
}

impl Backends {
    pub(super) async fn start() -> Result<Self, String> {
        // As on a real server, the disk is waited for.
        let settings = vec![("max_connections".to_owned(), "100".to_owned())];
        let options = Options { settings, ..Options::default() };
        let (postgres, redis) = tokio::join!(Postgres::start(&options), Redis::start());
        let postgres = postgres.map_err(|error| format!("PostgreSQL: {error}"))?;
        let redis = redis.map_err(|error| format!("Redis: {error}"))?;
        let failed = |error: sqlx::Error| format!("preparing PostgreSQL: {error}");
        let mut admin = PgConnection::connect(&postgres.admin_url()).await.map_err(failed)?;
        for statement in [
            format!("CREATE ROLE owner LOGIN PASSWORD '{ROLE}'"),
            format!("CREATE ROLE app LOGIN PASSWORD '{ROLE}'"),
            format!("CREATE DATABASE {DATABASE} OWNER owner"),
        ] {
            admin.execute(statement.as_str()).await.map_err(failed)?;
        }
        admin.close().await.map_err(failed)?;
        Ok(Self { postgres, redis })
    }

    pub(super) fn owner_url(&self) -> String {
        self.postgres.url("owner", ROLE, DATABASE)
    }

    /// Makes a tenant with an admin by the program's own command, which also migrates.
    pub(super) fn provision(&self, program: &Path, slug: &str, email: &str) -> Result<(), String> {
        let mut command = self.command(program);
        command.args(["provision", "--slug", slug, "--name", slug, "--admin-email", email]);
        succeed(command.env("ADMIN_PASSWORD", PASSWORD)).map(drop)
    }

    fn command(&self, program: &Path) -> Command {
        let variables = BTreeMap::from([
            ("ENVIRONMENT", "production".to_owned()),
            ("DATABASE_URL", self.postgres.url("app", ROLE, DATABASE)),
            ("DATABASE_OWNER_URL", self.owner_url()),
            ("REDIS_URL", self.redis.url()),
            ("JWT_SECRET_KEY", "0123456789abcdef0123456789abcdef".to_owned()),
            ("PLATFORM_ADMIN_TOKEN", PLATFORM_TOKEN.to_owned()),
            // What is measured is the work, counting included, and not its refusal.
            ("RATE_LIMIT_PER_MINUTE", "10000000".to_owned()),
            ("LOGIN_MAX_FAILURES", "1000".to_owned()),
        ]);
        let mut command = Command::new(program);
        command.env_clear().envs(variables);
        command
    }
}

/// A running server; killed when dropped.
pub(super) struct Api {
    child: Child,
    pub(super) port: u16,
    /// From the start of the process to the first answer of `/health` that is 200.
    pub(super) first_answer: Duration,
}

impl Drop for Api {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Api {
    pub(super) async fn start(program: &Path, backends: &Backends) -> Result<Self, String> {
        let port = free_port().map_err(|error| format!("no free port: {error}"))?;
        let mut command = backends.command(program);
        command.args(["serve", "--port", &port.to_string()]);
        // Logs are written, as in service, and read by nobody.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let begun = Instant::now();
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let mut api = Self { child, port, first_answer: Duration::ZERO };
        let health = Request::get("/health", &[]);
        while !answers(port, &health).await {
            if let Ok(Some(status)) = api.child.try_wait() {
                return Err(format!("tenant-api ended while it started: {status}"));
            }
            if begun.elapsed() > PATIENCE {
                return Err("tenant-api does not answer".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        api.first_answer = begun.elapsed();
        Ok(api)
    }

    /// CPU time so far, of all threads, in steps of 10 ms.
    pub(super) fn cpu_ms(&self) -> Result<f64, String> {
        cpu_ms(&self.proc("stat")?).ok_or_else(|| "/proc says no CPU time".to_owned())
    }

    /// What is resident now.
    pub(super) fn resident_kib(&self) -> Result<f64, String> {
        resident_kib(&self.proc("status")?).ok_or_else(|| "/proc says no memory".to_owned())
    }

    fn proc(&self, file: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error} (this needs Linux)"))
    }
}

async fn answers(port: u16, request: &Request) -> bool {
    match Connection::open(port).await {
        Ok(mut connection) => connection.send(request).await.is_ok(),
        Err(_) => false,
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// User and system time, fields 14 and 15 of proc_pid_stat(5). The name before them may hold blanks and brackets.
fn cpu_ms(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11).map(str::parse::<f64>);
    let (user, system) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some((user + system) * 1000.0 / TICKS)
}

fn resident_kib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_the_kernel_writes_them() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 9 1 1";
        assert_eq!(cpu_ms(stat), Some(3000.0));
        assert_eq!(cpu_ms("42 (a) S 1"), None);
        assert_eq!(resident_kib("Name:\ta\nVmRSS:\t   20480 kB\n"), Some(20480.0));
        assert_eq!(resident_kib("Name:\ta\n"), None);
    }
}
