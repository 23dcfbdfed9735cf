//! What is judged of references to images, in workflows and in Dockerfiles.

use crate::config::Diagnostic;

/// A finding where the reference names no version: no tag and no digest, or `latest`. Nothing where it is filled in later.
pub(super) fn floating(reference: &str) -> Option<Diagnostic> {
    let reference = reference.trim();
    if reference.is_empty() || reference.contains(['$', '@']) {
        return None;
    }
    let last = reference.rsplit('/').next().unwrap_or_default();
    let why = match last.split_once(':') {
        None => "has no tag, which means `latest`",
        Some((_, "latest")) => "has the tag `latest`",
        Some(_) => return None,
    };
    let message =
        format!("the image `{reference}` {why}: it is whatever was pushed last, and tomorrow another one");
    Some(
        Diagnostic::error("latest-tag", message)
            .label("another image tomorrow")
            .hint("name a version, best with its digest: NAME:VERSION@sha256:..."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_needs_a_version() {
        for image in ["nginx", "nginx:latest", "localhost:5000/nginx", "ghcr.io/o/r:latest"] {
            assert!(floating(image).is_some(), "{image}");
        }
        for image in ["nginx:1.29", "nginx@sha256:0a", "localhost:5000/nginx:1", "${IMAGE}", "$IMAGE", ""] {
            assert!(floating(image).is_none(), "{image}");
        }
    }
}
