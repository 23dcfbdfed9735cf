//! `migrate`: brings schemas to this version.

use std::pin::pin;

use futures::StreamExt as _;

use super::{CommandError, say};
use crate::settings::Settings;
use crate::store::database::Database;
use crate::store::migrate::Migrated;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only the registry
    #[arg(long, conflicts_with_all = ["tenant", "all"])]
    shared: bool,
    /// Only the schema of this tenant
    #[arg(long, value_name = "SLUG", conflicts_with = "all")]
    tenant: Option<String>,
    /// The registry and all tenants; the default
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(args: &Args, settings: &Settings) -> Result<(), CommandError> {
    let database = Database::new(settings);
    let done = if args.shared {
        told(&database.migrate_shared().await?)
    } else if let Some(slug) = &args.tenant {
        let schema = database.tenant_schema(slug).await?;
        told(&database.migrate_tenant(&schema).await?)
    } else {
        all(&database).await
    };
    database.close().await;
    done
}

/// Goes on after a schema that fails, so that one broken tenant does not hold up the others, and fails at the end.
async fn all(database: &Database) -> Result<(), CommandError> {
    told(&database.migrate_shared().await?)?;
    let mut migrated = pin!(database.migrate_tenants().await?);
    let (mut count, mut failed) = (0, Vec::new());
    while let Some(one) = migrated.next().await {
        count += 1;
        match one {
            Ok(done) => told(&done)?,
            Err(error) => failed.push(format!("\n  {}", crate::error_chain(&error))),
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    // They end in any order; a list is read in one.
    failed.sort();
    Err(CommandError::Refused(format!(
        "{} of {count} tenants' schemas failed; run this again when it is mended:{}",
        failed.len(),
        failed.concat()
    )))
}

fn told(done: &Migrated) -> Result<(), CommandError> {
    let steps = if done.steps.is_empty() { "nothing to do".to_owned() } else { done.steps.join(", ") };
    say(&format!("{}: version {}, {steps}", done.schema, done.version))
}
