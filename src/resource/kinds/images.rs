//! Which image a service or a job gets: what a release input says, what runs already, or the YAML's own. An image of
//! the system's own registry becomes a digest here, so that what was planned is what runs.

use std::cmp::Reverse;

use super::repository::Repository;
use crate::build::SOURCE_TAG;
use crate::config::Environment;
use crate::config::model::{Job, Service};
use crate::resource::{Address, Facts, RunningImage, TaggedImage};

/// How the tags begin that deployer itself puts on images.
pub const SERVING: &str = "serving-";

/// Tags that a refusal lists.
const SHOWN: usize = 5;

/// An image of the system's own registry, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnImage {
    /// What follows the registry's prefix: `api`, `web/api`.
    pub package: String,
    pub tag: Option<String>,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: Option<String>,
}

/// The image of a service or job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub image: String,
    /// The YAML's image that the chosen one stands in for, where they differ.
    pub replaces: Option<String>,
    /// Why there is none to choose, and the way out.
    pub refused: Option<(String, String)>,
    /// Why the image is not there yet, and what brings it.
    pub unbuilt: Option<String>,
}

type Refused = (String, String);

/// What an image of the system's own registry says; `None` for images of other registries.
pub fn own(env: &Environment, image: &str) -> Option<OwnImage> {
    let rest = image.strip_prefix(&env.registry_prefix()?)?.strip_prefix('/')?;
    let (rest, digest) = split(rest, '@');
    let (package, tag) = split(rest, ':');
    Some(OwnImage {
        package: package.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

/// The tags that an image bears, as far as they tell a version: none of those that deployer gives it to find what serves, or
/// what it was made from. An image of another registry has the one that it is named by.
pub fn tags(env: &Environment, facts: &Facts, image: &str) -> Vec<String> {
    let alias = env.alias_tag.as_deref();
    let tells = |tag: &str| {
        !tag.starts_with(SERVING) && !tag.starts_with(SOURCE_TAG) && tag != "latest" && alias != Some(tag)
    };
    let Some(own) = own(env, image) else {
        let (name, _) = split(image, '@');
        let last = name.rsplit('/').next().unwrap_or_default();
        return split(last, ':').1.filter(|tag| tells(tag)).map(str::to_owned).into_iter().collect();
    };
    let known = facts.tags.get(&own.package).into_iter().flatten();
    let of_it = known.filter(|(_, found)| Some(&found.digest) == own.digest.as_ref());
    let found = of_it.map(|(tag, _)| tag).chain(own.tag.iter()).filter(|tag| tells(tag));
    found.cloned().collect()
}

/// Whether a service or job of the environment has its image in the system's own registry.
pub fn any_own(env: &Environment) -> bool {
    let services = env.services.values().map(|service| &service.main.image);
    let jobs = env.jobs.values().map(|job| &job.container.image);
    services.chain(jobs).any(|image| own(env, image).is_some())
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Where an image of Artifact Registry lies that is named by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Id of the project.
    pub project: String,
    /// `projects/P/locations/L/repositories/R`
    pub repository: String,
    /// With its slashes.
    pub package: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
}

/// Where an image lies; `None` for one of another registry, or without a digest.
pub fn locate(image: &str) -> Option<Located> {
    let (name, digest) = image.split_once('@')?;
    let (host, path) = name.split_once('/')?;
    let location = host.strip_suffix("-docker.pkg.dev")?;
    let (mut project, mut path) = path.split_once('/').map(|(project, path)| (project.to_owned(), path))?;
    // A project under a domain takes two parts.
    if project.contains('.') {
        let (id, rest) = path.split_once('/')?;
        (project, path) = (format!("{project}:{id}"), rest);
    }
    let (id, package) = path.split_once('/')?;
    let repository = format!("projects/{project}/locations/{location}/repositories/{id}");
    let package = package.split_once(':').map_or(package, |(package, _)| package).to_owned();
    Some(Located { project, repository, package, digest: digest.to_owned() })
}

/// The repository that an image of any Artifact Registry lies in. One of another project that has the name of ours
/// makes no difference but to the order of things.
pub fn repository(image: &str) -> Option<Address> {
    let (host, path) = image.split_once('/')?;
    host.strip_suffix("-docker.pkg.dev")?;
    let mut parts = path.split('/');
    // A project under a domain takes two parts.
    if parts.next()?.contains('.') {
        parts.next()?;
    }
    let id = parts.next()?;
    parts.next().map(|_| Address::of::<Repository>(id))
}

/// Whether the service runs an image of another registry that a release named in place of the YAML's: it stays until another is
/// named, also where images are built.
pub fn runs_given(env: &Environment, service: &Service, running: Option<&RunningImage>) -> bool {
    running.is_some_and(|running| {
        running.instead_of.as_ref() == Some(&service.main.image) && own(env, &running.image).is_none()
    })
}

/// The image of a service. A release input wins; after that the running image stays for as long as the YAML's image is
/// the one that it replaced.
pub fn of_service(env: &Environment, facts: &Facts, key: &str, service: &Service) -> Chosen {
    let yaml = &service.main.image;
    let running = facts.images.get(&service.name);
    let registry = Registry { env, facts, service: Some(key) };
    if let Some(built) = registry.built(key, service) {
        return built;
    }
    let kept = running.filter(|running| running.instead_of.as_ref() == Some(yaml));
    let found = match (facts.release_images.get(key), own(env, yaml), kept) {
        (Some(given), _, _) => registry.resolved(given),
        (None, Some(own), kept) if facts.release_tag.is_some() || kept.is_none() => {
            registry.of_own(&own, yaml, running.map(|running| running.image.as_str()))
        }
        (None, _, Some(kept)) => Ok(kept.image.clone()),
        (None, _, None) => Ok(yaml.clone()),
    };
    chosen(yaml, found.and_then(|image| registry.kept(image)))
}

/// The image of a job: that of the service that it borrows it from, or one of its own.
pub fn of_job(env: &Environment, facts: &Facts, job: &Job) -> Chosen {
    let lender = job.service.as_ref().and_then(|key| env.services.get_key_value(key));
    if let Some((key, service)) = lender {
        let lent = of_service(env, facts, key, service);
        let why = format!("it borrows the image of the service `{key}`, and there is none to choose");
        return Chosen { refused: lent.refused.map(|(_, hint)| (why, hint)), ..lent };
    }
    let yaml = &job.container.image;
    let Some(own) = own(env, yaml) else { return chosen(yaml, Ok(yaml.clone())) };
    // The job of a tenant that is new gets the image of the other tenants' jobs.
    let siblings = env.jobs.values().filter(|other| other.path == job.path).map(|other| &other.name);
    let running = std::iter::once(&job.name).chain(siblings).find_map(|name| facts.job_images.get(name));
    let registry = Registry { env, facts, service: None };
    let found = registry.of_own(&own, yaml, running.map(String::as_str));
    chosen(yaml, found.and_then(|image| registry.kept(image)))
}

fn chosen(yaml: &str, found: Result<String, Refused>) -> Chosen {
    match found {
        Ok(image) => {
            let replaces = (image != yaml).then(|| yaml.to_owned());
            Chosen { image, replaces, refused: None, unbuilt: None }
        }
        Err(refused) => {
            Chosen { image: yaml.to_owned(), replaces: None, refused: Some(refused), unbuilt: None }
        }
    }
}

/// The system's own registry, seen by one service or job.
struct Registry<'a> {
    env: &'a Environment,
    facts: &'a Facts,
    /// The service's key; `None` for a job.
    service: Option<&'a str>,
}

impl Registry<'_> {
    /// The image of a service that is built and whose image nothing else says, by what it is made from.
    fn built(&self, key: &str, service: &Service) -> Option<Chosen> {
        let Facts { release_images, release_tag, source_tags, .. } = self.facts;
        let running = self.facts.images.get(&service.name);
        if release_images.contains_key(key) || release_tag.is_some() || runs_given(self.env, service, running)
        {
            return None;
        }
        let (tag, yaml) = (source_tags.get(key)?, &service.main.image);
        let package = own(self.env, yaml)?.package;
        if let Ok(image) = self.tagged(&package, tag) {
            return Some(chosen(yaml, self.kept(image)));
        }
        let command = format!("deployer build {} {key}", self.env.name);
        let unbuilt = Some(format!("not built: apply builds it (as does `{command}`)"));
        let image = format!("{}:{tag}", self.image(&package));
        Some(Chosen { image, replaces: Some(yaml.clone()), refused: None, unbuilt })
    }

    /// A given image with its tag resolved, if it lies in the own registry.
    fn resolved(&self, image: &str) -> Result<String, Refused> {
        match own(self.env, image) {
            Some(OwnImage { package, tag, digest: None }) => {
                // What a registry takes for a reference without a tag.
                self.tagged(&package, tag.as_deref().unwrap_or("latest"))
            }
            _ => Ok(image.to_owned()),
        }
    }

    /// The image where the YAML's own lies in the registry: by the release's tag, by what the YAML says, or what runs.
    fn of_own(&self, own: &OwnImage, yaml: &str, running: Option<&str>) -> Result<String, Refused> {
        if let Some(tag) = &self.facts.release_tag {
            return self.tagged(&own.package, tag);
        }
        match (&own.digest, &own.tag) {
            (Some(_), _) => return Ok(yaml.to_owned()),
            (None, Some(tag)) => return self.tagged(&own.package, tag),
            (None, None) => {}
        }
        let same =
            |image: &&str| self::own(self.env, image).is_some_and(|image| image.package == own.package);
        running.filter(same).map(str::to_owned).ok_or_else(|| {
            let why = "its image lies in the system's own registry, and nothing says which one to release";
            (why.to_owned(), self.hint(&own.package))
        })
    }

    fn tagged(&self, package: &str, tag: &str) -> Result<String, Refused> {
        let found = self.facts.tags.get(package).and_then(|tags| tags.get(tag));
        let image = self.image(package);
        match found {
            Some(found) => Ok(format!("{image}@{}", found.digest)),
            None => Err((format!("there is no tag `{tag}` on {image}"), self.hint(package))),
        }
    }

    /// The image, unless it is one of the own registry that is not there, or that will not be there for long.
    fn kept(&self, image: String) -> Result<String, Refused> {
        let Some(OwnImage { package, digest: Some(digest), .. }) = own(self.env, &image) else {
            return Ok(image);
        };
        if !self.facts.digests.get(&package).is_some_and(|digests| digests.contains(&digest)) {
            let why = format!("the image {image} is not in the registry");
            return Err((why, self.hint(&package)));
        }
        let tagged = |tag: &TaggedImage| tag.digest == digest;
        if self.deletes_untagged()
            && !self.facts.tags.get(&package).into_iter().flatten().any(|(_, tag)| tagged(tag))
        {
            return Err(untagged(&image, &self.image(&package)));
        }
        Ok(image)
    }

    /// Whether an image without a tag goes and deployer cannot give it one that follows what serves: see `image_tag`.
    fn deletes_untagged(&self) -> bool {
        let registry = self.env.registry.as_ref();
        registry.is_some_and(|registry| {
            registry.immutable_tags && registry.delete_untagged_after.is_some() && !registry.dry_run
        })
    }

    fn image(&self, package: &str) -> String {
        format!("{}/{package}", self.env.registry_prefix().unwrap_or_default())
    }

    /// Both flags, and what they can be given.
    fn hint(&self, package: &str) -> String {
        let image = self.image(package);
        let flags = match self.service {
            Some(key) => format!("choose it with `--tag TAG` or `--image {key}={image}:TAG`"),
            None => "choose it with `--tag TAG`".to_owned(),
        };
        let newest = self.newest(package);
        if newest.is_empty() {
            let apply = format!("`deployer apply {} --layer foundation`", self.env.name);
            if let Some(key) =
                self.service.filter(|key| self.env.services.get(*key).is_some_and(|s| s.build.is_some()))
            {
                let build = format!("`deployer build {} {key}`", self.env.name);
                return format!(
                    "not built: {build} builds it (the repository is made by {apply}), then {flags}"
                );
            }
            return format!(
                "no images yet: push one to {image} (the repository is made by {apply}), then {flags}"
            );
        }
        format!("{flags}; newest tags: {}", newest.join(", "))
    }

    /// The newest tags of an image, newest first; without those that only say what serves.
    fn newest(&self, package: &str) -> Vec<&str> {
        let mut tags: Vec<_> = self.facts.tags.get(package).into_iter().flatten().collect();
        tags.retain(|(tag, _)| !tag.starts_with(SERVING));
        // Fractions of a second have as many digits as they need, so that the text would sort wrongly.
        let uploaded = |text: &str| text.parse::<jiff::Timestamp>().ok();
        tags.sort_by_key(|(tag, image)| Reverse((uploaded(&image.uploaded), *tag)));
        tags.into_iter().take(SHOWN).map(|(tag, _)| tag.as_str()).collect()
    }
}

/// Cleanup would delete the image while it serves.
fn untagged(image: &str, name: &str) -> Refused {
    let why = format!(
        "the image {image} has no tag: cleanup deletes it (`registry.retention.delete_untagged_after`), and with \
         `registry.immutable_tags` deployer does not tag what serves"
    );
    let hint = format!(
        "give it a tag, e.g. gcloud artifacts docker tags add {image} {name}:TAG, or take one of the two keys out"
    );
    (why, hint)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{self, Inputs};

    const PREFIX: &str = "us-central1-docker.pkg.dev/shop-project/shop";

    fn environment(services: &str) -> Environment {
        loaded("", services)
    }

    fn loaded(registry: &str, services: &str) -> Environment {
        let folder = tempfile::tempdir().unwrap();
        let environments = folder.path().join("environments");
        std::fs::create_dir(&environments).unwrap();
        let base = format!(
            "deployer: v1\nenvironment: base\nsystem: shop\nproject: {{id: shop-project}}\nregion: us-central1\n\
             registry: {{repository: shop, {registry}}}\nservices:\n  {services}\n"
        );
        std::fs::write(environments.join("base.yaml"), base).unwrap();
        std::fs::write(environments.join("dev.yaml"), "deployer: v1\nenvironment: dev\n").unwrap();
        config::load(folder.path(), "dev", &Inputs::default()).unwrap().environment
    }

    const OWN: &str = "front: {name: front-service, startup_probe: /}";

    /// `v1` to `v7` of `front`, each a second after the one before, and what serves.
    fn facts() -> Facts {
        let tagged = |number: u32| TaggedImage {
            digest: format!("sha256:{number}"),
            // With a fraction where it sorts differently as text.
            uploaded: format!("2026-01-01T00:00:0{number}{}Z", if number == 6 { ".5" } else { "" }),
        };
        let mut tags: BTreeMap<_, _> = (1..=7).map(|number| (format!("v{number}"), tagged(number))).collect();
        tags.insert("v6a".into(), TaggedImage { uploaded: "2026-01-01T00:00:06Z".into(), ..tagged(6) });
        tags.insert("serving-dev".into(), tagged(9));
        // `sha256:8` has no tag.
        let digests = (1..=9).map(|number| format!("sha256:{number}")).collect();
        Facts {
            tags: BTreeMap::from([("front".into(), tags)]),
            digests: BTreeMap::from([("front".into(), digests)]),
            ..Facts::default()
        }
    }

    fn running(image: &str, instead_of: Option<&str>) -> BTreeMap<String, RunningImage> {
        let running = RunningImage { image: image.into(), instead_of: instead_of.map(str::to_owned) };
        BTreeMap::from([("front-service".into(), running)])
    }

    fn chosen(services: &str, facts: &Facts) -> Chosen {
        let env = environment(services);
        of_service(&env, facts, "front", &env.services["front"])
    }

    fn of(digest: &str) -> String {
        format!("{PREFIX}/front@{digest}")
    }

    #[test]
    fn an_image_is_located_by_its_digest_alone() {
        let found = locate("us-central1-docker.pkg.dev/example.com/p/shop/web/api:v1@sha256:0").unwrap();
        assert_eq!(found.project, "example.com:p");
        assert_eq!(found.repository, "projects/example.com:p/locations/us-central1/repositories/shop");
        assert_eq!((found.package.as_str(), found.digest.as_str()), ("web/api", "sha256:0"));
        assert_eq!(locate("us-docker.pkg.dev/p/shop/api:v1"), None);
        assert_eq!(locate("docker.io/library/redis@sha256:0"), None);
    }

    #[test]
    fn images_of_the_own_registry_are_taken_apart_and_others_are_not() {
        let env = environment(OWN);
        let image = own(&env, &format!("{PREFIX}/web/front:v1@sha256:1")).unwrap();
        assert_eq!((image.package.as_str(), image.tag.as_deref()), ("web/front", Some("v1")));
        assert_eq!(image.digest.as_deref(), Some("sha256:1"));
        for other in ["us-central1-docker.pkg.dev/shop-project/shop2/front", "nginx", PREFIX] {
            assert_eq!(own(&env, other), None, "{other}");
        }
    }

    #[test]
    fn the_tags_of_an_image_tell_its_version_unless_they_only_tell_what_serves() {
        let env = environment(OWN);
        assert_eq!(tags(&env, &facts(), &of("sha256:6")), ["v6", "v6a"]);
        assert_eq!(tags(&env, &facts(), &of("sha256:8")), Vec::<String>::new(), "it has none");
        assert_eq!(tags(&env, &facts(), &of("sha256:9")), Vec::<String>::new(), "it serves, and that is all");
        assert_eq!(tags(&env, &facts(), &format!("{PREFIX}/front:src-01")), Vec::<String>::new());
        assert_eq!(tags(&env, &facts(), "localhost:5000/api:1.2.3@sha256:0"), ["1.2.3"]);
        for none in ["localhost:5000/api", "nginx", "nginx:latest"] {
            assert_eq!(tags(&env, &facts(), none), Vec::<String>::new(), "{none}");
        }
    }

    #[test]
    fn the_repository_of_an_image_is_found_also_below_a_domain() {
        let found = |image: &str| repository(image).map(|address| address.to_string());
        assert_eq!(found(&of("sha256:1")).as_deref(), Some("repository/shop"));
        assert_eq!(found("us-docker.pkg.dev/example.com/p/r/a/b:v").as_deref(), Some("repository/r"));
        assert_eq!(
            (found("us-docker.pkg.dev/p/r"), found("gcr.io/p/r/a"), found("nginx")),
            (None, None, None)
        );
    }

    #[test]
    fn a_release_says_its_image_and_a_later_plan_keeps_it() {
        let released = Facts { release_tag: Some("v1".into()), ..facts() };
        let first = chosen(OWN, &released);
        assert_eq!((first.image.as_str(), first.refused), (of("sha256:1").as_str(), None));
        assert_eq!(first.replaces.as_deref(), Some(format!("{PREFIX}/front").as_str()));
        let kept = Facts { images: running(&first.image, first.replaces.as_deref()), ..facts() };
        assert_eq!(chosen(OWN, &kept).image, first.image);
        let named = format!("{PREFIX}/front:v2");
        let named = Facts { release_images: BTreeMap::from([("front".into(), named)]), ..released };
        assert_eq!(chosen(OWN, &named).image, of("sha256:2"));
    }

    const BUILT: &str = "front: {name: front-service, startup_probe: /, build: {builder: cargo}}";

    fn of_sources(tag: &str) -> Facts {
        Facts { source_tags: BTreeMap::from([("front".into(), tag.into())]), ..facts() }
    }

    #[test]
    fn an_image_that_was_built_from_the_sources_comes_before_what_runs() {
        let facts = Facts { images: running(&of("sha256:1"), None), ..of_sources("v2") };
        let found = chosen(BUILT, &facts);
        assert_eq!(
            (found.image.as_str(), found.unbuilt, found.refused),
            (of("sha256:2").as_str(), None, None)
        );
        let released = Facts { release_tag: Some("v3".into()), ..facts };
        assert_eq!(chosen(BUILT, &released).image, of("sha256:3"));
        let given = BTreeMap::from([("front".into(), of("sha256:4"))]);
        let given = Facts { release_images: given, ..of_sources("v2") };
        assert_eq!(chosen(BUILT, &given).image, of("sha256:4"));
    }

    #[test]
    fn an_image_of_another_registry_that_a_release_named_stays() {
        let mine = format!("{PREFIX}/front");
        let given = Facts { images: running("docker.io/x/y:1", Some(&mine)), ..of_sources("v2") };
        assert_eq!(chosen(BUILT, &given).image, "docker.io/x/y:1");
        let built = Facts { images: running(&of("sha256:1"), Some(&mine)), ..of_sources("v2") };
        assert_eq!(chosen(BUILT, &built).image, of("sha256:2"));
        let strange = Facts { images: running("docker.io/x/y:1", None), ..of_sources("v2") };
        assert_eq!(chosen(BUILT, &strange).image, of("sha256:2"));
    }

    #[test]
    fn what_is_not_built_waits_with_the_command() {
        let found = chosen(BUILT, &of_sources("src-0123"));
        assert_eq!(found.image, format!("{PREFIX}/front:src-0123"));
        let why = found.unbuilt.unwrap();
        assert!(
            why.starts_with("not built: apply builds it") && why.contains("deployer build dev front"),
            "{why}"
        );
        let elsewhere = chosen(BUILT, &Facts { tags: BTreeMap::new(), ..facts() });
        let (_, hint) = elsewhere.refused.unwrap();
        assert!(hint.starts_with("not built: `deployer build dev front` builds it"), "{hint}");
    }

    #[test]
    fn a_job_waits_for_the_image_that_it_borrows() {
        let text = format!("{BUILT}\njobs:\n  tidy: {{service: front, command: [tidy]}}");
        let env = environment(&text);
        assert!(of_job(&env, &of_sources("src-0123"), &env.jobs["tidy"]).unbuilt.is_some());
    }

    #[test]
    fn a_service_that_somebody_deployed_by_hand_keeps_its_digest() {
        let by_hand = Facts { images: running(&of("sha256:8"), None), ..facts() };
        assert_eq!(chosen(OWN, &by_hand).image, of("sha256:8"));
        let another = Facts { images: running("nginx", None), ..facts() };
        assert!(chosen(OWN, &another).refused.is_some());
    }

    #[test]
    fn a_tag_in_the_yaml_is_resolved_once_and_a_digest_is_taken_as_it_is() {
        let tagged =
            format!("front: {{name: front-service, image: \"{PREFIX}/front:v3\", startup_probe: /}}");
        let first = chosen(&tagged, &facts());
        assert_eq!(first.image, of("sha256:3"));
        let mut later = Facts { images: running(&first.image, first.replaces.as_deref()), ..facts() };
        later.tags.clear();
        assert_eq!(chosen(&tagged, &later).image, of("sha256:3"));
        assert!(chosen(&tagged.replace(":v3", ":v4"), &later).refused.is_some(), "there is no v4 any more");
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = tagged.replace("front:v3", &format!("front@{digest}"));
        let mut pushed = facts();
        pushed.digests.entry("front".into()).or_default().insert(digest.clone());
        assert_eq!(
            chosen(&pinned, &pushed),
            Chosen { image: of(&digest), replaces: None, refused: None, unbuilt: None }
        );
    }

    #[test]
    fn a_refusal_names_both_flags_and_the_five_newest_tags() {
        let (why, hint) = chosen(OWN, &facts()).refused.unwrap();
        assert!(why.contains("which one to release"), "{why}");
        assert!(
            hint.contains("`--tag TAG`") && hint.contains(&format!("`--image front={PREFIX}/front:TAG`"))
        );
        assert!(hint.ends_with("newest tags: v7, v6, v6a, v5, v4"), "{hint}");
        let (why, _) = chosen(OWN, &Facts { release_tag: Some("v0".into()), ..facts() }).refused.unwrap();
        assert_eq!(why, format!("there is no tag `v0` on {PREFIX}/front"));
        let (_, hint) = chosen(OWN, &Facts::default()).refused.unwrap();
        assert!(hint.starts_with(&format!("no images yet: push one to {PREFIX}/front (")), "{hint}");
    }

    #[test]
    fn an_image_that_is_not_in_the_registry_is_refused_however_it_was_chosen() {
        let lost = of("sha256:0");
        let given = Facts { release_images: BTreeMap::from([("front".into(), lost.clone())]), ..facts() };
        let remembered = Facts { images: running(&lost, Some(&format!("{PREFIX}/front"))), ..facts() };
        let by_hand = Facts { images: running(&lost, None), ..facts() };
        let pinned = format!("front: {{name: front-service, image: \"{lost}\", startup_probe: /}}");
        for (services, facts) in
            [(OWN, &given), (OWN, &remembered), (OWN, &by_hand), (pinned.as_str(), &facts())]
        {
            let (why, hint) = chosen(services, facts).refused.unwrap();
            assert_eq!(why, format!("the image {lost} is not in the registry"));
            assert!(
                hint.contains("--tag TAG") && hint.ends_with("newest tags: v7, v6, v6a, v5, v4"),
                "{hint}"
            );
        }
        let named =
            Facts { release_images: BTreeMap::from([("front".into(), of("sha256:8"))]), ..remembered };
        assert_eq!(chosen(OWN, &named).refused, None, "another release is the way out");
    }

    #[test]
    fn an_image_without_a_tag_is_refused_where_cleanup_would_delete_it_while_it_serves() {
        let refused = |registry: &str, digest: &str| {
            let env = loaded(registry, OWN);
            let images = BTreeMap::from([("front".into(), of(digest))]);
            let facts = Facts { release_images: images, ..facts() };
            of_service(&env, &facts, "front", &env.services["front"]).refused
        };
        let both = "immutable_tags: true, retention: {delete_untagged_after: 30d}";
        let (why, hint) = refused(both, "sha256:8").unwrap();
        assert!(why.contains("has no tag") && why.contains("`registry.immutable_tags`"), "{why}");
        assert!(hint.contains(&format!("tags add {} {PREFIX}/front:TAG", of("sha256:8"))), "{hint}");
        for (registry, digest) in [
            (both, "sha256:1"),
            ("immutable_tags: true, retention: {keep_last: 3}", "sha256:8"),
            ("retention: {delete_untagged_after: 30d}", "sha256:8"),
            ("immutable_tags: true, retention: {delete_untagged_after: 30d, dry_run: true}", "sha256:8"),
        ] {
            assert_eq!(refused(registry, digest), None, "{registry}");
        }
    }

    #[test]
    fn images_of_other_registries_are_taken_as_written() {
        let other = "front: {name: front-service, image: nginx, startup_probe: /}";
        let released = Facts { release_tag: Some("v1".into()), ..facts() };
        assert_eq!(
            chosen(other, &released),
            Chosen { image: "nginx".into(), replaces: None, refused: None, unbuilt: None }
        );
    }
}
