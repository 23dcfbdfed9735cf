//! Text that looks like a secret and stands in a file that everybody can read.

use super::super::diagnostic::Diagnostic;
use super::super::model::Container;
use super::super::tree::{Findings, Node, as_written};
use super::at_value;

/// Why a text looks like a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    KnownPrefix,
    UrlPassword,
    Name,
    Random,
}

impl Reason {
    fn words(self) -> &'static str {
        match self {
            Self::KnownPrefix => "it starts like a key of a known service",
            Self::UrlPassword => "the URL holds a password",
            Self::Name => "its name says so",
            Self::Random => "it looks random",
        }
    }
}

pub(super) fn check(path: &str, container: &Container, findings: &mut Findings) {
    for (name, value) in &container.env {
        let at = format!("{path}.env.{name}");
        if let Some(reason) = looks_secret(name, value, findings.is_interpolated(&at)) {
            report(&at, name, reason, findings);
        }
    }
    for (key, words) in [("args", &container.args), ("command", &container.command)] {
        check_words(&format!("{path}.{key}"), key, words, findings);
    }
}

/// The words of a command line, which stand in the list at `path`.
pub(super) fn check_words(path: &str, key: &str, words: &[String], findings: &mut Findings) {
    for (position, word) in words.iter().enumerate() {
        if let Some(reason) = certainly_secret(word) {
            report(&format!("{path}.{position}"), key, reason, findings);
        }
    }
}

/// Variables of the file, which end up in values.
pub(super) fn check_vars(tree: &Node, findings: &mut Findings) {
    for (name, entry) in tree.get("vars").and_then(Node::as_map).into_iter().flatten() {
        let value = entry.node.scalar().unwrap_or_default();
        if let Some(reason) = looks_secret(name, &value, entry.node.interpolated) {
            report(&format!("vars.{name}"), name, reason, findings);
        }
    }
}

fn report(at: &str, name: &str, reason: Reason, findings: &mut Findings) {
    let message = format!(
        "`{name}` looks like a secret ({}), and this file is read by everybody who has the repository",
        reason.words()
    );
    let diagnostic = Diagnostic::error("secret-looking-env", message).label("a secret?").hint(format!(
        "add it to `secrets` of the file and write `secrets: {{{name}: its-name}}` in its place; if it is none, say why: `lint: {{allow: {{secret-looking-env: {{{}: reason}}}}}}`",
        as_written(at)
    ));
    at_value(at, diagnostic, findings);
}

fn looks_secret(name: &str, value: &str, interpolated: bool) -> Option<Reason> {
    if let Some(reason) = certainly_secret(value) {
        return Some(reason);
    }
    if interpolated || is_harmless(value) {
        return None;
    }
    if names_a_secret(name) {
        return Some(Reason::Name);
    }
    is_random(value).then_some(Reason::Random)
}

/// Texts that are secrets whatever they are called.
fn certainly_secret(value: &str) -> Option<Reason> {
    const PREFIXES: [&str; 19] = [
        "sk-",
        "sk_live_",
        "rk_live_",
        "ghp_",
        "gho_",
        "ghs_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "xoxp-",
        "xapp-",
        "AKIA",
        "ASIA",
        "AIza",
        "ya29.",
        "hf_",
        "gsk_",
        "SG.",
        "-----BEGIN ",
    ];
    let long = value.len() >= 20;
    if long && PREFIXES.iter().any(|prefix| value.starts_with(prefix)) {
        return Some(Reason::KnownPrefix);
    }
    if long && value.starts_with("eyJ") && value.matches('.').count() == 2 {
        return Some(Reason::KnownPrefix);
    }
    has_url_password(value).then_some(Reason::UrlPassword)
}

/// `scheme://user:password@host`, unless the host is this machine: a password for nobody else.
fn has_url_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((credentials, host)) = authority.rsplit_once('@') else { return false };
    let host = host.split(':').next().unwrap_or_default();
    let local = matches!(host, "localhost" | "127.0.0.1" | "[" | "host.docker.internal");
    !local && credentials.split_once(':').is_some_and(|(_, password)| !password.is_empty())
}

