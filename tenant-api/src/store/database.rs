//! The connections: a pool of the run-time role, and one of the role that owns the schemas.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions as _, Error, Executor as _, Postgres, Transaction};

use super::{Result, sql};
use crate::settings::Settings;

/// Longest wait for a connection, including making one.
const ACQUIRE: Duration = Duration::from_secs(3);

/// Longest wait for the first answer of a connection, waiting for the connection included.
const FIRST: Duration = Duration::from_secs(5);

/// Longest statement of a request. The server cancels it; what waits for a frozen server ends by the request's own limit.
const STATEMENT: &str = "5s";

/// Longest statement of a migration, which may rewrite a table.
const MIGRATION: &str = "15min";

/// The database as this process reaches it.
#[derive(Clone)]
pub struct Database {
    runtime: PgPool,
    owner: PgPool,
    /// Name of the run-time role where it is not the owner.
    runtime_role: Option<String>,
}

impl Database {
    /// Prepares the pools; connections are made when they are needed.
    pub fn new(settings: &Settings) -> Self {
        let runtime = pool(&settings.database, settings.max_connections);
        let Some(options) = &settings.database_owner else {
            return Self { owner: runtime.clone(), runtime, runtime_role: None };
        };
        let role = settings.database.get_username();
        let runtime_role = (role != options.get_username()).then(|| role.to_owned());
        // Tenants are made and changed seldom: few connections do. Migrating all of them takes as many at a time.
        Self { runtime, owner: pool(options, 8), runtime_role }
    }

    /// Most connections of the role that owns the schemas.
    pub(super) fn owner_connections(&self) -> usize {
        self.owner.options().get_max_connections() as usize
    }

    /// The role to grant rights to; `None` where one role does both.
    pub fn runtime_role(&self) -> Option<&str> {
        self.runtime_role.as_deref()
    }

    /// Starts a transaction of the run-time role.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        first(&self.runtime, || self.runtime.begin()).await
    }

    /// Runs one statement without parameters as the run-time role, in one exchange and a transaction of its own. It may run twice.
    pub(super) async fn ask(&self, statement: &str) -> Result<Option<PgRow>> {
        first(&self.runtime, || self.runtime.fetch_optional(statement)).await
    }

    /// Starts a transaction of the owner, with the time that migrations may take.
    pub(super) async fn begin_migration(&self) -> Result<Transaction<'static, Postgres>> {
        self.begin_as_owner(MIGRATION).await
    }

    /// Starts a transaction of the owner for a request.
    pub(super) async fn begin_platform(&self) -> Result<Transaction<'static, Postgres>> {
        self.begin_as_owner(STATEMENT).await
    }

    async fn begin_as_owner(&self, limit: &str) -> Result<Transaction<'static, Postgres>> {
        let mut transaction = first(&self.owner, || self.owner.begin()).await?;
        sql("SELECT set_config('statement_timeout', $1, true)")
            .bind(limit)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction)
    }

    /// Closes all connections after what runs on them.
    pub async fn close(&self) {
        self.runtime.close().await;
        self.owner.close().await;
    }
}

/// The time limit of statements, which every unit of work sets for its transaction. As a start-up parameter proxies would refuse it.
pub(super) fn statement_limit() -> &'static str {
    STATEMENT
}

/// Does the first thing that is wanted of a connection. Whether one that lay idle still lives, only using it tells; who finds it dead
/// tries the next one, so that nobody suffers from a restart of the server. What is done must do no harm when it is done twice.
async fn first<T, F>(pool: &PgPool, work: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = std::result::Result<T, Error>>,
{
    // There are no more dead ones than connections.
    for _ in 0..pool.options().get_max_connections() {
        match tokio::time::timeout(FIRST, work()).await {
            Err(_) => return Err(Error::PoolTimedOut.into()),
            Ok(Err(error)) if died(&error) => {}
            Ok(done) => return Ok(done?),
        }
    }
    Ok(work().await?)
}

/// Whether an error says that the other side ended the connection.
fn died(error: &Error) -> bool {
    use std::io::ErrorKind as K;
    match error {
        Error::Io(io) => {
            matches!(io.kind(), K::UnexpectedEof | K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe)
        }
        // An answer cut off in the middle.
        Error::Protocol(_) => true,
        // admin_shutdown, crash_shutdown: what the server said last, read when the connection is used next.
        Error::Database(said) => matches!(said.code().as_deref(), Some("57P01" | "57P02")),
        _ => false,
    }
}

fn pool(options: &PgConnectOptions, connections: u32) -> PgPool {
    let options = options
        .clone()
        .application_name("tenant-api")
        .statement_cache_capacity(0)
        // pgbouncer refuses start-up parameters that it does not know.
        .extra_float_digits(None)
        // The text of a statement may name what is nobody else's business.
        .disable_statement_logging();
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(Duration::from_mins(5))
        // `first` finds out with less.
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn only_a_connection_that_the_other_side_ended_is_tried_again_on_another() {
        let io = |kind| Error::Io(std::io::Error::from(kind));
        assert!(died(&io(ErrorKind::UnexpectedEof)) && died(&io(ErrorKind::ConnectionReset)));
        assert!(!died(&io(ErrorKind::ConnectionRefused)) && !died(&io(ErrorKind::TimedOut)));
        assert!(!died(&Error::PoolTimedOut) && !died(&Error::RowNotFound));
    }
}
