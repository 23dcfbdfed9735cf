//! Who is calling: from credentials to a tenant, and on to a user.

use std::net::IpAddr;

use serde_json::json;
use uuid::Uuid;

use super::{App, Result, ServiceError};
use crate::domain::api_key::ApiKey;
use crate::domain::email::Email;
use crate::domain::password::NewPassword;
use crate::domain::platform::PlatformAdmin;
use crate::domain::token::{self, Pair, Subject, Use, Verified};
use crate::store::sessions::Rotation;
use crate::store::unit::{Lead, TenantScope, TenantUnit};
use crate::store::users::User;

const NOT_VALID: &str = "Could not validate credentials";
const NO_USER: &str = "User not found or inactive";
const WRONG_LOGIN: &str = "Invalid email or password";
const TOKEN_CONFLICT: &str = "Token tenant does not match request tenant context";
const KEY_CONFLICT: &str = "API key tenant does not match request tenant context";

/// What a request brought along. Nothing of it is trusted yet.
#[derive(Default)]
pub struct Credentials {
    /// The text after `Bearer `.
    pub bearer: Option<String>,
    /// `X-API-Key`.
    pub api_key: Option<String>,
    /// `X-Tenant-ID`.
    pub tenant: TenantHeader,
}

/// What `X-Tenant-ID` said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TenantHeader {
    #[default]
    Absent,
    /// It is no UUID in lower case.
    Unusable,
    Id(Uuid),
}

impl TenantHeader {
    /// Whether the header speaks of another tenant than this one. What is no tenant's id is another one.
    fn contradicts(self, tenant: Uuid) -> bool {
        match self {
            TenantHeader::Absent => false,
            TenantHeader::Unusable => true,
            TenantHeader::Id(id) => id != tenant,
        }
    }
}

/// A caller whose credentials were checked. Only [`App::authenticate`] makes one.
pub struct Principal {
    scope: TenantScope,
    user: User,
    /// The login that the token came from; `None` for API keys.
    session: Option<Uuid>,
}

impl Principal {
    pub fn scope(&self) -> &TenantScope {
        &self.scope
    }

    pub fn user(&self) -> &User {
        &self.user
    }

    /// Refuses callers who may not manage users of their tenant.
    pub fn require_admin(&self) -> Result<()> {
        if self.user.manages_users() { Ok(()) } else { Err(ServiceError::Forbidden("Admin role required")) }
    }
}

impl App {
    /// The tenant that a request is about, for requests that do not authenticate (login, refresh). The first usable one of
    /// token, key and header counts; two of different tenants are refused.
    pub async fn context(&self, credentials: &Credentials) -> Result<TenantUnit> {
        if let Some(token) = credentials.bearer.as_deref().and_then(|token| self.any_token(token))
            && let Some(unit) = self.database.tenant(Lead::Token(&token)).await?
        {
            if let Some(key) = &credentials.api_key {
                self.refuse_key_of_another(key, token.tenant()).await?;
            }
            return agreed(unit, credentials, TOKEN_CONFLICT);
        }
        if let Some(key) = credentials.api_key.as_deref().and_then(ApiKey::presented) {
            let hash = key.hash();
            if let Some(caller) = self.database.caller_by_key(&hash).await?
                && let Some(unit) = self.database.tenant(Lead::Scope(&caller.scope)).await?
            {
                return agreed(unit, credentials, KEY_CONFLICT);
            }
        }
        match credentials.tenant {
            TenantHeader::Id(id) => {
                self.database.tenant(Lead::Header(id)).await?.ok_or(ServiceError::MissingTenant)
            }
            TenantHeader::Absent | TenantHeader::Unusable => Err(ServiceError::MissingTenant),
        }
    }

    /// The user behind a request. A token counts before a key; a token that is wrong is not made good by a key.
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<Principal> {
        let principal = match (&credentials.bearer, &credentials.api_key) {
            (Some(token), _) => self.by_token(token, credentials).await?,
            (None, Some(key)) => self.by_key(key, credentials).await?,
            (None, None) => {
                self.context(credentials).await?;
                return Err(ServiceError::Unauthenticated("Not authenticated"));
            }
        };
        self.limits.admit(&principal.scope).await?;
        Ok(principal)
    }

