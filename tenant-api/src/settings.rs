//! The settings, read from variables and checked at once: what starts has valid settings, and what does not says all that is wrong.

mod reader;
mod variables;

use std::fmt;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use sqlx::postgres::PgConnectOptions;

use crate::domain::platform::{Absent, PlatformToken};
use crate::domain::token::{Lifetimes, TokenKeys};
use reader::Reader;

pub use variables::Variables;

/// Where a database is in development when nothing is said; production has to say it.
const DEVELOPMENT_DATABASE: &str = "postgresql://agent_army:agent_army_dev@localhost:5432/agent_army";

/// What signs tokens in development when nothing is said. Known to everybody, hence refused in production.
const DEVELOPMENT_SECRET: &str = "CHANGE-ME-known-to-everybody-development-only";

/// Shortest secret that production takes, in bytes: as long as the output of HS256.
const MIN_SECRET: usize = 32;

/// The kind of place that the program runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    Development,
    Staging,
    Production,
}

impl Environment {
    pub fn as_str(self) -> &'static str {
        match self {
            Environment::Development => "development",
            Environment::Staging => "staging",
            Environment::Production => "production",
        }
    }
}

/// Which web origins may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every origin, never with credentials.
    Any,
    /// These, with credentials.
    Listed(Vec<String>),
}

/// All settings. Holds secrets: there is no `Debug`.
#[derive(Clone)]
pub struct Settings {
    pub environment: Environment,
    pub port: u16,
    pub log_level: String,
    pub database: PgConnectOptions,
    /// `None` where the run-time role also owns the schemas, which production refuses.
    pub database_owner: Option<PgConnectOptions>,
    pub max_connections: u32,
    pub migrate_on_start: bool,
    /// `None`: the in-process store, which production refuses.
    pub redis_url: Option<String>,
    pub tokens: TokenKeys,
    pub platform: PlatformToken,
    pub origins: Origins,
    /// Bytes.
    pub max_body: usize,
    /// bcrypt's cost.
    pub hash_cost: u32,
    /// Requests of one tenant in a minute; 0 is no limit.
    pub rate_limit: u32,
    /// Failed logins of one account in [`Settings::lock_out`]; 0 is no limit.
    pub max_login_failures: u32,
    /// Failed logins at one tenant from one address in [`Settings::lock_out`]; 0 is no limit.
    pub max_login_failures_per_address: u32,
    pub lock_out: Duration,
    /// How many proxies in front of the program add themselves to `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// For links from log lines to traces.
    pub project: Option<String>,
}

/// Everything that is wrong with the settings, one sentence each. Values are not repeated: they may be secrets.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidSettings(pub Vec<String>);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings are not usable:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl Settings {
    /// Reads the variables through `variable`.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidSettings> {
        let mut read = Reader::new(&variable);
        let environment = read.environment();
        let development = environment == Environment::Development;
        let production = environment == Environment::Production;
        let database = read.database("DATABASE_URL").or_else(|| {
            if production && read.text("DATABASE_URL").is_none() {
                read.problem("`DATABASE_URL` is missing");
            }
            DEVELOPMENT_DATABASE.parse().ok()
        });
        let database_owner = read.database("DATABASE_OWNER_URL");
        if production && database_owner.is_none() && read.text("DATABASE_OWNER_URL").is_none() {
            read.problem(
                "`DATABASE_OWNER_URL` is missing: in production the role that serves requests owns no schema",
            );
        }
        if let (Some(runtime), Some(owner)) = (&database, &database_owner)
            && production
            && runtime.get_username() == owner.get_username()
        {
            read.problem("`DATABASE_OWNER_URL` and `DATABASE_URL` name the same role");
        }
        let redis_url = read.redis();
        if production && redis_url.is_none() {
            read.problem("`REDIS_URL` is missing: instances would not share what they count and lock");
        }
        let secret = read.secret("JWT_SECRET_KEY", production).unwrap_or_else(|| {
            if production && read.text("JWT_SECRET_KEY").is_none() {
                read.problem("`JWT_SECRET_KEY` is missing");
            }
            DEVELOPMENT_SECRET.to_owned()
        });
        let platform = read.secret("PLATFORM_ADMIN_TOKEN", production);
        let absent = if development { Absent::Open } else { Absent::Closed };
        let lifetimes = Lifetimes {
            access: 60 * read.number("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", 30, 1..=1440),
            refresh: 86_400 * read.number("JWT_REFRESH_TOKEN_EXPIRE_DAYS", 7, 1..=365),
        };
        let algorithm = read.algorithm();
        let settings = Self {
            environment,
            port: read.number("PORT", 8080, 0..=u16::MAX),
            log_level: read.log_level(if development { "debug" } else { "info" }),
            max_connections: read.number("DATABASE_MAX_CONNECTIONS", 20, 1..=1000),
            migrate_on_start: read.flag("MIGRATE_ON_START", development),
            redis_url,
            tokens: TokenKeys::new(&secret, algorithm, environment.as_str(), lifetimes),
            platform: PlatformToken::new(platform.as_deref(), absent),
            origins: read.origins(),
            max_body: read.number("MAX_BODY_BYTES", 1 << 20, 1024..=100 << 20),
            hash_cost: read.number("PASSWORD_HASH_COST", 12, if production { 12..=16 } else { 4..=16 }),
            rate_limit: read.number(
                "RATE_LIMIT_PER_MINUTE",
                if development { 0 } else { 1200 },
                0..=10_000_000,
            ),
            max_login_failures: read.number("LOGIN_MAX_FAILURES", if development { 0 } else { 10 }, 0..=1000),
            max_login_failures_per_address: read.number(
                "LOGIN_MAX_FAILURES_PER_ADDRESS",
                if development { 0 } else { 100 },
                0..=1_000_000,
            ),
            lock_out: Duration::from_secs(read.number("LOGIN_LOCKOUT_SECONDS", 900, 1..=86_400)),
            // Cloud Run sets K_SERVICE, and its front end ends X-Forwarded-For with who connected to it.
            trusted_proxies: read.number(
                "TRUSTED_PROXIES",
                usize::from(read.text("K_SERVICE").is_some()),
                0..=10,
            ),
            project: read.text("GCP_PROJECT_ID"),
            database: database.unwrap_or_default(),
            database_owner,
        };
        read.finish(settings)
    }

    /// Reads the variables of the process and of the file `.env`.
    pub fn from_env() -> Result<Self, InvalidSettings> {
        Variables::of_process().settings(&[])
    }

    /// The role that owns the schemas, where it is not the one that serves requests.
    pub fn owner_role(&self) -> Option<&str> {
        let owner = self.database_owner.as_ref()?.get_username();
        (owner != self.database.get_username()).then_some(owner)
    }

    /// What is legal here but worth a warning at start.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if self.redis_url.is_none() {
            warnings.push("REDIS_URL is not set: counters and locks live in this process only");
        }
        if self.database_owner.is_none() {
            warnings
                .push("DATABASE_OWNER_URL is not set: the role that serves requests also owns the schemas");
        }
        warnings
    }
}

