//! Looks at the database as it is, for `doctor`: a claim that isolation holds is worth what was looked at.

use super::database::Database;
use super::migrate::{SHARED_SCHEMA, SchemaKind};
use super::{Result, StoreError, rows};

/// The condition of every policy, as PostgreSQL prints it.
const CONDITION: &str = "((tenant_id)::text = current_setting('app.current_tenant_id'::text, true))";

/// The tables that every tenant has.
const TABLES: [&str; 4] = ["users", "api_keys", "sessions", "audit_log"];

/// PostgreSQL's code for what a role may not do.
const DENIED: &str = "42501";

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

/// A table, as the catalogues describe it.
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
    /// Checks `shared` and the schemas of all tenants, active or not: their versions, who owns their tables, and row-level security
    /// and policies of each. Also finds schemas that look like a tenant's and are none.
    pub async fn inspect(&self) -> Result<Vec<Finding>> {
        let shared = self.version(SHARED_SCHEMA).await?;
        let mut findings: Vec<Finding> =
            judge_version(SHARED_SCHEMA, SchemaKind::Shared, shared).into_iter().collect();
        if shared.is_none() {
            // Which tenants there are, nobody knows then.
            return Ok(findings);
        }
        findings.extend(self.inspect_registry_rights().await?);
        let tables = self.tables(SHARED_SCHEMA).await?;
        findings.extend(tables.iter().filter_map(|table| judge_owner(SHARED_SCHEMA, table)));
        let schemas = self.tenant_schemas().await?;
        for schema in &schemas {
            findings.extend(self.inspect_tenant(schema).await?);
        }
        findings.extend(self.strays(&schemas).await?);
        Ok(findings)
    }

    async fn inspect_tenant(&self, schema: &str) -> Result<Vec<Finding>> {
        let looked_at = async {
            let version = self.version(schema).await?;
            Ok((judge_version(schema, SchemaKind::Tenant, version), self.tables(schema).await?))
        };
        let (behind, tables) = match looked_at.await {
            Ok(found) => found,
            Err(StoreError::Failed(sqlx::Error::Database(said)))
                if said.code().as_deref() == Some(DENIED) =>
            {
                let problem =
                    "belongs to another role than the one of DATABASE_OWNER_URL, which may not look into it";
                return Ok(vec![Finding::new(schema, problem)]);
            }
            Err(error) => return Err(error),
        };
        let mut findings: Vec<Finding> = tables.iter().flat_map(|table| judge(schema, table)).collect();
        if behind.is_none() {
            findings.extend(missing(schema, &tables));
        }
        findings.extend(behind);
        Ok(findings)
    }

    /// The version of a schema; `None` if it was never migrated.
    async fn version(&self, schema: &str) -> Result<Option<i32>> {
        let mut transaction = self.begin_migration().await?;
        let (there,): (bool,) = rows("SELECT to_regclass(quote_ident($1) || '.schema_version') IS NOT NULL")
            .bind(schema)
            .fetch_one(&mut *transaction)
            .await?;
        if !there {
            return Ok(None);
        }
        super::sql("SELECT set_config('search_path', quote_ident($1), true)")
            .bind(schema)
            .execute(&mut *transaction)
            .await?;
        let (version,): (Option<i32>,) =
            rows("SELECT max(version) FROM schema_version").fetch_one(&mut *transaction).await?;
        Ok(Some(version.unwrap_or(0)))
    }

    /// Schemas with a tenant's kind of name that the registry does not know: nothing keeps their rows apart or up to date.
    async fn strays(&self, known: &[String]) -> Result<Vec<Finding>> {
        let mut transaction = self.begin_migration().await?;
        let found: Vec<(String,)> = rows(
            "SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname::text, 'tenant_') AND nspname::text <> ALL ($1) ORDER BY 1",
        )
        .bind(known)
        .fetch_all(&mut *transaction)
        .await?;
        Ok(found
            .iter()
            .map(|(schema,)| Finding::new(schema, "belongs to no tenant of the registry"))
            .collect())
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

fn judge_version(schema: &str, kind: SchemaKind, version: Option<i32>) -> Option<Finding> {
    let needed = kind.version();
    let problem = match version {
        None => "was never migrated: run `tenant-api migrate --all`".to_owned(),
        Some(version) if version < needed => {
            format!("has version {version}, this program needs {needed}: run `tenant-api migrate --all`")
        }
        Some(_) => return None,
    };
    Some(Finding::new(schema, problem))
}

fn judge_owner(schema: &str, table: &Table) -> Option<Finding> {
    let name = &table.name;
    let problem = match (table.owned_by_runtime, table.owned_by_owner) {
        (true, _) => format!("table `{name}` belongs to the role that serves requests"),
        (_, false) => format!("table `{name}` does not belong to the role that migrates it"),
        _ => return None,
    };
    Some(Finding::new(schema, problem))
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
    let problems = problems.into_iter().map(|problem| Finding::new(schema, problem));
    problems.chain(judge_owner(schema, table)).collect()
}
