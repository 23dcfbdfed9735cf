//! The figures, as a table for people and as JSON for programs. Bars stand beside figures; nothing is asserted.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::cloud::Calls;
use super::process::Cost;

/// Sequential round trips that a plan of agent-army may take.
const MOST_SEQUENTIAL: usize = 4;
/// Milliseconds and MiB that a plan of a thousand services may take at [`BAR_LATENCY`].
const MOST_WALL_MS: f64 = 3000.0;
const MOST_PEAK_MIB: f64 = 150.0;
const BAR_SERVICES: usize = 1000;
const BAR_LATENCY: u64 = 50;

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) profile: String,
    pub(super) runs: usize,
    pub(super) startup: Vec<Startup>,
    pub(super) plans: Vec<Plan>,
}

/// `deployer validate`: no network, so mostly start-up and reading YAML.
#[derive(Debug)]
pub(super) struct Startup {
    pub(super) subject: String,
    pub(super) cost: Cost,
}

/// `deployer plan` of what has been applied.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) subject: String,
    /// 0 for an environment of the example.
    pub(super) services: usize,
    /// Milliseconds before each answer.
    pub(super) latency: u64,
    pub(super) cost: Cost,
    pub(super) sequential: Option<usize>,
    pub(super) calls: Calls,
}

impl Plan {
    /// The bars that hold for this row: what is asked, and whether it is met (`None`: cannot be told).
    fn bars(&self) -> Vec<(String, Option<bool>)> {
        if self.latency != BAR_LATENCY {
            return Vec::new();
        }
        let Cost { wall_ms, peak_mib, .. } = self.cost;
        match self.services {
            0 => vec![(
                format!("at most {MOST_SEQUENTIAL} sequential"),
                self.sequential.map(|sequential| sequential <= MOST_SEQUENTIAL),
            )],
            BAR_SERVICES => vec![
                (format!("under {MOST_WALL_MS} ms"), Some(wall_ms < MOST_WALL_MS)),
                (format!("under {MOST_PEAK_MIB} MiB"), Some(peak_mib < MOST_PEAK_MIB)),
            ],
            _ => Vec::new(),
        }
    }

    fn json(&self) -> Value {
        let bars: Vec<Value> =
            self.bars().into_iter().map(|(bar, met)| json!({ "bar": bar, "met": met })).collect();
        json!({
            "subject": self.subject,
            "services": self.services,
            "latency_ms": self.latency,
            "requests": self.calls.total(),
            "requests_by_method": self.calls.by_method,
            "refused_by_status": self.calls.refused.iter().map(|(status, n)| (status.to_string(), *n))
                .collect::<std::collections::BTreeMap<_, _>>(),
            "sequential": self.sequential,
            "wall_ms": self.cost.wall_ms,
            "cpu_ms": self.cost.cpu_ms,
            "peak_mib": self.cost.peak_mib,
            "bars": bars,
        })
    }
}

impl Report {
    /// The figures for programs. `null` is what could not be told.
    pub(super) fn json(&self) -> Value {
        let startup: Vec<Value> = self
            .startup
            .iter()
            .map(|Startup { subject, cost }| {
                json!({ "subject": subject, "wall_ms": cost.wall_ms, "cpu_ms": cost.cpu_ms, "peak_mib": cost.peak_mib })
            })
            .collect();
        let plans: Vec<Value> = self.plans.iter().map(Plan::json).collect();
        json!({ "format": 1, "profile": self.profile, "runs": self.runs, "validate": startup, "plan": plans })
    }

