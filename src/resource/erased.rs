//! The dyn twin of [`Kind`]: the only place where specs are turned into JSON and back.

use std::marker::PhantomData;

use futures::future::{BoxFuture, FutureExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Address, Answers, Consequence, Edit, Facts, FieldPolicy, Kind, Layer, Life, Observed, Owner, Place,
    Scope, Settle, Undeclared, UsedWith, Verbs,
};
use crate::config::Environment;
use crate::gcp::{Gcp, GcpError};

/// A declared resource of any kind.
#[derive(Clone, Debug)]
pub struct Desired {
    pub address: Address,
    pub spec: Value,
    pub source: String,
    pub blocked: Option<String>,
    pub refused: Option<(String, String)>,
    pub notes: Vec<String>,
    pub protect: bool,
}

/// An observed object of any kind.
#[derive(Clone, Debug)]
pub struct Live {
    pub address: Address,
    pub spec: Value,
    pub owner: Owner,
    pub life: Life,
}

/// Specs as JSON; every method is the kind's own, see [`Kind`].
pub trait AnyKind: Send + Sync {
    fn name(&self) -> &'static str;
    fn api(&self) -> &'static str;
    fn layer(&self) -> Layer;
    fn tells(&self) -> bool;
    fn regional(&self) -> bool;
    fn restarts(&self) -> bool;
    fn viewer(&self) -> &'static str;
    fn verbs(&self) -> Verbs;
    fn undeclared(&self) -> Undeclared;
    fn granted_on(&self) -> Option<&'static str>;
    fn stays_with_whole(&self) -> bool;
    fn server_check(&self) -> bool;
    fn declare(&self, env: &Environment, facts: &Facts) -> Result<Vec<Desired>, SpecError>;
    fn references(&self, name: &str, spec: &Value) -> Result<Vec<Address>, SpecError>;
    fn part_of(&self, name: &str, spec: &Value) -> Result<Option<Address>, SpecError>;
    fn stands_for(&self, live: &Live, facts: &Facts) -> Result<Option<(Address, String)>, SpecError>;
    fn serves_another(&self, live: &Live, facts: &Facts) -> Result<bool, SpecError>;
    fn answers(&self, place: &Place, name: &str) -> Answers;
    fn uses_unseen(&self, spec: &Value) -> Result<&'static [&'static str], SpecError>;
    fn used_with(&self, name: &str, spec: &Value) -> Result<Option<UsedWith>, SpecError>;
    fn field_policy(&self, pointer: &str) -> FieldPolicy;
    fn consequences(
        &self,
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> Result<Vec<Consequence>, SpecError>;
    fn intend(&self, env: &Environment, facts: &mut Facts);
    fn watched(&self, env: &Environment) -> Vec<String>;
    fn observe<'a>(&'a self, gcp: &'a Gcp, scope: &'a Scope) -> BoxFuture<'a, Result<Vec<Live>, GcpError>>;
    fn contribute(&self, live: &[Live], facts: &mut Facts) -> Result<(), SpecError>;
    fn owner(&self, live: &Live, facts: &Facts) -> Result<Owner, SpecError>;
    fn create<'a>(&'a self, gcp: &'a Gcp, place: &'a Place, name: &'a str, spec: &'a Value) -> Effect<'a>;
    fn update<'a>(&'a self, gcp: &'a Gcp, place: &'a Place, edit: Edit<'a, Value>) -> Effect<'a>;
    fn delete<'a>(&'a self, gcp: &'a Gcp, place: &'a Place, name: &'a str, spec: &'a Value) -> Effect<'a>;
    fn restore<'a>(&'a self, gcp: &'a Gcp, place: &'a Place, edit: Edit<'a, Value>) -> Effect<'a>;
    fn check_create<'a>(
        &'a self,
        gcp: &'a Gcp,
        place: &'a Place,
        name: &'a str,
        spec: &'a Value,
    ) -> Check<'a>;
    fn check_update<'a>(&'a self, gcp: &'a Gcp, place: &'a Place, edit: Edit<'a, Value>) -> Check<'a>;
}

