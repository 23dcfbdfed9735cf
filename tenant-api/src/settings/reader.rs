//! Reads single variables and collects what is wrong with them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use jsonwebtoken::Algorithm;
use sqlx::postgres::PgConnectOptions;

use super::{Environment, InvalidSettings, MIN_SECRET, Origins, algorithm_of};

/// Beginnings and parts by which a value betrays that nobody replaced it.
const PLACEHOLDERS: [&str; 5] = ["change-me", "changeme", "change_me", "placeholder", "your-secret"];

pub(super) struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variable, problems: Vec::new() }
    }

    pub(super) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    pub(super) fn finish<T>(self, value: T) -> Result<T, InvalidSettings> {
        if self.problems.is_empty() { Ok(value) } else { Err(InvalidSettings(self.problems)) }
    }

    /// A variable that is set and not empty; what deploys programs writes absent values as empty ones.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    pub(super) fn number<T>(&mut self, name: &str, default: T, allowed: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let Some(text) = self.text(name) else { return default };
        match text.parse::<T>() {
            Ok(value) if allowed.contains(&value) => value,
            _ => {
                self.problem(format!(
                    "`{name}` is not a number from {} to {}",
                    allowed.start(),
                    allowed.end()
                ));
                default
            }
        }
    }

    pub(super) fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.text(name).map(|text| text.to_ascii_lowercase()).as_deref() {
            None => default,
            Some("true" | "1" | "yes" | "on") => true,
            Some("false" | "0" | "no" | "off") => false,
            Some(_) => {
                self.problem(format!("`{name}` is neither `true` nor `false`"));
                default
            }
        }
    }

    pub(super) fn environment(&mut self) -> Environment {
        match self.text("ENVIRONMENT").as_deref() {
            None | Some("development") => Environment::Development,
            Some("staging") => Environment::Staging,
            Some("production") => Environment::Production,
            Some(_) => {
                self.problem("`ENVIRONMENT` is none of `development`, `staging`, `production`");
                Environment::Development
            }
        }
    }

    /// A PostgreSQL address, also in the form of SQLAlchemy.
    pub(super) fn database(&mut self, name: &str) -> Option<PgConnectOptions> {
        let options = plain_address(&self.text(name)?).and_then(|address| address.parse().ok());
        if options.is_none() {
            self.problem(format!(
                "`{name}` is not an address of the form postgresql://USER:PASSWORD@HOST/DATABASE"
            ));
        }
        options
    }

    pub(super) fn redis(&mut self) -> Option<String> {
        let url = self.text("REDIS_URL")?;
        if redis::Client::open(url.as_str()).is_err() {
            self.problem("`REDIS_URL` is not an address of the form redis://HOST:PORT/NUMBER");
        }
        Some(url)
    }

    /// A secret; with `strict` it has to be long and must not look like a placeholder.
    pub(super) fn secret(&mut self, name: &str, strict: bool) -> Option<String> {
        let secret = self.text(name)?;
        let folded = secret.to_ascii_lowercase();
        if strict && PLACEHOLDERS.iter().any(|part| folded.contains(part)) {
            self.problem(format!("`{name}` is a placeholder"));
        } else if strict && secret.len() < MIN_SECRET {
            self.problem(format!("`{name}` is shorter than {MIN_SECRET} bytes"));
        }
        Some(secret)
    }

    pub(super) fn algorithm(&mut self) -> Algorithm {
        let name = self.text("JWT_ALGORITHM").unwrap_or_else(|| "HS256".to_owned());
        algorithm_of(&name).unwrap_or_else(|| {
            self.problem("`JWT_ALGORITHM` is none of `HS256`, `HS384`, `HS512`");
            Algorithm::HS256
        })
    }

    pub(super) fn log_level(&mut self, default: &str) -> String {
        let level =
            self.text("LOG_LEVEL").map_or_else(|| default.to_owned(), |text| text.to_ascii_lowercase());
        match level.as_str() {
            "trace" | "debug" | "info" | "error" => level,
            "warn" | "warning" => "warn".to_owned(),
            "critical" => "error".to_owned(),
            _ => {
                self.problem("`LOG_LEVEL` is none of `DEBUG`, `INFO`, `WARNING`, `ERROR`");
                default.to_owned()
            }
        }
    }

    pub(super) fn origins(&mut self) -> Origins {
        let text = self.text("CORS_ALLOWED_ORIGINS").unwrap_or_else(|| "*".to_owned());
        let listed: Vec<String> =
            text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(str::to_owned).collect();
        if listed.iter().any(|origin| origin == "*") { Origins::Any } else { Origins::Listed(listed) }
    }
}

/// An address as PostgreSQL's own library takes it, from one that may be `SQLAlchemy`'s: with the name of a driver in its scheme,
/// and with asyncpg's word for `sslmode`. Where only a socket's directory is named (`?host=/cloudsql/..`) the host is empty, which
/// URLs of other schemes may not be; the parameter replaces what is put there.
fn plain_address(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    if !matches!(scheme.split('+').next(), Some("postgresql" | "postgres")) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = if authority.is_empty() || authority.ends_with('@') { "localhost" } else { "" };
    let path = path.replace("?ssl=", "?sslmode=").replace("&ssl=", "&sslmode=");
    Some(format!("postgresql://{authority}{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> PgConnectOptions {
        plain_address(text).unwrap().parse().unwrap()
    }

    #[test]
    fn an_address_of_sqlalchemy_is_taken() {
        let read = options("postgresql+asyncpg://app:pw@db:5433/army?ssl=disable");
        assert_eq!((read.get_host(), read.get_port(), read.get_username()), ("db", 5433, "app"));
        assert_eq!(read.get_database(), Some("army"));
        assert!(matches!(read.get_ssl_mode(), sqlx::postgres::PgSslMode::Disable));
    }

    #[test]
    fn a_socket_needs_no_host() {
        let read = options("postgresql+asyncpg://app:pw@/army?host=/cloudsql/project:region:one");
        assert_eq!(read.get_socket().unwrap().to_str(), Some("/cloudsql/project:region:one"));
        assert_eq!((read.get_username(), read.get_database()), ("app", Some("army")));
    }

    #[test]
    fn other_schemes_are_refused() {
        for text in ["mysql://u@h/d", "u@h/d", "postgresqlx://u@h/d"] {
            assert_eq!(plain_address(text), None, "{text}");
        }
    }
}