    /// The figures for people.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "deployer, {} build; medians: validate of {}, plan of {} (number of runs)\n\n",
            if self.profile == "dev" { "debug" } else { &self.profile },
            super::STARTUP_RUNS,
            self.runs
        );
        text.push_str(&self.startup_table());
        text.push_str(&self.plan_table());
        text.push_str(&self.requests_table());
        text
    }

    fn startup_table(&self) -> String {
        let mut text = format!("{:<24}{:>9}{:>9}{:>10}\n", "validate", "wall ms", "CPU ms", "peak MiB");
        for Startup { subject, cost } in &self.startup {
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{subject:<24}{:>9.0}{:>9.0}{:>10.1}",
                cost.wall_ms, cost.cpu_ms, cost.peak_mib
            );
        }
        text.push('\n');
        text
    }

    fn plan_table(&self) -> String {
        let mut text = format!(
            "{:<24}{:>9}{:>10}{:>12}{:>9}{:>9}{:>10}  bars\n",
            "plan, no change", "latency", "requests", "sequential", "wall ms", "CPU ms", "peak MiB"
        );
        for plan in &self.plans {
            let sequential = plan.sequential.map_or_else(|| "-".to_owned(), |length| length.to_string());
            let row = format!(
                "{:<24}{:>6} ms{:>10}{sequential:>12}{:>9.0}{:>9.0}{:>10.1}  {}",
                plan.subject,
                plan.latency,
                plan.calls.total(),
                plan.cost.wall_ms,
                plan.cost.cpu_ms,
                plan.cost.peak_mib,
                bars(plan)
            );
            let _ = writeln!(text, "{}", row.trim_end());
            if !plan.calls.refused.is_empty() {
                let _ =
                    writeln!(text, "{:<24}answers with an error, by status: {:?}", "", plan.calls.refused);
            }
        }
        text.push_str("sequential: the longest chain of requests of which each began after the one before had ended\n\n");
        text
    }

    /// Requests by method: the same at every latency, so the last rows of each subject speak for all.
    fn requests_table(&self) -> String {
        let plans: Vec<&Plan> = self.plans.iter().filter(|plan| plan.latency == BAR_LATENCY).collect();
        let mut methods: Vec<&String> = plans.iter().flat_map(|plan| plan.calls.by_method.keys()).collect();
        methods.sort();
        methods.dedup();
        let mut text = format!("{:<56}", "requests by method");
        for plan in &plans {
            let _ = write!(text, "{:>24}", plan.subject);
        }
        text.push('\n');
        for method in methods {
            let _ = write!(text, "{method:<56}");
            for plan in &plans {
                let _ = write!(text, "{:>24}", plan.calls.by_method.get(method).copied().unwrap_or_default());
            }
            text.push('\n');
        }
        text
    }
}

fn bars(plan: &Plan) -> String {
    let shown = plan.bars().into_iter().map(|(bar, met)| {
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "cannot be told",
        };
        format!("{bar}: {verdict}")
    });
    shown.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(services: usize, latency: u64, sequential: Option<usize>, wall_ms: f64, peak_mib: f64) -> Plan {
        let mut calls = Calls::default();
        calls.by_method.insert("run.projects.locations.services.list".to_owned(), 2);
        let subject = format!("{services} services");
        Plan { subject, services, latency, cost: Cost { wall_ms, cpu_ms: 1.0, peak_mib }, sequential, calls }
    }

    #[test]
    fn bars_stand_beside_the_rows_that_they_are_about() {
        assert_eq!(bars(&plan(0, 50, Some(4), 300.0, 20.0)), "at most 4 sequential: met");
        assert_eq!(bars(&plan(0, 50, Some(5), 300.0, 20.0)), "at most 4 sequential: missed");
        assert_eq!(bars(&plan(0, 50, None, 300.0, 20.0)), "at most 4 sequential: cannot be told");
        assert_eq!(bars(&plan(1000, 50, None, 2999.0, 151.0)), "under 3000 ms: met; under 150 MiB: missed");
        assert_eq!(bars(&plan(1000, 0, None, 9000.0, 900.0)), "");
        assert_eq!(bars(&plan(100, 50, None, 9000.0, 900.0)), "");
    }

    #[test]
    fn the_table_shows_each_figure_and_the_requests_by_method() {
        let startup = vec![Startup { subject: "agent-army".to_owned(), cost: Cost::default() }];
        let mut refused = plan(100, 50, Some(7), 1234.4, 33.25);
        refused.calls.refused.insert(429, 3);
        let report = Report { profile: "dev".to_owned(), runs: 3, startup, plans: vec![refused] };
        let table = report.table();
        assert!(table.starts_with("deployer, debug build; medians: validate of 15, plan of 3"), "{table}");
        let row = table.lines().find(|line| line.starts_with("100 services")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells, ["100", "services", "50", "ms", "2", "7", "1234", "1", "33.2"]);
        assert!(table.contains("{429: 3}"), "{table}");
        let method = table.lines().find(|line| line.starts_with("run.projects")).unwrap();
        assert!(method.ends_with(" 2"), "{method}");
    }

    #[test]
    fn json_says_what_could_not_be_told() {
        let report = Report { plans: vec![plan(0, 50, None, 1.0, 2.0)], ..Report::default() };
        let row = &report.json()["plan"][0];
        assert_eq!(row["requests"], 2);
        assert_eq!(row["sequential"], Value::Null);
        assert_eq!(row["bars"][0]["met"], Value::Null);
    }
}
