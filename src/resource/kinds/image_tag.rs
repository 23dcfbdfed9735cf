//! Tags on the images that serve (Artifact Registry v1), so that people see them and no cleanup deletes them.
//!
//! `PACKAGE:serving-ENV` follows the service whose key is PACKAGE once its rollout is done; whoever else runs an image
//! of that package has a tag of its own, `serving-ENV.KEY`. `PACKAGE:ALIAS` (`image_tags.alias`) follows it in the same way. Where tags are immutable none can follow anything; then what
//! was pushed with a tag keeps it, and cleanup deletes only what has none.
//!
//! All tags of the registry are observed, and all images by their digests; what is not ours is read only for what it
//! tells: which releases there are, and whether an image is there at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::images::{self, Chosen};
use super::repository::{self, Repository};
use super::run_job::RunJob;
use super::run_service::RunService;
use crate::config::Environment;
use crate::config::model::Registry;
use crate::gcp::{Gcp, GcpError, Tag};
use crate::resource::{
    Address, Declared, Edit, Facts, FieldPolicy, Kind, Layer, Observed, Owner, Place, Scope, Settle,
    TaggedImage, Verbs,
};

pub struct ImageTag;

/// How the tags begin; cleanup keeps what bears one.
pub const PREFIX: &str = images::SERVING;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Id of the repository.
    pub repository: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// When the image was uploaded (`uploadTime`, RFC 3339); Google alone knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded: Option<String>,
    /// What runs the image, and has to run it before the tag says so; the YAML alone knows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<Address>,
}

/// `api:v1` as `api` and `v1`; the name of an image, `api@sha256:...`, has no tag.
fn parts(name: &str) -> (&str, &str) {
    match name.split_once('@') {
        Some((package, _)) => (package, ""),
        None => name.rsplit_once(':').unwrap_or((name, "")),
    }
}

/// Whether a tag says what serves in an environment. No name of an environment has a dot.
fn is_of(tag: &str, environment: &str) -> bool {
    let rest = tag.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(environment));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The tag of whoever the YAML calls `key`.
fn tag(environment: &str, package: &str, key: &str) -> String {
    if package == key { format!("{PREFIX}{environment}") } else { format!("{PREFIX}{environment}.{key}") }
}

/// What runs an image of the registry, with the path of the YAML that asks for it.
struct User {
    /// The key of a service, the path of a job.
    key: String,
    source: String,
    address: Address,
    yaml: String,
    chosen: Chosen,
}

fn users(env: &Environment, facts: &Facts) -> Vec<User> {
    let services = env.services.iter().map(|(key, service)| User {
        key: key.clone(),
        source: format!("services.{key}"),
        address: Address::of::<RunService>(&service.name),
        yaml: service.main.image.clone(),
        chosen: images::of_service(env, facts, key, service),
    });
    // Jobs that borrow an image have that of their service.
    let jobs = env.jobs.values().filter(|job| job.service.is_none()).map(|job| User {
        key: job.path.clone(),
        source: job.path.clone(),
        address: Address::of::<RunJob>(&job.name),
        yaml: job.container.image.clone(),
        chosen: images::of_job(env, facts, job),
    });
    services.chain(jobs).collect()
}

/// The name of the tag and the digest that it is to point to.
fn wanted(env: &Environment, facts: &Facts, user: &User) -> Option<(String, String)> {
    let unknown = user.chosen.refused.is_some() || user.chosen.unbuilt.is_some();
    let image = images::own(env, if unknown { &user.yaml } else { &user.chosen.image })?;
    let tag = tag(&env.name, &image.package, &user.key);
    let digest = if unknown {
        // Nothing is known of it: the tag stays where it is.
        facts.tags.get(&image.package)?.get(&tag)?.digest.clone()
    } else {
        image.digest?
    };
    Some((format!("{}:{tag}", image.package), digest))
}

