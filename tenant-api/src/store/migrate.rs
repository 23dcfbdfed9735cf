//! Brings schemas to this version: forward only, one transaction for each schema, any number of processes at once.
//!
//! Each schema says in its own table `schema_version` what it has, so that a backup of it says so too. A released migration never
//! changes; what a running older version still needs is taken away one release later (expand, then contract).

use futures::{Stream, StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use sqlx::{Executor as _, PgConnection, Row as _};

use super::database::Database;
use super::{Result as StoreResult, StoreError, quoted, rows, sql};
use crate::domain::api_key::hex;

/// One step of a schema. Steps are never changed and never reordered once released.
struct Migration {
    version: i32,
    name: &'static str,
    statements: &'static str,
}

macro_rules! migration {
    ($version:literal, $kind:literal, $name:literal) => {
        Migration {
            version: $version,
            name: $name,
            statements: include_str!(concat!("../../migrations/", $kind, "/", $name, ".sql")),
        }
    };
}

const SHARED: [Migration; 3] = [
    migration!(1, "shared", "0001_registry"),
    migration!(2, "shared", "0002_callers"),
    migration!(3, "shared", "0003_index_rights"),
];

const TENANT: [Migration; 2] =
    [migration!(1, "tenant", "0001_users_and_keys"), migration!(2, "tenant", "0002_sessions_and_audit")];

const SHARED_GRANTS: &str = include_str!("../../migrations/shared/grants.sql");
const TENANT_GRANTS: &str = include_str!("../../migrations/tenant/grants.sql");

/// The schema of the registry.
pub const SHARED_SCHEMA: &str = "shared";

/// The first half of every advisory lock that is taken here, so that no other program's lock is meant.
const LOCKS: i32 = 0x74_61_70_69;

/// Most schemas that are migrated at a time; fewer where the owner has fewer connections, since the wait for one is short.
const AT_ONCE: usize = 8;

/// Which set of migrations a schema gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaKind {
    Shared,
    Tenant,
}

impl SchemaKind {
    fn migrations(self) -> &'static [Migration] {
        match self {
            SchemaKind::Shared => &SHARED,
            SchemaKind::Tenant => &TENANT,
        }
    }

    fn grants(self) -> &'static str {
        match self {
            SchemaKind::Shared => SHARED_GRANTS,
            SchemaKind::Tenant => TENANT_GRANTS,
        }
    }

    /// The version that this program needs.
    pub fn version(self) -> i32 {
        self.migrations().last().map_or(0, |migration| migration.version)
    }
}

/// What came of migrating one schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    pub schema: String,
    /// Names of the steps that were taken, in order; empty if there was nothing to do.
    pub steps: Vec<&'static str>,
    pub version: i32,
}

/// Why a schema was left as it was.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("schema `{schema}` stays as it was")]
    Schema { schema: String, source: StoreError },
    #[error("schema `{schema}`: step {step} failed")]
    Step { schema: String, step: &'static str, source: StoreError },
    #[error("schema `{schema}`: step {version} is not the one that was applied there")]
    Changed { schema: String, version: i32 },
    #[error("no active or inactive tenant has the slug `{0}`")]
    NoSuchTenant(String),
}

impl Database {
    /// Brings `shared` to this version, and creates it where there is none.
    pub async fn migrate_shared(&self) -> Result<Migrated, MigrateError> {
        let mut transaction = self.begin_migration().await?;
        lock(&mut transaction, SHARED_SCHEMA).await?;
        if !schema_exists(&mut transaction, SHARED_SCHEMA).await? {
            create_schema(&mut transaction, SHARED_SCHEMA).await?;
        }
        let done = migrate(&mut transaction, SchemaKind::Shared, SHARED_SCHEMA, self.runtime_role()).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(done)
    }

    /// Brings the schemas of all tenants to this version, up to [`AT_ONCE`] at a time. One that fails does not stop the others.
    pub async fn migrate_tenants(&self) -> StoreResult<impl Stream<Item = Result<Migrated, MigrateError>>> {
        let schemas = self.tenant_schemas().await?;
        let migrated =
            schemas.into_iter().map(move |schema| async move { self.migrate_tenant(&schema).await });
        Ok(stream::iter(migrated).buffer_unordered(AT_ONCE.min(self.owner_connections())))
    }

    /// Brings one tenant's schema to this version.
    pub async fn migrate_tenant(&self, schema: &str) -> Result<Migrated, MigrateError> {
        self.migrate_one(schema).await.map_err(|error| match error {
            MigrateError::Store(source) => MigrateError::Schema { schema: schema.to_owned(), source },
            other => other,
        })
    }

    async fn migrate_one(&self, schema: &str) -> Result<Migrated, MigrateError> {
        let mut transaction = self.begin_migration().await?;
        lock(&mut transaction, schema).await?;
        let done = migrate(&mut transaction, SchemaKind::Tenant, schema, self.runtime_role()).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(done)
    }

    /// The schema of a tenant, active or not.
    pub async fn tenant_schema(&self, slug: &str) -> Result<String, MigrateError> {
        let mut transaction = self.begin_migration().await?;
        let found: Option<(String,)> = rows("SELECT schema_name FROM shared.tenants WHERE slug = $1")
            .bind(slug)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(StoreError::from)?;
        found.map(|(schema,)| schema).ok_or_else(|| MigrateError::NoSuchTenant(slug.to_owned()))
    }

