//! What a release of a service goes through beyond the writes of its change: data of the plan, because apply never
//! reads the YAML.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Action, Change, Note};
pub use crate::config::rollout::{Health, Smoke};
use crate::resource::erased::Desired;
use crate::resource::{Address, Consequence, Facts};

/// How one service is released. Apply obeys it when the service's change makes a revision or moves traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The service, which is one of the plan's changes.
    pub service: Address,
    /// The commit that is released, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
    /// What the image is called beside its digest, tags in general: an answer has to tell one of them where a check asks for
    /// the version. Empty where nothing is known of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// Jobs to run before the new revision is made, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<Migration>,
    /// What the candidate has to answer; absent: that Cloud Run calls it ready is all that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Checks of the candidate, in this order, once it is healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smoke: Vec<Smoke>,
    /// Why no request of ours can reach it, where that is known: health and smoke are not judged then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
    /// E-mail address of the account that calls the service while not everybody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Everybody may call the service while it is released.
    pub open: bool,
    /// The change that lets everybody call it; where it is among those of the plan, the service is not open yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_by: Option<Address>,
    /// Something of it cannot be asked before that change was made, and is asked right after it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_opening: bool,
}

impl Release {
    /// The release of a service of which nothing more is known: Cloud Run's word is all that is asked.
    pub fn plain(service: Address) -> Self {
        Self {
            service,
            sha: None,
            versions: Vec::new(),
            migrations: Vec::new(),
            health: None,
            smoke: Vec::new(),
            unreachable: None,
            caller: None,
            open: false,
            opened_by: None,
            after_opening: false,
        }
    }

    /// The checks that ask the service at its own URL.
    pub fn own_checks(&self) -> impl Iterator<Item = &Smoke> {
        self.smoke.iter().filter(|smoke| smoke.url.is_none())
    }

    /// The checks that ask elsewhere, once the traffic is there.
    pub fn checks_elsewhere(&self) -> impl Iterator<Item = &Smoke> {
        self.smoke.iter().filter(|smoke| smoke.url.is_some())
    }

    /// Whether health and the service's own checks have to wait until everybody may call it: nobody else could ask.
    pub fn waits_for_the_public(&self) -> bool {
        self.after_opening && self.caller.is_none() && self.unreachable.is_none()
    }

    /// The same release once it is known which changes are made with it.
    fn beside(mut self, changes: &[Change]) -> Self {
        let opens = |grant: &Address| {
            changes.iter().any(|change| change.address == *grant && change.action.leaves_something())
        };
        if !self.opened_by.as_ref().is_some_and(opens) {
            return self;
        }
        self.open = false;
        self.after_opening = true;
        let own = self.health.is_some() || self.own_checks().next().is_some();
        self.after_opening = (own && self.waits_for_the_public()) || self.checks_elsewhere().next().is_some();
        self
    }
}

/// The releases of those services that a change gives a new revision or other traffic.
pub(super) fn of_changes(declared: &[Release], changes: &[Change], desired: &[Desired]) -> Vec<Release> {
    let released = |change: &&Change| {
        let consequences = &change.consequences;
        change.action != Action::Delete
            && (consequences.contains(&Consequence::NewRevision)
                || consequences.contains(&Consequence::TrafficMoves))
    };
    let of = |change: &Change| declared.iter().find(|release| release.service == change.address).cloned();
    let found = changes.iter().filter(released).filter_map(of);
    let completed = found.map(|release| {
        let mut release = release.beside(changes);
        for migration in &mut release.migrations {
            migration.digest = digest(migration, desired);
        }
        release
    });
    completed.collect()
}

