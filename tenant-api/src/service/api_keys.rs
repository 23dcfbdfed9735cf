//! API keys: users make and revoke their own, administrators see and revoke all of the tenant.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::auth::Principal;
use super::{App, Result, ServiceError};
use crate::domain::api_key::ApiKey;
use crate::store::api_keys::StoredKey;

impl App {
    /// Makes a key of the caller. The key itself cannot be read again.
    pub async fn create_api_key(
        &self,
        principal: &Principal,
        name: &str,
        days: Option<u32>,
    ) -> Result<(ApiKey, StoredKey)> {
        let key =
            ApiKey::generate().map_err(|_| ServiceError::Internal("the system has no random numbers"))?;
        let expires_at = days.map(|days| Timestamp::now() + SignedDuration::from_hours(24 * i64::from(days)));
        let user = principal.user().id;
        let mut unit = self.unit_of(principal).await?;
        let stored = unit.insert_api_key(user, name, &key.hash(), expires_at).await?;
        unit.audit(Some(user), "api_key.created", Some(stored.id), Some(json!({"name": name}))).await?;
        unit.commit().await?;
        Ok((key, stored))
    }

    /// The caller's keys, or with `all` those of the tenant.
    pub async fn api_keys(&self, principal: &Principal, all: bool) -> Result<Vec<StoredKey>> {
        if all {
            principal.require_admin()?;
        }
        let mut unit = self.unit_of(principal).await?;
        Ok(unit.api_keys((!all).then_some(principal.user().id)).await?)
    }

    /// Revokes a key. Keys of others are not found, except by administrators.
    pub async fn revoke_api_key(&self, principal: &Principal, id: Uuid) -> Result<()> {
        let user = principal.user();
        let mut unit = self.unit_of(principal).await?;
        if !unit.revoke_api_key(id, (!user.manages_users()).then_some(user.id)).await? {
            return Err(ServiceError::NotFound("API key not found"));
        }
        unit.audit(Some(user.id), "api_key.revoked", Some(id), None).await?;
        Ok(unit.commit().await?)
    }
}
