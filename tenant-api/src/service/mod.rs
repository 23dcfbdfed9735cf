//! What the API does, apart from HTTP: who may do what, and in which units of work.

pub mod api_keys;
pub mod audit;
pub mod auth;
pub mod hashing;
pub mod health;
pub mod limits;
pub mod tenants;
pub mod users;

use std::sync::Arc;
use std::time::Duration;

use crate::domain::platform::PlatformToken;
use crate::domain::token::{SigningFailed, TokenKeys};
use crate::settings::{Environment, Settings};
use crate::store::database::Database;
use crate::store::kv::{self, KeyValue, KvError};
use crate::store::migrate::MigrateError;
use crate::store::{StoreError, tenants::CreateError};
use hashing::Hasher;
use limits::Limits;

/// Why something was not done. The texts of the variants with text are answers to the caller.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The request names no tenant.
    #[error("no tenant")]
    MissingTenant,
    /// No valid credential: 401 that asks for one.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// A credential was tried and is wrong: 401 that asks for nothing.
    #[error("{0}")]
    Refused(&'static str),
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("{0}")]
    NotFound(&'static str),
    #[error("{0}")]
    Conflict(String),
    /// Try again after this time.
    #[error("{0}")]
    TooMany(&'static str, Duration),
    /// More work of this kind is waiting than can be done in time.
    #[error("overloaded")]
    Overloaded,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    Signing(#[from] SigningFailed),
    #[error("{0}")]
    Internal(&'static str),
}

impl From<CreateError> for ServiceError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Store(error) => Self::Store(error),
            CreateError::Migrate(error) => Self::Migrate(error),
            other @ (CreateError::SlugTaken | CreateError::SchemaInTheWay) => {
                Self::Conflict(other.to_string())
            }
        }
    }
}

pub type Result<T> = std::result::Result<T, ServiceError>;

/// The application: everything that a request needs.
pub struct App {
    pub(crate) environment: Environment,
    pub(crate) database: Database,
    pub(crate) kv: Arc<dyn KeyValue>,
    pub(crate) tokens: TokenKeys,
    pub(crate) platform: PlatformToken,
    pub(crate) hasher: Hasher,
    pub(crate) limits: Limits,
    /// How many proxies in front add themselves to `X-Forwarded-For`.
    pub(crate) trusted_proxies: usize,
}

impl App {
    /// Puts the application together. Connects to nothing yet.
    pub fn new(settings: &Settings) -> std::result::Result<Self, KvError> {
        let kv = kv::open(settings)?;
        Ok(Self {
            environment: settings.environment,
            database: Database::new(settings),
            limits: Limits::new(Arc::clone(&kv), settings),
            kv,
            tokens: settings.tokens.clone(),
            platform: settings.platform.clone(),
            hasher: Hasher::new(settings.hash_cost),
            trusted_proxies: settings.trusted_proxies,
        })
    }

    pub fn database(&self) -> &Database {
        &self.database
    }
}