/// Values that no name makes a secret: paths, URLs, numbers, switches and other short plain words.
fn is_harmless(value: &str) -> bool {
    let plain_word =
        value.len() <= 12 && value.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '_'));
    let upper_word = value.len() <= 12 && value.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    value.is_empty()
        || value.starts_with('/')
        || value.contains("://")
        || value.parse::<f64>().is_ok()
        || matches!(value, "true" | "false")
        || plain_word
        || upper_word
}

fn names_a_secret(name: &str) -> bool {
    let upper = name.to_uppercase();
    let words: Vec<&str> = upper.split(['_', '-', '.']).collect();
    if words
        .iter()
        .any(|word| matches!(*word, "PUBLIC" | "PUBLISHABLE" | "FILE" | "PATH" | "NAME" | "ID" | "URL"))
    {
        return false;
    }
    let last = words.last().copied().unwrap_or_default();
    matches!(
        last,
        "KEY"
            | "TOKEN"
            | "SECRET"
            | "PASSWORD"
            | "PASSWD"
            | "PASSPHRASE"
            | "CREDENTIALS"
            | "CREDENTIAL"
            | "APIKEY"
    ) || words.iter().any(|word| matches!(*word, "PASSWORD" | "SECRET"))
}

/// Long text without any sense in it: no words, no dashes of a UUID, many different characters.
fn is_random(value: &str) -> bool {
    let hex = value.len() >= 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex {
        return entropy(value) > 3.0;
    }
    let base64 = value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-'));
    let mixed = value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_lowercase())
        && value.bytes().any(|byte| byte.is_ascii_uppercase());
    value.len() >= 24 && base64 && mixed && entropy(value) > 4.0
}

/// Shannon entropy in bits a character.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let length = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    let bits = |count: u32| -> f64 {
        let share = f64::from(count) / length;
        -share * share.log2()
    };
    counts.into_iter().filter(|count| *count > 0).map(bits).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_noticed() {
        let secret = |name: &str, value: &str| looks_secret(name, value, false);
        assert_eq!(secret("DB_PASSWORD", "hunter2!"), Some(Reason::Name));
        assert_eq!(secret("STRIPE_KEY", "Live-Key-1"), Some(Reason::Name));
        assert_eq!(secret("X", "ghp_0123456789abcdefghij"), Some(Reason::KnownPrefix));
        assert_eq!(secret("DATABASE_URL", "postgresql://app:pw@10.0.0.3/db"), Some(Reason::UrlPassword));
        assert_eq!(secret("SALT", "9f86d081884c7d659a2feaa0c55ad015"), Some(Reason::Random));
        assert_eq!(secret("BLOB", "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MEFCQ0RFRg"), Some(Reason::Random));
    }

    #[test]
    fn ordinary_settings_are_left_alone() {
        for (name, value) in [
            ("JWT_ALGORITHM", "HS256"),
            ("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "30"),
            ("GOOGLE_SERVICE_ACCOUNT_FILE", "/secrets/google-sa/key.json"),
            ("NOTION_DATABASE_ID", "a1b2c3d4-e5f6-0000-0000-000000000000"),
            ("LANGFUSE_PUBLIC_KEY", "pk-lf-public"),
            ("KNOWLEDGE_QDRANT_URL", "https://abc123.us-east4-0.gcp.cloud.qdrant.io:6333"),
            ("DATABASE_URL", "postgresql+asyncpg://app:app_dev@localhost:5432/app"),
            ("SECRET_BACKEND", "vault"),
            ("MAX_TOKENS", "4096"),
            ("CORS_ALLOWED_ORIGINS", "*"),
            ("GREETING", "Hello, everybody who reads this long and harmless text"),
        ] {
            assert_eq!(looks_secret(name, value, false), None, "{name}");
        }
    }

    #[test]
    fn filled_in_values_are_not_judged_by_their_looks() {
        assert_eq!(looks_secret("GIT_SHA", "9f86d081884c7d659a2feaa0c55ad0159f86d081", true), None);
        assert_eq!(looks_secret("URL", "https://u:p@h.example", true), Some(Reason::UrlPassword));
    }
}
