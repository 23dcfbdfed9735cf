//! What is kept: tenants' data in PostgreSQL, counters and marks in Redis.
//!
//! Nothing here decides who may do what. Rows of a tenant can only be reached through a [`unit::TenantUnit`].

pub mod api_keys;
pub mod audit;
pub mod callers;
pub mod database;
pub mod inspect;
pub mod kv;
pub mod migrate;
pub mod roles;
pub mod sessions;
#[cfg(all(feature = "dev", unix))]
pub mod setup;
pub mod tenants;
pub mod unit;
pub mod users;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::{Query, QueryAs};
use sqlx::{FromRow, Postgres};

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, or none in time: the caller may try again.
    #[error("the database does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// A unique value exists already.
    #[error("a value exists already")]
    Conflict(#[source] sqlx::Error),
    /// A table or column that this program needs is not there: the schema was not migrated, or not yet.
    #[error("the schema is not the one of this program")]
    NotMigrated(#[source] sqlx::Error),
    #[error("the database refused a statement")]
    Failed(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            // The driver calls the end of a connection in the middle of an answer an error of the protocol.
            E::Io(_) | E::Tls(_) | E::Protocol(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => {
                Self::Unavailable(error)
            }
            E::Database(database) => match database.code().as_deref() {
                Some("23505") => Self::Conflict(error),
                // No such table, column, schema or function.
                Some("42P01" | "42703" | "3F000" | "42883") => Self::NotMigrated(error),
                // Connection failures, no free slot, shutting down, cancelled by statement_timeout, no lock in time.
                Some(code)
                    if code.starts_with("08")
                        || code.starts_with("53")
                        || code.starts_with("57")
                        || code == "55P03" =>
                {
                    Self::Unavailable(error)
                }
                _ => Self::Failed(error),
            },
            _ => Self::Failed(error),
        }
    }
}

/// The result of everything that the store does.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A statement. Never a named one: behind a proxy that pools transactions the next one may reach another connection.
pub(crate) fn sql(text: &str) -> Query<'_, Postgres, PgArguments> {
    sqlx::query(text).persistent(false)
}

/// A statement with rows, see [`sql`].
pub(crate) fn rows<'q, T>(text: &'q str) -> QueryAs<'q, Postgres, T, PgArguments>
where
    T: for<'r> FromRow<'r, PgRow>,
{
    sqlx::query_as(text).persistent(false)
}

/// A name as it stands in a statement where no parameter can: in DDL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_name_cannot_end_early() {
        assert_eq!(quoted("a\"; DROP"), "\"a\"\"; DROP\"");
    }
}
