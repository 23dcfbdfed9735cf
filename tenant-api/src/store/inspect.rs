//! Looks at the database as it is, for `doctor`: a claim that isolation holds is worth what was looked at.

use super::database::Database;
use super::migrate::{SHARED_SCHEMA, SchemaKind};
use super::{Result, rows};

/// The condition of every policy, as PostgreSQL prints it.
const CONDITION: &str = "((tenant_id)::text = current_setting('app.current_tenant_id'::text, true))";

/// The tables that every tenant has.
const TABLES: [&str; 4] = ["users", "api_keys", "sessions", "audit_log"];

/// Something that is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The schema, or the role.
    pub place: String,
    pub problem: String,
}

impl Finding {
    fn new(place: &str, problem: impl Into<String>) -> Self {
        Self { place: place.to_owned(), problem: problem.into() }
    }
}

/// A table of a tenant's schema, as the catalogues describe it.
struct Table {
    name: String,
    enabled: bool,
    forced: bool,
    /// Owned by the run-time role, which could then switch row-level security off.
    owned_by_runtime: bool,
    /// Owned by the role that migrates.
    owned_by_owner: bool,
    policies: Vec<Policy>,
}

struct Policy {
    name: String,
    /// Lets rows through, whatever is done and whoever asks.
    for_all: bool,
    using: Option<String>,
    check: Option<String>,
}

impl Database {
    /// Checks `shared` and the schemas of all tenants: their versions, row-level security and policies of each table.
    pub async fn inspect(&self) -> Result<Vec<Finding>> {
        let mut findings = self.inspect_version(SHARED_SCHEMA, SchemaKind::Shared).await?;
        if !findings.is_empty() {
            return Ok(findings);
        }
        findings.extend(self.inspect_registry_rights().await?);
        for schema in self.tenant_schemas().await? {
            let behind = self.inspect_version(&schema, SchemaKind::Tenant).await?;
            let tables = self.tables(&schema).await?;
            findings.extend(tables.iter().flat_map(|table| judge(&schema, table)));
            if behind.is_empty() {
                findings.extend(missing(&schema, &tables));
            }
            findings.extend(behind);
        }
        Ok(findings)
    }

    async fn inspect_version(&self, schema: &str, kind: SchemaKind) -> Result<Vec<Finding>> {
        let mut transaction = self.begin_migration().await?;
        let (there,): (bool,) = rows("SELECT to_regclass(quote_ident($1) || '.schema_version') IS NOT NULL")
            .bind(schema)
            .fetch_one(&mut *transaction)
            .await?;
        if !there {
            return Ok(vec![Finding::new(schema, "was never migrated: run `tenant-api migrate --all`")]);
        }
        super::sql("SELECT set_config('search_path', quote_ident($1), true)")
            .bind(schema)
            .execute(&mut *transaction)
            .await?;
        let (version,): (Option<i32>,) =
            rows("SELECT max(version) FROM schema_version").fetch_one(&mut *transaction).await?;
        let (version, needed) = (version.unwrap_or(0), kind.version());
        let behind = version < needed;
        let problem =
            format!("has version {version}, this program needs {needed}: run `tenant-api migrate --all`");
        Ok(behind.then(|| Finding::new(schema, problem)).into_iter().collect())
    }

    /// The registry says who is a tenant and which versions there are: those who serve requests read it, and change only the
    /// index of keys.
    async fn inspect_registry_rights(&self) -> Result<Vec<Finding>> {
        let mut transaction = self.begin_migration().await?;
        let changeable: Vec<(String,)> = rows(
            "SELECT c.relname::text FROM pg_class c JOIN pg_roles r ON r.rolname = $2 AND NOT r.rolsuper \
             WHERE c.relnamespace = quote_ident($1)::regnamespace AND c.relkind = 'r' AND c.relname <> 'api_key_index' \
             AND has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') ORDER BY 1",
        )
        .bind(SHARED_SCHEMA)
        .bind(self.runtime_role())
        .fetch_all(&mut *transaction)
        .await?;
        let finding = |(name,): (String,)| {
            Finding::new(SHARED_SCHEMA, format!("the role that serves requests may change table `{name}`"))
        };
        Ok(changeable.into_iter().map(finding).collect())
    }

    async fn tables(&self, schema: &str) -> Result<Vec<Table>> {
        let mut transaction = self.begin_migration().await?;
        let runtime = self.runtime_role();
        // Besides tables also what holds copies of their rows, or reads them from elsewhere: nothing isolates tenants there.
        let tables: Vec<(String, bool, bool, bool, bool)> = rows(
            "SELECT c.relname::text, c.relrowsecurity, c.relforcerowsecurity, coalesce(pg_get_userbyid(c.relowner) = $2, false), \
             pg_get_userbyid(c.relowner) = current_user FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'm', 'f') AND c.relname <> 'schema_version' ORDER BY 1",
        )
        .bind(schema)
        .bind(runtime)
        .fetch_all(&mut *transaction)
        .await?;
        let mut found = Vec::new();
        for (name, enabled, forced, owned_by_runtime, owned_by_owner) in tables {
            let policies: Vec<(String, bool, Option<String>, Option<String>)> = rows(
                "SELECT policyname::text, cmd = 'ALL' AND permissive = 'PERMISSIVE' AND roles = '{public}', qual, with_check \
                 FROM pg_policies WHERE schemaname = $1 AND tablename = $2",
            )
            .bind(schema)
            .bind(&name)
            .fetch_all(&mut *transaction)
            .await?;
            let policies = policies
                .into_iter()
                .map(|(name, for_all, using, check)| Policy { name, for_all, using, check })
                .collect();
            found.push(Table { name, enabled, forced, owned_by_runtime, owned_by_owner, policies });
        }
        Ok(found)
    }
}

/// The tables that a schema of this version has lost.
fn missing(schema: &str, tables: &[Table]) -> Vec<Finding> {
    let lost = TABLES.iter().filter(|wanted| !tables.iter().any(|table| table.name == **wanted));
    lost.map(|name| Finding::new(schema, format!("table `{name}` is missing"))).collect()
}

fn judge(schema: &str, table: &Table) -> Vec<Finding> {
    let name = &table.name;
    let mut problems = Vec::new();
    if !table.enabled {
        problems.push(format!("table `{name}` has row-level security switched off"));
    }
    if !table.forced {
        problems.push(format!("table `{name}` does not force row-level security on its owner"));
    }
    if table.owned_by_runtime {
        problems.push(format!("table `{name}` belongs to the role that serves requests"));
    } else if !table.owned_by_owner {
        problems.push(format!("table `{name}` does not belong to the role that migrates it"));
    }
    if !table.policies.iter().any(|policy| policy.name == "tenant_isolation") {
        problems.push(format!("table `{name}` has no policy `tenant_isolation`"));
    }
    for policy in &table.policies {
        // Policies add up: one more that lets rows through undoes the right one.
        let isolates = policy.for_all
            && policy.using.as_deref() == Some(CONDITION)
            && policy.check.as_deref() == Some(CONDITION);
        if !isolates {
            problems.push(format!(
                "policy `{}` of table `{name}` is not the one that isolates tenants",
                policy.name
            ));
        }
    }
    problems.into_iter().map(|problem| Finding::new(schema, problem)).collect()
}
