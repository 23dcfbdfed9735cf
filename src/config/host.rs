//! The deterministic URL of a Cloud Run service, `https://NAME-NUMBER.REGION.run.app`, which it has besides the one
//! with a hash (`Service.urls`). It is known before the service exists.

/// A host name's label has at most this many characters (RFC 1035); a service whose label would be longer has no
/// such URL.
pub const MAX_LABEL: usize = 63;

/// First label of the host name.
pub fn label(service: &str, project_number: u64) -> String {
    format!("{service}-{project_number}")
}

/// The URL, whether or not its label is too long.
pub fn url(service: &str, project_number: u64, region: &str) -> String {
    format!("https://{}.{region}.run.app", label(service, project_number))
}
