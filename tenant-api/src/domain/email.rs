//! E-mail addresses: which are taken, and the one form in which they are stored and looked up.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::json;

use super::Invalid;

/// Top-level domains that never receive mail (RFC 2606, 6761, 6762, 7686). `.example` is taken: it is what documentation uses.
const RESERVED: [&str; 6] = ["test", "local", "invalid", "localhost", "arpa", "onion"];

const TWO_PERIODS: &str = "An email address cannot have two periods in a row.";

const MAX_ADDRESS: usize = 254;
const MAX_LABEL: usize = 63;

/// A syntactically valid address, trimmed, with its domain in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Parses an address. Quoted local parts, address literals and domains without a dot are refused, in the words of the
    /// library that the original uses (email-validator 2).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.contains(['\r', '\n']) {
            return Err(refused("Carriage return and line feed characters are not allowed"));
        }
        let quoted = text.starts_with('"') && text.contains("\"@");
        let parts = if quoted { text.rsplit_once('@') } else { text.split_once('@') };
        let (local, domain) = parts.ok_or_else(|| refused("An email address must have an @-sign."))?;
        check_local(local)?;
        let domain = domain.to_lowercase();
        check_domain(&domain)?;
        if let Some(more) = beyond(local.len() + 1 + domain.len(), MAX_ADDRESS) {
            return Err(refused(format_args!("The email address is too long ({more}).")));
        }
        Ok(Self(format!("{local}@{domain}")))
    }

    /// The address as it is stored and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that two spellings of one account share, for counting. The database folds by itself.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

fn refused(reason: impl fmt::Display) -> Invalid {
    let reason = reason.to_string();
    Invalid::new(
        "value_error",
        format_args!("value is not a valid email address: {reason}"),
        json!({"reason": reason}),
    )
}

fn check_local(local: &str) -> Result<(), Invalid> {
    let special = |c: char| "!#$%&'*+-/=?^_`{|}~.".contains(c);
    if local.is_empty() {
        return Err(refused("There must be something before the @-sign."));
    }
    if local.starts_with('"') {
        return Err(refused("Quoting the part before the @-sign is not allowed here."));
    }
    if let Some(found) = unwanted(local, |c| c.is_alphanumeric() || special(c)) {
        return Err(refused(format_args!(
            "The email address contains invalid characters before the @-sign: {found}."
        )));
    }
    if local.starts_with('.') {
        return Err(refused("An email address cannot start with a period."));
    }
    if local.ends_with('.') {
        return Err(refused("An email address cannot have a period immediately before the @-sign."));
    }
    if local.contains("..") {
        return Err(refused(TWO_PERIODS));
    }
    Ok(())
}

fn check_domain(domain: &str) -> Result<(), Invalid> {
    if domain.is_empty() {
        return Err(refused("There must be something after the @-sign."));
    }
    if domain.starts_with('[') {
        return Err(refused("A bracketed IP address after the @-sign is not allowed here."));
    }
    if let Some(found) = unwanted(domain, |c| c.is_alphanumeric() || c == '-' || c == '.') {
        return Err(refused(format_args!("The part after the @-sign contains invalid characters: {found}.")));
    }
    check_periods(domain)?;
    let labels: Vec<&str> = domain.split('.').collect();
    if let Some(more) = labels.iter().find_map(|label| beyond(label.len(), MAX_LABEL)) {
        return Err(refused(format_args!(
            "After the @-sign, periods cannot be separated by so many characters ({more})."
        )));
    }
    if labels.len() < 2 {
        return Err(refused("The part after the @-sign is not valid. It should have a period."));
    }
    let top = labels.last().copied().unwrap_or_default();
    if RESERVED.contains(&top) {
        return Err(refused(
            "The part after the @-sign is a special-use or reserved name that cannot be used with email.",
        ));
    }
    if !top.ends_with(char::is_alphabetic) {
        return Err(refused(
            "The part after the @-sign is not valid. It is not within a valid top-level domain.",
        ));
    }
    Ok(())
}

/// Where periods and hyphens may stand in a domain.
fn check_periods(domain: &str) -> Result<(), Invalid> {
    let reason = if domain.ends_with('.') {
        "An email address cannot end with a period."
    } else if domain.starts_with('.') {
        "An email address cannot have a period immediately after the @-sign."
    } else if domain.contains("..") {
        TWO_PERIODS
    } else if domain.ends_with('-') {
        "An email address cannot end with a hyphen."
    } else if domain.starts_with('-') {
        "An email address cannot have a hyphen immediately after the @-sign."
    } else if domain.contains(".-") || domain.contains("-.") {
        "An email address cannot have a period and a hyphen next to each other."
    } else {
        return Ok(());
    };
    Err(refused(reason))
}

