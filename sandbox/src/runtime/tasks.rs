//! Executions of jobs: their tasks as processes, so many at a time, with retries and a time limit.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Runtime;
use super::process::{Ended, Process, Task};
use crate::operations;
use crate::server::lock;
use crate::services::run::execution::{self, Attempts, Plan};
use crate::services::run::{RunEffect, launch};

/// Starts what is to run and ends what is not any more. `open` are full names.
pub(super) fn look(runtime: &Arc<Runtime>, open: &[String]) {
    let mut running = lock(&runtime.executions);
    // Dropping a task ends its processes.
    running.retain(|name, _| open.contains(name));
    for name in open {
        if !running.contains_key(name) {
            let work = run(Arc::clone(runtime), name.clone());
            running.insert(name.clone(), Task::spawn(work));
        }
    }
}

async fn run(runtime: Arc<Runtime>, name: String) {
    let Some(Some(plan)) = runtime.with_world(|world| execution::begin(world, &name)) else { return };
    let places = Arc::new(Semaphore::new(plan.at_once));
    let mut tasks = JoinSet::new();
    for index in 0..plan.tasks {
        let (runtime, name, places) = (Arc::clone(&runtime), name.clone(), Arc::clone(&places));
        tasks.spawn(async move {
            let Ok(_place) = places.acquire().await else { return (index, Attempts::default()) };
            (index, one(&runtime, &name, index, plan).await)
        });
    }
    let mut failure = None;
    while failure.is_none()
        && let Some(ended) = tasks.join_next().await
    {
        let Ok((index, attempts)) = ended else { continue };
        failure.clone_from(&attempts.failure);
        runtime.with_world(|world| execution::task_ended(world, &name, index, &attempts));
    }
    // One task that has failed for good fails the execution; the others are ended.
    drop(tasks);
    runtime.with_world(|world| {
        execution::ended(world, &name, failure.as_deref());
        operations::hasten(world, |effect| match effect {
            RunEffect::Execute { execution } | RunEffect::ReconcileJob { execution: Some(execution), .. } => {
                *execution == name
            }
            _ => false,
        });
    });
}

/// Tries a task until it succeeds or has no more tries.
async fn one(runtime: &Arc<Runtime>, name: &str, index: i64, plan: Plan) -> Attempts {
    let mut attempts = Attempts::default();
    loop {
        let launch = runtime.with_world(|world| launch::task(world, name, index, attempts.retried));
        let launch = match launch {
            None => return attempts,
            Some(Err(failure)) => return Attempts { failure: Some(failure.message), ..attempts },
            Some(Ok(None)) => {
                let said = "Sandbox: the image has no content here; its stand-in did nothing and exited with status 0.";
                let source = super::logs::Source::task(name, index, attempts.retried);
                runtime.machine.logs.platform(&source, "NOTICE", said, runtime.machine.now());
                return Attempts { exit: Some(0), ..attempts };
            }
            Some(Ok(Some(launch))) => launch,
        };
        let (source, memory) = (launch.source.clone(), launch.memory);
        let id = format!("t{}", runtime.machine.number());
        let limit = runtime.machine.options.second.mul_f64(plan.timeout);
        let (ended, late) = match Process::start(&runtime.machine, &id, launch).await {
            Err(error) => (Ended::NotStarted(error.to_string()), false),
            Ok(process) => tokio::select! {
                ended = process.ended() => (ended, false),
                () = tokio::time::sleep(limit) => {
                    process.stop();
                    (process.ended().await, true)
                }
            },
        };
        attempts.exit = None;
        attempts.signal = None;
        match ended {
            Ended::Exit(status) => attempts.exit = Some(status),
            Ended::Signal(signal) => attempts.signal = Some(signal),
            Ended::Memory(_) | Ended::NotStarted(_) => {}
        }
        if ended == Ended::Exit(0) && !late {
            attempts.failure = None;
            return attempts;
        }
        let what = if late {
            format!("the container did not end within its timeout of {} s", plan.timeout)
        } else {
            format!("the container {}", ended.words(memory))
        };
        runtime.machine.logs.platform(
            &source,
            "ERROR",
            &format!("Attempt {}: {what}.", attempts.retried),
            runtime.machine.now(),
        );
        attempts.failure =
            Some(format!("Task {index} failed after {} attempts: {what}.", attempts.retried + 1));
        if attempts.retried >= plan.retries {
            return attempts;
        }
        attempts.retried += 1;
    }
}
