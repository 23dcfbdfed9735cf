//! Names of Artifact Registry: the rules for ids, where repositories can be, and what follows from a name.

use crate::call::Call;
use crate::error::Status;
use crate::services::names;
pub(super) use crate::services::names::last;

/// What artifactregistry.v1 lists beside regions of Cloud Run: the multi-regions of repositories.
const FURTHER: [&str; 3] = ["asia", "europe", "us"];

/// 400 for the wildcard, which no method takes, and for a location without Artifact Registry.
pub(super) fn check_location(location: &str) -> Result<(), Status> {
    if names::is_region(location) || FURTHER.contains(&location) {
        return Ok(());
    }
    Err(Status::invalid("parent", format!("Location '{location}' is not one of Artifact Registry.")))
}

/// A letter, then lower-case letters, digits and hyphens, no hyphen last; at most 63.
pub(super) fn is_repository_id(id: &str) -> bool {
    names::is_label(id, names::LABEL)
}

/// An id inside a name: "If the package ID part contains slashes, the slashes are escaped" (`Package.name`).
pub(super) fn escaped(id: &str) -> String {
    id.replace('/', "%2F")
}

/// The id as people write it, out of the last segment of a name.
pub(super) fn id_of(name: &str) -> String {
    last(name).replace("%2F", "/")
}

/// The name two segments up: of the package that a version or tag is in.
pub(super) fn parent(name: &str) -> &str {
    let mut cuts = name.rmatch_indices('/').map(|(at, _)| at);
    cuts.nth(1).map_or("", |at| &name[..at])
}

/// The name of the repository that something is in, or of the repository itself.
pub(super) fn repository_of(name: &str) -> &str {
    name.match_indices('/').nth(5).map_or(name, |(at, _)| &name[..at])
}

/// Name of the repository at a place.
pub(super) fn repository_at(project: &str, location: &str, id: &str) -> String {
    format!("projects/{project}/locations/{location}/repositories/{id}")
}

/// The repository that the call is about or below.
pub(super) fn repository(call: &Call) -> String {
    repository_at(&call.project, call.var("locations"), call.var("repositories"))
}

/// The package that the call is about or below.
pub(super) fn package(call: &Call) -> String {
    format!("{}/packages/{}", repository(call), escaped(call.var("packages")))
}

/// The version that the call is about.
pub(super) fn version(call: &Call) -> String {
    format!("{}/versions/{}", package(call), escaped(call.var("versions")))
}

/// The tag that the call is about.
pub(super) fn tag(call: &Call) -> String {
    format!("{}/tags/{}", package(call), escaped(call.var("tags")))
}

/// The name of an operation at the place of a resource.
pub(super) fn operation(resource: &str, id: &str) -> String {
    let location: Vec<&str> = resource.split('/').take(4).collect();
    format!("{}/operations/{id}", location.join("/"))
}

/// The endpoint of a repository: `LOCATION-FORMAT.pkg.dev/PROJECT/REPOSITORY` (`Repository.registryUri`).
pub(super) fn registry(repository: &str, format: &str) -> String {
    let mut segments = repository.split('/').skip(1).step_by(2);
    let mut next = || segments.next().unwrap_or_default();
    let (project, location, id) = (next(), next(), next());
    format!("{location}-{}.pkg.dev/{project}/{id}", format.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "projects/p/locations/us/repositories/r/packages/web%2Fapi/tags/v1";

    #[test]
    fn what_a_name_is_below_is_read_from_it() {
        assert_eq!(parent(TAG), "projects/p/locations/us/repositories/r/packages/web%2Fapi");
        assert_eq!(repository_of(TAG), "projects/p/locations/us/repositories/r");
        assert_eq!(repository_of(repository_of(TAG)), repository_of(TAG));
        assert_eq!(id_of(parent(TAG)), "web/api");
        assert_eq!(operation(TAG, "1"), "projects/p/locations/us/operations/1");
        assert_eq!(registry(TAG, "DOCKER"), "us-docker.pkg.dev/p/r");
    }

    #[test]
    fn repository_ids_are_lower_case_labels() {
        for good in ["a", "api-images", "r2"] {
            assert!(is_repository_id(good), "{good}");
        }
        for bad in ["", "A", "2r", "r-", "r_1", &"a".repeat(64)] {
            assert!(!is_repository_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_location_is_a_region_or_a_multi_region() {
        for good in ["us", "europe", "europe-west1"] {
            assert!(check_location(good).is_ok(), "{good}");
        }
        for bad in ["-", "global", "mars-west1"] {
            assert!(check_location(bad).is_err(), "{bad}");
        }
    }
}
