//! The registry of tenants, and what makes and unmakes them.

use serde_json::Value;
use sqlx::Executor as _;
use uuid::Uuid;

use super::migrate::{MigrateError, SchemaKind, create_schema, lock, migrate, schema_exists, schema_is_free};
use super::unit::PlatformUnit;
use super::{Result, StoreError, quoted, rows, sql};
use crate::domain::slug::Slug;

/// A tenant's registry row.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    pub id: Uuid,
    pub slug: String,
    pub name: String,
    pub schema_name: String,
    pub is_active: bool,
    pub config: Option<Value>,
    pub created_at: Option<jiff::Timestamp>,
}

/// Why a tenant was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("the slug is taken")]
    SlugTaken,
    #[error("the schema exists already, and is not empty or somebody else's")]
    SchemaInTheWay,
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Row = (Uuid, String, String, String, bool, Option<String>, Option<jiff_sqlx::Timestamp>);

/// The configuration in a column of type `json`, read as text. What is no JSON to us (`1e999`) is to PostgreSQL: where somebody
/// wrote such a thing by SQL there is no configuration, instead of an error for everybody who lists tenants.
pub(super) fn config(text: Option<&str>) -> Option<Value> {
    text.and_then(|text| serde_json::from_str(text).ok())
}

fn tenant((id, slug, name, schema_name, is_active, config, created_at): Row) -> Tenant {
    let created_at = created_at.map(jiff_sqlx::Timestamp::to_jiff);
    let config = self::config(config.as_deref());
    Tenant { id, slug, name, schema_name, is_active, config, created_at }
}

impl PlatformUnit {
    /// Makes registry row, schema, tables, policies and grants. All of it is there once the unit is committed, or nothing.
    pub async fn create_tenant(
        &mut self,
        slug: &Slug,
        name: &str,
    ) -> std::result::Result<Tenant, CreateError> {
        let schema = slug.schema();
        // Whoever comes second waits here, and then finds the row.
        lock(self.connection(), &schema).await?;
        let (taken,): (bool,) = rows("SELECT EXISTS (SELECT FROM shared.tenants WHERE slug = $1)")
            .bind(slug.as_str())
            .fetch_one(self.connection())
            .await
            .map_err(StoreError::from)?;
        if taken {
            return Err(CreateError::SlugTaken);
        }
        if !schema_exists(self.connection(), &schema).await? {
            create_schema(self.connection(), &schema).await?;
        } else if !schema_is_free(self.connection(), &schema).await? {
            // Rows of somebody else may be in there, which row-level security hides even from its owner.
            return Err(CreateError::SchemaInTheWay);
        }
        let role = self.runtime_role().map(str::to_owned);
        migrate(self.connection(), SchemaKind::Tenant, &schema, role.as_deref()).await?;
        let row: Row = rows(
            "INSERT INTO shared.tenants (slug, name, schema_name) VALUES ($1, $2, $3) \
             RETURNING id, slug, name, schema_name, is_active, config::text, created_at",
        )
        .bind(slug.as_str())
        .bind(name)
        .bind(&schema)
        .fetch_one(self.connection())
        .await
        .map_err(StoreError::from)?;
        let made = tenant(row);
        self.audit("tenant.created", made.id, &made.slug, None).await?;
        Ok(made)
    }

    /// Tenants, oldest first.
    pub async fn tenants(&mut self, with_inactive: bool) -> Result<Vec<Tenant>> {
        let found: Vec<Row> = rows(
            "SELECT id, slug, name, schema_name, is_active, config::text, created_at FROM shared.tenants \
             WHERE is_active OR $1 ORDER BY created_at, id",
        )
        .bind(with_inactive)
        .fetch_all(self.connection())
        .await?;
        Ok(found.into_iter().map(tenant).collect())
    }

    pub async fn tenant(&mut self, id: Uuid) -> Result<Option<Tenant>> {
        let row: Option<Row> = rows(
            "SELECT id, slug, name, schema_name, is_active, config::text, created_at FROM shared.tenants WHERE id = $1 FOR UPDATE",
        )
        .bind(id)
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(tenant))
    }

    /// Changes what is given, and returns the tenant; `None` if there is none.
    pub async fn update_tenant(
        &mut self,
        id: Uuid,
        name: Option<&str>,
        config: Option<&Value>,
        active: Option<bool>,
    ) -> Result<Option<Tenant>> {
        let row: Option<Row> = rows(
            "UPDATE shared.tenants SET name = coalesce($2, name), config = coalesce($3::jsonb::json, config), \
             is_active = coalesce($4, is_active), updated_at = now() WHERE id = $1 \
             RETURNING id, slug, name, schema_name, is_active, config::text, created_at",
        )
        .bind(id)
        .bind(name)
        .bind(config)
        .bind(active)
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(tenant))
    }

    /// Drops a tenant's schema with everything in it, and its registry row.
    pub async fn delete_tenant(&mut self, tenant: &Tenant) -> Result<()> {
        lock(self.connection(), &tenant.schema_name).await?;
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", quoted(&tenant.schema_name));
        self.connection().execute(drop.as_str()).await?;
        sql("DELETE FROM shared.tenants WHERE id = $1").bind(tenant.id).execute(self.connection()).await?;
        self.audit("tenant.deleted", tenant.id, &tenant.slug, None).await
    }
}
