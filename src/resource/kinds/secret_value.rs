//! First values of secrets: generated where the YAML says so, stand-ins on the sandbox, never a second one.
//!
//! The payload exists only between the random generator and the request; it is in no spec, plan or log.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::secret;
use crate::config::Environment;
use crate::config::model::{Generate, Target};
use crate::gcp::{ErrorKind, Gcp, GcpError, Payload};
use crate::resource::{
    Address, Declared, Facts, FieldPolicy, Kind, Layer, Life, Observed, Owner, Place, Scope, SecretVersions,
    Settle, Undeclared, Verbs,
};

pub struct SecretValue;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// How the value is made; absent on observed ones, since nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generator>,
    /// The version's number: highest ever + 1 for a new one.
    pub version: u64,
    /// State of the versions, for the facts; not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_enabled: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    Hex32,
    Base64,
    Uuid,
    /// A random stand-in that makes a rehearsal possible; only on the sandbox.
    Placeholder,
    /// The URL of a server of this machine: `deployer up` and `deployer apply ENV` add it before they plan.
    Local,
}

impl From<Generate> for Generator {
    fn from(generate: Generate) -> Self {
        match generate {
            Generate::Hex32 => Self::Hex32,
            Generate::Base64 => Self::Base64,
            Generate::Uuid => Self::Uuid,
        }
    }
}

/// Secrets whose versions matter: all but those that every reference pins by hand and that get no value from
/// us. Whatever may be given a first value is looked at, or it would be given one in every plan.
fn watched(env: &Environment) -> impl Iterator<Item = &crate::config::model::Secret> {
    let containers = env
        .services
        .values()
        .flat_map(|service| std::iter::once(&service.main).chain(service.sidecars.values()));
    let containers = containers.chain(env.jobs.values().map(|job| &job.container));
    let references = containers.flat_map(|c| c.secrets.values().chain(c.files.values()));
    let (mut pinned, mut open) = (BTreeSet::new(), BTreeSet::new());
    for reference in references {
        let by_number = reference.version.as_deref().is_some_and(|v| v.parse::<u64>().is_ok());
        if by_number {
            pinned.insert(&reference.alias)
        } else {
            open.insert(&reference.alias)
        };
    }
    env.secrets
        .iter()
        .filter(move |(alias, secret)| {
            let may_be_made = secret.generate.is_some() || env.target == Target::Sandbox;
            may_be_made || open.contains(alias) || !pinned.contains(alias)
        })
        .map(|(_, s)| s)
}

impl Kind for SecretValue {
    const NAME: &'static str = "secret_value";
    const API: &'static str = "secretmanager.googleapis.com";
    const LAYER: Layer = Layer::Foundation;
    const TELLS: bool = true;
    const VIEWER: &'static str = "roles/secretmanager.viewer";
    const VERBS: Verbs = Verbs { create: "generate", update: "update", delete: "destroy" };
    const UNDECLARED: Undeclared = Undeclared::Keep;
    type Spec = Spec;

    fn declare(env: &Environment, facts: &Facts) -> Vec<Declared<Spec>> {
        let local: BTreeSet<&str> = env.local.secrets().collect();
        let declared = env.secrets.iter().filter_map(|(alias, secret)| {
            let generator = match secret.generate {
                Some(generate) => generate.into(),
                None if facts.placeholders && !secret.optional && local.contains(alias.as_str()) => {
                    Generator::Local
                }
                None if facts.placeholders && !secret.optional => Generator::Placeholder,
                None => return None,
            };
            let versions = facts.secrets.get(&secret.id).copied().unwrap_or_default();
            let version = if versions.any_left { versions.highest } else { versions.highest + 1 };
            let source = match secret.generate {
                Some(_) => format!("{}.generate", secret.path),
                None => secret.path.clone(),
            };
            let spec = Spec { generate: Some(generator), version, newest_enabled: None };
            Some(Declared::new(&secret.id, source, spec))
        });
        declared.collect()
    }

    fn references(name: &str, _: &Spec) -> Vec<Address> {
        vec![Address::of::<secret::Secret>(name)]
    }

    fn field_policy(_: &str) -> FieldPolicy {
        // A value is never replaced by a plan: `generate` makes the first one only.
        FieldPolicy::CreateOnly
    }

    fn part_of(name: &str, _: &Spec) -> Option<Address> {
        Some(Address::of::<secret::Secret>(name))
    }

