//! The figures as a table, with the bars beside them. Nothing is asserted: a busy machine is no fault of the API.

use std::fmt::Write as _;
use std::time::Duration;

use crate::bench::client::Load;

/// CPU milliseconds of one request that the bars allow: a 20th of the 0.82 ms and a 15th of the 3.8 ms that the API which
/// this one replaces was measured with.
const HEALTH_CPU_MS: f64 = 0.82 / 20.0;
const READ_CPU_MS: f64 = 3.8 / 15.0;
/// How much more a read by key may cost with many keys than with one, and still be called the same.
const FLAT: f64 = 1.5;
const FIRST_ANSWER_MS: f64 = 100.0;
const IDLE_MIB: f64 = 30.0;
/// Of `/health` beside a storm of logins, 99th percentile.
const STORM_MS: f64 = 20.0;

const BY_KEY: &str = "read by API key";

/// A route under load.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// What there was at the time: numbers of tenants or keys.
    pub(super) label: String,
    /// Of the server, for one request.
    pub(super) cpu_ms: f64,
    pub(super) load: Load,
}

/// Logins, and `/health` beside them.
#[derive(Debug)]
pub(super) struct Storm {
    pub(super) logins: Load,
    pub(super) health: Load,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) profile: String,
    pub(super) starts: Vec<Duration>,
    pub(super) idle_kib: f64,
    pub(super) loaded_kib: f64,
    pub(super) rows: Vec<Row>,
    pub(super) storm: Option<Storm>,
}

impl Report {
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "tenant-api, {} build\n\n{:<18}{:<16}{:>10}{:>9}{:>9}{:>12}  bar\n",
            self.profile, "request", "with", "req/s", "p50 ms", "p99 ms", "CPU ms/req"
        );
        for row in &self.rows {
            let line = format!(
                "{:<18}{:<16}{:>10.0}{:>9.2}{:>9.2}{:>12.3}  {}",
                row.name,
                row.label,
                row.load.per_second(),
                row.load.percentile_ms(50),
                row.load.percentile_ms(99),
                row.cpu_ms,
                self.bar_of(row)
            );
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if let Some(storm) = &self.storm {
            let p99 = storm.health.percentile_ms(99);
            let _ = writeln!(
                text,
                "\n/health beside a storm of {} logins/s: p50 {:.2} ms, p99 {p99:.2} ms  {}",
                storm.logins.per_second().round(),
                storm.health.percentile_ms(50),
                bar(p99, STORM_MS, "ms")
            );
        }
        let start = self.median_start_ms();
        let _ = writeln!(text, "start to first 200: {start:.0} ms  {}", bar(start, FIRST_ANSWER_MS, "ms"));
        let idle = self.idle_kib / 1024.0;
        let _ = writeln!(text, "resident, idle: {idle:.1} MiB  {}", bar(idle, IDLE_MIB, "MiB"));
        let _ = writeln!(text, "resident, after all this: {:.1} MiB", self.loaded_kib / 1024.0);
        text
    }

    fn bar_of(&self, row: &Row) -> String {
        match row.name {
            "health" => bar(row.cpu_ms, HEALTH_CPU_MS, "ms"),
            "read by token" => bar(row.cpu_ms, READ_CPU_MS, "ms"),
            BY_KEY => match self.rows.iter().find(|first| first.name == BY_KEY) {
                Some(first) if !std::ptr::eq(first, row) => bar(row.cpu_ms, first.cpu_ms * FLAT, "ms"),
                _ => String::new(),
            },
            _ => String::new(),
        }
    }

    fn median_start_ms(&self) -> f64 {
        let mut starts = self.starts.clone();
        starts.sort_unstable();
        starts.get(starts.len() / 2).map_or(0.0, |start| start.as_secs_f64() * 1000.0)
    }
}

fn bar(figure: f64, most: f64, unit: &str) -> String {
    format!("at most {most:.3} {unit}: {}", if figure <= most { "met" } else { "missed" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, cpu_ms: f64) -> Row {
        let load = Load::of(vec![Duration::from_millis(2); 100], Duration::from_secs(1));
        Row { name, label: "1 tenants".to_owned(), cpu_ms, load }
    }

    #[test]
    fn bars_stand_beside_the_figures_that_they_are_about() {
        let rows = vec![
            row("health", 0.04),
            row("health", 0.05),
            row("readiness", 9.0),
            row("read by token", 0.25),
            row(BY_KEY, 0.2),
            row(BY_KEY, 0.31),
        ];
        let report = Report { rows, idle_kib: 31.0 * 1024.0, ..Report::default() };
        let verdicts: Vec<String> = report.rows.iter().map(|row| report.bar_of(row)).collect();
        let said = ["met", "missed", "", "met", "", "missed"];
        assert!(verdicts.iter().zip(said).all(|(verdict, said)| verdict.ends_with(said)), "{verdicts:?}");
        assert!(verdicts[2].is_empty() && verdicts[4].is_empty(), "{verdicts:?}");
        let table = report.table();
        assert!(table.contains("resident, idle: 31.0 MiB  at most 30.000 MiB: missed"), "{table}");
    }

    #[test]
    fn the_median_start_is_shown() {
        let starts = [5, 500, 40].map(Duration::from_millis).to_vec();
        let report = Report { starts, ..Report::default() };
        assert!(report.table().contains("start to first 200: 40 ms  at most 100.000 ms: met"));
    }
}
