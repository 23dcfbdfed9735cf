//! Where settings come from: the environment of the process, and behind it the file `.env` of the working directory.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use super::{InvalidSettings, Settings};

/// The name of the file, in the working directory.
const FILE: &str = ".env";

/// The names that the file may hold: those that are read here, and those of the platform that only its later parts read.
const KNOWN: [&str; 30] = [
    "ANTHROPIC_API_BASE",
    "ANTHROPIC_API_KEY",
    "CORS_ALLOWED_ORIGINS",
    "DATABASE_MAX_CONNECTIONS",
    "DATABASE_OWNER_URL",
    "DATABASE_URL",
    "ENVIRONMENT",
    "GCP_PROJECT_ID",
    "JWT_ACCESS_TOKEN_EXPIRE_MINUTES",
    "JWT_ALGORITHM",
    "JWT_REFRESH_TOKEN_EXPIRE_DAYS",
    "JWT_SECRET_KEY",
    "LLM_MAX_RETRIES",
    "LLM_TIMEOUT",
    "LOGIN_LOCKOUT_SECONDS",
    "LOGIN_MAX_FAILURES",
    "LOGIN_MAX_FAILURES_PER_ADDRESS",
    "LOG_LEVEL",
    "MAX_BODY_BYTES",
    "MIGRATE_ON_START",
    "OPENAI_API_BASE",
    "OPENAI_API_KEY",
    "PASSWORD_HASH_COST",
    "PLATFORM_ADMIN_TOKEN",
    "PORT",
    "RATE_LIMIT_PER_MINUTE",
    "REDIS_URL",
    "SENTRY_DSN",
    "SHARED_SCHEMA",
    "TRUSTED_PROXIES",
];

/// Finds a variable by its name.
type Lookup = Box<dyn Fn(&str) -> Option<String>>;

/// The variables of the process and of the file.
pub struct Variables {
    process: Lookup,
    file: BTreeMap<String, String>,
    problems: Vec<String>,
}

impl Variables {
    /// Those of this process, and of the file if there is one. What is wrong with the file is told by [`Self::settings`].
    pub fn of_process() -> Self {
        let process = |name: &str| std::env::var(name).ok();
        // A directory of this name is somebody's virtual environment.
        if !Path::new(FILE).is_file() {
            return Self::new(process, None);
        }
        match std::fs::read(FILE) {
            Ok(bytes) => Self::new(process, Some(&bytes)),
            Err(error) => {
                let mut variables = Self::new(process, None);
                variables.problems.push(format!("`{FILE}` cannot be read: {}", error.kind()));
                variables
            }
        }
    }

    /// Those that `process` finds, and those of a file with this content.
    pub fn new(process: impl Fn(&str) -> Option<String> + 'static, file: Option<&[u8]>) -> Self {
        let (file, problems) = file.map(parse).unwrap_or_default();
        Self { process: Box::new(process), file, problems }
    }

    /// The value of a variable. What the process has counts, also if it is empty.
    pub fn value(&self, name: &str) -> Option<String> {
        (self.process)(name).or_else(|| self.file.get(name).cloned())
    }

    /// The settings, as if the variables in `without` were not set. The error says what is wrong with the file and with the values.
    pub fn settings(&self, without: &[&str]) -> Result<Settings, InvalidSettings> {
        let read = Settings::read(|name| if without.contains(&name) { None } else { self.value(name) });
        if self.problems.is_empty() {
            return read;
        }
        let values = read.err().map(|error| error.0).unwrap_or_default();
        Err(InvalidSettings(self.problems.iter().cloned().chain(values).collect()))
    }
}

