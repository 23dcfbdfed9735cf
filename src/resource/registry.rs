//! The list of kinds, and what is asked of all of them at once: observe, facts, declare.

use futures::future::try_join_all;

use super::erased::{AnyKind, Desired, Erased, Live, SpecError};
use super::kinds::{api, run_grant, run_service, secret, secret_grant, secret_value, service_account};
use super::{Facts, Kind};
use crate::config::Environment;
use crate::gcp::{ErrorKind, Gcp, GcpError};

fn of<K: Kind>() -> Box<dyn AnyKind> {
    Box::new(Erased::<K>::default())
}

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
                of::<service_account::ServiceAccount>(),
                of::<secret::Secret>(),
                of::<secret_value::SecretValue>(),
                of::<secret_grant::SecretGrant>(),
                of::<run_service::RunService>(),
                of::<run_grant::RunGrant>(),
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

    /// What exists, of all kinds at once. An API that is not enabled holds nothing. One that Service Usage lists as
    /// enabled and that refuses all the same was enabled moments ago, perhaps by a run that was cut off: its objects
    /// exist, so it is asked again, and the transport waits until it answers.
    pub async fn observe(&self, gcp: &Gcp, env: &Environment) -> Result<Vec<Live>, GcpError> {
        let each = self.kinds().map(|kind| async move {
            match kind.observe(gcp, env).await {
                Err(error) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => Ok((kind, None)),
                other => other.map(|live| (kind, Some(live))),
            }
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
        let late = try_join_all(silent.into_iter().map(|kind| kind.observe(gcp, env))).await?;
        live.extend(late.into_iter().flatten());
        Ok(live)
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
