//! `deployer tenants list|add|remove`: who there is, and edits of the YAML that say who there is to be.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::session::{Aim, Reach, Session, root};
use super::{CliError, Exit, Global};
use crate::config::model::Environment;
use crate::config::{self, Inputs, TenantChange};
use crate::plan::Plan;
use crate::view::{Out, TenantEdit, TenantRow, TenantSecret};

/// List, add and remove tenants
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the tenants with their secrets and jobs, without network
    List(List),
    /// Add a tenant to the YAML, then plan
    #[command(after_help = "Examples:
  deployer tenants add dev acme
  deployer tenants add staging acme --name \"Acme Inc.\" --sandbox
  deployer tenants add production acme --in environments/base.yaml --no-plan
Comments and everything else in the file stay as they are. Nothing is written when any
environment would be wrong with the new tenant. The plan only shows what follows: a first
release chooses its images when it is applied.")]
    Add(Add),
    /// Remove a tenant from the YAML, then plan
    #[command(after_help = "Examples:
  deployer tenants remove dev acme
  deployer tenants remove dev acme --in environments/dev.yaml    only there: the base keeps it
Comments right above the tenant, indented like it, go with it. Its secrets and jobs stay until
`deployer apply ENV --prune`; protected ones stay even then.")]
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Name of the environment
    #[arg(value_name = "ENV")]
    environment: String,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Name of the environment
    #[arg(value_name = "ENV")]
    environment: String,
    /// Its short name, which names of secrets and jobs are made from
    slug: String,
    /// Its name for people [default: SLUG]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// Name of the environment
    #[arg(value_name = "ENV")]
    environment: String,
    /// Its key in `tenants.list`
    slug: String,
    #[command(flatten)]
    way: Way,
}

/// How a file is edited, and what follows.
#[derive(Debug, clap::Args)]
struct Way {
    /// The file to edit [default: the overlay if it has `tenants.list`, else the base]
    #[arg(long = "in", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Edit and do not plan
    #[arg(long)]
    no_plan: bool,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    match &args.verb {
        Verb::List(args) => list(args, global, out),
        Verb::Add(Add { environment, slug, name, way }) => {
            let change = TenantChange::Add { slug: slug.clone(), name: name.clone() };
            edit(environment, &change, way, global, out).await
        }
        Verb::Remove(Remove { environment, slug, way }) => {
            edit(environment, &TenantChange::Remove { slug: slug.clone() }, way, global, out).await
        }
    }
}

fn list(args: &List, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let env = environment(&root(global)?, &args.environment)?;
    let rows: Vec<_> = env.tenants.keys().filter_map(|slug| row(&env, slug)).collect();
    out.tenants(&env.name, &rows);
    Ok(Exit::Fine)
}

async fn edit(
    environment: &str,
    change: &TenantChange,
    way: &Way,
    global: &Global,
    out: &Out,
) -> Result<Exit, CliError> {
    let root = root(global)?;
    let before = self::environment(&root, environment)?;
    if !way.no_plan {
        // A plan that cannot be made is told before anything is written.
        Aim::of(&way.reach, &before)?;
    }
    let edit = config::edit_tenants(&root, environment, change, way.file.as_deref())?;
    edit.write(&root)?;
    out.status(&format!("Wrote {}.", edit.file.display()));
    let added = matches!(change, TenantChange::Add { .. });
    // Whom a secret belonged to is known before the tenant has gone.
    let knowing = if added { self::environment(&root, environment)? } else { before };
    let plan = plan(environment, way, global, out);
    // The file is written: whatever comes of the plan, that is told.
    let plan = if way.no_plan { None } else { Some(global.interrupts.ending(plan).await) };
    let edit = TenantEdit {
        environment: environment.to_owned(),
        slug: change.slug().to_owned(),
        added,
        file: edit.file,
        line: edit.line,
        environments: edit.environments,
        secrets: secrets(&knowing, change.slug()),
    };
    out.tenant_edited(&edit, plan.as_ref());
    Ok(match plan {
        Some(Err(error)) => error.exit(),
        Some(Ok(_)) | None => Exit::Fine,
    })
}

async fn plan(environment: &str, way: &Way, global: &Global, out: &Out) -> Result<Plan, CliError> {
    let session = Session::open(environment, global, &way.reach, out).await?;
    let plan = session.plan_preview().await;
    session.close().await;
    plan
}

fn environment(root: &Path, name: &str) -> Result<Environment, CliError> {
    Ok(config::load(root, name, &Inputs::default())?.environment)
}

fn row(env: &Environment, slug: &str) -> Option<TenantRow> {
    let tenant = env.tenants.get(slug)?;
    let jobs = env.jobs.values().filter(|job| job.tenant.as_deref() == Some(slug));
    let location = env.sources.find(&format!("tenants.list.{slug}"));
    Some(TenantRow {
        slug: tenant.slug.clone(),
        name: tenant.name.clone(),
        schema: tenant.schema.clone(),
        secrets: secrets(env, slug),
        jobs: jobs.map(|job| job.name.clone()).collect(),
        location: location.map(ToString::to_string),
    })
}

fn secrets(env: &Environment, slug: &str) -> Vec<TenantSecret> {
    let own = env.secrets.iter().filter(|(_, secret)| secret.tenant.as_deref() == Some(slug));
    own.map(|(alias, secret)| TenantSecret {
        name: alias.clone(),
        id: secret.id.clone(),
        protected: secret.protect,
    })
    .collect()
}