    /// The schemas of all tenants, also of inactive ones: they may be made active again.
    pub async fn tenant_schemas(&self) -> StoreResult<Vec<String>> {
        let mut transaction = self.begin_migration().await?;
        let found: Vec<(String,)> = rows("SELECT schema_name FROM shared.tenants ORDER BY created_at, id")
            .fetch_all(&mut *transaction)
            .await?;
        Ok(found.into_iter().map(|(schema,)| schema).collect())
    }

    /// The version of `shared` as the run-time role sees it; `None` before the first migration.
    pub async fn shared_version(&self) -> StoreResult<Option<i32>> {
        match self.ask("SELECT max(version) FROM shared.schema_version").await {
            Ok(row) => Ok(row.map(|row| row.try_get(0)).transpose()?.flatten()),
            Err(StoreError::NotMigrated(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Waits until no other process changes this schema; held until the transaction ends.
pub(super) async fn lock(connection: &mut PgConnection, schema: &str) -> StoreResult<()> {
    sql("SELECT pg_advisory_xact_lock($1, hashtext($2))")
        .bind(LOCKS)
        .bind(schema)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn schema_exists(connection: &mut PgConnection, schema: &str) -> StoreResult<bool> {
    let (there,): (bool,) = rows("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
        .bind(schema)
        .fetch_one(connection)
        .await?;
    Ok(there)
}

/// Whether a schema belongs to the owner's role and holds no table, view or sequence.
pub(super) async fn schema_is_free(connection: &mut PgConnection, schema: &str) -> StoreResult<bool> {
    let (free,): (bool,) = rows(
        "SELECT bool_and(pg_has_role(nspowner, 'USAGE') AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid)) \
         FROM pg_namespace n WHERE nspname = $1",
    )
    .bind(schema)
    .fetch_one(connection)
    .await?;
    Ok(free)
}

pub(super) async fn create_schema(connection: &mut PgConnection, schema: &str) -> StoreResult<()> {
    connection.execute(format!("CREATE SCHEMA {}", quoted(schema)).as_str()).await?;
    Ok(())
}

/// Takes the steps that a schema lacks, and grants the run-time role its rights again. The caller holds the [`lock`].
pub(super) async fn migrate(
    connection: &mut PgConnection,
    kind: SchemaKind,
    schema: &str,
    runtime_role: Option<&str>,
) -> Result<Migrated, MigrateError> {
    enter_schema(connection, schema).await?;
    let applied = applied(connection).await?;
    let mut steps = Vec::new();
    for migration in kind.migrations() {
        let checksum = hex(&Sha256::digest(migration.statements.as_bytes()));
        match applied.iter().find(|(version, _)| *version == migration.version) {
            Some((_, known)) if *known == checksum => {}
            Some((version, _)) => {
                return Err(MigrateError::Changed { schema: schema.to_owned(), version: *version });
            }
            None => {
                take(connection, migration, &checksum).await.map_err(|source| MigrateError::Step {
                    schema: schema.to_owned(),
                    step: migration.name,
                    source,
                })?;
                steps.push(migration.name);
            }
        }
    }
    if let Some(role) = runtime_role {
        let grants = kind.grants().replace("{role}", &quoted(role)).replace("{schema}", &quoted(schema));
        connection.execute(grants.as_str()).await.map_err(StoreError::from)?;
    }
    // A newer program may have been here before: its version stays.
    let version = applied.iter().map(|(version, _)| *version).max().unwrap_or(0).max(kind.version());
    Ok(Migrated { schema: schema.to_owned(), steps, version })
}

async fn take(connection: &mut PgConnection, migration: &Migration, checksum: &str) -> StoreResult<()> {
    connection.execute(migration.statements).await?;
    sql("INSERT INTO schema_version (version, name, checksum) VALUES ($1, $2, $3)")
        .bind(migration.version)
        .bind(migration.name)
        .bind(checksum)
        .execute(connection)
        .await?;
    Ok(())
}

/// Makes `schema` the place where unqualified names are, for this transaction.
async fn enter_schema(connection: &mut PgConnection, schema: &str) -> StoreResult<()> {
    sql("SELECT set_config('search_path', quote_ident($1), true)")
        .bind(schema)
        .execute(&mut *connection)
        .await?;
    connection
        .execute(
            "CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY, name text NOT NULL, \
             checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .await?;
    Ok(())
}

async fn applied(connection: &mut PgConnection) -> StoreResult<Vec<(i32, String)>> {
    Ok(rows("SELECT version, checksum FROM schema_version ORDER BY version").fetch_all(connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_by_one_and_stand_in_the_names() {
        for kind in [SchemaKind::Shared, SchemaKind::Tenant] {
            for (place, migration) in kind.migrations().iter().enumerate() {
                assert_eq!(usize::try_from(migration.version).unwrap(), place + 1);
                assert!(
                    migration.name.starts_with(&format!("{:04}_", migration.version)),
                    "{}",
                    migration.name
                );
            }
        }
    }

    #[test]
    fn every_tenant_table_has_forced_row_level_security_and_the_policy() {
        let all: String = TENANT.iter().map(|migration| migration.statements).collect();
        let tables = all.lines().filter_map(|line| line.strip_prefix("CREATE TABLE "));
        for table in tables.map(|rest| rest.trim_end_matches(" (")) {
            for needed in [
                format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"),
                format!("ALTER TABLE {table} FORCE ROW LEVEL SECURITY;"),
                format!("CREATE POLICY tenant_isolation ON {table} FOR ALL"),
            ] {
                assert!(all.contains(&needed), "{needed}");
            }
        }
    }
}
