//! CPU and memory: which amounts there are and which go together.
//!
//! Facts: `ResourceRequirements.limits` in the run.v2 document, and the published CPU and memory limits of
//! Cloud Run services (an instance has up to 8 CPU and 32Gi over all its containers).

use super::super::access::{flag, int, list, text};
use super::super::quantity;
use super::super::violations::Violations;
use super::Workload;
use serde_json::Value;

const MI: i64 = 1 << 20;
const GI: i64 = 1 << 30;

/// Least and most memory in bytes by CPU in thousandths, for instances of one CPU and more.
const PAIRS: [(i64, i64, i64); 5] = [
    (1000, 128 * MI, 4 * GI),
    (2000, 128 * MI, 8 * GI),
    (4000, 2 * GI, 16 * GI),
    (6000, 4 * GI, 24 * GI),
    (8000, 4 * GI, 32 * GI),
];

/// Checks each container's limits and the sum over the instance.
pub(super) fn check(template: &Value, workload: Workload, found: &mut Violations) {
    let containers = list(template, "containers");
    let mut totals = Some((0, 0));
    for (index, container) in containers.iter().enumerate() {
        let at = format!("template.containers[{index}].resources.limits");
        let limits = &container["resources"]["limits"];
        check_keys(limits, &at, found);
        let cpu = quantity::millis(text(limits, "cpu"));
        found.check(cpu.is_some(), format!("{at}.cpu"), "Invalid value specified for cpu.");
        let memory = quantity::bytes(text(limits, "memory"));
        found.check(
            memory.is_some(),
            format!("{at}.memory"),
            "Invalid value specified for container memory.",
        );
        totals = match (totals, cpu, memory) {
            (Some((all_cpu, all_memory)), Some(cpu), Some(memory)) => {
                Some((all_cpu + cpu, i64::saturating_add(all_memory, memory)))
            }
            _ => None,
        };
    }
    let Some((cpu, memory)) = totals else { return };
    if containers.len() == 1 {
        check_steps(cpu, found);
    }
    check_pair(template, workload, cpu, memory, found);
}

fn check_keys(limits: &Value, at: &str, found: &mut Violations) {
    for key in limits.as_object().into_iter().flat_map(serde_json::Map::keys) {
        let known = matches!(key.as_str(), "cpu" | "memory" | "nvidia.com/gpu");
        found.check(known, format!("{at}.{key}"), "Only cpu, memory and nvidia.com/gpu are supported.");
    }
    let gpu = text(limits, "nvidia.com/gpu");
    found.check(matches!(gpu, "" | "1"), format!("{at}.nvidia.com/gpu"), "The only supported value is 1.");
}

fn check_steps(cpu: i64, found: &mut Violations) {
    let fits = if cpu < 1000 { cpu >= 80 && cpu % 10 == 0 } else { PAIRS.iter().any(|pair| pair.0 == cpu) };
    let message = "Invalid value specified for cpu. Allowed are 1, 2, 4, 6 and 8 CPU, and 0.08 to 0.99 CPU in steps of 0.01.";
    found.check(fits, "template.containers[0].resources.limits.cpu", message);
}

fn check_pair(template: &Value, workload: Workload, cpu: i64, memory: i64, found: &mut Violations) {
    const AT: &str = "template.containers[0].resources.limits.memory";
    let second_generation = text(template, "executionEnvironment") == "EXECUTION_ENVIRONMENT_GEN2";
    found.check(
        !second_generation || memory >= 512 * MI,
        AT,
        "The second generation execution environment needs at least 512Mi of memory.",
    );
    if cpu < 1000 && workload == Workload::Job {
        found.add("template.containers[0].resources.limits.cpu", "Jobs need at least 1 CPU.");
        return;
    }
    if cpu < 1000 {
        check_fraction(template, cpu, memory, found);
        return;
    }
    let Some((_, least, most)) = PAIRS.iter().find(|pair| cpu <= pair.0) else {
        found.add("template.containers[0].resources.limits.cpu", "An instance can have at most 8 CPU.");
        return;
    };
    let always_on =
        list(template, "containers").iter().any(|container| !flag(&container["resources"], "cpuIdle"));
    let least = if always_on { 512 * MI } else { 0 }.max(*least);
    found.check(
        (least..=*most).contains(&memory),
        AT,
        format!(
            "Invalid value specified for container memory. For {} CPU, memory must be between {} and {} inclusive.",
            f64::from(i32::try_from(cpu).unwrap_or(i32::MAX)) / 1000.0,
            readable(least),
            readable(*most)
        ),
    );
}

