//! The numbers as a table, as a JSON document and as a page.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::calls::Row;
use crate::common::{Outcome, machine, shipped};
use crate::targets::Line;

/// All that was measured.
#[derive(Default)]
pub(crate) struct Report {
    facts: Vec<(&'static str, String)>,
    pub(crate) rows: Vec<Row>,
    numbers: Vec<Number>,
    pub(crate) lines: Vec<Line>,
    pub(crate) void: Vec<String>,
    /// The parts that could not be measured.
    failures: Vec<String>,
}

/// What is no row of calls.
struct Number {
    section: &'static str,
    name: String,
    value: f64,
    unit: &'static str,
}

impl Report {
    /// A report that begins with what the machine is.
    pub(crate) fn of_this_machine(quick: bool, command: String) -> Self {
        let load = if quick { "quick: too few calls for a claim" } else { "full" };
        let profile = if cfg!(debug_assertions) { "debug: these numbers say nothing" } else { "release" };
        let facts = vec![
            ("wharf", env!("CARGO_PKG_VERSION").to_owned()),
            ("command", command),
            ("run", load.to_owned()),
            ("date", date()),
            ("cores", machine::cores()),
            ("cpu", machine::cpu()),
            ("memory", machine::memory()),
            ("kernel", machine::kernel()),
            ("rustc", machine::rustc()),
            ("load average at the start", machine::load()),
            ("the host is compiled", shipped::profile()),
            ("build profile of the client, the hop and the upstream", profile.to_owned()),
        ];
        Self { facts, ..Self::default() }
    }

    pub(crate) fn fact(&mut self, name: &'static str, value: String) {
        self.facts.push((name, value));
    }

    pub(crate) fn number(
        &mut self,
        section: &'static str,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) {
        self.numbers.push(Number { section, name: name.into(), value, unit });
    }

    /// A part has been measured, or why not.
    pub(crate) fn done(&mut self, part: &str, done: Outcome<()>) {
        if let Err(error) = done {
            self.failures.push(format!("{part}: {error}"));
        }
    }

    pub(crate) fn failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// The page; it reads well on a terminal too.
    pub(crate) fn page(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.facts {
            out.push_str(&format!("- {name}: {value}\n"));
        }
        for why in &self.void {
            out.push_str(&format!("\n**VOID**: {why}\n"));
        }
        for failure in &self.failures {
            out.push_str(&format!("\n**FAILED**: {failure}\n"));
        }
        let mut cell = "";
        for row in &self.rows {
            if row.cell != cell {
                cell = row.cell;
                out.push_str(&head(cell));
            }
            out.push_str(&line(row));
        }
        for row in self.rows.iter().filter(|row| row.errors > 0) {
            let error = row.first_error.as_deref().unwrap_or_default();
            out.push_str(&format!("\n{}, {}: the first of its errors: {error}\n", row.cell, row.way.name));
        }
        let mut section = "";
        for Number { section: of, name, value, unit } in &self.numbers {
            if *of != section {
                section = of;
                out.push_str(&format!("\n### {section}\n\n| what | measured | |\n|---|--:|---|\n"));
            }
            out.push_str(&format!("| {name} | {} | {unit} |\n", number(*value, 2)));
        }
        if !self.lines.is_empty() {
            out.push_str("\n## Targets\n\n| target | measured | |\n|---|--:|---|\n");
        }
        for Line { target, measured, met } in &self.lines {
            let met = if *met { "met" } else { "**missed**" };
            out.push_str(&format!("| {target} | {measured} | {met} |\n"));
        }
        out
    }

    /// Writes it as JSON, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Outcome<()> {
        let facts: Map<String, Value> =
            self.facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|line| json!({"target": line.target, "measured": line.measured, "met": line.met}))
            .collect();
        let document = json!({
            "machine": facts,
            "void": self.void,
            "failed": self.failures,
            "numbers": self.numbers.iter().map(number_json).collect::<Vec<_>>(),
            "calls": self.rows.iter().map(row_json).collect::<Vec<_>>(),
            "targets": lines,
        });
        let fresh = path.with_extension("json.new");
        fs::write(&fresh, serde_json::to_vec_pretty(&document)?)?;
        Ok(fs::rename(&fresh, path)?)
    }
}

fn head(cell: &str) -> String {
    format!(
        "\n### {cell}\n\n| {:<26} | calls/s | p50 us | p99 us | p99.9 us | errors | CPU us/call | RSS MiB | ratio | CPU ratio | p99 ratio | p50 added us |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        "way"
    )
}

fn line(row: &Row) -> String {
    let Row { rate, p50, p99, p999, errors, cpu, rss, versus, .. } = row;
    format!(
        "| {:<26} | {rate:>7.0} | {p50:>6.0} | {p99:>6.0} | {p999:>8.0} | {errors:>6} | {:>11} | {:>7} | {:>5} | {:>9} | {:>9} | {:>12} |\n",
        row.way.name,
        number(*cpu, 1),
        number(*rss, 1),
        number(versus.rate, 2),
        number(versus.cpu, 2),
        number(versus.p99, 2),
        number(versus.added, 0),
    )
}

fn number(value: f64, digits: usize) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.digits$}") }
}

fn row_json(row: &Row) -> Value {
    json!({
        "cell": row.cell, "callers": row.callers, "way": row.way.name, "calls": row.calls, "errors": row.errors,
        "calls_per_s": row.rate, "p50_us": row.p50, "p99_us": row.p99, "p999_us": row.p999,
        "cpu_us_per_call": row.cpu, "rss_mib": row.rss,
        "ratio": {"to": if row.way.is_host() { "hop" } else { "direct" }, "rate": row.versus.rate,
            "p99": row.versus.p99, "cpu": row.versus.cpu, "p50_added_us": row.versus.added},
    })
}

fn number_json(number: &Number) -> Value {
    json!({"section": number.section, "name": number.name, "value": number.value, "unit": number.unit})
}

fn date() -> String {
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    now.split('T').next().unwrap_or_default().to_owned()
}
