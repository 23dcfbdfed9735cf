//! Names that Cloud Run and Artifact Registry have in common: regions, host labels, and the last part of a name.

/// Locations in the endpoint lists of the discovery documents of both, run.v2 and artifactregistry.v1.
const REGIONS: [&str; 45] = [
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
    "australia-southeast1",
    "australia-southeast2",
    "europe-central2",
    "europe-north1",
    "europe-north2",
    "europe-southwest1",
    "europe-west1",
    "europe-west10",
    "europe-west12",
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
pub(super) const LABEL: usize = 63;

/// Whether both have this region; either has further ones.
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

/// The last segment of a name, escaped as it is.
pub(crate) fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_rfc_1035() {
        for good in ["a", "api", "api-2", "a-b-c"] {
            assert!(is_label(good, 49), "{good}");
        }
        for bad in ["", "-a", "a-", "2a", "Api", "a_b", "a.b"] {
            assert!(!is_label(bad, 49), "{bad}");
        }
        assert!(is_label(&"a".repeat(49), 49));
        assert!(!is_label(&"a".repeat(50), 49));
    }
}
