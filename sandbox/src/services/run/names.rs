//! Names of Cloud Run: the rules for ids, where services can run, and the URLs that follow from names.

use sha2::{Digest, Sha256};

/// Locations in the endpoint list of the run.v2 discovery document.
const REGIONS: [&str; 48] = [
    "africa-south1",
    "asia-east1",
    "asia-east2",
    "asia-northeast1",
    "asia-northeast2",
    "asia-northeast3",
    "asia-south1",
    "asia-south2",
    "asia-southeast1",
    "asia-southeast2",
    "asia-southeast3",
    "asia-southeast4",
    "australia-southeast1",
    "australia-southeast2",
    "europe-central2",
    "europe-north1",
    "europe-north2",
    "europe-southwest1",
    "europe-west1",
    "europe-west10",
    "europe-west12",
    "europe-west15",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "europe-west6",
    "europe-west8",
    "europe-west9",
    "me-central1",
    "me-central2",
    "me-west1",
    "northamerica-northeast1",
    "northamerica-northeast2",
    "northamerica-south1",
    "southamerica-east1",
    "southamerica-west1",
    "us-central1",
    "us-central2",
    "us-east1",
    "us-east4",
    "us-east5",
    "us-east7",
    "us-south1",
    "us-west1",
    "us-west2",
    "us-west3",
    "us-west4",
    "us-west8",
];

/// Longest host label (RFC 1035).
const LABEL: usize = 63;

/// Length of tag and service name together: what is left of a host label `TAG---NAME-HASH-RC` beside the
/// separators, the ten letters of the hash and the two of the region.
pub(super) const TAG_AND_SERVICE: usize = 46;

pub(super) fn is_region(location: &str) -> bool {
    REGIONS.contains(&location)
}

/// A host label: `[a-z]([-a-z0-9]*[a-z0-9])?` of at most `longest` characters (RFC 1035).
pub(super) fn is_label(name: &str, longest: usize) -> bool {
    name.len() <= longest && name.starts_with(|first: char| first.is_ascii_lowercase()) && is_dns_label(name)
}

/// As [`is_label`], but a digit may come first (RFC 1123): names of containers and volumes.
pub(super) fn is_dns_label(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LABEL
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
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

/// The last segment of a full resource name.
pub(crate) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
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
    fn service_ids_follow_rfc_1035() {
        for good in ["a", "api", "api-2", "a-b-c"] {
            assert!(is_label(good, 49), "{good}");
        }
        for bad in ["", "-a", "a-", "2a", "Api", "a_b", "a.b"] {
            assert!(!is_label(bad, 49), "{bad}");
        }
        assert!(is_label(&"a".repeat(49), 49));
        assert!(!is_label(&"a".repeat(50), 49));
    }

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
