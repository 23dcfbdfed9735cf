//! What survives a restart: an append-only journal in the state folder, and the lock on that folder.
//!
//! The first line is `{"format":1}`; then each line holds all changes of one request, written before its answer is
//! sent. A line that a kill tore at the end is dropped: its request was never answered. The journal is compacted at
//! each start. Nothing is synced to the disk, because a killed process loses nothing that was written.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::world::Counters;

/// The format that this version writes and the newest that it reads.
const FORMAT: u64 = 1;

/// The files of a state folder.
const JOURNAL: &str = "journal";
const FRESH_JOURNAL: &str = "journal.new";
const LOCK: &str = "lock";
const ADDRESS: &str = "address";
const FRESH_ADDRESS: &str = "address.new";
/// The folder of what was pushed.
pub(crate) const BLOBS: &str = "blobs";

type Docs = BTreeMap<String, BTreeMap<String, Value>>;

/// What is wrong with the state folder.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the state folder {} cannot be used", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the state in {} has format {found}; this version reads formats up to {FORMAT}", path.display())]
    Newer { path: PathBuf, found: u64 },
    #[error("line {line} of {} cannot be read: {why}", path.display())]
    Unreadable { path: PathBuf, line: usize, why: String },
    #[error("the state folder {} is in use by another process{}", path.display(), at(*address))]
    Locked { path: PathBuf, address: Option<SocketAddr> },
}

fn at(address: Option<SocketAddr>) -> String {
    address.map_or_else(String::new, |address| format!(" at {address}"))
}

/// One document as it is after the request; `None` when it is gone.
#[derive(Debug, Serialize)]
pub(crate) struct Mutation<'a> {
    pub(crate) collection: &'a str,
    pub(crate) name: &'a str,
    pub(crate) doc: Option<&'a Value>,
}

#[derive(Serialize)]
struct LineOut<'a> {
    counters: Counters,
    changes: Vec<(&'a str, &'a str, Option<&'a Value>)>,
}

#[derive(Deserialize)]
struct LineIn {
    counters: Counters,
    changes: Vec<(String, String, Option<Value>)>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u64,
}

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
    loaded: Option<(Docs, Option<Counters>)>,
}

impl Journal {
    /// Reads the journal of the folder, compacts it, and opens it for appending.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(JOURNAL);
        let failed = |source| StoreError::Folder { path: dir.to_owned(), source };
        let (docs, counters) = match std::fs::read(&path) {
            Ok(bytes) => load(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Docs::new(), None),
            Err(error) => return Err(failed(error)),
        };
        let fresh = dir.join(FRESH_JOURNAL);
        let mut file = private(&fresh).map_err(failed)?;
        let length = write_compact(&mut file, &docs, counters).map_err(failed)?;
        std::fs::rename(&fresh, &path).map_err(failed)?;
        Ok(Self { path, file, length, loaded: Some((docs, counters)) })
    }

    /// What was read at the start; empty the second time.
    pub(crate) fn take(&mut self) -> (Docs, Option<Counters>) {
        self.loaded.take().unwrap_or_default()
    }

    /// Appends one request's changes. After an error the journal ends where it ended before.
    pub(crate) fn append(&mut self, counters: Counters, changes: &[Mutation<'_>]) -> Result<(), StoreError> {
        let changes = changes.iter().map(|change| (change.collection, change.name, change.doc)).collect();
        let written = line_of(&LineOut { counters, changes }).and_then(|line| {
            self.file.write_all(&line)?;
            Ok(line.len() as u64)
        });
        match written {
            Ok(length) => {
                self.length += length;
                Ok(())
            }
            Err(source) => {
                // A half written line in the middle would make the whole journal unreadable.
                let _ = self.file.set_len(self.length);
                Err(StoreError::Folder { path: self.path.clone(), source })
            }
        }
    }
}

