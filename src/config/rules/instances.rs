//! Scaling, CPU and memory: the combinations that Cloud Run refuses.

use super::super::diagnostic::Diagnostic;
use super::super::model::{Job, Metrics, Service};
use super::super::scalars;
use super::super::tree::{Findings, join};
use super::{at_value, containers};

const MI: u64 = 1024;
const GI: u64 = 1024 * MI;

pub(super) fn check(path: &str, service: &Service, findings: &mut Findings) {
    check_scaling(path, service, findings);
    let broken = containers(path, service)
        .any(|(path, _)| ["cpu", "memory"].iter().any(|key| findings.is_broken(&join(&path, key))));
    if broken {
        return;
    }
    let sizes = || {
        let collector = service.metrics.as_ref().map(|_| (Metrics::CPU, Metrics::MEMORY));
        let sidecars = service.sidecars.values().map(|sidecar| (&*sidecar.cpu, &*sidecar.memory));
        std::iter::once((&*service.main.cpu, &*service.main.memory)).chain(sidecars).chain(collector)
    };
    let cpu: u32 = sizes().filter_map(|(cpu, _)| scalars::millicpus(cpu)).sum();
    let memory: u64 = sizes().filter_map(|(_, memory)| scalars::kibibytes(memory)).sum();
    let alone = sizes().nth(1).is_none();
    let together = if alone { "" } else { " (all containers of an instance together)" };
    if is_cpu(cpu, alone) {
        check_memory(path, cpu, memory, &service.execution_environment, together, findings);
    } else {
        let message = format!("no instance can have {} CPUs{together}", scalars::cpu(cpu));
        let diagnostic = Diagnostic::error("cpu", message)
            .label("not a size")
            .hint("1, 2, 4, 6 or 8, or a part of one from 0.08 (80m) on");
        at_value(&join(path, "cpu"), diagnostic, findings);
    }
    if cpu < 1000 {
        check_part_of_cpu(path, service, findings);
    }
}

/// A job has one container, and runs in the second generation's environment.
pub(super) fn check_job(path: &str, job: &Job, findings: &mut Findings) {
    if ["cpu", "memory"].iter().any(|key| findings.is_broken(&join(path, key))) {
        return;
    }
    let cpu = scalars::millicpus(&job.container.cpu).unwrap_or_default();
    let memory = scalars::kibibytes(&job.container.memory).unwrap_or_default();
    if !is_cpu(cpu, true) || cpu < 1000 {
        let message = format!("no job can have {} CPUs", scalars::cpu(cpu));
        let diagnostic = Diagnostic::error("cpu", message).label("not a size").hint("1, 2, 4, 6 or 8");
        at_value(&join(path, "cpu"), diagnostic, findings);
    } else {
        check_memory(path, cpu, memory, &job.execution_environment, "", findings);
    }
    if job.parallelism > job.tasks {
        let message = format!("`parallelism` is {}, more than `tasks` ({})", job.parallelism, job.tasks);
        let diagnostic =
            Diagnostic::error("parallelism", message).label("more than there are").hint("raise `tasks`");
        at_value(&join(path, "parallelism"), diagnostic, findings);
    }
}

fn check_scaling(path: &str, service: &Service, findings: &mut Findings) {
    if service.min_instances <= service.max_instances {
        return;
    }
    let max = service.max_instances;
    let default = if findings.is_written(&join(path, "max_instances")) { "" } else { ", the default" };
    let message =
        format!("`min_instances` is {}, more than `max_instances` ({max}{default})", service.min_instances);
    let diagnostic =
        Diagnostic::error("scaling", message).label("more than the most").hint("raise `max_instances`");
    at_value(&join(path, "min_instances"), diagnostic, findings);
}

/// Cloud Run sizes: whole CPUs from its list, or a part of one. Several containers may add up to other sums.
fn is_cpu(millicpus: u32, alone: bool) -> bool {
    match millicpus {
        80..=1000 | 2000 | 4000 | 6000 | 8000 => true,
        1001..8000 => !alone,
        _ => false,
    }
}

/// Smallest and largest memory in kibibytes for an amount of CPU.
fn memory_for(millicpus: u32, gen2: bool) -> (u64, u64) {
    let smallest = if gen2 { 512 * MI } else { 128 * MI };
    match millicpus {
        0..500 => (smallest, 512 * MI),
        500..1000 => (smallest, GI),
        1000..2000 => (smallest, 4 * GI),
        2000..4000 => (smallest, 8 * GI),
        4000..6000 => (2 * GI, 16 * GI),
        6000..8000 => (4 * GI, 24 * GI),
        _ => (4 * GI, 32 * GI),
    }
}

fn check_memory(
    path: &str,
    cpu: u32,
    memory: u64,
    environment: &str,
    together: &str,
    findings: &mut Findings,
) {
    let (smallest, largest) = memory_for(cpu, environment == "gen2");
    if (smallest..=largest).contains(&memory) {
        return;
    }
    let (smallest, largest) = (scalars::memory(smallest), scalars::memory(largest));
    let message = format!(
        "{} of memory do not go with {} CPU in {environment}{together}: it takes {smallest} to {largest}",
        scalars::memory(memory),
        scalars::cpu(cpu)
    );
    let key = if findings.is_written(&join(path, "memory")) { "memory" } else { "cpu" };
    let diagnostic =
        Diagnostic::error("cpu-memory", message).label("not together").hint("change `memory` or `cpu`");
    at_value(&join(path, key), diagnostic, findings);
}

fn check_part_of_cpu(path: &str, service: &Service, findings: &mut Findings) {
    let mut refuse = |key: &str, wanted: &str| {
        let message = format!("with less than one CPU, `{key}` must be `{wanted}`");
        let diagnostic = Diagnostic::error("cpu-below-one", message)
            .label(format!("must be `{wanted}`"))
            .hint(format!("write `{key}: {wanted}`, or take a whole CPU"));
        at_value(&join(path, key), diagnostic, findings);
    };
    if service.concurrency != 1 {
        refuse("concurrency", "1");
    }
    if !service.main.cpu_idle {
        refuse("cpu_idle", "true");
    }
    if service.execution_environment != "gen1" {
        refuse("execution_environment", "gen1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_one_container_are_those_of_the_list() {
        for good in [80, 500, 999, 1000, 2000, 4000, 6000, 8000] {
            assert!(is_cpu(good, true), "{good}");
        }
        for bad in [0, 79, 1500, 3000, 5000, 9000] {
            assert!(!is_cpu(bad, true), "{bad}");
        }
        assert!(is_cpu(3000, false));
    }

    #[test]
    fn more_cpu_takes_more_memory() {
        assert_eq!(memory_for(1000, true), (512 * MI, 4 * GI));
        assert_eq!(memory_for(400, false), (128 * MI, 512 * MI));
        assert_eq!(memory_for(4000, true), (2 * GI, 16 * GI));
    }
}
