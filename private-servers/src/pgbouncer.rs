//! A PgBouncer of one's own, in front of a PostgreSQL of one's own.

use std::ops::{Deref, DerefMut};

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::error::StartError;
use crate::folder::Folder;
use crate::postgres::{Postgres, SUPERUSER};
use crate::server::{Launch, Ready, Server};
use crate::{programs, url};

/// When a connection to PostgreSQL goes back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// When the client leaves.
    Session,
    /// After each transaction: what a session sets is lost, or worse, seen by the next client.
    Transaction,
    /// After each statement.
    Statement,
}

/// A running PgBouncer. It knows every role and every database of its PostgreSQL, also those made later: it asks for
/// passwords there.
///
/// Dropping it ends it at once without waiting for that; [`PgBouncer::stop`] waits.
#[derive(Debug)]
pub struct PgBouncer {
    server: Server,
}

impl PgBouncer {
    /// Starts `pgbouncer`, which is not fetched, in front of `postgres` with at most `pool` connections to it for each
    /// pair of role and database.
    pub async fn start(postgres: &Postgres, mode: PoolMode, pool: u16) -> Result<Self, StartError> {
        let program = programs::pgbouncer().ok_or_else(|| StartError::NotFound {
            program: "pgbouncer",
            hint: "install it: `apt-get install pgbouncer`, `brew install pgbouncer`".to_owned(),
        })?;
        let account = Account::of_servers()?;
        let folder = Folder::create(&account)?;
        let server = Server::start(account.clone(), folder, |folder, port| {
            let users = format!("\"{SUPERUSER}\" \"{}\"\n", postgres.password());
            let users = folder.write("users.txt", &users, &account)?;
            let text = configuration(port, postgres.port(), mode, pool, &users.display().to_string());
            let file = folder.write("pgbouncer.ini", &text, &account)?;
            Ok(Launch {
                name: "PgBouncer",
                program: program.clone(),
                args: vec![file.into()],
                // It keeps nothing, and what the other signals mean differs between its versions.
                halt: Signal::SIGKILL,
                end: Signal::SIGKILL,
                ready: Ready::Log("process up"),
            })
        });
        Ok(Self { server: server.await? })
    }

    /// The URL of a database for a role through the pool.
    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        url::postgres(self.port(), role, password, database)
    }

    /// Ends it and removes its folder.
    pub async fn stop(self) -> Result<(), StartError> {
        self.server.stop().await
    }
}

impl Deref for PgBouncer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for PgBouncer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Roles log in with SCRAM on both sides: `auth_query` reads their verifiers as the superuser, which `users` has the
/// password of. `extra_float_digits` and the like are set by common clients, and differ in nothing that matters here.
fn configuration(port: u16, postgres: u16, mode: PoolMode, pool: u16, users: &str) -> String {
    let mode = match mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
        PoolMode::Statement => "statement",
    };
    format!(
        "[databases]\n* = host=127.0.0.1 port={postgres}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {users}\n\
         auth_user = {SUPERUSER}\npool_mode = {mode}\ndefault_pool_size = {pool}\nmax_client_conn = 1000\n\
         ignore_startup_parameters = extra_float_digits,options\n"
    )
}