    fn watched(env: &Environment) -> Vec<String> {
        watched(env).map(|secret| secret.id.clone()).collect()
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let each = scope.names::<Self>().map(|id| async move {
            let versions = gcp.list_versions(&secret::full_name(&scope.project, id)).await?;
            Ok::<_, GcpError>((id.to_owned(), versions))
        });
        let mut observed = Vec::new();
        for (name, versions) in try_join_all(each).await? {
            let Some(versions) = versions else { continue };
            let Some(highest) = versions.iter().map(|v| v.number).max() else { continue };
            let enabled = versions.iter().filter(|v| v.state == "ENABLED").map(|v| v.number).max();
            let destroyed = versions.iter().all(|v| v.state == "DESTROYED");
            // Nothing but destroyed versions is no value, yet their numbers are taken.
            let life = if destroyed { Life::Gone } else { Life::Present };
            let spec = Spec { generate: None, version: highest, newest_enabled: enabled };
            observed.push(Observed { life, ..Observed::new(name, spec, Owner::Foreign) });
        }
        Ok(observed)
    }

    fn contribute(observed: &[Observed<Spec>], facts: &mut Facts) {
        facts.secrets.extend(observed.iter().map(|value| {
            let any_left = value.life != Life::Gone;
            let versions = SecretVersions {
                newest_enabled: value.spec.newest_enabled,
                highest: value.spec.version,
                any_left,
            };
            (value.name.clone(), versions)
        }));
    }

    async fn create(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let full_name = secret::full_name(&place.project, name);
        let generator = spec.generate.unwrap_or(Generator::Placeholder);
        let payload = payload(generator)?.ok_or_else(|| nobody_delivered(name))?;
        let versions = gcp.list_versions(&full_name).await?.unwrap_or_default();
        if versions.iter().any(|version| version.number == spec.version && version.state == "ENABLED") {
            return Ok(Settle::Done); // another run was faster: there must be no second value
        }
        if versions.iter().any(|version| version.number >= spec.version) {
            return Err(GcpError::moved(&full_name));
        }
        let number = gcp.add_version(&full_name, payload, spec.version).await?;
        if number != spec.version {
            // Two runs looked before either had added, and Secret Manager knows no "only if there is none". The one
            // that got the planned number has made the value; ours has been used by nobody.
            gcp.destroy_version(&full_name, number).await?;
        }
        Ok(Settle::Done)
    }
}

/// The value of a secret of `local.services` comes from a running server, and from no plan.
fn nobody_delivered(id: &str) -> GcpError {
    let message = "it gets the URL of a local service, which nobody has delivered";
    GcpError::new(format!("add a version to secret {id}"), ErrorKind::Other, message).with_hint(
        "apply the environment itself and not a saved plan; where `deployer up` runs, start it anew",
    )
}

/// A fresh random value; `None` for one that nobody makes by chance.
fn payload(generator: Generator) -> Result<Option<Payload>, GcpError> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random)
        .map_err(|error| GcpError::new("make a random value", ErrorKind::Other, error.to_string()))?;
    let text = match generator {
        Generator::Hex32 => hex::encode(random),
        Generator::Base64 => URL_SAFE_NO_PAD.encode(random),
        Generator::Uuid => uuid(&random),
        Generator::Placeholder => format!("placeholder-{}", hex::encode(&random[..8])),
        Generator::Local => return Ok(None),
    };
    Ok(Some(Payload::new(text.into_bytes())))
}

/// Version 4, variant 1 (RFC 9562).
fn uuid(random: &[u8; 32]) -> String {
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&random[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(generator: Generator) -> String {
        String::from_utf8(payload(generator).unwrap().unwrap().expose().to_vec()).unwrap()
    }

    #[test]
    fn generated_values_have_the_form_that_was_asked_for() {
        assert!(
            text(Generator::Hex32).len() == 64
                && text(Generator::Hex32).bytes().all(|b| b.is_ascii_hexdigit())
        );
        assert_eq!(URL_SAFE_NO_PAD.decode(text(Generator::Base64)).unwrap().len(), 32);
        let uuid = text(Generator::Uuid);
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
        assert!(text(Generator::Placeholder).starts_with("placeholder-"));
    }

    #[test]
    fn a_secret_that_may_be_given_a_value_is_watched_although_its_version_is_pinned() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("environments");
        std::fs::create_dir(&folder).unwrap();
        let base = "deployer: v1\nenvironment: base\nsystem: shop\nproject: {id: shop-1, number: '12'}\n\
            region: us-central1\nsecrets: {made: {generate: uuid}, given: {}}\n\
            services: {api: {image: a/b/c, secrets: {A: 'made:1', B: 'given:1'}}}\n";
        std::fs::write(folder.join("base.yaml"), base).unwrap();
        std::fs::write(folder.join("dev.yaml"), "deployer: v1\nenvironment: dev\n").unwrap();
        let mut env =
            crate::config::load(root.path(), "dev", &crate::config::Inputs::default()).unwrap().environment;
        let ids = |env: &Environment| watched(env).map(|secret| secret.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&env), ["made"]);
        env.target = Target::Sandbox;
        assert_eq!(ids(&env), ["made", "given"], "the sandbox gives values to all");
    }

    #[test]
    fn no_two_generated_values_are_alike() {
        assert_ne!(text(Generator::Hex32), text(Generator::Hex32));
    }
}
