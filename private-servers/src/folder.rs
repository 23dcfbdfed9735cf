//! The one folder of a server, under the system's temporary directory, and the removal of folders that nobody uses.
//!
//! The log in it is locked. The lock belongs to the open file, which the server and its supervisor inherit as standard
//! output: it is free when the last of them is gone, however they went, and then the next start removes the folder.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use crate::account::Account;
use crate::error::{Doing, StartError, blocking};
use crate::home::Home;

const PREFIX: &str = "private-servers-";
const LOG: &str = "log";
/// How old a folder without a log has to be to be taken for abandoned: a younger one may be in the making.
const IN_THE_MAKING: Duration = Duration::from_mins(10);
/// How long a server whose program was killed has to end.
const GONE_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A folder that belongs to the account of servers, with the log in it. Dropping removes it, unless it is a home.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    log: File,
    home: Option<Home>,
}

impl Folder {
    /// Removes what killed programs left, and makes a folder in `parent`.
    pub(crate) fn create_in(parent: &Path, account: &Account) -> Result<Self, StartError> {
        account.check_reach(parent)?;
        remove_abandoned(parent, account);
        loop {
            let closed = fs::Permissions::from_mode(0o700);
            let made = tempfile::Builder::new().prefix(PREFIX).permissions(closed).tempdir_in(parent);
            let made = made.doing(|| format!("making a folder in {}", parent.display()))?;
            let log_path = made.path().join(LOG);
            let log = OpenOptions::new().create_new(true).append(true).open(&log_path);
            let log = log.doing(|| format!("making {}", log_path.display()))?;
            // Between the two calls somebody may have taken it for abandoned: then it is theirs to remove.
            if log.try_lock().is_err() || !log_path.exists() {
                continue;
            }
            account.give(&log_path)?;
            account.give(made.path())?;
            return Ok(Self { path: made.keep(), log, home: None });
        }
    }

    /// The folder of a home, once no server of an earlier run writes to it any more. The log begins anew.
    pub(crate) async fn of_home(home: Home) -> Result<Self, StartError> {
        blocking(move || {
            let path = home.path().join(LOG);
            let log = OpenOptions::new().create(true).append(true).open(&path);
            let log = log.doing(|| format!("making {}", path.display()))?;
            let begun = Instant::now();
            while log.try_lock().is_err() {
                if begun.elapsed() > GONE_WITHIN {
                    return Err(StartError::StillRuns { folder: home.path().to_owned() });
                }
                std::thread::sleep(LOOK_EVERY);
            }
            log.set_len(0).doing(|| format!("emptying {}", path.display()))?;
            home.account().give(&path)?;
            Ok(Self { path: home.path().to_owned(), log, home: Some(home) })
        })
        .await
    }

    /// The home that it is.
    pub(crate) fn home(&self) -> Option<&Home> {
        self.home.as_ref()
    }

    /// In the system's temporary directory.
    pub(crate) fn create(account: &Account) -> Result<Self, StartError> {
        Self::create_in(&env::temp_dir(), account)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The log, open for appending, and with it the lock.
    pub(crate) fn log(&self) -> Result<File, StartError> {
        self.log.try_clone().doing(|| "sharing the log".to_owned())
    }

    /// What the log says from byte `start` on.
    pub(crate) fn log_text(&self, start: usize) -> String {
        let bytes = fs::read(self.path.join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
    }

    /// Bytes of log so far.
    pub(crate) fn log_len(&self) -> usize {
        self.log.metadata().ok().and_then(|meta| usize::try_from(meta.len()).ok()).unwrap_or(0)
    }

    /// Writes a file that only the account of servers reads, replacing what was there.
    pub(crate) fn write(&self, name: &str, text: &str, account: &Account) -> Result<PathBuf, StartError> {
        let path = self.path.join(name);
        let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .doing(|| format!("writing {}", path.display()))?;
        account.give(&path)?;
        Ok(path)
    }

    /// Removes it with everything in it, unless it is a home, and says when that fails.
    pub(crate) fn remove(self) -> Result<(), StartError> {
        if self.home.is_some() {
            return Ok(());
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).doing(|| format!("removing {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.home.is_none() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Best effort, since the next start tries again. Folders of other users are theirs.
fn remove_abandoned(parent: &Path, account: &Account) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.metadata().is_ok_and(|meta| {
            meta.is_dir() && (meta.uid() == account.user() || meta.uid() == geteuid().as_raw())
        });
        if ours && entry.file_name().to_string_lossy().starts_with(PREFIX) {
            remove_if_abandoned(&entry.path());
        }
    }
}

fn remove_if_abandoned(folder: &Path) {
    let log = folder.join(LOG);
    let is_file = fs::symlink_metadata(&log).is_ok_and(|meta| meta.is_file());
    let lock = is_file.then(|| File::open(&log).ok()).flatten();
    let old = || {
        let touched = fs::metadata(folder).and_then(|meta| meta.modified()).ok();
        touched.and_then(|when| when.elapsed().ok()).is_some_and(|age| age > IN_THE_MAKING)
    };
    let abandoned = lock.as_ref().map_or_else(old, |log| log.try_lock().is_ok());
    if abandoned {
        // The lock is held until here: nobody can take the folder up meanwhile.
        let _ = fs::remove_dir_all(folder);
    }
    drop(lock);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    fn parent() -> tempfile::TempDir {
        let parent = tempfile::tempdir().unwrap();
        fs::set_permissions(parent.path(), Permissions::from_mode(0o755)).unwrap();
        parent
    }

    #[test]
    fn folder_is_kept_while_anybody_has_its_log_open() {
        let (parent, account) = (parent(), Account::of_servers().unwrap());
        let theirs = parent.path().join(format!("{PREFIX}theirs"));
        fs::create_dir(&theirs).unwrap();
        let log = File::create(theirs.join(LOG)).unwrap();
        log.lock().unwrap();
        let inherited = log.try_clone().unwrap();
        drop(log);

        let first = Folder::create_in(parent.path(), &account).unwrap();
        assert!(theirs.exists());

        drop(inherited);
        Folder::create_in(parent.path(), &account).unwrap();
        assert!(!theirs.exists());
        assert!(first.path().exists());
    }

    #[test]
    fn dropped_folder_is_gone() {
        let (parent, account) = (parent(), Account::of_servers().unwrap());
        let folder = Folder::create_in(parent.path(), &account).unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn folder_in_the_making_is_kept() {
        let (parent, account) = (parent(), Account::of_servers().unwrap());
        let young = parent.path().join(format!("{PREFIX}young"));
        fs::create_dir(&young).unwrap();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join(LOG), "").unwrap();

        Folder::create_in(parent.path(), &account).unwrap();
        assert!(young.exists());
        assert!(other.exists());
    }

    #[test]
    fn files_are_for_the_account_alone() {
        let (parent, account) = (parent(), Account::of_servers().unwrap());
        let folder = Folder::create_in(parent.path(), &account).unwrap();
        let path = folder.write("users", "secret", &account).unwrap();
        let meta = fs::metadata(path).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.uid()), (0o600, account.user()));
    }
}
