//! Users of a tenant.

use uuid::Uuid;

use super::unit::TenantUnit;
use super::{Result, rows, sql};
use crate::domain::email::Email;
use crate::domain::role::Role;

/// A user as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub name: Option<String>,
    /// The role as it is stored; [`Role::of_row`] says what it may do.
    pub role: String,
    pub is_active: bool,
    pub created_at: Option<jiff::Timestamp>,
}

impl User {
    pub fn manages_users(&self) -> bool {
        Role::of_row(&self.role).manages_users()
    }
}

/// What logging in needs of a user.
pub struct Account {
    pub user: User,
    /// bcrypt; `None` for users who cannot log in.
    pub hashed_password: Option<String>,
}

/// A user to be made.
pub struct NewUser<'a> {
    pub email: &'a Email,
    pub name: Option<&'a str>,
    pub role: Role,
    pub hashed_password: Option<&'a str>,
}

type Row = (Uuid, String, Option<String>, String, bool, Option<jiff_sqlx::Timestamp>);

fn user((id, email, name, role, is_active, created_at): Row) -> User {
    User { id, email, name, role, is_active, created_at: created_at.map(jiff_sqlx::Timestamp::to_jiff) }
}

/// How the API's sorting is kept stable: ids break ties.
const LIST: &str = "SELECT id, email, name, role, is_active, created_at FROM users ORDER BY created_at, id LIMIT $1 OFFSET $2";

impl TenantUnit {
    pub async fn user(&mut self, id: Uuid) -> Result<Option<User>> {
        let row: Option<Row> =
            rows("SELECT id, email, name, role, is_active, created_at FROM users WHERE id = $1")
                .bind(id)
                .fetch_optional(self.connection())
                .await?;
        Ok(row.map(user))
    }

    /// The account with this address in any spelling.
    pub async fn account(&mut self, email: &Email) -> Result<Option<Account>> {
        type WithHash =
            (Uuid, String, Option<String>, String, bool, Option<jiff_sqlx::Timestamp>, Option<String>);
        let row: Option<WithHash> = rows(
            "SELECT id, email, name, role, is_active, created_at, hashed_password FROM users WHERE email_folded = lower($1)",
        )
        .bind(email.as_str())
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(|(id, email, name, role, is_active, created_at, hashed_password)| Account {
            user: user((id, email, name, role, is_active, created_at)),
            hashed_password,
        }))
    }

    /// The stored hash of one user's password.
    pub async fn password_hash(&mut self, id: Uuid) -> Result<Option<String>> {
        let row: Option<(Option<String>,)> = rows("SELECT hashed_password FROM users WHERE id = $1")
            .bind(id)
            .fetch_optional(self.connection())
            .await?;
        Ok(row.and_then(|(hash,)| hash))
    }

    /// Users, oldest first.
    pub async fn users(&mut self, limit: i64, offset: i64) -> Result<Vec<User>> {
        let found: Vec<Row> = rows(LIST).bind(limit).bind(offset).fetch_all(self.connection()).await?;
        Ok(found.into_iter().map(user).collect())
    }

    /// Makes a user; [`super::StoreError::Conflict`] if the address is taken.
    pub async fn insert_user(&mut self, new: &NewUser<'_>) -> Result<User> {
        let tenant = self.scope().id();
        let row: Row = rows(
            "INSERT INTO users (tenant_id, email, name, role, hashed_password) VALUES ($1, $2, $3, $4, $5) \
             RETURNING id, email, name, role, is_active, created_at",
        )
        .bind(tenant)
        .bind(new.email.as_str())
        .bind(new.name)
        .bind(new.role.as_str())
        .bind(new.hashed_password)
        .fetch_one(self.connection())
        .await?;
        Ok(user(row))
    }

    /// Changes what is given, and returns the user; `None` if there is none.
    pub async fn update_user(
        &mut self,
        id: Uuid,
        role: Option<Role>,
        active: Option<bool>,
    ) -> Result<Option<User>> {
        let row: Option<Row> = rows(
            "UPDATE users SET role = coalesce($2, role), is_active = coalesce($3, is_active), updated_at = now() WHERE id = $1 \
             RETURNING id, email, name, role, is_active, created_at",
        )
        .bind(id)
        .bind(role.map(Role::as_str))
        .bind(active)
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(user))
    }

    /// Returns whether there is such a user.
    pub async fn set_password(&mut self, id: Uuid, hash: &str) -> Result<bool> {
        let done = sql("UPDATE users SET hashed_password = $2, updated_at = now() WHERE id = $1")
            .bind(id)
            .bind(hash)
            .execute(self.connection())
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// How many active administrators there are, holding them so until the end of the unit: two administrators who
    /// demote each other at once would otherwise both succeed.
    pub async fn active_admins(&mut self) -> Result<usize> {
        let found: Vec<(Uuid,)> =
            rows("SELECT id FROM users WHERE role = $1 AND is_active ORDER BY id FOR UPDATE")
                .bind(Role::Admin.as_str())
                .fetch_all(self.connection())
                .await?;
        Ok(found.len())
    }
}
