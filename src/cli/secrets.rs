//! `deployer secrets list|set`: which values exist, and a way to add one that leaves no trace.

use std::io::{IsTerminal, Read};

use clap::Subcommand;
use jiff::Timestamp;

use super::session::{Reach, Session};
use super::{CliError, Exit, Global};
use crate::config::model;
use crate::gcp::{ErrorKind, GcpError, Payload};
use crate::inventory;
use crate::resource::kinds::secret::{self, Secret};
use crate::resource::{Address, Owner, Ownership};
use crate::view::Out;

/// List secrets and add values
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show each secret with its versions and readers; never a value
    List(List),
    /// Add a version with a value from standard input or a hidden prompt
    #[command(after_help = "Examples:
  deployer secrets set staging database-url            asks, without showing what is typed
  pass show staging/db | deployer secrets set staging database-url
  deployer secrets set staging db-url --tenant acme    the same as acme/db-url
The value is never an argument: arguments can be read by every process of the machine.")]
    Set(Set),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Name of the environment
    #[arg(value_name = "ENV")]
    environment: String,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
struct Set {
    /// Name of the environment
    #[arg(value_name = "ENV")]
    environment: String,
    /// The secret's name in the YAML (`secrets.NAME`); SLUG/NAME for one of a tenant
    name: String,
    /// The tenant whose secret it is
    #[arg(long, value_name = "SLUG")]
    tenant: Option<String>,
    /// Keep the line end that closes standard input
    #[arg(long)]
    keep_newline: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Set {
    /// The name in [`crate::config::Environment::secrets`].
    fn alias(&self) -> String {
        match &self.tenant {
            Some(slug) => format!("{slug}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let (environment, reach) = match &args.verb {
        Verb::List(list) => (&list.environment, &list.reach),
        Verb::Set(set) => (&set.environment, &set.reach),
    };
    let session = Session::open(environment, global, reach, out).await?;
    let result = match &args.verb {
        Verb::List(_) => list(&session, out).await,
        Verb::Set(args) => set(args, &session, out).await,
    };
    session.close().await;
    result
}

async fn list(session: &Session, out: &Out) -> Result<Exit, CliError> {
    let list = inventory::secrets(&session.connection.gcp, &session.env, &session.others).await?;
    out.secrets(&list, Timestamp::now());
    Ok(Exit::Fine)
}

async fn set(args: &Set, session: &Session, out: &Out) -> Result<Exit, CliError> {
    let name = &args.alias();
    let declared = declared(session, name)?;
    let payload = payload(args)?;
    let gcp = &session.connection.gcp;
    let project = &session.env.project.id;
    let full_name = secret::full_name(project, &declared.id);
    let existing = inventory::versions(gcp, project, &declared.id).await?;
    session.connection.interrupts.writing();
    if existing.is_none() {
        make(session, declared, out).await?;
    } else if let Some(other) = other_system(session, &full_name).await? {
        return Err(CliError::user(format!(
            "the secret {} belongs to {other}: nothing was added",
            declared.id
        ))
        .hint(format!("choose another `id` for `{name}`, or take it over with apply and --adopt")));
    }
    let expected = existing.iter().flatten().map(|version| version.number).max().unwrap_or(0) + 1;
    let number = gcp.add_version(&full_name, payload, expected).await?;
    out.secret_set(&session.env.name, name, &declared.id, number);
    Ok(Exit::Fine)
}

/// The owner of a secret that bears the mark of another system, as `SYSTEM/ENVIRONMENT`.
async fn other_system(session: &Session, full_name: &str) -> Result<Option<String>, GcpError> {
    let doc = session.connection.gcp.secret(full_name).await?.unwrap_or_default();
    Ok(match Ownership::owner_by_labels(&doc) {
        Owner::Marked(mark) if mark.system != session.env.system => {
            Some(format!("{}/{}", mark.system, mark.environment))
        }
        _ => None,
    })
}

fn declared<'a>(session: &'a Session, name: &str) -> Result<&'a model::Secret, CliError> {
    session.env.secrets.get(name).ok_or_else(|| {
        let known: Vec<_> = session.env.secrets.keys().map(String::as_str).collect();
        let environment = &session.env.name;
        let first = match name.split_once('/') {
            Some((slug, _)) if !session.env.tenants.contains_key(slug) => {
                format!("add the tenant first: deployer tenants add {environment} {slug}")
            }
            Some(_) => "list its name under `tenants.secrets` in the YAML first".to_owned(),
            None => "declare it under `secrets:` in the YAML first".to_owned(),
        };
        CliError::user(format!("{environment} declares no secret `{name}`"))
            .hint(format!("secrets: {}", known.join(", ")))
            .hint(first)
    })
}

/// Creates the secret as apply would, and enables its API where that is not done.
async fn make(session: &Session, declared: &model::Secret, out: &Out) -> Result<(), CliError> {
    let place = session.planner().place_of(&Address::of::<Secret>(&declared.id)).await?;
    let document = || secret::document(&secret::spec(declared), &place);
    let created = session.connection.gcp.create_secret(&place.project, &declared.id, document()).await;
    match created {
        Err(error) if matches!(error.kind, ErrorKind::ServiceDisabled { .. }) => {
            out.status("enabling secretmanager.googleapis.com");
            session
                .connection
                .gcp
                .enable_apis(&place.project, &["secretmanager.googleapis.com".to_owned()])
                .await?;
            session.connection.gcp.create_secret(&place.project, &declared.id, document()).await?;
        }
        other => drop(other?),
    }
    Ok(())
}

/// The value, from a pipe or from a prompt that shows nothing.
fn payload(args: &Set) -> Result<Payload, CliError> {
    let unreadable = |error: std::io::Error| CliError::user(format!("the value cannot be read: {error}"));
    let mut bytes = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(format!("Value of {}: ", args.alias())).map_err(unreadable)?.into_bytes()
    } else {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(MAX_BYTES + 2).read_to_end(&mut bytes).map_err(unreadable)?;
        bytes
    };
    if !args.keep_newline && bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(CliError::user("the value is empty: nothing was added"));
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(CliError::user("the value is larger than 64 KiB, which Secret Manager does not take"));
    }
    Ok(Payload::new(bytes))
}

/// Secret Manager's limit of a payload (`SecretPayload.data`).
const MAX_BYTES: u64 = 64 * 1024;
