//! One instance of a revision: from its start to the moment when it may get requests, and to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::container::{self, Container};
use super::machine::{Machine, Port};
use super::probe::Probe;
use super::process::Task;
use crate::services::run::condition::Failure;
use crate::services::run::launch::Serving;

/// An instance whose containers have passed their startup probes.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) port: Port,
    containers: Vec<Container>,
    /// Whether its readiness probe, if it has one, says that it may get requests.
    ready: AtomicBool,
    readiness: Option<Probe>,
}

impl Instance {
    /// Starts the processes and waits until their startup probes succeed.
    ///
    /// # Errors
    /// Why one did not, with the end of the log.
    pub(crate) async fn start(machine: &Arc<Machine>, serving: Serving) -> Result<Self, Failure> {
        let internal = |error: std::io::Error| {
            Failure::new("INTERNAL", format!("The instance could not be made: {error}."))
        };
        let port = Machine::port().map_err(internal)?;
        let id = format!("i{}-{}", machine.number(), port.number);
        let source = serving.source.instance(&id);
        machine.logs.platform(&source, "INFO", "Starting new instance.", machine.now());
        let mut members = serving.members;
        for member in &mut members {
            let Some(launch) = &mut member.launch else {
                let text = format!(
                    "Sandbox: the container '{}' is not started, because its image has no content here.",
                    member.name
                );
                machine.logs.platform(&source, "WARNING", &text, machine.now());
                continue;
            };
            launch.source = launch.source.clone().instance(&id);
            if member.port.is_some() {
                launch.env.insert("PORT".to_owned(), port.number.to_string());
            }
        }
        let containers = container::start(machine, &id, port.number, members).await?;
        let readiness = Probe::read(&serving.readiness, serving.port, port.number);
        let ready = AtomicBool::new(readiness.is_none());
        Ok(Self { id, port, containers, ready, readiness })
    }

    pub(crate) fn may_serve(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.containers.iter().any(Container::has_ended)
    }

    /// It takes no connections: it gets no more requests, and is ended if it has not ended by itself.
    pub(crate) fn mark_gone(&self) {
        self.ready.store(false, Ordering::Relaxed);
        self.stop();
    }

    /// SIGTERM, and SIGKILL ten seconds later.
    pub(crate) fn stop(&self) {
        self.containers.iter().for_each(Container::stop);
    }

    /// Resolves when all of it has ended.
    pub(crate) async fn ended(&self) {
        futures::future::join_all(self.containers.iter().map(Container::ended)).await;
    }

    /// Watches over the instance until it has ended: it ends with the first of its containers. `changed` is called when it
    /// may serve, or no longer.
    pub(crate) async fn watch(
        self: Arc<Self>,
        machine: Arc<Machine>,
        changed: impl Fn() + Clone + Send + 'static,
    ) {
        let readiness = self.readiness.clone().map(|probe| {
            let (one, second, changed) = (Arc::clone(&self), machine.options.second, changed.clone());
            Task::spawn(async move { one.follow_readiness(&probe, second, changed).await })
        });
        let watched = self.containers.iter().map(|container| {
            let machine = &machine;
            Box::pin(async move {
                tokio::select! {
                    _ = container.ended() => {}
                    () = container.failed_liveness(machine) => {}
                }
            })
        });
        futures::future::select_all(watched).await;
        drop(readiness);
        self.ready.store(false, Ordering::Relaxed);
        changed();
        self.stop();
        for container in &self.containers {
            let ended = container.ended().await;
            container.tell_end(&machine, &ended);
        }
        changed();
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
