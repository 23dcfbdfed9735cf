//! Uploads of blobs: begun, fed in pieces, asked about, finished, given up.
//!
//! An upload that nobody has touched for a day is given up; whatever ends one, its file goes with it. They do not
//! survive the sandbox.

use std::collections::HashMap;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use futures::StreamExt as _;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::refusal::Refusal;
use crate::server::lock;

/// How long an upload may lie idle.
const IDLE: SignedDuration = SignedDuration::from_hours(24);
/// The largest blob, in bytes. Artifact Registry takes more, but a disk that is full helps nobody.
pub(super) const MAX_BLOB: u64 = 10 * 1024 * 1024 * 1024;

/// Every upload that is going on.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    repository: String,
    touched: Timestamp,
    upload: Arc<tokio::sync::Mutex<Upload>>,
}

impl Uploads {
    /// Begins an upload to a repository, and gives up those that lay idle for too long.
    pub(super) fn begin(
        &self,
        id: &str,
        repository: &str,
        draft: PathBuf,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let upload = Upload::new(draft).map_err(|error| Refusal::disk("begin an upload", &error))?;
        let upload = Arc::new(tokio::sync::Mutex::new(upload));
        let mut entries = lock(&self.0);
        entries.retain(|_, entry| now.duration_since(entry.touched) < IDLE);
        entries.insert(id.to_owned(), Entry { repository: repository.to_owned(), touched: now, upload });
        Ok(())
    }

    /// The upload with this id to this repository.
    pub(super) fn find(
        &self,
        id: &str,
        repository: &str,
        now: Timestamp,
    ) -> Result<Arc<tokio::sync::Mutex<Upload>>, Refusal> {
        let mut entries = lock(&self.0);
        let entry = entries.get_mut(id).filter(|entry| entry.repository == repository);
        let entry = entry.ok_or_else(|| {
            Refusal::unknown(
                "BLOB_UPLOAD_UNKNOWN",
                format!(
                    "There is no upload {id} to {repository}: it is finished, was given up, or never began."
                ),
            )
        })?;
        entry.touched = now;
        Ok(Arc::clone(&entry.upload))
    }

    /// Forgets an upload; its file goes as soon as nobody writes to it any more.
    pub(super) fn end(&self, id: &str) {
        lock(&self.0).remove(id);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }
}

/// One upload. Its file is removed with it, unless it became a blob.
#[derive(Debug)]
pub(super) struct Upload {
    path: PathBuf,
    file: File,
    /// Bytes that are there for sure.
    length: u64,
    hash: Sha256,
}

impl Upload {
    fn new(path: PathBuf) -> io::Result<Self> {
        let file = File::from_std(std::fs::File::create(&path)?);
        Ok(Self { path, file, length: 0, hash: Sha256::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// In bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The `Range` header of answers: the bytes that are there.
    pub(super) fn range(&self) -> String {
        format!("0-{}", self.length.saturating_sub(1))
    }

    /// Writes a request's body behind what is there. What came before an error stays, so that the client can go on.
    pub(super) async fn append(&mut self, body: Body) -> Result<(), Refusal> {
        let failed = |error: &io::Error| Refusal::disk("write the upload", error);
        // A request that was cut off may have left more in the file than was counted.
        self.rewind().await.map_err(|error| failed(&error))?;
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece =
                piece.map_err(|_| Refusal::bad("BLOB_UPLOAD_INVALID", "The request ended too early."))?;
            let length = self.length + piece.len() as u64;
            if length > MAX_BLOB {
                return Err(Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "SIZE_INVALID",
                    format!("A blob may have {MAX_BLOB} bytes at most."),
                ));
            }
            self.file.write_all(&piece).await.map_err(|error| failed(&error))?;
            self.hash.update(&piece);
            self.length = length;
        }
        self.file.flush().await.map_err(|error| failed(&error))
    }

    async fn rewind(&mut self) -> io::Result<()> {
        self.file.set_len(self.length).await?;
        self.file.seek(SeekFrom::Start(self.length)).await?;
        Ok(())
    }

    /// Syncs the file and answers the digest of what is in it.
    pub(super) async fn complete(&mut self) -> io::Result<String> {
        self.rewind().await?;
        self.file.sync_all().await?;
        Ok(digest_of(self.hash.clone()))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn digest_of(hash: Sha256) -> String {
    hash.finalize().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// The digest of bytes in memory.
pub(super) fn digest(bytes: &[u8]) -> String {
    digest_of(Sha256::new_with_prefix(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        "2027-06-01T12:00:00Z".parse().unwrap()
    }

    #[tokio::test]
    async fn pieces_add_up_and_a_tail_that_was_not_counted_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("u");
        let mut upload = Upload::new(path.clone()).unwrap();
        upload.append(Body::from("one")).await.unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, b"torn"))
            .unwrap();
        upload.append(Body::from("two")).await.unwrap();
        assert_eq!((upload.length(), upload.range()), (6, "0-5".to_owned()));
        assert_eq!(upload.complete().await.unwrap(), digest(b"onetwo"));
        assert_eq!(std::fs::read(&path).unwrap(), b"onetwo");
        drop(upload);
        assert!(!path.exists());
    }

    #[test]
    fn an_idle_upload_is_given_up_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::default();
        let begin = |id: &str, at| uploads.begin(id, "r", dir.path().join(id), at);
        begin("old", noon()).unwrap();
        begin("new", noon() + SignedDuration::from_hours(23)).unwrap();
        assert!(dir.path().join("old").exists());
        begin("last", noon() + SignedDuration::from_hours(25)).unwrap();
        assert!(!dir.path().join("old").exists());
        assert!(uploads.find("old", "r", noon()).is_err());
        assert!(uploads.find("new", "r", noon()).is_ok());
        assert!(uploads.find("new", "another", noon()).is_err());
    }
}
