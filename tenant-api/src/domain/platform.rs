//! The credential of those who manage tenants: the platform's administrators, none of whom belongs to a tenant.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Proof that a caller may manage tenants. It can only be had from [`PlatformToken::verify`], from a development
/// environment without a token, or from the command line.
#[derive(Debug, Clone, Copy)]
pub struct PlatformAdmin {
    actor: &'static str,
}

impl PlatformAdmin {
    /// Whoever can start the program with the owner's database URL.
    pub fn operator() -> Self {
        Self { actor: "operator" }
    }

    /// Who acted, for the audit log.
    pub fn actor(self) -> &'static str {
        self.actor
    }
}

/// The configured `PLATFORM_ADMIN_TOKEN`, kept as a digest.
#[derive(Clone)]
pub struct PlatformToken(Option<[u8; 32]>, Absent);

/// What holds where no token is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Development: everybody may.
    Open,
    /// Everywhere else: nobody may.
    Closed,
}

impl PlatformToken {
    pub fn new(token: Option<&str>, absent: Absent) -> Self {
        Self(token.map(|token| Sha256::digest(token.as_bytes()).into()), absent)
    }

    /// Compares in constant time; digests also hide the length.
    pub fn verify(&self, presented: Option<&str>) -> Option<PlatformAdmin> {
        let Some(expected) = self.0 else {
            return (self.1 == Absent::Open).then_some(PlatformAdmin { actor: "development" });
        };
        let given: [u8; 32] = Sha256::digest(presented?.as_bytes()).into();
        bool::from(expected.ct_eq(&given)).then_some(PlatformAdmin { actor: "platform" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configured_token_opens() {
        let token = PlatformToken::new(Some("a-long-token"), Absent::Open);
        assert!(token.verify(Some("a-long-token")).is_some());
        assert!(token.verify(Some("a-long-tokeN")).is_none());
        assert!(token.verify(None).is_none());
    }

    #[test]
    fn without_a_token_only_development_is_open() {
        assert!(PlatformToken::new(None, Absent::Open).verify(None).is_some());
        assert!(PlatformToken::new(None, Absent::Closed).verify(Some("")).is_none());
    }
}
