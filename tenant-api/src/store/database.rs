//! The connections: a pool of the run-time role, and one of the role that owns the schemas.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Postgres, Transaction};

use super::{Result, sql};
use crate::settings::Settings;

/// Longest wait for a connection, including making one.
const ACQUIRE: Duration = Duration::from_secs(3);

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
        Ok(self.runtime.begin().await?)
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
        let mut transaction = self.owner.begin().await?;
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

fn pool(options: &PgConnectOptions, connections: u32) -> PgPool {
    let options = options
        .clone()
        .application_name("tenant-api")
        .statement_cache_capacity(0)
        // pgbouncer refuses start-up parameters that it does not know.
        .extra_float_digits(None);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(Duration::from_mins(5))
        // The first one to ask after a restart of the server must not be the one to find out.
        .test_before_acquire(false)
        .before_acquire(|connection, _| {
            Box::pin(async move {
                let alive = tokio::time::timeout(Duration::from_secs(1), connection.ping()).await;
                Ok(matches!(alive, Ok(Ok(()))))
            })
        })
        .connect_lazy_with(options)
}
