//! Container image references, and which of them can exist in the sandbox.

use crate::services::artifactregistry;
use crate::world::World;

/// An image reference taken apart: `host/path:tag@digest`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// Absent for Docker Hub.
    pub(crate) host: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) tag: Option<&'a str>,
    /// `sha256:` and 64 hexadecimal digits.
    pub(crate) digest: Option<&'a str>,
}

/// Reads a reference by the grammar of the OCI distribution specification; `None` when it is none.
pub(crate) fn parse(image: &str) -> Option<Reference<'_>> {
    let (rest, digest) = split(image, '@');
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return None;
    }
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[slash..].split_once(':') {
        Some((last, tag)) => (&rest[..slash + last.len()], Some(tag)),
        None => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return None;
    }
    let (host, path) = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), path),
        _ => (None, name),
    };
    (host.is_none_or(is_host) && path.split('/').all(is_component)).then_some(Reference {
        host,
        path,
        tag,
        digest,
    })
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

pub(crate) fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

pub(crate) fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_host(host: &str) -> bool {
    let (name, port) = split(host, ':');
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Lower-case letters and digits, separated by `.`, `_`, `__` or any number of `-`.
fn is_component(part: &str) -> bool {
    let separator = |letter: char| matches!(letter, '.' | '_' | '-');
    !part.is_empty()
        && !part.starts_with(separator)
        && !part.ends_with(separator)
        && !["..", "._", "_.", "-.", ".-", "-_", "_-", "___"].iter().any(|bad| part.contains(bad))
        && part
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || separator(letter))
}

/// Whether the image cannot be pulled: one in the Artifact Registry of a project of the sandbox exists when that
/// registry holds it, any other is taken to exist.
pub(super) fn is_missing(world: &World, image: &str) -> bool {
    parse(image).is_some_and(|reference| artifactregistry::holds(world, &reference) == Some(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_every_form_are_read() {
        let digest = format!("gcr.io/p/i@sha256:{}", "a".repeat(64));
        for good in [
            "nginx",
            "nginx:1.27",
            "library/nginx",
            "localhost:5000/a",
            "us-docker.pkg.dev/p/r/i:v1",
            &digest,
        ] {
            assert!(parse(good).is_some(), "{good}");
        }
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        for bad in
            ["", "Nginx", "nginx:", "nginx:a b", "a//b", "https://gcr.io/p/i", "a@sha256:1", "a:b:c", "-a"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_reference_is_taken_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let text = format!("europe-west1-docker.pkg.dev/my-proj/repo/web/api:v1@{digest}");
        let reference = parse(&text).unwrap();
        assert_eq!(reference.host, Some("europe-west1-docker.pkg.dev"));
        assert_eq!(reference.path, "my-proj/repo/web/api");
        assert_eq!((reference.tag, reference.digest), (Some("v1"), Some(digest.as_str())));
        assert_eq!(parse("nginx").map(|reference| reference.tag), Some(None));
    }
}
