//! How the YAML declares what services and jobs have in common.

use super::{ContainerSpec, VolumeSpec, VpcSpec};
use crate::config::Environment;
use crate::config::model::{self, SecretRef};
use crate::resource::{Declared, Facts};

/// What turning containers into specs finds out on the way.
pub(in crate::resource::kinds) struct Findings<'a> {
    env: &'a Environment,
    facts: &'a Facts,
    blocked: Vec<String>,
    notes: Vec<String>,
}

impl<'a> Findings<'a> {
    pub fn new(env: &'a Environment, facts: &'a Facts) -> Self {
        Self { env, facts, blocked: Vec::new(), notes: Vec::new() }
    }

    /// It cannot be applied yet, if there is a reason why.
    pub fn block(&mut self, why: Option<String>) {
        self.blocked.extend(why);
    }

    /// Adds to `declared` what was found out.
    pub fn tell<S>(mut self, declared: Declared<S>) -> Declared<S> {
        self.blocked.sort_unstable();
        self.blocked.dedup();
        let blocked = (!self.blocked.is_empty()).then(|| self.blocked.join("; "));
        Declared { blocked, notes: self.notes, ..declared }
    }

    /// The container's spec, with versions of secrets filled in from the facts.
    pub fn container(&mut self, container: &model::Container) -> ContainerSpec {
        let references = container.secrets.iter().chain(&container.files);
        let secrets = references.filter_map(|(target, reference)| {
            let pinned = self.pinned(target, reference)?;
            Some((target.clone(), pinned))
        });
        let secrets = secrets.collect();
        let volumes = container.in_memory.iter();
        ContainerSpec {
            image: container.image.clone(),
            command: container.command.clone(),
            args: container.args.clone(),
            cpu: container.cpu.clone(),
            memory: container.memory.clone(),
            env: container.env.clone(),
            secrets,
            volumes: volumes
                .map(|(path, size)| (path.clone(), VolumeSpec { in_memory: size.clone() }))
                .collect(),
        }
    }

    /// `SECRET:VERSION`, the version being the newest enabled one unless the YAML says which; `None`
    /// leaves an optional secret out.
    fn pinned(&mut self, target: &str, reference: &SecretRef) -> Option<String> {
        let secret = self.env.secrets.get(&reference.alias)?;
        let id = &secret.id;
        let by_number = reference.version.as_deref().is_some_and(|version| version.parse::<u64>().is_ok());
        if by_number {
            return Some(format!("{id}:{}", reference.version.as_deref().unwrap_or_default()));
        }
        let versions = self.facts.secrets.get(id).copied().unwrap_or_default();
        let made = secret.generate.is_some() || (self.facts.placeholders && !secret.optional);
        let made_now = made && !self.facts.release_only;
        let number = match versions.newest_enabled {
            Some(number) => Some(number),
            None if made_now && !versions.any_left => Some(versions.highest + 1),
            None => None,
        };
        if number.is_none() {
            if secret.optional {
                self.notes.push(format!("{target} is left out: the optional secret {id} has no value"));
                return None;
            }
            self.blocked.push(match (made, versions.any_left) {
                (true, false) => self.not_made(&reference.alias),
                (_, any_left) => self.no_value(&reference.alias, any_left),
            });
        }
        let version = reference.version.clone().or_else(|| number.map(|number| number.to_string()));
        Some(format!("{id}:{}", version.unwrap_or_else(|| "(no value)".to_owned())))
    }

    /// The foundation makes the value, and a release does not.
    fn not_made(&self, alias: &str) -> String {
        format!("secret {alias} has no value yet: deployer apply {} --layer foundation", self.env.name)
    }

    fn no_value(&self, alias: &str, disabled: bool) -> String {
        let what = if disabled { "has no enabled version" } else { "has no value" };
        format!("secret {alias} {what}: deployer secrets set {} {alias}", self.env.name)
    }
}

pub(in crate::resource::kinds) fn vpc(vpc: &model::Vpc) -> VpcSpec {
    VpcSpec {
        connector: vpc.connector.clone(),
        network: vpc.network.clone(),
        subnet: vpc.subnet.clone(),
        tags: sorted(&vpc.tags),
        egress: vpc.egress.clone(),
    }
}

/// Lists whose order means nothing are compared sorted: Cloud Run may answer them in another order.
pub(in crate::resource::kinds) fn sorted(items: &[String]) -> Vec<String> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items
}
