//! A database right after `initdb`, made once for each version and copied for each server: `initdb` takes a second or
//! more, the copy a tenth of one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::Account;
use crate::cache::{Cache, Lock, open_to_all};
use crate::error::{Doing, StartError, blocking};
use crate::postgres::SUPERUSER;
use crate::random;

const DATA: &str = "data";
const PASSWORD: &str = "password";
/// Counts changes of how databases are made, so that older ones are not used.
const FORM: u32 = 1;
/// The first that works: Unicode's rules for letters, where the system has them without a language.
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

/// A database to be copied.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    data: PathBuf,
    /// Of the superuser: random, and the same for all servers that one user of this machine starts.
    pub(crate) password: String,
    /// What `postgres --version` prints.
    pub(crate) version: String,
}

impl Template {
    /// The one for the version of `programs`, made when there is none.
    pub(crate) async fn open(
        cache: &Cache,
        lock: Lock,
        programs: &Path,
        account: &Account,
    ) -> Result<Self, StartError> {
        let (cache, programs, account) = (cache.clone(), programs.to_owned(), account.clone());
        blocking(move || {
            let version = version(&programs, &account)?;
            let kept = cache.path(&key(&version, account.user()));
            if !kept.exists() {
                make(&cache, &lock, &programs, &account, &kept)?;
            }
            let password = kept.join(PASSWORD);
            let password =
                fs::read_to_string(&password).doing(|| format!("reading {}", password.display()))?;
            Ok(Self { data: kept.join(DATA), password, version: version.trim().to_owned() })
        })
        .await
    }

    /// Copies the database to `target`, for `account`.
    pub(crate) async fn copy(&self, target: &Path, account: &Account) -> Result<(), StartError> {
        let (from, to, account) = (self.data.clone(), target.to_owned(), account.clone());
        blocking(move || copy(&from, &to, &account)).await
    }
}

/// What `postgres --version` prints.
fn version(programs: &Path, account: &Account) -> Result<String, StartError> {
    let mut command = Command::new(programs.join("postgres"));
    command.arg("--version");
    run("postgres", command, account)
}

fn key(version: &str, user: u32) -> String {
    let version: String =
        version.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("{version}-user-{user}-form-{FORM}")
}

fn make(
    cache: &Cache,
    lock: &Lock,
    programs: &Path,
    account: &Account,
    kept: &Path,
) -> Result<(), StartError> {
    let stage = cache.stage(lock)?;
    let password = stage.path().join(PASSWORD);
    fs::write(&password, random::password()?).doing(|| format!("writing {}", password.display()))?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))
        .doing(|| format!("closing {}", password.display()))?;
    account.give(&password)?;
    // `initdb` has to reach what it is given, and makes `data` itself, closed to others.
    open_to_all(stage.path())?;
    account.give(stage.path())?;

    let data = stage.path().join(DATA);
    let mut made = Ok(String::new());
    for locale in LOCALES {
        made = run("initdb", initdb(programs, &data, &password, locale), account);
        if made.is_ok() {
            break;
        }
    }
    made?;
    fs::rename(stage.path(), kept).doing(|| format!("making {}", kept.display()))
}

fn initdb(programs: &Path, data: &Path, password: &Path, locale: &str) -> Command {
    let mut command = Command::new(programs.join("initdb"));
    command.arg("--pgdata").arg(data).arg("--pwfile").arg(password);
    command.args(["--username", SUPERUSER, "--auth", "scram-sha-256", "--encoding", "UTF8"]);
    // Segments of 1 MB instead of 16: less to copy for each server.
    command.args(["--locale", locale, "--wal-segsize", "1"]);
    command
}

/// What it prints; what it complains about when it fails.
fn run(program: &'static str, mut command: Command, account: &Account) -> Result<String, StartError> {
    account.apply(&mut command);
    let output = command.env("LC_ALL", "C").current_dir("/").output();
    let output = output.doing(|| format!("running `{program}`"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(StartError::Failed { program, output: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }
}

/// Files and folders with their modes; a fresh database has nothing else.
fn copy(from: &Path, to: &Path, account: &Account) -> Result<(), StartError> {
    let copying = || format!("copying {}", from.display());
    let meta = fs::metadata(from).doing(copying)?;
    if meta.is_dir() {
        fs::create_dir(to).doing(copying)?;
        for entry in fs::read_dir(from).doing(copying)? {
            let entry = entry.doing(copying)?;
            copy(&entry.path(), &to.join(entry.file_name()), account)?;
        }
        fs::set_permissions(to, meta.permissions()).doing(copying)?;
    } else {
        fs::copy(from, to).doing(copying)?;
    }
    account.give(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_and_user_has_a_database_of_its_own() {
        let debian = key("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", 101);
        assert_eq!(debian, "postgres--PostgreSQL--15-18--Debian-15-18-0-deb12u1--user-101-form-1");
        assert_ne!(debian, key("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", 102));
        assert_ne!(key("postgres (PostgreSQL) 18.6", 1), key("postgres (PostgreSQL) 18.5", 1));
    }

    #[test]
    fn failing_program_is_quoted() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo no room >&2; exit 1"]);
        let error = run("initdb", command, &Account::of_servers().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "`initdb` failed: no room");
    }

    #[test]
    fn copy_keeps_modes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(from.join("file"), "text").unwrap();
        copy(&from, &to, &Account::of_servers().unwrap()).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "text");
    }
}
