//! What a running `up` was started with: other commands tell when the YAML wants something else by now, since `local` is read
//! once, when the processes of this machine begin.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Environment;

/// A note of `up` in the sandbox's state. One of a run that was killed names an address where nobody answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Where its sandbox listens.
    address: SocketAddr,
    /// Name of the environment.
    environment: String,
    /// Hex SHA-256 of `local`.
    digest: String,
}

impl Started {
    /// With the `local` that the environment has now.
    pub fn of(environment: &Environment, address: SocketAddr) -> Self {
        let digest = hex::encode(Sha256::digest(format!("{:?}", environment.local)));
        Self { address, environment: environment.name.clone(), digest }
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        fs::write(file(state), serde_json::to_vec(self)?)
    }

    /// Best effort: see [`Started`].
    pub fn forget(state: &Path) {
        let _ = fs::remove_file(file(state));
    }

    /// Whether the `up` of this environment whose sandbox listens at this address was started with another `local`. Where no
    /// such `up` is known nothing is.
    pub fn differs(&self, state: &Path) -> bool {
        let text = fs::read(file(state)).unwrap_or_default();
        let Ok(started) = serde_json::from_slice::<Self>(&text) else { return false };
        started.address == self.address
            && started.environment == self.environment
            && started.digest != self.digest
    }
}

fn file(state: &Path) -> PathBuf {
    state.join("up.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(port: u16, environment: &str, digest: &str) -> Started {
        let address = ([127, 0, 0, 1], port).into();
        Started { address, environment: environment.to_owned(), digest: digest.to_owned() }
    }

    #[test]
    fn only_another_local_of_the_same_run_differs() {
        let state = tempfile::tempdir().unwrap();
        assert!(!started(1, "dev", "a").differs(state.path()), "nobody runs");
        started(1, "dev", "a").write(state.path()).unwrap();
        assert!(!started(1, "dev", "a").differs(state.path()));
        assert!(started(1, "dev", "b").differs(state.path()));
        assert!(!started(2, "dev", "b").differs(state.path()), "another sandbox");
        assert!(!started(1, "test", "b").differs(state.path()), "another environment");
        Started::forget(state.path());
        assert!(!started(1, "dev", "b").differs(state.path()));
    }
}
