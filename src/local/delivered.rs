//! What was delivered: which version of which secret holds which URL. So a URL becomes a new version only when it changed,
//! although no value is ever read back.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::gcp::Payload;

/// By the full name of the secret. A file that cannot be read counts as none: then URLs are delivered once more.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Delivered(BTreeMap<String, Version>);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    number: u64,
    /// Hex SHA-256 of the URL.
    digest: String,
}

impl Delivered {
    pub fn read(state: &Path) -> Self {
        let text = fs::read(file(state)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Fails when the file cannot be written.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        let new = file(state).with_extension("new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, file(state))
    }

    /// Whether version `newest` of the secret holds this URL.
    pub fn holds(&self, secret: &str, newest: Option<u64>, url: &Payload) -> bool {
        self.0.get(secret).is_some_and(|known| Some(known.number) == newest && known.digest == digest(url))
    }

    /// Remembers that version `number` of the secret holds the URL.
    pub fn remember(&mut self, secret: &str, number: u64, url: &Payload) {
        self.0.insert(secret.to_owned(), Version { number, digest: digest(url) });
    }
}

fn file(state: &Path) -> PathBuf {
    super::folder(state).join("delivered.json")
}

fn digest(url: &Payload) -> String {
    hex::encode(Sha256::digest(url.expose()))
}

/// Best effort: see [`Delivered`].
pub(super) fn forget(state: &Path) {
    let _ = fs::remove_file(file(state));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Payload {
        Payload::new(text.as_bytes().to_vec())
    }

    #[test]
    fn the_same_url_in_the_newest_version_is_not_delivered_again() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("local")).unwrap();
        let mut delivered = Delivered::read(state.path());
        delivered.remember("projects/p/secrets/a", 3, &url("postgresql://one"));
        delivered.write(state.path()).unwrap();
        let delivered = Delivered::read(state.path());
        assert!(delivered.holds("projects/p/secrets/a", Some(3), &url("postgresql://one")));
        assert!(!delivered.holds("projects/p/secrets/a", Some(3), &url("postgresql://two")));
        assert!(!delivered.holds("projects/p/secrets/a", Some(4), &url("postgresql://one")));
        assert!(!delivered.holds("projects/p/secrets/a", None, &url("postgresql://one")));
        assert!(!delivered.holds("projects/p/secrets/b", Some(3), &url("postgresql://one")));
    }

    #[test]
    fn no_url_stands_in_the_file() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("local")).unwrap();
        let mut delivered = Delivered::default();
        delivered.remember("projects/p/secrets/a", 1, &url("postgresql://hunter2"));
        delivered.write(state.path()).unwrap();
        assert!(!fs::read_to_string(file(state.path())).unwrap().contains("hunter2"));
    }
}