/// The alias of each image that a service runs: of the service with the image's name, else of the first one that runs it.
fn aliases(
    env: &Environment,
    facts: &Facts,
    registry: &Registry,
    alias: &str,
) -> BTreeMap<String, Declared<Spec>> {
    let mut found = BTreeMap::new();
    let of_services = users(env, facts).into_iter().filter(|user| env.services.contains_key(&user.key));
    for user in of_services {
        let Some((tag, digest)) = wanted(env, facts, &user) else { continue };
        let package = parts(&tag).0.to_owned();
        let own = package == user.key;
        let repository = registry.repository.clone();
        let spec = Spec { repository, digest, uploaded: None, used_by: vec![user.address] };
        let name = format!("{package}:{alias}");
        let declared = Declared::new(&name, "image_tags.alias", spec);
        if own {
            found.insert(name, declared);
        } else {
            found.entry(name).or_insert(declared);
        }
    }
    found
}

impl Kind for ImageTag {
    const NAME: &'static str = "image_tag";
    const API: &'static str = "artifactregistry.googleapis.com";
    const LAYER: Layer = Layer::Release;
    const REGIONAL: bool = true;
    const VIEWER: &'static str = "roles/artifactregistry.reader";
    const VERBS: Verbs = Verbs { create: "tag", update: "move", delete: "untag" };
    type Spec = Spec;

    fn declare(env: &Environment, facts: &Facts) -> Vec<Declared<Spec>> {
        let Some(registry) = env.registry.as_ref().filter(|registry| !registry.immutable_tags) else {
            return Vec::new();
        };
        let mut found: BTreeMap<String, Declared<Spec>> = BTreeMap::new();
        for user in users(env, facts) {
            let Some((name, digest)) = wanted(env, facts, &user) else { continue };
            let declared = found.entry(name).or_insert_with_key(|name| {
                let repository = registry.repository.clone();
                let spec = Spec { repository, digest, uploaded: None, used_by: Vec::new() };
                Declared::new(name, &user.source, spec)
            });
            declared.spec.used_by.push(user.address);
        }
        let aliases = env.alias_tag.as_ref().map(|alias| aliases(env, facts, registry, alias));
        found.extend(aliases.into_iter().flatten());
        found.into_values().collect()
    }

    fn intend(env: &Environment, facts: &mut Facts) {
        facts.alias_tag.clone_from(&env.alias_tag);
    }

    fn references(_: &str, spec: &Spec) -> Vec<Address> {
        let repository = Address::of::<Repository>(&spec.repository);
        spec.used_by.iter().cloned().chain([repository]).collect()
    }

    fn part_of(_: &str, spec: &Spec) -> Option<Address> {
        Some(Address::of::<Repository>(&spec.repository))
    }

    fn field_policy(pointer: &str) -> FieldPolicy {
        match pointer.trim_start_matches('/').split('/').next() {
            Some("uploaded") => FieldPolicy::CreateOnly,
            Some("used_by") => FieldPolicy::Unseen,
            _ => FieldPolicy::InPlace,
        }
    }

    /// The repository to look into.
    fn watched(env: &Environment) -> Vec<String> {
        env.registry.iter().map(|registry| registry.repository.clone()).collect()
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let mut found = Vec::new();
        for repository in scope.names::<Self>() {
            let name = repository::full_name(&scope.project, &scope.region, repository);
            for image in gcp.list_images(&name).await?.unwrap_or_default() {
                let uploaded = Some(image.uploaded).filter(|time| !time.is_empty());
                let spec = Spec {
                    repository: repository.to_owned(),
                    digest: image.digest,
                    uploaded,
                    used_by: Vec::new(),
                };
                let tags = image.tags.iter().map(|tag| format!("{}:{tag}", image.package));
                let names = tags.chain([format!("{}@{}", image.package, spec.digest)]);
                found.extend(names.map(|name| Observed::new(name, spec.clone(), Owner::Foreign)));
            }
        }
        Ok(found)
    }

