//! What was done and by whom: within a tenant, and to tenants.

use serde_json::Value;
use uuid::Uuid;

use super::unit::{PlatformUnit, TenantUnit};
use super::{Result, sql};

impl TenantUnit {
    /// Writes a line in the same transaction as the change, so that there is neither without the other.
    pub async fn audit(
        &mut self,
        actor: Option<Uuid>,
        action: &str,
        target: Option<Uuid>,
        detail: Option<Value>,
    ) -> Result<()> {
        let tenant = self.scope().id();
        sql("INSERT INTO audit_log (tenant_id, actor, action, target, detail) VALUES ($1, $2, $3, $4, $5)")
            .bind(tenant)
            .bind(actor)
            .bind(action)
            .bind(target)
            .bind(detail)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}

impl PlatformUnit {
    /// The same for a change of a tenant itself.
    pub async fn audit(
        &mut self,
        action: &str,
        tenant: Uuid,
        target: &str,
        detail: Option<Value>,
    ) -> Result<()> {
        let actor = self.actor();
        sql("INSERT INTO shared.audit_log (actor, action, tenant_id, target, detail) VALUES ($1, $2, $3, $4, $5)")
            .bind(actor)
            .bind(action)
            .bind(tenant)
            .bind(target)
            .bind(detail)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
