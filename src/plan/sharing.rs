//! Which resources several environments of one project declare: those are shared, and marked so.
//!
//! Without it, two environments of one project would take a common secret from each other in turn. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{FieldChange, Refusal, diff};
use crate::config::Environment;
use crate::config::model::Target;
use crate::resource::erased::{AnyKind, Desired, Live, SpecError};
use crate::resource::registry::Registry;
use crate::resource::{Address, Facts, FieldPolicy, Owner, Ownership};

/// Who declares what in a project, seen from one of its environments.
#[derive(Clone, Debug)]
pub struct Sharing {
    own: Ownership,
    declared_by: BTreeMap<Address, BTreeSet<String>>,
    /// What any of them protects.
    protected: BTreeSet<Address>,
    /// What only this environment still declares, and what accounts of others still have grants on.
    granted_elsewhere: BTreeSet<Address>,
}

/// What an owner's mark means for a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Ours,
    /// Ours, under a mark that is not right any more.
    Remark,
    Nobody,
    /// Another system or environment, as `SYSTEM/ENVIRONMENT`.
    Other(String),
    Foreign,
}

/// The other environments that live where `env` lives: in its project, and at Google as it does. What only ever lives
/// in a sandbox shares nothing with Google; in a sandbox all of them may be rehearsed.
pub fn peers<'a>(env: &Environment, others: &'a [Environment]) -> impl Iterator<Item = &'a Environment> {
    let (project, rehearsal) = (env.project.id.clone(), env.target == Target::Sandbox);
    others
        .iter()
        .filter(move |other| other.project.id == project && (rehearsal || other.target != Target::Sandbox))
}

impl Sharing {
    /// Compares what `env` declares with what its [`peers`] declare. What two of them want differently, although there
    /// can be only one of it, is refused.
    pub fn of(
        registry: &Registry,
        env: &Environment,
        others: &[Environment],
        facts: &Facts,
    ) -> Result<(Self, Vec<Refusal>), SpecError> {
        let mut sharing = Self {
            own: Ownership::new(&env.system, &env.name),
            declared_by: BTreeMap::new(),
            protected: BTreeSet::new(),
            granted_elsewhere: BTreeSet::new(),
        };
        let mut refusals = Vec::new();
        let here: BTreeMap<_, _> = registry
            .declare(env, facts)?
            .into_iter()
            .map(|desired| (desired.address.clone(), desired))
            .collect();
        for desired in here.values() {
            sharing.declared(desired, &env.name);
        }
        for other in peers(env, others) {
            let elsewhere = other.region != env.region;
            for there in registry.declare(other, facts)? {
                if elsewhere && registry.kind(&there.address.kind).is_some_and(AnyKind::regional) {
                    continue;
                }
                if let Some(here) = here.get(&there.address) {
                    refusals.extend(disagreement(registry, env, here, other, &there));
                }
                sharing.declared(&there, &other.name);
            }
        }
        Ok((sharing, refusals))
    }

    fn declared(&mut self, desired: &Desired, environment: &str) {
        self.declared_by.entry(desired.address.clone()).or_default().insert(environment.to_owned());
        if desired.protect {
            self.protected.insert(desired.address.clone());
        }
    }

    /// The same with a view of what exists: what is marked as shared stays so as long as an account of another
    /// environment has a grant on it. That environment looks at what is its own or shared; were it neither, nobody would
    /// revoke the grant.
    pub fn seeing(mut self, registry: &Registry, live: &[Live], facts: &Facts) -> Result<Self, SpecError> {
        let shared = live.iter().filter(|live| {
            matches!(&live.owner, Owner::Marked(mark)
                if mark.system == self.own.system && mark.environment == Ownership::SHARED)
        });
        let shared: BTreeSet<_> = shared.map(|live| &live.address).collect();
        for grant in live {
            let Some(kind) = registry.kind(&grant.address.kind) else { continue };
            if kind.serves_another(grant, facts)?
                && let Some(whole) = kind.part_of(&grant.address.name, &grant.spec)?
                && shared.contains(&whole)
            {
                self.granted_elsewhere.insert(whole);
            }
        }
        Ok(self)
    }

    /// The same when this environment declares nothing any more.
    #[must_use]
    pub fn without_own(mut self) -> Self {
        for environments in self.declared_by.values_mut() {
            environments.remove(&self.own.environment);
        }
        self.declared_by.retain(|_, environments| !environments.is_empty());
        self
    }

    /// The other environments that declare it, in words.
    pub fn others(&self, address: &Address) -> Option<String> {
        let others = self.declared_by.get(address)?.iter();
        let others: Vec<_> =
            others.filter(|name| **name != self.own.environment).map(String::as_str).collect();
        (!others.is_empty()).then(|| others.join(", "))
    }

    /// One environment, with no other beside it.
    #[cfg(test)]
    pub(super) fn alone(own: Ownership, declared: &[Desired]) -> Self {
        let environment = own.environment.clone();
        let mut sharing = Self {
            own,
            declared_by: BTreeMap::new(),
            protected: BTreeSet::new(),
            granted_elsewhere: BTreeSet::new(),
        };
        for desired in declared {
            sharing.declared(desired, &environment);
        }
        sharing
    }

    /// The mark that an object at `address` gets.
    pub fn mark(&self, address: &Address) -> Ownership {
        let shared = self.granted_elsewhere.contains(address)
            || self.declared_by.get(address).is_some_and(|environments| environments.len() > 1);
        let environment = if shared { Ownership::SHARED } else { &self.own.environment };
        let protect = self.protects(address);
        Ownership { protect, ..Ownership::new(&self.own.system, environment) }
    }

    /// Whether the YAML of any environment protects it.
    pub fn protects(&self, address: &Address) -> bool {
        self.protected.contains(address)
    }

