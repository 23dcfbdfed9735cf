//! Slugs: the short names of tenants, and the schema names that follow from them.

use serde_json::json;

use super::Invalid;

/// What a slug looks like, as a regular expression for people and for the API's answers.
pub const PATTERN: &str = "^[a-z0-9][a-z0-9-]*[a-z0-9]$";

/// Fewest characters of a slug.
pub const MIN_LENGTH: usize = 3;

/// Most characters of a slug; `shared.tenants.slug` holds as many.
pub const MAX_LENGTH: usize = 50;

/// A tenant's short name: 3 to 50 lower-case ASCII letters, digits and hyphens, a letter or digit at both ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(String);

impl Slug {
    /// Parses a slug; nothing is trimmed or folded, because two spellings of one slug would be two tenants to a reader.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let length = text.chars().count();
        if length < MIN_LENGTH {
            return Err(Invalid::too_short(MIN_LENGTH));
        }
        if length > MAX_LENGTH {
            return Err(Invalid::too_long(MAX_LENGTH));
        }
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !text.chars().all(inner) || text.starts_with('-') || text.ends_with('-') {
            return Err(Invalid::new(
                "string_pattern_mismatch",
                format_args!("String should match pattern '{PATTERN}'"),
                json!({"pattern": PATTERN}),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The PostgreSQL schema of the tenant with this slug. Slugs hold no underscore, so two slugs never share one,
    /// and at most 57 bytes are within PostgreSQL's 63.
    pub fn schema(&self) -> String {
        format!("tenant_{}", self.0.replace('-', "_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_grammar_of_the_contract_is_kept() {
        for good in ["abc", "a-b", "a--b", "1st", "0-0", &"a".repeat(50)] {
            assert!(Slug::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "-ab", "ab-", "Abc", "a_b", "a b", "abc\n", "äbc", "a\0b", &"a".repeat(51)] {
            assert!(Slug::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn refusals_name_the_rule() {
        let context = |text: &str| Slug::parse(text).unwrap_err().context;
        assert_eq!(context("ab"), json!({"min_length": 3}));
        assert_eq!(context(&"a".repeat(51)), json!({"max_length": 50}));
        assert_eq!(context("abc\n"), json!({"pattern": PATTERN}));
    }

    proptest! {
        #[test]
        fn every_slug_gives_a_safe_schema_name_of_its_own(a in "[a-z0-9][a-z0-9-]{1,48}[a-z0-9]", b in "[a-z0-9][a-z0-9-]{1,48}[a-z0-9]") {
            let (x, y) = (Slug::parse(&a).unwrap(), Slug::parse(&b).unwrap());
            prop_assert!(x.schema().len() <= 63);
            prop_assert!(x.schema().bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_'));
            prop_assert_eq!(a == b, x.schema() == y.schema());
        }

        #[test]
        fn what_is_accepted_matches_the_grammar(text in any::<String>()) {
            if let Ok(slug) = Slug::parse(&text) {
                prop_assert_eq!(slug.as_str(), text.as_str());
                prop_assert!(text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'));
                prop_assert!((MIN_LENGTH..=MAX_LENGTH).contains(&text.len()));
            }
        }
    }
}
