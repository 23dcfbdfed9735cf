//! A PostgreSQL of one's own.

use std::ffi::OsString;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::cache::{Cache, Lock};
use crate::error::StartError;
#[cfg(feature = "fetch")]
use crate::fetch::postgres as fetched;
use crate::folder::Folder;
use crate::home::Home;
use crate::kept;
use crate::programs;
use crate::server::{Launch, Ready, Server};
use crate::template::Template;
use crate::url;

pub(crate) const SUPERUSER: &str = "postgres";
pub(crate) const DATA: &str = "data";
/// What does not wait for the disk: right where a crash of the machine loses nothing that anybody wants.
const FAST: [&str; 3] = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];
/// On every server. No socket in the file system: its path would have to be short. No shared memory in `/dev/shm`,
/// which would stay when the server is killed.
const ALWAYS: [&str; 4] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "dynamic_shared_memory_type=mmap",
    "timezone=UTC",
];

/// How a PostgreSQL is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Never waits for the disk. For tests; times are then not those of a real server.
    pub fast: bool,
    /// More settings, as in `postgresql.conf`: name and value.
    pub settings: Vec<(String, String)>,
    /// Where fetched programs and fresh databases are kept; the user's cache folder where `None`.
    pub cache: Option<PathBuf>,
}

impl Options {
    /// For tests: `fast`, and room for many connections.
    pub fn for_tests() -> Self {
        let settings = vec![("max_connections".to_owned(), "200".to_owned())];
        Self { fast: true, settings, cache: None }
    }
}

/// The URLs of a database for its two roles.
#[derive(Clone)]
pub struct Access {
    /// The role that owns the database.
    pub owner: String,
    /// A role that may log in and nothing else.
    pub app: String,
}

/// A running PostgreSQL with one superuser, `postgres`, and no other role or database than it comes with.
///
/// Dropping it ends it at once without waiting for that; [`Postgres::stop`] waits.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    password: String,
}

impl Postgres {
    /// Finds or fetches PostgreSQL and starts it: about 0.2 s when it was done before, some seconds the first time.
    pub async fn start(options: &Options) -> Result<Self, StartError> {
        let account = Account::of_servers()?;
        let (programs, template) = prepared(options, &account).await?;
        let folder = Folder::create(&account)?;
        template.copy(&folder.path().join(DATA), &account).await?;
        let server = serve(account, folder, programs, options).await?;
        Ok(Self { server, password: template.password })
    }

    /// Starts it at `home`, with the data that an earlier run left there, and makes the database and its two roles, `owner`
    /// and `app`, where they are missing. The port and all passwords are those of the first run.
    ///
    /// Fails where the data were written by another major version of PostgreSQL.
    pub async fn start_at(
        home: Home,
        database: &str,
        options: &Options,
    ) -> Result<(Self, Access), StartError> {
        let account = home.account().clone();
        let (programs, template) = prepared(options, &account).await?;
        let folder = Folder::of_home(home).await?;
        let keeping = kept::prepare(&folder, &template, &programs, &account, database).await?;
        let server = serve(account, folder, programs, options).await?;
        let server = Self { server, password: keeping.superuser };
        let url = |role, password: &str| server.url(role, password, database);
        let access = Access { owner: url(kept::OWNER, &keeping.owner), app: url(kept::APP, &keeping.app) };
        Ok((server, access))
    }

    /// The URL of database `postgres` for the superuser: to make roles and databases.
    pub fn admin_url(&self) -> String {
        self.url(SUPERUSER, &self.password, SUPERUSER)
    }

    /// The URL of a database for a role, both of which the caller has made.
    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        url::postgres(self.port(), role, password, database)
    }

    /// The password of the superuser `postgres`.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Ends it (fast shutdown) and removes its folder, unless that is a home.
    pub async fn stop(self) -> Result<(), StartError> {
        self.server.stop().await
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Postgres {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// The folder of its programs, and a database to copy.
async fn prepared(options: &Options, account: &Account) -> Result<(PathBuf, Template), StartError> {
    let cache = Cache::open(options.cache.as_deref(), account)?;
    let lock = cache.lock().await?;
    let programs = find(&cache, &lock).await?;
    let template = Template::open(&cache, lock, &programs, account).await?;
    Ok((programs, template))
}

async fn serve(
    account: Account,
    folder: Folder,
    programs: PathBuf,
    options: &Options,
) -> Result<Server, StartError> {
    let program = programs.join("postgres");
    let server = Server::start(account, folder, |folder, port| {
        let data = folder.path().join(DATA);
        Ok(Launch {
            name: "PostgreSQL",
            program: program.clone(),
            args: arguments(&data, port, options),
            // Its words: fast shutdown, which ends sessions, and immediate shutdown, which leaves recovery to do.
            halt: Signal::SIGINT,
            end: Signal::SIGQUIT,
            ready: Ready::PostmasterFile(data.join("postmaster.pid")),
        })
    });
    server.await
}

fn arguments(data: &Path, port: u16, options: &Options) -> Vec<OsString> {
    let mut args = vec![OsString::from("-D"), data.into(), "-p".into(), port.to_string().into()];
    let fast = if options.fast { &FAST[..] } else { &[] };
    let fixed = ALWAYS.iter().chain(fast).map(|setting| (*setting).to_owned());
    let wanted = options.settings.iter().map(|(name, value)| format!("{name}={value}"));
    for setting in fixed.chain(wanted) {
        args.extend(["-c".into(), setting.into()]);
    }
    args
}

async fn find(cache: &Cache, lock: &Lock) -> Result<PathBuf, StartError> {
    match programs::postgres()? {
        Some(folder) => Ok(folder),
        None => fetched(cache, lock).await,
    }
}

#[cfg(not(feature = "fetch"))]
fn fetched(_: &Cache, _: &Lock) -> std::future::Ready<Result<PathBuf, StartError>> {
    let install =
        "install it (`apt-get install postgresql`, `brew install postgresql@17`), or name its folder in";
    let hint = format!("{install} `{}`", programs::POSTGRES_FOLDER);
    std::future::ready(Err(StartError::NotFound { program: "postgres", hint }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_is_waited_for_unless_asked() {
        let has_fsync = |options: &Options| {
            arguments(Path::new("data"), 1, options).iter().any(|argument| argument == "fsync=off")
        };
        assert!(!has_fsync(&Options::default()));
        assert!(has_fsync(&Options::for_tests()));
    }

    #[test]
    fn settings_of_the_caller_come_last_and_win() {
        let settings = vec![("timezone".to_owned(), "Asia/Tokyo".to_owned())];
        let args = arguments(Path::new("data"), 1, &Options { settings, ..Options::default() });
        assert_eq!(args.last().unwrap(), "timezone=Asia/Tokyo");
    }
}