type Effect<'a> = BoxFuture<'a, Result<Settle, GcpError>>;
type Check<'a> = BoxFuture<'a, Result<(), GcpError>>;

/// A spec that is not what its kind says: a plan of another version, or a bug.
#[derive(Debug, thiserror::Error)]
#[error("a {kind} spec cannot be read")]
pub struct SpecError {
    kind: &'static str,
    source: serde_json::Error,
}

impl From<SpecError> for GcpError {
    fn from(error: SpecError) -> Self {
        Self::unreadable(error.to_string(), error.source.to_string())
    }
}

/// `K` with its spec erased.
pub struct Erased<K>(PhantomData<fn() -> K>);

impl<K> Default for Erased<K> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

fn read<K: Kind, S: DeserializeOwned>(spec: &Value) -> Result<S, SpecError> {
    serde_json::from_value(spec.clone()).map_err(|source| SpecError { kind: K::NAME, source })
}

fn write<K: Kind>(spec: &impl Serialize) -> Result<Value, SpecError> {
    serde_json::to_value(spec).map_err(|source| SpecError { kind: K::NAME, source })
}

fn typed<K: Kind>(live: &Live) -> Result<Observed<K::Spec>, SpecError> {
    let spec = read::<K, _>(&live.spec)?;
    Ok(Observed { name: live.address.name.clone(), spec, owner: live.owner.clone(), life: live.life })
}

/// An edit with its specs read.
fn typed_edit<'a, K: Kind>(edit: &Edit<'a, Value>, specs: &'a (K::Spec, K::Spec)) -> Edit<'a, K::Spec> {
    Edit { name: edit.name, before: &specs.0, after: &specs.1, fields: edit.fields }
}

fn both<K: Kind>(edit: &Edit<'_, Value>) -> Result<(K::Spec, K::Spec), SpecError> {
    Ok((read::<K, _>(edit.before)?, read::<K, _>(edit.after)?))
}

