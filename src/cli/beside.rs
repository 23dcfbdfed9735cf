//! What runs beside the sandbox while a verb works: servers are started, and their URLs become versions of secrets.

use super::session::{Selection, Session, sandbox_state};
use super::{CliError, carrying_out};
use crate::local::delivered::Delivered;
use crate::local::started::Started;
use crate::local::{Delivery, LocalError, Servers};
use crate::resource::kinds::secret::{Secret, full_name};
use crate::resource::{Address, Layer};
use crate::view::Out;

impl From<LocalError> for CliError {
    fn from(error: LocalError) -> Self {
        Self::User { message: error.message, hints: error.hints }
    }
}

/// Does `work` beside the servers of the environment, which end with it. Nothing runs where the session is not on the
/// sandbox.
pub async fn local_services<T>(
    session: &Session,
    layer: Option<Layer>,
    out: &Out,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let servers = started(session, layer, out).await?;
    let done = work.await;
    let stopped = servers.stop().await;
    let done = done?;
    stopped?;
    Ok(done)
}

/// Starts the servers that the environment asks for and that no other `deployer` runs, and delivers their URLs, unless the
/// layer has no secrets.
async fn started(session: &Session, layer: Option<Layer>, out: &Out) -> Result<Servers, CliError> {
    if !session.connection.on_sandbox {
        return Ok(Servers::default());
    }
    let state = sandbox_state(&session.root);
    if let Some(address) = session.connection.elsewhere
        && Started::of(&session.env, address).differs(&state)
    {
        let command = format!("deployer up {}", session.env.name);
        out.warning(&format!(
            "`local` changed since `{command}` was started, which still runs what it was: end it (Ctrl-C) and run it again"
        ));
    }
    let (servers, deliveries) = Servers::start(&session.env, &state, |text| out.status(text)).await?;
    let delivered = deliver(session, &deliveries, layer, out).await;
    match delivered {
        Ok(()) => Ok(servers),
        Err(error) => {
            // What went wrong first is what is told.
            let _ = servers.stop().await;
            Err(error)
        }
    }
}

async fn deliver(
    session: &Session,
    deliveries: &[Delivery],
    layer: Option<Layer>,
    out: &Out,
) -> Result<(), CliError> {
    if deliveries.is_empty() || layer == Some(Layer::Release) {
        return Ok(());
    }
    let env = &session.env;
    let secrets: Vec<_> = deliveries
        .iter()
        .filter_map(|delivery| Some((env.secrets.get(&delivery.alias)?.id.clone(), delivery)))
        .collect();
    make(session, secrets.iter().map(|(id, _)| id.as_str()), out).await?;
    let gcp = &session.connection.gcp;
    let state = sandbox_state(&session.root);
    let mut known = Delivered::read(&state);
    for (id, delivery) in secrets {
        let name = full_name(&env.project.id, &id);
        let versions = gcp.list_versions(&name).await?.unwrap_or_default();
        let newest = versions.first().map(|version| version.number);
        let enabled =
            versions.iter().find(|version| version.state == "ENABLED").map(|version| version.number);
        if known.holds(&name, enabled, &delivery.url) {
            continue;
        }
        let next = newest.unwrap_or_default() + 1;
        let number = gcp.add_version(&name, delivery.url.clone(), next).await?;
        known.remember(&name, number, &delivery.url);
        known.write(&state).map_err(|error| {
            CliError::user(format!("{} cannot be written: {error}", state.display()))
                .hint("make the folder writable")
        })?;
        out.status(&format!("Put the URL of a local service into secret/{id} as version {number}."));
    }
    Ok(())
}

/// Makes the secrets that are not there: the plan of the rest takes the version that is about to be added.
async fn make(session: &Session, ids: impl Iterator<Item = &str>, out: &Out) -> Result<(), CliError> {
    let target = ids.map(Address::of::<Secret>).collect();
    let selection = Selection { target, ..Selection::default() };
    let plan = session.plan(&selection).await?;
    if plan.is_empty() {
        return Ok(());
    }
    out.status("Making the secrets of local services.");
    carrying_out::prepared(&session.connection, &plan, out).await
}
