//! How the YAML wants services to be released. Pure.

use super::{RunService, SERVICE_AND_TAG, TAG};
use crate::config::Environment;
use crate::config::model::{Access, Probe, ProbeAction, Service};
use crate::plan::{Migration, Release};
use crate::resource::kinds::run_job::RunJob;
use crate::resource::kinds::{images, run_grant, service_account};
use crate::resource::{Address, Facts};

/// Fewest and most characters of what is taken for a commit in `--tag`.
const SHA: std::ops::RangeInclusive<usize> = 7..=40;

/// A release of each service, in the order of the files.
pub fn declare(env: &Environment, facts: &Facts) -> Vec<Release> {
    env.services.iter().map(|(key, service)| release(env, facts, key, service)).collect()
}

fn release(env: &Environment, facts: &Facts, key: &str, service: &Service) -> Release {
    let deploy = env.github.as_ref().and_then(|github| github.identity.as_ref()?.deploy.as_ref());
    let smoke = env.smoke.iter().filter(|smoke| smoke.service == key);
    Release {
        service: Address::of::<RunService>(&service.name),
        sha: facts.release_tag.clone().filter(|tag| is_sha(tag)),
        versions: versions(env, facts, key, service),
        migrations: migrations(env, key),
        health: service.health.clone(),
        smoke: smoke.cloned().collect(),
        unreachable: unreachable(service).map(|why| why + &probed(service.main.startup_probe.as_ref())),
        caller: deploy.map(|account| service_account::email(account, &env.project.id)),
        open: match service.access {
            Access::NoIamCheck | Access::Public => true,
            Access::Private => false,
        },
        opened_by: (service.access == Access::Public)
            .then(|| run_grant::public(&service.name, &env.project.id)),
        after_opening: false,
    }
}

/// What the image that is released is called beside its digest.
fn versions(env: &Environment, facts: &Facts, key: &str, service: &Service) -> Vec<String> {
    let image = images::of_service(env, facts, key, service).image;
    let mut versions = images::tags(env, facts, &image);
    if let Some(tag) = &facts.release_tag
        && !facts.release_images.contains_key(key)
        && images::own(env, &image).is_some()
        && !versions.contains(tag)
    {
        versions.push(tag.clone());
    }
    versions
}

fn is_sha(tag: &str) -> bool {
    SHA.contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The jobs that the service's new revisions wait for, each after those that it needs.
pub fn migrations(env: &Environment, key: &str) -> Vec<Migration> {
    let wanted = env.migrations().into_iter();
    let wanted = wanted.filter(|(_, job)| job.before.iter().any(|service| service == key));
    let mut ordered: Vec<(&str, Migration)> = Vec::new();
    for (own, job) in wanted {
        let needs = ordered.iter().filter(|(done, _)| job.needs.iter().any(|need| need == done));
        let migration = Migration {
            job: Address::of::<RunJob>(&job.name),
            source: job.path.clone(),
            needs: needs.map(|(_, migration)| migration.job.clone()).collect(),
            backward_compatible: job.backward_compatible,
            digest: String::new(),
        };
        ordered.push((own, migration));
    }
    ordered.into_iter().map(|(_, migration)| migration).collect()
}

/// Why deployer cannot ask the service for anything.
fn unreachable(service: &Service) -> Option<String> {
    if service.ingress != "all" {
        return Some(format!("its ingress is `{}`, and deployer is outside", service.ingress));
    }
    if service.v2.as_ref().is_some_and(|patch| patch["defaultUriDisabled"] == true) {
        return Some("it has no URL of its own (`defaultUriDisabled`)".to_owned());
    }
    if service.name.len() + TAG.len() > SERVICE_AND_TAG {
        let most = SERVICE_AND_TAG - TAG.len();
        return Some(format!("its name has more than {most} characters, which leaves no room for a tag"));
    }
    None
}

/// What Cloud Run itself asks from inside, before it calls a revision ready.
fn probed(startup: Option<&Probe>) -> String {
    match startup.map(|probe| &probe.action) {
        Some(ProbeAction::Http { path, .. }) => {
            format!("; Cloud Run's own startup probe alone asked it (GET {path})")
        }
        Some(ProbeAction::Tcp { .. } | ProbeAction::Grpc { .. }) | None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_asked_from_outside_was_asked_by_its_startup_probe_if_that_is_a_request() {
        let probe = |action| Probe {
            action,
            initial_delay_seconds: 0,
            timeout_seconds: 1,
            period_seconds: 1,
            failure_threshold: 1,
        };
        let http = probe(ProbeAction::Http { path: "/health".to_owned(), port: None });
        assert_eq!(probed(Some(&http)), "; Cloud Run's own startup probe alone asked it (GET /health)");
        assert_eq!(probed(Some(&probe(ProbeAction::Tcp { port: None }))), "");
        assert_eq!(probed(None), "");
    }

    #[test]
    fn only_commits_are_commits() {
        assert!(is_sha("abc1234") && is_sha(&"a".repeat(40)));
        assert!(!is_sha("v1.2.3") && !is_sha("abc") && !is_sha(&"a".repeat(41)));
    }
}
