//! Limits that protect tenants from each other and accounts from guessing. Where the counters cannot be reached nothing is
//! limited: a broken Redis must not lock everybody out.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::{Result, ServiceError};
use crate::domain::api_key::hex;
use crate::domain::email::Email;
use crate::settings::Settings;
use crate::store::kv::{KeyValue, TenantKeys};
use crate::store::unit::TenantScope;

const MINUTE: Duration = Duration::from_mins(1);

/// The key of a tenant's configuration that replaces the limit for all.
const OVERRIDE: &str = "rate_limit_per_minute";

/// The counters.
pub struct Limits {
    kv: Arc<dyn KeyValue>,
    per_minute: u32,
    max_login_failures: u32,
    lock_out: Duration,
}

impl Limits {
    pub fn new(kv: Arc<dyn KeyValue>, settings: &Settings) -> Self {
        Self {
            kv,
            per_minute: settings.rate_limit,
            max_login_failures: settings.max_login_failures,
            lock_out: settings.lock_out,
        }
    }

    /// Counts a request of an authenticated caller of this tenant.
    pub async fn admit(&self, scope: &TenantScope) -> Result<()> {
        let configured =
            scope.config().and_then(|config| config.get(OVERRIDE)).and_then(serde_json::Value::as_u64);
        let most = configured.unwrap_or_else(|| self.per_minute.into());
        if most == 0 {
            return Ok(());
        }
        self.within(scope, "rate", most, MINUTE, "Too many requests").await
    }

    /// Counts an attempt to log in to this account, whether or not there is such an account.
    pub async fn attempt(&self, scope: &TenantScope, email: &Email) -> Result<()> {
        if self.max_login_failures == 0 {
            return Ok(());
        }
        let most = self.max_login_failures.into();
        self.within(scope, &attempts(email), most, self.lock_out, "Too many failed logins").await
    }

    /// Forgets the attempts after one that succeeded.
    pub async fn succeeded(&self, scope: &TenantScope, email: &Email) {
        if self.max_login_failures > 0
            && let Err(error) = TenantKeys::new(&self.kv, scope).delete(&attempts(email)).await
        {
            warn!(%error, "attempts to log in could not be forgotten");
        }
    }

    async fn within(
        &self,
        scope: &TenantScope,
        key: &str,
        most: u64,
        window: Duration,
        detail: &'static str,
    ) -> Result<()> {
        let keys = TenantKeys::new(&self.kv, scope);
        match keys.count(key, window).await {
            Ok(count) if count > most => {
                let left = keys.remaining(key).await.ok().flatten().unwrap_or(window);
                Err(ServiceError::TooMany(detail, left))
            }
            Ok(_) => Ok(()),
            Err(error) => {
                warn!(%error, "limits are not enforced");
                Ok(())
            }
        }
    }
}

/// Addresses are personal data: the counter's name holds a digest.
fn attempts(email: &Email) -> String {
    format!("login:{}", hex(&Sha256::digest(email.folded().as_bytes())))
}