/// The algorithms that a shared secret can sign with.
fn algorithm_of(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "HS384" => Some(Algorithm::HS384),
        "HS512" => Some(Algorithm::HS512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, InvalidSettings> {
        let map: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::read(|name| map.get(name).cloned())
    }

    fn problems(variables: &[(&str, &str)]) -> Vec<String> {
        read(variables).err().map(|error| error.0).unwrap_or_default()
    }

    const PRODUCTION: [(&str, &str); 6] = [
        ("ENVIRONMENT", "production"),
        ("DATABASE_URL", "postgresql+asyncpg://app:pw@db/army"),
        ("DATABASE_OWNER_URL", "postgresql://owner:pw@db/army"),
        ("REDIS_URL", "redis://cache:6379/0"),
        ("JWT_SECRET_KEY", "0123456789abcdef0123456789abcdef"),
        ("PLATFORM_ADMIN_TOKEN", "fedcba9876543210fedcba9876543210"),
    ];

    fn production_with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        PRODUCTION.into_iter().filter(|(key, _)| *key != name).chain([(name, value)]).collect()
    }

    #[test]
    fn development_needs_nothing() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.environment, Environment::Development);
        assert_eq!(settings.port, 8080);
        assert!(settings.migrate_on_start);
        assert!(settings.platform.verify(None).is_some());
    }

    #[test]
    fn complete_production_settings_are_taken() {
        let settings = read(&PRODUCTION).unwrap();
        assert_eq!(settings.database.get_username(), "app");
        assert!(!settings.migrate_on_start);
        assert!(settings.platform.verify(None).is_none());
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let said = problems(&[
            ("ENVIRONMENT", "production"),
            ("PORT", "http"),
            ("JWT_ALGORITHM", "none"),
            ("LOG_LEVEL", "LOUD"),
        ]);
        for name in [
            "DATABASE_URL",
            "DATABASE_OWNER_URL",
            "REDIS_URL",
            "JWT_SECRET_KEY",
            "PORT",
            "JWT_ALGORITHM",
            "LOG_LEVEL",
        ] {
            assert!(said.iter().any(|problem| problem.contains(&format!("`{name}`"))), "{name}: {said:?}");
        }
    }

    #[test]
    fn an_unknown_environment_is_refused() {
        assert_eq!(problems(&[("ENVIRONMENT", "testing")]).len(), 1);
    }

    #[test]
    fn placeholders_are_refused_in_production() {
        for (name, value) in [
            ("JWT_SECRET_KEY", "CHANGE-ME-in-production-please-do-it"),
            ("JWT_SECRET_KEY", "short"),
            ("PLATFORM_ADMIN_TOKEN", "changeme-changeme-changeme-changeme"),
            ("PASSWORD_HASH_COST", "4"),
            ("DATABASE_OWNER_URL", "postgresql://app:pw@db/army"),
        ] {
            assert_eq!(problems(&production_with(name, value)).len(), 1, "{name}={value}");
        }
    }

    #[test]
    fn no_message_repeats_a_value() {
        let said = problems(&[("DATABASE_URL", "mysql://u:hunter2@h/d"), ("REDIS_URL", "hunter2")]).join(" ");
        assert!(said.contains("DATABASE_URL") && said.contains("REDIS_URL"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn cloud_run_has_a_proxy_in_front_and_nothing_else_has() {
        let proxies = |variables: &[(&str, &str)]| read(variables).unwrap().trusted_proxies;
        assert_eq!(proxies(&[]), 0);
        assert_eq!(proxies(&[("K_SERVICE", "api")]), 1);
        assert_eq!(proxies(&[("K_SERVICE", "api"), ("TRUSTED_PROXIES", "2")]), 2);
        assert_eq!(read(&[]).unwrap().max_login_failures_per_address, 0);
        assert_eq!(read(&PRODUCTION).unwrap().max_login_failures_per_address, 100);
    }

    #[test]
    fn origins_are_trimmed() {
        let settings = read(&[("CORS_ALLOWED_ORIGINS", " https://a.example , https://b.example,")]).unwrap();
        assert_eq!(
            settings.origins,
            Origins::Listed(vec!["https://a.example".into(), "https://b.example".into()])
        );
    }
}
