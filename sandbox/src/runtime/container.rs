//! The containers of an instance: started in the order that they ask for, each behind its startup probe. They share the
//! machine's loopback, as those of one instance share theirs on Cloud Run.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::logs::Source;
use super::machine::Machine;
use super::probe::{Ask, Probe};
use super::process::{Content, Ended, Launch, Process, Task};
use crate::services::run::condition::{Failure, HEALTH_CHECK};

/// Lines of the container's log that are part of a failure.
const TAIL: usize = 10;

/// A container that is to be started.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Empty for the only one.
    pub(crate) name: String,
    /// Names of those that have to be started before it (`Container.dependsOn`).
    pub(crate) needs: Vec<String>,
    /// `None` for an image that has no content here: it counts as started.
    pub(crate) launch: Option<Launch>,
    /// The port that gets the requests, for the one that has it.
    pub(crate) port: Option<u16>,
    pub(crate) startup: Value,
    pub(crate) liveness: Value,
}

/// A container that has started.
#[derive(Debug)]
pub(crate) struct Container {
    source: Source,
    memory: u64,
    process: Process,
    liveness: Option<Probe>,
}

/// Those that others wait for: `true` once they have started.
type Gates = BTreeMap<String, watch::Sender<bool>>;

/// Starts all containers of an instance. `port` is where the one that gets requests really listens, `id` names folders.
///
/// # Errors
/// The first that does not start, or that ends before all have, with the end of the log.
pub(crate) async fn start(
    machine: &Arc<Machine>,
    id: &str,
    port: u16,
    members: Vec<Member>,
) -> Result<Vec<Container>, Failure> {
    let gate = |member: &Member| (member.name.clone(), watch::Sender::new(false));
    let gates: Gates = members.iter().map(gate).collect();
    let several = members.len() > 1;
    let (tell, mut told) = mpsc::unbounded_channel();
    let starts = members.into_iter().map(|member| {
        let folder = if member.port.is_some() { id.to_owned() } else { format!("{id}.{}", member.name) };
        let title =
            if several { format!("The container '{}'", member.name) } else { "The container".to_owned() };
        let (gates, tell) = (&gates, tell.clone());
        async move {
            let beginning = Beginning { machine, folder, title, port };
            let Some(container) = beginning.start(member, gates).await? else { return Ok(None) };
            // Until the others have started nobody else looks after it.
            let (ended, memory) = (container.process.ending(), container.memory);
            let title = beginning.title;
            let watch = Task::spawn(async move {
                let _ = tell.send(format!("{title} {}.", ended.await.words(memory)));
            });
            Ok(Some((container, watch)))
        }
    });
    let started = tokio::select! {
        started = futures::future::try_join_all(starts) => started?,
        Some(message) = told.recv() => return Err(Failure::new(HEALTH_CHECK, message)),
    };
    Ok(started.into_iter().flatten().map(|(container, _)| container).collect())
}

/// One container on its way.
struct Beginning<'a> {
    machine: &'a Arc<Machine>,
    folder: String,
    title: String,
    /// Where the container that gets requests listens.
    port: u16,
}

