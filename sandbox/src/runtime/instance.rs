//! One instance of a revision: from its start to the moment when it may get requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::machine::{Machine, Port};
use super::probe::{Ask, Probe};
use super::process::{Content, Ended, Process, Task};
use crate::runtime::logs::Source;
use crate::services::run::condition::{Failure, HEALTH_CHECK};
use crate::services::run::launch::Serving;

/// Lines of the container's log that are part of a failure.
const TAIL: usize = 10;

/// An instance that has passed its startup probe.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) port: Port,
    pub(crate) source: Source,
    process: Process,
    memory: u64,
    /// Whether its readiness probe, if it has one, says that it may get requests.
    ready: AtomicBool,
    liveness: Option<Probe>,
    readiness: Option<Probe>,
}

impl Instance {
    /// Starts a process and waits until its startup probe succeeds.
    ///
    /// # Errors
    /// Why it did not, with the end of its log.
    pub(crate) async fn start(machine: &Arc<Machine>, serving: Serving) -> Result<Self, Failure> {
        let internal = |error: std::io::Error| {
            Failure::new("INTERNAL", format!("The instance could not be made: {error}."))
        };
        let number = machine.number();
        let port = Machine::port().map_err(internal)?;
        let id = format!("i{number}-{}", port.number);
        let mut launch = serving.launch;
        launch.source = launch.source.instance(&id);
        launch.env.insert("PORT".to_owned(), port.number.to_string());
        let (source, memory) = (launch.source.clone(), launch.memory);
        machine.logs.platform(&source, "INFO", "Starting new instance.", machine.now());
        for sidecar in &serving.sidecars {
            let text = format!("Sandbox: the container '{sidecar}' beside the main one is not started.");
            machine.logs.platform(&source, "WARNING", &text, machine.now());
        }
        let probe = |value| Probe::read(value, serving.port, port.number);
        let startup = probe(&serving.startup);
        let (liveness, readiness) = (probe(&serving.liveness), probe(&serving.readiness));
        let cannot = |error: std::io::Error| {
            Failure::new(HEALTH_CHECK, format!("The container could not be started: {error}."))
        };
        let image = matches!(launch.content, Content::Image(_));
        let process = Process::start(machine, &id, launch).await.map_err(cannot)?;
        let ready = AtomicBool::new(readiness.is_none());
        let instance = Self { id, port, source, process, memory, ready, liveness, readiness };
        let Some(startup) = startup else { return Ok(instance) };
        let outcome = tokio::select! {
            biased;
            ended = instance.process.ended() => Err(instance.ended_early(&ended, &startup)),
            probed = startup.until_success(machine.options.second) => probed.map_err(|why| instance.not_healthy(&startup, &why)),
        };
        match outcome {
            Ok(()) => {
                let text = format!(
                    "STARTUP {} probe succeeded for the container on port {}.",
                    startup.title(),
                    startup.port
                );
                machine.logs.platform(&instance.source, "INFO", &text, machine.now());
                Ok(instance)
            }
            Err(message) => {
                instance.process.stop();
                // What it still says while it ends belongs to the failure.
                instance.process.ended().await;
                machine.logs.platform(&instance.source, "ERROR", &message, machine.now());
                let kind = if image { "" } else { " (a command of this machine, in place of the image)" };
                let mut message = format!("{message}{kind}");
                let tail = machine.logs.tail(&instance.source, TAIL);
                if !tail.is_empty() {
                    message = format!("{message}\nThe last lines of its log:\n  {}", tail.join("\n  "));
                }
                Err(Failure::new(HEALTH_CHECK, message))
            }
        }
    }

    fn ended_early(&self, ended: &Ended, startup: &Probe) -> String {
        let before = match startup.ask {
            Ask::Tcp => {
                format!("before it listened on the port that the variable PORT={} names", self.port.number)
            }
            _ => format!("before its {} startup probe succeeded", startup.title()),
        };
        format!("The container {} {before}.", ended.words(self.memory))
    }

    fn not_healthy(&self, startup: &Probe, why: &str) -> String {
        let slow = "It may need more time than its startup probe gives it.";
        let mend = match self.process.ports() {
            Some(ports) if ports.is_empty() => format!("It listens on no port. {slow}"),
            Some(ports) if !ports.contains(&startup.port) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                format!("It listens on port {} instead.", ports.join(", "))
            }
            _ => slow.to_owned(),
        };
        match startup.ask {
            Ask::Tcp => format!(
                "The container started but did not listen on the port that the variable PORT={} names: {why}. {mend}",
                startup.port
            ),
            _ => format!(
                "The container started but its {} startup probe failed {} times: {why}. {mend}",
                startup.title(),
                startup.failures
            ),
        }
    }

    pub(crate) fn may_serve(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.process.has_ended()
    }

    /// It takes no connections: it gets no more requests, and is ended if it has not ended by itself.
    pub(crate) fn mark_gone(&self) {
        self.ready.store(false, Ordering::Relaxed);
        self.stop();
    }

    /// SIGTERM, and SIGKILL ten seconds later.
    pub(crate) fn stop(&self) {
        self.process.stop();
    }

    /// Watches over the instance until it has ended. `changed` is called when it may serve, or no longer.
    pub(crate) async fn watch(
        self: Arc<Self>,
        machine: Arc<Machine>,
        changed: impl Fn() + Clone + Send + 'static,
    ) {
        let readiness = self.readiness.clone().map(|probe| {
            let (one, second, changed) = (Arc::clone(&self), machine.options.second, changed.clone());
            Task::spawn(async move { one.follow_readiness(&probe, second, changed).await })
        });
        let ended = tokio::select! {
            ended = self.process.ended() => ended,
            why = self.failed_liveness(&machine) => {
                let text = format!("LIVENESS probe failed: {why}. The instance is ended.");
                machine.logs.platform(&self.source, "ERROR", &text, machine.now());
                self.ready.store(false, Ordering::Relaxed);
                changed();
                self.stop();
                self.process.ended().await
            }
        };
        drop(readiness);
        let severity = if ended == Ended::Exit(0) { "INFO" } else { "WARNING" };
        let severity = if matches!(ended, Ended::Memory(_)) { "ERROR" } else { severity };
        let text = format!("The container {}.", ended.words(self.memory));
        machine.logs.platform(&self.source, severity, &text, machine.now());
        changed();
    }

    /// Resolves when the liveness probe has failed as often as it may.
    async fn failed_liveness(&self, machine: &Machine) -> String {
        let Some(probe) = &self.liveness else { return std::future::pending().await };
        let second = machine.options.second;
        loop {
            if let Err(why) = probe.until_success(second).await {
                return why;
            }
            tokio::time::sleep(second * probe.period.max(1)).await;
        }
    }

    async fn follow_readiness(&self, probe: &Probe, second: std::time::Duration, changed: impl Fn()) {
        let mut failed = 0;
        loop {
            let good = probe.once(second).await.is_ok();
            failed = if good { 0 } else { failed + 1 };
            let ready = good || (self.ready.load(Ordering::Relaxed) && failed < probe.failures);
            if self.ready.swap(ready, Ordering::Relaxed) != ready {
                changed();
            }
            tokio::time::sleep(second * probe.period.max(1)).await;
        }
    }
}