    /// Proof that a request may manage tenants.
    pub fn platform_admin(&self, credentials: &Credentials) -> Result<PlatformAdmin> {
        let presented = credentials.bearer.as_deref();
        let missing = if presented.is_some() { NOT_VALID } else { "Not authenticated" };
        self.platform.verify(presented).ok_or(ServiceError::Unauthenticated(missing))
    }

    /// Logs in with a password. `source` is where the request comes from, as far as that is known.
    pub async fn login(
        &self,
        credentials: &Credentials,
        source: Option<IpAddr>,
        email: &Email,
        password: &str,
    ) -> Result<Pair> {
        let mut unit = self.context(credentials).await?;
        let scope = unit.scope().clone();
        let account = unit.account(email).await?;
        // Hashing takes long; no connection is held meanwhile.
        drop(unit);
        self.limits.attempt(&scope, source, email).await?;
        let (user, hash) = match account {
            Some(account) if account.user.is_active => (Some(account.user), account.hashed_password),
            _ => (None, None),
        };
        let right = self.hasher.verify(password, hash).await?;
        let Some(user) = user.filter(|_| right) else {
            tracing::warn!(tenant_id = %scope.id(), "a login failed");
            self.limits.failed(&scope, source).await;
            return Err(ServiceError::Refused(WRONG_LOGIN));
        };
        self.limits.succeeded(&scope, email).await;
        self.start_session(&scope, &user).await
    }

    async fn start_session(&self, scope: &TenantScope, user: &User) -> Result<Pair> {
        let session = Uuid::new_v4();
        let pair = self.tokens.issue(&subject(scope, user, session), token::now())?;
        let refused = || ServiceError::Refused(WRONG_LOGIN);
        let mut unit = self.database.tenant(Lead::Scope(scope)).await?.ok_or_else(refused)?;
        unit.start_session(session, user.id, pair.refresh_id, self.tokens.lifetimes().refresh).await?;
        unit.audit(Some(user.id), "auth.login", Some(user.id), None).await?;
        unit.commit().await?;
        Ok(pair)
    }

    /// Exchanges a refresh token for a new pair. Each can be used once: a second use ends the login.
    pub async fn refresh(&self, credentials: &Credentials, refresh_token: &str) -> Result<Pair> {
        let mut unit = self.context(credentials).await?;
        let refused = || ServiceError::Unauthenticated(NOT_VALID);
        let claims = self.tokens.verify(refresh_token, Use::Refresh).ok_or_else(refused)?;
        let (Some(session), Some(token)) = (claims.session(), claims.id()) else { return Err(refused()) };
        if claims.tenant() != unit.scope().id() {
            return Err(refused());
        }
        let user = unit.user(claims.user()).await?.filter(|user| user.is_active);
        let user = user.ok_or(ServiceError::Refused(NO_USER))?;
        let pair = self.tokens.issue(&subject(unit.scope(), &user, session), token::now())?;
        let lifetime = self.tokens.lifetimes().refresh;
        let rotation = unit.rotate_session(session, user.id, token, pair.refresh_id, lifetime).await?;
        if rotation == Rotation::Reused {
            unit.audit(Some(user.id), "auth.refresh_reused", Some(session), None).await?;
        }
        unit.commit().await?;
        if rotation == Rotation::Rotated { Ok(pair) } else { Err(refused()) }
    }

    /// Ends the caller's login, or all of its logins.
    pub async fn logout(&self, principal: &Principal, everywhere: bool) -> Result<()> {
        let user = principal.user.id;
        let mut unit = self.unit_of(principal).await?;
        match principal.session {
            _ if everywhere => unit.end_sessions_of(user).await?,
            Some(session) => unit.end_session(session).await?,
            // A key has no login that could be ended.
            None => return Err(ServiceError::Forbidden("Logging out needs a token of a login")),
        }
        unit.audit(Some(user), "auth.logout", Some(user), Some(json!({"everywhere": everywhere}))).await?;
        Ok(unit.commit().await?)
    }

