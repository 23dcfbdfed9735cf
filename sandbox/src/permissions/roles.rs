//! Which permissions a role holds, from `data/roles.txt`. A role that is not there holds none.

use std::collections::HashMap;
use std::sync::OnceLock;

const TABLE: &str = include_str!("../../data/roles.txt");

/// What a role gives and what of it it does not give, both as patterns.
#[derive(Debug, Default)]
struct Role {
    gives: Vec<&'static str>,
    keeps: Vec<&'static str>,
}

/// Whether the role holds the permission.
pub(super) fn holds(role: &str, permission: &str) -> bool {
    table().get(role).is_some_and(|role| {
        role.gives.iter().any(|pattern| matches(pattern, permission))
            && !role.keeps.iter().any(|pattern| matches(pattern, permission))
    })
}

/// Whether `role` holds everything that `asked` does. Never for an unknown `asked`, nor for one with patterns, which
/// nobody can list.
pub(super) fn covers(role: &str, asked: &str) -> bool {
    table().get(asked).is_some_and(|asked| {
        asked.keeps.is_empty()
            && asked.gives.iter().all(|permission| !permission.contains('*') && holds(role, permission))
    })
}

/// `*` stands for one whole part.
fn matches(pattern: &str, permission: &str) -> bool {
    pattern.split('.').count() == permission.split('.').count()
        && pattern.split('.').zip(permission.split('.')).all(|(part, said)| part == "*" || part == said)
}

fn table() -> &'static HashMap<&'static str, Role> {
    static ROLES: OnceLock<HashMap<&'static str, Role>> = OnceLock::new();
    ROLES.get_or_init(|| {
        let mut roles: HashMap<&'static str, Role> = HashMap::new();
        let mut current = "";
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            match line.strip_prefix("  ") {
                None if line.is_empty() => {}
                None => {
                    current = line;
                    roles.entry(current).or_default();
                }
                Some(pattern) => {
                    let role = roles.entry(current).or_default();
                    match pattern.strip_prefix('-') {
                        Some(kept) => role.keeps.push(kept),
                        None => role.gives.push(pattern),
                    }
                }
            }
        }
        roles
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_role_holds_nothing() {
        assert!(!holds("roles/run.everything", "run.services.get"));
        assert!(!holds("projects/p/roles/custom", "run.services.get"));
        assert!(!covers("roles/owner", "projects/p/roles/custom"));
    }

    #[test]
    fn the_table_has_roles_of_well_formed_patterns() {
        for (name, role) in table() {
            assert!(name.starts_with("roles/"), "{name}");
            assert!(!role.gives.is_empty(), "{name}");
            let mut patterns = role.gives.iter().chain(&role.keeps);
            assert!(patterns.all(|pattern| pattern.split('.').count() == 3), "{name}");
        }
    }

    #[test]
    fn viewers_read_but_neither_payloads_nor_policies() {
        for permission in [
            "resourcemanager.projects.get",
            "run.services.list",
            "run.jobs.get",
            "artifactregistry.repositories.get",
            "secretmanager.versions.list",
            "iam.serviceAccounts.get",
            "iam.workloadIdentityPools.list",
            "iam.workloadIdentityPoolProviders.get",
            "serviceusage.services.list",
        ] {
            assert!(holds("roles/viewer", permission), "{permission}");
            assert!(!holds(
                "roles/viewer",
                &permission.replace(".list", ".create").replace(".get", ".create")
            ));
        }
        for permission in [
            "secretmanager.versions.access",
            "secretmanager.secrets.getIamPolicy",
            "run.services.getIamPolicy",
            "resourcemanager.projects.getIamPolicy",
            "iam.serviceAccounts.getIamPolicy",
        ] {
            assert!(!holds("roles/viewer", permission), "{permission}");
            let policy = permission.ends_with("Policy");
            assert_eq!(holds("roles/iam.securityReviewer", permission), policy, "{permission}");
        }
    }

    #[test]
    fn editors_write_but_grant_nothing_and_read_no_payloads() {
        assert!(holds("roles/editor", "run.services.update"));
        assert!(holds("roles/editor", "iam.serviceAccounts.actAs"));
        for permission in
            ["run.services.setIamPolicy", "secretmanager.versions.access", "iam.workloadIdentityPools.create"]
        {
            assert!(!holds("roles/editor", permission), "{permission}");
            assert!(holds("roles/owner", permission), "{permission}");
        }
    }

    #[test]
    fn nobody_gets_tokens_of_accounts_by_a_basic_role() {
        for role in ["roles/owner", "roles/editor", "roles/viewer"] {
            assert!(!holds(role, "iam.serviceAccounts.getAccessToken"), "{role}");
            assert!(!holds(role, "iam.serviceAccounts.getOpenIdToken"), "{role}");
        }
        assert!(holds("roles/iam.serviceAccountTokenCreator", "iam.serviceAccounts.getAccessToken"));
        assert!(!holds("roles/iam.serviceAccountOpenIdTokenCreator", "iam.serviceAccounts.getAccessToken"));
    }

    #[test]
    fn a_broader_role_covers_a_narrower_one() {
        for role in ["roles/secretmanager.admin", "roles/owner", "roles/secretmanager.secretAccessor"] {
            assert!(covers(role, "roles/secretmanager.secretAccessor"), "{role}");
        }
        for role in ["roles/editor", "roles/viewer", "roles/secretmanager.viewer"] {
            assert!(!covers(role, "roles/secretmanager.secretAccessor"), "{role}");
        }
        assert!(covers("roles/run.admin", "roles/run.invoker"));
        assert!(!covers("roles/run.developer", "roles/run.invoker"));
    }
}
