//! Units of work: one transaction for one tenant, or one for the platform.
//!
//! Which tenant a transaction serves is settled by its first statement: it reads the registry and, from what it finds there,
//! sets the row-level security's setting, the search path and the time limit, all of them for this transaction only.

use serde_json::Value;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::database::{Database, statement_limit};
use super::tenants::config;
use super::{Result, rows};
use crate::domain::api_key::ApiKeyHash;
use crate::domain::platform::PlatformAdmin;
use crate::domain::token::Verified;

/// A tenant that a credential or a header led to. Only the store makes one, and only from an active tenant's registry row.
/// Queries and Redis keys of a tenant need it.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantScope {
    id: Uuid,
    slug: String,
    config: Option<Value>,
}

impl TenantScope {
    /// A scope from the registry's row of an active tenant.
    pub(super) fn of_row(id: Uuid, slug: String, config: Option<&str>) -> Self {
        Self { id, slug, config: self::config(config) }
    }

    pub fn id(&self) -> Uuid {
        self.id
    }

    pub fn slug(&self) -> &str {
        &self.slug
    }

    pub fn config(&self) -> Option<&Value> {
        self.config.as_ref()
    }
}

/// What leads to a tenant.
#[derive(Clone, Copy)]
pub enum Lead<'a> {
    /// A token whose signature was checked.
    Token(&'a Verified),
    ApiKey(&'a ApiKeyHash),
    /// What `X-Tenant-ID` says. It identifies and does not authenticate: enough to try a password, not more.
    Header(Uuid),
    /// A scope from earlier in the same request.
    Scope(&'a TenantScope),
}

/// A transaction that sees and changes rows of one tenant. Dropped without [`TenantUnit::commit`] it changes nothing.
pub struct TenantUnit {
    transaction: Transaction<'static, Postgres>,
    scope: TenantScope,
}

impl TenantUnit {
    pub fn scope(&self) -> &TenantScope {
        &self.scope
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    pub async fn commit(self) -> Result<()> {
        Ok(self.transaction.commit().await?)
    }
}

/// A transaction of the owner's role on the registry. For those who manage tenants.
pub struct PlatformUnit {
    transaction: Transaction<'static, Postgres>,
    admin: PlatformAdmin,
    runtime_role: Option<String>,
}

impl PlatformUnit {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    pub(super) fn runtime_role(&self) -> Option<&str> {
        self.runtime_role.as_deref()
    }

    pub(super) fn actor(&self) -> &'static str {
        self.admin.actor()
    }

    pub async fn commit(self) -> Result<()> {
        Ok(self.transaction.commit().await?)
    }

    /// Goes on as a unit of one tenant, in the same transaction: to make the first user of a tenant that nobody else sees yet.
    pub async fn into_tenant(mut self, id: Uuid) -> Result<Option<TenantUnit>> {
        let row = enter(&mut self.transaction, BY_ID, Some(id), None).await?;
        Ok(row.map(|scope| TenantUnit { transaction: self.transaction, scope }))
    }
}

/// The columns and settings of every way in. `set_config(.., true)` ends with the transaction, also behind a proxy.
macro_rules! enter {
    ($from:literal) => {
        concat!(
            "SELECT t.id, t.slug, t.config::text, set_config('app.current_tenant_id', t.id::text, true), ",
            "set_config('search_path', quote_ident(t.schema_name), true), set_config('statement_timeout', $1, true) ",
            $from
        )
    };
}

const BY_ID: &str = enter!("FROM shared.tenants t WHERE t.id = $2 AND t.is_active AND $3::text IS NULL");
const BY_KEY: &str = enter!(
    "FROM shared.api_key_index k JOIN shared.tenants t ON t.id = k.tenant_id WHERE k.hash = $3 AND t.is_active AND $2::uuid IS NULL"
);

type Entered = (Uuid, String, Option<String>, String, String, String);

async fn enter(
    connection: &mut PgConnection,
    statement: &str,
    id: Option<Uuid>,
    hash: Option<&str>,
) -> Result<Option<TenantScope>> {
    let row: Option<Entered> =
        rows(statement).bind(statement_limit()).bind(id).bind(hash).fetch_optional(connection).await?;
    Ok(row.map(|(id, slug, text, ..)| TenantScope::of_row(id, slug, text.as_deref())))
}

impl Database {
    /// Starts a unit of work of the tenant that `lead` leads to; `None` if there is none or it is not active.
    pub async fn tenant(&self, lead: Lead<'_>) -> Result<Option<TenantUnit>> {
        let mut transaction = self.begin().await?;
        let (id, slug) = match lead {
            Lead::Token(token) => (Some(token.tenant()), token.tenant_slug()),
            Lead::Header(id) => (Some(id), None),
            Lead::Scope(scope) => (Some(scope.id), None),
            Lead::ApiKey(_) => (None, None),
        };
        let scope = match lead {
            Lead::ApiKey(hash) => enter(&mut transaction, BY_KEY, None, Some(hash.as_str())).await?,
            _ => enter(&mut transaction, BY_ID, id, None).await?,
        };
        // A slug never changes: a token that says another one was not made here.
        let known = scope.filter(|scope| slug.is_none_or(|slug| slug == scope.slug));
        Ok(known.map(|scope| TenantUnit { transaction, scope }))
    }

    /// Starts a unit of work on the registry.
    pub async fn platform(&self, admin: PlatformAdmin) -> Result<PlatformUnit> {
        let transaction = self.begin_platform().await?;
        Ok(PlatformUnit { transaction, admin, runtime_role: self.runtime_role().map(str::to_owned) })
    }
}
