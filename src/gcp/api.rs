//! The Google APIs that deployer calls: host, documented quota, and the methods as data.

/// One Google API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Api {
    Run,
    SecretManager,
    Iam,
    /// Workload identity pools and providers, which IAM counts apart.
    Federation,
    ResourceManager,
    ServiceUsage,
    ArtifactRegistry,
    Logging,
    IamCredentials,
}

impl Api {
    /// The global host, which is also the name under which the API is enabled.
    pub(crate) const fn host(self) -> &'static str {
        match self {
            Self::Run => "run.googleapis.com",
            Self::SecretManager => "secretmanager.googleapis.com",
            Self::Iam | Self::Federation => "iam.googleapis.com",
            Self::ResourceManager => "cloudresourcemanager.googleapis.com",
            Self::ServiceUsage => "serviceusage.googleapis.com",
            Self::ArtifactRegistry => "artifactregistry.googleapis.com",
            Self::Logging => "logging.googleapis.com",
            Self::IamCredentials => "iamcredentials.googleapis.com",
        }
    }

    /// Requests a minute that a project may make: documented quotas of Cloud Run (Admin API), Secret Manager, IAM,
    /// Artifact Registry and Cloud Logging (reads; nothing is written there); for the other two, whose numbers are per consumer, a cautious value below the documented ones.
    pub(crate) const fn quota(self, access: Access) -> usize {
        match (self, access) {
            (Self::Run, Access::Read) => 3000,
            (Self::Run, Access::Write) => 180,
            (
                Self::SecretManager | Self::ResourceManager | Self::IamCredentials,
                Access::Read | Access::Write,
            )
            | (Self::Iam, Access::Write)
            | (Self::ServiceUsage | Self::Federation, Access::Read) => 600,
            (Self::Iam, Access::Read) => 6000,
            (Self::Federation, Access::Write) | (Self::Logging, Access::Read | Access::Write) => 60,
            (Self::ServiceUsage, Access::Write) => 240,
            (Self::ArtifactRegistry, Access::Read) => 60_000,
            (Self::ArtifactRegistry, Access::Write) => 18_000,
        }
    }
}

/// Which of an API's two budgets a request draws on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Access {
    Read,
    Write,
}

/// One method of an API.
#[derive(Debug)]
pub(crate) struct Method {
    /// As in the discovery document, for instance `run.projects.locations.services.list`.
    pub(crate) id: &'static str,
    pub(crate) api: Api,
    pub(crate) verb: &'static str,
    pub(crate) access: Access,
    /// Whether sending it twice does no harm, so that it may be repeated after a failure of unknown effect.
    pub(crate) repeatable: bool,
}

impl Method {
    /// A method that changes nothing, whatever its verb.
    pub(crate) const fn read(api: Api, verb: &'static str, id: &'static str) -> Self {
        Self { id, api, verb, access: Access::Read, repeatable: true }
    }

    /// A writing method that may be sent again: the id is ours, an etag guards it, or it sets a state.
    pub(crate) const fn write(api: Api, verb: &'static str, id: &'static str) -> Self {
        Self { id, api, verb, access: Access::Write, repeatable: true }
    }

    /// A writing method whose second sending does a second thing.
    pub(crate) const fn once(api: Api, verb: &'static str, id: &'static str) -> Self {
        Self { id, api, verb, access: Access::Write, repeatable: false }
    }
}
