//! API keys of a tenant, and the index by which a key finds its tenant.

use jiff::Timestamp;
use uuid::Uuid;

use super::unit::TenantUnit;
use super::{Result, rows, sql};
use crate::domain::api_key::ApiKeyHash;

/// A key as the API shows it, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    pub id: Uuid,
    pub user_id: Uuid,
    pub name: String,
    pub is_active: bool,
    pub created_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

type Time = Option<jiff_sqlx::Timestamp>;
type Row = (Uuid, Uuid, String, bool, Time, Time, Time);

fn key((id, user_id, name, is_active, created_at, last_used_at, expires_at): Row) -> StoredKey {
    let time = |time: Time| time.map(jiff_sqlx::Timestamp::to_jiff);
    StoredKey {
        id,
        user_id,
        name,
        is_active,
        created_at: time(created_at),
        last_used_at: time(last_used_at),
        expires_at: time(expires_at),
    }
}

impl TenantUnit {
    pub async fn insert_api_key(
        &mut self,
        user: Uuid,
        name: &str,
        hash: &ApiKeyHash,
        expires_at: Option<Timestamp>,
    ) -> Result<StoredKey> {
        let tenant = self.scope().id();
        let row: Row = rows(
            "INSERT INTO api_keys (tenant_id, user_id, key_hash, name, expires_at) VALUES ($1, $2, $3, $4, $5) \
             RETURNING id, user_id, name, is_active, created_at, last_used_at, expires_at",
        )
        .bind(tenant)
        .bind(user)
        .bind(hash.as_str())
        .bind(name)
        .bind(expires_at.map(jiff_sqlx::ToSqlx::to_sqlx))
        .fetch_one(self.connection())
        .await?;
        let key = key(row);
        sql("INSERT INTO shared.api_key_index (hash, tenant_id, key_id) VALUES ($1, $2, $3)")
            .bind(hash.as_str())
            .bind(tenant)
            .bind(key.id)
            .execute(self.connection())
            .await?;
        Ok(key)
    }

    /// Keys, oldest first; only those of `user` if one is given.
    pub async fn api_keys(&mut self, user: Option<Uuid>) -> Result<Vec<StoredKey>> {
        let found: Vec<Row> = rows(
            "SELECT id, user_id, name, is_active, created_at, last_used_at, expires_at FROM api_keys \
             WHERE $1::uuid IS NULL OR user_id = $1 ORDER BY created_at, id",
        )
        .bind(user)
        .fetch_all(self.connection())
        .await?;
        Ok(found.into_iter().map(key).collect())
    }

    /// Makes a key useless for ever, if it is one of `user` where one is given. Returns whether there is such a key.
    pub async fn revoke_api_key(&mut self, id: Uuid, user: Option<Uuid>) -> Result<bool> {
        let done =
            sql("UPDATE api_keys SET is_active = false WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)")
                .bind(id)
                .bind(user)
                .execute(self.connection())
                .await?;
        let tenant = self.scope().id();
        if done.rows_affected() == 1 {
            sql("DELETE FROM shared.api_key_index WHERE key_id = $1 AND tenant_id = $2")
                .bind(id)
                .bind(tenant)
                .execute(self.connection())
                .await?;
        }
        Ok(done.rows_affected() == 1)
    }
}
