//! The numbers: gathered, summed up, printed as one table and written as one JSON document.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::common::{Outcome, machine, wharf};

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
        let profile = if cfg!(debug_assertions) { "debug: these numbers say nothing" } else { "release" };
        let load = if quick { "quick: too few calls for a claim" } else { "full" };
        let facts = vec![
            ("wharf", env!("CARGO_PKG_VERSION").to_owned()),
            ("executable", wharf().display().to_string()),
            ("profile of the client", profile.to_owned()),
            ("run", load.to_owned()),
            ("cores", machine::cores()),
            ("cpu", machine::cpu()),
            ("kernel", machine::kernel()),
            ("load average at the start", machine::load()),
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
