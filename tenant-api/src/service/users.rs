//! Users of a tenant, managed by its administrators.

use serde_json::json;
use uuid::Uuid;

use super::auth::Principal;
use super::{App, Result, ServiceError};
use crate::domain::email::Email;
use crate::domain::password::NewPassword;
use crate::domain::role::Role;
use crate::store::StoreError;
use crate::store::users::{NewUser, User};

/// Most users in one answer.
pub const MAX_PAGE: u32 = 500;

impl App {
    /// Makes a user. Without a password it cannot log in until it gets one.
    pub async fn create_user(
        &self,
        principal: &Principal,
        email: &Email,
        name: Option<&str>,
        role: Role,
        password: Option<NewPassword>,
    ) -> Result<User> {
        principal.require_admin()?;
        let hash = match password {
            Some(password) => Some(self.hasher.hash(password).await?),
            None => None,
        };
        let mut unit = self.unit_of(principal).await?;
        let new = NewUser { email, name, role, hashed_password: hash.as_deref() };
        let user = unit.insert_user(&new).await.map_err(|error| taken(error, email))?;
        let detail = json!({"role": role.as_str()});
        unit.audit(Some(principal.user().id), "user.created", Some(user.id), Some(detail)).await?;
        unit.commit().await?;
        Ok(user)
    }

    /// Users, oldest first.
    pub async fn users(&self, principal: &Principal, limit: u32, offset: u32) -> Result<Vec<User>> {
        principal.require_admin()?;
        let mut unit = self.unit_of(principal).await?;
        Ok(unit.users(limit.min(MAX_PAGE).into(), offset.into()).await?)
    }

    /// One user; the caller itself, or any for administrators.
    pub async fn user(&self, principal: &Principal, id: Uuid) -> Result<User> {
        if id != principal.user().id {
            principal.require_admin()?;
        }
        let mut unit = self.unit_of(principal).await?;
        unit.user(id).await?.ok_or(ServiceError::NotFound("User not found"))
    }

    /// Changes role or state of a user. A tenant keeps at least one active administrator.
    pub async fn update_user(
        &self,
        principal: &Principal,
        id: Uuid,
        role: Option<Role>,
        active: Option<bool>,
    ) -> Result<User> {
        principal.require_admin()?;
        let mut unit = self.unit_of(principal).await?;
        let admins = unit.active_admins().await?;
        let before = unit.user(id).await?.ok_or(ServiceError::NotFound("User not found"))?;
        let was_admin = before.is_active && before.manages_users();
        let stays_admin = role.is_none_or(Role::manages_users) && active != Some(false);
        if was_admin && !stays_admin && admins <= 1 {
            return Err(ServiceError::Conflict(
                "The last active admin of a tenant cannot be taken away".to_owned(),
            ));
        }
        let after =
            unit.update_user(id, role, active).await?.ok_or(ServiceError::NotFound("User not found"))?;
        if active == Some(false) {
            unit.end_sessions_of(id).await?;
        }
        let detail = json!({"role": role.map(Role::as_str), "is_active": active});
        unit.audit(Some(principal.user().id), "user.updated", Some(id), Some(detail)).await?;
        unit.commit().await?;
        Ok(after)
    }

    /// Gives a user a new password, and ends all of its logins.
    pub async fn reset_password(&self, principal: &Principal, id: Uuid, password: NewPassword) -> Result<()> {
        principal.require_admin()?;
        self.set_password(principal, id, password).await
    }
}

fn taken(error: StoreError, email: &Email) -> ServiceError {
    match error {
        StoreError::Conflict(_) => {
            ServiceError::Conflict(format!("User with email '{}' already exists", email.as_str()))
        }
        other => other.into(),
    }
}
