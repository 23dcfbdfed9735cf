//! Whether the program can serve: asked by those who send traffic, answered from what is so now.

use std::time::Duration;

use super::App;
use crate::store::migrate::SchemaKind;

/// Longest time that one check may take.
const LIMIT: Duration = Duration::from_secs(2);

/// What is known about one thing that the program needs. The words of failures are the same for every cause of a kind: the
/// drivers' own name hosts and ports, and everybody may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Fine,
    Broken(&'static str),
}

/// The checks of readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    pub database: Check,
    pub redis: Check,
}

impl Readiness {
    pub fn ready(self) -> bool {
        self.database == Check::Fine && self.redis == Check::Fine
    }
}

impl App {
    /// Asks database and key-value store at once.
    pub async fn readiness(&self) -> Readiness {
        let (database, redis) = tokio::join!(self.database_check(), self.redis_check());
        Readiness { database, redis }
    }

    async fn database_check(&self) -> Check {
        match tokio::time::timeout(LIMIT, self.database.shared_version()).await {
            Err(_) => Check::Broken("timed out"),
            Ok(Err(error)) => {
                tracing::warn!(error = crate::error_chain(&error), "the database is not ready");
                Check::Broken("unavailable")
            }
            Ok(Ok(version)) if version.unwrap_or(0) < SchemaKind::Shared.version() => {
                Check::Broken("not migrated")
            }
            Ok(Ok(_)) => Check::Fine,
        }
    }

    async fn redis_check(&self) -> Check {
        match tokio::time::timeout(LIMIT, self.kv.ping()).await {
            Err(_) => Check::Broken("timed out"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "redis is not ready");
                Check::Broken("unavailable")
            }
            Ok(Ok(())) => Check::Fine,
        }
    }
}