impl<K: Kind> AnyKind for Erased<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn api(&self) -> &'static str {
        K::API
    }

    fn verbs(&self) -> Verbs {
        K::VERBS
    }

    fn layer(&self) -> Layer {
        K::LAYER
    }

    fn tells(&self) -> bool {
        K::TELLS
    }

    fn regional(&self) -> bool {
        K::REGIONAL
    }

    fn restarts(&self) -> bool {
        K::RESTARTS
    }

    fn viewer(&self) -> &'static str {
        K::VIEWER
    }

    fn undeclared(&self) -> Undeclared {
        K::UNDECLARED
    }

    fn granted_on(&self) -> Option<&'static str> {
        K::GRANTED_ON
    }

    fn stays_with_whole(&self) -> bool {
        K::STAYS_WITH_WHOLE
    }

    fn server_check(&self) -> bool {
        K::SERVER_CHECK
    }

    fn declare(&self, env: &Environment, facts: &Facts) -> Result<Vec<Desired>, SpecError> {
        let declared = K::declare(env, facts).into_iter();
        declared
            .map(|d| {
                let spec = write::<K>(&d.spec)?;
                Ok(Desired {
                    address: Address::of::<K>(d.name),
                    spec,
                    source: d.source,
                    blocked: d.blocked,
                    refused: d.refused,
                    notes: d.notes,
                    protect: d.protect,
                })
            })
            .collect()
    }

    fn references(&self, name: &str, spec: &Value) -> Result<Vec<Address>, SpecError> {
        Ok(K::references(name, &read::<K, _>(spec)?))
    }

    fn part_of(&self, name: &str, spec: &Value) -> Result<Option<Address>, SpecError> {
        Ok(K::part_of(name, &read::<K, _>(spec)?))
    }

    fn stands_for(&self, live: &Live, facts: &Facts) -> Result<Option<(Address, String)>, SpecError> {
        let found = K::stands_for(&typed::<K>(live)?, facts);
        Ok(found.map(|(name, why)| (Address::of::<K>(name), why)))
    }

    fn serves_another(&self, live: &Live, facts: &Facts) -> Result<bool, SpecError> {
        Ok(K::serves_another(&typed::<K>(live)?, facts))
    }

    fn answers(&self, place: &Place, name: &str) -> Answers {
        K::answers(place, name)
    }

    fn uses_unseen(&self, spec: &Value) -> Result<&'static [&'static str], SpecError> {
        Ok(K::uses_unseen(&read::<K, _>(spec)?))
    }

    fn used_with(&self, name: &str, spec: &Value) -> Result<Option<UsedWith>, SpecError> {
        Ok(K::used_with(name, &read::<K, _>(spec)?))
    }

    fn field_policy(&self, pointer: &str) -> FieldPolicy {
        K::field_policy(pointer)
    }

    fn consequences(
        &self,
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> Result<Vec<Consequence>, SpecError> {
        let before = before.map(read::<K, K::Spec>).transpose()?;
        let after = after.map(read::<K, K::Spec>).transpose()?;
        Ok(K::consequences(before.as_ref(), after.as_ref()))
    }

    fn watched(&self, env: &Environment) -> Vec<String> {
        K::watched(env)
    }

    fn observe<'a>(&'a self, gcp: &'a Gcp, scope: &'a Scope) -> BoxFuture<'a, Result<Vec<Live>, GcpError>> {
        async move {
            let observed = K::observe(gcp, scope).await?.into_iter();
            let live = observed.map(|o| {
                let spec = write::<K>(&o.spec)?;
                Ok(Live { address: Address::of::<K>(o.name), spec, owner: o.owner, life: o.life })
            });
            live.collect()
        }
        .boxed()
    }

    fn intend(&self, env: &Environment, facts: &mut Facts) {
        K::intend(env, facts);
    }

    fn contribute(&self, live: &[Live], facts: &mut Facts) -> Result<(), SpecError> {
        let observed = live.iter().map(typed::<K>).collect::<Result<Vec<_>, _>>()?;
        K::contribute(&observed, facts);
        Ok(())
    }

    fn owner(&self, live: &Live, facts: &Facts) -> Result<Owner, SpecError> {
        Ok(K::owner(&typed::<K>(live)?, facts))
    }

    fn create<'a>(&'a self, gcp: &'a Gcp, place: &'a Place, name: &'a str, spec: &'a Value) -> Effect<'a> {
        async move { K::create(gcp, place, name, &read::<K, _>(spec)?).await }.boxed()
    }

    fn update<'a>(&'a self, gcp: &'a Gcp, place: &'a Place, edit: Edit<'a, Value>) -> Effect<'a> {
        async move {
            let specs = both::<K>(&edit)?;
            K::update(gcp, place, typed_edit::<K>(&edit, &specs)).await
        }
        .boxed()
    }

    fn restore<'a>(&'a self, gcp: &'a Gcp, place: &'a Place, edit: Edit<'a, Value>) -> Effect<'a> {
        async move {
            let specs = both::<K>(&edit)?;
            K::restore(gcp, place, typed_edit::<K>(&edit, &specs)).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, gcp: &'a Gcp, place: &'a Place, name: &'a str, spec: &'a Value) -> Effect<'a> {
        async move { K::delete(gcp, place, name, &read::<K, _>(spec)?).await }.boxed()
    }

    fn check_create<'a>(
        &'a self,
        gcp: &'a Gcp,
        place: &'a Place,
        name: &'a str,
        spec: &'a Value,
    ) -> Check<'a> {
        async move { K::check_create(gcp, place, name, &read::<K, _>(spec)?).await }.boxed()
    }

    fn check_update<'a>(&'a self, gcp: &'a Gcp, place: &'a Place, edit: Edit<'a, Value>) -> Check<'a> {
        async move {
            let specs = both::<K>(&edit)?;
            K::check_update(gcp, place, typed_edit::<K>(&edit, &specs)).await
        }
        .boxed()
    }
}
