//! Names of Cloud Run: the rules for ids, where services can run, and the URLs that follow from names.

use sha2::{Digest, Sha256};

use crate::services::names::{self, LABEL};
pub(super) use crate::services::names::{is_dns_label, is_label, last};

/// Regions of the run.v2 discovery document that Artifact Registry's has not.
const FURTHER: [&str; 3] = ["asia-southeast3", "asia-southeast4", "europe-west15"];

/// Length of tag and service name together: what is left of a host label `TAG---NAME-HASH-RC` beside the
/// separators, the ten letters of the hash and the two of the region.
pub(super) const TAG_AND_SERVICE: usize = 46;

pub(super) fn is_region(location: &str) -> bool {
    names::is_region(location) || FURTHER.contains(&location)
}

/// How a revision may name a secret: `SECRET`, or `projects/PROJECT/secrets/SECRET` for another project's.
pub(super) fn is_secret(name: &str) -> bool {
    let id = match name.split('/').collect::<Vec<_>>()[..] {
        ["projects", project, "secrets", id] if !project.is_empty() => id,
        _ => name,
    };
    is_word(id, 255)
}

/// How it may name a version: a number, `latest` or an alias of at most 63 characters.
pub(super) fn is_secret_version(version: &str) -> bool {
    let number = version.parse::<u64>().is_ok_and(|number| number > 0);
    number || (is_word(version, 63) && version.starts_with(|first: char| first.is_ascii_alphabetic()))
}

fn is_word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// `count` letters drawn from `noise`, as Cloud Run puts them behind the names that it gives.
pub(super) fn letters(noise: u64, count: usize) -> String {
    const LETTERS: &[u8; 20] = b"bcdfghjklmnpqrstvwxz";
    std::iter::successors(Some(noise), |rest| Some(rest / 20))
        .take(count)
        .map(|rest| char::from(LETTERS[usize::try_from(rest % 20).unwrap_or_default()]))
        .collect()
}

/// The host names of a service, the one to show as `uri` first.
///
/// `NAME-NUMBER.REGION.run.app` is computable from project, region and name, and does not exist when the
/// label gets longer than a host label may be. The other one has a hash of the project in it.
pub(crate) fn hosts(service: &str, project_number: u64, location: &str) -> Vec<String> {
    let label = format!("{service}-{project_number}");
    let hashed = format!("{service}-{}-{}.a.run.app", hash(project_number), region_code(location));
    if label.len() <= LABEL { vec![format!("{label}.{location}.run.app"), hashed] } else { vec![hashed] }
}

/// The URL of a tagged traffic target. `host` is the service's.
pub(super) fn tag_url(tag: &str, host: &str) -> String {
    format!("https://{tag}---{host}")
}

/// Ten letters that stand for a project in the hashed URL. The real ones cannot be computed by anyone
/// outside, so any stable function serves.
fn hash(project_number: u64) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    Sha256::digest(project_number.to_string().as_bytes())
        .iter()
        .take(10)
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect()
}

/// Two letters of the region: first of the area and first of the direction, as in `uc` for us-central1.
fn region_code(location: &str) -> String {
    location.split('-').filter_map(|part| part.chars().next()).take(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_url_is_computable_from_names() {
        let hosts = hosts("api", 123_456_789_012, "europe-west1");
        assert_eq!(hosts[0], "api-123456789012.europe-west1.run.app");
        assert!(hosts[1].starts_with("api-") && hosts[1].ends_with("-ew.a.run.app"), "{}", hosts[1]);
    }

    #[test]
    fn a_name_too_long_for_a_host_label_has_only_the_hashed_url() {
        let hosts = hosts(&"a".repeat(49), 12_345_678_901_234, "us-central1");
        assert_eq!(hosts.len(), 1);
        assert!(hosts[0].ends_with("-uc.a.run.app"));
    }

    #[test]
    fn secrets_are_named_alone_or_with_their_project() {
        for good in ["key", "A_b-1", "projects/p/secrets/key"] {
            assert!(is_secret(good), "{good}");
        }
        for bad in ["", "a b", "secrets/key", "projects/p/secrets/key/versions/1", "projects//secrets/key"] {
            assert!(!is_secret(bad), "{bad}");
        }
        assert!(["1", "latest", "blue-2"].into_iter().all(is_secret_version));
        assert!(!["0", "-1", "2x", "", "a.b"].into_iter().any(is_secret_version));
    }

    #[test]
    fn the_wildcard_is_no_region() {
        assert!(is_region("us-central1"));
        assert!(!is_region("-") && !is_region("us-moon1"));
    }
}
