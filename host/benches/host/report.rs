//! The numbers: gathered, summed up, printed as one table and written as one JSON document.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Outcome;

/// All that was measured.
#[derive(Default)]
pub(crate) struct Report {
    facts: Vec<(&'static str, String)>,
    rows: Vec<Row>,
}

struct Row {
    section: &'static str,
    name: String,
    value: f64,
    unit: &'static str,
}

impl Report {
    /// A report that begins with what the machine is.
    pub(crate) fn of_this_machine(quick: bool) -> Self {
        let first_line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let profile = if cfg!(debug_assertions) { "debug: these numbers say nothing" } else { "release" };
        let load = if quick { "quick: too few calls for a claim" } else { "full" };
        let facts = vec![
            ("wharf", env!("CARGO_PKG_VERSION").to_owned()),
            ("executable", crate::wharf().display().to_string()),
            ("profile of the client", profile.to_owned()),
            ("run", load.to_owned()),
            ("cores", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
            ("cpu", model.trim_start_matches(['\t', ' ', ':']).to_owned()),
            ("kernel", first_line("/proc/sys/kernel/osrelease")),
            ("load average at the start", first_line("/proc/loadavg")),
            ("client", "one thread on the same machine, every answer checked; loopback".to_owned()),
        ];
        Self { facts, rows: Vec::new() }
    }

    /// Adds a number.
    pub(crate) fn row(
        &mut self,
        section: &'static str,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) {
        self.rows.push(Row { section, name: name.into(), value, unit });
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.facts {
            out.push_str(&format!("{name}: {value}\n"));
        }
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
        let mut section = "";
        for row in &self.rows {
            if row.section != section {
                section = row.section;
                out.push_str(&format!("\n{section}\n"));
            }
            out.push_str(&format!("  {:<width$}  {:>10} {}\n", row.name, number(row.value), row.unit));
        }
        out
    }

    /// Writes it as JSON, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Outcome<()> {
        let facts: Map<String, Value> =
            self.facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let row = |row: &Row| json!({"section": row.section, "name": row.name, "value": row.value, "unit": row.unit});
        let document = json!({"machine": facts, "numbers": self.rows.iter().map(row).collect::<Vec<_>>()});
        let fresh = path.with_extension("json.new");
        fs::write(&fresh, serde_json::to_vec_pretty(&document)?)?;
        Ok(fs::rename(&fresh, path)?)
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A sample of one number, sorted.
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The smallest value that this share of all is not above. Of nothing: not a number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a position in a list"
    )]
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let position = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(position.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn max(&self) -> f64 {
        self.quantile(1.0)
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
