//! Limits that protect tenants from each other and accounts from guessing. Where the counters cannot be reached nothing is
//! limited: a broken Redis must not lock everybody out.

use std::net::{IpAddr, Ipv6Addr};
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

const FAILED_LOGINS: &str = "Too many failed logins";

const MINUTE: Duration = Duration::from_mins(1);

/// The key of a tenant's configuration that replaces the limit for all.
const OVERRIDE: &str = "rate_limit_per_minute";

/// The counters.
pub struct Limits {
    kv: Arc<dyn KeyValue>,
    per_minute: u32,
    max_login_failures: u32,
    max_failures_per_address: u32,
    lock_out: Duration,
}

impl Limits {
    pub fn new(kv: Arc<dyn KeyValue>, settings: &Settings) -> Self {
        Self {
            kv,
            per_minute: settings.rate_limit,
            max_login_failures: settings.max_login_failures,
            max_failures_per_address: settings.max_login_failures_per_address,
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

    /// Counts an attempt to log in to this account, whether or not there is such an account. An address that failed too
    /// often is refused before that: it must not lock more accounts.
    pub async fn attempt(&self, scope: &TenantScope, source: Option<IpAddr>, email: &Email) -> Result<()> {
        self.refuse_address(scope, source).await?;
        if self.max_login_failures == 0 {
            return Ok(());
        }
        let most = self.max_login_failures.into();
        self.within(scope, &attempts(email), most, self.lock_out, FAILED_LOGINS).await
    }

    /// Counts a login that failed against the address that it came from. Those that succeed do not count: behind one address
    /// may be a whole office.
    pub async fn failed(&self, scope: &TenantScope, source: Option<IpAddr>) {
        let Some(key) = self.failures(source) else { return };
        if let Err(error) = TenantKeys::new(&self.kv, scope).count(&key, self.lock_out).await {
            warn!(%error, "a failed login was not counted");
        }
    }

    /// Logins that are being checked when the last allowed one fails are still answered; they are as few as may wait for a hash.
    async fn refuse_address(&self, scope: &TenantScope, source: Option<IpAddr>) -> Result<()> {
        let Some(key) = self.failures(source) else { return Ok(()) };
        let keys = TenantKeys::new(&self.kv, scope);
        let count = match keys.get(&key).await {
            Ok(count) => count.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0),
            Err(error) => {
                warn!(%error, "limits are not enforced");
                return Ok(());
            }
        };
        if count < self.max_failures_per_address.into() {
            return Ok(());
        }
        Err(ServiceError::TooMany(FAILED_LOGINS, self.left(&keys, &key, self.lock_out).await))
    }

    /// The counter of failures from this address; `None` if they are not counted.
    fn failures(&self, source: Option<IpAddr>) -> Option<String> {
        let network = network(source?);
        let digest = hex(&Sha256::digest(network.to_string().as_bytes()));
        (self.max_failures_per_address > 0).then(|| format!("login-from:{digest}"))
    }

    /// The time that a limit still holds.
    async fn left(&self, keys: &TenantKeys, key: &str, window: Duration) -> Duration {
        keys.remaining(key).await.ok().flatten().unwrap_or(window)
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
                Err(ServiceError::TooMany(detail, self.left(&keys, key, window).await))
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

/// What one caller cannot leave: an IPv4 address, or of an IPv6 address the half that is given to a whole site.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_one_caller_whichever_of_its_addresses_it_takes() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:1.2.3.4"), "1.2.3.4");
    }
}
