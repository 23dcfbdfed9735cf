//! `dev`: a demo that needs nothing installed, on a PostgreSQL of its own that is gone with it.

use std::net::Ipv4Addr;

use private_servers::{Options, Postgres, StartError};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{CommandError, say, serve};
use crate::domain::Invalid;
use crate::domain::email::Email;
use crate::domain::password::NewPassword;
use crate::domain::platform::PlatformAdmin;
use crate::domain::slug::Slug;
use crate::service::App;
use crate::service::tenants::FirstAdmin;
use crate::settings::{Environment, Settings, Variables};
use crate::store::setup;
use crate::telemetry;

const DATABASE: &str = "tenant_api";
const SLUG: &str = "demo";
const EMAIL: &str = "admin@demo.example";
/// Known to everybody, and good enough for what only this machine reaches.
const PASSWORD: &str = "demo-password";

/// The settings of the environment, but for the database, which is ours.
fn settings(variables: &Variables) -> Result<Settings, CommandError> {
    let environment = variables.value("ENVIRONMENT").filter(|text| !text.trim().is_empty());
    if let Some(other) = environment.filter(|text| text.trim() != Environment::Development.as_str()) {
        return Err(CommandError::Refused(format!(
            "`dev` is for development, and `ENVIRONMENT` says `{other}`"
        )));
    }
    Ok(variables.settings(&["DATABASE_URL", "DATABASE_OWNER_URL"])?)
}

/// Serves until it is asked to stop. A signal before that ends the process at once, and PostgreSQL with it.
pub(super) async fn run(args: &serve::Args) -> Result<(), CommandError> {
    let mut settings = settings(&Variables::of_process())?;
    settings.port = args.port.unwrap_or(settings.port);
    telemetry::install(&settings);
    // First of all: somebody else's port should not cost the wait for a database.
    let listener = serve::listen(Ipv4Addr::LOCALHOST, settings.port).await?;
    tracing::info!("starting a PostgreSQL; where none is installed it is fetched, which takes a while once");
    // What is gone with the process need not be on a disk.
    let options = Options { fast: true, ..Options::default() };
    let postgres = Postgres::start(&options).await.map_err(|error| refusal(&error))?;
    let served = serve_on(&postgres, listener, settings).await;
    let stopped = postgres.stop().await.map_err(|error| refusal(&error));
    served.and(stopped)?;
    say("Stopped. PostgreSQL and the data are gone")
}

async fn serve_on(
    postgres: &Postgres,
    listener: TcpListener,
    mut settings: Settings,
) -> Result<(), CommandError> {
    let access = setup::make_database(&postgres.admin_url(), DATABASE).await?;
    settings.database = access.runtime;
    settings.database_owner = Some(access.owner);
    // The database is new: there is nothing that somebody could want to keep as it is.
    settings.migrate_on_start = true;
    let app = serve::open(&settings).await?;
    let tenant = demo_tenant(&app).await?;
    let base = format!("http://{}", listener.local_addr()?);
    say(&welcome(&base, tenant, &postgres.url("postgres", postgres.password(), DATABASE)))?;
    serve::until_asked(listener, app, &settings).await;
    Ok(())
}

async fn demo_tenant(app: &App) -> Result<Uuid, CommandError> {
    let impossible = |error: Invalid| CommandError::Refused(format!("the demo tenant: {error}"));
    let slug = Slug::parse(SLUG).map_err(impossible)?;
    let first = FirstAdmin {
        email: Email::parse(EMAIL).map_err(impossible)?,
        password: NewPassword::parse(PASSWORD).map_err(impossible)?,
    };
    Ok(app.create_tenant(PlatformAdmin::operator(), &slug, "Demo", Some(first)).await?.id)
}

fn refusal(error: &StartError) -> CommandError {
    let hint = error.hint().map(|hint| format!("\n  {hint}")).unwrap_or_default();
    CommandError::Refused(format!("{}{hint}", crate::error_chain(error)))
}

/// What to try, for people. The indented lines are commands of a shell, to be run in their order.
fn welcome(base: &str, tenant: Uuid, database: &str) -> String {
    let api = format!("{base}/api/v1");
    let json = "-H 'Content-Type: application/json'";
    format!(
        r#"
tenant-api serves at {base}, to this machine only. Routes: {base}/docs
Tenant `{SLUG}`, user {EMAIL}, password {PASSWORD}

Log in:
  TOKEN=$(curl -s {api}/auth/login -H 'X-Tenant-ID: {tenant}' {json} -d '{{"email":"{EMAIL}","password":"{PASSWORD}"}}' | sed -E 's/.*"access_token":"([^"]+)".*/\1/')

Who am I:
  curl -s {api}/auth/me -H "Authorization: Bearer $TOKEN"; echo

Make an API key, and use it instead:
  KEY=$(curl -s {api}/auth/api-keys -H "Authorization: Bearer $TOKEN" {json} -d '{{"name":"mine"}}' | sed -E 's/.*"key":"([^"]+)".*/\1/')
  curl -s {api}/auth/me -H "X-API-Key: $KEY"; echo

Make another tenant; in development nobody is asked for a credential there:
  curl -s {api}/tenants {json} -d '{{"slug":"second","name":"Second"}}'; echo

Look into the database, as a superuser:
  psql {database}

Ctrl-C stops it all, and the data goes with it."#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &'static [(&str, &str)]) -> Result<Settings, CommandError> {
        let process =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        settings(&Variables::new(process, None))
    }

    fn refused(variables: &'static [(&str, &str)]) -> Option<String> {
        of(variables).err().map(|error| error.to_string())
    }

    #[test]
    fn only_development_has_a_demo() {
        assert_eq!(refused(&[]), None);
        assert_eq!(refused(&[("ENVIRONMENT", "")]), None);
        let said = [refused(&[("ENVIRONMENT", "staging")]), refused(&[("ENVIRONMENT", "production")])];
        for (said, environment) in said.into_iter().zip(["staging", "production"]) {
            let said = said.unwrap();
            assert!(said.contains("is for development") && said.contains(environment), "{said}");
        }
    }

    #[test]
    fn a_database_of_the_environment_is_never_touched() {
        assert_eq!(refused(&[("DATABASE_URL", "not even an address")]), None);
        let settings = of(&[("DATABASE_URL", "postgresql://u@elsewhere/d")]).unwrap();
        assert_ne!(settings.database.get_host(), "elsewhere");
    }
}