    /// Changes the caller's own password, and ends all of its logins.
    pub async fn change_password(
        &self,
        principal: &Principal,
        current: &str,
        new: NewPassword,
    ) -> Result<()> {
        let user = principal.user.id;
        let mut unit = self.unit_of(principal).await?;
        let hash = unit.password_hash(user).await?;
        drop(unit);
        if !self.hasher.verify(current, hash).await? {
            return Err(ServiceError::Refused("Current password is wrong"));
        }
        self.set_password(principal, user, new).await
    }

    pub(super) async fn set_password(
        &self,
        principal: &Principal,
        user: Uuid,
        new: NewPassword,
    ) -> Result<()> {
        let hash = self.hasher.hash(new).await?;
        let mut unit = self.unit_of(principal).await?;
        if !unit.set_password(user, &hash).await? {
            return Err(ServiceError::NotFound("User not found"));
        }
        unit.end_sessions_of(user).await?;
        unit.audit(Some(principal.user.id), "user.password_set", Some(user), None).await?;
        Ok(unit.commit().await?)
    }

    /// A unit of work of the caller's tenant.
    pub(super) async fn unit_of(&self, principal: &Principal) -> Result<TenantUnit> {
        let unit = self.database.tenant(Lead::Scope(&principal.scope)).await?;
        unit.ok_or(ServiceError::Unauthenticated(NOT_VALID))
    }

    async fn by_token(&self, token: &str, credentials: &Credentials) -> Result<Principal> {
        let refused = || ServiceError::Unauthenticated(NOT_VALID);
        let token = self.tokens.verify(token, Use::Access).ok_or_else(refused)?;
        // Before anything is looked up: which tenants exist is not for those who contradict themselves.
        if credentials.tenant.contradicts(token.tenant()) {
            return Err(ServiceError::Forbidden(TOKEN_CONFLICT));
        }
        // Without both claims a token names no tenant; the header has to.
        if token.tenant_slug().is_none() && credentials.tenant == TenantHeader::Absent {
            return Err(refused());
        }
        if let Some(key) = &credentials.api_key {
            self.refuse_key_of_another(key, token.tenant()).await?;
        }
        let caller = self.database.caller_by_token(&token).await?.ok_or_else(refused)?;
        let user = caller.user.ok_or(ServiceError::Unauthenticated(NO_USER))?;
        Ok(Principal { scope: caller.scope, user, session: token.session() })
    }

    async fn refuse_key_of_another(&self, key: &str, tenant: Uuid) -> Result<()> {
        let Some(hash) = ApiKey::presented(key).map(|key| key.hash()) else { return Ok(()) };
        match self.database.tenant(Lead::ApiKey(&hash)).await? {
            Some(unit) if unit.scope().id() != tenant => Err(ServiceError::Forbidden(KEY_CONFLICT)),
            _ => Ok(()),
        }
    }

    async fn by_key(&self, key: &str, credentials: &Credentials) -> Result<Principal> {
        let refused = || ServiceError::Unauthenticated("Invalid API key");
        let hash = ApiKey::presented(key).ok_or_else(refused)?.hash();
        let caller = self.database.caller_by_key(&hash).await?.ok_or_else(refused)?;
        if credentials.tenant.contradicts(caller.scope.id()) {
            return Err(ServiceError::Forbidden(KEY_CONFLICT));
        }
        let user = caller.user.ok_or(ServiceError::Unauthenticated("API key user not found or inactive"))?;
        Ok(Principal { scope: caller.scope, user, session: None })
    }

    /// A token of either use: which tenant a request is about, both say.
    fn any_token(&self, token: &str) -> Option<Verified> {
        self.tokens.verify(token, Use::Access).or_else(|| self.tokens.verify(token, Use::Refresh))
    }
}

fn agreed(unit: TenantUnit, credentials: &Credentials, conflict: &'static str) -> Result<TenantUnit> {
    if credentials.tenant.contradicts(unit.scope().id()) {
        return Err(ServiceError::Forbidden(conflict));
    }
    Ok(unit)
}

fn subject(scope: &TenantScope, user: &User, session: Uuid) -> Subject {
    Subject {
        user: user.id,
        tenant: scope.id(),
        tenant_slug: scope.slug().to_owned(),
        email: user.email.clone(),
        role: user.role.clone(),
        session,
    }
}
