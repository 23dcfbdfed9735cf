//! Logins: each has one refresh token that may be used next.

use uuid::Uuid;

use super::unit::TenantUnit;
use super::{Result, rows, sql};

/// What became of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// It was the one that may be used; the next one is in its place.
    Rotated,
    /// It was used before: the session was ended, because two hold its tokens.
    Reused,
    /// The session is unknown, over or ended.
    Over,
}

impl TenantUnit {
    /// Keeps a new login for `lifetime` seconds, and forgets what is long over.
    pub async fn start_session(&mut self, id: Uuid, user: Uuid, refresh: Uuid, lifetime: u64) -> Result<()> {
        let tenant = self.scope().id();
        sql("DELETE FROM sessions WHERE user_id = $1 AND expires_at < now()")
            .bind(user)
            .execute(self.connection())
            .await?;
        sql("INSERT INTO sessions (id, tenant_id, user_id, refresh_id, expires_at) \
             VALUES ($1, $2, $3, $4, now() + $5 * interval '1 second')")
        .bind(id)
        .bind(tenant)
        .bind(user)
        .bind(refresh)
        .bind(i64::try_from(lifetime).unwrap_or(i64::MAX))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Puts `next` in the place of `token`. The unit has to be committed also when the answer is [`Rotation::Reused`].
    pub async fn rotate_session(
        &mut self,
        id: Uuid,
        user: Uuid,
        token: Uuid,
        next: Uuid,
        lifetime: u64,
    ) -> Result<Rotation> {
        let row: Option<(Uuid,)> = rows(
            "SELECT refresh_id FROM sessions WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > now() FOR UPDATE",
        )
        .bind(id)
        .bind(user)
        .fetch_optional(self.connection())
        .await?;
        match row {
            None => Ok(Rotation::Over),
            Some((current,)) if current == token => {
                sql("UPDATE sessions SET refresh_id = $2, expires_at = now() + $3 * interval '1 second' WHERE id = $1")
                    .bind(id)
                    .bind(next)
                    .bind(i64::try_from(lifetime).unwrap_or(i64::MAX))
                    .execute(self.connection())
                    .await?;
                Ok(Rotation::Rotated)
            }
            Some(_) => {
                self.end_session(id).await?;
                Ok(Rotation::Reused)
            }
        }
    }

    /// Ends one login.
    pub async fn end_session(&mut self, id: Uuid) -> Result<()> {
        sql("UPDATE sessions SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1")
            .bind(id)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Ends all logins of a user.
    pub async fn end_sessions_of(&mut self, user: Uuid) -> Result<()> {
        sql("UPDATE sessions SET revoked_at = coalesce(revoked_at, now()) WHERE user_id = $1")
            .bind(user)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
