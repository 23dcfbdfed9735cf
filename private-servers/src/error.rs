//! What can go wrong with a server, in words that say what was being done.

use std::io;
use std::path::PathBuf;

/// Why a server could not be started, stopped or signalled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The program is not on this machine.
    #[error("there is no {program} on this machine")]
    NotFound {
        /// The program, as it is called on the command line.
        program: &'static str,
        /// What to do about it.
        hint: String,
    },
    /// `PRIVATE_POSTGRES_BIN` names a folder without PostgreSQL.
    #[error("`{variable}` is {}, which has no `{missing}`", folder.display())]
    WrongFolder {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        folder: PathBuf,
        /// The program that is not there.
        missing: &'static str,
    },
    /// PostgreSQL could not be fetched or unpacked.
    #[error("fetching PostgreSQL failed: {reason}")]
    Fetch {
        /// What the client said.
        reason: String,
    },
    /// `initdb` or `postgres --version` failed.
    #[error("`{program}` failed: {output}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it printed.
        output: String,
    },
    /// The server ended instead of serving.
    #[error("{server} ended while it was starting; its log ends with:\n{log}")]
    Ended {
        /// The server.
        server: &'static str,
        /// The last lines of its log.
        log: String,
    },
    /// The server did not get ready.
    #[error("{server} was not ready after {seconds} s; its log ends with:\n{log}")]
    TimedOut {
        /// The server.
        server: &'static str,
        /// How long it was waited for.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// A signal was meant for a server that is halted.
    #[error("{server} is not running")]
    NotRunning {
        /// The server.
        server: &'static str,
    },
    /// We are root, and there is no user to run servers as.
    #[error("servers cannot run as root, and there is neither a user `postgres` nor `nobody`")]
    NoAccount,
    /// We are root, and the user that servers run as cannot enter a folder.
    #[error("user `{user}` cannot enter {}, where servers would keep their data", folder.display())]
    Unreachable {
        /// The user that servers run as.
        user: String,
        /// The first folder on the path that is closed.
        folder: PathBuf,
    },
    /// The port that a home has kept belongs to somebody else now.
    #[error("port {port}, which {server} has been serving on, is taken by another program")]
    PortTaken {
        /// The server.
        server: &'static str,
        /// The port of 127.0.0.1.
        port: u16,
        /// What remembers it.
        file: PathBuf,
    },
    /// A server of an earlier run does not end.
    #[error("the server of an earlier run still uses {}", folder.display())]
    StillRuns {
        /// The home.
        folder: PathBuf,
    },
    /// The data of a home were written by another version of PostgreSQL.
    #[error("the data in {} are of {kept}, and this machine has {found} now", folder.display())]
    OtherVersion {
        /// The home.
        folder: PathBuf,
        /// What wrote them.
        kept: String,
        /// What is there now.
        found: String,
    },
    /// A file, a folder or a process.
    #[error("{doing} failed")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    /// What the user can do, where there is something: a command to run, a variable to set.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { hint, .. } => Some(hint.clone()),
            Self::WrongFolder { variable, .. } => {
                Some(format!("name the folder of `postgres` and `initdb`, or unset `{variable}`"))
            }
            Self::Fetch { .. } => Some("install PostgreSQL, or go online".to_owned()),
            Self::NoAccount => {
                Some("run as another user, or add one: `useradd --system postgres`".to_owned())
            }
            Self::PortTaken { file, .. } => {
                Some(format!("end what listens there, or remove {} to take another port", file.display()))
            }
            Self::StillRuns { folder } => {
                Some(format!("end it: its process is line 1 of {}", folder.join("pid").display()))
            }
            Self::OtherVersion { folder, kept, .. } => {
                Some(format!("install {kept}, or remove {} with its data", folder.display()))
            }
            Self::Unreachable { .. } => Some("set `TMPDIR` to a folder that everybody can enter".to_owned()),
            _ => None,
        }
    }
}

/// Says what was being done when the system refused.
pub(crate) trait Doing<T> {
    /// The error with `doing` before it.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, StartError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, StartError> {
        self.map_err(|source| StartError::Io { doing: doing(), source })
    }
}

/// Runs what would block, a lock or a thousand small files, away from the asynchronous threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(StartError::Io { doing: "starting".to_owned(), source: error.into() }))
}