/// Migrations that failed for the very release that is planned: apply does not run one again, since nobody knows how far it
/// came.
pub(super) fn failed_before(releases: &[Release], facts: &Facts) -> Vec<Note> {
    let migrations = releases.iter().flat_map(|release| &release.migrations);
    let failed = migrations.filter(|migration| {
        facts.failed_migrations.get(&migration.job.name).is_some_and(|digest| *digest == migration.digest)
    });
    let mut notes: Vec<Note> = Vec::new();
    for migration in failed.filter(|migration| !migration.digest.is_empty()) {
        let (source, environment) = (&migration.source, &facts.own.environment);
        let text = format!(
            "{source} failed for this release, and apply does not run it again by itself: once its cause is gone, \
             deployer migrate {environment}"
        );
        let note = Note { address: migration.job.clone(), text };
        // Several services may wait for one migration.
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

/// What a migration runs, in 64 hexadecimal digits: an equal one has been run already.
fn digest(migration: &Migration, desired: &[Desired]) -> String {
    let spec = desired.iter().find(|desired| desired.address == migration.job).map(|desired| &desired.spec);
    hex::encode(Sha256::digest(spec.map(ToString::to_string).unwrap_or_default()))
}

/// A job that runs before a new revision is made. A failure ends the release before anything of the service changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The job, which exists or is made by an earlier change of the plan.
    pub job: Address,
    /// Its key in the YAML, e.g. `migrations.shared`.
    pub source: String,
    /// Jobs of this release that must have succeeded first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Address>,
    /// What ran before it can still serve after it.
    #[serde(default = "yes")]
    pub backward_compatible: bool,
    /// Digest of what it runs, in hexadecimal: its execution for this release is known by it.
    pub digest: String,
}

/// Plans that were saved without a word about it are of migrations that nobody marked.
fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::Reason;
    use crate::resource::Ownership;

    const SERVICE: &str = "run_service/api";
    const GRANT: &str = "run_grant/api";

    fn change(address: &str, action: Action) -> Change {
        Change {
            address: address.parse().unwrap(),
            action,
            reason: Reason::Missing,
            verb: String::new(),
            fields: Vec::new(),
            consequences: vec![Consequence::NewRevision],
            before: None,
            after: None,
            source: None,
            mark: Ownership::new("shop", "dev"),
            blocked: None,
            needs: Vec::new(),
            wave: 0,
        }
    }

    /// A public service that is asked for its health.
    fn release() -> Release {
        Release {
            health: Some(Health { path: "/".to_owned(), attempts: 1, interval: 1, successes: 1 }),
            open: true,
            opened_by: GRANT.parse().ok(),
            ..Release::plain(SERVICE.parse().unwrap())
        }
    }

    fn site() -> Smoke {
        Smoke { url: Some("https://shop.example.com".to_owned()), ..Smoke::example("site") }
    }

    /// Whether it is open, and asked after it was opened.
    fn planned(release: Release, changes: &[&str]) -> (bool, bool) {
        let changes: Vec<_> = changes.iter().map(|address| change(address, Action::Create)).collect();
        let found = of_changes(&[release], &changes, &[]);
        (found[0].open, found[0].after_opening)
    }

    #[test]
    fn what_nobody_may_ask_yet_is_asked_once_the_service_is_open() {
        assert_eq!(planned(release(), &[SERVICE]), (true, false), "it is open already");
        assert_eq!(planned(release(), &[SERVICE, GRANT]), (false, true));
        let caller = Some("ci@p".to_owned());
        assert_eq!(
            planned(Release { caller: caller.clone(), ..release() }, &[SERVICE, GRANT]),
            (false, false)
        );
        let unreachable = Some("its ingress is `internal`".to_owned());
        assert_eq!(planned(Release { unreachable, ..release() }, &[SERVICE, GRANT]), (false, false));
        assert_eq!(planned(Release { health: None, ..release() }, &[SERVICE, GRANT]), (false, false));
        let elsewhere = Release { caller, smoke: vec![site()], ..release() };
        assert_eq!(
            planned(elsewhere, &[SERVICE, GRANT]),
            (false, true),
            "callers reach it through that door alone"
        );
    }

    #[test]
    fn a_migration_that_failed_for_this_very_release_is_noted_once() {
        let migration = Migration {
            job: "run_job/migrate".parse().unwrap(),
            source: "migrations.shared".to_owned(),
            needs: Vec::new(),
            backward_compatible: true,
            digest: "f00".to_owned(),
        };
        let releases = [SERVICE, "run_service/web"].map(|service| Release {
            migrations: vec![migration.clone()],
            ..Release::plain(service.parse().unwrap())
        });
        let facts = |digest: &str| Facts {
            own: Ownership::new("shop", "dev"),
            failed_migrations: BTreeMap::from([("migrate".to_owned(), digest.to_owned())]),
            ..Facts::default()
        };
        assert_eq!(failed_before(&releases, &facts("0ther")), []);
        let notes = failed_before(&releases, &facts("f00"));
        assert_eq!(notes.len(), 1);
        assert!(notes[0].text.starts_with("migrations.shared failed for this release"), "{notes:?}");
        assert!(notes[0].text.ends_with("deployer migrate dev"), "{notes:?}");
    }
}