/// How much longer than allowed something is, if it is.
fn beyond(length: usize, most: usize) -> Option<String> {
    match length.checked_sub(most)? {
        0 => None,
        1 => Some("1 character too many".to_owned()),
        more => Some(format!("{more} characters too many")),
    }
}

/// The characters that may not be there, each once and as people can read them.
fn unwanted(text: &str, wanted: impl Fn(char) -> bool) -> Option<String> {
    let name = |c: char| match c {
        ' ' => "SPACE".to_owned(),
        '!'..='~' => format!("'{c}'"),
        _ => format!("U+{:04X}", u32::from(c)),
    };
    let names: BTreeSet<String> = text.chars().filter(|c| !wanted(*c)).map(name).collect();
    (!names.is_empty()).then(|| Vec::from_iter(names).join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_of_the_contract_are_taken() {
        for (given, stored) in [
            ("a@b.com", "a@b.com"),
            ("  Ann.Lee+tag@Example.COM ", "Ann.Lee+tag@example.com"),
            ("x@acme.example", "x@acme.example"),
            ("ü@bücher.de", "ü@bücher.de"),
            // RFC 5321 wants at most 64 characters there; servers take more, and so does the original.
            (&format!("{}@b.com", "x".repeat(65)), &format!("{}@b.com", "x".repeat(65))),
        ] {
            assert_eq!(Email::parse(given).unwrap().as_str(), stored);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "a",
            "@b.com",
            "a@",
            "a@b",
            "a@b.test",
            "a@b.local",
            "a@x.invalid",
            "a@b.localhost",
            "\"a b\"@c.com",
            "a b@c.com",
            "a@b..com",
            "a@-b.com",
            "a..b@c.com",
            ".a@c.com",
            "a@[1.2.3.4]",
            "a@1.2.3.4",
            "a@b@c.com",
            "a\0@b.com",
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    /// Each was given to pydantic 2.14 with email-validator 2.
    #[test]
    fn refusals_are_told_as_the_original_tells_them() {
        for (text, reason) in [
            ("", "An email address must have an @-sign."),
            ("@b.com", "There must be something before the @-sign."),
            ("a@", "There must be something after the @-sign."),
            ("a@b", "The part after the @-sign is not valid. It should have a period."),
            (
                "a@b.test",
                "The part after the @-sign is a special-use or reserved name that cannot be used with email.",
            ),
            ("\"a b\"@c.com", "Quoting the part before the @-sign is not allowed here."),
            ("a b@c.com", "The email address contains invalid characters before the @-sign: SPACE."),
            ("a(b)@c.com", "The email address contains invalid characters before the @-sign: '(', ')'."),
            ("a\0@b.com", "The email address contains invalid characters before the @-sign: U+0000."),
            ("a\n@b.com", "Carriage return and line feed characters are not allowed"),
            ("a..b@c.com", "An email address cannot have two periods in a row."),
            (".a@c.com", "An email address cannot start with a period."),
            ("a.@c.com", "An email address cannot have a period immediately before the @-sign."),
            ("a@.b.com", "An email address cannot have a period immediately after the @-sign."),
            ("a@b..com", "An email address cannot have two periods in a row."),
            ("a@b.com.", "An email address cannot end with a period."),
            ("a@-b.com", "An email address cannot have a hyphen immediately after the @-sign."),
            ("a@b-.com", "An email address cannot have a period and a hyphen next to each other."),
            ("a@b@c.com", "The part after the @-sign contains invalid characters: '@'."),
            ("a@b_c.com", "The part after the @-sign contains invalid characters: '_'."),
            ("a@b.com, c@d.com", "The part after the @-sign contains invalid characters: ',', '@', SPACE."),
            (
                &format!("a@{}.com", "b".repeat(64)),
                "After the @-sign, periods cannot be separated by so many characters (1 character too many).",
            ),
            ("a@b.c1", "The part after the @-sign is not valid. It is not within a valid top-level domain."),
            ("a@[1.2.3.4]", "A bracketed IP address after the @-sign is not allowed here."),
            (
                "a@1.2.3.4",
                "The part after the @-sign is not valid. It is not within a valid top-level domain.",
            ),
        ] {
            let error = Email::parse(text).unwrap_err();
            assert_eq!(error.message, format!("value is not a valid email address: {reason}"), "{text:?}");
            assert_eq!((error.kind, error.context), ("value_error", json!({"reason": reason})));
        }
    }

    proptest! {
        #[test]
        fn parsing_what_was_stored_changes_nothing(text in "[A-Za-z0-9.+]{1,20}@[A-Za-z0-9.-]{1,20}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()).unwrap(), email);
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = Email::parse(&text);
        }
    }
}
