//! A PostgreSQL whose data outlive it: the data in a home, and the database and roles in the data.
//!
//! No client of PostgreSQL is needed for them: before the server starts, `postgres --single` runs the statements.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::account::Account;
use crate::error::{Doing, StartError, blocking};
use crate::folder::Folder;
use crate::home::Home;
use crate::postgres::{DATA, SUPERUSER};
use crate::template::Template;

pub(crate) const OWNER: &str = "owner";
pub(crate) const APP: &str = "app";

const VERSION: &str = "version";
/// Data that are being copied: whole when they bear their own name.
const UNFINISHED: &str = "data.new";
/// The databases that were made, one a line.
const DATABASES: &str = "databases";
/// What `postmaster.pid` is called in the data of PostgreSQL.
const PID: &str = "postmaster.pid";

/// The passwords of a home.
pub(crate) struct Passwords {
    pub(crate) superuser: String,
    pub(crate) owner: String,
    pub(crate) app: String,
}

/// Makes the data of the folder's home where there are none, and the database in them where it is missing. Nothing may
/// run there.
pub(crate) async fn prepare(
    folder: &Folder,
    template: &Template,
    programs: &Path,
    account: &Account,
    database: &str,
) -> Result<Passwords, StartError> {
    let Some(home) = folder.home() else {
        return Err(StartError::NotRunning { server: "PostgreSQL" });
    };
    let data = home.path().join(DATA);
    let (owner, app) = (home.password(OWNER)?, home.password(APP)?);
    if data.exists() {
        check_version(home, &template.version)?;
    } else {
        let unfinished = home.path().join(UNFINISHED);
        let making = || format!("making {}", data.display());
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).doing(making)?;
        }
        template.copy(&unfinished, account).await?;
        let script = format!("{}{}", roles(&owner, &app), database_for(database));
        run(programs, &unfinished, account, script).await?;
        home.write(DATABASES, &format!("{database}\n"))?;
        home.write(VERSION, &template.version)?;
        home.write(SUPERUSER, &template.password)?;
        fs::rename(&unfinished, &data).doing(making)?;
    }
    // The folder's log was locked: whatever process this names, it does not serve these data.
    let _ = fs::remove_file(data.join(PID));
    let made = home.read(DATABASES)?.unwrap_or_default();
    if !made.lines().any(|line| line == database) {
        match run(programs, &data, account, database_for(database)).await {
            // Made by a run that was killed before it could say so.
            Err(StartError::Failed { output, .. }) if output.contains("already exists") => {}
            other => other?,
        }
        home.write(DATABASES, &format!("{made}{database}\n"))?;
    }
    let superuser = home.password(SUPERUSER)?;
    Ok(Passwords { superuser, owner, app })
}

/// Data of one major version cannot be read by another.
fn check_version(home: &Home, found: &str) -> Result<(), StartError> {
    let kept = home.read(VERSION)?.unwrap_or_default();
    if major(&kept) == major(found) {
        return Ok(());
    }
    Err(StartError::OtherVersion { folder: home.path().to_owned(), kept, found: found.to_owned() })
}

/// `15` of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn major(version: &str) -> Option<&str> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()
}

/// One statement a line. Passwords are hexadecimal digits and need no quoting.
fn roles(owner: &str, app: &str) -> String {
    let role = |name: &str, password: &str| format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'\n");
    role(OWNER, owner) + &role(APP, app)
}

fn database_for(name: &str) -> String {
    format!("CREATE DATABASE {} OWNER \"{OWNER}\"\n", quoted(name))
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// Runs the statements on data that nobody serves.
async fn run(programs: &Path, data: &Path, account: &Account, script: String) -> Result<(), StartError> {
    let mut command = Command::new(programs.join("postgres"));
    // `exit_on_error`: a statement that fails would be told and passed over.
    command.args(["--single", "-c", "exit_on_error=on", "-c", "log_statement=none", "-D"]).arg(data);
    command.arg(SUPERUSER).env("LC_ALL", "C").current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    account.apply(&mut command);
    blocking(move || {
        let running = || "running `postgres --single`".to_owned();
        let mut child = command.spawn().doing(running)?;
        let mut input = child.stdin.take();
        // One that has ended already says why below.
        let _ = input.as_mut().map(|input| input.write_all(script.as_bytes()));
        drop(input);
        let output = child.wait_with_output().doing(running)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        // What it echoes of a statement may hold a password.
        let said: Vec<_> = said.lines().filter(|line| !line.contains("PASSWORD")).collect();
        Err(StartError::Failed { program: "postgres --single", output: said.join("\n").trim().to_owned() })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_that_matters_is_the_first_number() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some("15"));
        assert_eq!(major("postgres (PostgreSQL) 18.6"), Some("18"));
        assert_eq!(major("postgres (PostgreSQL) 19beta1"), Some("19"));
    }

    #[test]
    fn name_of_a_database_cannot_break_the_statement() {
        assert_eq!(database_for("a\"b"), "CREATE DATABASE \"a\"\"b\" OWNER \"owner\"\n");
    }
}
