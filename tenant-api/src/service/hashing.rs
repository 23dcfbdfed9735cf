//! Password hashes: made and checked on threads of their own, few at once, so that a storm of logins slows only logins.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{Result, ServiceError};
use crate::domain::password::{MAX_BYTES, NewPassword};

/// Most passwords that wait for each thread; who comes later is told to come again, and not left until the time is over.
const QUEUE: usize = 32;

/// Salt and digest of no password. What is checked against it takes as long as what is checked against a user's hash.
const NOBODY: &str = "C6UzMDM.H6dfI/f/IKcEe.7uTHnC5Xk5bQzC8hD2v0Q1jJ6rZ7F7K";

/// bcrypt with bounds.
#[derive(Clone)]
pub struct Hasher {
    cost: u32,
    threads: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    most_waiting: usize,
}

impl Hasher {
    pub fn new(cost: u32) -> Self {
        // One core stays for everything else.
        let threads = available_parallelism().map_or(1, NonZero::get).saturating_sub(1).max(1);
        Self {
            cost,
            threads: Arc::new(Semaphore::new(threads)),
            waiting: Arc::new(AtomicUsize::new(0)),
            most_waiting: threads * QUEUE,
        }
    }

    /// Hashes a new password in the form `$2b$`.
    pub async fn hash(&self, password: NewPassword) -> Result<String> {
        let cost = self.cost;
        // `NewPassword` is at most as long as what bcrypt reads; the function that refuses more also refuses exactly that.
        self.run(move || bcrypt::hash(password.expose(), cost))
            .await?
            .map_err(|_| ServiceError::Internal("bcrypt cannot hash a password"))
    }

    /// Whether `password` is the one of `hash`. Without a hash, and with a password that no hash can have, the answer is
    /// no, after the same work.
    pub async fn verify(&self, password: &str, hash: Option<String>) -> Result<bool> {
        let password = Zeroizing::new(password.to_owned());
        let real = hash.is_some() && password.len() <= MAX_BYTES;
        let hash = hash.unwrap_or_else(|| format!("$2b${:02}${NOBODY}", self.cost));
        let same = self.run(move || bcrypt::verify(password.as_str(), &hash).unwrap_or(false)).await?;
        Ok(same && real)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _place = Place::take(&self.waiting, self.most_waiting)?;
        let permit = Arc::clone(&self.threads).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when nobody waits for it any more.
            let _permit = permit;
            work()
        });
        done.await.map_err(|_| ServiceError::Internal("a password hash was given up"))
    }
}

/// A place among those who wait; given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Result<Self> {
        if waiting.fetch_add(1, Ordering::AcqRel) >= most {
            waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(ServiceError::Overloaded);
        }
        Ok(Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr as _;

    #[tokio::test]
    async fn a_password_fits_its_hash_only() {
        let hasher = Hasher::new(4);
        let hash = hasher.hash(NewPassword::parse("correct horse").unwrap()).await.unwrap();
        assert!(hash.starts_with("$2b$04$"));
        assert!(hasher.verify("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify("wrong horse", Some(hash)).await.unwrap());
        assert!(!hasher.verify("anything", None).await.unwrap());
        assert!(!hasher.verify("anything", Some("no hash".into())).await.unwrap());
    }

    #[tokio::test]
    async fn what_follows_byte_72_is_not_ignored() {
        let hasher = Hasher::new(4);
        let password = "ab".repeat(36);
        let hash = hasher.hash(NewPassword::parse(&password).unwrap()).await.unwrap();
        assert!(hasher.verify(&password, Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(&format!("{password}c"), Some(hash)).await.unwrap());
    }

    #[test]
    fn the_hash_of_nobody_is_one_that_takes_the_full_work() {
        let parts = bcrypt::HashParts::from_str(&format!("$2b$12${NOBODY}")).unwrap();
        assert_eq!(parts.get_cost(), 12);
        assert!(bcrypt::verify("x", &format!("$2b$04${NOBODY}")).is_ok());
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_told() {
        let waiting = AtomicUsize::new(0);
        let first = Place::take(&waiting, 1).unwrap();
        assert!(matches!(Place::take(&waiting, 1), Err(ServiceError::Overloaded)));
        drop(first);
        assert!(Place::take(&waiting, 1).is_ok());
    }
}
