//! Passwords: what a new one has to be.

use serde_json::json;
use zeroize::Zeroizing;

use super::{Invalid, without_nul};

/// Fewest characters of a new password.
pub const MIN_LENGTH: usize = 10;

/// Most bytes of a password. bcrypt reads no more, and to hash a part of what was typed would be worse than to refuse it.
pub const MAX_BYTES: usize = 72;

/// A password that follows the policy, wiped from memory when dropped.
pub struct NewPassword(Zeroizing<String>);

impl NewPassword {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        without_nul(text)?;
        if text.chars().count() < MIN_LENGTH {
            return Err(Invalid::too_short(MIN_LENGTH));
        }
        if text.len() > MAX_BYTES {
            return Err(Invalid::new(
                "string_too_long",
                format_args!("String should have at most {MAX_BYTES} bytes"),
                json!({"max_length": MAX_BYTES}),
            ));
        }
        let mut letters = text.chars();
        let first = letters.next();
        if letters.all(|c| Some(c) == first) {
            return Err(Invalid::value("the password repeats one character"));
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_bcrypt_would_cut_is_refused() {
        assert!(NewPassword::parse(&"ab".repeat(36)).is_ok());
        assert!(NewPassword::parse(&"ab".repeat(37)).is_err());
        assert!(NewPassword::parse(&"ä1".repeat(25)).is_err(), "75 bytes in 50 characters");
    }

    #[test]
    fn short_and_uniform_passwords_are_refused() {
        for bad in ["", "short", "aaaaaaaaaaaa", "with\0nul-in-it"] {
            assert!(NewPassword::parse(bad).is_err(), "{bad:?}");
        }
    }
}