fn line_of<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// A new empty file that only its owner may read, because payloads of secrets go into it.
fn private(path: &Path) -> io::Result<File> {
    let _ = std::fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.append(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

fn write_compact(file: &mut File, docs: &Docs, counters: Option<Counters>) -> io::Result<u64> {
    let mut bytes = line_of(&Header { format: FORMAT })?;
    let counters = counters.unwrap_or_default();
    for (collection, documents) in docs {
        for (name, doc) in documents {
            let changes = vec![(collection.as_str(), name.as_str(), Some(doc))];
            bytes.extend(line_of(&LineOut { counters, changes })?);
        }
    }
    file.write_all(&bytes)?;
    Ok(bytes.len() as u64)
}

fn load(path: &Path, bytes: &[u8]) -> Result<(Docs, Option<Counters>), StoreError> {
    let unreadable = |line: usize, why: &dyn std::fmt::Display| StoreError::Unreadable {
        path: path.to_owned(),
        line,
        why: why.to_string(),
    };
    let mut docs = Docs::new();
    let mut counters = None;
    // What follows the last line end is torn, or nothing.
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    if end == 0 && !bytes.is_empty() {
        // The first line comes whole with the file, by a rename: this is no journal.
        return Err(unreadable(1, &"it has no header"));
    }
    for (index, line) in bytes[..end].split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        if index == 0 {
            let header: Header = serde_json::from_slice(line).map_err(|error| unreadable(1, &error))?;
            if header.format > FORMAT {
                return Err(StoreError::Newer { path: path.to_owned(), found: header.format });
            }
            continue;
        }
        let line: LineIn = serde_json::from_slice(line).map_err(|error| unreadable(index + 1, &error))?;
        counters = Some(line.counters);
        for (collection, name, doc) in line.changes {
            let documents = docs.entry(collection).or_default();
            match doc {
                Some(doc) => documents.insert(name, doc),
                None => documents.remove(&name),
            };
        }
    }
    Ok((docs, counters))
}

/// Removes the state from a folder that has been one, and answers whether there was any.
pub(crate) fn empty(dir: &Path) -> Result<bool, StoreError> {
    // Every sandbox leaves its lock behind, in its folder and in no other.
    if !dir.join(LOCK).exists() {
        return Ok(false);
    }
    let _lock = FolderLock::acquire(dir)?;
    let mut removed = false;
    for name in [JOURNAL, FRESH_JOURNAL, FRESH_ADDRESS] {
        match std::fs::remove_file(dir.join(name)) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::Folder { path: dir.to_owned(), source }),
        }
    }
    match std::fs::remove_dir_all(dir.join(BLOBS)) {
        Ok(()) => removed = true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(StoreError::Folder { path: dir.to_owned(), source }),
    }
    // The lock stays: who waits for it would otherwise hold a lock that nobody else sees.
    Ok(removed)
}

/// The lock on a state folder; given up when dropped or when the process ends in any way.
#[derive(Debug)]
pub(crate) struct FolderLock {
    dir: PathBuf,
    file: File,
}

impl FolderLock {
    /// Makes the folder when needed and locks it.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Folder { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let file = lock_file(dir).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                // A killed holder leaves its address behind.
                let _ = std::fs::remove_file(dir.join(ADDRESS));
                Ok(Self { dir: dir.to_owned(), file })
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked {
                path: dir.to_owned(),
                address: published(dir).map(|holder| holder.address),
            }),
            Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Lets other processes know where the holder listens.
    pub(crate) fn publish(&self, holder: Holder) -> Result<(), StoreError> {
        let failed = |source| StoreError::Folder { path: self.dir.clone(), source };
        let fresh = self.dir.join(FRESH_ADDRESS);
        let Holder { address, quotas } = holder;
        let text = if quotas { format!("{address}{QUOTAS}") } else { address.to_string() };
        std::fs::write(&fresh, text).map_err(failed)?;
        std::fs::rename(fresh, self.dir.join(ADDRESS)).map_err(failed)
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.dir.join(ADDRESS));
        // Closing the file is not enough: a process that another thread starts just now has it too, until it becomes its program.
        let _ = self.file.unlock();
    }
}

fn lock_file(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(LOCK))
}