/// Less than one CPU: one request at a time, CPU only during requests, first generation, little memory.
fn check_fraction(template: &Value, cpu: i64, memory: i64, found: &mut Violations) {
    let most = if cpu < 500 { 512 * MI } else { GI };
    found.check(
        (128 * MI..=most).contains(&memory),
        "template.containers[0].resources.limits.memory",
        format!("For less than 1 CPU, memory must be between 128Mi and {} inclusive.", readable(most)),
    );
    found.check(
        int(template, "maxInstanceRequestConcurrency") == 1,
        "template.maxInstanceRequestConcurrency",
        "Total cpu < 1 is not supported with concurrency > 1.",
    );
    found.check(
        text(template, "executionEnvironment") != "EXECUTION_ENVIRONMENT_GEN2",
        "template.executionEnvironment",
        "Total cpu < 1 is not supported in the second generation execution environment.",
    );
    for (index, container) in list(template, "containers").iter().enumerate() {
        found.check(
            flag(&container["resources"], "cpuIdle"),
            format!("template.containers[{index}].resources.cpuIdle"),
            "Total cpu < 1 needs CPU that is only allocated during requests (cpuIdle: true).",
        );
    }
}

fn readable(bytes: i64) -> String {
    if bytes % GI == 0 { format!("{}Gi", bytes / GI) } else { format!("{}Mi", bytes / MI) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(extra: &Value, limits: &[(&str, &str)], cpu_idle: bool) -> Vec<String> {
        let containers: Vec<Value> = limits
            .iter()
            .map(|(cpu, memory)| json!({"resources": {"limits": {"cpu": cpu, "memory": memory}, "cpuIdle": cpu_idle}}))
            .collect();
        let mut template = extra.clone();
        template["containers"] = containers.into();
        let mut found = Violations::default();
        check(&template, Workload::Service, &mut found);
        found
            .fields()
            .into_iter()
            .map(|field| field.replace("template.containers[0].resources.", ""))
            .collect()
    }

    fn of_one(cpu: &str, memory: &str) -> Vec<String> {
        problems(&json!({"maxInstanceRequestConcurrency": 80}), &[(cpu, memory)], true)
    }

    #[test]
    fn documented_pairs_are_taken() {
        for (cpu, memory) in
            [("1", "128Mi"), ("1000m", "4Gi"), ("2", "8Gi"), ("4", "2Gi"), ("6", "24Gi"), ("8", "32Gi")]
        {
            assert!(of_one(cpu, memory).is_empty(), "{cpu} {memory}");
        }
    }

    #[test]
    fn four_cpu_need_two_gibibytes() {
        assert_eq!(of_one("4", "1Gi"), ["limits.memory"]);
    }

    #[test]
    fn more_memory_needs_more_cpu() {
        assert_eq!(of_one("1", "8Gi"), ["limits.memory"]);
        assert_eq!(of_one("2", "16Gi"), ["limits.memory"]);
    }

    #[test]
    fn other_amounts_of_cpu_are_refused() {
        for cpu in ["3", "1.5", "16", "0.05"] {
            assert!(of_one(cpu, "512Mi").contains(&"limits.cpu".to_owned()), "{cpu}");
        }
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        assert_eq!(of_one("lots", "much"), ["limits.cpu", "limits.memory"]);
    }

    #[test]
    fn less_than_one_cpu_serves_one_request_at_a_time() {
        let one = json!({"maxInstanceRequestConcurrency": 1});
        assert!(problems(&one, &[("0.5", "512Mi")], true).is_empty());
        assert_eq!(of_one("0.5", "512Mi"), ["template.maxInstanceRequestConcurrency"]);
        assert_eq!(problems(&one, &[("0.5", "512Mi")], false), ["cpuIdle"]);
        assert_eq!(problems(&one, &[("0.4", "1Gi")], true), ["limits.memory"]);
    }

    #[test]
    fn second_generation_needs_half_a_gibibyte() {
        let second = json!({"maxInstanceRequestConcurrency": 80, "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2"});
        assert_eq!(problems(&second, &[("1", "256Mi")], true), ["limits.memory"]);
        assert!(problems(&second, &[("1", "512Mi")], true).is_empty());
    }

    #[test]
    fn cpu_always_on_needs_half_a_gibibyte() {
        let template = json!({"maxInstanceRequestConcurrency": 80});
        assert_eq!(problems(&template, &[("1", "256Mi")], false), ["limits.memory"]);
    }

    #[test]
    fn containers_share_the_limits_of_the_instance() {
        let template = json!({"maxInstanceRequestConcurrency": 80});
        assert!(problems(&template, &[("1", "1Gi"), ("500m", "256Mi")], true).is_empty());
        assert_eq!(problems(&template, &[("4", "4Gi"), ("8", "4Gi")], true), ["limits.cpu"]);
        assert_eq!(problems(&template, &[("4", "20Gi"), ("4", "20Gi")], true), ["limits.memory"]);
    }
}
