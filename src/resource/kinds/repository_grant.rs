//! Who may use a repository. The YAML grants it to nobody, since roles in the project say it: what is found of ours or of
//! the public is revoked.

use super::grants::Grant;
use super::repository::{self, Repository};
use crate::gcp::PolicyOf;
use crate::resource::{Kind, Layer};

pub struct RepositoryGrant;

impl Grant for RepositoryGrant {
    const NAME: &'static str = "repository_grant";
    const API: &'static str = Repository::API;
    const LAYER: Layer = Layer::Foundation;
    const REGIONAL: bool = true;
    const VIEWER: &'static str = "roles/iam.securityReviewer";
    const ON: Option<&'static str> = Some(Repository::NAME);

    fn policy(project: &str, region: &str, repository: &str) -> PolicyOf {
        PolicyOf::Repository(repository::full_name(project, region, repository))
    }
}