fn published(dir: &Path) -> Option<Holder> {
    // The holder binds right after it locks: a moment of patience bridges that gap.
    for _ in 0..20 {
        if let Ok(text) = std::fs::read_to_string(dir.join(ADDRESS))
            && let Some(holder) = Holder::read(&text)
        {
            return Some(holder);
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    None
}

/// Behind the address of a sandbox that keeps quotas.
const QUOTAS: &str = " quotas";

/// The process that holds a folder's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it keeps Google's request quotas.
    pub quotas: bool,
}

impl Holder {
    fn read(text: &str) -> Option<Self> {
        let (address, quotas) = text.strip_suffix(QUOTAS).map_or((text, false), |address| (address, true));
        Some(Self { address: address.trim().parse().ok()?, quotas })
    }
}

/// The process that holds the folder's lock; `None` when no living process holds it.
///
/// Waits up to half a second for a holder that has just started.
pub fn holder(dir: &Path) -> Option<Holder> {
    if !dir.join(LOCK).exists() {
        return None;
    }
    let file = lock_file(dir).ok()?;
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => published(dir),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn journal_with(dir: &Path, tail: &str) {
        let mut journal = Journal::open(dir).unwrap();
        let doc = json!({"n": 1});
        let change = Mutation { collection: "things", name: "a", doc: Some(&doc) };
        journal.append(Counters { tick: 3, ids: 4, rng: 5 }, &[change]).unwrap();
        journal.file.write_all(tail.as_bytes()).unwrap();
    }

    #[test]
    fn a_torn_last_line_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        journal_with(dir.path(), "{\"counters\":{\"tick\":9");
        let (docs, counters) = Journal::open(dir.path()).unwrap().take();
        assert_eq!(docs["things"]["a"]["n"], 1);
        assert_eq!(counters.unwrap().tick, 3);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        journal_with(dir.path(), "garbage\n");
        assert!(matches!(Journal::open(dir.path()), Err(StoreError::Unreadable { line: 3, .. })));
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("journal"), "{\"format\":2}\nwhatever\n").unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(StoreError::Newer { found: 2, .. })));
        let text = std::fs::read_to_string(dir.path().join("journal")).unwrap();
        assert!(text.starts_with("{\"format\":2}"));
    }

    #[test]
    fn compaction_keeps_documents_and_forgets_removed_ones() {
        let dir = tempfile::tempdir().unwrap();
        journal_with(dir.path(), "");
        let mut journal = Journal::open(dir.path()).unwrap();
        let gone = Mutation { collection: "things", name: "a", doc: None };
        journal.append(Counters::default(), &[gone]).unwrap();
        let (docs, _) = Journal::open(dir.path()).unwrap().take();
        assert!(docs.get("things").is_none_or(BTreeMap::is_empty));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_journal() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        journal_with(dir.path(), "");
        let mode = std::fs::metadata(dir.path().join("journal")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn emptying_takes_the_state_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!empty(dir.path()).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        drop(FolderLock::acquire(dir.path()).unwrap());
        journal_with(dir.path(), "");
        std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        assert!(empty(dir.path()).unwrap());
        assert!(!dir.path().join(JOURNAL).exists());
        assert!(dir.path().join("notes.txt").exists());
        assert!(!empty(dir.path()).unwrap());
    }

    #[test]
    fn what_no_sandbox_has_locked_is_no_state_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(JOURNAL), "a diary").unwrap();
        assert!(!empty(dir.path()).unwrap());
        assert!(dir.path().join(JOURNAL).exists());
    }

    #[test]
    fn a_folder_in_use_is_not_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = FolderLock::acquire(dir.path()).unwrap();
        journal_with(dir.path(), "");
        assert!(matches!(empty(dir.path()), Err(StoreError::Locked { .. })));
        assert!(dir.path().join(JOURNAL).exists());
    }

    #[test]
    fn a_locked_folder_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holder(dir.path()), None);
        let lock = FolderLock::acquire(dir.path()).unwrap();
        let address: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        for quotas in [false, true] {
            lock.publish(Holder { address, quotas }).unwrap();
            assert_eq!(holder(dir.path()), Some(Holder { address, quotas }));
        }
        assert!(matches!(
            FolderLock::acquire(dir.path()),
            Err(StoreError::Locked { address: Some(found), .. }) if found == address
        ));
        drop(lock);
        assert_eq!(holder(dir.path()), None);
    }
}