impl Beginning<'_> {
    async fn start(&self, member: Member, gates: &Gates) -> Result<Option<Container>, Failure> {
        for need in member.needs.iter().filter_map(|need| gates.get(need)) {
            let _ = need.subscribe().wait_for(|started| *started).await;
        }
        let started = || gates.get(&member.name).map(|gate| gate.send_replace(true));
        let Some(launch) = member.launch else {
            started();
            return Ok(None);
        };
        let (own, real) = member.port.map_or((0, 0), |own| (own, self.port));
        let [startup, liveness] =
            [&member.startup, &member.liveness].map(|value| Probe::read(value, own, real));
        for probe in [&startup, &liveness].into_iter().flatten() {
            self.check_free(probe.port)?;
        }
        let (source, memory) = (launch.source.clone(), launch.memory);
        let image = matches!(launch.content, Content::Image(_));
        let cannot = |error: std::io::Error| {
            Failure::new(HEALTH_CHECK, format!("{} could not be started: {error}.", self.title))
        };
        let process = Process::start(self.machine, &self.folder, launch).await.map_err(cannot)?;
        let container = Container { source, memory, process, liveness };
        if let Some(startup) = startup {
            self.await_start(&container, &startup, image).await?;
        }
        started();
        Ok(Some(container))
    }

    /// Another program, or the same container of another instance, may have the port: that is no fault of this one.
    fn check_free(&self, port: u16) -> Result<(), Failure> {
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(());
        }
        let message = format!(
            "{} cannot have port {port}, which its probe asks: something on this machine listens on it. In the sandbox \
             containers of all instances share the machine's ports.",
            self.title
        );
        Err(Failure::new(HEALTH_CHECK, message))
    }

    async fn await_start(&self, container: &Container, startup: &Probe, image: bool) -> Result<(), Failure> {
        let machine = self.machine;
        let outcome = tokio::select! {
            biased;
            ended = container.process.ended() => Err(self.ended_early(container, &ended, startup)),
            probed = startup.until_success(machine.options.second) => {
                probed.map_err(|why| self.not_healthy(container, startup, &why))
            }
        };
        let Err(message) = outcome else {
            let text = format!(
                "STARTUP {} probe succeeded for the container on port {}.",
                startup.title(),
                startup.port
            );
            machine.logs.platform(&container.source, "INFO", &text, machine.now());
            return Ok(());
        };
        container.process.stop();
        // What it still says while it ends belongs to the failure.
        container.process.ended().await;
        machine.logs.platform(&container.source, "ERROR", &message, machine.now());
        let kind = if image { "" } else { " (a command of this machine, in place of the image)" };
        let mut message = format!("{message}{kind}");
        let tail = machine.logs.tail(&container.source, TAIL);
        if !tail.is_empty() {
            message = format!("{message}\nThe last lines of its log:\n  {}", tail.join("\n  "));
        }
        Err(Failure::new(HEALTH_CHECK, message))
    }

    fn ended_early(&self, container: &Container, ended: &Ended, startup: &Probe) -> String {
        let before = match startup.ask {
            Ask::Tcp if startup.port == self.port => {
                format!("before it listened on the port that the variable PORT={} names", self.port)
            }
            Ask::Tcp => format!("before it listened on port {}", startup.port),
            _ => format!("before its {} startup probe succeeded", startup.title()),
        };
        format!("{} {} {before}.", self.title, ended.words(container.memory))
    }

    fn not_healthy(&self, container: &Container, startup: &Probe, why: &str) -> String {
        let slow = "It may need more time than its startup probe gives it.";
        let mend = match container.process.ports() {
            Some(ports) if ports.is_empty() => format!("It listens on no port. {slow}"),
            Some(ports) if !ports.contains(&startup.port) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                format!("It listens on port {} instead.", ports.join(", "))
            }
            _ => slow.to_owned(),
        };
        let title = &self.title;
        match startup.ask {
            Ask::Tcp if startup.port == self.port => format!(
                "{title} started but did not listen on the port that the variable PORT={} names: {why}. {mend}",
                startup.port
            ),
            Ask::Tcp => format!("{title} started but did not listen on port {}: {why}. {mend}", startup.port),
            _ => format!(
                "{title} started but its {} startup probe failed {} times: {why}. {mend}",
                startup.title(),
                startup.failures
            ),
        }
    }
}

impl Container {
    pub(crate) fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// SIGTERM, and SIGKILL ten seconds later.
    pub(crate) fn stop(&self) {
        self.process.stop();
    }

    pub(crate) async fn ended(&self) -> Ended {
        self.process.ended().await
    }

    /// Says in its log how it ended.
    pub(crate) fn tell_end(&self, machine: &Machine, ended: &Ended) {
        let severity = match ended {
            Ended::Exit(0) => "INFO",
            Ended::Memory(_) => "ERROR",
            _ => "WARNING",
        };
        let text = format!("The container {}.", ended.words(self.memory));
        machine.logs.platform(&self.source, severity, &text, machine.now());
    }

    /// Resolves when the liveness probe has failed as often as it may, and has said so.
    pub(crate) async fn failed_liveness(&self, machine: &Machine) {
        let Some(probe) = &self.liveness else { return std::future::pending().await };
        let second = machine.options.second;
        loop {
            if let Err(why) = probe.until_success(second).await {
                let text = format!("LIVENESS probe failed: {why}. The instance is ended.");
                machine.logs.platform(&self.source, "ERROR", &text, machine.now());
                return;
            }
            tokio::time::sleep(second * probe.period.max(1)).await;
        }
    }
}
