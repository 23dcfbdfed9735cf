//! Container image references, and which of them can exist in the sandbox.

/// An image reference taken apart: `host/path:tag@digest`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// Absent for Docker Hub.
    pub(super) host: Option<&'a str>,
    pub(super) path: &'a str,
}

/// Reads a reference by the grammar of the OCI distribution specification; `None` when it is none.
pub(super) fn parse(image: &str) -> Option<Reference<'_>> {
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
    (host.is_none_or(is_host) && path.split('/').all(is_component)).then_some(Reference { host, path })
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_tag(tag: &str) -> bool {
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

/// The project whose Artifact Registry would hold the image: `P` of `REGION-docker.pkg.dev/P/...`.
pub(super) fn registry_project(image: &str) -> Option<&str> {
    let reference = parse(image)?;
    let host = reference.host?;
    host.ends_with("-docker.pkg.dev").then(|| reference.path.split('/').next()).flatten()
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
    fn the_project_of_an_artifact_registry_image_is_known() {
        assert_eq!(registry_project("europe-west1-docker.pkg.dev/my-proj/repo/api:v1"), Some("my-proj"));
        assert_eq!(registry_project("gcr.io/my-proj/api"), None);
        assert_eq!(registry_project("nginx"), None);
    }
}
