//! API keys: 32 random bytes as 43 url-safe characters, of which only the SHA-256 is kept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Characters of a key: 32 bytes in base64 without padding.
pub const LENGTH: usize = 43;

/// A key as its holder sends it.
pub struct ApiKey(Zeroizing<String>);

/// What is stored of a key: SHA-256 in lower-case hexadecimal. The key is random over 256 bits, so no slow hash is
/// needed to protect it, and an index finds it at the same cost whatever the number of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyHash(String);

impl ApiKey {
    /// Makes a key from the system's random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut())?;
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()))))
    }

    /// Takes a key that somebody presents; `None` for what cannot be one, which spares the look-up.
    pub fn presented(text: &str) -> Option<Self> {
        let url_safe = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        (text.len() == LENGTH && text.bytes().all(url_safe)).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> ApiKeyHash {
        ApiKeyHash(hex(&Sha256::digest(self.0.as_bytes())))
    }
}

impl ApiKeyHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_can_be_presented_and_hashes_alike() {
        let key = ApiKey::generate().unwrap();
        assert_eq!(key.expose().len(), LENGTH);
        let again = ApiKey::presented(key.expose()).unwrap();
        assert_eq!(again.hash(), key.hash());
        assert_eq!(key.hash().as_str().len(), 64);
        assert_ne!(ApiKey::generate().unwrap().expose(), key.expose());
    }

    #[test]
    fn what_cannot_be_a_key_is_not_looked_up() {
        for bad in ["", "short", &"a".repeat(44), &"/".repeat(43), &"ä".repeat(43)] {
            assert!(ApiKey::presented(bad).is_none(), "{bad}");
        }
    }
}