    fn declared_elsewhere_only(&self, address: &Address) -> bool {
        self.declared_by.get(address).is_some_and(|by| !by.contains(&self.own.environment))
    }

    /// What the owner of an object at `address` means here.
    pub fn standing(&self, address: &Address, owner: &Owner) -> Standing {
        let mark = match owner {
            // What only another environment declares is for that one to keep or to take away.
            Owner::Ours if self.declared_elsewhere_only(address) => return Standing::Foreign,
            Owner::Ours => return Standing::Ours,
            Owner::Nobody => return Standing::Nobody,
            Owner::Foreign => return Standing::Foreign,
            Owner::Marked(mark) => mark,
        };
        let other = || Standing::Other(format!("{}/{}", mark.system, mark.environment));
        if mark.system != self.own.system {
            return other();
        }
        let declared_by = self.declared_by.get(address);
        let declared_here =
            declared_by.is_some_and(|environments| environments.contains(&self.own.environment));
        let known_there = declared_by.is_some_and(|environments| environments.contains(&mark.environment));
        if declared_here {
            if *mark == self.mark(address) {
                return Standing::Ours;
            }
            let within = mark.includes(&self.own) || known_there;
            return if within { Standing::Remark } else { other() };
        }
        // Not declared here: it is ours to take away only when no environment asks for it any more.
        if mark.includes(&self.own) && declared_by.is_none() { Standing::Ours } else { Standing::Foreign }
    }
}

fn disagreement(
    registry: &Registry,
    env: &Environment,
    here: &Desired,
    other: &Environment,
    there: &Desired,
) -> Option<Refusal> {
    let kind = registry.kind(&here.address.kind)?;
    let differing = diff::fields(&here.spec, &there.spec).into_iter();
    let compared = |field: &FieldChange| {
        !matches!(kind.field_policy(&field.pointer), FieldPolicy::CreateOnly | FieldPolicy::Unseen)
    };
    let differing = differing.filter(compared);
    let fields: Vec<_> = differing
        .map(|field| {
            let path = field.pointer.trim_start_matches('/').replace('/', ".");
            format!("{path}: {} and {}", diff::text(field.old.as_ref()), diff::text(field.new.as_ref()))
        })
        .collect();
    (!fields.is_empty()).then(|| Refusal {
        address: here.address.clone(),
        why: format!(
            "{} and {} declare it differently ({})",
            place(env, here),
            place(other, there),
            fields.join("; ")
        ),
        hint: "declare it in base.yaml, or give each environment one of its own".to_owned(),
        location: env.sources.find(&here.source).map(ToString::to_string),
    })
}

/// `at FILE:LINE:COLUMN`, where the place is known.
fn place(env: &Environment, desired: &Desired) -> String {
    let place = env.sources.find(&desired.source);
    place.map_or_else(|| env.name.clone(), |place| format!("{} at {place}", env.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(system: &str, environment: &str) -> Owner {
        Owner::Marked(Ownership::new(system, environment))
    }

    fn seen_from_staging(declared_by: &[&str]) -> impl Fn(Owner) -> Standing {
        let address = Address { kind: "secret".into(), name: "key".into() };
        let mut sharing = Sharing {
            own: Ownership::new("shop", "staging"),
            declared_by: BTreeMap::new(),
            protected: BTreeSet::new(),
            granted_elsewhere: BTreeSet::new(),
        };
        if !declared_by.is_empty() {
            let environments = declared_by.iter().map(ToString::to_string).collect();
            sharing.declared_by.insert(address.clone(), environments);
        }
        move |owner| sharing.standing(&address, &owner)
    }

    #[test]
    fn what_several_environments_declare_is_marked_shared() {
        let standing = seen_from_staging(&["staging", "production"]);
        assert_eq!(standing(mark("shop", "shared")), Standing::Ours);
        assert_eq!(standing(mark("shop", "production")), Standing::Remark);
        assert_eq!(standing(mark("shop", "staging")), Standing::Remark);
        assert_eq!(standing(mark("shop", "old")), Standing::Other("shop/old".into()));
        assert_eq!(standing(mark("cafe", "shared")), Standing::Other("cafe/shared".into()));
    }

    #[test]
    fn what_one_environment_declares_is_its_own() {
        let standing = seen_from_staging(&["staging"]);
        assert_eq!(standing(mark("shop", "staging")), Standing::Ours);
        assert_eq!(standing(mark("shop", "shared")), Standing::Remark);
        assert_eq!(standing(mark("shop", "production")), Standing::Other("shop/production".into()));
        assert_eq!(standing(Owner::Nobody), Standing::Nobody);
    }

    #[test]
    fn only_what_no_environment_declares_is_ours_to_take_away() {
        assert_eq!(seen_from_staging(&[])(mark("shop", "staging")), Standing::Ours);
        assert_eq!(seen_from_staging(&[])(mark("shop", "shared")), Standing::Ours);
        assert_eq!(seen_from_staging(&["production"])(mark("shop", "shared")), Standing::Foreign);
        assert_eq!(seen_from_staging(&["production"])(mark("shop", "staging")), Standing::Foreign);
        assert_eq!(seen_from_staging(&[])(mark("shop", "production")), Standing::Foreign);
    }

    #[test]
    fn a_grant_to_a_shared_account_that_another_environment_declares_is_not_ours_to_revoke() {
        assert_eq!(seen_from_staging(&["production"])(Owner::Ours), Standing::Foreign);
        assert_eq!(seen_from_staging(&["staging", "production"])(Owner::Ours), Standing::Ours);
        assert_eq!(seen_from_staging(&[])(Owner::Ours), Standing::Ours);
    }
}
