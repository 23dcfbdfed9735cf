//! Blobs on disk: `sha256/HEX` by content, and `uploads/ID` for what is not whole yet.
//!
//! A blob gets its name by a rename once it is complete, checked and synced: what has a name is right. Which repository
//! has which blob is in the `World`; a file that nothing there names is garbage and goes at the next start.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const KEPT: &str = "sha256";
const DRAFTS: &str = "uploads";

/// The folder of the blobs.
#[derive(Debug)]
pub(crate) struct Blobs {
    root: PathBuf,
}

impl Blobs {
    /// Opens the folder, making it when needed. Uploads that were not finished are gone: nobody remembers them.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let blobs = Self { root: root.to_owned() };
        remove_folder(&blobs.root.join(DRAFTS))?;
        blobs.make_folders()?;
        Ok(blobs)
    }

    fn make_folders(&self) -> io::Result<()> {
        for name in [KEPT, DRAFTS] {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true);
            // As private as the journal: an image may hold what its owner would not publish.
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(self.root.join(name))?;
        }
        Ok(())
    }

    /// The file of a blob; `None` for what is not a SHA-256 digest.
    pub(crate) fn path(&self, digest: &str) -> Option<PathBuf> {
        let hex =
            digest.strip_prefix("sha256:").filter(|_| crate::services::run::image::is_digest(digest))?;
        Some(self.root.join(KEPT).join(hex))
    }

    /// The content of a small blob, such as a manifest or a configuration.
    pub(crate) fn read(&self, digest: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(digest).ok_or(io::ErrorKind::NotFound)?)
    }

    /// Where an upload is written.
    pub(crate) fn draft(&self, id: &str) -> PathBuf {
        self.root.join(DRAFTS).join(id)
    }

    /// Gives a complete, synced draft the name of its digest.
    pub(crate) fn keep(&self, draft: &Path, digest: &str) -> io::Result<()> {
        let path = self.path(digest).ok_or(io::ErrorKind::InvalidInput)?;
        fs::rename(draft, path)
    }

    /// Writes a small blob whole.
    pub(crate) fn write(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(digest).ok_or(io::ErrorKind::InvalidInput)?;
        if path.exists() {
            return Ok(());
        }
        let draft = self.draft(&digest.replace(':', "-"));
        let mut file = fs::File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(draft, path)
    }

    /// Removes every blob and every upload.
    pub(crate) fn clear(&self) -> io::Result<()> {
        remove_folder(&self.root.join(KEPT))?;
        remove_folder(&self.root.join(DRAFTS))?;
        self.make_folders()
    }

    /// Removes the blobs whose digests are not in `wanted`, and answers how many those were.
    pub(crate) fn retain(&self, wanted: &BTreeSet<String>) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(self.root.join(KEPT))? {
            let entry = entry?;
            if !wanted.contains(&format!("sha256:{}", entry.file_name().to_string_lossy())) {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    #[test]
    fn opening_forgets_uploads_and_keeps_blobs() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        blobs.write(&digest('a'), b"one").unwrap();
        fs::write(blobs.draft("17"), b"half").unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        assert!(!blobs.draft("17").exists());
        assert_eq!(blobs.read(&digest('a')).unwrap(), b"one");
    }

    #[test]
    fn what_nobody_wants_goes() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        for letter in ['a', 'b'] {
            blobs.write(&digest(letter), b"content").unwrap();
        }
        assert_eq!(blobs.retain(&BTreeSet::from([digest('b')])).unwrap(), 1);
        assert!(blobs.read(&digest('a')).is_err());
        blobs.read(&digest('b')).unwrap();
        blobs.clear().unwrap();
        assert!(blobs.read(&digest('b')).is_err());
    }

    #[test]
    fn only_digests_name_files() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        for bad in ["sha256:../../journal", "journal", "sha512:00", &digest('A')] {
            assert_eq!(blobs.path(bad), None, "{bad}");
        }
    }
}