    fn contribute(observed: &[Observed<Spec>], facts: &mut Facts) {
        for found in observed {
            let (package, tag) = parts(&found.name);
            if tag.is_empty() {
                facts.digests.entry(package.to_owned()).or_default().insert(found.spec.digest.clone());
                continue;
            }
            let image = TaggedImage {
                digest: found.spec.digest.clone(),
                uploaded: found.spec.uploaded.clone().unwrap_or_default(),
            };
            facts.tags.entry(package.to_owned()).or_default().insert(tag.to_owned(), image);
        }
    }

    fn owner(observed: &Observed<Spec>, facts: &Facts) -> Owner {
        let tag = parts(&observed.name).1;
        let ours = is_of(tag, &facts.own.environment) || facts.alias_tag.as_deref() == Some(tag);
        if ours { Owner::Ours } else { Owner::Foreign }
    }

    async fn create(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let repository = repository::full_name(&place.project, &place.region, &spec.repository);
        let (package, tag) = parts(name);
        gcp.create_tag(Tag { repository: &repository, package, tag }, &spec.digest).await?;
        Ok(Settle::Done)
    }

    async fn update(gcp: &Gcp, place: &Place, edit: Edit<'_, Spec>) -> Result<Settle, GcpError> {
        let repository = repository::full_name(&place.project, &place.region, &edit.after.repository);
        let (package, tag) = parts(edit.name);
        let tag = Tag { repository: &repository, package, tag };
        if gcp.tagged(tag).await?.as_ref() != Some(&edit.before.digest) {
            return Err(GcpError::moved(edit.name));
        }
        gcp.move_tag(tag, &edit.after.digest).await?;
        Ok(Settle::Done)
    }

    async fn delete(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let repository = repository::full_name(&place.project, &place.region, &spec.repository);
        let (package, tag) = parts(name);
        let tag = Tag { repository: &repository, package, tag };
        match gcp.tagged(tag).await? {
            Some(digest) if digest != spec.digest => Err(GcpError::moved(name)),
            Some(_) => gcp.delete_tag(tag).await.map(|()| Settle::Done),
            None => Ok(Settle::Done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Ownership;

    #[test]
    fn the_tags_of_an_environment_are_told_from_those_of_others() {
        for (tag, ours) in [
            ("serving-dev", true),
            ("serving-dev.jobs.sync", true),
            ("serving-dev-2", false),
            ("serving-staging", false),
            ("dev", false),
            ("serving-", false),
        ] {
            assert_eq!(is_of(tag, "dev"), ours, "{tag}");
        }
        assert!(is_of(&tag("dev", "api", "api"), "dev") && is_of(&tag("dev", "api", "front"), "dev"));
        assert_ne!(tag("dev", "api", "api"), tag("dev", "api", "front"));
    }

    #[test]
    fn all_tags_are_facts_and_only_ours_are_ours() {
        let mut facts = Facts { own: Ownership::new("shop", "dev"), ..Facts::default() };
        let spec = Spec {
            repository: "shop".into(),
            digest: "sha256:1".into(),
            uploaded: Some("2026-01-01T00:00:00Z".into()),
            used_by: Vec::new(),
        };
        let observed = ["web/api:v1", "web/api:serving-dev", "web/api:serving-staging", "web/api@sha256:1"]
            .map(|name| Observed::new(name, spec.clone(), Owner::Foreign));
        ImageTag::contribute(&observed, &mut facts);
        let tags: Vec<_> = facts.tags["web/api"].keys().map(String::as_str).collect();
        assert_eq!(tags, ["serving-dev", "serving-staging", "v1"]);
        assert_eq!(facts.tags["web/api"]["v1"].digest, "sha256:1");
        assert_eq!(facts.digests["web/api"], std::collections::BTreeSet::from(["sha256:1".to_owned()]));
        let owners = observed.map(|tag| ImageTag::owner(&tag, &facts));
        assert_eq!(owners, [Owner::Foreign, Owner::Ours, Owner::Foreign, Owner::Foreign]);
    }
}
