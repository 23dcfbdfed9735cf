//! What the database roles are: a role that row-level security does not bind must not serve requests.

use super::database::Database;
use super::{Result, rows};

/// Attributes of the role that serves requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeRole {
    pub name: String,
    pub superuser: bool,
    pub bypasses_rls: bool,
    /// It is a member of the owner's role, and could switch row-level security off. `false` where one role does both.
    pub becomes_owner: bool,
}

impl RuntimeRole {
    /// Why the role must not serve requests, as a sentence; `None` if it may.
    pub fn objection(&self) -> Option<String> {
        let what = match (self.superuser, self.bypasses_rls) {
            (true, _) => "a superuser",
            (_, true) => "allowed to bypass row-level security",
            _ => return None,
        };
        Some(format!("the role `{}` of DATABASE_URL is {what}: tenants would not be isolated", self.name))
    }

    /// The same by the stricter rule of production, where the role must not be able to change the schemas either.
    pub fn objection_in_production(&self) -> Option<String> {
        let may_become = || {
            let name = &self.name;
            format!(
                "the role `{name}` of DATABASE_URL is a member of the one of DATABASE_OWNER_URL, and could switch row-level security off"
            )
        };
        self.objection().or_else(|| self.becomes_owner.then(may_become))
    }
}

impl Database {
    /// Reads the attributes of the run-time role, and of every role that it can become. `owner` is the name of the role that owns
    /// the schemas, where it is another one.
    pub async fn check_runtime_role(&self, owner: Option<&str>) -> Result<RuntimeRole> {
        let mut transaction = self.begin().await?;
        let (name, superuser, bypasses_rls, becomes_owner): (String, bool, bool, bool) = rows(
            "SELECT current_user::text, bool_or(rolsuper), bool_or(rolbypassrls), coalesce(bool_or(rolname = $1), false) \
             FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')",
        )
        .bind(owner)
        .fetch_one(&mut *transaction)
        .await?;
        Ok(RuntimeRole { name, superuser, bypasses_rls, becomes_owner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_role_may_serve() {
        let role = |superuser, bypasses_rls, becomes_owner| RuntimeRole {
            name: "app".into(),
            superuser,
            bypasses_rls,
            becomes_owner,
        };
        assert!(role(false, false, false).objection_in_production().is_none());
        assert!(role(true, false, false).objection().is_some());
        assert!(role(false, true, false).objection().is_some());
        assert!(role(false, false, true).objection().is_none());
        assert!(role(false, false, true).objection_in_production().is_some());
    }
}
