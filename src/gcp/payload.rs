//! The value of a secret on its way to Google: wiped when dropped, never shown.

use std::fmt;

use zeroize::Zeroizing;

/// The bytes of a secret's version.
///
/// They are wiped when this is dropped. The official client makes a copy of its own while it sends.
#[derive(Clone)]
pub struct Payload(Zeroizing<Vec<u8>>);

impl Payload {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Not for logs, errors or plans.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The length in bytes; Secret Manager takes at most 65,536.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The checksum that Secret Manager verifies (field `dataCrc32c`).
    pub(crate) fn crc32c(&self) -> i64 {
        i64::from(crc32c::crc32c(&self.0))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Payload({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_length_only() {
        assert_eq!(format!("{:?}", Payload::new(b"hunter2".to_vec())), "Payload(7 bytes)");
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of CRC-32C in the catalogue of parametrised CRC algorithms.
        assert_eq!(Payload::new(b"123456789".to_vec()).crc32c(), 0xE306_9283);
    }
}
