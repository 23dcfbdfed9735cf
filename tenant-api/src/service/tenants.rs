//! Tenants: made whole or not at all, changed, and taken away in two steps.

use serde_json::Value;
use uuid::Uuid;

use super::{App, Result, ServiceError};
use crate::domain::email::Email;
use crate::domain::password::NewPassword;
use crate::domain::platform::PlatformAdmin;
use crate::domain::role::Role;
use crate::domain::slug::Slug;
use crate::store::kv::TenantKeys;
use crate::store::tenants::{CreateError, Tenant};
use crate::store::unit::TenantScope;
use crate::store::users::NewUser;

/// Most characters of a user's name.
const MAX_USER_NAME: usize = 200;

const NO_TENANT: &str = "Tenant not found";

/// The first user of a new tenant.
pub struct FirstAdmin {
    pub email: Email,
    pub password: NewPassword,
}

impl App {
    /// Makes a tenant with its schema, and its first administrator where one is given: all of it, or nothing.
    pub async fn create_tenant(
        &self,
        admin: PlatformAdmin,
        slug: &Slug,
        name: &str,
        first: Option<FirstAdmin>,
    ) -> Result<Tenant> {
        let first = match first {
            // Before the transaction: a lock must not wait for a hash.
            Some(first) => Some((first.email, self.hasher.hash(first.password).await?)),
            None => None,
        };
        let mut platform = self.database.platform(admin).await?;
        let tenant = platform.create_tenant(slug, name).await.map_err(|error| match error {
            CreateError::SlugTaken => {
                ServiceError::Conflict(format!("Tenant with slug '{}' already exists", slug.as_str()))
            }
            CreateError::SchemaInTheWay => ServiceError::Conflict(format!(
                "Schema '{}' already exists, and is not empty or somebody else's",
                slug.schema()
            )),
            other => other.into(),
        })?;
        let lost = || ServiceError::Internal("a tenant was not there after it was made");
        let mut unit = platform.into_tenant(tenant.id).await?.ok_or_else(lost)?;
        if let Some((email, hash)) = first {
            // As long as a user's name may be: the tenant's own may be as long as that already.
            let short: String = name.chars().take(MAX_USER_NAME - "Admin ()".len()).collect();
            let name = format!("Admin ({short})");
            let new =
                NewUser { email: &email, name: Some(&name), role: Role::Admin, hashed_password: Some(&hash) };
            let user = unit.insert_user(&new).await?;
            unit.audit(None, "user.created", Some(user.id), None).await?;
        }
        let scope = unit.scope().clone();
        unit.commit().await?;
        self.mark_initialized(&scope).await;
        Ok(tenant)
    }

    /// Tenants, oldest first.
    pub async fn tenants(&self, admin: PlatformAdmin, with_inactive: bool) -> Result<Vec<Tenant>> {
        let mut unit = self.database.platform(admin).await?;
        Ok(unit.tenants(with_inactive).await?)
    }

    pub async fn tenant(&self, admin: PlatformAdmin, id: Uuid) -> Result<Tenant> {
        let mut unit = self.database.platform(admin).await?;
        unit.tenant(id).await?.ok_or(ServiceError::NotFound(NO_TENANT))
    }

    /// Changes name, configuration or state. An inactive tenant's credentials stop working with the next request.
    pub async fn update_tenant(
        &self,
        admin: PlatformAdmin,
        id: Uuid,
        name: Option<&str>,
        config: Option<&Value>,
        active: Option<bool>,
    ) -> Result<Tenant> {
        let mut unit = self.database.platform(admin).await?;
        let tenant = unit.update_tenant(id, name, config, active).await?;
        let tenant = tenant.ok_or(ServiceError::NotFound(NO_TENANT))?;
        let action = match active {
            Some(true) => "tenant.reactivated",
            Some(false) => "tenant.deactivated",
            None => "tenant.updated",
        };
        unit.audit(action, tenant.id, &tenant.slug, None).await?;
        unit.commit().await?;
        Ok(tenant)
    }

    /// Deletes an inactive tenant with all of its data. Deactivating first is the second thought that this needs.
    pub async fn delete_tenant(&self, admin: PlatformAdmin, id: Uuid) -> Result<()> {
        let mut unit = self.database.platform(admin).await?;
        let tenant = unit.tenant(id).await?.ok_or(ServiceError::NotFound(NO_TENANT))?;
        if tenant.is_active {
            return Err(ServiceError::Conflict("Deactivate the tenant before deleting it".to_owned()));
        }
        unit.delete_tenant(&tenant).await?;
        unit.commit().await?;
        self.forget(admin, id).await;
        Ok(())
    }

    async fn mark_initialized(&self, scope: &TenantScope) {
        if let Err(error) = TenantKeys::new(&self.kv, scope).set("initialized", "true", None).await {
            tracing::warn!(%error, tenant_id = %scope.id(), "a tenant could not be marked as initialized");
        }
    }

    /// Clears what Redis holds of a tenant that is gone.
    async fn forget(&self, admin: PlatformAdmin, id: Uuid) {
        if let Err(error) = TenantKeys::of_any(&self.kv, admin, id).clear().await {
            tracing::warn!(%error, tenant_id = %id, "keys of a deleted tenant stay");
        }
    }
}
