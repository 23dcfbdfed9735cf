//! What is made once and kept: fetched programs, and databases right after `initdb`.

use std::env;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::account::Account;
use crate::error::{Doing, StartError, blocking};

const NAME: &str = "private-servers";
/// How folders are called that are not finished. Whoever holds the lock may remove those of others: they died.
const STAGING: &str = ".new-";

/// The folder of this user for what is kept.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// The right to change the cache. Processes that need something at once wait for each other, and the later one finds it.
pub(crate) struct Lock {
    _file: File,
}

impl Cache {
    /// At `root`, or at the usual place: `/var/cache` when servers run as somebody else, who cannot enter our home.
    pub(crate) fn open(root: Option<&Path>, account: &Account) -> Result<Self, StartError> {
        let root = root.map_or_else(|| usual(account), Path::to_owned);
        fs::create_dir_all(&root).doing(|| format!("making {}", root.display()))?;
        if account.is_other() {
            open_to_all(&root)?;
        }
        account.check_reach(&root)?;
        Ok(Self { root })
    }

    /// The path of `name` in the cache.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Waits until no other process changes the cache.
    pub(crate) async fn lock(&self) -> Result<Lock, StartError> {
        let root = self.root.clone();
        blocking(move || {
            let path = root.join("lock");
            let file = File::create(&path).doing(|| format!("making {}", path.display()))?;
            file.lock().doing(|| format!("locking {}", path.display()))?;
            remove_unfinished(&root);
            Ok(Lock { _file: file })
        })
        .await
    }

    /// A fresh folder on the same file system, to be renamed into place when it is complete.
    pub(crate) fn stage(&self, _lock: &Lock) -> Result<TempDir, StartError> {
        let builder = tempfile::Builder::new().prefix(STAGING).tempdir_in(&self.root);
        builder.doing(|| format!("making a folder in {}", self.root.display()))
    }
}

/// Lets everybody read the folder at `path`, whatever the umask.
pub(crate) fn open_to_all(path: &Path) -> Result<(), StartError> {
    fs::set_permissions(path, Permissions::from_mode(0o755)).doing(|| format!("opening {}", path.display()))
}

fn usual(account: &Account) -> PathBuf {
    if account.is_other() {
        return Path::new("/var/cache").join(NAME);
    }
    let xdg = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || {
        let home = env::home_dir().unwrap_or_else(env::temp_dir);
        home.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" })
    };
    xdg.unwrap_or_else(home).join(NAME)
}

/// Best effort: what cannot be removed takes room and harms nobody.
fn remove_unfinished(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(STAGING) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unfinished_work_of_the_dead_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let cache = Cache::open(Some(folder.path()), &Account::of_servers().unwrap()).unwrap();
        let first = cache.lock().await.unwrap();
        let left = cache.stage(&first).unwrap().keep();
        fs::create_dir(cache.path("finished")).unwrap();
        drop(first);

        cache.lock().await.unwrap();
        assert!(!left.exists());
        assert!(cache.path("finished").exists());
    }
}
