//! What was promised, and whether it is kept.

use crate::calls::Row;
use crate::ways::{Over, Through};

/// Least ratio of a hop to the direct call over HTTP, with 32 callers and a small echo. Below it the hop is no limit worth
/// comparing with, and the run is void.
const LEAST_HTTP: f64 = 0.30;
const LEAST_STDIO: f64 = 0.70;

/// A line of the list.
pub(crate) struct Line {
    pub(crate) target: String,
    pub(crate) measured: String,
    pub(crate) met: bool,
}

impl Line {
    pub(crate) fn at_least(target: impl Into<String>, measured: f64, bound: f64) -> Self {
        Self { target: target.into(), measured: format!("{measured:.2}"), met: measured >= bound }
    }

    pub(crate) fn at_most(target: impl Into<String>, measured: f64, bound: f64, unit: &str) -> Self {
        Self { target: target.into(), measured: format!("{measured:.2}{unit}"), met: measured <= bound }
    }
}

/// Why the run says nothing, if it does not.
pub(crate) fn void(rows: &[Row]) -> Vec<String> {
    let hops = rows.iter().filter(|row| row.way.through == Through::Hop && row.cell == "echo 100 B, c32");
    let least = |row: &Row| if row.way.over == Over::Http { LEAST_HTTP } else { LEAST_STDIO };
    let bad = hops.filter(|row| row.versus.rate.is_nan() || row.versus.rate < least(row));
    bad.map(|row| format!("{}: {:.2} of direct, below {}", row.way.name, row.versus.rate, least(row)))
        .collect()
}

/// The promises about calls, for what was measured of them.
pub(crate) fn of_calls(rows: &[Row]) -> Vec<Line> {
    let mut lines = Vec::new();
    let ours = |cell: &'static str| rows.iter().filter(move |row| row.way.is_host() && row.cell == cell);
    let name = |row: &Row, what: &str| format!("{what}; {}, {}", row.way.name, row.cell);
    for cell in ["echo 100 B, c32", "echo 100 B, c256", "echo 100 B, c256 at once"] {
        lines.extend(ours(cell).map(|row| {
            Line::at_least(name(row, "calls/s at least 0.75 of the hop's"), row.versus.rate, 0.75)
        }));
    }
    lines.extend(ours("echo 100 B, c1").map(|row| {
        Line::at_most(name(row, "p50 at most 30 us above the hop's"), row.versus.added, 30.0, " us")
    }));
    for cell in ["echo 100 B, c1", "echo 100 B, c32", "echo 100 B, c256", "echo 100 B, c256 at once"] {
        lines.extend(
            ours(cell).map(|row| {
                Line::at_most(name(row, "p99 at most 2 times the hop's"), row.versus.p99, 2.0, "")
            }),
        );
        lines.extend(ours(cell).map(|row| {
            Line::at_most(name(row, "CPU per call at most 1.6 times the hop's"), row.versus.cpu, 1.6, "")
        }));
    }
    for cell in ["blob 1 MiB, c1", "blob 1 MiB, c4"] {
        lines.extend(ours(cell).map(|row| {
            Line::at_least(name(row, "1 MiB answers/s at least 0.85 of the hop's"), row.versus.rate, 0.85)
        }));
    }
    lines.extend(rows.iter().filter(|row| row.errors > 0).map(|row| Line {
        target: name(row, "no errors"),
        measured: row.errors.to_string(),
        met: false,
    }));
    lines
}