/// The variables of a file, and what is wrong with it. No message holds a value: those are often secrets.
fn parse(bytes: &[u8]) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut variables, mut problems) = (BTreeMap::new(), Vec::new());
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text}\n"),
        Err(error) => {
            let before = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count();
            return (variables, vec![format!("`{FILE}`, line {}: not UTF-8", before + 1)]);
        }
    };
    let line = Cell::new(0);
    for entry in dotenvy::Iter::new(Lines { rest: text.as_bytes(), line: &line }) {
        match entry {
            Ok((name, value)) => {
                let name = name.to_ascii_uppercase();
                if KNOWN.contains(&name.as_str()) {
                    variables.insert(name, value);
                } else {
                    problems.push(format!("`{FILE}`, line {}: `{name}` is no setting", line.get()));
                }
            }
            Err(dotenvy::Error::LineParse(content, _)) => {
                let first = line.get() + 1 - content.lines().count().clamp(1, line.get().max(1));
                problems.push(format!("`{FILE}`, line {first}: not of the form NAME=value"));
            }
            Err(_) => problems.push(format!("`{FILE}`, line {}: cannot be read", line.get())),
        }
    }
    (variables, problems)
}

/// A text that is read in lines and says in which one the reader is: the parser's errors do not.
struct Lines<'a> {
    rest: &'a [u8],
    line: &'a Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |at| at + 1);
        let (mut now, _) = self.rest.split_at(end.min(buffer.len()));
        let count = now.read(buffer)?;
        let (done, rest) = self.rest.split_at(count);
        self.rest = rest;
        if done.ends_with(b"\n") {
            self.line.set(self.line.get() + 1);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn with(process: &'static [(&str, &str)], file: &str) -> Variables {
        let find =
            |name: &str| process.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Variables::new(find, Some(file.as_bytes()))
    }

    fn problems(file: &str) -> Vec<String> {
        with(&[], file).settings(&[]).err().map(|error| error.0).unwrap_or_default()
    }

    #[test]
    fn the_file_is_read_and_the_environment_wins() {
        let file = "\u{feff}# ours\nPORT=81\r\nexport LOG_LEVEL=error # few\n\nredis_url='redis://:a$b@h:1/0'\nMAX_BODY_BYTES=\"2048\"  ";
        let variables = with(&[("PORT", "82"), ("LOG_LEVEL", "")], file);
        let settings = variables.settings(&["REDIS_URL"]).unwrap();
        assert_eq!((settings.port, settings.log_level.as_str(), settings.max_body), (82, "debug", 2048));
        assert_eq!(settings.redis_url, None);
        assert_eq!(variables.value("REDIS_URL").as_deref(), Some("redis://:a$b@h:1/0"));
    }

    #[test]
    fn everything_wrong_with_file_and_values_is_said_at_once_without_values() {
        let said = problems(
            "PORT=hunter2\nHOME=hunter2\n\nJWT_SECRET_KEY hunter2\nLOG_LEVEL=a hunter2 b\nhunter=\n",
        );
        assert_eq!(
            said,
            [
                "`.env`, line 2: `HOME` is no setting",
                "`.env`, line 4: not of the form NAME=value",
                "`.env`, line 5: not of the form NAME=value",
                "`.env`, line 6: `HUNTER` is no setting",
                "`PORT` is not a number from 0 to 65535",
            ]
        );
    }

    #[test]
    fn a_quote_that_stays_open_is_told_where_it_opens() {
        assert_eq!(
            problems("PORT=1\n\nJWT_SECRET_KEY=\"hunter2\nA=b\n"),
            ["`.env`, line 3: not of the form NAME=value"]
        );
    }

    #[test]
    fn what_is_no_text_is_told_with_its_line() {
        let variables = Variables::new(|_| None, Some(b"PORT=1\nLOG_LEVEL=\xff\n"));
        assert_eq!(variables.settings(&[]).err().unwrap().0, ["`.env`, line 2: not UTF-8"]);
    }

    #[test]
    fn names_of_later_parts_are_known() {
        assert!(
            problems("ANTHROPIC_API_KEY=x\nLLM_TIMEOUT=30\nSENTRY_DSN=\nSHARED_SCHEMA=shared\n").is_empty()
        );
    }

    #[test]
    fn every_setting_may_stand_in_the_file() {
        let asked = RefCell::new(Vec::new());
        drop(Settings::read(|name| {
            asked.borrow_mut().push(name.to_owned());
            None
        }));
        // Cloud Run sets it; nobody else should.
        asked.borrow_mut().retain(|name| name != "K_SERVICE");
        for name in asked.into_inner() {
            assert!(KNOWN.contains(&name.as_str()), "{name}");
        }
    }
}
