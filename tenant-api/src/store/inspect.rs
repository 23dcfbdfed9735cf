//! Looks at the database as it is, for `doctor`: a claim that isolation holds is worth what was looked at.

use super::database::Database;
use super::migrate::{SHARED_SCHEMA, SchemaKind};
use super::{Result, rows};

/// The condition of every policy, as PostgreSQL prints it.
const CONDITION: &str = "((tenant_id)::text = current_setting('app.current_tenant_id'::text, true))";

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
    /// For each policy: name, permissive, commands, USING, WITH CHECK.
    policies: Vec<Policy>,
}

struct Policy {
    name: String,
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
        let tables = self.tables(SHARED_SCHEMA).await?;
        findings.extend(tables.iter().filter_map(|table| judge_owner(SHARED_SCHEMA, table)));
        let schemas = self.tenant_schemas().await?;
        for schema in &schemas {
            let version = self.version(schema).await?;
            findings.extend(judge_version(schema, SchemaKind::Tenant, version));
            let tables = self.tables(schema).await?;
            findings.extend(tables.iter().flat_map(|table| judge(schema, table)));
        }
        findings.extend(self.strays(&schemas).await?);
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

    async fn tables(&self, schema: &str) -> Result<Vec<Table>> {
        let mut transaction = self.begin_migration().await?;
        let runtime = self.runtime_role();
        let tables: Vec<(String, bool, bool, bool)> = rows(
            "SELECT c.relname::text, c.relrowsecurity, c.relforcerowsecurity, coalesce(pg_get_userbyid(c.relowner) = $2, false) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relname <> 'schema_version' ORDER BY 1",
        )
        .bind(schema)
        .bind(runtime)
        .fetch_all(&mut *transaction)
        .await?;
        let mut found = Vec::new();
        for (name, enabled, forced, owned_by_runtime) in tables {
            let policies: Vec<(String, String, Option<String>, Option<String>)> = rows(
                "SELECT policyname::text, cmd, qual, with_check FROM pg_policies WHERE schemaname = $1 AND tablename = $2",
            )
            .bind(schema)
            .bind(&name)
            .fetch_all(&mut *transaction)
            .await?;
            let policies = policies
                .into_iter()
                .map(|(name, command, using, check)| Policy { name, for_all: command == "ALL", using, check })
                .collect();
            found.push(Table { name, enabled, forced, owned_by_runtime, policies });
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
    let problem = || format!("table `{}` belongs to the role that serves requests", table.name);
    table.owned_by_runtime.then(|| Finding::new(schema, problem()))
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
