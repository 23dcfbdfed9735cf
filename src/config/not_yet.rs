//! Keys of the format that nothing obeys yet: refused by name, because a key that is read and ignored deceives.

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    File,
    Service,
    Secret,
    Registry,
    Job,
    Volume,
    Github,
    Workflow,
    Suite,
    Build,
    LocalService,
    Rollout,
    Smoke,
    Other,
}

const FILE: &[&str] = &[
    "workers",
    "schedules",
    "databases",
    "caches",
    "buckets",
    "topics",
    "network",
    "external",
    "alerts",
    "budgets",
    "slo",
    "notify",
    "prune",
    "protect",
];
const SERVICE: &[&str] = &["calls", "publishes", "buckets", "cloud_sql", "smoke", "prune", "image_target"];
const SECRET: &[&str] = &["rotation", "prune"];
const REGISTRY: &[&str] = &["scan", "prune"];
const JOB: &[&str] = &["build", "buckets", "cloud_sql", "image_target", "prune"];
const VOLUME: &[&str] = &["bucket"];
const GITHUB: &[&str] = &["environments"];
const WORKFLOW: &[&str] = &["notify"];
const SUITE: &[&str] = &["coverage"];
const BUILD: &[&str] = &["after", "timeout"];
const LOCAL_SERVICE: &[&str] = &["ports", "env", "data", "health", "one_shot"];
const ROLLOUT: &[&str] = &["traffic", "bake", "abort_on", "order", "group", "on_failure"];
const SMOKE: &[&str] = &["from"];

impl Level {
    /// The level of the map at `path`.
    pub(crate) fn of<S: AsRef<str>>(path: &[S]) -> Self {
        let parts: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        match parts.as_slice() {
            [] => Self::File,
            ["defaults"] | ["services" | "classes", _] => Self::Service,
            ["secrets", _] => Self::Secret,
            ["registry"] => Self::Registry,
            ["jobs" | "migrations", _] => Self::Job,
            ["defaults" | "services" | "classes" | "jobs" | "migrations", .., "volumes", _] => Self::Volume,
            ["github"] => Self::Github,
            ["github", "workflows", _] => Self::Workflow,
            ["ci"] | ["ci", "suites", _] => Self::Suite,
            ["defaults", "build"] | ["services" | "classes", _, "build"] => Self::Build,
            ["local", "services", _] => Self::LocalService,
            ["rollout"] | ["defaults", "rollout"] | ["services" | "classes", _, "rollout"] => Self::Rollout,
            ["smoke", _] => Self::Smoke,
            _ => Self::Other,
        }
    }

    /// The same for a dotted path. Levels are near the top: keys with dots in them lie deeper.
    pub(crate) fn at(path: &str) -> Self {
        let parts: Vec<&str> = path.split('.').filter(|part| !part.is_empty()).collect();
        Self::of(&parts)
    }

    /// Whether the format has reserved `key` here and nothing obeys it yet.
    pub(crate) fn reserves(self, key: &str) -> bool {
        match self {
            Self::File => FILE.contains(&key),
            Self::Service => SERVICE.contains(&key),
            Self::Secret => SECRET.contains(&key),
            Self::Registry => REGISTRY.contains(&key),
            Self::Job => JOB.contains(&key),
            Self::Volume => VOLUME.contains(&key),
            Self::Github => GITHUB.contains(&key),
            Self::Workflow => WORKFLOW.contains(&key),
            Self::Suite => SUITE.contains(&key),
            Self::Build => BUILD.contains(&key),
            Self::LocalService => LOCAL_SERVICE.contains(&key),
            Self::Rollout => ROLLOUT.contains(&key),
            Self::Smoke => SMOKE.contains(&key),
            Self::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json_schema;
    use super::*;

    #[test]
    fn no_key_is_both_accepted_and_refused() {
        let schema = json_schema::without_null();
        let words = |path: &str| path.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (path, reserved) in [
            ("", FILE),
            ("services x", SERVICE),
            ("secrets x", SECRET),
            ("registry", REGISTRY),
            ("jobs x", JOB),
            ("migrations x", JOB),
            ("services x volumes x", VOLUME),
            ("jobs x volumes x", VOLUME),
            ("github", GITHUB),
            ("github workflows x", WORKFLOW),
            ("ci", SUITE),
            ("ci suites x", SUITE),
            ("services x build", BUILD),
            ("local services x", LOCAL_SERVICE),
            ("rollout", ROLLOUT),
            ("services x rollout", ROLLOUT),
            ("smoke x", SMOKE),
        ] {
            let accepted = json_schema::keys_at(&schema, &words(path));
            assert!(!accepted.is_empty());
            assert!(reserved.iter().all(|key| !accepted.contains(key)), "{path}");
        }
    }
}
