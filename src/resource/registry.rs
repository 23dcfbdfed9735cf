//! The list of kinds, and what is asked of all of them at once: observe, facts, declare.

use futures::future::try_join_all;

use super::erased::{AnyKind, Desired, Erased, Live, SpecError};
use super::kinds::{
    account_grant, api, identity_pool, identity_provider, image_tag, job_grant, project_grant, repository,
    repository_grant, run_grant, run_job, run_service, secret, secret_grant, secret_value, service_account,
};
use super::{Facts, Kind, Layer, Ownership, Scope};
use crate::config::Environment;
use crate::gcp::{ErrorKind, Gcp, GcpError};

fn of<K: Kind>() -> Box<dyn AnyKind> {
    Box::new(Erased::<K>::default())
}

/// How often a release looks for an API that the foundation may have enabled moments ago: for some twenty seconds at
/// Google.
const LOOKS: u32 = 11;

/// All kinds, in the order in which a plan lists them.
pub struct Registry {
    kinds: Vec<Box<dyn AnyKind>>,
}

impl Registry {
    /// The kinds that deployer knows. A new kind is one line here.
    pub fn standard() -> Self {
        Self {
            kinds: vec![
                of::<api::Api>(),
                of::<repository::Repository>(),
                of::<repository_grant::RepositoryGrant>(),
                of::<identity_pool::IdentityPool>(),
                of::<identity_provider::IdentityProvider>(),
                of::<service_account::ServiceAccount>(),
                of::<project_grant::ProjectGrant>(),
                of::<account_grant::AccountGrant>(),
                of::<secret::Secret>(),
                of::<secret_value::SecretValue>(),
                of::<secret_grant::SecretGrant>(),
                of::<run_service::RunService>(),
                of::<run_grant::RunGrant>(),
                of::<run_job::RunJob>(),
                of::<job_grant::JobGrant>(),
                of::<image_tag::ImageTag>(),
            ],
        }
    }

    pub fn kinds(&self) -> impl Iterator<Item = &dyn AnyKind> {
        self.kinds.iter().map(AsRef::as_ref)
    }

    pub fn kind(&self, name: &str) -> Option<&dyn AnyKind> {
        self.kinds().find(|kind| kind.name() == name)
    }

    /// Position in plans.
    pub fn rank(&self, name: &str) -> usize {
        self.kinds().position(|kind| kind.name() == name).unwrap_or(usize::MAX)
    }

    /// What observing needs to know of an environment.
    pub fn scope(&self, env: &Environment) -> Scope {
        let mut scope = Scope::new(&env.project.id, &env.region, Ownership::new(&env.system, &env.name));
        for kind in self.kinds() {
            scope.watch(kind.name(), kind.watched(env));
        }
        scope
    }

    /// What exists, of all kinds at once. A release is planned without the right to see what it stands on. The
    /// foundation is planned with the services in view: what they still use must not be taken away.
    ///
    /// An API that is not enabled holds nothing. One that Service Usage lists as enabled and that refuses all the same was
    /// enabled moments ago, perhaps by a run that was cut off: its objects exist, so it is asked again, and the transport
    /// waits until it answers. A release cannot see what is enabled: what it needs the foundation has enabled before it,
    /// so that it waits for some seconds, and then there is no foundation.
    pub async fn observe(
        &self,
        gcp: &Gcp,
        scope: &Scope,
        layer: Option<Layer>,
    ) -> Result<Vec<Live>, GcpError> {
        let each = self.kinds().filter(|kind| is_looked_at(*kind, layer)).map(|kind| async move {
            let founded = layer == Some(Layer::Release) && scope.watches(kind.name());
            let mut patience = gcp.patience();
            for looks in 1.. {
                match kind.observe(gcp, scope).await {
                    Err(error) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => {
                        if !founded {
                            break;
                        }
                        if looks == LOOKS {
                            return Err(unfounded(kind, scope));
                        }
                        patience.pause(&format!("{} to be enabled", kind.api())).await?;
                    }
                    Err(error) => return Err(unseen(kind, scope, error)),
                    Ok(live) => return Ok((kind, Some(live))),
                }
            }
            Ok((kind, None))
        });
        let (mut live, mut silent) = (Vec::new(), Vec::new());
        for (kind, observed) in try_join_all(each).await? {
            match observed {
                Some(observed) => live.extend(observed),
                None => silent.push(kind),
            }
        }
        let enabled =
            |name: &str| live.iter().any(|l| l.address.kind == api::Api::NAME && l.address.name == name);
        silent.retain(|kind| enabled(kind.api()));
        let again = silent.into_iter().map(|kind| async move {
            kind.observe(gcp, scope).await.map_err(|error| unseen(kind, scope, error))
        });
        live.extend(try_join_all(again).await?.into_iter().flatten());
        live.extend(self.grants_on_undeclared(gcp, scope, layer, &live).await?);
        Ok(live)
    }

