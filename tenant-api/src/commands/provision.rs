//! `provision`: makes a tenant.

use super::{CommandError, say};
use crate::domain::Invalid;
use crate::domain::email::Email;
use crate::domain::password::NewPassword;
use crate::domain::platform::PlatformAdmin;
use crate::domain::slug::Slug;
use crate::domain::without_nul;
use crate::service::App;
use crate::service::tenants::FirstAdmin;
use crate::settings::Settings;

/// Most characters of a tenant's name.
const MAX_NAME: usize = 200;

const NO_PASSWORD: &str = "--admin-email needs ADMIN_PASSWORD or --admin-password";

#[derive(clap::Args)]
pub(super) struct Args {
    /// 3 to 50 lower-case letters, digits and hyphens
    #[arg(long)]
    slug: String,
    /// Name for people
    #[arg(long)]
    name: String,
    /// E-mail address of the first admin
    #[arg(long)]
    admin_email: Option<String>,
    /// Password of the first admin; better given as ADMIN_PASSWORD in the environment, which other users of the machine do not see
    #[arg(long, requires = "admin_email")]
    admin_password: Option<String>,
}

pub(super) async fn run(args: Args, settings: &Settings) -> Result<(), CommandError> {
    let slug = Slug::parse(&args.slug).map_err(|error| wrong("--slug", &error))?;
    without_nul(&args.name).map_err(|error| wrong("--name", &error))?;
    if args.name.is_empty() || args.name.chars().count() > MAX_NAME {
        return Err(CommandError::Refused(format!("--name: 1 to {MAX_NAME} characters")));
    }
    let first = match &args.admin_email {
        Some(email) => {
            let password = args.admin_password.or_else(|| std::env::var("ADMIN_PASSWORD").ok());
            let password = password.ok_or(CommandError::Usage(NO_PASSWORD))?;
            Some(FirstAdmin {
                email: Email::parse(email).map_err(|error| wrong("--admin-email", &error))?,
                password: NewPassword::parse(&password).map_err(|error| wrong("--admin-password", &error))?,
            })
        }
        None => None,
    };
    let with_admin = first.is_some();
    let app = App::new(settings)?;
    app.database().migrate_shared().await?;
    let tenant = app.create_tenant(PlatformAdmin::operator(), &slug, &args.name, first).await?;
    app.database().close().await;
    say(&format!(
        "id:     {}\nslug:   {}\nname:   {}\nschema: {}",
        tenant.id, tenant.slug, tenant.name, tenant.schema_name
    ))?;
    if with_admin { say("Admin user created") } else { Ok(()) }
}

fn wrong(option: &str, error: &Invalid) -> CommandError {
    CommandError::Refused(format!("{option}: {error}"))
}
