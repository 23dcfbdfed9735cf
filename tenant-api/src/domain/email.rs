//! E-mail addresses: which are taken, and the one form in which they are stored and looked up.

use super::Invalid;

/// Top-level domains that never receive mail (RFC 2606, RFC 6762). `.example` is taken: it is what documentation uses.
const RESERVED: [&str; 4] = ["test", "local", "invalid", "localhost"];

const MAX_ADDRESS: usize = 254;
const MAX_LOCAL: usize = 64;
const MAX_LABEL: usize = 63;

/// A syntactically valid address, trimmed, with its domain in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Parses an address. Quoted local parts, address literals and domains without a dot are refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let (local, domain) =
            text.rsplit_once('@').ok_or_else(|| refused("An email address must have an @-sign."))?;
        check_local(local)?;
        let domain = domain.to_lowercase();
        check_domain(&domain)?;
        if local.len() + 1 + domain.len() > MAX_ADDRESS {
            return Err(refused("The email address is too long."));
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

fn refused(reason: &str) -> Invalid {
    Invalid::new("value_error", format_args!("value is not a valid email address: {reason}"))
}

fn check_local(local: &str) -> Result<(), Invalid> {
    let special = |c: char| "!#$%&'*+-/=?^_`{|}~.".contains(c);
    if local.is_empty() {
        return Err(refused("There must be something before the @-sign."));
    }
    if local.len() > MAX_LOCAL {
        return Err(refused("The email address is too long before the @-sign."));
    }
    let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    if dots || !local.chars().all(|c| c.is_alphanumeric() || special(c)) {
        return Err(refused("The email address contains invalid characters before the @-sign."));
    }
    Ok(())
}

fn check_domain(domain: &str) -> Result<(), Invalid> {
    let labels: Vec<&str> = domain.split('.').collect();
    let valid = |label: &&str| {
        !label.is_empty()
            && label.len() <= MAX_LABEL
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    if labels.len() < 2 {
        return Err(refused("The part after the @-sign is not valid. It should have a period."));
    }
    if !labels.iter().all(valid) {
        return Err(refused("The part after the @-sign is not a domain name."));
    }
    let top = labels.last().copied().unwrap_or_default();
    if RESERVED.contains(&top) {
        return Err(refused("The part after the @-sign is a special-use or reserved name."));
    }
    if top.chars().all(|c| c.is_ascii_digit()) {
        return Err(refused("The part after the @-sign is not within a valid top-level domain."));
    }
    Ok(())
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