    /// The grants on what is ours and not declared: they, too, have to be seen to be revoked. What there is of that is
    /// known by now, so that only its policies are read, and where everything is declared nothing is.
    async fn grants_on_undeclared(
        &self,
        gcp: &Gcp,
        scope: &Scope,
        layer: Option<Layer>,
        live: &[Live],
    ) -> Result<Vec<Live>, GcpError> {
        let grants = self.kinds().filter(|kind| is_looked_at(*kind, layer));
        let each = grants.filter_map(|kind| Some((kind, scope.unwatched(kind.granted_on()?, live)?)));
        let each = each.map(|(kind, scope)| async move {
            kind.observe(gcp, &scope).await.map_err(|error| unseen(kind, &scope, error))
        });
        Ok(try_join_all(each).await?.into_iter().flatten().collect())
    }

    /// Adds to `facts` what the environment tells.
    pub fn known(&self, env: &Environment, mut facts: Facts) -> Facts {
        for kind in self.kinds() {
            kind.intend(env, &mut facts);
        }
        facts
    }

    /// Adds to `facts` what the observed objects tell.
    pub fn facts(&self, live: &[Live], mut facts: Facts) -> Result<Facts, SpecError> {
        for kind in self.kinds() {
            let of_kind: Vec<_> = live.iter().filter(|l| l.address.kind == kind.name()).cloned().collect();
            kind.contribute(&of_kind, &mut facts)?;
        }
        Ok(facts)
    }

    /// What should exist. The APIs that the declared kinds live in are declared with them.
    pub fn declare(&self, env: &Environment, facts: &Facts) -> Result<Vec<Desired>, SpecError> {
        let mut facts = facts.clone();
        let mut desired = Vec::new();
        // The API kind comes first in plans and is declared last, from what the others need.
        for kind in self.kinds.iter().rev() {
            let declared = kind.declare(env, &facts)?;
            if !declared.is_empty() {
                facts.needed_apis.insert(kind.api().to_owned());
            }
            desired.splice(0..0, declared);
        }
        Ok(desired)
    }
}

/// A release is planned without the right to see what it stands on.
fn is_looked_at(kind: &dyn AnyKind, layer: Option<Layer>) -> bool {
    layer != Some(Layer::Release) || kind.layer() == Layer::Release || kind.tells()
}

/// A release stands on nothing where the API of what it declares is not enabled.
fn unfounded(kind: &dyn AnyKind, scope: &Scope) -> GcpError {
    let (api, project) = (kind.api(), &scope.project);
    let message = format!("{api} is not enabled in {project}, so that the foundation is not there yet");
    GcpError::new("plan the release", ErrorKind::ServiceDisabled { api: api.to_owned() }, message)
        .with_hint("the foundation comes first: deployer apply ENV --layer foundation")
        .with_hint("an API that was enabled moments ago needs some minutes before it answers")
}

/// A refusal to show objects of a kind names what lets them be seen.
fn unseen(kind: &dyn AnyKind, scope: &Scope, mut error: GcpError) -> GcpError {
    if error.kind == ErrorKind::PermissionDenied {
        let (role, project) = (kind.viewer(), &scope.project);
        error.call = format!("look at what exists of {} ({})", kind.name(), error.call);
        error.hints = vec![
            format!("{role} lets the identity that runs deployer see it"),
            format!("gcloud projects add-iam-policy-binding {project} --member=MEMBER --role={role}"),
            "a grant made moments ago takes up to seven minutes to work".to_owned(),
        ];
        if kind.layer() == Layer::Foundation && !kind.tells() {
            let less =
                "CI's deploy account sees no more than the release: `plan` and `apply` with --layer release";
            error.hints.insert(0, less.to_owned());
        }
    }
    error
}
