//! `deployer up ENV`: the environment on this machine, applied, served and watched until Ctrl-C.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::interrupts::asked_to_end;
use super::session::{Reach, Selection, Session, root, sandbox_state};
use super::watching::Watch;
use super::{CliError, Exit, Global, apply, beside};
use crate::config::model::Target;
use crate::config::{self, Inputs};
use crate::local::started::Started;
use crate::view::{Format, Out};

/// Run an environment on this machine: sandbox, local services, builds, apply, logs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer up dev                        until Ctrl-C
  deployer up dev --port 9000            the sandbox and its services listen there, also next time
  deployer up staging --sandbox          the same with an environment that lives at Google
It starts the sandbox of this checkout and what `local.services` asks for, builds what is
missing, applies, and shows the services' URLs, logs and revisions. `deployer apply dev` and
all other commands work against it from another terminal. Ctrl-C, SIGTERM and even SIGKILL end
everything; data, ports and URLs stay the same until `deployer sandbox reset`.")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Port on 127.0.0.1 [default: the one of the last time, at first 8787 or a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Run it on the sandbox, whatever the environment's target is
    #[arg(long)]
    sandbox: bool,
}

/// The port of the first time, where nobody listens on it.
const FIRST_PORT: u16 = 8787;

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    if out.format() != Format::Human {
        let message = "`up` shows what happens for as long as it runs, which is no single document";
        return Err(CliError::user(message)
            .hint("leave --output out; `deployer apply ENV --output json` answers with one document"));
    }
    let root = root(global)?;
    // What lives there anyway needs no flag, in what is told to be run again.
    let reach = Reach { sandbox: !lives_on_sandbox(args, &root)?, endpoint: None };
    let state = sandbox_state(&root);
    if let Some(holder) = gcp_sandbox::holder(&state) {
        return Err(running_already(holder.address));
    }
    let port = Port::choose(args.port, &state);
    let mut session = Session::open_at(&args.environment, global, &reach, port.number, out)
        .await
        .map_err(|error| port.explained(error))?;
    session.connection.goes_on = true;
    let result = match session.connection.embedded() {
        // Somebody was faster.
        None => {
            session.connection.elsewhere.map_or(Ok(Exit::Failed), |address| Err(running_already(address)))
        }
        Some(address) => {
            port.keep(address.port());
            // Best effort: without it nobody is told when `local` changes.
            let _ = Started::of(&session.env, address).write(&state);
            let watched = Box::pin(watched(&session, out));
            let result = beside::local_services(&session, None, out, watched).await;
            Started::forget(&state);
            result
        }
    };
    session.close().await;
    result
}

fn running_already(address: std::net::SocketAddr) -> CliError {
    CliError::user(format!("a sandbox of this checkout is running already, at http://{address}"))
        .hint("end that `deployer` (Ctrl-C where it runs), or use it: deployer apply ENV")
}

/// Whether the environment lives on the sandbox. What lives at Google needs the flag to run on this machine.
fn lives_on_sandbox(args: &Args, root: &Path) -> Result<bool, CliError> {
    let name = &args.environment;
    let on_sandbox = config::load(root, name, &Inputs::default())?.environment.target == Target::Sandbox;
    if args.sandbox || on_sandbox {
        return Ok(on_sandbox);
    }
    Err(CliError::user(format!("{name} lives at Google, and `up` runs an environment on this machine"))
        .hint(format!("rehearse it: deployer up {name} --sandbox")))
}

/// Applies, and watches until it is asked to end.
async fn watched(session: &Session, out: &Out) -> Result<Exit, CliError> {
    let number = session.place().await?.project_number;
    let mut watch = Watch::new(session);
    let applied = apply::plan_and_apply(session, &Selection::default(), true, out).await?;
    if applied == Exit::Interrupted {
        return Ok(applied);
    }
    session.connection.interrupts.taken_over();
    if let Some(sandbox) = session.connection.embedded() {
        out.up(&session.env, number, sandbox, applied == Exit::Fine);
    }
    tokio::select! {
        () = asked_to_end() => {}
        () = watch.follow(session, out) => {}
    }
    out.up_ended();
    Ok(applied)
}

/// The port of the sandbox, the same in each run of a checkout.
struct Port {
    number: u16,
    /// Somebody has named it, now or earlier.
    kept: bool,
    file: PathBuf,
}

impl Port {
    fn choose(asked: Option<u16>, state: &Path) -> Self {
        let file = state.join("port");
        let known = || std::fs::read_to_string(&file).ok()?.trim().parse().ok().filter(|port| *port > 0);
        if let Some(number) = asked.or_else(known) {
            return Self { number, kept: true, file };
        }
        let free = TcpListener::bind(("127.0.0.1", FIRST_PORT)).is_ok();
        Self { number: if free { FIRST_PORT } else { 0 }, kept: false, file }
    }

    /// Best effort: without the file the next run takes the first port again.
    fn keep(&self, number: u16) {
        let _ = std::fs::write(&self.file, format!("{number}\n"));
    }

    /// A port that is taken is told with both ways out.
    fn explained(&self, error: CliError) -> CliError {
        let taken = self.kept && TcpListener::bind(("127.0.0.1", self.number)).is_err();
        if !taken {
            return error;
        }
        CliError::user(format!("port {} on 127.0.0.1 is taken by another program", self.number))
            .hint("end what listens there, or take another port: --port PORT")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_kept_until_another_is_asked_for() {
        let state = tempfile::tempdir().unwrap();
        Port::choose(Some(4711), state.path()).keep(4711);
        assert_eq!(Port::choose(None, state.path()).number, 4711);
        assert_eq!(Port::choose(Some(4712), state.path()).number, 4712);
    }

    #[test]
    fn what_is_no_port_is_not_kept() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("port"), "zero").unwrap();
        assert!(!Port::choose(None, state.path()).kept);
    }
}
