//! A private PostgreSQL and Redis for this test process, started when first needed and gone with it.
//!
//! A stand-in until the workspace's library that starts servers is there; nothing else knows how they are started.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// What stands between the API and a server; it can be cut, frozen and mended.
pub struct Wire {
    pub port: u16,
    state: watch::Sender<Line>,
}

/// How a [`Wire`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Whole,
    /// Nothing comes through, and nobody is told.
    Frozen,
    /// Connections are closed, and new ones too.
    Cut,
}

impl Wire {
    pub async fn to(target: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, watched) = watch::channel(Line::Whole);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, target, watched.clone()));
            }
        });
        Self { port, state }
    }

    pub fn set(&self, line: Line) {
        self.state.send_replace(line);
    }
}

async fn carry(near: TcpStream, target: u16, mut line: watch::Receiver<Line>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    loop {
        let now = *line.borrow_and_update();
        let (mut up, mut down) = ([0; 4096], [0; 4096]);
        tokio::select! {
            changed = line.changed() => if changed.is_err() { return },
            read = near_in.read(&mut up), if now == Line::Whole => match read {
                Ok(count) if count > 0 => if far_out.write_all(&up[..count]).await.is_err() { return },
                _ => return,
            },
            read = far_in.read(&mut down), if now == Line::Whole => match read {
                Ok(count) if count > 0 => if near_out.write_all(&down[..count]).await.is_err() { return },
                _ => return,
            },
            () = std::future::ready(()), if now == Line::Cut => return,
        }
    }
}

/// A server; it ends when the pipe closes, which the system does however this process ends.
pub struct Server {
    pub port: u16,
    /// Holds the pipe.
    _shell: Child,
}

/// PostgreSQL with the superuser `admin` and the roles `owner` and `app`, none with a password.
pub fn postgres() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let (data, port) = (folder("pg"), free_port());
        let account = account();
        if let Some((uid, gid)) = account {
            chown(&data, Some(uid), Some(gid)).unwrap();
        }
        let bin = binaries();
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["-U", "admin", "--auth=trust", "-E", "UTF8", "--no-sync", "-D"]).arg(&data);
        let done = as_account(&mut initdb, account).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let start = format!(
            "'{}' -D '{}' -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='{1}' -c fsync=off -c max_connections=500",
            bin.join("postgres").display(),
            data.display(),
        );
        let server = start_guarded(&start, "INT", &data, port, account);
        make_roles(port, &bin);
        server
    })
}

/// Redis without persistence.
pub fn redis() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let (data, port) = (folder("redis"), free_port());
        let start =
            format!("redis-server --port {port} --bind 127.0.0.1 --save '' --dir '{}'", data.display());
        start_guarded(&start, "TERM", &data, port, None)
    })
}

/// pgbouncer that pools transactions, with one server connection for each role and database: whatever a client leaves behind on
/// a connection, the next client finds.
pub fn pgbouncer() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let (data, port, account) = (folder("pgbouncer"), free_port(), account());
        fs::write(data.join("users"), "\"app\" \"\"\n\"owner\" \"\"\n").unwrap();
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}/users\npool_mode = transaction\ndefault_pool_size = 1\nmax_client_conn = 500\n",
            postgres().port,
            data.display()
        );
        fs::write(data.join("ini"), config).unwrap();
        if let Some((uid, gid)) = account {
            chown(&data, Some(uid), Some(gid)).unwrap();
        }
        start_guarded(&format!("pgbouncer '{}/ini'", data.display()), "TERM", &data, port, account)
    })
}

fn make_roles(port: u16, bin: &Path) {
    let sql = "CREATE ROLE owner LOGIN; CREATE ROLE app LOGIN; CREATE ROLE bypasser LOGIN BYPASSRLS;";
    let mut psql = Command::new(bin.join("psql"));
    psql.args(["-h", "127.0.0.1", "-U", "admin", "-d", "postgres", "-p", &port.to_string(), "-c", sql]);
    let until = Instant::now() + Duration::from_secs(30);
    // It accepts connections before it is ready to serve them.
    while !psql.output().unwrap().status.success() {
        assert!(Instant::now() < until, "PostgreSQL does not come up");
        std::thread::yield_now();
    }
}

/// Starts a command that ends with this process: a shell waits for the end of the pipe from us.
fn start_guarded(command: &str, signal: &str, data: &Path, port: u16, account: Option<(u32, u32)>) -> Server {
    let script = format!(
        "{command} >'{data}/log' 2>&1 </dev/null & server=$!; cat >/dev/null; kill -{signal} $server; wait $server; rm -rf '{data}'",
        data = data.display(),
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = as_account(&mut shell, account).process_group(0).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "{}", fs::read_to_string(data.join("log")).unwrap_or_default());
        std::thread::yield_now();
    }
    Server { port, _shell: child }
}

fn as_account(command: &mut Command, account: Option<(u32, u32)>) -> &mut Command {
    match account {
        Some((uid, gid)) => command.current_dir("/").uid(uid).gid(gid),
        None => command,
    }
}

/// Whom to run PostgreSQL as, which refuses root; `None` if we are somebody else.
fn account() -> Option<(u32, u32)> {
    let us = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").ok()?);
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let ids = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse::<u32>);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    if us == 0 { ids("postgres").or_else(|| ids("nobody")) } else { None }
}

fn binaries() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
    found.sort();
    found.pop().expect("PostgreSQL's binaries are needed (Debian: postgresql)")
}

fn folder(kind: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tenant-api-{kind}-{}", uuid::Uuid::new_v4().simple()));
    fs::create_dir(&path).unwrap();
    path
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
