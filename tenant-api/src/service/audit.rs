//! The audit log of a tenant, for its administrators.

use super::auth::Principal;
use super::{App, Result};
use crate::store::audit::Entry;

/// Most lines in one answer.
pub const MAX_PAGE: u32 = 500;

impl App {
    /// What was done, newest first: at most `limit` lines, all of them before the line `before` if one is given.
    pub async fn audit_log(
        &self,
        principal: &Principal,
        limit: u32,
        before: Option<i64>,
    ) -> Result<Vec<Entry>> {
        principal.require_admin()?;
        let mut unit = self.unit_of(principal).await?;
        Ok(unit.audit_log(limit.min(MAX_PAGE).into(), before).await?)
    }
}
