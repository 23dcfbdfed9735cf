//! Roles of users within their tenant, and what each may do.

use serde_json::json;

use super::Invalid;

/// The names of the roles, as they are told to callers.
const NAMES: &str = "'member' or 'admin'";

/// What a user is in its tenant. The database stores the lower-case name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Uses the API; manages only itself and its own keys.
    Member,
    /// Manages users and keys of the tenant.
    Admin,
}

impl Role {
    /// All roles, in the order of their rights.
    pub const ALL: [Role; 2] = [Role::Member, Role::Admin];

    /// Parses a role that a caller asks for.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            Invalid::new("enum", format_args!("Input should be {NAMES}"), json!({"expected": NAMES}))
        })
    }

    /// The role of a database row. A name that this version does not know gives no rights.
    pub fn of_row(text: &str) -> Self {
        Self::parse(text).unwrap_or(Role::Member)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Member => "member",
            Role::Admin => "admin",
        }
    }

    /// Whether the role may manage other users and their keys.
    pub fn manages_users(self) -> bool {
        self == Role::Admin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_role_gives_no_rights() {
        assert!(!Role::of_row("superuser").manages_users());
        assert!(Role::parse("superuser").is_err());
        assert!(Role::of_row("admin").manages_users());
    }
}
