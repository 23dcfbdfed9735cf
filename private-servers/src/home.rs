//! A home: the folder in which a server keeps its data, its port and its passwords from one run to the next.
//!
//! It lies in the folder that the caller names, or, where the user that servers run as cannot get there (we are root and the
//! folder is not open to others), in the cache, and a small file in the caller's folder says where. A home in the cache
//! whose small file is gone belongs to nobody and is removed by the next claim.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::cache::{Cache, open_to_all};
use crate::error::{Doing, StartError};
use crate::random;

/// Behind the name of a home: its lock, and the file that says where it is when it is elsewhere.
const CLAIM: &str = "claim";
const AT: &str = "at";
/// In a home in the cache: the file that says that it is there.
const OF: &str = "of";
const ELSEWHERE: &str = "homes";
const PORT: &str = "port";

/// A folder that a server may use, and nobody else while this exists.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    /// The small file, for a home in the cache.
    pointer: Option<PathBuf>,
    account: Account,
    /// Locked, and not inherited by servers: free as soon as the program that claimed it is gone.
    claim: File,
}

impl Drop for Home {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread starts just now has it too, until it becomes its program.
        let _ = self.claim.unlock();
    }
}

impl Home {
    /// Claims the home `name` of `folder`, which is made where it is missing. `None` when another program that lives has it.
    pub fn claim(folder: &Path, name: &str) -> Result<Option<Self>, StartError> {
        Self::claim_with(folder, name, None)
    }

    /// The same with another cache than the user's.
    fn claim_with(folder: &Path, name: &str, cache: Option<&Path>) -> Result<Option<Self>, StartError> {
        let account = Account::of_servers()?;
        fs::create_dir_all(folder).doing(|| format!("making {}", folder.display()))?;
        let folder = folder.canonicalize().doing(|| format!("finding {}", folder.display()))?;
        let lock = folder.join(format!("{name}.{CLAIM}"));
        let claim = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock);
        let claim = claim.doing(|| format!("making {}", lock.display()))?;
        match claim.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).doing(|| format!("locking {}", lock.display()));
            }
        }
        let (path, pointer) = place(&folder, name, &account, cache)?;
        Ok(Some(Self { path, pointer, account, claim }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user that servers run as.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Removes it with everything in it.
    pub fn remove(self) -> Result<(), StartError> {
        let removing = || format!("removing {}", self.path.display());
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).doing(removing),
            _ => {}
        }
        match self.pointer.as_ref().map(fs::remove_file) {
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => Err(error).doing(removing),
            _ => Ok(()),
        }
    }

    /// The text of a file in it; `None` where there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, StartError> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing(|| format!("reading {}", path.display())),
        }
    }

    /// Writes a file that nobody else reads, at once or not at all.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), StartError> {
        let path = self.path.join(name);
        let writing = || format!("writing {}", path.display());
        let new = self.path.join(format!("{name}.new"));
        fs::write(&new, text).doing(writing)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600)).doing(writing)?;
        self.account.give(&new)?;
        fs::rename(&new, &path).doing(writing)
    }

    /// The random password that is kept under this name.
    pub(crate) fn password(&self, name: &str) -> Result<String, StartError> {
        if let Some(password) = self.read(name)?.filter(|password| !password.is_empty()) {
            return Ok(password);
        }
        let password = random::password()?;
        self.write(name, &password)?;
        Ok(password)
    }

    /// The port that its server had before.
    pub(crate) fn port(&self) -> Result<Option<u16>, StartError> {
        Ok(self.read(PORT)?.and_then(|text| text.trim().parse().ok()))
    }

    /// Remembers the port.
    pub(crate) fn keep_port(&self, port: u16) -> Result<(), StartError> {
        if self.port()? == Some(port) {
            return Ok(());
        }
        self.write(PORT, &format!("{port}\n"))
    }

    /// The file that [`Home::keep_port`] writes: without it another port is taken.
    pub(crate) fn port_file(&self) -> PathBuf {
        self.path.join(PORT)
    }
}

