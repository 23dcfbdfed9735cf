//! Where the programs of servers are on this machine.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::StartError;

/// Names the folder of `postgres` and `initdb`, before all others.
pub const POSTGRES_FOLDER: &str = "PRIVATE_POSTGRES_BIN";

/// Folders that are not on everybody's PATH: Debian has `pgbouncer` in the first, Homebrew is in the last two.
const MORE_FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/bin"];
/// Folders of which each has a PostgreSQL of one version in it, and the way from there to its programs: Debian, RPM,
/// Homebrew on both kinds of Mac.
const VERSIONED: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", "bin"),
    ("/usr", "bin"),
    ("/opt/homebrew/opt", "bin"),
    ("/usr/local/opt", "bin"),
];

/// `redis-server`, or `valkey-server`, which speaks the same.
pub fn redis() -> Option<PathBuf> {
    find("redis-server").or_else(|| find("valkey-server"))
}

/// `pgbouncer`.
pub fn pgbouncer() -> Option<PathBuf> {
    find("pgbouncer")
}

/// The folder of `postgres` and `initdb`: named by `PRIVATE_POSTGRES_BIN`, on PATH, or where packages of distributions
/// and Homebrew put it, the newest first. The error is that the variable names a folder without them.
pub fn postgres() -> Result<Option<PathBuf>, StartError> {
    if let Some(folder) = env::var_os(POSTGRES_FOLDER).filter(|value| !value.is_empty()) {
        return named(PathBuf::from(folder)).map(Some);
    }
    // Distributions link some programs onto PATH and not all, so the folder is that of the link's target.
    let on_path = on_path("postgres").and_then(|found| Some(found.canonicalize().ok()?.parent()?.to_owned()));
    let newest = || VERSIONED.into_iter().flat_map(|(parent, below)| versions(Path::new(parent), below));
    let found = on_path.into_iter().chain(newest()).find(|folder| missing(folder).is_none());
    Ok(found.or_else(|| told_by_pg_config().filter(|folder| missing(folder).is_none())))
}

fn named(folder: PathBuf) -> Result<PathBuf, StartError> {
    match missing(&folder) {
        None => Ok(folder),
        Some(missing) => Err(StartError::WrongFolder { variable: POSTGRES_FOLDER, folder, missing }),
    }
}

/// The program that a folder lacks to be one of PostgreSQL's server.
fn missing(folder: &Path) -> Option<&'static str> {
    ["postgres", "initdb"].into_iter().find(|program| !is_program(&folder.join(program)))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn find(program: &str) -> Option<PathBuf> {
    let more = MORE_FOLDERS.into_iter().map(|folder| Path::new(folder).join(program));
    on_path(program).or_else(|| more.into_iter().find(|path| is_program(path)))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|path| is_program(path))
}

/// The folders `below` those in `parent` that are named `15`, `pgsql-15` or `postgresql@15`, the newest first.
fn versions(parent: &Path, below: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.filter_map(|entry| Some((major(&entry.file_name())?, entry.path().join(below)))).collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, path)| path).collect()
}

fn major(folder: &OsStr) -> Option<u32> {
    let name = folder.to_str()?;
    let prefixes = ["pgsql-", "postgresql@", ""];
    prefixes.into_iter().find_map(|prefix| name.strip_prefix(prefix)?.parse().ok())
}

fn told_by_pg_config() -> Option<PathBuf> {
    let output = Command::new(on_path("pg_config")?).arg("--bindir").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(folder.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_version_comes_first_and_by_number() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9", "postgresql@17", "pgsql-16", "share", "node@20"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let found = versions(parent.path(), "bin");
        let expected = ["postgresql@17/bin", "pgsql-16/bin", "9/bin"].map(|name| parent.path().join(name));
        assert_eq!(found, expected);
    }

    #[test]
    fn named_folder_without_initdb_is_an_error_and_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("postgres");
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let error = named(folder.path().to_owned()).unwrap_err();
        assert!(matches!(error, StartError::WrongFolder { missing: "initdb", .. }), "{error}");
        assert!(error.hint().is_some());
    }

    #[test]
    fn file_that_cannot_be_executed_is_no_program() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postgres");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(!is_program(&file));
    }
}
