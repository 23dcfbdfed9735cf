//! What was done and by whom: within a tenant, and to tenants.

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::unit::{PlatformUnit, TenantUnit};
use super::{Result, rows, sql};

/// A line of a tenant's audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Rises with every line of the tenant.
    pub id: i64,
    pub at: Timestamp,
    /// The user who acted; `None` for the platform.
    pub actor: Option<Uuid>,
    pub action: String,
    pub target: Option<Uuid>,
    pub detail: Option<Value>,
}

type Row = (i64, jiff_sqlx::Timestamp, Option<Uuid>, String, Option<Uuid>, Option<Value>);

impl TenantUnit {
    /// The newest lines, at most `limit`, or the newest of those before the line `before`.
    pub async fn audit_log(&mut self, limit: i64, before: Option<i64>) -> Result<Vec<Entry>> {
        let found: Vec<Row> = rows(
            "SELECT id, at, actor, action, target, detail FROM audit_log WHERE $2::bigint IS NULL OR id < $2 \
             ORDER BY id DESC LIMIT $1",
        )
        .bind(limit)
        .bind(before)
        .fetch_all(self.connection())
        .await?;
        let entry = |(id, at, actor, action, target, detail): Row| {
            let at = at.to_jiff();
            Entry { id, at, actor, action, target, detail }
        };
        Ok(found.into_iter().map(entry).collect())
    }

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
