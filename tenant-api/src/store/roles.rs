//! What the database roles are: a role that row-level security does not bind must not serve requests.

use super::database::Database;
use super::{Result, rows};

/// Attributes of the role that serves requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeRole {
    pub name: String,
    pub superuser: bool,
    pub bypasses_rls: bool,
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
}

impl Database {
    /// Reads the attributes of the run-time role, and of every role that it can become.
    pub async fn check_runtime_role(&self) -> Result<RuntimeRole> {
        let mut transaction = self.begin().await?;
        let (name, superuser, bypasses_rls): (String, bool, bool) = rows(
            "SELECT current_user::text, bool_or(rolsuper), bool_or(rolbypassrls) FROM pg_roles \
             WHERE pg_has_role(current_user, oid, 'MEMBER')",
        )
        .fetch_one(&mut *transaction)
        .await?;
        Ok(RuntimeRole { name, superuser, bypasses_rls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_role_may_serve() {
        let role = |superuser, bypasses_rls| RuntimeRole { name: "app".into(), superuser, bypasses_rls };
        assert!(role(false, false).objection().is_none());
        assert!(role(true, false).objection().is_some());
        assert!(role(false, true).objection().is_some());
    }
}
