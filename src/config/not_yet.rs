//! Keys of the format that nothing obeys yet: refused by name, because a key that is read and ignored deceives.

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    File,
    Service,
    Secret,
    Other,
}

const FILE: &[&str] = &[
    "registry",
    "image_tags",
    "tenants",
    "workers",
    "jobs",
    "schedules",
    "migrations",
    "databases",
    "caches",
    "buckets",
    "topics",
    "network",
    "external",
    "rollout",
    "smoke",
    "alerts",
    "budgets",
    "slo",
    "notify",
    "github",
    "ci",
    "local",
    "prune",
    "protect",
];
const SERVICE: &[&str] = &[
    "build",
    "calls",
    "publishes",
    "buckets",
    "cloud_sql",
    "health",
    "metrics",
    "rollout",
    "smoke",
    "prune",
    "protect",
    "image_target",
];
const SECRET: &[&str] = &["rotation", "protect", "prune"];

impl Level {
    /// The level of the map at `path`.
    pub(crate) fn of(path: &[String]) -> Self {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [] => Self::File,
            ["defaults"] | ["services" | "classes", _] => Self::Service,
            ["secrets", _] => Self::Secret,
            _ => Self::Other,
        }
    }

    /// Whether the format has reserved `key` here and nothing obeys it yet.
    pub(crate) fn reserves(self, key: &str) -> bool {
        match self {
            Self::File => FILE.contains(&key),
            Self::Service => SERVICE.contains(&key),
            Self::Secret => SECRET.contains(&key),
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
        for (path, reserved) in [("", FILE), ("services x", SERVICE), ("secrets x", SECRET)] {
            let accepted = json_schema::keys_at(&schema, &words(path));
            assert!(!accepted.is_empty());
            assert!(reserved.iter().all(|key| !accepted.contains(key)), "{path}");
        }
    }
}