/// The folder of a home, made and closed to others, and the file in `folder` that points to it where it is elsewhere.
fn place(
    folder: &Path,
    name: &str,
    account: &Account,
    cache: Option<&Path>,
) -> Result<(PathBuf, Option<PathBuf>), StartError> {
    if account.check_reach(folder).is_ok() {
        let path = folder.join(name);
        make(&path, account)?;
        return Ok((path, None));
    }
    let homes = Cache::open(cache, account)?.path(ELSEWHERE);
    fs::create_dir_all(&homes).doing(|| format!("making {}", homes.display()))?;
    open_to_all(&homes)?;
    remove_orphans(&homes);
    let pointer = folder.join(format!("{name}.{AT}"));
    let known = fs::read_to_string(&pointer).ok().map(PathBuf::from);
    let path = match known.filter(|path| path.parent() == Some(&homes)) {
        Some(path) => path,
        None => homes.join(random::password()?),
    };
    // The pointer first: a home that nothing points to is taken for an orphan.
    let text = path.to_string_lossy();
    fs::write(&pointer, text.as_bytes()).doing(|| format!("writing {}", pointer.display()))?;
    make(&path, account)?;
    let of = path.join(OF);
    fs::write(&of, pointer.to_string_lossy().as_bytes()).doing(|| format!("writing {}", of.display()))?;
    Ok((path, Some(pointer)))
}

fn make(path: &Path, account: &Account) -> Result<(), StartError> {
    fs::create_dir_all(path).doing(|| format!("making {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
        .doing(|| format!("closing {}", path.display()))?;
    account.give(path)
}

/// Best effort: what cannot be removed takes room and harms nobody.
fn remove_orphans(homes: &Path) {
    for home in fs::read_dir(homes).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let Ok(pointer) = fs::read_to_string(home.join(OF)) else { continue };
        let is_home = fs::read_to_string(&pointer).is_ok_and(|target| Path::new(&target) == home);
        if !is_home {
            let _ = fs::remove_dir_all(&home);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders that others may and may not enter, and a cache that they may.
    fn folders(mode: u32) -> (tempfile::TempDir, tempfile::TempDir) {
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(cache.path(), Permissions::from_mode(0o755)).unwrap();
        (folder, cache)
    }

    fn claimed(folder: &Path, cache: &Path) -> Option<Home> {
        Home::claim_with(folder, "db", Some(cache)).unwrap()
    }

    #[test]
    fn one_program_at_a_time_has_a_home_and_the_next_finds_what_it_kept() {
        for mode in [0o700, 0o755] {
            let (folder, cache) = folders(mode);
            let home = claimed(folder.path(), cache.path()).unwrap();
            assert!(claimed(folder.path(), cache.path()).is_none());
            let password = home.password("password").unwrap();
            home.keep_port(4711).unwrap();
            drop(home);
            let home = claimed(folder.path(), cache.path()).unwrap();
            assert_eq!((home.port().unwrap(), home.password("password").unwrap()), (Some(4711), password));
            home.remove().unwrap();
            let home = claimed(folder.path(), cache.path()).unwrap();
            assert_eq!(home.port().unwrap(), None);
        }
    }

    #[test]
    fn home_is_where_servers_can_get() {
        let (folder, cache) = folders(0o700);
        let home = claimed(folder.path(), cache.path()).unwrap();
        assert_eq!(home.path().starts_with(cache.path()), home.account().is_other());
        home.account().check_reach(home.path()).unwrap();
        let (open, cache) = folders(0o755);
        let home = claimed(open.path(), cache.path()).unwrap();
        assert!(home.path().starts_with(open.path().canonicalize().unwrap()));
    }

    #[test]
    fn home_in_the_cache_goes_when_its_folder_is_gone() {
        let (folder, cache) = folders(0o700);
        let path = claimed(folder.path(), cache.path()).unwrap().path().to_owned();
        drop(folder);
        let (next, _) = folders(0o700);
        let other = claimed(next.path(), cache.path()).unwrap();
        assert!(!path.exists());
        assert!(other.path().exists());
    }
}
